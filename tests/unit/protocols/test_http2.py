"""HTTP/2 as it is read from outside. The other opinion is the ``h2`` package's, at both ends."""

from __future__ import annotations

import gzip
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.exchange.exchange import UNRANKED
from shadowd.ledger.budget import Budget
from shadowd.protocols import http2_frames as frames
from shadowd.protocols.hpack import encode
from shadowd.protocols.http2 import MAX_STREAMS, Http2Codec
from shadowd.protocols.http2_frames import frame
from tests.unit.protocols.http2_peers import CLIENT, SERVER, Headers, Reading, Talk, asked

OK: Headers = [(b":status", b"200"), (b"content-type", b"text/plain")]


def test_a_request_and_its_answer() -> None:
    talk = Talk()
    stream = talk.ask(asked(b"/a?b=1", b"GET", (b"cookie", b"a=1"), (b"x-one", b"1"), (b"cookie", b"b=2")))
    talk.answer(stream, OK, b"fine")
    seen = Reading().read(talk.wire)
    (one,) = seen.exchanges
    assert one.request.head == b"GET /a?b=1 HTTP/2\r\nhost: shop\r\ncookie: a=1; b=2\r\nx-one: 1\r\n\r\n"
    assert (one.request.method, one.request.target, one.request.body) == (b"GET", b"/a?b=1", b"")
    assert one.response is not None
    assert one.response.head == b"HTTP/2 200\r\ncontent-type: text/plain\r\n\r\n"
    assert (one.response.status, one.response.body, one.response.body_length) == (200, b"fine", 4)
    assert one.response.trailers == b""
    assert seen.told == ["request /a?b=1", "response /a?b=1 200"]
    assert not one.uncomparable
    assert set(seen.gone) == {"http2_control"}
    seen.close()


def test_bodies_trailers_and_interim_answers() -> None:
    talk = Talk()
    body, answer = bytes(range(256)) * 400, gzip.compress(b"x" * 100_000)
    stream = talk.ask(asked(b"/up", b"POST"), body, [(b"x-sum", b"7")])
    talk.server.send_headers(stream, [(b":status", b"103"), (b"link", b"</a>")])
    talk.answer(stream, OK, answer, [(b"grpc-status", b"0"), (b"grpc-message", b"")])
    (one,) = Reading().read(talk.wire).close().exchanges
    assert one.request.body == body
    assert one.request.trailers == b"x-sum: 7\r\n"
    assert one.response is not None
    assert one.response.body == answer
    assert one.response.trailers == b"grpc-status: 0\r\ngrpc-message: \r\n"


def test_an_answer_beyond_the_limit_is_a_digest() -> None:
    talk = Talk()
    for _ in range(2):
        talk.answer(talk.ask(asked()), OK, b"y" * 50_000)
    talk.answer(talk.ask(asked()), OK, b"y" * 49_999 + b"z")
    seen = Reading(body_limit=1000).read(talk.wire)
    one, two, three = (exchange.response for exchange in seen.exchanges)
    assert one is not None
    assert two is not None
    assert three is not None
    assert one.body_length == 50_000
    assert len(one.body) == 1000
    assert one.digest == two.digest != three.digest


exchanges = st.lists(
    st.tuples(
        st.binary(max_size=300),  # what the request says, b"" for none
        st.binary(max_size=40_000),
        st.booleans(),  # trailers
    ),
    min_size=1,
    max_size=8,
)


