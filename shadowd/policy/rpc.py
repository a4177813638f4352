"""Which calls of gRPC only read (sans-IO): all are POST, so their names have to tell.

By the names that google.aip.dev/130 gives methods which change nothing, those of gRPC's own health and reflection
services, and what a schema declares (``idempotency_level = NO_SIDE_EFFECTS``). A service whose Get writes has to be
told apart by ``--exclude-path``.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from shadowd.exchange import octets
from shadowd.exchange.exchange import Request

_GRPC = b"\r\ncontent-type: application/grpc"
#: ``/package.Service/GetItem``: the name begins with the word, and another begins behind it.
_READS = re.compile(rb"\A/[\w.]+/(?:Get|List|Watch|Read|Search|Check|BatchGet|ServerReflectionInfo)(?![a-z])\w*\Z")


def is_rpc(request: Request) -> bool:
    """A call of gRPC or gRPC-web."""
    if request.method != b"POST":
        return False
    lowered = request.lowered or request.head.lower()
    return octets.find(lowered, _GRPC, 0, len(lowered)) >= 0


def reads(request: Request, declared: Collection[bytes] = ()) -> bool:
    """A call of gRPC that changes nothing, by its name, or because its path is among the ``declared``."""
    return (_READS.search(request.target) is not None or request.target in declared) and is_rpc(request)
