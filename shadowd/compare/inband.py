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
gRPC, gRPC-web    ``grpc-status`` in trailers, a trailer frame or     CANCELLED, INVALID_…,       UNKNOWN, INTERNAL,
                  the head; Connect's end of a stream                 NOT_FOUND, PERMISSION_… …   UNAVAILABLE … (5xx)
event streams     ``event: error``, data with ``error``               a status or code of 4xx     the rest
WebSocket         ``Close`` with a code (RFC 6455 §7.4.1)             1002…1003, 1007…1010, the   1006, 1011…1015
                                                                      application's own
SOAP, XML-RPC     ``Fault``, ``<fault>``                              Client, Sender              Server, Receiver, rest
================  ==================================================  ==========================  ====================

The ranks are those of statuses: 4xx is refused, 5xx failed. Equal answers to GET cost a search of the head and one of
the target; answers to POST three searches of the body.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

from shadowd.compare.content import Content, content_untrusted
from shadowd.compare.inband_wire import (
    FAILED,
    FAULT,
    GRPC_STATUS,
    MANY,
    REFUSED,
    InBand,
    grpc_status,
    made,
    of_close,
    of_frames,
    of_turn,
    of_xml,
    unarmoured,
    worst,
)
from shadowd.compare.normalise import normalised, readable
from shadowd.compare.signatures import Signature, error_events, str_of, told
from shadowd.exchange.exchange import Request, Response

#: Bytes of a body, decompressed, that are looked at; a JSON text of this size takes 5 ms.
BODY = 512 << 10

#: Bytes of a chunked body's end in which trailers are looked for.
TRAILERS = 2048
LINES = 2000  # of JSON, of an answer

_GRAPHQL_REFUSED = re.compile(
    r"(?i)(?:bad_user_input|.*validation.*|graphql_parse_failed|.*(?:unauthenticated|unauthorized|forbidden|denied).*"
    r"|.*not_?found.*|bad_request|.*invalid.*|persisted_query.*|operation_resolution_failure|.*conflict.*"
    r"|.*(?:rate_?limit|throttl|too_many).*|4\d\d)\Z"
)
_GRAPHQL_FAILED = re.compile(r"(?i)(?:.*(?:internal|unavailable|time_?out|downstream|unexpected|exception).*|5\d\d)\Z")
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
_STREAM = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:event|data|id|retry)?:")
_JSON = (b"{", b"[")
NEITHER: tuple[None, None] = (None, None)


def in_band_errors_untrusted(
    request: Request, production: Response, candidate: Response
) -> tuple[InBand | None, InBand | None]:
    """Of both sides. Equal answers are looked at once, and only where errors come with a good status: in turns, in
    answers to POST and to GraphQL's GET, in event streams. Never raises."""
    equal = production.body == candidate.body and production.status == candidate.status
    equal = equal and production.trailers == candidate.trailers
    if equal and request.method == b"GET" and b"event-stream" not in production.head and b"uery" not in request.target:
        return NEITHER
    ours = in_band_error_untrusted(production)
    return ours, ours if equal and production.head == candidate.head else in_band_error_untrusted(candidate)


def in_band_error_untrusted(response: Response, most: int = BODY) -> InBand | None:
    """The worst error inside an answer of status 2xx, or inside a turn (status 0; of a WebSocket 101); ``most`` bytes
    of a body are looked at. Never raises."""
    if not response.status:
        return of_turn(response.body)
    head, body = response.head, response.body
    if response.status == 101 and (closed := of_close(body)) is not None:
        return closed
    if not 200 <= response.status < 300 and response.status != 101:
        return None
    if b"grpc" in head:  # a status of its own, also without a body
        for fields in (response.trailers, head, body[-TRAILERS:]):  # of a chunked body the trailers are kept
            status = GRPC_STATUS.search(fields)
            if status is not None:
                return grpc_status(int(status[1]), fields)
    if not body or not (_may_err(body) or _HIDDEN.search(head)):
        return None
    content = content_untrusted(head, body, most)
    kind = content.media_type
    if kind.startswith(("application/grpc", "application/connect+")):
        return of_frames(unarmoured(content.data) if kind.startswith("application/grpc-web-text") else content.data)
    return _of_content(content, most) if _may_err(content.data) else None