@given(exchanges, st.data())
def test_any_order_of_answers_and_any_segments(wanted: list[tuple[bytes, bytes, bool]], data: st.DataObject) -> None:
    """Requests and answers interleave as somebody likes, and are cut wherever."""
    talk = Talk()
    asks = list(range(len(wanted)))
    open_streams: dict[int, int] = {}
    while asks or open_streams:
        if asks and (not open_streams or data.draw(st.booleans(), label="ask")):
            number = asks.pop(0)
            said, _, trailing = wanted[number]
            trailers = [(b"x-t", b"%d" % number)] if trailing and said else None
            headers = asked(b"/%d" % number, b"POST" if said else b"GET", (b"x-id", b"%d" % number))
            open_streams[number] = talk.ask(headers, said or None, trailers)
        else:
            number = data.draw(st.sampled_from(sorted(open_streams)), label="answer")
            _, answer, trailing = wanted[number]
            trailers = [(b"x-t", b"%d" % number)] if trailing else None
            talk.answer(open_streams.pop(number), [*OK, (b"x-id", b"%d" % number)], answer, trailers)
    seen = Reading()
    for direction, piece in talk.wire:
        cuts = sorted({0, len(piece), *data.draw(st.lists(st.integers(0, len(piece)), max_size=3), label="cuts")})
        for begin, end in pairwise(cuts):
            seen.feed(direction, piece[begin:end], acked=data.draw(st.booleans(), label="acked"))
    seen.close()
    assert [one.request.target for one in seen.exchanges] == [b"/%d" % number for number in range(len(wanted))]
    for number, one in enumerate(seen.exchanges):
        said, answer, trailing = wanted[number]
        assert one.request.body == said
        assert one.response is not None
        assert one.response.body == answer
        assert b"x-id: %d\r\n" % number in one.response.head
        assert one.response.trailers == (b"x-t: %d\r\n" % number if trailing else b"")
    ranks = [one.rank for one in seen.exchanges if one.rank != UNRANKED]
    assert sorted(ranks) == list(range(len(ranks)))
    ended = [one.request.target for one in seen.answered]
    ranked = sorted((one for one in seen.exchanges if one.rank != UNRANKED), key=lambda one: one.rank)
    assert [one.request.target for one in ranked] == ended[: len(ranked)]
    assert all(one.after <= len(ranks) for one in seen.exchanges)


def test_a_request_waits_for_what_its_client_had_read() -> None:
    """Answers 1 and 2 of three are whole, and acknowledged, before the fourth request begins."""
    talk = Talk()
    first, second, third = (talk.ask(asked(b"/%d" % number)) for number in (1, 2, 3))
    talk.answer(second, OK, b"2")
    talk.answer(first, OK, b"1")
    seen = Reading().read(talk.wire)
    at = len(talk.wire)
    talk.ask(asked(b"/4"))
    talk.answer(third, OK, b"3")
    for direction, piece in talk.wire[at:]:
        seen.feed(direction, piece)
    assert [one.after for one in seen.exchanges] == [0, 0, 0, 2]
    assert [one.rank for one in seen.exchanges[:2]] == [1, 0]
    assert seen.exchanges[2].rank == 2  # the last to end: waited for by what comes after three acknowledged ends


def test_what_is_not_acknowledged_is_not_waited_for() -> None:
    talk = Talk()
    talk.answer(talk.ask(asked(b"/1")), OK, b"1")
    talk.ask(asked(b"/2"))
    seen = Reading()
    for direction, piece in talk.wire:
        seen.feed(direction, piece, acked=False)
    assert [one.after for one in seen.exchanges] == [0, 0]


def test_an_answer_before_the_request_is_whole() -> None:
    talk = Talk()
    stream = 1
    talk.client.send_headers(stream, asked(b"/up", b"POST"))
    talk.client.send_data(stream, b"first")
    talk.flush()
    talk.answer(stream, OK, b"enough")
    talk.client.send_data(stream, b" second", end_stream=True)
    talk.flush()
    seen = Reading().read(talk.wire).close()
    assert seen.told == ["request /up", "response /up 200"]
    (one,) = seen.exchanges
    assert one.request.body == b"first second"
    assert one.response is not None
    assert one.response.body == b"enough"


