"""RawCodec: turns, what the client had read before each, and every byte accounted for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.exchange.exchange import Exchange
from shadowd.protocols.base import Codec
from shadowd.protocols.raw import RawCodec

Event = tuple[object, ...]


class Playbook:
    """Feeds a codec, and is its sink and its flow. The client acknowledges with each segment all that the server has
    said, unless ``acked`` says otherwise."""

    idle_point = False

    def __init__(self, midstream: bool = False, max_turn: int = 1 << 20, body_limit: int = 1 << 20) -> None:
        self.events: list[Event] = []
        self.exchanges: list[Exchange] = []
        self.answered: list[Exchange] = []
        self.client_acked = 0
        self.server_end = 0
        self.fed = 0
        self.dropped = 0
        self._clock = 0
        self.codec = RawCodec(self, self, midstream, max_turn, body_limit=body_limit)

    def request(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.events.append(("request", exchange.request.body, exchange.after))

    def response(self, exchange: Exchange) -> None:
        assert all(exchange is not other for other in self.answered), "answered twice"
        self.answered.append(exchange)
        body = exchange.response.body if exchange.response else None
        self.events.append(("response", exchange.index, body, *(["uncomparable"] if exchange.uncomparable else [])))

    def filtered(self, reason: str) -> None:
        self.events.append(("filtered", reason))

    def lost(self, reason: str) -> None:
        self.events.append(("lost", reason))

    def switched(self, codec: Codec) -> None:
        raise AssertionError("nothing here agreed to another protocol")

    def discarded(self, reason: str, length: int) -> None:
        assert length > 0
        self.dropped += length
        self.events.append(("discarded", reason, length))

    def client(self, data: bytes, acked: int | None = None) -> Playbook:
        self._clock += 1
        self.client_acked = max(self.client_acked, self.server_end if acked is None else acked)
        self.fed += len(data)
        self.codec.client_data(data, self._clock)
        return self

    def server(self, data: bytes) -> Playbook:
        self._clock += 1
        self.fed += len(data)
        self.server_end += len(data)
        self.codec.server_data(data, self._clock)
        return self

    def client_gap(self) -> Playbook:
        self.codec.client_gap(10, self._clock)
        return self

    def server_gap(self) -> Playbook:
        self.server_end += 10
        self.codec.server_gap(10, self._clock)
        return self

    def client_eof(self) -> Playbook:
        self.codec.client_eof(self._clock)
        return self

    def server_eof(self) -> Playbook:
        self.codec.server_eof(self._clock)
        return self

    def closed(self) -> Playbook:
        self.codec.closed(self._clock)
        return self

    def tells(self, *events: Event) -> Playbook:
        assert self.events == list(events)
        self.events.clear()
        return self

    def accounted(self) -> Playbook:
        asked = sum(exchange.request.size for exchange in self.exchanges)
        said = sum(exchange.response.body_length for exchange in self.exchanges if exchange.response)
        assert asked + said + self.dropped + self.codec.client_pending + self.codec.server_pending == self.fed
        return self


def test_turns_alternate() -> None:
    book = Playbook().client(b"PI").tells().client(b"NG\r\n").tells().server(b"+PO").tells(("request", b"PING\r\n", 0))
    book.server(b"NG\r\n").tells().client(b"GET a\r\n").tells(("response", 0, b"+PONG\r\n"))
    book.server(b"$-1\r\n").tells(("request", b"GET a\r\n", 1)).closed().tells(("response", 1, b"$-1\r\n")).accounted()
    first, second = book.exchanges
    assert (first.request.begin, first.request.end, first.request.started, first.request.ended) == (0, 6, 1, 2)
    assert (second.request.begin, second.request.end, second.request.head, second.request.method) == (6, 13, b"", b"")
    assert first.response is not None
    assert (first.response.status, first.response.begin, first.response.end) == (0, 0, 7)
    assert (first.response.first_byte, first.response.last_byte) == (3, 4)
    assert second.response is not None
    assert (second.response.begin, second.response.end) == (7, 12)


def test_the_response_grows_in_place_up_to_the_limit() -> None:
    book = Playbook(body_limit=3).client(b"a").server(b"12")
    response = book.exchanges[0].response
    assert response is not None
    assert (response.body, response.body_length, book.answered) == (b"12", 2, [])
    book.server(b"3456")
    assert (response.body, response.body_length, response.end, response.last_byte) == (b"123", 6, 6, 3)


def test_new_turn_when_the_client_has_read_more() -> None:
    # the answer to "a" is read in two steps: what is sent after the second belongs to a turn of its own
    book = Playbook().client(b"a").server(b"1234").client(b"b", acked=2).client(b"b", acked=2).client(b"c", acked=4)
    book.tells(
        ("request", b"a", 0), ("response", 0, b"1234"), ("request", b"bb", 1), ("response", 1, None, "uncomparable")
    )
    book.server(b"5").tells(("request", b"c", 1)).accounted()
    assert [exchange.uncomparable for exchange in book.exchanges] == [False, True, False]


def test_after_needs_the_first_byte_of_the_answer() -> None:
    book = Playbook().client(b"a").server(b"1").client(b"b", acked=0).server(b"2").client(b"c", acked=1).server(b"3")
    assert [exchange.after for exchange in book.exchanges] == [0, 0, 1]
    book.client(b"d").server(b"4")
    assert [exchange.after for exchange in book.exchanges] == [0, 0, 1, 3]


def test_greeting_is_discarded() -> None:
    book = Playbook().server(b"220 hello\r\n").tells(("discarded", "server_first", 11))
    book.client(b"EHLO\r\n").server(b"250\r\n").tells(("request", b"EHLO\r\n", 0)).accounted()
    response = book.exchanges[0].response
    assert response is not None
    assert (response.begin, response.body) == (11, b"250\r\n"), "behind the greeting, and without it"


def test_turn_is_told_at_the_end() -> None:
    book = Playbook().client(b"QUIT").client_eof().tells(("request", b"QUIT", 0)).server(b"bye").server_eof()
    book.tells(("response", 0, b"bye")).closed().tells().accounted()
    Playbook().client(b"x").closed().tells(("request", b"x", 0), ("response", 0, None, "uncomparable")).accounted()
    book = Playbook().client(b"x").server_eof().tells(("request", b"x", 0), ("response", 0, None, "uncomparable"))
    book.client(b"y").closed().tells(("request", b"y", 0), ("response", 1, None, "uncomparable")).accounted()
    assert len(book.answered) == len(book.exchanges) == 2


def test_client_gap_gives_the_flow_up() -> None:
    book = Playbook().client(b"a").server(b"1").client(b"b").client_gap()
    book.tells(("request", b"a", 0), ("response", 0, b"1"), ("lost", "gap"), ("discarded", "gap", 1))
    book.client(b"cc").server(b"2").tells(("discarded", "gap", 2), ("discarded", "gap", 1))
    book.client_gap().closed().tells(("lost", "gap")).accounted()
    book = Playbook().client(b"a").server(b"1").client_gap()  # is "1" all of the answer?
    book.tells(("request", b"a", 0), ("lost", "gap"), ("response", 0, b"1", "uncomparable")).accounted()
    assert book.client(b"d").server(b"2").closed().accounted().dropped == 2, "what comes later is counted, not cut"
    assert len(book.exchanges) == len(book.answered) == 1


def test_server_gap_makes_one_exchange_uncomparable() -> None:
    book = Playbook().client(b"a").server(b"1").server_gap().server(b"3").client(b"b").server(b"4").closed()
    book.tells(
        ("request", b"a", 0), ("response", 0, b"1", "uncomparable"), ("request", b"b", 1), ("response", 1, b"4")
    ).accounted()
    response = book.exchanges[0].response
    assert response is not None
    assert (response.begin, response.end, response.body_length) == (0, 12, 2)
    book = Playbook().client(b"a").server_gap().tells(("request", b"a", 0)).client(b"b")
    book.tells(("response", 0, None, "uncomparable")).server(b"2").tells(("request", b"b", 1))


def test_midstream_is_given_up() -> None:
    book = Playbook(midstream=True).server(b"1").tells(("discarded", "midstream", 1))
    book.client(b"a").tells(("lost", "midstream"), ("discarded", "midstream", 1))
    book.client(b"bb").closed().tells(("discarded", "midstream", 2)).accounted()
    assert book.exchanges == [], "nobody knows where a turn began"


def test_too_large_turn_gives_the_flow_up() -> None:
    book = Playbook(max_turn=3).client(b"abc").client(b"d").tells(("lost", "too_large"), ("discarded", "too_large", 4))
    book.client(b"e").client_gap().server(b"1")
    book.tells(("discarded", "too_large", 1), ("discarded", "too_large", 1)).accounted()
    assert (book.exchanges, book.dropped) == ([], 6)


STEP = st.tuples(
    st.sampled_from(["client", "server"] * 4 + ["client_gap", "server_gap", "client_eof", "server_eof"]),
    st.binary(min_size=1, max_size=9),
    st.integers(0, 60),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=25), st.booleans())
def test_nothing_raises_and_every_byte_is_accounted(steps: list[tuple[str, bytes, int]], midstream: bool) -> None:
    book = Playbook(midstream, max_turn=20, body_limit=5)
    for kind, data, acked in steps:
        if kind == "client":
            book.client(data, min(acked, book.server_end))
        elif kind == "server":
            book.server(data)
        else:
            {
                "client_gap": book.client_gap,
                "server_gap": book.server_gap,
                "client_eof": book.client_eof,
                "server_eof": book.server_eof,
            }[kind]()
        book.accounted()
    book.closed().accounted()
    assert book.codec.client_pending == 0
    assert book.answered == book.exchanges


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(min_size=1, max_size=9)), min_size=1, max_size=6)
)
def test_segments_do_not_matter(turns: list[tuple[bytes, bytes]]) -> None:
    """Turn by turn whole, or byte by byte: the same exchanges."""
    for step in (100, 1):
        book = Playbook()
        for asked, said in turns:
            for at in range(0, len(asked), step):
                book.client(asked[at : at + step])
            for at in range(0, len(said), step):
                book.server(said[at : at + step])
        book.closed().accounted()
        told = [(e.request.body, e.response.body, e.after) for e in book.exchanges if e.response is not None]
        assert told == [(asked, said, index) for index, (asked, said) in enumerate(turns)]
