"""Is the daemon alive, and is it ready? What orchestrators ask on /healthz and /readyz.

*Alive*: the pump has turned within the dead-man switch's time; past it the kernel has stopped copying, and only a
restart helps. A pump that blocks the whole process answers nothing, which a probe's time limit takes for the same.
*Ready*: alive, not on its way out, and every filter of the configuration is attached where it should be. A filter on an
interface that does not exist yet waits for it and is ready: it captures all there is.
"""

from __future__ import annotations

from collections.abc import Callable

from shadowd.service.crew import Crew


class Health:
    """``unattached`` says why a filter of the configuration does not capture, "" if all do; ``limit`` in seconds."""

    def __init__(self, crew: Crew, unattached: Callable[[], str], limit: float) -> None:
        self._crew = crew
        self._unattached = unattached
        self._limit = limit

    def dead(self) -> str:
        """Why it should be restarted; "" if it should not."""
        silent = self._crew.silent
        return f"the pump has not turned for {silent:.1f} s" if silent > self._limit else ""

    def unready(self) -> str:
        """Why it does not do what the configuration says; "" if it does."""
        if self._crew.switch.stopping:
            return "the daemon is stopping"
        return self.dead() or self._unattached()
