"""What a request asks for where one URL carries many operations (sans-IO).

===========================  ========================================  ===========================================
protocol                     recognised by                             named
===========================  ========================================  ===========================================
GraphQL                      a document in ``query`` (JSON or URL)     ``query GetCart``; ``query cart`` (its first
                             or as ``application/graphql``             field) where it has no name
GraphQL, persisted           ``operationName`` or a hash, no query     ``query GetCart``; ``persisted 3f2a9c01``
JSON-RPC 2.0, 1.0, MCP       ``method`` beside ``jsonrpc`` or ``id``   ``eth_call``; ``tools/call search``
SOAP                         SOAPAction, or the first child of Body    ``GetPrice``
XML-RPC                      ``<methodName>``                          ``cart.add``
WebSocket                    its turns                                 as above, else ``type`` or ``event`` of a JSON
                                                                       object; ``(pushed)``
AWS                          ``X-Amz-Target``, or ``Action=`` of a     ``GetItem``
                             form that has ``Version=``
===========================  ========================================  ===========================================

A batch of JSON-RPC is named by its calls, each once and in the order of their names (``batch ping, tools/list``; of
more than ``BATCH`` the first ``and more``), another by its first operation. The body is what counts, not the
path: a search with ``{"query": "shoes"}`` is no GraphQL, because that is no document of it. Other requests cost a look
at the method and at a few bytes.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from shadowd.compare.content import content_untrusted
from shadowd.exchange.exchange import WEBSOCKET, Request
from shadowd.protocols.websocket_events import name_of

#: A request's body, decompressed: contexts of models are longer, but they have no operation. Some 3 ms as JSON.
BODY = 256 << 10
#: Characters of a GraphQL document that are looked at: those of large front ends have 20,000, with fragments last.
DOCUMENT = 32 << 10
NAME = 80
BATCH = 2  # names of a batch's calls that are told

_HINTS = (b'"query"', b'"method"', b'"jsonrpc"', b'"operationName"', b'"persistedQuery"')
#: A string that does not end reaches to the end: no token is tried twice over the same bytes.
_SCAN = re.compile(
    r'"""(?>(?:[^"\\]++|\\.|"(?!""))*)(?:""")?|"(?:[^"\\\n]|\\.)*+"?|#[^\n\r]*+|[_A-Za-z][_0-9A-Za-z]*+'
    r"|[{}()\[\]:$@!=|&]|\.\.\.",
    re.DOTALL,
)
_KEYWORDS = frozenset({"query", "mutation", "subscription"})
_BEGINS = re.compile(
    r"[\s,\ufeff]*(?:#[^\n\r]*+[\s,]*+){0,50}(?:\{|(?:query|mutation|subscription|fragment)\b\s*[\w({@])"
)
_WORD = re.compile(r"[_A-Za-z][_0-9A-Za-z]*\Z")
_UUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
_HASH = re.compile(r"(?<![0-9A-Za-z])(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{16,}(?![0-9A-Za-z])")
_NUMBER = re.compile(r"(?<![0-9.])[0-9]{4,}|(?<![0-9A-Za-z])[0-9]+(?![0-9A-Za-z])")
_AMZ_TARGET = re.compile(rb"(?im)^x-amz-target:[ \t]*([^\r\n]{1,300})")
_SOAP_ACTION = re.compile(rb'(?im)^(?:soapaction:[ \t]*|content-type:[^\r\n]{0,300}\baction=)"?([^"\r\n;]{1,300})')
_SOAP_BODY = re.compile(rb"<(?:[\w.-]{1,40}:)?Body\b[^>]{0,500}>\s{0,200}<(?:[\w.-]{1,40}:)?([\w.-]{1,100})")
_XML_RPC = re.compile(rb"<methodCall\b[^>]{0,100}>\s{0,100}<methodName>\s{0,20}([^<\s]{1,200})")
_ACTION = re.compile(rb"(?:\A|&)Action=([A-Za-z0-9]{1,100})(?:&|\Z)")


def operation_of(request: Request) -> str:
    """``query GetCart``, ``tools/call search`` …, printable, at most 80 characters; "" if the URL says all that there
    is. Never raises."""
    if request.method == b"POST":
        return _printable(_posted(request)) if request.body else ""
    if request.method == WEBSOCKET:
        return _printable(_said(request))
    target = request.target
    if request.method == b"GET" and b"uery" in target:  # query=, or persistedQuery among the extensions
        return _printable(_asked_by_url(target))
    return ""


def _printable(name: str) -> str:
    name = _NUMBER.sub("{id}", _HASH.sub("{hash}", _UUID.sub("{uuid}", name[: 4 * NAME])))
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name if len(name) <= NAME else name[: NAME - 1] + "…"


# --- where it stands --------------------------------------------------------------------------------------------------


def _plain_data(request: Request) -> bool:
    """JSON that names no operation, as most is: told without undoing what there is of codings."""
    body, lowered = request.body, request.lowered or request.head.lower()
    if body[:1] not in (b"{", b"[") or len(body) > BODY:
        return False
    if b"content-encoding:" in lowered or b"graphql" in lowered or b"-target:" in lowered:
        return False
    return not any(hint in body for hint in _HINTS)


def _posted(request: Request) -> str:
    if _plain_data(request):
        return ""
    head = request.head
    target = _AMZ_TARGET.search(head) if b"-target:" in head.lower() else None
    if target is not None:
        return target[1].decode("latin-1").strip().rpartition(".")[2]
    content = content_untrusted(head, request.body, BODY)
    data = content.data.lstrip(b" \t\r\n\xef\xbb\xbf")
    first = data[:1]
    if content.problem and content.problem != "too large":
        return ""
    if first == b"<":
        return _of_xml(head, data)
    if first in (b"{", b"["):
        if content.media_type == "application/graphql":
            return _document_name(data[:DOCUMENT].decode("utf-8", "replace"), "")
        if content.problem or not any(hint in data for hint in _HINTS):
            return ""
        try:
            return _of_json(json.loads(data), content.media_type)
        except (ValueError, RecursionError):
            return ""
    if content.media_type == "application/graphql":
        return _document_name(data[:DOCUMENT].decode("utf-8", "replace"), "")
    if content.media_type == "application/x-www-form-urlencoded":
        if b"Version=" in data:
            action = _ACTION.search(data)
            if action is not None:
                return action[1].decode("ascii")
        if b"query=" in data:
            return _of_pairs(data[:DOCUMENT])
    return ""


def _said(request: Request) -> str:
    """On a WebSocket: of several messages the first one's; what is no operation is called by what it says it is."""
    body = request.body
    if not body:
        return "(pushed)"
    if body.startswith(b"event: "):
        return body[7 : body.find(b"\n")].decode("ascii", "replace")
    return _posted(request) or name_of(body)


def _asked_by_url(target: bytes) -> str:
    return _of_pairs(target.partition(b"?")[2][:DOCUMENT])


def _of_pairs(pairs: bytes) -> str:
    """GraphQL over GET: ``query``, ``operationName``, ``extensions`` (GraphQL over HTTP, "GET")."""
    try:
        asked: dict[str, Any] = dict(parse_qsl(pairs.decode("latin-1"), max_num_fields=50))
        if "extensions" in asked:
            asked["extensions"] = json.loads(asked["extensions"])
    except (ValueError, RecursionError):
        return ""
    if "query" not in asked and not {"extensions", "variables"} & asked.keys():
        return ""  # ?operationName= alone is somebody's own parameter
    return _graphql(asked)


def _of_xml(head: bytes, data: bytes) -> str:
    called = _XML_RPC.search(data[:2000])
    if called is not None:
        return called[1].decode("latin-1")
    if b"nvelope" not in data[:4000]:
        return ""
    action = _SOAP_ACTION.search(head)
    name = re.split(rb"[/#:]", action[1].strip().rstrip(b"/"))[-1] if action is not None else b""
    if not name:
        child = _SOAP_BODY.search(data[: 32 << 10])
        name = child[1] if child is not None else b""
    return name.decode("latin-1")


def _of_json(document: Any, media_type: str) -> str:
    if isinstance(document, list):
        return _of_batch(document, media_type)
    if not isinstance(document, dict):
        return ""
    method = document.get("method")
    if isinstance(method, str) and method and ("jsonrpc" in document or "id" in document):
        return _rpc(method, document)
    if "jsonrpc" in document and ("result" in document or "error" in document):
        return "(response)"  # MCP: the client answers what the server asked
    return _graphql(document)


def _of_batch(listed: list[Any], media_type: str) -> str:
    calls = [one for one in listed if isinstance(one, dict)]
    if not calls or calls[0] is not listed[0]:
        return ""
    if not any("method" in one for one in calls):
        first = _of_json(calls[0], media_type)
        return f"batch {first}" if first else ""
    names = sorted({_of_json(one, media_type) for one in calls} - {""})
    more = " and more" if len(names) > BATCH else ""
    return f"batch {', '.join(name[: NAME // BATCH] for name in names[:BATCH])}{more}" if names else ""


# --- JSON-RPC ---------------------------------------------------------------------------------------------------------


def _rpc(method: str, document: dict[str, Any]) -> str:
    """MCP (2025-06-18): the tool, the prompt, or the kind of resource says more than the method."""
    params = document.get("params")
    if isinstance(params, dict):
        if method in ("tools/call", "prompts/get") and isinstance(params.get("name"), str):
            return f"{method} {params['name']}"
        if method.startswith("resources/") and isinstance(params.get("uri"), str):
            scheme, found, _ = params["uri"][:200].partition("://")
            return f"{method} {scheme}" if found else method
    return method


# --- GraphQL ----------------------------------------------------------------------------------------------------------


def _graphql(asked: dict[str, Any]) -> str:
    name, document = asked.get("operationName"), asked.get("query")
    name = name if isinstance(name, str) and _WORD.match(name[:200]) else ""
    if isinstance(document, str) and document:
        return _document_name(document[:DOCUMENT], name)
    extensions = asked.get("extensions")
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if name and (persisted is not None or "variables" in asked or "extensions" in asked):
        return f"query {name}"  # as it is called where its text is sent; nothing tells a mutation here
    digest = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    return f"persisted {digest[:8]}" if isinstance(digest, str) and digest else ""


def _document_name(document: str, wanted: str) -> str:
    """Of the operation called ``wanted``, else of the first; "" if this is no document."""
    if _BEGINS.match(document) is None:
        return ""
    found = _operations(document, wanted)
    if found is None:
        return f"query {wanted}" if wanted else ""
    kind, name = found
    return f"{kind} {wanted or name}".rstrip()


def _operations(document: str, wanted: str) -> tuple[str, str] | None:
    """(kind, its name or its first field) of the operation; None if there is none (GraphQL, October 2021, §2)."""
    first: tuple[str, str] | None = None
    kind = name = field = ""
    depth = inside = 0  # of braces; of parentheses and brackets
    fragment = settled = False
    before = ""
    for match in _SCAN.finditer(document):
        token = match[0]
        if token[0] in '"#':
            continue
        if token in "([":
            inside += 1
        elif token in ")]":
            inside -= 1
        elif inside > 0:
            continue
        elif token == "{":
            depth += 1
            if depth == 1 and not kind and not fragment:
                kind = "query"  # the shorthand
        elif token == "}":
            depth -= 1
            if depth <= 0:
                depth = 0
                if kind:
                    if not wanted or name == wanted:
                        return kind, name or field
                    first = first or (kind, name or field)
                kind = name = field = ""
                fragment = settled = False
        elif depth == 0:
            if token in _KEYWORDS and not kind and not fragment:
                kind = token
            elif token == "fragment" and not kind:
                fragment = True
            elif kind and not name and before == kind and token[0] not in ":$@!=|&.":
                name = token
        elif depth == 1 and kind and token[0] not in ":$@!=|&." and before not in ("@", "...", "on"):
            if not field or (before == ":" and not settled):  # cart, or mine: cart
                settled = bool(field)
                field = token
            else:
                settled = True
        before = token
    if kind and depth and (name or field):  # cut off: what was read is enough
        return kind, name or field
    return first
