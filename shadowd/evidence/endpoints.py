"""Names of endpoints: a bounded number of them, whatever is asked for (sans-IO).

    GET /orders/8812/items?page=2   ──►   GET /orders/{id}/items

A route the operator gave comes first. Else every path segment is looked at: what is plainly an id, a UUID, a hash, a
date, a token or an e-mail address is folded by its looks. What is not (``/users/alice``) is folded by experience: a
place that has shown more than ``CHILDREN`` names becomes ``{name}``. The first segment, and those below ``/api`` and
``/v1``, hold a service's resources and not its customers' names, and fold only above ``ROOT_CHILDREN``.

Where one URL carries many operations (GraphQL, JSON-RPC, SOAP …) the operation is named too:

    POST /graphql {"operationName": "GetCart", ...}   ──►   POST /graphql query GetCart

The hot path is one look into a memo of recent targets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote_to_bytes

from shadowd.errors import UsageError
from shadowd.evidence.operations import operation_of
from shadowd.exchange.exchange import WEBSOCKET, Request

#: Names of one place before they are data. REST collections name fewer verbs and sub-resources than this.
CHILDREN = 20
ROOT_CHILDREN = 100
#: Targets remembered; then the memo is emptied. With ``MEMO_TARGET`` at most 4 MB.
MEMO = 4096
MEMO_TARGET = 1024
#: Segments of a path that are told apart.
SEGMENTS = 16
#: Places that are remembered; those of new paths are "other" then. 20,000 are some 6 MB.
PLACES = 20_000
NAME = 200
#: Operations of one URL that are told apart, as a large front end has them. Further ones are ``POST /graphql other``.
OPERATIONS = 100
OTHER = "other"
RAW = "raw"

_SHAPES = (
    (re.compile(r"-?[0-9]+\Z"), "{id}"),
    (re.compile(r"\{?[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\}?\Z"), "{uuid}"),
    (re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9](?:[T_ ][0-9:.,Z+-]*)?\Z"), "{date}"),
    (re.compile(r"(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{16,}\Z"), "{hash}"),
    (re.compile(r"[^@]+@[^@]+\.[^@.]+\Z"), "{email}"),
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*\Z"), "{token}"),  # JSON Web Token
    # base64 has digits, and is long; a slug has hyphens between words, so two cases or no hyphen are asked for.
    (re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])[\w+=~-]{20,}\Z", re.ASCII), "{token}"),
    (re.compile(r"(?=[^0-9]*[0-9])[A-Za-z0-9_+=~]{20,}\Z"), "{token}"),
)
_VERSION = re.compile(r"v?[0-9]{1,4}(?:\.[0-9]{1,6})+(?:-?(?:alpha|beta|rc)[.0-9]*)?\Z", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]+")
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}\Z")
_PREFIX = re.compile(r"(?:api|rest|v[0-9]{1,3}(?:\.[0-9]{1,2})?)\Z", re.IGNORECASE)
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
#: Decoded, these would change what the path means, or hide that they were encoded.
_RESERVED = frozenset("/?#%{} \ufffd")
_METHOD = re.compile(r"[A-Z][A-Z-]*\Z")
_PARAMETER = re.compile(r"(\{[^{}/]*\.\.\.\}|\*\*?\Z)|\{[^{}/]*\}|\*")


class Endpoints:
    """Names requests. ``routes``: ``/users/{id}`` or ``GET /users/{id}``; ``{x}`` is one segment, ``{x...}`` or a final
    ``*`` the rest of the path; the first that matches names the endpoint and does not count against ``limit``.
    Raises ``UsageError`` for what is no route."""

    __slots__ = ("_children", "_folded", "_limit", "_memo", "_names", "_operations", "_places", "_routes", "_urls")

    def __init__(self, routes: Sequence[str] = (), limit: int = 500) -> None:
        self._limit = limit
        self._routes = [_route(text) for text in routes]
        self._memo: dict[tuple[bytes, bytes], str] = {}
        self._urls: dict[bytes, str] = {}  # likewise of targets whose query has the operation
        self._operations: dict[str, set[str]] = {}  # by the name of the URL
        self._names: set[str] = set()
        self._children: dict[str, set[str]] = {}  # by the folded path of the parent
        self._folded: set[str] = set()  # parents whose children are {name}
        self._places = 0

    def name(self, method: bytes, target: bytes) -> str:
        """``GET /orders/{id}``: printable, at most 200 characters. ``raw`` for a turn, ``other`` beyond the limit."""
        at = target.find(b"?")
        if at >= 0:
            target = target[:at]
        name = self._memo.get((method, target))
        return name if name is not None else self._new(method, target)

    def name_of(self, request: Request) -> str:
        """The same of a whole request, with its operation; of a turn its first command."""
        method, target = request.method, request.target
        if method == b"GET":
            if target.find(b"uery") < 0:  # query=, or persistedQuery among the extensions
                return self.name(method, target)
            name = self._urls.get(target)
            if name is None:
                name = self._with_operation(request)
                if len(self._urls) >= MEMO:
                    self._urls.clear()
                if len(target) <= MEMO_TARGET:
                    self._urls[target] = name
            return name
        if method == b"POST" or method == WEBSOCKET:
            return self._with_operation(request)
        return self.name(method, target) if method else raw_name(request.body)

    def forget(self, secret: Callable[[str, str], bool]) -> None:
        """Segments below a path that are not to be kept; the place that they took is free again."""
        for parent, children in self._children.items():
            gone = {child for child in children if secret(parent, child)}
            children -= gone
            self._places -= len(gone)

    @property
    def folded(self) -> frozenset[str]:
        """Paths whose children are ``{name}``."""
        return frozenset(self._folded)

    def _with_operation(self, request: Request) -> str:
        name = self.name(request.method, request.target)
        operation = operation_of(request)
        if not operation or name == OTHER:
            return name
        known = self._operations.get(name)
        if known is None:
            if len(self._operations) >= self._limit:
                return name
            known = self._operations[name] = set()
        full = f"{name} {operation}"
        if len(full) > NAME:
            full = full[: NAME - 1] + "…"
        if full not in known:
            if len(known) >= OPERATIONS or len(self._names) >= self._limit:
                return f"{name} {OTHER}"
            known.add(full)
            self._names.add(full)
        return full

    def _new(self, method: bytes, target: bytes) -> str:
        if not method:
            return RAW
        folds = len(self._folded)
        name = self._work_out(method, target)
        if len(self._folded) != folds or len(self._memo) >= MEMO:
            self._memo.clear()  # names that are remembered may be folded now
        if len(target) <= MEMO_TARGET:
            self._memo[method, target] = name
        return name

    def _work_out(self, method: bytes, target: bytes) -> str:
        verb = _printable(method)[:20]
        path = _path(target)
        for own, pattern, text in self._routes:
            if own in ("", verb) and pattern.match(path):
                return f"{verb} {text}"[:NAME]
        if not path.startswith("/"):
            name = verb if verb == "CONNECT" else f"{verb} *"
        else:
            folded = self._fold(path)
            if folded is None:
                return OTHER
            name = f"{verb} {folded}"
        if len(name) > NAME:
            name = name[: NAME - 1] + "…"
        if name not in self._names:
            if len(self._names) >= self._limit:
                return OTHER
            self._names.add(name)
        return name

    def _fold(self, path: str) -> str | None:
        """The path with its variable segments folded; None if there is no room to remember it."""
        segments = path.split("/", SEGMENTS + 1)[1:]
        more = len(segments) > SEGMENTS
        place = ""
        resources = True  # every segment so far is a prefix like api or v1
        for segment in segments[:SEGMENTS]:
            name = _by_looks(segment)
            if name == segment and segment:
                limit = ROOT_CHILDREN if resources else CHILDREN
                if not self._known(place, segment, limit):
                    return None
                if place in self._folded:
                    name = "{name}"
                resources = resources and _PREFIX.match(segment) is not None
            else:
                resources = False
            place = f"{place}/{name}"
        return f"{place}/…" if more else place

    def _known(self, place: str, segment: str, limit: int) -> bool:
        """Remember a child of ``place``; False if there is no room."""
        if place in self._folded:
            return True
        children = self._children.get(place)
        if children is not None and segment in children:
            return True
        if self._places >= PLACES:
            return False
        if children is None:
            children = self._children[place] = set()
        children.add(segment)
        self._places += 1
        if len(children) > limit:
            self._folded.add(place)
            below = place + "/"
            for known in [p for p in self._children if p == place or p.startswith(below)]:
                self._places -= len(self._children.pop(known))
        return True


def _path(target: bytes) -> str:
    """The path of a request target in any of its forms (RFC 9112 §3.2), without query and fragment; printable."""
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        target = target[absolute.end() :] or b"/"
    target = target.partition(b"?")[0].partition(b"#")[0]
    return target[: 8 * MEMO_TARGET].decode("latin-1")


def _by_looks(segment: str) -> str:
    """``{id}`` and its like, or the segment as it is shown."""
    segment = segment.partition(";")[0]  # matrix parameters: ;jsessionid=...
    if len(segment) > 4 * NAME:
        return "{token}"
    text, plain = _decoded(segment)
    shape = _shape(plain)
    if shape:
        return shape
    extension = _EXTENSION.search(plain)
    if extension is not None:
        stem = plain[: extension.start()]
        shape = _shape(stem) or _mixed(stem)
        if shape:
            return shape + extension[0]
    return _mixed(plain) or text


def is_variable(segment: str) -> bool:
    """Whether a segment of a path looks like data: an id, a UUID, a date ..., not like a resource's name."""
    return len(segment) <= 4 * NAME and bool(_shape(segment) or _mixed(segment))


