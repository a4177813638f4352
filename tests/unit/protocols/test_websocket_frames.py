"""Frames and messages: wsproto is the oracle, on both sides."""

from __future__ import annotations

import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.extensions import Extension, PerMessageDeflate

from shadowd.ledger.budget import Budget
from shadowd.protocols import websocket_frames
from shadowd.protocols.websocket_frames import (
    BINARY,
    CLOSE,
    MAX_MESSAGE,
    PING,
    PONG,
    TEXT,
    Deflate,
    MessageReader,
    MessageWriter,
    unmasked,
)

MASK = b"\x11\x22\x33\x44"


def peer(kind: ConnectionType, deflate: Deflate | None) -> Connection:
    """wsproto's side of it, with what was agreed on."""
    extensions: list[Extension] = []
    if deflate is not None:
        extension = PerMessageDeflate()
        extension._enabled = True
        extension._client_max_window_bits = extension._server_max_window_bits = max(deflate.bits, 9)
        extension.client_no_context_takeover = extension.server_no_context_takeover = not deflate.takeover
        extensions.append(extension)
    return Connection(kind, extensions)


messages = st.one_of(
    st.text(max_size=300).map(lambda text: (TEXT, text.encode())),
    st.binary(max_size=70_000).map(lambda data: (BINARY, data)),
    st.binary(max_size=125).map(lambda data: (PING, data)),
    st.binary(max_size=125).map(lambda data: (PONG, data)),
)
deflates = st.one_of(st.none(), st.builds(Deflate, takeover=st.booleans(), bits=st.integers(9, 15)))
conversations = st.lists(st.tuples(messages, st.integers(1, 4)), max_size=12)


