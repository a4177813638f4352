"""What both sides of a WebSocket agreed on when it began (sans-IO, RFC 6455 §4, RFC 7692 §7.1)."""

from __future__ import annotations

import base64
import hashlib
import re

from shadowd.protocols.websocket_frames import Deflate

_UPGRADE = re.compile(rb"(?im)^upgrade:[ \t]*websocket[ \t]*\r$")
_EXTENSIONS = re.compile(rb"(?im)^sec-websocket-extensions:[ \t]*([^\r\n]*)")
_KEY = re.compile(rb"(?im)^sec-websocket-key:([^\r\n]*)")
_ACCEPT = re.compile(rb"(?im)^sec-websocket-accept:([^\r\n]*)")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # §1.3


class UnknownExtension(Exception):
    """What was agreed on changes the frames in a way that is not read."""


def asks_websocket(head: bytes) -> bool:
    """Whether a request's or an answer's head says that a WebSocket follows."""
    return _UPGRADE.search(head) is not None


def accepts(request_head: bytes, response_head: bytes) -> bool:
    """Whether the answer is one to this request, and by a server that knows what it says (§4.2.2)."""
    key, accept = _KEY.search(request_head), _ACCEPT.search(response_head)
    if key is None or accept is None:
        return False
    return accept[1].strip() == base64.b64encode(hashlib.sha1(key[1].strip() + _GUID, usedforsecurity=False).digest())


def agreed(response_head: bytes) -> tuple[Deflate | None, Deflate | None]:
    """How the client's and the server's messages are deflated, by the server's answer, which decides (RFC 7692 §7.1).
    Raises UnknownExtension."""
    said = b",".join(_EXTENSIONS.findall(response_head)).decode("latin-1").strip()
    if not said:
        return None, None
    name, *parameters = [word.strip() for word in said.split(";")]
    if name.lower() != "permessage-deflate" or "," in said:
        raise UnknownExtension(name[:40])
    takeover, bits = {"client": True, "server": True}, {"client": 15, "server": 15}
    for parameter in parameters:
        word, _, value = (part.strip().lower() for part in parameter.partition("="))
        side, _, what = word.partition("_")
        value = value.strip('"')
        if side not in takeover:
            raise UnknownExtension(word[:40])
        if what == "no_context_takeover":
            takeover[side] = False
        elif what == "max_window_bits" and value.isascii() and value.isdigit() and 8 <= int(value[:3]) <= 15:
            bits[side] = int(value)
        else:
            raise UnknownExtension(word[:40])
    return Deflate(takeover["client"], bits["client"]), Deflate(takeover["server"], bits["server"])