@pytest.mark.parametrize(
    ("by", "when", "code", "told"),
    [
        ("client", "asking", frames.CANCEL, ["filtered cancelled"]),
        ("client", "asked", frames.CANCEL, ["request /r", "response /r unknown"]),
        ("client", "answering", frames.CANCEL, ["request /r", "response /r unknown"]),
        ("server", "asking", frames.INTERNAL_ERROR, ["filtered cancelled"]),
        ("server", "asking", frames.REFUSED_STREAM, ["filtered goaway"]),
        ("server", "asked", frames.INTERNAL_ERROR, ["request /r", "response /r unknown"]),
        ("server", "asked", frames.REFUSED_STREAM, ["request /r", "response /r unknown"]),
        ("server", "answering", frames.INTERNAL_ERROR, ["request /r", "response /r unknown"]),
    ],
)
def test_resets(by: str, when: str, code: int, told: list[str]) -> None:
    talk = Talk()
    talk.client.send_headers(1, asked(b"/r", b"POST"))
    talk.client.send_data(1, b"part", end_stream=when != "asking")
    talk.flush()
    if when == "answering":
        talk.server.send_headers(1, OK)
        talk.server.send_data(1, b"part")
        talk.flush()
    (talk.client if by == "client" else talk.server).reset_stream(1, code)
    talk.flush()
    talk.answer(talk.ask(asked(b"/next")), OK, b"fine")
    seen = Reading().read(talk.wire).close()
    assert seen.told == [*told, "request /next", "response /next 200"]
    blamed = ("reset", "truncated")[when == "answering"] if by == "server" and code == frames.INTERNAL_ERROR else ""
    assert [one.failure for one in seen.exchanges[:-1]] == ([] if when == "asking" else [blamed])


def test_a_goaway_says_what_was_not_looked_at() -> None:
    talk = Talk()
    talk.answer(talk.ask(asked(b"/1")), OK, b"fine")
    talk.client.send_headers(3, asked(b"/2"), end_stream=True)
    talk.client.send_headers(5, asked(b"/3", b"POST"))
    talk.flush()
    talk.raw(SERVER, frame(frames.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4) + b"drain"))
    seen = Reading().read(talk.wire)
    assert seen.told[2:] == ["request /2", "response /2 unknown", "filtered goaway"]
    assert seen.exchanges[1].failure == ""
    seen.close()


def test_pushes_are_read_for_their_tables_and_left() -> None:
    talk = Talk()
    stream = talk.ask(asked(b"/page"))
    talk.server.push_stream(stream, 2, asked(b"/style", b"GET", (b"x-new", b"in the table")))
    talk.server.send_headers(2, [*OK, (b"x-other", b"in the table")])
    talk.server.send_data(2, b"body {}", end_stream=True)
    talk.flush()
    talk.answer(stream, [*OK, (b"x-new", b"in the table"), (b"x-other", b"in the table")], b"page")
    seen = Reading().read(talk.wire).close()
    assert seen.told == ["request /page", "response /page 200"]
    assert seen.exchanges[0].response is not None
    assert b"x-other: in the table\r\n" in seen.exchanges[0].response.head
    assert seen.gone["http2_push"] > 0


@pytest.mark.parametrize(
    "headers",
    [
        asked(b"/a b"), asked(b"/\r\nx: y"), asked(b""), asked(b"/", b"GE T"), asked(b"/", b"GET", (b"X-Upper", b"1")),
        asked(b"/", b"GET", (b"x\r\ny", b"1")), asked(b"/", b"GET", (b"x", b"1\r\nevil: 2")),
        asked(b"/", b"GET", (b"x", b"\0")), asked(b"/", b"GET", (b"connection", b"close")),
        asked(b"/", b"GET", (b"transfer-encoding", b"chunked")), asked(b"/", b"GET", (b":late", b"1")),
        asked(b"/", b"GET", (b"x", b"1"), (b":path", b"/again")), asked(b"/", b"GET", (b":path", b"/again")),
        [(b":method", b"GET"), (b":path", b"/")], [(b":status", b"200")], asked(b"/", b"GET", (b"te", b"gzip")),
        asked(b"/", b"GET", (b":protocol", b"websocket")), [(b":method", b"CONNECT"), (b":scheme", b"http")],
        asked(b"/", b"GET", (b"content-length", b"0"), (b"content-length", b"0")),
        asked(b"/", b"GET", (b"content-length", b"-1")), asked(b"/", b"GET", (b"content-length", b"0, 0")),
        asked(b"/", b"GET", (b"content-length", b"9" * 5000)), asked(b"/", b"GET", (b"content-length", b"")),
    ],
)  # fmt: skip
def test_heads_that_make_none_are_unparsable_and_inject_nothing(headers: Headers) -> None:
    talk = Talk()
    talk.answer(talk.ask(asked(b"/first")), OK, b"fine")
    talk.raw(CLIENT, frames.header_block(3, encode(headers), end=True))
    talk.raw(CLIENT, frames.header_block(5, encode(asked(b"/last")), end=True))
    talk.raw(SERVER, frames.reset(3, frames.PROTOCOL_ERROR))
    talk.raw(SERVER, frames.header_block(5, encode(OK), end=True))
    seen = Reading().read(talk.wire).close()
    assert seen.told[2:] == ["filtered unparsable", "request /last", "response /last 200"]


