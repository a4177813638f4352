"""What the daemon asks of whoever serves HTTP for it (``observe/door.py``): types alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from shadowd.config.document import Config
from shadowd.control.server import Handler
from shadowd.service.health import Health
from shadowd.service.log import Log
from shadowd.service.standing import Standing
from shadowd.service.verdicts import Verdicts

Opened = trio.TaskStatus[str]  # told the address


class ServeHttp(Protocol):
    """Serves an address; started once clients can connect. ``sources``: what verdicts and reports come from;
    ``handle``: what answers on the control socket, for the buttons of live pages."""

    async def __call__(
        self, address: str, sources: Verdicts | None, handle: Handler, health: Health, standing: Standing,
        task_status: Opened,
    ) -> None: ...  # fmt: skip


MakeDoor = Callable[[Config, Log], ServeHttp]
