"""Http1Codec: a playbook of what is fed, line by line, and what the sink must be told."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.exchange.exchange import Exchange
from shadowd.protocols import http1, withheld
from shadowd.protocols.base import Codec
from shadowd.protocols.http1 import Http1Codec

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
EXPECT = b"POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
WEBSOCKET = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
UNKNOWN = (b"GET /ws HTTP/1.1\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n", SWITCHING.replace(b"websocket", b"tcp"))

Event = tuple[object, ...]


class Playbook:
    """Feeds a codec as the stream layer does, and is its sink and its flow.

    The client acknowledges, with each segment, all that the server has said, unless ``acked`` says otherwise; a
    segment opens a client turn (``idle``) if the server spoke before it and all is acknowledged.
    """

    def __init__(self, midstream: bool = False, **limits: int) -> None:
        self.events: list[Event] = []
        self.exchanges: list[Exchange] = []
        self.answered: list[Exchange] = []
        self.discards = {"client": 0, "server": 0}
        self.fed = {"client": 0, "server": 0}
        self.client_acked = 0
        self.idle_point = False
        self._server_end = 0
        self._server_spoke = False
        self._feeding = ""
        self._clock = 0
        self.codec = Http1Codec(self, self, midstream=midstream, **limits)

    # the sink
    def request(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.events.append(("request", exchange.request.method.decode(), exchange.after))

    def response(self, exchange: Exchange) -> None:
        assert (exchange.response is None) == exchange.uncomparable
        assert all(exchange is not other for other in self.answered), "answered twice"
        self.answered.append(exchange)
        self.events.append(("response", exchange.index, exchange.response.status if exchange.response else None))

    def filtered(self, reason: str) -> None:
        self.events.append(("filtered", reason))

    def lost(self, reason: str) -> None:
        self.events.append(("lost", reason))

    def switched(self, codec: Codec) -> None:
        raise AssertionError("nothing here agreed to another protocol")

    def discarded(self, reason: str, length: int) -> None:
        assert length > 0
        self.discards[self._feeding or "client"] += length
        self.events.append(("discarded", reason, length))

    # the stream
    def client(self, data: bytes, acked: int | None = None, idle: bool | None = None) -> Playbook:
        self._clock += 1
        self.client_acked = self._server_end if acked is None else acked
        quiet = self._server_spoke and self.client_acked == self._server_end
        self.idle_point = quiet if idle is None else idle
        self._server_spoke = False
        self.fed["client"] += len(data)
        self.codec.client_data(data, self._clock)
        return self

    def server(self, data: bytes) -> Playbook:
        self._clock += 1
        self.idle_point = False
        self._server_spoke = True
        self._server_end += len(data)
        self.fed["server"] += len(data)
        self.codec.server_data(data, self._clock)
        return self

    def client_gap(self, length: int = 100) -> Playbook:
        self.codec.client_gap(length, self._clock)
        return self

    def server_gap(self, length: int = 100) -> Playbook:
        self._server_end += length
        self._server_spoke = True
        self.codec.server_gap(length, self._clock)
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

    # the judgement
    def tells(self, *events: Event) -> Playbook:
        """Exactly these events since the last call; ``("discarded", reason)`` matches any length."""
        told = [event[:2] if event[0] == "discarded" else event for event in self.events]
        assert told == list(events)
        self.events.clear()
        return self

    @property
    def unaccounted(self) -> int:
        """Bytes fed that are in no exchange, not discarded, and not pending: always 0."""
        requests = sum(exchange.request.size for exchange in self.exchanges)
        responses = sum(e.response.end - e.response.begin for e in self.answered if e.response is not None)
        discarded = sum(self.discards.values())
        pending = self.codec.client_pending + self.codec.server_pending
        return sum(self.fed.values()) - requests - responses - discarded - pending


def request(method: str = "GET", after: int = 0) -> Event:
    return ("request", method, after)


def test_request_and_response() -> None:
    book = Playbook().client(GET).tells(request()).server(OK).tells(("response", 0, 200))
    book.client(POST).tells(request("POST", 1)).server(NOT_FOUND).tells(("response", 1, 404))
    exchange = book.exchanges[0]
    assert exchange.request.head == GET
    assert exchange.response is not None
    assert exchange.response.head + b"hi" == OK
    assert [e.index for e in book.exchanges] == [0, 1]
    assert book.unaccounted == 0
    book.closed().tells()
    assert book.unaccounted == 0


def test_the_response_keeps_as_much_body_as_asked() -> None:
    book = Playbook(body_limit=1).client(GET).server(OK)
    assert book.exchanges[0].response is not None
    assert (book.exchanges[0].response.body, book.exchanges[0].response.body_length) == (b"h", 2)


def test_pipelined_requests_pair_by_order() -> None:
    book = Playbook().client(GET + HEAD + POST)
    book.tells(request(), request("HEAD"), request("POST"))
    book.server(OK + OK[:-2] + NOT_FOUND)
    book.tells(("response", 0, 200), ("response", 1, 200), ("response", 2, 404))
    assert book.unaccounted == 0


def test_after_counts_what_the_client_had_received_at_the_first_byte() -> None:
    book = Playbook().client(GET + GET).server(OK).server(OK)
    book.client(GET[:5], acked=len(OK) + 3)  # the second response is only partly acknowledged
    book.client(GET[5:] + GET)  # now it is whole, which matters to the next request only
    book.tells(request(), request(), ("response", 0, 200), ("response", 1, 200), request(after=1), request(after=2))
    book.client(GET, acked=0).tells(request(after=2))  # acknowledgements never go back
    assert book.unaccounted == 0


def test_continue_and_other_interim_responses() -> None:
    book = Playbook().client(EXPECT).tells().server(CONTINUE).tells(("discarded", "interim"))
    book.client(b"hello").tells(request("POST")).server(OK).tells(("response", 0, 200))
    assert book.unaccounted == 0
    assert book.exchanges[0].request.body == b"hello"


def test_early_response_waits_for_its_request() -> None:
    book = Playbook().client(EXPECT).server(NOT_FOUND).tells()
    assert book.codec.server_pending == len(NOT_FOUND)
    book.client(b"hello").tells(request("POST"), ("response", 0, 404))
    assert book.unaccounted == 0
    book.client(GET).tells(request(after=1)).server(OK).tells(("response", 1, 200))
    assert book.unaccounted == 0


def test_early_response_begins_before_and_ends_after_its_request() -> None:
    book = Playbook().client(GET + EXPECT).server(OK + NOT_FOUND[:9]).tells(request(), ("response", 0, 200))
    book.client(b"hello").tells(request("POST")).server(NOT_FOUND[9:]).tells(("response", 1, 404))
    assert book.unaccounted == 0


def test_early_response_to_a_request_that_never_ends() -> None:
    book = Playbook().client(EXPECT).server(NOT_FOUND).closed()
    book.tells(("lost", "truncated"), ("discarded", "truncated"), ("discarded", "truncated"))
    assert book.unaccounted == 0
    book = Playbook().client(EXPECT).server(NOT_FOUND[:7]).client_eof()
    book.tells(("lost", "truncated"), ("discarded", "truncated"))
    book.server(NOT_FOUND[7:]).tells(("discarded", "truncated"))
    assert book.unaccounted == 0


def test_too_large_requests_are_lost_and_the_flow_goes_on() -> None:
    book = Playbook(max_body=4).client(POST + GET)
    book.tells(("lost", "too_large"), ("discarded", "too_large"), request())
    book.server(NOT_FOUND + OK).tells(("discarded", "too_large"), ("response", 1, 200))
    assert book.unaccounted == 0
    book = Playbook(max_head=20).client(GET).tells(("lost", "too_large"), ("discarded", "too_large"))


def test_blank_lines_belong_to_no_message() -> None:
    book = Playbook().client(GET + b"\r\n\r\n" + GET).server(OK + b"\r\n" + OK)
    assert book.discards == {"client": 6, "server": 0}
    assert len(book.answered) == 2
    assert book.unaccounted == 0


# --- upgrades ---------------------------------------------------------------------------------------------------------


def test_upgrade_ends_the_exchange_and_discards_the_rest() -> None:
    book = Playbook().client(UNKNOWN[0] + b"\x81\x01").tells(request())
    assert book.codec.client_pending == 2
    book.server(UNKNOWN[1] + b"\x82").tells(("response", 0, 101), ("discarded", "upgraded"), ("discarded", "upgraded"))
    book.client(GET).server(OK).tells(("discarded", "upgraded"), ("discarded", "upgraded"))
    book.client_gap().closed().tells()
    assert book.unaccounted == 0


def test_connect_is_an_upgrade() -> None:
    book = Playbook().client(b"CONNECT h:443 HTTP/1.1\r\n\r\n").server(b"HTTP/1.1 200 OK\r\n\r\n\x16\x03")
    book.tells(request("CONNECT"), ("response", 0, 200), ("discarded", "upgraded"))
    assert book.unaccounted == 0


def test_refused_upgrade_goes_on_with_what_was_held() -> None:
    book = Playbook().client(WEBSOCKET + GET[:4]).client(GET[4:] + WEBSOCKET + GET).tells(request())
    book.server(OK).tells(("response", 0, 200), request(), request())
    book.server(OK + OK).tells(("response", 1, 200), ("response", 2, 200), request())
    assert book.unaccounted == 0
    book.client_eof().server(OK).tells(("response", 3, 200))
    assert book.unaccounted == 0


def test_end_of_stream_while_an_upgrade_is_undecided() -> None:
    book = Playbook().client(WEBSOCKET + GET[:4]).client_eof().tells(request())
    book.server(NOT_FOUND).tells(("response", 0, 404), ("lost", "truncated"), ("discarded", "truncated"))
    book = Playbook().client(WEBSOCKET + GET).server_eof()
    book.tells(request(), ("response", 0, None), request(), ("response", 1, None))
    assert book.unaccounted == 0
    book = Playbook().client(WEBSOCKET + GET).closed()
    book.tells(request(), ("lost", "truncated"), ("discarded", "truncated"), ("response", 0, None))
    assert book.unaccounted == 0


def test_held_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withheld, "MAX_WITHHELD", 10)
    book = Playbook().client(WEBSOCKET).client(b"x" * 10).tells(request()).client(b"x")
    book.tells(("lost", "too_large"), ("discarded", "too_large"))
    book.server(SWITCHING).tells(("response", 0, 101))
    assert book.unaccounted == 0


def test_the_answer_to_an_upgrade_is_missing() -> None:
    book = Playbook().client(WEBSOCKET + b"xy").server_gap()
    book.tells(request(), ("response", 0, None), ("lost", "gap"), ("discarded", "gap"))
    book.client(GET).tells(request(after=1))  # an idle point after the hole: it was no websocket
    assert book.unaccounted == 0


# --- malformed --------------------------------------------------------------------------------------------------------


UNPARSABLE = (("filtered", "unparsable"), ("discarded", "unparsable"))
AMBIGUOUS = b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


@pytest.mark.parametrize("wire", [b"nonsense\r\n\r\n", AMBIGUOUS, b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n"])
def test_unparsable_request_ends_itself_not_the_connection(wire: bytes) -> None:
    book = Playbook().client(GET + wire).tells(request(), *UNPARSABLE)
    book.server(OK).tells(("response", 0, 200))  # what was asked before is still answered
    book.client(GET).tells(("discarded", "unparsable"))  # production still owes an answer: this may be a body
    book.server(NOT_FOUND).tells(("discarded", "unparsable"))
    book.server(OK).tells(("filtered", "unparsable"), ("discarded", "unparsable"))  # so it was a request
    for number in (1, 2):
        book.client(GET).tells(request(after=number)).server(OK).tells(("response", number, 200))
    book.closed().tells()
    assert book.unaccounted == 0


def test_any_number_of_unparsable_requests_counts_each() -> None:
    book = Playbook()
    for _ in range(3 * http1.MAX_PROBES):
        book.client(AMBIGUOUS).tells(*UNPARSABLE)
        book.server(NOT_FOUND).tells(("discarded", "unparsable"))
    book.client(POST).tells(request("POST", 0)).server(OK).tells(("response", 0, 200))
    assert book.unaccounted == 0


def test_what_does_not_parse_without_an_urgent_byte_is_lost() -> None:
    book = Playbook()
    book.codec.urgent(0)
    book.client(GET).tells(request()).server(OK).tells(("response", 0, 200))  # it was not needed
    book.client(b"nonsense\r\n\r\n").tells(("lost", "urgent"), ("discarded", "urgent"))
    book.server(NOT_FOUND).tells(("discarded", "urgent")).client(GET).tells(request(after=1))
    book.server(b"nonsense\r\n").tells(("discarded", "urgent"), ("response", 1, None))
    assert book.unaccounted == 0


def test_the_answer_to_an_unparsable_head_request_has_no_body() -> None:
    book = Playbook().client(b"HEAD / HTTP/1.1\r\nno colon\r\n\r\n").tells(*UNPARSABLE)
    book.server(OK[:-2]).client(GET).tells(("discarded", "unparsable"), request()).server(OK).tells(
        ("response", 0, 200)
    )
    assert book.unaccounted == 0


def test_unparsable_after_an_early_answer() -> None:
    book = Playbook().client(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").server(NOT_FOUND)
    book.client(b"zzz\r\n").tells(("filtered", "unparsable"), ("discarded", "unparsable"), ("discarded", "unparsable"))
    book.server(OK).tells(("filtered", "unparsable"), ("discarded", "unparsable"))
    book.client(GET).tells(request()).server(OK).tells(("response", 0, 200))
    assert book.unaccounted == 0


BARE = b"GET /b HTTP/1.1\nHost: x\n\n"
LOOSE_ANSWER = b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2 ; a = b\r\nhi\n0  \n\n"


@pytest.mark.parametrize("cut", [0, 1, 2, 5])
def test_what_servers_read_is_read(cut: int) -> None:
    """Bare LF, control bytes, blanks around chunk sizes: the exchange stands, in its strict form."""
    book = Playbook(body_limit=1000)
    for wire, answer in [(BARE, OK), (b"GET /c HTTP/1.1\r\nCookie: a=\x01b\x7f\r\n\r\n", LOOSE_ANSWER), (GET, OK)]:
        for piece in [wire] if not cut else [wire[i : i + cut] for i in range(0, len(wire), cut)]:
            book.client(piece)
        for piece in [answer] if not cut else [answer[i : i + cut] for i in range(0, len(answer), cut)]:
            book.server(piece)
    first, second, third = book.exchanges
    assert book.answered == book.exchanges
    assert not any(exchange.uncomparable for exchange in book.exchanges)
    assert first.request.head == BARE.replace(b"\n", b"\r\n")
    assert (first.request.size, first.request.end) == (len(BARE), len(BARE))
    assert second.request.head == b"GET /c HTTP/1.1\r\nCookie: a=\x01b\x7f\r\n\r\n"
    assert second.response is not None
    assert second.response.head == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert second.response.body == b"2\r\nhi\r\n0\r\n\r\n"
    assert [e.response.loose for e in book.exchanges if e.response] == [False, True, False]
    assert second.response.end - second.response.begin == len(LOOSE_ANSWER)
    assert third.request.head == GET
    assert book.unaccounted == 0


def test_smuggling_is_unparsable() -> None:
    both = b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    book = Playbook().client(both).tells(("filtered", "unparsable"), ("discarded", "unparsable"))
    assert book.unaccounted == 0
    assert not book.exchanges


def test_unparsable_response_resynchronises_at_an_idle_point() -> None:
    book = Playbook().client(GET + GET).server(OK + b"nonsense\r\n")
    book.tells(request(), request(), ("response", 0, 200), ("discarded", "unparsable"), ("response", 1, None))
    book.client(GET, idle=False).tells(request(after=1), ("response", 2, None))
    book.server(OK).tells(("discarded", "unparsable"))
    book.client(GET).tells(request(after=3)).server(OK).tells(("response", 3, 200))
    assert book.unaccounted == 0


def test_unsolicited_response() -> None:
    book = Playbook().server(NOT_FOUND).tells(("discarded", "unsolicited"))
    book.client(GET).tells(request()).server(OK).tells(("response", 0, 200))
    assert book.unaccounted == 0


def test_outstanding_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_OUTSTANDING", 2)
    book = Playbook().client(GET * 3)
    book.tells(request(), request(), request(), *(("response", index, None) for index in range(3)))
    book.client(GET, idle=False).tells(request(), ("response", 3, None))
    assert book.unaccounted == 0


# --- gaps -------------------------------------------------------------------------------------------------------------


def test_gap_in_a_request_loses_it_and_resynchronises_at_an_idle_point() -> None:
    book = Playbook().client(GET + POST[:-3]).client_gap()
    book.tells(request(), ("lost", "gap"), ("discarded", "gap"))
    book.client(GET, idle=False).tells(("discarded", "gap"))  # never spliced, though it parses
    book.server(OK).tells(("response", 0, 200))
    book.server(OK).tells(("discarded", "gap"))
    book.client(GET).tells(request(after=1)).server(OK).tells(("response", 1, 200))
    assert book.unaccounted == 0


def test_gap_between_requests_counts_one() -> None:
    book = Playbook().client(GET).server(OK).client_gap()
    book.tells(request(), ("response", 0, 200), ("lost", "gap"))
    book.client_gap().tells(("lost", "gap"))
    book.server(OK).client(GET[:7]).tells(("discarded", "gap"))
    book.client(GET[7:]).tells(request(after=1)).server(OK).tells(("response", 1, 200))
    assert book.unaccounted == 0


def test_no_idle_point_while_a_response_is_outstanding() -> None:
    book = Playbook().client(GET + GET).client_gap().server(OK)
    book.events.clear()
    book.client(GET).tells(("discarded", "gap"))  # the second response is still to come
    book.server(OK).tells(("response", 1, 200)).client(GET).tells(request(after=2))
    assert book.unaccounted == 0


def test_flow_is_given_up_after_three_idle_points() -> None:
    book = Playbook().client_gap().tells(("lost", "gap"))
    for _ in range(3):
        book.server(b"?").client(b"not http\r\n")
    book.events.clear()
    book.server(b"?").client(GET).tells(("discarded", "gap"), ("discarded", "gap"))
    book.client_gap().tells(("lost", "gap"))
    assert book.unaccounted == 0


def test_a_body_after_continue_is_no_message_start() -> None:
    book = Playbook(midstream=True).client(EXPECT, idle=False).server(CONTINUE).client(GET)
    assert not book.exchanges  # an upload may contain a request
    book.server(OK).client(POST)
    assert [e.request.method for e in book.exchanges] == [b"POST"]
    assert book.unaccounted == 0


def test_server_gap_makes_what_is_outstanding_uncomparable() -> None:
    book = Playbook().client(GET + GET).server(OK[:-1]).server_gap()
    book.tells(request(), request(), ("discarded", "gap"), ("response", 0, None), ("response", 1, None))
    book.server(b"i").client(POST[:5], idle=False).tells(("discarded", "gap"))
    book.server(OK).client(POST[5:]).tells(("discarded", "gap"), request("POST"), ("response", 2, None))
    book.server(OK).client(GET).tells(("discarded", "gap"), request(after=3))
    book.server(OK).tells(("response", 3, 200))
    assert book.unaccounted == 0


def test_gap_after_an_early_response() -> None:
    book = Playbook().client(EXPECT).server(NOT_FOUND).client_gap()
    book.tells(("lost", "gap"), ("discarded", "gap"), ("discarded", "gap"))
    book.client(GET).tells(request()).server(OK).tells(("response", 0, 200))
    assert book.unaccounted == 0


# --- midstream --------------------------------------------------------------------------------------------------------


def test_midstream_starts_at_the_first_provable_request() -> None:
    book = Playbook(midstream=True).server(b"rest of a response").tells(("discarded", "midstream"))
    book.client(GET).tells(request()).server(OK).tells(("response", 0, 200))
    assert book.unaccounted == 0


def test_midstream_upload_that_contains_a_request() -> None:
    book = Playbook(midstream=True).client(b"...data" + GET, idle=False).client(GET, idle=False)
    book.tells(("lost", "midstream"), ("discarded", "midstream"), ("discarded", "midstream"))
    book.server(OK).client(GET + POST).tells(("discarded", "midstream"), request(), request("POST"))
    assert book.unaccounted == 0


def test_midstream_probe_is_refuted() -> None:
    book = Playbook(midstream=True).server(b"x").client(GET[:9]).server(b"y")
    book.tells(
        ("discarded", "midstream"), ("lost", "midstream"), ("discarded", "midstream"), ("discarded", "midstream")
    )
    book.client(b"GET / HTTP/1.1\r\nbad header\r\n\r\n").tells(("discarded", "midstream"))
    book.server(b"z").client(GET[:9]).client(b"\n").tells(("discarded", "midstream"), ("discarded", "midstream"))
    book.server(b"z").client(GET).tells(("discarded", "midstream"), ("discarded", "midstream"))
    assert book.unaccounted == 0


def test_midstream_flow_that_ends_without_a_request() -> None:
    book = Playbook(midstream=True).server(OK).closed().tells(("discarded", "midstream"))
    assert book.unaccounted == 0
    book = Playbook(midstream=True).server(b"x").client(GET[:9]).closed()
    book.tells(("discarded", "midstream"), ("lost", "midstream"), ("discarded", "midstream"))
    assert book.unaccounted == 0


# --- ends -------------------------------------------------------------------------------------------------------------


def test_client_half_close_still_gets_its_answer() -> None:
    book = Playbook().client(GET).client_eof().server(OK).server_eof().closed()
    book.tells(request(), ("response", 0, 200))
    assert book.unaccounted == 0


def test_truncated_request() -> None:
    for end in (Playbook.client_eof, Playbook.closed):
        book = end(Playbook().client(GET + POST[:-1]))
        assert ("lost", "truncated") in book.events
        book.closed()
        assert book.events.count(("lost", "truncated")) == 1
        assert book.events[-1] == ("response", 0, None)
        assert book.unaccounted == 0


def test_close_delimited_response_needs_the_fin() -> None:
    page = b"HTTP/1.0 200 OK\r\n\r\npage"
    book = Playbook().client(GET).server(page).tells(request()).server_eof().tells(("response", 0, 200))
    book.closed().tells()
    assert book.unaccounted == 0
    book = Playbook().client(GET).server(page).closed()  # a reset: perhaps not all of it
    book.tells(request(), ("discarded", "truncated"), ("response", 0, None))
    assert book.unaccounted == 0


def test_server_end_leaves_nothing_outstanding() -> None:
    book = Playbook().client(GET + GET).server(OK[:-1]).server_eof()
    book.tells(request(), request(), ("discarded", "truncated"), ("response", 0, None), ("response", 1, None))
    book.client(GET).tells(request(), ("response", 2, None)).closed().closed().tells()
    assert book.unaccounted == 0


# --- any split, any bytes ---------------------------------------------------------------------------------------------

PAIRS = [(GET, OK), (POST, NOT_FOUND), (HEAD, OK[:-2]), (GET, b"HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n")]
PAIRS.append((GET, CONTINUE + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"))
CUTS = st.lists(st.integers(0, 1 << 12), max_size=6)


def split(data: bytes, cuts: list[int], each: bool = False) -> list[bytes]:
    edges = sorted({0, len(data), *(range(len(data)) if each else (cut % (len(data) + 1) for cut in cuts))})
    return [data[begin:end] for begin, end in pairwise(edges)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PAIRS), min_size=1, max_size=6), st.integers(1, 3), CUTS, st.booleans())
def test_any_split_gives_the_same_exchanges(
    pairs: list[tuple[bytes, bytes]], depth: int, cuts: list[int], each: bool
) -> None:
    """Turns of ``depth`` pipelined requests; fed whole, and in pieces."""

    def play(whole: bool) -> list[tuple[object, ...]]:
        book = Playbook(body_limit=100)
        for at in range(0, len(pairs), depth):
            turn = pairs[at : at + depth]
            sent = b"".join(pair[0] for pair in turn)
            said = b"".join(pair[1] for pair in turn)
            for piece in [sent] if whole else split(sent, cuts, each):
                book.client(piece)
            for piece in [said] if whole else split(said, cuts, each):
                book.server(piece)
        assert book.unaccounted == 0
        book.closed()
        assert book.unaccounted == 0
        assert book.answered == book.exchanges
        return [
            (e.index, e.after, e.request.head, e.request.body, e.request.begin, e.response.head, e.response.body)
            for e in book.exchanges
            if e.response is not None
        ]

    told = play(whole=True)
    assert [entry[2] + entry[3] for entry in told] == [pair[0] for pair in pairs]
    assert [entry[1] for entry in told] == [index // depth * depth for index in range(len(pairs))]
    assert play(whole=False) == told


ANY = st.one_of(
    st.binary(min_size=1, max_size=30),
    st.sampled_from([GET, POST, HEAD, EXPECT, CONTINUE, OK, NOT_FOUND, WEBSOCKET, SWITCHING, b"\r\n", GET * 3, OK * 3]),
    st.sampled_from([GET[:9], GET[9:], OK[:20], OK[20:], b"hello", b"HTTP/1.1 200 OK\r\n\r\n"]),
)
STEP = st.tuples(
    st.sampled_from(["client", "server"] * 5 + ["client_gap", "server_gap", "client_eof", "server_eof"]),
    ANY,
    st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEP, max_size=25), st.booleans())
def test_nothing_raises_and_every_byte_and_exchange_is_accounted(
    steps: list[tuple[str, bytes, bool]], midstream: bool
) -> None:
    book = Playbook(midstream, max_body=100)
    ended: set[str] = set()
    for kind, data, idle in steps:
        if kind.partition("_")[0] in ended:
            continue
        if kind == "client":
            book.client(data, idle=idle)
        elif kind == "server":
            book.server(data)
        elif kind == "client_gap":
            book.client_gap()
        elif kind == "server_gap":
            book.server_gap()
        else:
            ended.add(kind.partition("_")[0])
            (book.client_eof if kind == "client_eof" else book.server_eof)()
        assert book.unaccounted == 0
    book.closed()
    assert book.unaccounted == 0
    assert book.codec.client_pending == book.codec.server_pending == 0
    assert {e.index for e in book.answered} == {e.index for e in book.exchanges}
    assert sum(event == ("filtered", "unparsable") for event in book.events) <= len(steps)


# --- streams without an end -------------------------------------------------------------------------------------------

EVENTS = [b"data: %d\n\n" % number for number in range(6)]
STREAM = [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"] + [
    b"%x\r\n%s\r\n" % (len(event), event) for event in EVENTS
]


@pytest.mark.parametrize("ends", [True, False], ids=["ends later", "is cut off later"])
@given(when=st.integers(1, 6), twice=st.booleans())
def test_the_book_is_closed_on_a_stream_that_goes_on(ends: bool, when: int, twice: bool) -> None:
    book = Playbook(body_limit=1 << 20)
    book.client(GET)
    for piece in STREAM[:when]:
        book.server(piece)
    (exchange,) = book.exchanges
    book.codec.close_book(exchange)
    if twice:
        book.codec.close_book(exchange)
    response = exchange.response
    assert response is not None
    assert response.open
    assert response.head + response.body == b"".join(STREAM[:when])
    for piece in STREAM[when:]:
        book.server(piece)
    if ends:
        book.server(b"0\r\n\r\n").client(GET).server(OK)
        assert [one.index for one in book.answered] == [0, 1]
    assert book.unaccounted == 0
    book.codec.closed(99)
    assert book.unaccounted == 0


def test_the_book_is_not_closed_on_what_is_no_stream() -> None:
    book = Playbook(body_limit=1 << 20)
    book.client(GET).server(OK[:-1])
    book.codec.close_book(book.exchanges[0])
    assert not book.answered
    book.server(OK[-1:])
    assert [one.response.open for one in book.answered if one.response] == [False]
