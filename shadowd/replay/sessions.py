"""Sessions that a shadow opens for itself: production's id of one is replaced by the shadow's (no I/O here).

MCP (2025-06-18, "Session Management"): a server may answer ``initialize`` with ``Mcp-Session-Id``, and its client then
says that id with everything. The shadow gives an id of its own to the same request; production's it does not know, and
would answer 404. So the two ids are learned from the two answers, and what is sent later says the shadow's. Which
connection it comes on says nothing: clients use several. Where the shadow gave none, production's id stays as it is.
"""

from __future__ import annotations

import re

#: Ids remembered of a target: of clients that are connected, not of all that ever were.
MAX_SESSIONS = 4096
#: MCP: visible ASCII.
_FIELD = re.compile(rb"(?im)^mcp-session-id:[ \t]*([\x21-\x7e]{1,512})[ \t]*\r\n")


def session_of(head: bytes) -> bytes:
    """The id that a head says, b"" if it says none."""
    found = _FIELD.search(head)
    return found[1] if found is not None else b""


class Sessions:
    """Of one target."""

    __slots__ = ("_own",)

    def __init__(self) -> None:
        self._own: dict[bytes, bytes] = {}  # production's id → the target's; the oldest first

    def learn(self, production: bytes, own: bytes) -> None:
        """Both answered one request, each with an id of its own."""
        self._own.pop(production, None)
        self._own[production] = own
        if len(self._own) > MAX_SESSIONS:
            del self._own[next(iter(self._own))]

    def replaced(self, wire: bytes) -> bytes:
        """A request as the target knows its session."""
        end = wire.find(b"\r\n\r\n") + 2
        found = _FIELD.search(wire, 0, end)
        own = self._own.get(found[1]) if found is not None else None
        if found is None or own is None:
            return wire
        return wire[: found.start(1)] + own + wire[found.end(1) :]