@pytest.mark.parametrize("extended", [False, True])
def test_tunnels_are_left(extended: bool) -> None:
    talk = Talk()
    headers: Headers = [(b":method", b"CONNECT"), (b":authority", b"db:5432")]
    if extended:
        headers = [*asked(b"/chat", b"CONNECT"), (b":protocol", b"websocket")]
    talk.raw(CLIENT, frames.header_block(1, encode(headers), end=False))
    talk.raw(SERVER, frames.header_block(1, encode([(b":status", b"200")]), end=False))
    talk.raw(CLIENT, frame(frames.DATA, 0, 1, b"hello"))
    talk.raw(SERVER, frame(frames.DATA, 0, 1, b"hello yourself"))
    talk.raw(CLIENT, frames.header_block(3, encode(asked()), end=True))
    seen = Reading().read(talk.wire)
    assert seen.told == ["filtered upgraded", "request /"]
    assert seen.gone["upgraded"] > 20
    seen.close()


# --- holes ------------------------------------------------------------------------------------------------------------


def holed(direction: int) -> Reading:
    """A thousand bytes within the content of one DATA frame were not captured."""
    talk = Talk()
    stream = talk.ask(asked(b"/up", b"POST"), b"a" * 15_000)
    talk.answer(stream, OK, b"b" * 15_000)
    talk.answer(talk.ask(asked(b"/next")), OK, b"fine")
    seen, body = Reading(), b"ab"[direction : direction + 1] * 15_000
    for way, piece in talk.wire:
        if way == direction and body in piece:
            at = piece.index(body) + 5
            seen.feed(way, piece[:at])
            (seen.codec.server_gap if way else seen.codec.client_gap)(1000, seen.time)
            seen.feed(way, piece[at + 1000 :])
        else:
            seen.feed(way, piece)
    return seen


def test_a_hole_in_a_requests_content_costs_that_request() -> None:
    assert holed(CLIENT).close().told == ["lost gap", "request /next", "response /next 200"]


def test_a_hole_in_an_answers_content_costs_that_answer() -> None:
    seen = holed(SERVER).close()
    assert seen.told == ["request /up", "response /up unknown", "request /next", "response /next 200"]


@pytest.mark.parametrize("direction", [CLIENT, SERVER])
def test_any_other_hole_ends_the_direction(direction: int) -> None:
    talk = Talk()
    talk.answer(talk.ask(asked(b"/1")), OK, b"one")
    waiting = talk.ask(asked(b"/2"))
    seen = Reading().read(talk.wire)
    at = len(talk.wire)
    (seen.codec.server_gap if direction else seen.codec.client_gap)(100, seen.time)
    talk.answer(waiting, OK, b"two")
    talk.answer(talk.ask(asked(b"/3")), OK, b"three")
    for way, piece in talk.wire[at:]:
        seen.feed(way, piece)
    seen.close()
    if direction == CLIENT:
        assert seen.told[2:] == ["request /2", "lost gap", "response /2 200"]
    else:
        assert seen.told[2:] == ["request /2", "response /2 unknown", "request /3", "response /3 unknown"]
    assert seen.gone["gap"] > 0


def test_the_servers_end_is_its_failure_and_one_that_we_assume_is_not() -> None:
    for ended in (True, False):
        talk = Talk()
        talk.ask(asked(b"/1"))
        stream = talk.ask(asked(b"/2"))
        talk.server.send_headers(stream, OK)
        talk.flush()
        seen = Reading().read(talk.wire)
        if ended:
            seen.codec.server_eof(seen.time)
        seen.close()
        assert [one.failure for one in seen.exchanges] == (["reset", "truncated"] if ended else ["", ""])
        assert all(one.uncomparable for one in seen.exchanges)


def test_a_request_that_is_cut_off() -> None:
    talk = Talk()
    talk.client.send_headers(1, asked(b"/up", b"POST"))
    talk.client.send_data(1, b"part")
    talk.flush()
    seen = Reading().read(talk.wire)
    seen.codec.client_eof(seen.time)
    assert seen.close().told == ["lost truncated"]


