"""Errors in messages that are not JSON: gRPC-web's frames, SOAP's and XML-RPC's faults, Redis's replies, a WebSocket's
Close (sans-IO)."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from shadowd.compare.difference import shown
from shadowd.compare.normalise import normalised, readable
from shadowd.compare.resp import Failure, RespError, parse_turn_untrusted
from shadowd.compare.signatures import MESSAGE, Signature

REFUSED, FAILED = 1, 2
#: Answers of a batch, errors of an answer that are looked at.
MANY = 100
#: Of a Redis turn: parsed in Python, 10 MB/s.
TURN = 64 << 10
#: Messages of an answer; the trailer stands behind the last.
FRAMES = 10_000
_REDIS_FAILED = frozenset(
    {"LOADING", "OOM", "MISCONF", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "BUSY", "UNKILLABLE",
     "TRYAGAIN", "NOGOODSLAVE", "INPROG", "IOERR", "DENIED", "NOQUORUM"}
)  # fmt: skip
#: gRPC's codes in order (grpc/grpc doc/statuscodes.md), and those that are a 5xx as HTTP (google/rpc/code.proto).
_GRPC = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_GRPC_FAILED = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
GRPC_STATUS = re.compile(rb"(?im)^grpc-status:[ \t]*([0-9]{1,3})[ \t]*\r?$")
_GRPC_MESSAGE = re.compile(rb"(?im)^grpc-message:[ \t]*([^\r\n]{0,500})")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_ERROR_LINE = re.compile(rb"-([A-Z][A-Z0-9_]{1,30}(?: [^\r\n]{0,500})?)\r\n")
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,30}\Z")
#: Codes of a Close (RFC 6455 §7.4.1): no error, and the server's fault or its end; the rest is the client's fault.
_CLOSED_WELL, _CLOSED_BADLY = frozenset({1000, 1001, 1005}), frozenset({1006, *range(1011, 1016)})
_CLOSE = b"event: close\ndata: "
FAULT = 64 << 10  # bytes of XML in which a fault is looked for: it is all that such an answer has
_FAULT = re.compile(rb"<(?:[\w.-]{1,40}:)?Fault\b")
_FAULT_CODE = re.compile(r"<(?:[\w.-]{1,40}:)?(?:faultcode|Value)\b[^<>]{0,200}>\s{0,100}([^<]{1,100})")
_FAULT_TEXT = re.compile(r"<(?:[\w.-]{1,40}:)?(?:faultstring|Text)\b[^<>]{0,200}>\s{0,100}([^<]{1,500})")
_XML_RPC_CODE = re.compile(r"<name>\s{0,20}faultCode\s{0,20}</name>\s{0,100}<value>\s{0,20}<(?:int|i4)>([^<]{1,20})<")
_XML_RPC_TEXT = re.compile(
    r"<name>\s{0,20}faultString\s{0,20}</name>\s{0,100}<value>\s{0,20}(?:<string>)?\s{0,20}([^<]{1,500})"
)


class InBand(NamedTuple):
    """``rank``: 1 refused, 2 failed, as of statuses."""

    rank: int
    signature: Signature


def made(rank: int, kind: str, code: object, message: str, place: str = "") -> InBand:
    """``code`` is shown as it is; of ``message`` and ``place`` (within the document) what varies is taken out."""
    name = shown(str(code), 60) if code not in (None, "") else ""
    text = message[:MESSAGE].strip()
    title = ": ".join(part for part in (name, readable(text)) if part) or "error"
    return InBand(rank, Signature(kind, title + place, f"{name}\n{normalised(text)}{place}"))


def worst(found: Iterable[InBand | None]) -> InBand | None:
    """The first of the highest rank."""
    highest: InBand | None = None
    for one in found:
        if one is not None and (highest is None or one.rank > highest.rank):
            highest = one
            if one.rank == FAILED:
                break
    return highest


# --- WebSocket --------------------------------------------------------------------------------------------------------


def of_close(body: bytes) -> InBand | None:
    """Of an answer as ``protocols.websocket_events`` writes it, which a Close ends."""
    at = body.rfind(_CLOSE)
    if at < 0 or (at and body[at - 1 : at] != b"\n"):
        return None
    try:
        said = json.loads(body[at + len(_CLOSE) :])
    except ValueError:
        return None
    code = said.get("code")
    if code in _CLOSED_WELL:
        return None
    return made(FAILED if code in _CLOSED_BADLY else REFUSED, "websocket closed", code, str(said.get("reason", "")))


# --- XML --------------------------------------------------------------------------------------------------------------


def of_xml(data: bytes) -> InBand | None:
    begin = data[:4000]
    if b"<methodResponse" in begin and b"<fault>" in data:
        text = data.decode("utf-8", "replace")
        code, said = _XML_RPC_CODE.search(text), _XML_RPC_TEXT.search(text)
        return made(FAILED, "soap fault", code[1].strip() if code else "", html.unescape(said[1]) if said else "")
    if b"nvelope" not in begin or _FAULT.search(data) is None:
        return None
    text = data.decode("utf-8", "replace")
    code, said = _FAULT_CODE.search(text), _FAULT_TEXT.search(text)
    name = code[1].strip().rpartition(":")[2] if code else ""
    rank = REFUSED if name.startswith(("Client", "Sender", "VersionMismatch", "MustUnderstand")) else FAILED
    return made(rank, "soap fault", name, html.unescape(said[1]) if said else "")


# --- gRPC -------------------------------------------------------------------------------------------------------------


def of_frames(data: bytes) -> InBand | None:
    """Length-prefixed messages; the last is marked: 0x80 in gRPC-web (PROTOCOL-WEB.md), 0x02 in Connect's streams."""
    at = 0
    for _ in range(FRAMES):
        if at + 5 > len(data):
            return None
        flags, size = data[at], int.from_bytes(data[at + 1 : at + 5], "big")
        frame = data[at + 5 : at + 5 + size]
        at += 5 + size
        if flags == 0x80:
            status = GRPC_STATUS.search(frame)
            return grpc_status(int(status[1]), frame) if status is not None else None
        if flags == 0x02:
            return _connect(frame)
    return None


