"""Turns of a WebSocket, cut out of what both sides say after the handshake."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.inband import in_band_error_untrusted
from shadowd.exchange.exchange import MESSAGE_COST, Exchange
from shadowd.ledger.budget import UNBOUNDED, Budget
from shadowd.protocols import websocket
from shadowd.protocols.base import Codec
from shadowd.protocols.http1 import Http1Codec
from shadowd.protocols.websocket import MAX_UNREAD, WebSocketCodec
from shadowd.protocols.websocket_events import MARK_COST, Answer, measured
from shadowd.protocols.websocket_frames import BINARY, CLOSE, PING, PONG, TEXT, Message, MessageWriter
from shadowd.redact.redaction import Redactor
from tests.unit.protocols.websocket_talk import ASK, Server, agreed


class Playbook:
    """What happens on a flow, and what its codec tells of it. The client has acknowledged all that the server has said,
    unless it says otherwise."""

    def __init__(
        self, body_limit: int = 1 << 16, budget: Budget = UNBOUNDED, deflate: str = "", ask: bytes = ASK
    ) -> None:
        self.client_acked = self.server_end = self.clock = 0
        self.idle_point = True
        self.spoke_unseen = False
        self.offsets = (0, 0)
        self.server_name = ""
        self.exchanges: list[Exchange] = []
        self.ended: list[Exchange] = []
        self.events: list[str] = []
        self.gone: Counter[str] = Counter()
        self.fed = 0
        self.codec: Codec = Http1Codec(self, self, body_limit=body_limit, budget=budget)
        self.writer, self.speaker = MessageWriter(agreed(deflate)[0]), Server(agreed(deflate)[1])
        self.client(ask).server(self.speaker.agreement(deflate))

    # the sink
    def request(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def response(self, exchange: Exchange) -> None:
        self.ended.append(exchange)

    def filtered(self, reason: str) -> None:
        self.events.append(f"filtered {reason}")

    def lost(self, reason: str) -> None:
        self.events.append(f"lost {reason}")

    def discarded(self, reason: str, length: int) -> None:
        assert length > 0
        self.gone[reason] += length

    def switched(self, codec: Codec) -> None:
        self.codec = codec

    # the flow
    def client(self, data: bytes, acked: int | None = None) -> Playbook:
        self.clock += 1000
        self.client_acked = max(self.client_acked, self.server_end if acked is None else acked)
        self.fed += len(data)
        self.codec.client_data(data, self.clock)
        return self

    def server(self, data: bytes) -> Playbook:
        self.clock += 1000
        self.server_end += len(data)
        self.codec.server_data(data, self.clock)
        return self

    def asks(self, text: str, acked: int | None = None) -> Playbook:
        return self.client(self.writer.framed(TEXT, text.encode(), b"mask"), acked)

    def says(self, *texts: str) -> Playbook:
        return self.server(b"".join(self.speaker.framed(TEXT, text.encode()) for text in texts))

    def ends(self) -> Playbook:
        self.codec.closed(self.clock)
        return self

    @property
    def turns(self) -> list[tuple[list[str], int, str, int]]:
        """(what was asked, messages read by then, the answer, its messages)."""
        return [
            (
                [message.data.decode("latin-1") for message in one.request.turn.messages],
                one.request.turn.read,
                one.response.body.decode() if one.response is not None else "",
                one.request.turn.answers,
            )
            for one in self.ended
            if one.request.turn is not None
        ]


def events(*datas: str, name: str = "") -> str:
    named = f"event: {name}\n" if name else ""
    return "".join(f"{named}data: {data}\n\n" for data in datas)


def test_a_turn_is_what_the_client_says_until_it_has_read_more() -> None:
    book = Playbook().asks("one").says("eins").asks("two").asks("three").says("zwei", "drei").ends()
    assert book.turns == [
        (["one"], 0, events("eins"), 1),
        (["two", "three"], 1, events("zwei", "drei"), 2),
    ]
    first, second = (one for one in book.ended if one.request.turn is not None)
    assert (first.request.method, first.request.target) == (b"WEBSOCKET", b"/talk")
    assert first.request.head == (
        b"WEBSOCKET /talk HTTP/1.1\r\nHost: shop\r\nCookie: session=abc\r\ncontent-type: text/plain\r\n\r\n"
    )
    assert first.request.body == b"one"
    assert second.request.body == events("two", "three").encode()
    assert (first.response.status if first.response else 0) == 101
    assert not any(one.uncomparable for one in book.ended)


def test_what_the_client_has_not_read_is_no_answer_to_what_it_says() -> None:
    book = Playbook().asks("one")
    book.says("eins")
    seen = book.server_end
    book.says("mehr").asks("two", acked=seen).ends()
    assert book.turns == [(["one"], 0, events("eins", "mehr"), 2), (["two"], 1, "", 0)]
    assert book.ended[-1].uncomparable  # nobody knows what it would have been answered


def test_a_client_that_goes_on_while_it_listens_takes_turns() -> None:
    """Not the server's silence but what the client has read parts its turns."""
    book = Playbook().asks("one").says("eins").asks("two")
    book.codec.server_data(book.speaker.framed(TEXT, b"zwei")[:1], 10)  # a byte is enough: it speaks
    book.server_end += 1
    book.codec.server_data(book.speaker.last[1:], 10)
    book.server_end += len(book.speaker.last) - 1
    book.ends()
    assert book.turns == [(["one"], 0, events("eins"), 1), (["two"], 1, events("zwei"), 1)]


