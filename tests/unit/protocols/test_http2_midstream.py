"""Which connections are taken for HTTP/2 where their beginning was not seen: those of it, and no others."""

from __future__ import annotations

import random
import struct
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.protocols import http2_frames as frames
from shadowd.protocols.http2_frames import frame, header_block
from shadowd.protocols.http2_midstream import ENOUGH, MAX_PIECES, Glance
from tests.unit.loopback import get, ok
from tests.unit.protocols.http2_peers import CLIENT, SERVER, Talk, asked

OK = [(b":status", b"200")]


@cache
def talk(exchanges: int = 6, body: int = 300) -> list[tuple[int, bytes]]:
    made = Talk()
    for number in range(exchanges):
        made.answer(made.ask(asked(b"/%d" % number)), OK, b"a" * body)
    return made.wire


def looked(wire: list[tuple[int, bytes]]) -> Glance:
    glance = Glance()
    for direction, data in wire:
        glance.feed_untrusted(direction, data)
    return glance


# --- HTTP/2 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", range(4, 14))
@pytest.mark.parametrize("body", [0, 300, 40_000])
def test_from_any_piece_on(begin: int, body: int) -> None:
    assert looked(talk(20, body)[begin:]).is_http2


@given(st.integers(1, 60), st.integers(0, 2000), st.integers(0, 1 << 32))
def test_from_any_byte_on_and_in_any_pieces(largest: int, begin: int, seed: int) -> None:
    """Seen from within a frame, it is found at a piece that begins with one. What only looks like a frame's head ends
    16 KB behind it at most."""
    draw = random.Random(seed)
    wire = talk(400, 20)
    pieces: list[tuple[int, bytes]] = []
    for direction, data in wire:
        at = 0
        while at < len(data):
            size = draw.randint(1, largest) if draw.random() < 0.3 else len(data)
            pieces.append((direction, data[at : at + size]))
            at += size
    skipped = 0
    while pieces and skipped + len(pieces[0][1]) <= begin:
        skipped += len(pieces.pop(0)[1])
    direction, data = pieces[0]
    pieces[0] = (direction, data[begin - skipped :])
    assert looked(pieces).is_http2


def test_behind_a_hole_it_begins_anew() -> None:
    wire = talk(20)
    glance = looked(wire[4:12])
    for direction in (CLIENT, SERVER):
        glance.gap(direction)
    assert not glance.is_http2
    for direction, data in wire[14:]:
        glance.feed_untrusted(direction, data)
    assert glance.is_http2


def test_one_direction_is_not_enough() -> None:
    wire = talk(20)[4:]
    for left_out in (CLIENT, SERVER):
        assert not looked([(direction, data) for direction, data in wire if direction != left_out]).is_http2


def test_a_few_frames_are_not_enough() -> None:
    few = [frame(frames.PING, 0, 0, b"8 bytes!")] * (ENOUGH - 1)
    many = [frame(frames.PING, frames.ACK, 0, b"8 bytes!")] * 9
    assert not looked([(CLIENT, one) for one in few] + [(SERVER, one) for one in many]).is_http2
    assert looked([(CLIENT, one) for one in [*few, few[0]]] + [(SERVER, one) for one in many]).is_http2


def test_every_kind_of_frame_belongs_to_a_chain() -> None:
    block = b"b" * 20_000
    client = [
        frame(frames.SETTINGS, 0, 0, bytes(12)), frame(frames.SETTINGS, frames.ACK, 0),
        header_block(1, block, end=False), frame(frames.DATA, frames.PADDED, 1, b"\3abc\0\0\0"),
        frame(frames.DATA, frames.END_STREAM, 1), frame(frames.PRIORITY, 0, 3, bytes(5)),
        frame(frames.RST_STREAM, 0, 1, bytes(4)), frames.window_update(0, 5), frames.window_update(1, 5),
        frame(frames.GOAWAY, 0, 0, bytes(8)),
    ]  # fmt: skip
    server = frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(9)) + frame(frames.PING, 0, 0, bytes(8)) * 3
    assert looked([(CLIENT, b"".join(client)), (SERVER, server)]).is_http2


# --- anything else ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=1, max_size=400)), max_size=100))
def test_bytes_of_any_kind(wire: list[tuple[int, bytes]]) -> None:
    assert not looked(wire).is_http2


