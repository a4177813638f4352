"""Which requests are mirrored, and how their heads are changed for the shadow (sans-IO).

Everything goes out as production sent it, header order and case kept, except: ``Host`` becomes the target's (unless
preserved) and stands there once, ``X-Shadowd: <node>/<filter>`` is added, and the operator's own headers are set or
removed.

Paths are matched with their query, in whatever form the target came (RFC 9112 §3.2). What is excluded stays excluded in
any spelling that a server takes for the same (RFC 3986 §6.2.2): percent-encoded, with dots, with slashes doubled.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote_to_bytes

from shadowd.exchange import octets
from shadowd.exchange.exchange import WEBSOCKET, Request
from shadowd.exchange.patterns import compiled
from shadowd.policy.jsonedit import JsonEdit, edit_request
from shadowd.policy.rpc import reads
from shadowd.policy.upgrade import without_offer

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})  # safe in RFC 9110 §9.2.1, TRACE left out: it echoes secrets
LOOP_HEADER = b"X-Shadowd"
_LOOP_LOWER = b"\r\nx-shadowd:"
_AUTHORITY_END = re.compile(rb"[/?#]")
_RESPELT = re.compile(rb"%|//|/\.|\\")  # a target without any of these has one spelling
_HOST_LINES = re.compile(rb"(?i)\r\nhost:[^\r\n]*")
_SIGNATURE_BYTES = 16  # of HMAC-SHA256: RFC 2104 §5 allows truncation to half


def loop_value(node: str, name: str, key: bytes | None) -> bytes:
    """The value of ``X-Shadowd``: ``node/filter``, signed when the daemons share a key."""
    plain = f"{node}/{name}".encode()
    return plain if key is None else plain + b";" + _sign(plain, key)


def _sign(plain: bytes, key: bytes) -> bytes:
    return hmac.new(key, plain, hashlib.sha256).digest()[:_SIGNATURE_BYTES].hex().encode()


def path_and_query(target: bytes) -> bytes:
    """What of a request-target is matched: the path and query of an absolute form, any other form as it is."""
    if target.startswith(b"/"):
        return target
    scheme, separator, rest = target.partition(b"://")
    if not separator or not scheme.isalnum():
        return target
    path = rest[len(_AUTHORITY_END.split(rest, maxsplit=1)[0]) :]
    return path if path.startswith(b"/") else b"/" + path


def spelled_out(target: bytes) -> bytes:
    """A path and query with percent-encoding undone, dot segments removed (RFC 3986 §5.2.4) and no slash doubled."""
    path, mark, query = target.partition(b"?")
    segments: list[bytes] = []
    whole = unquote_to_bytes(path).replace(b"\\", b"/")
    for segment in whole.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    closed = segments and whole.endswith((b"/", b"/.", b"/.."))
    return b"/" + b"/".join(segments) + (b"/" if closed else b"") + mark + unquote_to_bytes(query)


def header_line(name: bytes) -> re.Pattern[bytes]:
    """Matches every line of a header in a head, folded lines (RFC 9112 §5.2) included; group 1 is the value."""
    return re.compile(rb"(?im)^" + re.escape(name) + rb":[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)\r\n")


class Policy:
    """Decides and rewrites for one filter.

    ``methods``: None admits any; ``SAFE_METHODS`` also calls of gRPC that only read, and those that their schema
    ``declared`` to change nothing. ``websocket`` admits what is said on a WebSocket too. ``match_headers``: (name,
    regex) pairs, all of which must hold. ``set_headers`` come after the others, replacing what was there.
    """

    __slots__ = (
        "_exclude_path",
        "_json_edits",
        "_loop_key",
        "_match_headers",
        "_match_path",
        "_methods",
        "_preserve_host",
        "_reads",
        "_removed",
        "_tail",
        "_websocket",
        "declared",
        "unedited",
    )

    def __init__(
        self,
        loop: bytes,
        loop_key: bytes | None = None,
        methods: Iterable[bytes] | None = SAFE_METHODS,
        match_path: str | None = None,
        exclude_path: str | None = None,
        match_headers: Sequence[tuple[str, str]] = (),
        set_headers: Sequence[tuple[str, str]] = (),
        remove_headers: Sequence[str] = (),
        preserve_host: bool = False,
        json_edits: Sequence[JsonEdit] = (),
        websocket: bool = False,
    ) -> None:
        self._websocket = websocket
        self._json_edits = list(json_edits)
        self.unedited = 0  # requests with a body in which not all edits could be made: sent as they were
        self._methods = None if methods is None else frozenset(methods)
        self._reads = methods is SAFE_METHODS
        self.declared: frozenset[bytes] = frozenset()
        self._match_path = compiled(match_path.encode()) if match_path else None
        self._exclude_path = compiled(exclude_path.encode()) if exclude_path else None
        self._match_headers = [(header_line(name.encode()), compiled(value.encode())) for name, value in match_headers]
        self._removed = [header_line(name.encode()) for name in (*remove_headers, *(name for name, _ in set_headers))]
        self._preserve_host = preserve_host
        self._loop_key = loop_key
        added = [LOOP_HEADER + b": " + loop, *(f"{name}: {value}".encode() for name, value in set_headers)]
        self._tail = b"\r\n".join(added) + b"\r\n\r\n"

    def refuse(self, request: Request) -> str:
        """The reason in ``ledger.FILTERED`` for which this request is not mirrored, or ""."""
        methods = self._methods
        if methods is not None and request.method not in methods and not self._harmless(request):
            return "method"
        if self._match_path is not None and not self._match_path.search(path_and_query(request.target)):
            return "path"
        if self._exclude_path is not None and self._excludes(request.target):
            return "path"
        if self._match_headers and not self._has_headers(request.head):
            return "header"
        lower = request.lowered or request.head.lower()
        if octets.find(lower, _LOOP_LOWER, 0, len(lower)) >= 0 and self._is_loop(request.head):
            return "loop"
        return ""

    def _harmless(self, request: Request) -> bool:
        """Whether it may pass although its method may write."""
        return (self._reads and reads(request, self.declared)) or (self._websocket and request.turn is not None)

    @property
    def talks(self) -> bool:
        """Whether what is said on a WebSocket may be mirrored."""
        return self._websocket or self._methods is None or WEBSOCKET in self._methods

    def _has_headers(self, head: bytes) -> bool:
        return all(any(map(value.search, line.findall(head))) for line, value in self._match_headers)

    def _excludes(self, target: bytes) -> bool:
        exclude = self._exclude_path
        assert exclude is not None
        path = path_and_query(target)
        if exclude.search(path):
            return True
        return _RESPELT.search(path) is not None and exclude.search(spelled_out(path)) is not None

    def _is_loop(self, head: bytes) -> bool:
        """A replayed request: any mark, or with a shared key only a signed one, so that outsiders cannot hide."""
        if self._loop_key is None:
            return True
        for value in header_line(LOOP_HEADER).findall(head):
            plain, _, signature = value.strip().rpartition(b";")
            if plain and hmac.compare_digest(signature, _sign(plain, self._loop_key)):
                return True
        return False

    def rewrite(self, request: Request, host: bytes, edit: bool = True) -> bytes:
        """The bytes for the shadow; ``host`` is the target's authority for the Host header. ``edit``: make the JSON
        edits, which a baseline is spared: it answers what production was asked."""
        head, body = request.head, request.body
        if edit and body and self._json_edits:
            edited = edit_request(head, body, self._json_edits)
            if edited is None:
                self.unedited += 1
            else:
                head, body = edited
        if request.upgrade:
            head = without_offer(head)
        lower = request.lowered if head is request.head else b""
        lower = lower or head.lower()
        if not self._preserve_host and request.target[:1] != b"/":
            head = self._absolute(head, request.target, host)
            lower = head.lower()
        size = len(head)
        at = octets.find(lower, b"\r\nhost:", 0, size)
        until = rest = size  # what stands before the host's value, and what stands behind it
        if at >= 0:
            rest = octets.find(head, b"\r\n", at + 2, size)
            until = rest if self._preserve_host else at + 7
        named = at >= 0 and not self._preserve_host
        several = at >= 0 and octets.find(lower, b"\r\nhost:", rest, size) >= 0
        if not several and not self._removed and octets.find(lower, _LOOP_LOWER, 0, size) < 0:
            if not named:
                return b"".join((octets.cut(head, 0, size - 2), self._tail, body))
            before, after = octets.cut(head, 0, until), octets.cut(head, rest, size - 2)
            return b"".join((before, b" ", host, after, self._tail, body))
        after = octets.cut(head, rest, size)
        if several:  # an error that some servers forgive (RFC 9112 §3.2)
            after = _HOST_LINES.sub(b"", after)
        head = octets.cut(head, 0, until) + (b" " + host if named else b"") + after
        for line in (*self._removed, header_line(LOOP_HEADER)):
            head = line.sub(b"", head)
        return b"".join((head[:-2], self._tail, body))

    @staticmethod
    def _absolute(head: bytes, target: bytes, host: bytes) -> bytes:
        """The authority of an absolute-form target rules over Host (RFC 9112 §3.2.2): it becomes the target's too."""
        scheme, separator, rest = target.partition(b"://")
        if not separator or not scheme.isalnum():
            return head
        path = rest[len(_AUTHORITY_END.split(rest, maxsplit=1)[0]) :]
        return head.replace(target, scheme + b"://" + host + path, 1)
