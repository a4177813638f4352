"""What a write and the answer to it name: ids, links, tokens; and whether a POST is a write at all (sans-IO)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

from shadowd.compare.content import content_untrusted
from shadowd.evidence.credentials import names_token
from shadowd.evidence.endpoints import is_variable
from shadowd.evidence.operations import operation_of
from shadowd.exchange.exchange import Request, Response

#: Longest path remembered: longer ones are no resource a person named.
MAX_PATH = 512
#: Longest id: a UUID in braces has 38 characters, a ULID 26, a sha256 64.
MAX_ID = 64
#: Bytes of a body in which ids and tokens are looked for: what a write answers with is a resource, not a list.
BODY = 32 << 10
MAX_MEMBERS = 128

_ID_MEMBER = re.compile(
    r"(?:(?:.*_)?(?:id|uuid|guid|slug|key|number|ref|reference)|.*(?:Id|ID|Uuid|UUID|Number|Ref|Slug)|_id)\Z"
)
_LINK = re.compile(r"(?i)(?:self|href|url|uri|link|location|@id)\Z")
_QUANTITY = re.compile(
    r"(?i)(?:qty|quantity|count|amount|price|total|page|limit|size|age|version|year|month|day|hour|minute|second|width"
    r"|height|weight|score|rating|duration|timestamp|created|updated|lat|lon|latitude|longitude|percent|discount|tax"
    r"|rank|position|index|sort)\Z"
)
_READ = re.compile(
    r"^(?:query|subscription|initialize|ping|completion|resources)\b"
    r"|(?:^|[./_ ])(?:[Gg]et|[Ll]ist|[Ss]earch|[Ff]ind|[Rr]ead|[Ff]etch|[Qq]uery|[Dd]escribe|[Cc]ount)(?![a-z])"
)
#: Elasticsearch's, searches with a body, and gRPC's methods by their usual names (AIP-130).
_READ_PATH = re.compile(
    rb"/(?:_?search|_msearch|_count|_mget|query)\Z|\.[A-Z]\w*/(?:Get|List|BatchGet|Search)(?![a-z])\w*\Z"
)


def path_of(target: bytes) -> bytes:
    """The path of a request-target of any form (RFC 9112 §3.2), without query and trailing slash."""
    scheme, separator, rest = target.partition(b"://")
    if separator and scheme.isalpha():
        target = b"/" + rest.partition(b"/")[2]
    return re.split(rb"[?#]", target, maxsplit=1)[0].rstrip(b"/")[:MAX_PATH] or b"/"


def ids_sent(request: Request) -> Iterator[bytes]:
    """Of what a write is about: ``{"product_id": 7, "quantity": 2}``, also as a form."""
    if not request.body:
        return
    content = content_untrusted(request.head, request.body, BODY)
    if content.media_type == "application/x-www-form-urlencoded":
        try:
            members: Any = dict(parse_qsl(content.data.decode("latin-1"), max_num_fields=MAX_MEMBERS))
        except ValueError:
            return
    else:
        members = _parsed(content.data)
    for name, value in _members(members):
        plain = not _QUANTITY.match(name) and (isinstance(value, int) or is_variable(str(value)[:MAX_ID]))
        yield from _id("id" if plain else name, value)  # {"item": 7}


def told_by(response: Response) -> Iterator[tuple[str, bytes]]:
    """(``id`` | ``link`` | ``token``, its text) of what an answer to a write names."""
    for name, value in _members(_document(response)):
        if not isinstance(value, str):
            yield from (("id", one) for one in _id(name, value))
        elif names_token(name, value):
            yield "token", value.encode("utf-8", "replace")
        elif value.startswith(("/", "http://", "https://")) and _LINK.match(name):
            yield "link", value[: 2 * MAX_PATH].encode("utf-8", "replace")
        else:
            yield from (("id", one) for one in _id("id" if is_variable(value[:MAX_ID]) else name, value))


def ids_shown(response: Response) -> Iterator[bytes]:
    """Of an answer that is one object, and of the objects in it; not of a list: a page of fifty always has somebody
    who was written to."""
    document = _document(response)
    if isinstance(document, dict):
        for one in (document, *islice(document.values(), MAX_MEMBERS)):
            for name, value in islice(one.items(), MAX_MEMBERS) if isinstance(one, dict) else ():
                yield from _id(name, value)


def _id(name: str, value: object) -> Iterator[bytes]:
    if isinstance(value, (str, int)) and not isinstance(value, bool) and _ID_MEMBER.match(name):
        text = str(value).encode("utf-8", "replace")
        if 0 < len(text) <= MAX_ID:
            yield text


def reads(request: Request) -> bool:
    """Whether a POST asks and does not change, by what it is called: a GraphQL query, GetItem, /_search."""
    if request.method != b"POST":
        return False
    operation = operation_of(request)
    if operation:
        return not operation.startswith(("mutation", "batch")) and _READ.search(operation) is not None
    return _READ_PATH.search(path_of(request.target)) is not None


def _document(response: Response) -> Any:
    if not response.body or response.body_length > BODY:
        return None
    return _parsed(content_untrusted(response.head, response.body, BODY).data)


def _parsed(data: bytes) -> Any:
    if data.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _members(document: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Scalars of an object and of what is in it, four deep: ``{"data": {"lines": [{"product_id": 7}]}}``."""
    if isinstance(document, list):  # a batch
        document = {"": document}
    if not isinstance(document, dict):
        return
    for name, value in islice(document.items(), MAX_MEMBERS):
        for one in value[:MAX_MEMBERS] if isinstance(value, list) else (value,):
            if not isinstance(one, (dict, list)):
                yield str(name), one
            elif depth < 4:
                yield from _members(one, depth + 1)
