"""Our end of an HTTP/2 connection against a server of the ``h2`` package, and against what no server says."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.ledger.budget import Budget
from shadowd.protocols import http2_frames as frames
from shadowd.protocols.hpack import encode
from shadowd.protocols.http2_client import MAX_HEADS, MAX_IDLE_FRAMES, Answer, Http2Client, Http2Error
from shadowd.protocols.http2_frames import frame

OK = [(b":status", b"200")]


class Shadow:
    """A server; ``heard`` has what it was asked, by stream."""

    def __init__(self, client: Http2Client, **settings: int) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.peer = h2.connection.H2Connection(config)
        self.peer.initiate_connection()
        if settings:
            self.peer.update_settings(
                {getattr(h2.settings.SettingCodes, name.upper()): value for name, value in settings.items()}
            )
        self.client = client
        self.heard: dict[int, list[object]] = {}
        self.ended: list[Answer] = []
        self.windows = True  # it opens them as it reads
        self.talk()

    def talk(self) -> None:
        moved = True
        while moved:
            moved = False
            data, self.client.out = bytes(self.client.out), bytearray()
            if data:
                moved = True
                for event in self.peer.receive_data(data):
                    self.hear(event)
            said = self.peer.data_to_send()
            if said:
                moved = True
                self.ended += self.client.feed_untrusted(said, 1)

    def hear(self, event: object) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.heard[event.stream_id] = [event.headers, b"", None, False]
        elif isinstance(event, h2.events.DataReceived):
            heard = self.heard[event.stream_id]
            heard[1] = bytes(heard[1]) + event.data  # type: ignore[call-overload]
            if self.windows and event.flow_controlled_length:
                self.peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.heard[event.stream_id][2] = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            self.heard[event.stream_id][3] = True

    def opens(self, stream: int) -> None:
        """The head of an answer."""
        self.peer.send_headers(stream, OK)
        self.talk()

    def ends(self, stream: int) -> None:
        self.peer.end_stream(stream)
        self.talk()

    def answer(self, stream: int, body: bytes = b"", trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        self.peer.send_headers(stream, OK, end_stream=not body and trailers is None)
        at = 0
        while at < len(body):
            piece = body[at : at + self.peer.max_outbound_frame_size]
            at += len(piece)
            self.peer.send_data(stream, piece, end_stream=at == len(body) and trailers is None)
            self.talk()
        if trailers is not None:
            self.peer.send_headers(stream, trailers, end_stream=True)
        self.talk()


def begun() -> Http2Client:
    client = Http2Client(body_limit=100)
    client.feed_untrusted(frames.settings({}), 0)
    return client


def fields(path: bytes = b"/", method: bytes = b"GET") -> list[tuple[bytes, bytes]]:
    return [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"next")]


requests = st.lists(st.tuples(st.binary(max_size=100_000), st.booleans()), min_size=1, max_size=6)


@given(requests, st.data())
def test_requests_and_answers_in_any_order(wanted: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    client = Http2Client(body_limit=1 << 20)
    shadow = Shadow(
        client, initial_window_size=data.draw(st.sampled_from([0, 1, 1000, 65_535, 1 << 20])),
        max_frame_size=data.draw(st.sampled_from([16_384, 1 << 20])),
    )  # fmt: skip
    numbers = []
    for body, trailing in wanted:
        trailers = [(b"x-t", b"1")] if trailing else []
        numbers.append(client.open(fields(b"/%d" % len(numbers), b"POST"), body, trailers, 0))
        shadow.talk()
    for number in numbers:  # where the windows began with nothing
        if not shadow.heard[number][3]:
            shadow.peer.increment_flow_control_window(1 << 20, number)
            shadow.peer.increment_flow_control_window(1 << 20)
            shadow.talk()
    for number, (body, trailing) in zip(numbers, wanted, strict=True):
        _, heard, trailers_heard, ended = shadow.heard[number]
        assert heard == body
        assert ended
        assert bool(trailers_heard) == trailing
    assert sorted(client.sent) == numbers
    for number in data.draw(st.permutations(numbers)):
        body, trailing = wanted[numbers.index(number)]
        shadow.answer(number, body, [(b"grpc-status", b"0")] if trailing else None)
    assert sorted(one.stream for one in shadow.ended) == numbers
    for one in shadow.ended:
        body, trailing = wanted[numbers.index(one.stream)]
        assert one.response is not None
        assert one.response.body == body
        assert one.response.trailers == (b"grpc-status: 0\r\n" if trailing else b"")
    assert client._held == 0
    assert not client._streams


def test_no_more_streams_than_it_allows_and_none_after_goaway() -> None:
    client = Http2Client()
    shadow = Shadow(client, max_concurrent_streams=2)
    first, second = (client.open(fields(), b"", [], 0) for _ in range(2))
    assert client.full
    shadow.talk()
    shadow.answer(first)
    assert not client.full
    third = client.open(fields(), b"", [], 0)
    shadow.talk()
    client.feed_untrusted(frame(frames.GOAWAY, 0, 0, second.to_bytes(4, "big") + bytes(4)), 1)
    assert client.full
    assert client.going
    assert third not in client._streams
    shadow.answer(second)
    assert shadow.ended[-1].stream == second


def test_who_is_refused_may_ask_again_and_who_is_reset_may_not() -> None:
    client = Http2Client(body_limit=100)
    shadow = Shadow(client)
    numbers = [client.open(fields(), b"", [], 0) for _ in range(4)]
    shadow.talk()
    shadow.peer.reset_stream(numbers[0], frames.REFUSED_STREAM)
    shadow.peer.reset_stream(numbers[1], frames.INTERNAL_ERROR)
    shadow.peer.send_headers(numbers[2], OK)
    shadow.peer.reset_stream(numbers[2], frames.INTERNAL_ERROR)
    shadow.talk()
    ended = client.feed_untrusted(frame(frames.GOAWAY, 0, 0, bytes(8)), 1)
    told = [(one.stream, one.failure) for one in [*shadow.ended, *ended]]
    assert told == list(zip(numbers, ["refused", "reset", "truncated", "refused"], strict=True))


def test_an_answer_before_the_request_is_whole_ends_it() -> None:
    client = Http2Client(body_limit=100)
    shadow = Shadow(client, initial_window_size=10)
    shadow.windows = False
    number = client.open(fields(b"/", b"POST"), b"x" * 100_000, [], 0)
    shadow.talk()
    assert len(bytes(shadow.heard[number][1])) == 10  # type: ignore[call-overload]
    shadow.answer(number, b"enough")
    assert shadow.ended[0].response is not None
    assert shadow.ended[0].response.body == b"enough"
    assert not client._unsent


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4) + encode(fields())),
        frames.header_block(7, encode(OK), end=True),
        frames.header_block(2, encode(OK), end=True),
        frame(frames.DATA, 0, 5, b"x"),
        frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(frames.HEADERS, 0, 1, b"") + frame(frames.PING, 0, 0, bytes(8)),
        frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)),
        frames.window_update(0, frames.LARGEST_WINDOW),
        frames.settings({frames.MAX_FRAME_SIZE: 1}),
        frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}),
        frame(frames.SETTINGS, 0, 0, b"12345"),
        frame(frames.GOAWAY, 0, 0, b"1"),
        frame(frames.PING, 0, 0, bytes(8)) * (MAX_IDLE_FRAMES + 1),
        frames.settings({}) * (MAX_IDLE_FRAMES + 1),
        frame(frames.DATA, 0, 1) * (MAX_IDLE_FRAMES + 2),
        frame(frames.HEADERS, 0, 1, b"") + frame(frames.CONTINUATION, 0, 1, b"") * (MAX_IDLE_FRAMES + 1),
        frames.header_block(1, encode([(b":status", b"103")]), end=False) * (MAX_IDLE_FRAMES + 1),
    ],
)
def test_what_no_server_says_ends_the_connection(said: bytes) -> None:
    client = Http2Client(body_limit=100)
    client.open(fields(), b"", [], 0)
    if not said.startswith(b"HTTP"):
        said = frames.settings({}) + said
    with pytest.raises(Http2Error):
        client.feed_untrusted(said, 1)
    assert len(client.out) < 1 << 20


@pytest.mark.parametrize(
    "head",
    [[], [(b":status", b"20")], [(b"x", b"1")], [*OK, (b"x", b"1\r\ny: 2")], [*OK, (b"connection", b"close")]],
)
def test_an_answer_that_is_none_costs_its_stream_alone(head: list[tuple[bytes, bytes]]) -> None:
    client = begun()
    first, second = (client.open(fields(), b"", [], 0) for _ in range(2))
    said = frames.header_block(first, encode(head), end=True) + frames.header_block(second, encode(OK), end=True)
    ended = client.feed_untrusted(said, 1)
    assert [(one.stream, one.failure) for one in ended] == [(first, "malformed"), (second, "")]


def test_content_that_begins_without_a_head() -> None:
    client = begun()
    number = client.open(fields(), b"", [], 0)
    assert client.feed_untrusted(frame(frames.DATA, 0, number, b"x"), 1) == [Answer(number, None, "malformed")]


def test_the_windows_open_again_by_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shadowd.protocols.http2_client._REOPEN", 50_000)
    client = Http2Client(body_limit=100)
    shadow = Shadow(client)
    before = shadow.peer.outbound_flow_control_window
    for _ in range(20):
        number = client.open(fields(), b"", [], 0)
        shadow.talk()
        shadow.answer(number, b"x" * 30_000)
    assert before - 110_000 < shadow.peer.outbound_flow_control_window <= before


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_noise(pieces: list[bytes]) -> None:
    client = begun()
    for _ in range(3):
        client.open(fields(), b"abc", [], 0)
    ended: list[Answer] = []
    try:
        for piece in pieces:
            kind = piece[0] % 11 if piece else 0
            ended += client.feed_untrusted(frame(kind, piece[1] if len(piece) > 1 else 0, len(piece) % 8, piece), 1)
    except Http2Error:
        assert client.error is not None
    assert len({one.stream for one in ended}) == len(ended), "a stream ends once"
    assert len(ended) + len(client._streams) <= 3
    client.end()
    assert client._held == 0


def test_a_shadow_without_a_compression_table_is_told_that_none_is_used() -> None:
    """h2 and nghttp2 refuse the next block otherwise, trailers too (RFC 7541 §4.2)."""
    client = Http2Client(body_limit=100)
    shadow = Shadow(client, header_table_size=0)
    for body, trailers in ((b"", []), (b"x", [(b"x-t", b"1")]), (b"", [])):
        number = client.open(fields(b"/", b"POST"), body, trailers, 0)
        shadow.talk()
        shadow.answer(number)
    shadow.peer.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 100})
    shadow.talk()
    number = client.open(fields(), b"", [], 0)
    shadow.talk()
    shadow.answer(number)
    assert [one.failure for one in shadow.ended] == [""] * 4


def test_windows_opened_in_small_steps_are_no_flood() -> None:
    """A hundred uploads of 200 KB, whose server notes each KB twice before it answers any."""
    client = Http2Client(body_limit=100)
    shadow = Shadow(client, initial_window_size=1 << 20)
    shadow.windows = False
    shadow.peer.increment_flow_control_window((1 << 31) - 1 - 65_535)
    shadow.talk()
    numbers = [client.open(fields(b"/", b"POST"), b"x" * 200_000, [], 0) for _ in range(100)]
    client.out.clear()
    for _ in range(190):
        said = b"".join(frames.window_update(number, 1024) + frames.window_update(0, 1024) for number in numbers)
        client.feed_untrusted(said, 1)
    assert client.feed_untrusted(frames.header_block(numbers[0], encode(OK), end=True), 1)[0].response is not None


def bomb(numbers: list[int]) -> bytes:
    """Heads of 240 KB, each by some seventy bytes: what they name has been put into the table before."""
    fill = encode(OK) + b"\x40\x01x\x7f\x80\x1e" + b"v" * 3967
    again = encode(OK) + b"\xbe" * 60
    blocks = [frames.header_block(number, again if index else fill, end=False) for index, number in enumerate(numbers)]
    return frames.settings({}) + b"".join(blocks)


def test_heads_that_a_few_bytes_name_end_the_connection() -> None:
    budget = Budget()
    client = Http2Client(100, budget)
    said = bomb([client.open(fields(), b"", [], 0) for _ in range(100)])
    try:
        assert client.feed_untrusted(said, 1) is None
    except Http2Error as error:
        assert str(error) == "heads beyond all measure"  # noqa: PT017
    assert MAX_HEADS < budget.used < MAX_HEADS + (1 << 20)
    del client
    assert budget.used == 0


def test_heads_that_no_memory_is_left_for_are_no_fault_of_the_shadow() -> None:
    budget = Budget(1 << 20)
    client = Http2Client(100, budget)
    numbers = [client.open(fields(), b"", [], 0) for _ in range(20)]
    ended = client.feed_untrusted(bomb(numbers), 1)
    assert {one.failure for one in ended} == {"own_limit"}
    assert len(ended) > 10
    assert budget.used < (1 << 20) + 300_000
    assert [one.failure for one in client.feed_untrusted(frame(frames.DATA, 1, numbers[0], b"x"), 1)] == [""]
