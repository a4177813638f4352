"""State drift: reads that differ because production was written to and the shadow was not (sans-IO).

A write that is not mirrored to ``/orders/7`` changes what production answers to reads of that resource, of the
collection it lies in, and of the resource that production's answer names in ``Location`` or ``Content-Location``.
A difference there is no proof against the release; it is shown apart.
"""

from __future__ import annotations

import re

from shadowd.exchange import Request, Response

#: Written resources remembered, the oldest forgotten first: at 100 writes a second the last minutes.
MAX_WRITTEN = 16_384
#: Longest path remembered: longer ones are no resource a person named.
MAX_PATH = 512
_LOCATION = re.compile(rb"(?im)^(?:content-)?location:[ \t]*([^\r\n]*)")


def path_of(target: bytes) -> bytes:
    """The path of a request-target of any form (RFC 9112 §3.2), without query and trailing slash."""
    scheme, separator, rest = target.partition(b"://")
    if separator and scheme.isalpha():
        target = b"/" + rest.partition(b"/")[2]
    return re.split(rb"[?#]", target, maxsplit=1)[0].rstrip(b"/")[:MAX_PATH] or b"/"


class Drift:
    """Which resources production wrote to."""

    __slots__ = ("_written",)

    def __init__(self) -> None:
        self._written: dict[bytes, None] = {}

    def wrote(self, request: Request) -> None:
        """A write that the shadow did not get."""
        path = path_of(request.target)
        self._remember(path)
        self._remember(path.rpartition(b"/")[0] or b"/")

    def told(self, request: Request, response: Response) -> None:
        """Production's answer to it: its head may name another resource."""
        for location in _LOCATION.findall(response.head):
            if location.strip():
                self._remember(path_of(location.strip()))

    def suspects(self, request: Request) -> str:
        """Whether a read of this may differ for that reason."""
        return "path" if self._written and path_of(request.target) in self._written else ""

    def explains(self, production: int, candidate: int) -> bool:
        """Whether a drifted state explains these two statuses."""
        return production < 400 and candidate in (401, 403, 404, 409, 410)

    def _remember(self, path: bytes) -> None:
        written = self._written
        written.pop(path, None)
        written[path] = None
        if len(written) > MAX_WRITTEN:
            del written[next(iter(written))]
