"""Two answers to the same request, compared (sans-IO). The cheap path comes first: most answers are equal.

status differs ───────────────────────────► that one difference: a 500 is one error, not forty missing fields
heads equal but for Date, bodies equal ───► nothing: no parse
heads differ ─────────────────────────────► headers and cookies (remembered, see ``shadowd.compare.headers``)
body bytes equal ─────────────────────────► no more than that
a body longer than was kept ──────────────► by digest, and the difference says so
else: framing and codings undone ─────────► equal content ──► no more than that
                                            JSON both ──────► structurally
                                            text, XML ... ──► by lines
                                            anything else ──► by length and digest
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

from shadowd.compare.content import Content, content_untrusted, known_charset
from shadowd.compare.difference import NONE, Difference, Differences, Options
from shadowd.compare.headers import compare_heads
from shadowd.compare.jsondiff import JsonError, Unbounded, diff_documents, parse_json_untrusted, parse_lines_untrusted
from shadowd.compare.resp import compare_turns
from shadowd.compare.textdiff import diff_texts
from shadowd.exchange import Response
from shadowd.protocols.content_digest import DIGEST_BYTES, ContentDigest

#: Bytes of a body after decompression: sixteen times the compressed body usually kept, and some 40 ms to parse as JSON.
CONTENT_LIMIT = 4 << 20

_CHUNKED = re.compile(rb"(?im)^transfer-encoding:[^\r\n]*chunked")
_JSON_LINES = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/json-seq",
    }
)
_TEXT = frozenset(
    {
        "application/xml", "application/javascript", "application/x-javascript", "application/ecmascript",
        "application/x-www-form-urlencoded", "application/graphql", "application/yaml", "application/x-yaml",
        "application/toml", "application/sql", "application/x-sh", "image/svg+xml", "application/openmetrics-text",
        "application/x-mpegurl", "application/vnd.apple.mpegurl",
    }
)  # fmt: skip


def compare_answers(production: Response, candidate: Response, options: Options) -> Differences:
    """What the candidate answers otherwise than production did, at most ``options.max_differences``; the rest is
    counted in ``more``. Never raises for what was answered. Status 0 is a raw turn."""
    if production.status != candidate.status:
        return Differences((Difference("status", "", "value", str(production.status), str(candidate.status)),))
    heads = compare_heads(production.head, candidate.head, options)
    bodies_equal = (
        production.body == candidate.body
        and production.body_length == candidate.body_length
        and production.digest == candidate.digest
    )
    if production.open or candidate.open:
        return _joined(heads, _compare_ends(production, candidate), options.max_differences)
    status = production.status
    if bodies_equal or 0 < status < 200 or status == 204 or status == 304:
        return heads
    if not status:
        return _compare_turns(production, candidate, options)
    bodies = _compare_bodies(production, candidate, options)
    return _joined(heads, bodies, options.max_differences)


def _compare_ends(production: Response, candidate: Response) -> Differences:
    """Of two streams at least one went on when the window was over: what they had said by then is not compared."""
    if production.open == candidate.open:
        return NONE
    texts = ["open" if response.open else "ended" for response in (production, candidate)]
    return Differences((Difference("stream", "", "value", *texts),))


def _joined(heads: Differences, bodies: Differences, limit: int) -> Differences:
    if not bodies:
        return heads
    if not heads:
        return bodies
    both = (*heads, *bodies)
    return Differences.of(both[:limit], heads.more + bodies.more + max(0, len(both) - limit))


# --- raw flows --------------------------------------------------------------------------------------------------------


def _compare_turns(production: Response, candidate: Response, options: Options) -> Differences:
    p, c = production.body, candidate.body
    whole = production.body_length == len(p) and candidate.body_length == len(c)
    if whole:
        found = compare_turns(p, c, options)
        if found is not None:
            return found
    texts = [_turn_text(response) for response in (production, candidate)]
    return Differences((Difference("turn", "", "value", *texts),))


def _turn_text(response: Response) -> str:
    cut = "" if response.body_length == len(response.body) else f" of which the first {len(response.body)} were kept"
    return f"{response.body_length} bytes{cut}: {response.body[:160]!r}"


# --- bodies -----------------------------------------------------------------------------------------------------------


def _compare_bodies(production: Response, candidate: Response, options: Options) -> Differences:
    if not (_whole(production) and _whole(candidate)):
        return _compare_digests(production, candidate)
    p = content_untrusted(production.head, production.body, CONTENT_LIMIT)
    c = content_untrusted(candidate.head, candidate.body, CONTENT_LIMIT)
    if p.problem or c.problem:
        return _compare_problems(p, c)
    if p.data == c.data:
        return NONE
    if p.media_type != c.media_type and options.compares_header("content-type"):
        return _by_digest(p.data, c.data, "media types differ")
    kind = p.media_type
    if kind == "application/json" or kind == "text/json" or kind.endswith("+json") or kind in _JSON_LINES:
        return _compare_json(p, c, options, kind in _JSON_LINES)
    if kind.startswith("text/") or kind in _TEXT or kind.endswith(("+xml", "+yaml")):
        return _compare_texts(p, c)
    if not kind:
        return _compare_unnamed(p, c, options)
    return _by_digest(p.data, c.data)


def _whole(response: Response) -> bool:
    return not response.digest and response.body_length == len(response.body)


def _compare_digests(production: Response, candidate: Response) -> Differences:
    """At least one body is longer than what was kept. Content-Encoding is not undone: nothing that large is."""
    if _cut(production) or _cut(candidate):  # of one only the beginning is known: what is known must do
        kept = min(len(production.body), len(candidate.body))
        if production.body_length == candidate.body_length and production.body[:kept] == candidate.body[:kept]:
            return NONE
        note = f"over the limit, the first {kept} bytes compared"
        texts = [f"{r.body_length} bytes, {note}" for r in (production, candidate)]
        kind = "length" if production.body_length != candidate.body_length else "digest"
        return Differences((Difference("body", "", kind, *texts),))
    digests = [_digest(response) for response in (production, candidate)]
    if digests[0] == digests[1]:
        return NONE
    texts = [
        f"{response.body_length} bytes on the wire, over the limit: compared by digest {digest.hex()}"
        for response, digest in zip((production, candidate), digests, strict=True)
    ]
    return Differences((Difference("body", "", "digest", *texts),))


def _cut(response: Response) -> bool:
    return not response.digest and response.body_length != len(response.body)


def _digest(response: Response) -> bytes:
    if response.digest:
        return response.digest
    digest = ContentDigest(bool(_CHUNKED.search(response.head)))
    digest.update_untrusted(response.body)
    return digest.digest()


def _compare_problems(p: Content, c: Content) -> Differences:
    """A body whose coding cannot be undone, on one side or on both."""
    if p.problem != c.problem:
        texts = [content.problem or f"{len(content.data)} bytes, well encoded" for content in (p, c)]
        return Differences((Difference("body", "", "encoding", *texts),))
    if p.data == c.data and p.problem != "too large":  # of a body that is too large only the beginning is known
        return NONE
    return _by_digest(p.data, c.data, p.problem) or Differences(
        (Difference("body", "", "digest", f"{p.problem}: equal as far as decoded", f"{c.problem}, encoded otherwise"),)
    )


def _compare_json(p: Content, c: Content, options: Options, lines: bool) -> Differences:
    documents: list[Any] = []
    faults: list[str] = []
    try:
        for content in (p, c):
            charset, strict = known_charset(content.charset), options.json_types_strict
            try:
                if lines:
                    documents.append(parse_lines_untrusted(content.data, options.max_nodes, charset, strict))
                else:
                    documents.append(parse_json_untrusted(content.data, charset, strict))
                faults.append("")
            except JsonError as error:
                faults.append(str(error))
        if len(documents) == 2:
            return diff_documents(documents[0], documents[1], options)
    except Unbounded as error:
        return _by_digest(p.data, c.data, str(error))
    if all(faults):
        return _compare_texts(p, c)
    texts = [fault or "well-formed JSON" for fault in faults]
    return Differences((Difference("body", "$", "malformed", *texts),))


def _compare_texts(p: Content, c: Content) -> Differences:
    found = diff_texts(p.text(), c.text())
    if not found and p.charset == c.charset:  # bytes that no character stands for
        return _by_digest(p.data, c.data)
    return found


def _compare_unnamed(p: Content, c: Content, options: Options) -> Differences:
    """No media type: what both look like."""
    if p.data[:1] in (b"{", b"[") and c.data[:1] in (b"{", b"["):
        return _compare_json(p, c, options, False)
    if b"\0" in p.data or b"\0" in c.data:
        return _by_digest(p.data, c.data)
    try:
        return diff_texts(p.data.decode(), c.data.decode())
    except UnicodeDecodeError:
        return _by_digest(p.data, c.data)


def _by_digest(p: bytes, c: bytes, why: str = "") -> Differences:
    if p == c:
        return NONE
    note = f" ({why}: compared by digest)" if why else ""
    texts = [f"{len(data)} bytes, {blake2b(data, digest_size=DIGEST_BYTES).hexdigest()}{note}" for data in (p, c)]
    return Differences((Difference("body", "", "length" if len(p) != len(c) else "digest", *texts),))
