"""What the service manager is told: that the daemon is ready, how it stands, that its pump turns (sd_notify(3)).

A notification is one datagram of ``NAME=value`` lines to the unix socket that ``NOTIFY_SOCKET`` names. Sending never
blocks and never fails the daemon: a manager that does not listen loses a line, no more. Without the variable nothing
is sent. The watchdog is fed by the pump's own count of turns: a daemon whose pump stands still is silent, and the
manager starts it anew, whatever its other tasks still do.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping

import trio

STATUS_EVERY = 5.0  # seconds between STATUS lines: people read them in `systemctl status`
BEATS = 3  # looks at the pump in a watchdog period: sd_watchdog_enabled(3) asks for at least two
STATUS_LIMIT = 500  # bytes of a STATUS line: a few lines of a terminal


class Notifier:
    """``address`` is the manager's socket ("" for none); ``watchdog`` its patience in seconds (0: no watchdog)."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self.watchdog = watchdog if address else 0.0
        self.is_ready = False  # READY=1 was sent
        self._address = "\0" + address[1:] if address.startswith("@") else address  # "@": the abstract namespace
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) if address else None

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """Takes the variables out, so that children do not speak for the daemon. Odd values mean "not asked for"."""
        address = environment.pop("NOTIFY_SOCKET", "")
        period, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        watched = period.isascii() and period.isdigit() and pid in ("", str(os.getpid()))
        return cls(address if address[:1] in ("/", "@") else "", int(period) / 1e6 if watched else 0.0)

    def __bool__(self) -> bool:
        return self._socket is not None

    def send(self, *lines: str) -> None:
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
            except OSError:  # nobody listens, or its queue is full: the next line may get through
                pass

    def ready(self) -> None:
        """Loaded, listening, attached."""
        self.is_ready = True
        self.send("READY=1")

    def reloading(self) -> None:
        """``reloaded`` must follow. The time tells the manager which reload is meant (systemd 253)."""
        if self.is_ready:
            self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        if self.is_ready:
            self.send("READY=1")

    def stopping(self) -> None:
        self.send("STOPPING=1", "STATUS=stopping: what is in flight may still end")

    def status(self, text: str) -> None:
        """One line for people."""
        line = " ".join(text.split()).encode("utf-8", "replace")[:STATUS_LIMIT]
        self.send(f"STATUS={line.decode('utf-8', 'ignore')}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def keep_told(
    notifier: Notifier, unready: Callable[[], str], status: Callable[[], str], turns: Callable[[], int]
) -> None:
    """Until cancelled: READY once ``unready()`` is "", STATUS now and then, WATCHDOG when ``turns()`` has moved."""
    if not notifier:
        return
    period = min(STATUS_EVERY, notifier.watchdog / BEATS or STATUS_EVERY)
    told_at, turned = -STATUS_EVERY, -1
    while True:
        if not notifier.is_ready:
            if reason := unready():
                notifier.status(f"not ready: {reason}")
            else:
                notifier.ready()
        if notifier.is_ready and trio.current_time() - told_at >= STATUS_EVERY - period / 2:
            told_at = trio.current_time()
            notifier.status(status())
        if turns() != turned:
            turned = turns()
            if notifier.watchdog:
                notifier.send("WATCHDOG=1")
        await trio.sleep(period)
