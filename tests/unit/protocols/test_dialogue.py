"""Dialogues of gRPC: what is noted of one, and how another server is held to it. ``h2`` speaks at the ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.ledger.budget import Budget
from shadowd.protocols import dialogue
from shadowd.protocols.dialogue import Pace, Pacing
from shadowd.protocols.http2_client import Http2Client
from tests.unit.protocols.http2_peers import CLIENT, SERVER, Headers, Reading, Talk, asked
from tests.unit.protocols.test_http2_client import Shadow, fields

GRPC = (b"content-type", b"application/grpc")
OK: Headers = [(b":status", b"200"), GRPC]
GOOD: Headers = [(b"grpc-status", b"0")]


def message(size: int) -> bytes:
    return b"\0" + size.to_bytes(4, "big") + b"m" * size


# --- what is noted ----------------------------------------------------------------------------------------------------


class Call(Talk):
    """One call; ``says`` and ``replies`` are messages of so many bytes."""

    def __init__(self, kind: tuple[bytes, bytes] = GRPC) -> None:
        super().__init__()
        self.client.send_headers(1, asked(b"/chat.Chat/Talk", b"POST", kind))
        self.flush()

    def says(self, *sizes: int, ends: bool = False) -> None:
        for size in sizes:
            self.client.send_data(1, message(size))
        if ends:
            self.client.end_stream(1)
        self.flush()

    def opens(self) -> None:
        self.server.send_headers(1, OK)
        self.flush()

    def replies(self, *sizes: int, ends: bool = False) -> None:
        for size in sizes:
            self.server.send_data(1, message(size))
        if ends:
            self.server.send_headers(1, GOOD, end_stream=True)
        self.flush()


def paces(seen: Reading) -> list[tuple[int, int]]:
    (exchange,) = seen.exchanges
    return [(pace.offset, pace.messages) for pace in exchange.request.paces]


def test_each_turn_is_a_pace_and_the_end_is_one() -> None:
    call = Call()
    call.says(10)
    call.opens()
    call.replies(3)
    call.says(20, 1)
    call.replies(0, 4)
    call.says(5)
    call.replies(7)
    call.says(ends=True)
    call.replies(ends=True)
    seen = Reading().read(call.wire).close()
    assert paces(seen) == [(15, 1), (46, 3), (56, 4)]
    assert seen.codec._held == 0
    (exchange,) = seen.answered
    assert exchange.response is not None
    assert exchange.response.trailers == b"grpc-status: 0\r\n"


def test_a_server_that_speaks_first_is_waited_for() -> None:
    call = Call()
    call.opens()
    call.replies(1, 1)
    call.says(ends=True)
    assert paces(Reading().read(call.wire)) == [(0, 2)]


def test_the_times_are_those_of_what_is_waited_for() -> None:
    """From what the client has said to the last message that it has read then, its thinking left out."""
    call = Call()
    call.opens()
    replies = []
    for _ in range(2):
        call.says(10)
        replies.append(len(call.wire))
        call.replies(1)
    seen = Reading()
    call.says(10, ends=True)
    times = []
    for direction, data in call.wire:
        seen.time += 1_000_000 * (direction == CLIENT)  # it thinks
        seen.feed(direction, data)
        times.append(seen.time)
    (exchange,) = seen.exchanges
    assert [pace.took for pace in exchange.request.paces] == [times[one] - times[one - 1] for one in replies]


@pytest.mark.parametrize("kind", ["unary", "not gRPC", "gRPC-web", "not acknowledged", "trailers alone"])
def test_what_is_no_dialogue_has_no_paces(kind: str) -> None:
    named = {"not gRPC": b"application/json", "gRPC-web": b"application/grpc-web+proto"}
    call = Call((b"content-type", named.get(kind, b"application/grpc+proto")))
    call.says(10, ends=kind == "unary")
    if kind == "trailers alone":
        call.server.send_headers(1, [*OK, *GOOD], end_stream=True)
        call.flush()
    else:
        call.opens()
        call.replies(5)
    if kind != "unary":
        call.says(10, ends=True)
    seen = Reading()
    for direction, data in call.wire:
        seen.feed(direction, data, acked=kind != "not acknowledged")
    assert paces(seen) == []


def test_a_dialogue_that_its_client_cancels_is_none() -> None:
    call = Call()
    call.says(10)
    call.opens()
    call.replies(5)
    call.says(10)
    call.client.reset_stream(1, 8)
    call.flush()
    seen = Reading().read(call.wire).close()
    assert seen.told == ["filtered cancelled"]
    assert seen.codec._held == 0


def test_a_hole_in_the_answer_ends_the_counting_not_the_dialogue() -> None:
    call = Call()
    call.says(10)
    call.opens()
    call.replies(5)
    call.says(10)
    before = len(call.wire)
    call.replies(1000)
    call.says(10, ends=True)
    seen = Reading()
    for number, (direction, data) in enumerate(call.wire):
        if direction == SERVER and number >= before and len(data) > 1000:
            seen.feed(SERVER, data[:100])
            seen.codec.server_gap(len(data) - 100, seen.time)
        else:
            seen.client_acked = sum(len(one) for whose, one in call.wire[:number] if whose == SERVER)
            seen.feed(direction, data, acked=False)
    assert paces(seen) == [(15, 1)]
    (exchange,) = seen.answered
    assert exchange.uncomparable


def test_more_turns_than_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shadowd.protocols.http2.MAX_PACES", 3)
    call = Call()
    call.opens()
    for _ in range(4):
        call.replies(1)
        call.says(1)
    call.says(1, ends=True)
    seen = Reading().read(call.wire).close()
    assert seen.told == ["filtered interactive"]
    assert seen.codec._held == 0


def test_what_is_noted_is_charged_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says 30,000 empty messages before its client acknowledges any."""
    call = Call()
    call.opens()
    call.says(1)
    for _ in range(30):
        call.server.send_data(1, message(0) * 1000)
        call.flush()
    call.says(1, ends=True)
    budget = Budget()
    seen = Reading(budget=budget)
    most = 0
    for direction, data in call.wire:
        seen.feed(direction, data, acked=False)
        most = max(most, budget.used)
    assert 10_000 * dialogue.PACE_BYTES <= most < 10_100 * dialogue.PACE_BYTES + (1 << 19)
    seen.close()
    assert seen.codec._held == 0