def _shape(text: str) -> str:
    return next((name for pattern, name in _SHAPES if pattern.match(text)), "")


def _mixed(text: str) -> str:
    """``{id}`` for letters with many digits among them."""
    if _VERSION.match(text):
        return ""
    runs = _DIGITS.findall(text)
    # user-12345 has many digits, A1B2C3 has them in many places; sha256 and v2beta1 have neither.
    return "{id}" if len(runs) >= 3 or sum(map(len, runs)) >= 4 else ""


def _decoded(segment: str) -> tuple[str, str]:
    """The segment as it is shown, and as it is judged. Shown is what was sent, printable, with percent-encoding undone
    where that leaves one plain segment; judged is what the encoding stands for: its own digits are no one's id."""
    plain = segment
    if "%" in segment:
        plain = unquote_to_bytes(segment).decode("utf-8", errors="replace")
        if plain.isprintable() and not _RESERVED & set(plain) and plain:
            return plain, plain
    return _printable(segment.encode("latin-1")), plain


def _printable(data: bytes) -> str:
    """ASCII as it is, anything else percent-encoded."""
    if data.isascii():
        text = data.decode("ascii")
        if text.isprintable() and " " not in text:
            return text
    return "".join(chr(b) if 0x21 <= b < 0x7F else f"%{b:02X}" for b in data)


