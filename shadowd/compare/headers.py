"""Heads: parsed only when they differ, compared field by field (sans-IO).

Heads repeat: a service sends the same dozen of them, apart from ``Date``. So two heads are first compared as bytes
without their Date line, then looked up in ``Options.head_memo`` under ``(production, candidate)`` without Date, and
only a pair never seen before is parsed:

    bytes equal ──► bytes without Date equal ──► memo ──► parse and compare, remember
      40 ns                0.5 µs                0.9 µs         some 20 µs

Never compared: what a connection or a proxy needs for itself (RFC 9110 §7.6.1), when an answer was made or cached
(``Date``, ``Age``), what framing says (``Content-Length``: the body tells), and whatever ``Connection`` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from shadowd.compare.difference import NONE, Collector, Difference, Differences, Options

#: Pairs in the memo; then it is emptied. 512 pairs of ``MEMO_HEAD`` bytes are 4 MB at the very most.
MEMO_PAIRS = 512
#: A longer head is not remembered: it holds a cookie or a token of its own and will not come again.
MEMO_HEAD = 4 << 10
#: Fields that are parsed; servers refuse about 100 (Apache LimitRequestFields, Node.js 2000). The rest is left out.
MAX_FIELDS = 2000

_NEVER = frozenset(
    {
        "date", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "via", "age",
        "content-length", "x-shadowd", "set-cookie",
    }
)  # fmt: skip
_NEVER_PREFIXES = ("proxy-", "x-shadowd-")
_FOLD = re.compile(rb"\r?\n[ \t]+")


class Headers:
    """The fields of a head, in order, each name (lower case) with all its values; parsed at the first question.

    Anything is accepted: a line without a colon is skipped, obsolete folding becomes one space (RFC 9112 §5.2).
    Values are Latin-1 text, as bytes were sent.
    """

    __slots__ = ("_fields", "_head")

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._fields: dict[str, list[str]] | None = None

    @property
    def fields(self) -> dict[str, list[str]]:
        if self._fields is None:
            self._fields = _parse_untrusted(self._head)
        return self._fields

    def all(self, name: str) -> list[str]:
        """Every value of ``name`` (lower case), in order."""
        return self.fields.get(name, [])

    def first(self, name: str) -> str:
        """The first value of ``name`` (lower case), "" if there is none."""
        values = self.fields.get(name)
        return values[0] if values else ""

    def listed(self, name: str) -> list[str]:
        """The elements of a comma-separated list over all lines, lower case, without empty ones (RFC 9110 §5.6.1)."""
        return [e for value in self.all(name) for part in value.split(",") if (e := part.strip(" \t").lower())]


def unfolded(head: bytes) -> bytes:
    """Obsolete line folding replaced by one space."""
    return _FOLD.sub(b" ", head)


def _parse_untrusted(head: bytes) -> dict[str, list[str]]:
    start = head.find(b"\n") + 1  # the status line says nothing that ``Response.status`` does not
    fields: dict[str, list[str]] = {}
    lines = unfolded(head[start:]) if start else b""
    for line in lines.decode("latin-1").split("\n", MAX_FIELDS)[:MAX_FIELDS]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), []).append(value.strip(" \t\r"))
    return fields


def without_date(head: bytes) -> bytes:
    """The head without its first Date line: two heads that are equal then are equal."""
    at = head.find(b"\r\nDate:")
    if at < 0:
        at = head.find(b"\r\ndate:")
        if at < 0:
            at = head.lower().find(b"\r\ndate:")
            if at < 0:
                return head
    return head[:at] + head[head.find(b"\r\n", at + 2) :]


def compare_heads(production: bytes, candidate: bytes, options: Options) -> Differences:
    """Differences of headers and cookies; at most ``options.max_differences``. Remembers: see the module's head."""
    if production == candidate:
        return NONE
    p, c = without_date(production), without_date(candidate)
    if p == c:
        return NONE
    memo = options.head_memo
    known = memo.get((p, c))
    if known is not None:
        return known
    result = _compare(Headers(p), Headers(c), options)
    if len(p) <= MEMO_HEAD and len(c) <= MEMO_HEAD:
        if len(memo) >= MEMO_PAIRS:
            memo.clear()
        memo[p, c] = result
    return result


def _compare(production: Headers, candidate: Headers, options: Options) -> Differences:
    found = Collector(options.max_differences)
    hop = {*production.listed("connection"), *candidate.listed("connection")}
    for name in {**production.fields, **candidate.fields}:
        if name in _NEVER or name in hop or name.startswith(_NEVER_PREFIXES) or not options.compares_header(name):
            continue
        # One line with commas and several lines mean the same (RFC 9110 §5.3).
        p, c = production.fields.get(name), candidate.fields.get(name)
        p_text, c_text = ", ".join(p or ()), ", ".join(c or ())
        if c is None:
            found.add(Difference("header", name, "missing", p_text))
        elif p is None:
            found.add(Difference("header", name, "extra", "", c_text))
        elif p_text != c_text:
            kind = "value"
            if name == "content-type" and media_type(p_text) != media_type(c_text):
                kind = "media_type"
            found.add(Difference("header", name, kind, p_text, c_text))
    if options.compares_header("set-cookie"):
        _compare_cookies(_cookies(production.all("set-cookie")), _cookies(candidate.all("set-cookie")), found)
    return found.result()


def media_type(content_type: str) -> str:
    """``text/html`` of ``Text/HTML; charset=utf-8``."""
    return content_type.partition(";")[0].strip().lower()


def _cookies(values: Iterable[str]) -> dict[str, tuple[str, dict[str, str]]]:
    """Value and attributes (lower case) by name (RFC 6265 §5.2); the last of a name counts, as in a browser."""
    cookies: dict[str, tuple[str, dict[str, str]]] = {}
    for value in values:
        pair, *rest = value.split(";", 32)  # RFC 6265bis knows eight attributes
        name, _, content = pair.partition("=")
        attributes = {}
        for attribute in rest:
            key, _, setting = attribute.partition("=")
            if key.strip():
                attributes[key.strip().lower()] = setting.strip()
        cookies[name.strip()] = (content.strip(), attributes)
    return cookies


def _compare_cookies(
    production: dict[str, tuple[str, dict[str, str]]],
    candidate: dict[str, tuple[str, dict[str, str]]],
    found: Collector,
) -> None:
    for name in {**production, **candidate}:
        p, c = production.get(name), candidate.get(name)
        if c is None or p is None:
            assert (p or c) is not None
            side = ("missing", "set", "") if c is None else ("extra", "", "set")
            found.add(Difference("cookie", name, *side))
            continue
        if p[0] != c[0]:
            found.add(Difference("cookie", name, "value", _hidden(p[0]), _hidden(c[0])))
        # An attribute is a field of its own: a session's value is always another, its HttpOnly must not be.
        for key in {**p[1], **c[1]}:
            path, ours, theirs = f"{name}; {key}", p[1].get(key), c[1].get(key)
            if theirs is None:
                found.add(Difference("cookie", path, "missing", ours or "set"))
            elif ours is None:
                found.add(Difference("cookie", path, "extra", "", theirs or "set"))
            elif ours.lower() != theirs.lower() and key != "expires":  # a date: counted from the moment of the answer
                found.add(Difference("cookie", path, "value", ours, theirs))


def _hidden(value: str) -> str:
    """Cookie values are secrets more often than not."""
    return f"{len(value)} characters, not shown"