def test_a_server_that_speaks_first_answers_the_client_s_silence() -> None:
    book = Playbook().says('{"type": "news", "at": 1}', "text").asks("one").says("eins").ends()
    assert book.turns == [
        ([], 0, "event: news\ndata: \n\ndata: \n\n", 2),
        (["one"], 2, events("eins"), 1),
    ]
    silence = book.ended[1].request
    assert (silence.body, silence.size) == (b"", 0)
    assert silence.ended == book.exchanges[0].request.ended  # it is timed from the handshake


def test_what_is_said_has_the_name_that_it_says() -> None:
    book = Playbook().asks('{"type": "ask"}').says('{"type": "token", "text": "a"}', '{"at": 1}')
    book.server(book.speaker.framed(BINARY, b"\x00\xff")).ends()
    assert book.turns[0][2] == (
        'event: token\ndata: {"type": "token", "text": "a"}\n\ndata: {"at": 1}\n\nevent: binary\ndata: AP8=\n\n'
    )
    assert b"content-type: application/json\r\n" in book.ended[1].request.head


@pytest.mark.parametrize("name", ["close", "binary"])
@pytest.mark.parametrize("more", ["", "x" * 5000])
def test_a_message_that_calls_itself_a_close_is_none(name: str, more: str) -> None:
    text = f'{{"type": "{name}", "code": 1011, "more": "{more}"}}'
    book = Playbook().asks("one").says(text).ends()
    assert book.turns[0][2] == events(text)
    response = book.ended[-1].response
    assert response is not None
    assert in_band_error_untrusted(response) is None


def test_what_is_secret_is_redacted_as_in_other_bodies() -> None:
    book = Playbook().asks('{"type": "login", "password": "hunter22"}')
    book.says('{"type": "session", "access_token": "abcdef0123456789"}').ends()
    redactor, exchange = Redactor(b"key"), book.ended[1]
    assert exchange.response is not None
    asked = redactor.body(exchange.request.body, "application/json")
    said = redactor.body(exchange.response.body, "text/event-stream")
    assert b"hunter22" not in asked
    assert b'"login"' in asked
    assert b"abcdef0123456789" not in said
    assert b"event: session" in said


