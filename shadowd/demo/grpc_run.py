"""``shadowctl demo --grpc``: what ``run`` does for a shop that speaks HTTP/1, for one that speaks gRPC.

Reads are mirrored by their names (``GetItem``, ``ListItems``, ``Search``); ``PutItem`` is not.
"""

from __future__ import annotations

from shadowd.demo.grpc_service import library
from shadowd.demo.grpc_shop import PLANTED
from shadowd.demo.run import Demo

#: Seconds of load after which the verdict must be there, at 200 requests a second.
DECIDED_AFTER = 40.0


class GrpcDemo(Demo):
    """The demo of a gRPC service."""

    planted = PLANTED
    example = "grpcurl -plaintext 127.0.0.1:PORT list"
    decided_after = DECIDED_AFTER
    usual = (45.0, 200.0)
    rate_limit = 1000.0  # three Python processes share the host with the load
    rated = "requests per second with --grpc"
    service = load = "shadowd.demo.grpc_service"

    def _load_options(self, **more: float) -> list[str]:
        return ["--load", *super()._load_options(**more)]

    @classmethod
    def check(cls) -> None:
        library()
