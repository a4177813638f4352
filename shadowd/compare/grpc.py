"""The content of gRPC's messages, requests or answers: frames of five bytes and a message each (sans-IO).

github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md and PROTOCOL-WEB.md: a byte of flags (1: compressed), four of length. A
compressed message says by its first bytes whether it is gzip or zlib; two servers compress alike only by chance, so
what is compared is what was compressed. Trailers that gRPC-web puts into the body are no message.
"""

from __future__ import annotations

import zlib
from typing import Any

from shadowd.compare.alike import Alike
from shadowd.compare.descriptors import Message
from shadowd.compare.difference import NONE, Difference, Differences, Options
from shadowd.compare.inband_wire import unarmoured
from shadowd.compare.jsondiff import diff_documents
from shadowd.compare.protobuf_named import documents
from shadowd.protocols.grpc_messages import COMPRESSED, HEAD, TRAILERS

GRPC_TEXT = "application/grpc-web-text"  # in base64
#: Messages of an answer that are looked at, and bytes of one when it is decompressed.
MAX_MESSAGES, MAX_MESSAGE = 1000, 4 << 20


class FrameError(ValueError):
    """No messages."""


def is_grpc(media_type: str) -> bool:
    return media_type.startswith("application/grpc")


def messages_untrusted(media_type: str, data: bytes) -> list[bytes]:
    """Of a whole content, decompressed. Raises FrameError."""
    if media_type.startswith(GRPC_TEXT):
        data = unarmoured(data)
    found: list[bytes] = []
    at = 0
    while at < len(data):
        if at + HEAD > len(data):
            raise FrameError("a message that ends too early")
        flags, size = data[at], int.from_bytes(data[at + 1 : at + HEAD], "big")
        message = data[at + HEAD : at + HEAD + size]
        at += HEAD + size
        if len(message) < size or flags & ~(COMPRESSED | TRAILERS):
            raise FrameError("a message that ends too early, or flags that nobody knows")
        if flags & TRAILERS:
            continue
        if len(found) >= MAX_MESSAGES:
            raise FrameError("more messages than are looked at")
        found.append(_decompressed(message) if flags & COMPRESSED else message)
    return found


def _decompressed(message: bytes) -> bytes:
    try:
        inflate = zlib.decompressobj(31 if message[:2] == b"\x1f\x8b" else 15)
        found = inflate.decompress(message, MAX_MESSAGE)
    except zlib.error:
        raise FrameError("a compression that nobody knows") from None
    if inflate.unconsumed_tail:
        raise FrameError("a message beyond all measure")
    return found


def compare_messages(
    media_types: tuple[str, str], production: bytes, candidate: bytes, options: Options, alike: Alike | None,
    message: Message | None = None,
) -> Differences | None:  # fmt: skip
    """Of two contents that are not equal; None where they are no messages that can be read: they are bytes then.
    One message on both sides is ``$``, of several each has its place: ``$[2].3.1``. ``message``: what they are."""
    try:
        p = messages_untrusted(media_types[0], production)
        c = messages_untrusted(media_types[1], candidate)
    except FrameError:
        return None
    if p == c:
        return NONE
    pairs: list[tuple[Any, Any]] = []
    for ours, theirs in zip(p, c, strict=False):
        pair = ("", "") if ours == theirs else documents(ours, theirs, message)
        pairs.append(pair if pair is not None else (ours.hex(), theirs.hex()))
    if len(p) == len(c) == 1:
        return diff_documents(*pairs[0], options, alike=alike)
    if len(p) != len(c):
        counts = [f"{len(one)} messages" for one in (p, c)]
        more = Difference("body", "$", "length", *counts)
        found = diff_documents([one for one, _ in pairs], [other for _, other in pairs], options, alike=alike)
        return Differences.of((more, *found), found.more)
    return diff_documents([one for one, _ in pairs], [other for _, other in pairs], options, alike=alike)