def test_control_frames_are_nobody_s_turn() -> None:
    book = Playbook()
    ping, pong = book.writer.framed(PING, b"?", b"mask"), book.speaker.framed(PONG, b"?")
    book.asks("one").client(ping).server(pong).says("eins").client(ping).ends()
    assert book.turns == [(["one"], 0, events("eins"), 1)]
    assert book.gone == {"control": 2 * len(ping) + len(pong)}


@pytest.mark.parametrize(
    ("code", "said"),
    [(b"\x03\xf3out", '{"code": 1011, "reason": "out"}'), (b"", '{"code": 1005, "reason": ""}')],
)
def test_a_close_of_the_server_s_is_the_last_event(code: bytes, said: str) -> None:
    book = Playbook().asks("one").says("eins").server(Server().framed(CLOSE, code)).ends()
    assert book.turns == [(["one"], 0, events("eins") + events(said, name="close"), 1)]
    assert book.ended[-1].request.turn.closed  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("codes", "rank"), [((1000, 1001, 1005), 0), ((1002, 1003, 1007, 1008, 3000, 4401), 1), ((1006, 1011, 1015), 2)]
)
def test_whose_fault_a_close_is(codes: tuple[int, ...], rank: int) -> None:
    """RFC 6455 §7.4.1: 0 nobody's, 1 the client's, 2 the server's."""
    for code in codes:
        answer = Answer(0, 0, 1000)
        for message in (Message(TEXT, b"eins", 0, 0, 0), Message(CLOSE, code.to_bytes(2, "big") + b"why", 0, 0, 0)):
            answer.add(*measured(message), 0, 0)
        found = in_band_error_untrusted(answer.finish())
        assert (found.rank if found is not None else 0) == rank, code
        assert found is None or found.signature.title == f"{code}: why"


def test_two_limits_at_once_are_one_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "LARGEST_TURN", 1000)
    book = Playbook().client(MessageWriter().framed(TEXT, b"x" * 2000, b"mask") + b"\x83\x80mask").ends()
    assert book.events == ["lost too_large"]
    assert sum(book.gone.values()) + sum(one.request.size for one in book.exchanges) == book.fed


def test_a_close_of_the_client_s_is_answered_by_no_turn() -> None:
    book = Playbook().asks("one").says("eins")
    book.client(book.writer.framed(CLOSE, b"\x03\xe8", b"mask")).server(book.speaker.framed(CLOSE, b"\x03\xe8"))
    book.codec.server_eof(book.clock)
    book.ends()
    assert book.turns == [(["one"], 0, events("eins"), 1)]


def test_an_end_without_a_close_is_an_event_too() -> None:
    book = Playbook().asks("one")
    book.codec.server_eof(book.clock)
    book.ends()
    assert book.turns == [(["one"], 0, events('{"code": 1006, "reason": ""}', name="close"), 0)]


def test_compressed_turns() -> None:
    book = Playbook(deflate="permessage-deflate; server_no_context_takeover; client_max_window_bits=12")
    for number in range(3):
        book.asks(f"the same question again, {number}").says(f"the same answer again, {number}")
    book.ends()
    assert [asked for asked, *_ in book.turns] == [[f"the same question again, {number}"] for number in range(3)]
    assert [answer for _, _, answer, _ in book.turns] == [events(f"the same answer again, {n}") for n in range(3)]


@pytest.mark.parametrize("extension", ["x-webkit-deflate-frame", "permessage-deflate; mystery=1", "a, b"])
def test_an_extension_that_nobody_knows_is_not_read(extension: str) -> None:
    book = Playbook()
    other = Http1Codec(book, book)
    other.client_data(ASK, 1)
    other.server_data(Server().agreement(extension), 2)
    assert isinstance(book.codec, WebSocketCodec)
    before = book.gone["upgraded"]
    other.client_data(b"\x81\x80mask", 3)
    assert book.gone["upgraded"] == before + 6