def said(connection: Connection, kind: int, data: bytes, pieces: int) -> bytes:
    """A message as wsproto frames it, in so many frames."""
    if kind == PING:
        return bytes(connection.send(Ping(data)))
    if kind == PONG:
        return bytes(connection.send(Pong(data)))
    if kind == TEXT:
        text = data.decode()
        cuts = [text[len(text) * at // pieces : len(text) * (at + 1) // pieces] for at in range(pieces)]
        events: list[Message[str] | Message[bytes]] = [TextMessage(cut, message_finished=False) for cut in cuts]
        events[-1] = TextMessage(cuts[-1])
    else:
        raw = [data[len(data) * at // pieces : len(data) * (at + 1) // pieces] for at in range(pieces)]
        events = [BytesMessage(cut, message_finished=False) for cut in raw]
        events[-1] = BytesMessage(raw[-1])
    return b"".join(map(connection.send, events))


@given(conversations, deflates, st.booleans(), st.randoms(use_true_random=False))
def test_any_split_of_what_anybody_frames_is_read(
    talk: list[tuple[tuple[int, bytes], int]], deflate: Deflate | None, client: bool, random: object
) -> None:
    speaker = peer(ConnectionType.CLIENT if client else ConnectionType.SERVER, deflate)
    reader = MessageReader(client, deflate, offset=100)
    wire = b"".join(said(speaker, kind, data, pieces) for (kind, data), pieces in talk)
    cuts = sorted(random.randrange(len(wire) + 1) for _ in range(random.randrange(8)))  # type: ignore[attr-defined]
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += reader.feed_untrusted(wire[begin:end])
    assert not reader.failed
    assert [(one.kind, one.data) for one in found] == [message for message, _ in talk]
    assert sum(one.size for one in found) == len(wire)
    assert (reader.pending, reader.offset) == (0, 100 + len(wire))
    places = [place for one in found for place in (one.begin, one.end)]
    assert places == sorted(places)


@given(conversations, deflates)
def test_anybody_reads_what_is_written(talk: list[tuple[tuple[int, bytes], int]], deflate: Deflate | None) -> None:
    listener = peer(ConnectionType.SERVER, deflate)
    writer = MessageWriter(deflate)
    for (kind, data), _ in talk:
        listener.receive_data(writer.framed(kind, data, os.urandom(4)))
        events = list(listener.events())
        if kind in (PING, PONG):
            assert [bytes(event.payload) for event in events] == [data]  # type: ignore[union-attr]
            continue
        texts = [event.data for event in events]  # type: ignore[union-attr]
        assert events[-1].message_finished  # type: ignore[union-attr]
        whole = "".join(texts).encode() if kind == TEXT else b"".join(texts)
        assert whole == data
    listener.receive_data(writer.framed(CLOSE, b"\x03\xe8bye", MASK))
    (closed,) = listener.events()
    assert isinstance(closed, CloseConnection)
    assert (closed.code, closed.reason) == (1000, "bye")
    assert listener.state is ConnectionState.REMOTE_CLOSING


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"\x83\x80" + MASK, "unparsable"),  # §5.2: an opcode that nobody has
        (b"\xa1\x80" + MASK, "unparsable"),  # RSV2 without an extension
        (b"\xc1\x80" + MASK, "unparsable"),  # RSV1 without deflate
        (b"\x81\x01a", "unparsable"),  # §5.1: a client that does not mask
        (b"\x09\x80" + MASK, "unparsable"),  # §5.5: a Ping in pieces
        (b"\x89\xfe\x00\x7e" + MASK, "unparsable"),  # and one above 125 bytes
        (b"\x80\x80" + MASK, "unparsable"),  # §5.4: nothing to go on with
        (b"\x01\x80" + MASK + b"\x81\x80" + MASK, "unparsable"),  # a message within another
        (b"\x82\xff" + (MAX_MESSAGE + 1).to_bytes(8, "big"), "too_large"),
        (b"\x82\xff" + b"\xff" * 8, "too_large"),  # §5.2: the highest bit must be 0
    ],
)
def test_what_nobody_may_say(wire: bytes, reason: str) -> None:
    for at in range(1, len(wire)):
        reader = MessageReader(True)
        reader.feed_untrusted(wire[:at])
        reader.feed_untrusted(wire[at:])
        assert reader.failed == reason
        assert reader.feed_untrusted(b"\x81\x80" + MASK) == []
        assert reader.pending == 0


def test_what_was_whole_before_is_told() -> None:
    reader = MessageReader(True)
    (one,) = reader.feed_untrusted(MessageWriter().framed(TEXT, b"whole", MASK) + b"\xf0\x80" + MASK)
    assert (one.data, reader.failed) == (b"whole", "unparsable")


@given(st.binary(max_size=400), st.booleans(), deflates)
def test_random_bytes_never_raise(data: bytes, masked: bool, deflate: Deflate | None) -> None:
    reader = MessageReader(masked, deflate)
    for at in range(0, len(data), 7):
        reader.feed_untrusted(data[at : at + 7])
    assert reader.pending <= len(data)


def test_few_bytes_that_deflate_to_many_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_frames, "MAX_MESSAGE", 1 << 16)
    packed = zlib.compressobj(wbits=-15)
    bomb = (packed.compress(bytes(1 << 20)) + packed.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(bomb) < 1100
    reader = MessageReader(False, Deflate())
    assert reader.feed_untrusted(b"\xc2\x7e" + len(bomb).to_bytes(2, "big") + bomb) == []
    assert reader.failed == "too_large"


def test_what_does_not_inflate_is_unparsable() -> None:
    reader = MessageReader(False, Deflate())
    assert reader.feed_untrusted(b"\xc2\x04\xff\xff\xff\xff") == []
    assert reader.failed == "unparsable"


def test_an_unfinished_message_is_charged_and_released() -> None:
    budget = Budget(1 << 20)
    reader = MessageReader(False, budget=budget)
    reader.feed_untrusted(b"\x02\x7e\x40\x00" + bytes(0x4000))  # the first frame of some
    reader.feed_untrusted(b"\x00\x7e\x40\x00" + bytes(0x3000))
    assert budget.used >= 0x7000
    reader.release()
    assert budget.used == 0


def test_no_memory_for_it() -> None:
    budget = Budget(100)
    reader = MessageReader(False, budget=budget)
    assert reader.feed_untrusted(b"\x02\x7e\x40\x00" + bytes(0x200)) == []
    assert (reader.failed, budget.used) == ("memory", 0)


@given(st.binary(max_size=200), st.binary(min_size=4, max_size=4))
def test_masking_is_what_the_rfc_says(data: bytes, mask: bytes) -> None:
    """§5.3: octet i is masked with octet i modulo 4."""
    assert unmasked(data, mask) == bytes(octet ^ mask[at % 4] for at, octet in enumerate(data))
    assert unmasked(unmasked(data, mask), mask) == data


def test_fragments_of_nothing_do_not_go_on_for_ever() -> None:
    """Their heads are bytes of the message, and charged: nobody is to use up the budget with what is not there."""
    reader = MessageReader(None)
    reader.feed_untrusted(b"\x01\x00")
    pieces = b"\x00\x00" * (1 << 14)
    for _ in range(MAX_MESSAGE // len(pieces) + 1):
        reader.feed_untrusted(pieces)
    assert reader.failed == "too_large"