def test_a_million_random_bytes_in_each_direction() -> None:
    """Ciphertext, as good as any."""
    draw = random.Random(7)
    wire = [(number & 1, draw.randbytes(draw.randint(1, 1400))) for number in range(3000)]
    assert not looked(wire).is_http2


@pytest.mark.parametrize(
    "wire",
    [
        [(CLIENT, get(3)), (SERVER, ok())] * 50,
        [(CLIENT, b"GET key\r\n"), (SERVER, b"$2\r\nhi\r\n")] * 50,
        # a length in front: PostgreSQL, Kafka, MySQL (little-endian), AMQP, length-delimited protobuf, TLS
        [(CLIENT, b"Q" + struct.pack(">I", 12) + b"SELECT 1"), (SERVER, b"Z\0\0\0\5I")] * 50,
        [(CLIENT, struct.pack(">IHHI", 17, 0, 9, 1) + b"client-42"), (SERVER, struct.pack(">III", 8, 1, 0))] * 50,
        [(CLIENT, b"\x09\0\0\0\3SELECT 1"), (SERVER, b"\1\0\0\1\1\7\0\0\2\0\0\0\2\0\0\0")] * 50,
        [(CLIENT, b"\1\0\1\0\0\0\4\0\x3c\0\x28\xce"), (SERVER, b"\x08\0\0\0\0\0\0\xce")] * 50,
        [(CLIENT, b"\x17\3\3\0\x20" + b"c" * 32), (SERVER, b"\x17\3\3\0\x20" + b"s" * 32)] * 50,
        [(CLIENT, bytes(9)), (SERVER, bytes(9))] * 50,
        [(CLIENT, b"\xff" * 9), (SERVER, b"\xff" * 9)] * 50,
        [(CLIENT, bytes(range(256))), (SERVER, bytes(range(256)))] * 50,
        # WebSocket: masked and not
        [(CLIENT, b"\x81\x85\1\2\3\4abcde"), (SERVER, b"\x81\5hello")] * 50,
    ],
    ids=["http1", "redis", "postgres", "kafka", "mysql", "amqp", "tls", "zeros", "ones", "count", "websocket"],
)  # fmt: skip
@pytest.mark.parametrize("cut", [0, 1, 5])
def test_other_protocols(wire: list[tuple[int, bytes]], cut: int) -> None:
    (direction, first), *rest = wire
    assert not looked([(direction, first[cut:]), *rest]).is_http2


@pytest.mark.parametrize(
    "one",
    [
        frame(frames.DATA, 0, 0, b"x"), frame(frames.HEADERS, 4, 0, b"x"), frame(frames.HEADERS, 4, 2, b"x"),
        frame(frames.SETTINGS, 0, 1), frame(frames.SETTINGS, 0, 0, b"12345"), frame(frames.SETTINGS, 1, 0, bytes(6)),
        frame(frames.PING, 0, 0, b"7 bytes"), frame(frames.PING, 0, 1, bytes(8)), frame(frames.RST_STREAM, 0, 1, b"x"),
        frame(frames.PRIORITY, 0, 1, bytes(4)), frame(frames.GOAWAY, 0, 0, bytes(7)), frame(10, 0, 1, b"x"),
        frame(frames.WINDOW_UPDATE, 0, 0, bytes(5)), frame(frames.PUSH_PROMISE, 4, 1, bytes(8)),
        frame(frames.CONTINUATION, 4, 1, b"x"), frame(frames.HEADERS, 0, 1, b"x"), frame(frames.DATA, 2, 1, b"x"),
        frame(frames.DATA, frames.PADDED, 1), frame(frames.HEADERS, 0x24, 1, bytes(4)),
        frame(frames.DATA, 0, 0x80000001, b"x"), frame(frames.DATA, 0, 1, bytes(16_385)),
    ],
)  # fmt: skip
def test_a_frame_that_cannot_be_ends_a_chain(one: bytes) -> None:
    good = frame(frames.PING, 0, 0, bytes(8))
    server = [(SERVER, good)] * 3
    assert looked([*server, (CLIENT, good * 3)]).is_http2
    assert not looked([*server, (CLIENT, good * 2 + one + good)]).is_http2


def test_it_is_looked_for_so_long_and_no_longer() -> None:
    glance = looked([(CLIENT, b"x")] * (MAX_PIECES - 1))
    assert not glance.over
    glance.feed_untrusted(SERVER, b"x")
    assert glance.over
    assert not glance.is_http2