# --- streams that go on -----------------------------------------------------------------------------------------------


def test_a_call_of_grpc_has_times_where_its_answer_came_in_pieces() -> None:
    talk = Talk()
    for pieces in (1, 3):
        stream = talk.ask(asked(b"/shop.Shop/GetItem"))
        talk.server.send_headers(stream, [(b":status", b"200"), (b"content-type", b"application/grpc+proto")])
        for _ in range(pieces):
            talk.server.send_data(stream, b"\0\0\0\0\2\x08\1")
            talk.flush()
        talk.server.send_headers(stream, [(b"grpc-status", b"0")], end_stream=True)
        talk.flush()
    seen = Reading().read(talk.wire)
    one, several = (exchange.response for exchange in seen.exchanges)
    assert one is not None
    assert one.marks is None
    assert several is not None
    assert several.marks is not None
    assert len(several.marks) == 3
    seen.close()


def test_a_stream_of_events_has_the_times_of_its_pieces_and_a_book_that_closes() -> None:
    talk = Talk()
    stream = talk.ask(asked(b"/events"))
    talk.server.send_headers(stream, [(b":status", b"200"), (b"content-type", b"text/event-stream")])
    talk.flush()
    for number in range(3):
        talk.server.send_data(stream, b"data: %d\n\n" % number)
        talk.flush()
    seen = Reading().read(talk.wire)
    (one,) = seen.exchanges
    assert seen.told == ["request /events"]
    seen.codec.close_book(one)
    seen.check()
    assert one.response is not None
    assert one.response.open
    assert one.response.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert one.response.marks is not None
    base = one.response.begin + len(one.response.head)
    assert [offset - base for offset, _ in one.response.marks] == [9, 18, 27]
    at = len(talk.wire)
    talk.server.send_data(stream, b"data: 3\n\n", end_stream=True)
    talk.flush()
    talk.answer(talk.ask(asked(b"/next")), OK, b"fine")
    for way, piece in talk.wire[at:]:
        seen.feed(way, piece)
    assert seen.told[1:] == ["response /events 200", "request /next", "response /next 200"]
    seen.close()


# --- hostile ----------------------------------------------------------------------------------------------------------


def preface() -> bytes:
    return frames.PREFACE_BYTES + frames.settings({})


def test_a_flood_of_continuations_ends_the_direction() -> None:
    seen = Reading()
    seen.feed(CLIENT, preface() + frame(frames.HEADERS, 0, 1, b""))
    for _ in range(100):
        if seen.told:
            break
        seen.feed(CLIENT, frame(frames.CONTINUATION, 0, 1, bytes(16_000)))
    assert seen.told == ["filtered unparsable"]
    seen.close()


def test_rapid_reset_keeps_nothing() -> None:
    seen = Reading()
    seen.feed(CLIENT, preface())
    block = encode(asked(b"/reset"))
    for number in range(1, 20_000, 2):
        seen.feed(CLIENT, frames.header_block(number, block, end=True) + frames.reset(number, frames.CANCEL))
    assert len(seen.exchanges) == len(seen.answered) == 10_000
    assert seen.codec._streams == {}
    assert seen.codec.client_pending == 0


def test_streams_that_are_never_answered_are_bounded() -> None:
    seen = Reading()
    seen.feed(CLIENT, preface())
    block = encode(asked(b"/wait", b"POST"))
    for number in range(1, 4 * MAX_STREAMS, 2):
        seen.feed(CLIENT, frames.header_block(number, block, end=False))
    assert seen.told == ["lost memory"] * MAX_STREAMS
    assert len(seen.codec._streams) == MAX_STREAMS
    seen.close()


def test_control_frames_and_empty_data_keep_nothing() -> None:
    seen = Reading()
    seen.feed(CLIENT, preface() + frames.header_block(1, encode(asked(b"/", b"POST")), end=False))
    held = seen.codec._held
    flood = frames.settings({}) + frame(frames.PING, 0, 0, bytes(8))
    flood += frame(frames.DATA, 0, 1) + frame(0x99, 0, 7, b"unknown")
    for _ in range(2000):
        seen.feed(CLIENT, flood)
        seen.feed(SERVER, flood)
    assert seen.codec._held == held < 1000
    assert seen.told == []
    seen.close()


