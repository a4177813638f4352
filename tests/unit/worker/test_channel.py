"""Messages between the supervisor and its workers: whole, in order, whatever pieces they come in."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.worker.channel import HEADER, MAX_FRAME, ChannelError, Inbox, Outbox

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary(max_size=300) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 99), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(VALUES, max_size=6), st.lists(st.integers(1, 50), min_size=1))
def test_messages_arrive_whole_and_in_order(values: list[Any], cuts: list[int]) -> None:
    outbox, stream = Outbox(), bytearray()
    for value in values:
        outbox.put("one", value)
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        assert outbox.send(left)
        assert outbox.waiting == 0
        left.shutdown(socket.SHUT_WR)
        while piece := right.recv(1 << 16):
            stream += piece
    inbox, found, begin, turn = Inbox(), [], 0, 0
    while begin < len(stream):
        size = cuts[turn % len(cuts)]
        found += inbox.feed_untrusted(bytes(stream[begin : begin + size]))
        begin, turn = begin + size, turn + 1
    assert found == [["one", value] for value in values]


def test_what_the_socket_does_not_take_waits() -> None:
    outbox = Outbox()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        sent = [bytes([number]) * 70_000 for number in range(40)]
        for body in sent:
            outbox.put("body", body)
        assert not outbox.send(left)
        assert 0 < outbox.waiting < 40 * 70_100
        inbox, found = Inbox(), []
        while len(found) < 40:
            found += inbox.feed_untrusted(right.recv(100_000))
            outbox.send(left)
        assert [body for _, body in found] == sent
        assert outbox.waiting == 0
        right.close()
        outbox.put("late")
        with pytest.raises(ChannelError):
            outbox.send(left)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_messages(data: bytes) -> None:
    """A ``ChannelError``, or more is waited for; nothing else."""
    try:
        for message in Inbox().feed_untrusted(data):
            assert isinstance(message[0], str)
    except ChannelError:
        pass


def test_a_length_beyond_all_measure() -> None:
    with pytest.raises(ChannelError, match="beyond all measure"):
        Inbox().feed_untrusted(HEADER.pack(MAX_FRAME + 1))
