"""Errors inside answers whose status says that all is well (sans-IO).

================  ==================================================  ==========================  ====================
protocol          an error is                                         refused (rank 1)            failed (rank 2)
================  ==================================================  ==========================  ====================
GraphQL           ``errors`` that is not empty, beside ``data`` or    the document or its         ``data`` is null; a
                  without it                                          arguments (no ``data``),    code of the server's
                                                                      part of the fields, a code
                                                                      of the client's
JSON-RPC, MCP     ``error`` beside ``jsonrpc`` or ``id``, also in a   −32700, −32600…−32602, the  −32603, −32000…−32099
                  batch or an event; ``isError`` of a tool            application's own, tools
Redis             ``-ERR``, ``-WRONGTYPE`` … anywhere in the turn     the command's               LOADING, OOM, READONLY
                                                                                                  and other states
gRPC-web          ``grpc-status`` in a trailer frame or the head;     CANCELLED, INVALID_…,       UNKNOWN, INTERNAL,
                  Connect's end of a stream                           NOT_FOUND, PERMISSION_… …   UNAVAILABLE … (5xx)
event streams     ``event: error``, data with ``error``               a status or code of 4xx     the rest
SOAP, XML-RPC     ``Fault``, ``<fault>``                              Client, Sender              Server, Receiver, rest
================  ==================================================  ==========================  ====================

The ranks are those of statuses: 4xx is refused, 5xx failed. Equal answers to GET cost two looks at the request; answers
to POST three searches of the body.
"""

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

from shadowd.compare.content import Content, content_untrusted
from shadowd.compare.difference import shown
from shadowd.compare.normalise import normalised, readable
from shadowd.compare.resp import Failure, RespError, parse_turn_untrusted
from shadowd.compare.signatures import MESSAGE, Signature, error_events, str_of, told
from shadowd.exchange import Request, Response

REFUSED, FAILED = 1, 2
#: Bytes of a body, decompressed, that are looked at; a JSON text of this size takes 5 ms.
BODY = 512 << 10
#: Of a Redis turn: parsed in Python, 10 MB/s.
TURN = 64 << 10
#: Answers of a batch, errors of an answer, frames that are looked at.
MANY = 100
FRAMES = 10_000

_GRAPHQL_REFUSED = re.compile(
    r"(?i)(?:bad_user_input|.*validation.*|graphql_parse_failed|.*(?:unauthenticated|unauthorized|forbidden|denied).*"
    r"|.*not_?found.*|bad_request|.*invalid.*|persisted_query.*|operation_resolution_failure|.*conflict.*"
    r"|.*(?:rate_?limit|throttl|too_many).*|4\d\d)\Z"
)
_GRAPHQL_FAILED = re.compile(r"(?i)(?:.*(?:internal|unavailable|time_?out|downstream|unexpected|exception).*|5\d\d)\Z")
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
_GRPC_STATUS = re.compile(rb"(?im)^grpc-status:[ \t]*([0-9]{1,3})[ \t]*\r?$")
_GRPC_MESSAGE = re.compile(rb"(?im)^grpc-message:[ \t]*([^\r\n]{0,500})")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
#: Heads of answers whose bytes do not show what they say.
_HIDDEN = re.compile(rb"(?i)content-encoding|application/(?:grpc|connect)")
_ERRORS_FIRST = re.compile(rb'(?:\xef\xbb\xbf)?\s{0,100}\{\s{0,100}"errors"\s{0,100}:\s{0,100}\[')
#: Members of an answer (GraphQL, October 2021, §7.1; incremental delivery).
_GRAPHQL = frozenset(
    {"data", "errors", "extensions", "hasNext", "incremental", "pending", "completed", "label", "path"}
)
_RPC_REFUSED = frozenset({-32700, -32600, -32601, -32602, -32002})  # the last: MCP's "resource not found"
_EVENT_REFUSED = re.compile(
    r"(?i)(?:4\d\d|.*(?:invalid|bad_request|rate_?limit|quota|authentication|unauthorized|permission|forbidden|not_?found"
    r"|too_large|context_length|content_filter|policy).*)\Z"
)
_ERROR_LINE = re.compile(rb"-([A-Z][A-Z0-9_]{1,30}(?: [^\r\n]{0,500})?)\r\n")
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,30}\Z")
FAULT = 64 << 10  # bytes of XML in which a fault is looked for: it is all that such an answer has
_STREAM = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:event|data|id|retry)?:")
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


NEITHER: tuple[None, None] = (None, None)