def _may_err(data: bytes) -> bool:
    if b"rror" in data:
        return True
    return data[:1] not in _JSON and (b"Fault" in data or b"<fault>" in data)  # a fault is XML


def _of_content(content: Content, most: int) -> InBand | None:
    data = content.data
    begin = data[:64].lstrip(b" \t\r\n\xef\xbb\xbf")[:1]
    if begin in (b"{", b"["):
        document = _document(data, most)
        return _of_json(document) if document is not None else _of_lines(data)
    if begin == b"<":
        return of_xml(data[:FAULT])
    if content.media_type == "text/event-stream" or _STREAM.match(data):
        return worst(_of_event(event) for event in islice(error_events(data), MANY))
    return None


def _document(data: bytes, most: int) -> Any:
    """The JSON text; of one that is too long its ``errors``, which GraphQL puts first (§7.1)."""
    try:
        if len(data) < most:
            return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
        first = _ERRORS_FIRST.match(data)
        if first is not None:
            text = data[first.end() - 1 :].decode("utf-8", "replace")
            return {"errors": json.JSONDecoder().raw_decode(text)[0], "data": {}}
    except (ValueError, RecursionError):
        pass
    return None


# --- JSON -------------------------------------------------------------------------------------------------------------


def _of_json(document: Any) -> InBand | None:
    if isinstance(document, list):
        return worst(_of_object(one) for one in document[:MANY])
    return _of_object(document)


def _of_lines(data: bytes) -> InBand | None:
    """Lines of JSON: a stream that cannot go on says so in one of them."""
    for line in data.split(b"\n", LINES)[:LINES]:
        if b"rror" not in line:
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        found = _of_object(document)
        if found is None and isinstance(document, dict) and document.get("error") and len(document) <= 3:
            found = _of_event(document)
        if found is not None:
            return found
    return None


def _of_object(document: Any) -> InBand | None:
    if not isinstance(document, dict):
        return None
    if "jsonrpc" in document or (
        "id" in document and ("result" in document or isinstance(document.get("error"), dict))
    ):
        return _of_rpc(document)
    errors = document.get("errors")
    if isinstance(errors, list) and errors and document.keys() <= _GRAPHQL:
        return worst(_of_graphql(one, document) for one in errors[:MANY])
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
        return made(rank, "json-rpc error", str_of(known), message if isinstance(message, str) else told(error))
    if isinstance(result, dict) and result.get("isError") is True:
        content = result.get("content")
        first = content[0] if isinstance(content, list) and content else None
        text = first.get("text") if isinstance(first, dict) else None
        return made(REFUSED, "tool error", "", text if isinstance(text, str) else "the tool failed")
    return None


def _of_graphql(error: Any, document: dict[str, Any]) -> InBand | None:
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    extensions = error.get("extensions")
    known = extensions if isinstance(extensions, dict) else {}
    names = (known.get("code"), known.get("classification"), error.get("code"), error.get("type"))
    code = next((str(name)[:60] for name in names if isinstance(name, (str, int)) and name != ""), "")
    if _GRAPHQL_REFUSED.match(code):
        rank = REFUSED
    elif _GRAPHQL_FAILED.match(code):
        rank = FAILED
    else:
        rank = FAILED if "data" in document and document["data"] is None else REFUSED
    path = error.get("path")
    fields = [one for one in path[:20] if isinstance(one, str)] if isinstance(path, list) else []
    return made(rank, "graphql error", code, error["message"], f"  at {'.'.join(fields)[:80]}" if fields else "")


def _of_event(event: Any) -> InBand | None:
    if not isinstance(event, dict):
        return made(FAILED, "sse error", "", str(event) or "error")
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