turns = st.lists(
    st.tuples(st.lists(st.integers(0, 400), max_size=3), st.lists(st.integers(0, 400), max_size=3)),
    min_size=1, max_size=6,
)  # fmt: skip


@given(turns, st.data())
def test_any_split_of_the_segments_gives_the_same_paces(
    wanted: list[tuple[list[int], list[int]]], data: st.DataObject
) -> None:
    """And they are those of the dialogue: how many messages were whole before each turn of the client's."""
    call = Call()
    call.opens()
    expected: list[tuple[int, int]] = []
    said = replied = noted = 0
    for mine, yours in wanted:
        if mine and replied > noted:
            expected.append((said, replied))
            noted = replied
        call.says(*mine)
        said += sum(5 + size for size in mine)
        call.replies(*yours)
        replied += len(yours)
    if replied > noted:
        expected.append((said, replied))
    call.says(ends=True)
    call.replies(ends=True)
    seen = Reading()
    heard = 0
    for direction, segment in call.wire:
        if direction == SERVER:
            heard += len(segment)
        at = 0
        while at < len(segment):  # what is acknowledged does not depend on how it was cut
            step = data.draw(st.integers(1, len(segment) - at))
            seen.client_acked = heard
            seen.feed(direction, segment[at : at + step], acked=False)
            at += step
    assert paces(seen.close()) == expected
    assert seen.codec._held == 0


# --- another server ---------------------------------------------------------------------------------------------------


def heard(shadow: Shadow, number: int) -> tuple[int, bool]:
    """How much of the request has come, and whether that is all."""
    shadow.talk()
    _, body, _, ended = shadow.heard[number]
    assert isinstance(body, bytes)
    return len(body), bool(ended)


def chat(shadow: Shadow, client: Http2Client, *paces: Pace, size: int = 100) -> int:
    number = client.open(fields(b"/chat.Chat/Talk", b"POST"), b"q" * size, [], 0, paces)
    shadow.talk()
    return number


def reply(shadow: Shadow, number: int, data: bytes) -> None:
    shadow.peer.send_data(number, data)
    shadow.talk()


def test_no_more_is_said_than_was_and_the_end_waits_too() -> None:
    client = Http2Client(body_limit=1000)
    shadow = Shadow(client)
    number = chat(shadow, client, Pace(40, 1, 0), Pace(70, 3, 0), Pace(100, 4, 0))
    assert heard(shadow, number) == (40, False)
    shadow.peer.send_headers(number, OK)
    assert heard(shadow, number) == (40, False)
    reply(shadow, number, message(9)[:-1])
    assert heard(shadow, number) == (40, False)
    reply(shadow, number, b"m")
    assert heard(shadow, number) == (70, False)
    reply(shadow, number, message(1))
    assert heard(shadow, number) == (70, False)
    reply(shadow, number, message(1))
    assert heard(shadow, number) == (100, False)
    assert client.sent == []
    reply(shadow, number, message(1))
    assert heard(shadow, number) == (100, True)
    assert client.sent == [number]
    shadow.ends(number)
    (answer,) = shadow.ended
    assert answer.response is not None
    assert answer.response.body == message(9) + message(1) * 3
    assert client._held == 0