def in_band_errors_untrusted(
    request: Request, production: Response, candidate: Response
) -> tuple[InBand | None, InBand | None]:
    """Of both sides. Equal answers are looked at once, and only where errors come with a good status: in turns, in
    answers to POST and to GraphQL's GET, in event streams. Never raises."""
    equal = production.body == candidate.body and production.status == candidate.status
    if equal and request.method == b"GET" and b"event-stream" not in production.head and b"uery" not in request.target:
        return NEITHER
    ours = in_band_error_untrusted(production)
    return ours, ours if equal and production.head == candidate.head else in_band_error_untrusted(candidate)


def in_band_error_untrusted(response: Response) -> InBand | None:
    """The worst error inside an answer of status 2xx, or inside a turn (status 0). Never raises."""
    if not response.status:
        return _redis(response.body)
    if not 200 <= response.status < 300:
        return None
    head, body = response.head, response.body
    if b"grpc" in head:  # a status of its own, also without a body
        status = _GRPC_STATUS.search(head)
        if status is not None:
            return _grpc_status(int(status[1]), head)
    if not body or not (_may_err(body) or _HIDDEN.search(head)):
        return None
    content = content_untrusted(head, body, BODY)
    kind = content.media_type
    if kind.startswith(("application/grpc", "application/connect+")):
        return _frames(_unarmoured(content.data) if kind.startswith("application/grpc-web-text") else content.data)
    return _of_content(content) if _may_err(content.data) else None


def _may_err(data: bytes) -> bool:
    return b"rror" in data or b"Fault" in data or b"<fault>" in data


def _of_content(content: Content) -> InBand | None:
    data = content.data
    begin = data[:64].lstrip(b" \t\r\n\xef\xbb\xbf")[:1]
    if begin in (b"{", b"["):
        return _of_json(_document(data))
    if begin == b"<":
        return _of_xml(data[:FAULT])
    if content.media_type == "text/event-stream" or _STREAM.match(data):
        return _worst(_of_event(event) for event in islice(error_events(data), MANY))
    return None


def _document(data: bytes) -> Any:
    """The JSON text; of one that is too long its ``errors``, which GraphQL puts first (§7.1)."""
    try:
        if len(data) < BODY:
            return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
        first = _ERRORS_FIRST.match(data)
        if first is not None:
            text = data[first.end() - 1 :].decode("utf-8", "replace")
            return {"errors": json.JSONDecoder().raw_decode(text)[0], "data": {}}
    except (ValueError, RecursionError):
        pass
    return None


def _worst(found: Iterable[InBand | None]) -> InBand | None:
    """The first of the highest rank."""
    worst: InBand | None = None
    for one in found:
        if one is not None and (worst is None or one.rank > worst.rank):
            worst = one
            if one.rank == FAILED:
                break
    return worst


def _made(rank: int, kind: str, code: object, message: str, place: str = "") -> InBand:
    name = shown(str(code), 60) if code not in (None, "") else ""
    text = message[:MESSAGE].strip()
    title = ": ".join(part for part in (name, readable(text)) if part) or "error"
    return InBand(rank, Signature(kind, title + place, f"{name}\n{normalised(text)}{place}"))


# --- JSON -------------------------------------------------------------------------------------------------------------


def _of_json(document: Any) -> InBand | None:
    if isinstance(document, list):
        return _worst(_of_object(one) for one in document[:MANY])
    return _of_object(document)


def _of_object(document: Any) -> InBand | None:
    if not isinstance(document, dict):
        return None
    if "jsonrpc" in document or (
        "id" in document and ("result" in document or isinstance(document.get("error"), dict))
    ):
        return _of_rpc(document)
    errors = document.get("errors")
    if isinstance(errors, list) and errors and document.keys() <= _GRAPHQL:
        return _worst(_of_graphql(one, document) for one in errors[:MANY])
    return None