@pytest.mark.parametrize("direction", ["client", "server"])
def test_a_hole_is_the_end_of_what_can_be_read(direction: str) -> None:
    book = Playbook().asks("one").says("eins")
    (book.codec.client_gap if direction == "client" else book.codec.server_gap)(10, book.clock)
    book.asks("two").says("zwei").asks("three").ends()
    assert book.events == ["lost gap"], "counted once"
    assert book.turns == [(["one"], 0, events("eins"), 1)]
    assert book.ended[-1].uncomparable
    assert book.gone["gap"] > 0


def test_what_cannot_be_framed_is_unparsable() -> None:
    book = Playbook().asks("one").says("eins").asks("two").client(b"\x83\x80mask").says("zwei").ends()
    assert book.events == ["filtered unparsable"]
    assert book.turns == [(["one"], 0, events("eins"), 1)]


def test_where_a_byte_was_taken_out_it_is_not_the_client_s_fault() -> None:
    book = Playbook()
    book.codec.urgent(0)
    book.client(b"\x83\x80mask")
    assert book.events == ["lost urgent"]


def test_a_message_that_was_not_finished() -> None:
    book = Playbook().asks("one").says("eins").client(book_piece()).ends()
    assert book.events == ["lost truncated"]
    assert book.gone == {"truncated": len(book_piece())}


def book_piece() -> bytes:
    return MessageWriter().framed(TEXT, b"never whole", b"mask")[:-3]


def test_an_answer_beyond_what_is_kept_is_counted() -> None:
    book = Playbook(body_limit=30).asks("one").says("0123456789", "0123456789", "more").ends()
    (turn,) = book.turns
    assert turn[2] == events("0123456789")
    response = book.ended[-1].response
    assert response is not None
    assert response.body_length == len(events("0123456789", "0123456789", "more"))


def test_no_memory() -> None:
    budget = Budget()
    book = Playbook(budget=budget)
    budget.allow(budget.used + 50)
    book.asks("x" * 100).says("eins").asks("two").ends()
    assert book.events == ["lost memory"]
    assert book.turns == []
    assert budget.used == 0


def test_the_book_is_closed_on_an_answer_that_goes_on() -> None:
    book = Playbook().asks("subscribe").says("tick", "tick")
    book.codec.close_book(book.exchanges[-1])  # type: ignore[attr-defined]
    book.says("tick").asks("more").says("tock").ends()
    assert book.turns == [(["subscribe"], 0, events("tick", "tick"), 2), (["more"], 3, events("tock"), 1)]
    assert book.gone["open"] > 0
    assert book.ended[1].response.open  # type: ignore[union-attr]


def test_when_messages_came() -> None:
    book = Playbook().asks("one").says("eins")
    first = book.clock
    book.says("mehr").ends()
    response = book.ended[-1].response
    assert response is not None
    assert response.marks is not None
    assert [time for _, time in response.marks] == [first, first + 1000]
    assert (response.first_byte, response.last_byte) == (first, first + 1000)
    begin = response.begin + len(response.head)
    assert [offset - begin for offset, _ in response.marks] == [len(events("eins")), len(events("eins", "mehr"))]


talk = st.lists(
    st.one_of(
        st.tuples(st.just("asks"), st.text(max_size=200), st.booleans()),
        st.tuples(st.just("says"), st.text(max_size=200), st.booleans()),
        st.tuples(st.just("pings"), st.just(""), st.booleans()),
    ),
    max_size=30,
)