def test_a_dialogue_without_content() -> None:
    client = Http2Client(body_limit=1000)
    shadow = Shadow(client)
    number = chat(shadow, client, Pace(0, 1, 0), size=0)
    assert heard(shadow, number) == (0, False)
    shadow.peer.send_headers(number, OK)
    reply(shadow, number, message(3))
    assert heard(shadow, number) == (0, True)


def test_windows_and_paces_are_kept_both_and_others_go_on() -> None:
    client = Http2Client(body_limit=1000)
    shadow = Shadow(client, initial_window_size=30)
    shadow.windows = False
    number = chat(shadow, client, Pace(40, 1, 0))
    other = client.open(fields(b"/", b"POST"), b"x" * 20, [(b"x-t", b"1")], 0)
    assert heard(shadow, number) == (30, False)
    assert heard(shadow, other) == (20, True)
    assert client.silences(5) == [(number, 5, 0)], "the shadow does not read: nobody waits for its answer"
    shadow.peer.increment_flow_control_window(50, number)
    assert heard(shadow, number) == (40, False)
    assert client.silences(9) == [(number, 5, 0)]
    shadow.peer.send_headers(number, OK)
    reply(shadow, number, message(0))
    assert heard(shadow, number) == (80, False)
    assert client.silences(9) == [], "all may be said"
    shadow.peer.increment_flow_control_window(50, number)
    assert heard(shadow, number) == (100, True)


def test_who_is_silent_is_not_waited_for_again() -> None:
    """It says nothing to the second question: the third's answer is its second message."""
    client = Http2Client(body_limit=1000)
    shadow = Shadow(client)
    number = chat(shadow, client, Pace(25, 1, 7), Pace(50, 2, 8), Pace(75, 3, 9), Pace(100, 4, 10))
    shadow.peer.send_headers(number, OK)
    reply(shadow, number, message(0))
    assert heard(shadow, number) == (50, False)
    assert client.silences(99) == [(number, 1, 8)]
    client.go_on(number, 99)
    assert heard(shadow, number) == (75, False)
    assert client.silences(100) == [(number, 99, 9)]
    reply(shadow, number, message(0))
    assert heard(shadow, number) == (100, False)
    reply(shadow, number, message(0))
    assert heard(shadow, number) == (100, True)


def test_a_shadow_that_ends_it_early_has_answered() -> None:
    client = Http2Client(body_limit=1000)
    shadow = Shadow(client)
    number = chat(shadow, client, Pace(40, 1, 0), Pace(100, 2, 0))
    shadow.answer(number, message(3), GOOD)
    (answer,) = shadow.ended
    assert answer.response is not None
    assert answer.response.body == message(3)
    assert not client._unsent
    assert client._held == 0


def test_who_is_refused_unread_may_be_asked_again() -> None:
    client = Http2Client(body_limit=1000)
    shadow = Shadow(client)
    number = chat(shadow, client, Pace(40, 1, 0))
    shadow.peer.reset_stream(number, 7)
    shadow.talk()
    assert [one.failure for one in shadow.ended] == ["refused"]
    assert not client._unsent


@given(turns, st.data())
def test_a_dialogue_that_was_listened_to_is_held_with_another(
    wanted: list[tuple[list[int], list[int]]], data: st.DataObject
) -> None:
    """Through both: a shadow that answers as production did hears each turn behind the answers in front of it."""
    call = Call()
    call.opens()
    for mine, yours in wanted:
        call.says(*mine)
        call.replies(*yours)
    call.says(ends=True)
    call.replies(ends=True)
    (exchange,) = Reading().read(call.wire).exchanges
    client = Http2Client(body_limit=1 << 20)
    shadow = Shadow(client)
    number = client.open(fields(b"/", b"POST"), exchange.request.body, [], 0, exchange.request.paces)
    shadow.talk()
    shadow.opens(number)
    said = replied = 0
    for index, (mine, yours) in enumerate(wanted):
        said += sum(5 + size for size in mine)
        come, ended = heard(shadow, number)
        following = [one for one, _ in wanted[index + 1 :]]
        if not yours:  # nothing was waited for
            assert come >= said
        elif any(following) or replied + len(yours):
            assert (come, ended) == (said, False)
        replied += len(yours)
        content = b"".join(map(message, yours))
        at = 0
        while at < len(content):
            step = data.draw(st.integers(1, len(content) - at))
            reply(shadow, number, content[at : at + step])
            at += step
    assert heard(shadow, number) == (said, True)


def test_pacing_alone() -> None:
    pacing = Pacing((Pace(3, 2, 5),), 1)
    assert (pacing.until, pacing.since, pacing.took) == (3, 1, 5)
    assert not pacing.answered_untrusted(message(1), 2)
    assert pacing.answered_untrusted(message(1), 3)
    assert pacing.until > 1 << 60