def _route(text: str) -> tuple[str, re.Pattern[str], str]:
    """(method or "", pattern of the path, path) of ``GET /users/{id}``."""
    verb, space, path = text.strip().rpartition(" ")
    verb = verb.strip()
    if not path.startswith("/") or (space and not _METHOD.match(verb)) or not path.isprintable() or len(path) > NAME:
        raise UsageError(f"{text!r} is not a route", "write '/users/{id}' or 'GET /users/{id}'")
    if path.count("{") != path.count("}") or re.search(r"\{[^}/]*[{/]", path):
        raise UsageError(f"{text!r} has a brace without its partner", "write '/users/{id}' or 'GET /users/{id}'")
    pattern, at = "", 0
    for parameter in _PARAMETER.finditer(path):
        pattern += re.escape(path[at : parameter.start()]) + (".*" if parameter[1] else "[^/]+")
        at = parameter.end()
    return verb, re.compile(pattern + re.escape(path[at:]) + r"/?\Z", re.DOTALL), path


def raw_name(body: bytes) -> str:
    """Endpoint of a Redis turn by its first command (``raw GET``): RESP arrays and inline commands; else ``raw``."""
    match = _RESP_COMMAND.match(body) or _INLINE_COMMAND.match(body)
    return f"{RAW} {match[1].decode('ascii').upper()}" if match else RAW


_RESP_COMMAND = re.compile(rb"\*[0-9]{1,7}\r\n\$[0-9]{1,2}\r\n([A-Za-z][A-Za-z._|]{0,31})\r\n")
_INLINE_COMMAND = re.compile(rb"([A-Za-z]{2,20})(?: [^\r\n]{0,1000})?\r?\n")