def test_a_list_of_fields_that_nobody_reads_is_too_large_and_the_table_goes_on() -> None:
    talk = Talk()
    talk.raw(CLIENT, frames.header_block(1, encode(asked(b"/1")) + b"\x40\x01x\x7f\x80\x1e" + b"v" * 3967, end=True))
    talk.raw(CLIENT, frames.header_block(3, encode(asked(b"/2")) + b"\xbe" * 8000, end=True))
    talk.raw(CLIENT, frames.header_block(5, encode(asked(b"/3")) + b"\xbe", end=True))
    seen = Reading().read(talk.wire)
    assert seen.told == ["request /1", "lost too_large", "request /3"]
    assert b"\r\nx: vvv" in seen.exchanges[-1].request.head


def test_requests_beyond_the_limit_and_without_memory() -> None:
    talk = Talk()
    talk.answer(talk.ask(asked(b"/1", b"POST"), b"x" * 30_000), OK, b"fine")
    talk.answer(talk.ask(asked(b"/2", b"POST"), b"x" * 3000), OK, b"fine")
    assert Reading(max_body=10_000).read(talk.wire).close().told == ["lost too_large", "request /2", "response /2 200"]
    budget = Budget(4000)
    seen = Reading()
    seen.codec = Http2Codec(seen, seen, body_limit=1 << 20, budget=budget)  # type: ignore[arg-type]
    seen.read(talk.wire)
    assert seen.told[0] == "lost memory"
    seen.close()
    assert budget.used == 0


@given(st.binary(max_size=400), st.integers(0, 1), st.integers(0, 2000), st.data())
def test_whatever_comes_is_accounted_and_raises_nothing(
    noise: bytes, direction: int, at: int, data: st.DataObject
) -> None:
    talk = Talk()
    for number in range(3):
        talk.answer(talk.ask(asked(b"/%d" % number, b"POST"), b"q" * 50), OK, b"a" * 100, [(b"x", b"1")])
    streams = [b"".join(piece for way, piece in talk.wire if way == one) for one in (CLIENT, SERVER)]
    wire = streams[direction]
    at = min(at, len(wire))
    streams[direction] = wire[:at] + noise + wire[at + data.draw(st.integers(0, 40)) :]
    seen = Reading()
    for begin in range(0, max(map(len, streams)), 97):
        for way in (CLIENT, SERVER):
            if piece := streams[way][begin : begin + 97]:
                seen.feed(way, piece)
    seen.close()
    assert seen.codec._held == 0


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_frames_of_noise(pieces: list[bytes]) -> None:
    seen = Reading()
    seen.feed(CLIENT, frames.PREFACE_BYTES)
    for number, piece in enumerate(pieces):
        kind = piece[0] % 11 if piece else 0
        flags, stream = piece[1] if len(piece) > 1 else 0, piece[2] % 4 if len(piece) > 2 else 0
        seen.feed(number % 2, frame(kind, flags, stream, piece))
    seen.close()
    assert seen.codec._held == 0
    assert len(seen.answered) == len(seen.exchanges), "each request's answer is told, if only that it is unknown"


def bomb(first: int, count: int) -> bytes:
    """Heads of 250 KB, each by some seventy bytes: what they name has been put into the table before."""
    fill = encode([*asked(b"/", b"POST")]) + b"\x40\x01x\x7f\x80\x1e" + b"v" * 3967
    again = encode([*asked(b"/", b"POST")]) + b"\xbe" * 60
    heads = [frames.header_block(first + 2 * index, again, end=False) for index in range(count)]
    return frames.header_block(first, fill, end=False) + b"".join(heads[1:])


def test_heads_that_a_few_bytes_name_are_charged_while_they_are_read() -> None:
    """A client's HPACK bomb: 2,000 open streams of 240 KB of fields each, in one segment after another."""
    budget = Budget(4 << 20)
    seen = Reading(budget=budget)
    said = preface() + bomb(1, 2000)
    for at in range(0, len(said), 60_000):
        seen.feed(CLIENT, said[at : at + 60_000])
        assert budget.used < (4 << 20) + 400_000
    assert seen.told.count("lost memory") > 1900
    seen.close()
    assert budget.used == 0
