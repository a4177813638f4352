"""A request that offers to go on in HTTP/2 (sans-IO, RFC 7540 §3.2), without the offer.

Production's server may take it; the shadow is asked for the same in plain: what both would say next would be another
thing: it chooses its own protocol by its target.
"""

from __future__ import annotations

import re

from shadowd.protocols.http2_upgrade import names_h2c

_SAID = re.compile(rb"(?im)^(?:upgrade|http2-settings):[^\r\n]*\r\n")
_CONNECTION = re.compile(rb"(?im)^connection:[ \t]*([^\r\n]*)\r\n")
_OPTIONS = frozenset({b"upgrade", b"http2-settings"})


def without_offer(head: bytes) -> bytes:
    """``head`` without ``Upgrade``, ``HTTP2-Settings`` and their names in ``Connection``; as it is where no HTTP/2 is
    offered."""
    return _CONNECTION.sub(_kept, _SAID.sub(b"", head)) if names_h2c(head) else head


def _kept(line: re.Match[bytes]) -> bytes:
    options = [option.strip() for option in line[1].split(b",")]
    kept = [option for option in options if option and option.lower() not in _OPTIONS]
    return b"Connection: " + b", ".join(kept) + b"\r\n" if kept else b""
