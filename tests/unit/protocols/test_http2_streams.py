"""One stream of HTTP/2: what makes its request none, and what is kept of it. Peers of the ``h2`` package, or bytes that
they refuse to send."""

from __future__ import annotations

import gc

import pytest

from shadowd.exchange.exchange import UNRANKED, Exchange
from shadowd.ledger.budget import Budget
from shadowd.protocols import http2_frames as frames
from shadowd.protocols.hpack import encode
from shadowd.protocols.http2 import MAX_STREAMS, Http2Codec
from shadowd.protocols.http2_frames import frame
from tests.unit.protocols.http2_peers import CLIENT, SERVER, Headers, Reading, Talk, asked

OK: Headers = [(b":status", b"200"), (b"content-type", b"text/plain")]


@pytest.mark.parametrize("trailing", [False, True])
@pytest.mark.parametrize(("said", "content"), [(0, 46), (45, 46), (47, 46), (1, 0), (10**17, 46)])
def test_a_length_that_is_not_the_contents_smuggles_nothing(said: int, content: int, trailing: bool) -> None:
    """In HTTP/1 form the rest of this GET's content would be a request of its own, which no policy has seen."""
    talk = Talk()
    length = (b"content-length", b"%d" % said)
    hidden = b"DELETE /orders/1 HTTP/1.1\r\nHost: shop\r\n\r\n".ljust(46)[:content]
    talk.raw(CLIENT, frames.header_block(1, encode(asked(b"/a", b"GET", length)), end=not content and not trailing))
    if content:
        talk.raw(CLIENT, frame(frames.DATA, 0 if trailing else frames.END_STREAM, 1, hidden))
    if trailing:
        talk.raw(CLIENT, frames.header_block(1, encode([(b"x-sum", b"1")]), end=True))
    talk.raw(SERVER, frames.reset(1, frames.PROTOCOL_ERROR))
    seen = Reading().read(talk.wire).close()
    assert seen.told == ["filtered unparsable"]


@pytest.mark.parametrize("body", [b"", b"x" * 30_000])
@pytest.mark.parametrize("trailers", [None, [(b"x-sum", b"1")]])
def test_a_length_that_is_the_contents_is_no_reason(body: bytes, trailers: Headers | None) -> None:
    talk = Talk()
    length = (b"content-length", b"%d" % len(body))
    talk.answer(talk.ask(asked(b"/a", b"POST", length), body, trailers), OK, b"fine")
    seen = Reading().read(talk.wire).close()
    assert seen.told == ["request /a", "response /a 200"]
    assert seen.exchanges[0].request.body == body


def test_trailers_of_a_request_that_nobody_reads_are_too_large_and_not_cut() -> None:
    """A hundred names of what the first block put into the table."""
    talk = Talk()
    fill = encode(asked(b"/1", b"POST")) + b"\x40\x01x\x7f\x80\x1e" + b"v" * 3967
    talk.raw(CLIENT, frames.header_block(1, fill, end=False))
    talk.raw(CLIENT, frames.header_block(1, b"\xbe" * 100, end=True))
    talk.raw(CLIENT, frames.header_block(3, encode(asked(b"/2", b"POST")), end=False))
    talk.raw(CLIENT, frames.header_block(3, b"\xbe", end=True))
    seen = Reading().read(talk.wire)
    assert seen.told == ["lost too_large", "request /2"]
    assert seen.exchanges[0].request.trailers == b"x: " + b"v" * 3967 + b"\r\n"


def test_an_answer_before_its_request_has_its_place_among_the_answers() -> None:
    """Its client had read it whole when it went on: what it asks then waits for it."""
    talk = Talk()
    slow = talk.ask(asked(b"/slow"))
    talk.client.send_headers(3, asked(b"/early", b"POST"))
    talk.flush()
    talk.answer(3, OK, b"enough")
    talk.answer(slow, OK, b"slow")
    talk.client.end_stream(3)
    talk.flush()
    talk.ask(asked(b"/next"))
    seen = Reading().read(talk.wire)
    assert [(one.request.target, one.rank, one.after) for one in seen.exchanges] == [
        (b"/slow", 1, 0), (b"/early", 0, 0), (b"/next", UNRANKED, 2),
    ]  # fmt: skip
    seen.close()


def budgeted(budget: Budget, **limits: int) -> Reading:
    seen = Reading()
    seen.codec = Http2Codec(seen, seen, budget=budget, **{"body_limit": 1 << 20, **limits})
    return seen


