"""Two answers to the same request, compared (sans-IO). The cheap path comes first: most answers are equal.

request carries production's validator ───► not comparable (``conditional.py``)
status differs ───────────────────────────► that one difference: a 500 is one error, not forty missing fields
heads equal but for Date, bodies equal ───► nothing: no parse
heads differ ─────────────────────────────► headers and cookies (remembered, see ``shadowd.compare.headers``)
body bytes equal ─────────────────────────► no more than that
a body longer than was kept ──────────────► by digest, and the difference says so
else: framing and codings undone ─────────► trailers
                                            equal content ────────► no more than that
                                            a coding is not there ► as it was sent, and the difference says so
                                            else ─────────────────► by what it looks like (``bodies.py``)

What tells the time of its own answer, or names the authority that we changed, is no difference (``alike.py``): that is
asked only where values differ.
"""

from __future__ import annotations

import re

from shadowd.compare.alike import Alike, names_target
from shadowd.compare.bodies import annotated, by_digest, compare_contents, is_text
from shadowd.compare.conditional import not_comparable
from shadowd.compare.content import Content, content_untrusted
from shadowd.compare.context import UNKNOWN, Context
from shadowd.compare.difference import NONE, SHOWN, Difference, Differences, Options
from shadowd.compare.headers import compare_heads, compare_trailers, explained_heads
from shadowd.compare.resp import compare_turns
from shadowd.exchange.exchange import Response
from shadowd.protocols.content_digest import ContentDigest

#: Bytes of a body after decompression: sixteen times the compressed body usually kept, and some 40 ms to parse as JSON.
CONTENT_LIMIT = 4 << 20

_PROTOBUF = re.compile("grpc|proto")  # a media type of either
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:[^\r\n]*chunked")


def compare_answers(
    production: Response, candidate: Response, options: Options, context: Context | None = None
) -> Differences:
    """What the candidate answers otherwise than production did, at most ``options.max_differences``; the rest is
    counted in ``more``. Never raises for what was answered. Status 0 is a raw turn. A pair that is ``not_comparable``
    has no differences."""
    if production.status != candidate.status:
        if not_comparable(production, candidate, context.request_head if context is not None else b""):
            return NONE
        return Differences((Difference("status", "", "value", str(production.status), str(candidate.status)),))
    heads = compare_heads(production.head, candidate.head, options)
    bodies_equal = (
        production.body == candidate.body
        and production.body_length == candidate.body_length
        and production.digest == candidate.digest
        and production.trailers == candidate.trailers
    )
    if bodies_equal and not heads and production.open == candidate.open and candidate.loose <= production.loose:
        return NONE
    alike = Alike(context, production.head, candidate.head)
    if heads and alike.asks:
        heads = explained_heads(heads, production.head, candidate.head, options, alike)
    if candidate.loose > production.loose:
        heads = _joined(heads, _LOOSE, options.max_differences)
    status = production.status
    if production.open or candidate.open:
        found = _joined(heads, _compare_ends(production, candidate), options.max_differences)
    elif bodies_equal or (0 < status < 200 and status != 101) or status == 204 or status == 304:
        found = heads
    elif not status:
        return _compare_turns(production, candidate, options, alike)
    else:
        bodies = _compare_bodies(production, candidate, options, alike, context or UNKNOWN)
        found = _joined(heads, bodies, options.max_differences)
    return _hinted(found, context) if found and context is not None and context.candidate_authority else found


#: Clients that take HTTP at its word refuse the candidate's answer, and took production's.
_LOOSE = Differences(
    (Difference("header", "(framing)", "malformed", "HTTP/1.1", "bare line feeds or blanks around chunk sizes"),)
)

#: Told where the answer names the target, which production's would not.
HINT = "the target's own host: see --preserve-host"


def _hinted(found: Differences, context: Context) -> Differences:
    if not any(names_target(one.candidate, context) for one in found):
        return found
    made = []
    for one in found:
        if one.where != "cookie" and names_target(one.candidate, context):
            made.append(Difference(*one[:4], f"{one.candidate[: SHOWN - len(HINT) - 4]} ({HINT})"))
        else:
            made.append(one)
    return Differences.of(made, found.more)


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


def _compare_turns(production: Response, candidate: Response, options: Options, alike: Alike) -> Differences:
    p, c = production.body, candidate.body
    whole = production.body_length == len(p) and candidate.body_length == len(c)
    if whole:
        found = compare_turns(p, c, options, alike)
        if found is not None:
            return found
    texts = [_turn_text(response) for response in (production, candidate)]
    return Differences((Difference("turn", "", "value", *texts),))


def _turn_text(response: Response) -> str:
    cut = "" if response.body_length == len(response.body) else f" of which the first {len(response.body)} were kept"
    return f"{response.body_length} bytes{cut}: {response.body[:160]!r}"


# --- bodies -----------------------------------------------------------------------------------------------------------


def _compare_bodies(
    production: Response, candidate: Response, options: Options, alike: Alike, context: Context
) -> Differences:
    if not (_whole(production) and _whole(candidate)):
        return _compare_digests(production, candidate)
    p = content_untrusted(production.head, production.body, CONTENT_LIMIT)
    c = content_untrusted(candidate.head, candidate.body, CONTENT_LIMIT)
    if options.schema is not None and _PROTOBUF.search(p.media_type):
        p.message = options.schema.answer_of(_target(context.request_head))
    if p.problem or c.problem:
        found = _compare_problems(p, c, options, alike)
    else:
        found = NONE if p.data == c.data else compare_contents(p, c, options, alike)
    p.trailers, c.trailers = _trailers(production, p), _trailers(candidate, c)
    if p.trailers != c.trailers:
        trailers = compare_trailers(p.trailers, c.trailers, options, alike)
        found = _joined(found, trailers, options.max_differences)
    return found


def _target(request_head: bytes) -> bytes:
    return b"".join(request_head[: request_head.find(b"\r\n")].split(b" ")[1:2])


def _trailers(response: Response, content: Content) -> bytes:
    """Of HTTP/2 beside the content, of HTTP/1 behind its chunks."""
    return b"\r\n" + response.trailers if response.trailers else content.trailers


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


def _compare_problems(p: Content, c: Content, options: Options, alike: Alike) -> Differences:
    """A body whose coding cannot be undone, on one side or on both. Where it is the same on both, what was decoded is
    compared; where what was sent is text (the coding was announced and is not there) that is."""
    if p.problem != c.problem:
        texts = [content.problem or f"{len(content.data)} bytes, well encoded" for content in (p, c)]
        return Differences((Difference("body", "", "encoding", *texts),))
    if p.problem == "too large":  # only the beginning is known
        return by_digest(p.data, c.data, p.problem) or Differences(
            (Difference("body", "", "digest", f"{p.problem}: equal as far as decoded", "encoded otherwise"),)
        )
    decoded = p.data, c.data
    p.data, c.data = p.sent, c.sent
    if p.data == c.data:
        return _framed(p)
    note = f"{p.problem}: compared as sent"
    if is_text(p, "") and is_text(c, ""):  # a coding never is
        return annotated(compare_contents(p, c, options, alike), note)
    if decoded[0] == decoded[1]:
        return by_digest(p.data, c.data, f"{p.problem}: equal as far as decoded")
    p.data, c.data = decoded
    return annotated(compare_contents(p, c, options, alike), p.problem)


def _framed(content: Content) -> Differences:
    """What was not understood is the framing, and it is not the same: the bodies differ, what they hold does not."""
    texts = [f"{content.problem}: equal as far as understood", "framed otherwise"]
    return Differences((Difference("body", "", "encoding", *texts),))