@given(talk, st.sampled_from(["", "permessage-deflate", "permessage-deflate; client_no_context_takeover"]), st.data())
def test_every_message_is_in_one_turn_however_it_was_split(
    lines: list[tuple[str, str, bool]], deflate: str, data: st.DataObject
) -> None:
    book = Playbook(deflate=deflate, body_limit=1 << 20)
    asked: list[str] = []
    said: list[str] = []
    for what, text, read in lines:
        acked = book.server_end if read else book.client_acked
        if what == "asks":
            asked.append(text)
            wire = book.writer.framed(TEXT, text.encode(), b"mask")
        elif what == "pings":
            wire = book.writer.framed(PING, b"", b"mask")
        else:
            said.append(text)
            wire = book.speaker.framed(TEXT, text.encode())
        cut = data.draw(st.integers(0, len(wire)))
        for piece in filter(None, (wire[:cut], wire[cut:])):
            if what == "says":
                book.server(piece)
            else:
                book.client(piece, acked)
    book.ends()
    turns = [one.request.turn for one in book.exchanges if one.request.turn is not None]
    assert [message.data.decode() for turn in turns for message in turn.messages] == asked
    assert sum(turn.answers for turn in turns) == len(said)
    assert all(turn.read <= sum(before.answers for before in turns[:at]) for at, turn in enumerate(turns))
    told = sum(one.request.size for one in book.exchanges)
    assert told + sum(book.gone.values()) == book.fed
    assert not book.events
    assert book.exchanges == book.ended


def test_a_client_that_goes_without_a_word_is_no_fault_of_its_server() -> None:
    """A process that is killed, a lost tab: the server's end follows the client's, and no shadow would end before it is
    told to."""
    book = Playbook().asks("one").says("eins")
    book.codec.client_eof(book.clock)
    book.codec.server_eof(book.clock)
    assert book.ends().turns == [(["one"], 0, events("eins"), 1)]
    assert not any(one.request.turn.closed for one in book.ended if one.request.turn is not None)


def test_a_client_that_only_listens_takes_no_memory() -> None:
    book = Playbook().asks("subscribe")
    said = 3 * MAX_UNREAD
    for _ in range(said):
        book.says("tick")
    codec = book.codec
    assert isinstance(codec, WebSocketCodec)
    assert len(codec._ends) == MAX_UNREAD
    last = len(book.speaker.framed(TEXT, b"tick"))
    book.asks("all but two?", acked=book.server_end - 2 * last).says("yes").asks("all?").says("yes").ends()
    assert [read for _, read, _, _ in book.turns] == [0, said - 2, said + 1]


def test_what_a_turn_undoes_to_is_bounded_as_what_it_is_on_the_wire() -> None:
    """Eight kilobytes on the wire are eight megabytes."""
    budget = Budget()
    book = Playbook(budget=budget, deflate="permessage-deflate")
    for _ in range(4):
        book.client(book.writer.framed(BINARY, bytes(8 << 20), b"mask"), acked=0)
    assert book.events == ["lost too_large"]
    assert budget.used == 0


def test_what_keeping_many_small_messages_takes_is_charged() -> None:
    budget = Budget()
    book = Playbook(budget=budget)
    for _ in range(1000):
        book.asks("", acked=0)
    assert budget.used >= 1000 * MESSAGE_COST
    book.says("hello").ends()
    assert budget.used == 0


def test_a_turn_s_head_has_nothing_of_a_folded_line_about_the_handshake() -> None:
    """It would be the rest of the line before, under that line's name."""
    folded = b"Sec-WebSocket-Protocol: chat,\r\n bearer.SECRET\r\nOrigin: shop\r\nSec-WebSocket-Key"
    book = Playbook(ask=ASK.replace(b"Sec-WebSocket-Key", folded)).asks("one").says("eins").ends()
    head = book.exchanges[1].request.head
    assert b"SECRET" not in head
    assert b"\r\nOrigin: shop\r\n" in head


def test_the_times_of_a_long_answer_are_charged_and_none_are_kept_where_nothing_is() -> None:
    kept, budget = Budget(), Budget()
    for book in (Playbook(budget=kept).asks("subscribe"), Playbook(body_limit=0, budget=budget).asks("subscribe")):
        for _ in range(1000):
            book.says("tick")
    assert kept.used >= 1000 * MARK_COST
    assert budget.used == 0