def grpc_status(code: int, fields: bytes) -> InBand | None:
    if not code:
        return None
    found = _GRPC_MESSAGE.search(fields)
    message = unquote_to_bytes(found[1].strip()).decode("utf-8", "replace") if found is not None else ""
    return _grpc_error(_GRPC[code] if code < len(_GRPC) else f"code {code}", message)


def _grpc_error(name: str, message: str) -> InBand:
    # A code that is not known is to be taken for UNKNOWN.
    return made(REFUSED if name in _GRPC and name not in _GRPC_FAILED else FAILED, "grpc error", name, message)


def _connect(frame: bytes) -> InBand | None:
    try:
        end = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    error = end.get("error") if isinstance(end, dict) else None
    if not isinstance(error, dict):
        return None
    code, message = error.get("code"), error.get("message")
    name = code.upper()[:60] if isinstance(code, str) else "UNKNOWN"
    return _grpc_error("CANCELLED" if name == "CANCELED" else name, message if isinstance(message, str) else "")


def unarmoured(data: bytes) -> bytes:
    """base64 in pieces, each with its own padding."""
    try:
        return b"".join(base64.b64decode(piece) for piece in _BASE64.findall(data.translate(None, b" \t\r\n")))
    except (binascii.Error, ValueError):
        return b""


# --- Redis ------------------------------------------------------------------------------------------------------------


def of_turn(turn: bytes) -> InBand | None:
    if turn[:1] not in (b"-", b"!") and b"\r\n-" not in turn and b"\r\n!" not in turn:
        return None
    replies: list[Any] = []
    if len(turn) <= TURN:
        try:
            replies = parse_turn_untrusted(turn)
        except RespError:
            pass
    if not replies:  # long, or not all of it: the first reply is plain to see
        first = _ERROR_LINE.match(turn)
        replies = [Failure(first[1].decode("utf-8", "replace"))] if first is not None else []
    return worst(_error_reply(one) for one in islice(_failures(replies), MANY))


def _failures(replies: list[Any], depth: int = 0) -> Iterator[Failure]:
    """Of a pipeline, and inside EXEC's array."""
    for reply in replies:
        if isinstance(reply, Failure):
            yield reply
        elif isinstance(reply, list) and depth < 4:
            yield from _failures(reply, depth + 1)


def _error_reply(failure: str) -> InBand:
    code, _, message = failure.partition(" ")
    code = code if _CODE.match(code) else ""
    return made(FAILED if code in _REDIS_FAILED else REFUSED, "error reply", code, message if code else failure)
