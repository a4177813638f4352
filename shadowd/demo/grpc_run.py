"""``shadowctl demo --grpc``: what ``run`` does for a shop that speaks HTTP/1, for one that speaks gRPC.

Reads are mirrored by their names (``GetItem``, ``ListItems``, ``Search``); ``PutItem`` is not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shadowd.demo.grpc_service import library
from shadowd.demo.grpc_shop import PLANTED
from shadowd.demo.run import Demo, report_file, run_to_end
from shadowd.errors import UsageError

RATE_LIMIT = 1000.0  # requests per second: three Python processes share the host with the load
#: Seconds of load after which the verdict must be there, at 200 requests a second.
DECIDED_AFTER = 40.0


class GrpcDemo(Demo):
    """The demo of a gRPC service."""

    planted = PLANTED
    example = "grpcurl -plaintext 127.0.0.1:PORT list"
    decided_after = DECIDED_AFTER
    service = load = "shadowd.demo.grpc_service"

    def _load_options(self, **more: float) -> list[str]:
        return ["--load", *super()._load_options(**more)]


def run_grpc_demo(
    seconds: float,
    rate: float,
    as_json: bool = False,
    keep: bool = False,
    identical: bool = False,
    baseline: bool = False,
    report: Path | None = None,
    *,
    show: Callable[[dict[str, Any]], None],
) -> int:
    """Run it and return its exit code; ShadowdError if it cannot start or breaks off. 130 after Ctrl-C."""
    if not 1 <= rate <= RATE_LIMIT:
        raise UsageError(
            f"--rate {rate:g} is out of range", f"give 1 to {RATE_LIMIT:.0f} requests per second with --grpc"
        )
    library()
    return run_to_end(GrpcDemo(seconds, rate, as_json, keep, identical, baseline, report or report_file(), show))
