"""The HTTP doors of the daemon: health and metrics; verdicts, reports and live pages, by the token what has content."""

from __future__ import annotations

import os
from pathlib import Path

from shadowd.config.document import Config
from shadowd.control.server import Handler
from shadowd.errors import ShadowdError
from shadowd.observe.metrics import Metrics
from shadowd.observe.token import Token
from shadowd.service.doors import Opened, ServeHttp
from shadowd.service.health import Health
from shadowd.service.log import Log
from shadowd.service.standing import Standing
from shadowd.service.verdicts import Verdicts


class Monitor:
    """Health and metrics: what both doors serve."""

    def __init__(self, health: Health, standing: Standing) -> None:
        self.dead = health.dead
        self.unready = health.unready
        self.metrics = Metrics(standing).page


def make_door(config: Config, log: Log) -> ServeHttp:
    """What serves an address over HTTP; the token is prepared now, with the rights that the daemon still has."""
    token = _token(config, log) if config.http else None

    async def serve(
        address: str, sources: Verdicts | None, handle: Handler, health: Health, standing: Standing,
        task_status: Opened,
    ) -> None:  # fmt: skip
        from shadowd.observe.http import serve_http  # a web framework: only where it is wanted
        from shadowd.observe.live.gathering import Gathering

        monitor = Monitor(health, standing)
        if sources is None:
            await serve_http(address, None, monitor, task_status=task_status)
        else:
            gathered = Gathering(sources, standing, handle)
            await serve_http(address, sources, monitor, token, gathered, task_status=task_status)

    return serve


def _token(config: Config, log: Log) -> Token | None:
    """Who may read bodies over HTTP: those of the socket's group, unless the operator names a file. An address beyond
    this host needs one that was named."""
    beside = Path(config.socket).with_name("http.token")
    token = Token(Path(config.http_token_file) if config.http_token_file else beside, bool(config.http_token_file))
    try:
        token.prepare(os.stat(config.socket).st_gid)
    except ShadowdError as error:
        if config.http_token_file:
            raise
        log("http token", problem=str(error))  # reports stay closed, and all else goes on
        return None
    return token
