"""What is known of two answers beside their bytes (sans-IO)."""

from __future__ import annotations

from typing import NamedTuple


class Context(NamedTuple):
    """``production_time``, ``candidate_time``: when each answer was complete, ns since the Unix epoch; 0 is unknown.
    ``production_authority``: the Host that the request named; ``candidate_authority``: the one that was sent to the
    shadow, b"" if it was the same. ``other_scheme``: the target is asked over TLS and production was not, or the other
    way round. ``request_head``: of the request, b"" if it is not known."""

    request_head: bytes = b""
    production_time: int = 0
    candidate_time: int = 0
    production_authority: bytes = b""
    candidate_authority: bytes = b""
    other_scheme: bool = False


#: Nothing is known.
UNKNOWN = Context()