def _of_rpc(document: dict[str, Any]) -> InBand | None:
    error, result = document.get("error"), document.get("result")
    if error:
        code = error.get("code") if isinstance(error, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        rank = REFUSED
        if isinstance(code, int) and code not in _RPC_REFUSED:
            rank = FAILED if code == -32603 or -32099 <= code <= -32000 or 500 <= code < 600 else REFUSED
        known = code if isinstance(code, (int, str)) and not isinstance(code, bool) else ""
        return _made(rank, "json-rpc error", str_of(known), message if isinstance(message, str) else told(error))
    if isinstance(result, dict) and result.get("isError") is True:
        content = result.get("content")
        first = content[0] if isinstance(content, list) and content else None
        text = first.get("text") if isinstance(first, dict) else None
        return _made(REFUSED, "tool error", "", text if isinstance(text, str) else "the tool failed")
    return None


def _of_graphql(error: Any, document: dict[str, Any]) -> InBand | None:
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    extensions = error.get("extensions")
    known = extensions if isinstance(extensions, dict) else {}
    names = (known.get("code"), known.get("classification"), error.get("code"), error.get("type"))
    code = next((str(name)[:60] for name in names if isinstance(name, (str, int)) and name != ""), "")
    if _GRAPHQL_FAILED.match(code):
        rank = FAILED
    elif _GRAPHQL_REFUSED.match(code):
        rank = REFUSED
    else:
        rank = FAILED if "data" in document and document["data"] is None else REFUSED
    path = error.get("path")
    fields = [one for one in path[:20] if isinstance(one, str)] if isinstance(path, list) else []
    return _made(rank, "graphql error", code, error["message"], f"  at {'.'.join(fields)[:80]}" if fields else "")


def _of_event(event: Any) -> InBand | None:
    if not isinstance(event, dict):
        return _made(FAILED, "sse error", "", str(event) or "error")
    if "jsonrpc" in event:
        return _of_rpc(event)
    error = event.get("error") or (event if "result" not in event else None)
    if not error:
        return None
    words = (
        [str(v)[:60] for v in (error.get(k) for k in ("status", "code", "type")) if isinstance(v, (str, int))]
        if isinstance(error, dict)
        else []
    )
    refused = any(_EVENT_REFUSED.match(word) for word in words)
    text = told(error) or "error"
    return InBand(REFUSED if refused else FAILED, Signature("sse error", readable(text), normalised(text)))


# --- XML --------------------------------------------------------------------------------------------------------------


def _of_xml(data: bytes) -> InBand | None:
    begin = data[:4000]
    if b"<methodResponse" in begin and b"<fault>" in data:
        text = data.decode("utf-8", "replace")
        code, said = _XML_RPC_CODE.search(text), _XML_RPC_TEXT.search(text)
        return _made(FAILED, "soap fault", code[1].strip() if code else "", html.unescape(said[1]) if said else "")
    if b"nvelope" not in begin or _FAULT.search(data) is None:
        return None
    text = data.decode("utf-8", "replace")
    code, said = _FAULT_CODE.search(text), _FAULT_TEXT.search(text)
    name = code[1].strip().rpartition(":")[2] if code else ""
    rank = REFUSED if name.startswith(("Client", "Sender", "VersionMismatch", "MustUnderstand")) else FAILED
    return _made(rank, "soap fault", name, html.unescape(said[1]) if said else "")


# --- gRPC -------------------------------------------------------------------------------------------------------------


def _frames(data: bytes) -> InBand | None:
    """Length-prefixed messages; the last is marked: 0x80 in gRPC-web (PROTOCOL-WEB.md), 0x02 in Connect's streams."""
    at = 0
    for _ in range(FRAMES):
        if at + 5 > len(data):
            return None
        flags, size = data[at], int.from_bytes(data[at + 1 : at + 5], "big")
        frame = data[at + 5 : at + 5 + size]
        at += 5 + size
        if flags == 0x80:
            status = _GRPC_STATUS.search(frame)
            return _grpc_status(int(status[1]), frame) if status is not None else None
        if flags == 0x02:
            return _connect(frame)
    return None


def _grpc_status(code: int, fields: bytes) -> InBand | None:
    if not code:
        return None
    found = _GRPC_MESSAGE.search(fields)
    message = unquote_to_bytes(found[1].strip()).decode("utf-8", "replace") if found is not None else ""
    return _grpc_error(_GRPC[code] if code < len(_GRPC) else f"code {code}", message)


def _grpc_error(name: str, message: str) -> InBand:
    # A code that is not known is to be taken for UNKNOWN.
    return _made(REFUSED if name in _GRPC and name not in _GRPC_FAILED else FAILED, "grpc error", name, message)


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


def _unarmoured(data: bytes) -> bytes:
    """base64 in pieces, each with its own padding."""
    try:
        return b"".join(base64.b64decode(piece) for piece in _BASE64.findall(data.translate(None, b" \t\r\n")))
    except (binascii.Error, ValueError):
        return b""


# --- Redis ------------------------------------------------------------------------------------------------------------


def _redis(turn: bytes) -> InBand | None:
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
    return _worst(_error_reply(one) for one in islice(_failures(replies), MANY))


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
    return _made(FAILED if code in _REDIS_FAILED else REFUSED, "error reply", code, message if code else failure)