def test_an_idle_connection_keeps_nothing_of_what_it_has_told() -> None:
    """The client says nothing more, so that nobody hears what it acknowledges: answers are not held for that."""
    talk = Talk()
    for number in range(20):
        talk.answer(talk.ask(asked(b"/%d" % number)), OK, b"a" * 3000)
    budget = Budget()
    seen = budgeted(budget)
    for direction, piece in talk.wire:
        seen.feed(direction, piece, acked=False)
    assert len(seen.answered) == 20
    assert budget.used == 0
    codec = seen.codec
    seen.exchanges.clear()
    seen.answered.clear()
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Exchange) and one.source is codec]


def test_an_answer_that_waits_for_its_request_is_charged() -> None:
    talk = Talk()
    talk.client.send_headers(1, asked(b"/early", b"POST"))
    talk.flush()
    talk.answer(1, OK, b"a" * 50_000)
    at = len(talk.wire)
    talk.client.end_stream(1)
    talk.flush()
    budget = Budget()
    seen = budgeted(budget)
    seen.read(talk.wire[:at])
    assert 50_000 < budget.used < 52_000
    seen.read(talk.wire[at:])
    assert seen.told == ["request /early", "response /early 200"]
    assert budget.used == 0


@pytest.mark.parametrize("how", ["too_large", "unparsable"])
def test_a_request_that_is_left_behind_its_answer_is_forgotten(how: str) -> None:
    """More of them than may be open: the next is read all the same."""
    talk = Talk()
    talk.answer(talk.ask(asked(b"/first")), OK, b"fine")
    budget = Budget()
    seen = budgeted(budget, max_body=100).read(talk.wire)
    head, answer = encode(asked(b"/up", b"POST")), encode(OK)
    rest = b"x" * 101 if how == "too_large" else b""
    bad = encode([(b"content-length:", b"\r\n")])
    for stream in range(3, 2 * MAX_STREAMS + 9, 2):
        seen.feed(CLIENT, frames.header_block(stream, head, end=False))
        seen.feed(SERVER, frames.header_block(stream, answer, end=True))
        end = frame(frames.DATA, 0, stream, rest) if rest else frames.header_block(stream, bad, end=True)
        seen.feed(CLIENT, end)
    assert budget.used == 0
    assert set(seen.told[2:]) == {"lost too_large" if rest else "filtered unparsable"}
    seen.close()


def test_a_hole_that_ends_with_its_frame_leaves_nothing_to_discard() -> None:
    """Of a stream that nobody follows; what comes behind it is read."""
    talk = Talk()
    talk.answer(talk.ask(asked(b"/1")), OK, b"fine")
    seen = Reading().read(talk.wire)
    head = frame(frames.DATA, frames.END_STREAM, 1, b"x" * 50)
    seen.feed(SERVER, head[:19])
    seen.codec.server_gap(40, seen.time)
    at = len(talk.wire)
    talk.answer(talk.ask(asked(b"/2")), OK, b"fine")
    seen.read(talk.wire[at:]).close()
    assert seen.gone["http2_control"] >= 19
    assert seen.told[-1] == "response /2 200"


@pytest.mark.parametrize("how", ["hole", "too_large", "trailers"])
@pytest.mark.parametrize("ends", ["content", "trailers"])
def test_a_request_that_is_left_while_its_answer_comes(how: str, ends: str) -> None:
    """A server of gRPC sends its head before the client has said all. The other streams are read as before."""
    talk = Talk()
    ok = encode(OK)
    talk.answer(talk.ask(asked(b"/1")), OK, b"fine")
    seen = Reading(max_body=1000).read(talk.wire)
    seen.feed(CLIENT, frames.header_block(3, encode(asked(b"/up", b"POST")), end=False))
    seen.feed(SERVER, frames.header_block(3, ok, end=False) + frame(frames.DATA, 0, 3, b"early"))
    if how == "hole":
        seen.feed(CLIENT, frame(frames.DATA, 0, 3, b"x" * 50)[:19])
        seen.codec.client_gap(40, seen.time)
    elif how == "too_large":
        seen.feed(CLIENT, frame(frames.DATA, 0, 3, b"x" * 1001))
    else:
        seen.feed(CLIENT, frames.header_block(3, encode([(b":late", b"1")]), end=True))
    seen.feed(SERVER, frame(frames.DATA, 0, 3, b"more"))
    if ends == "content":
        seen.feed(SERVER, frame(frames.DATA, frames.END_STREAM, 3, b"last"))
    else:
        seen.feed(SERVER, frames.header_block(3, encode([(b"grpc-status", b"0")]), end=True))
    seen.feed(CLIENT, frames.header_block(5, encode(asked(b"/2")), end=True))
    seen.feed(SERVER, frames.header_block(5, ok, end=True))
    left = {"hole": "lost gap", "too_large": "lost too_large", "trailers": "filtered unparsable"}[how]
    assert seen.told[2:] == [left, "request /2", "response /2 200"]
    seen.close()
