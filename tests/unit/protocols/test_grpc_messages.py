"""Messages of gRPC are counted however they are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.grpc import FrameError, messages_untrusted
from shadowd.protocols.grpc_messages import Messages
from tests.unit.protocols.test_dialogue import message


@given(st.lists(st.integers(0, 300), max_size=20), st.data())
def test_messages_are_counted_in_any_pieces(sizes: list[int], data: st.DataObject) -> None:
    content = b"".join(map(message, sizes)) + b"\0\0"
    counter, ends, at = Messages(), [], 0
    while at < len(content):
        step = data.draw(st.integers(1, len(content) - at))
        ends += [at + end for end in counter.feed_untrusted(content[at : at + step])]
        at += step
    assert ends == [sum(5 + size for size in sizes[: number + 1]) for number in range(len(sizes))]
    assert counter.count == len(sizes)


@given(st.lists(st.binary(max_size=50)))
def test_noise_is_counted_too(pieces: list[bytes]) -> None:
    counter = Messages()
    for piece in pieces:
        ends = counter.feed_untrusted(piece)
        assert ends == sorted(set(ends))
        assert all(0 < end <= len(piece) for end in ends)


def test_trailers_of_grpc_web_are_no_message() -> None:
    counter = Messages()
    assert counter.feed_untrusted(message(3) + b"\x80\0\0\0\x02ab" + message(1)) == [8, 21]
    assert (counter.count, counter.wrong) == (2, False)


def test_nothing_is_counted_behind_flags_that_nobody_knows() -> None:
    counter = Messages()
    assert counter.feed_untrusted(message(1) + b"\x40\0\0\0\0") == [6]
    assert counter.wrong
    assert counter.feed_untrusted(message(1)) == []


@given(st.binary(max_size=100))
def test_who_compares_counts_as_many(content: bytes) -> None:
    """Of a whole content, where nothing is compressed."""
    counter = Messages()
    counter.feed_untrusted(content)
    try:
        found = len(messages_untrusted("application/grpc", content))
    except FrameError:
        return
    assert (counter.count, counter.wrong) == (found, False)
