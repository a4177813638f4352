"""What RFC 9113 asks of a client, of ours: the cases of h2spec that a server can make, each with its section.

Streams 1, 3 and 5 are asked; 5 has content that the shadow's window does not take yet. What the shadow says then
ends the connection, or one stream while its neighbours are answered, or nothing.
"""

from __future__ import annotations

import pytest

from shadowd.protocols import http2_frames as frames
from shadowd.protocols.hpack import Field, encode
from shadowd.protocols.http2_client import Answer, Http2Client, Http2Error
from shadowd.protocols.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    settings,
    window_update,
)  # fmt: skip

OK = [(b":status", b"200")]
TOP = frames.LARGEST_WINDOW


def head(stream: int, fields: list[Field], end: bool = False) -> bytes:
    return frames.header_block(stream, encode(fields), end)


def answer(stream: int) -> bytes:
    return head(stream, OK, end=True)


def asking() -> Http2Client:
    client = Http2Client(body_limit=1000)
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"next")]
    client.feed_untrusted(settings({frames.INITIAL_WINDOW_SIZE: 10}), 0)
    for content in (b"", b"", b"x" * 100_000):
        client.open(fields, content, [], 0)
    client.out.clear()
    client.sent.clear()
    return client


def said(out: bytearray) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of what we say."""
    found = []
    while out:
        size = int.from_bytes(out[:3], "big")
        found.append((out[3], out[4], int.from_bytes(out[5:9], "big"), bytes(out[9 : 9 + size])))
        del out[: 9 + size]
    return found


# --- the connection ends ----------------------------------------------------------------------------------------------

CONNECTION = {
    "3.4 no SETTINGS first": (b"", frame(PING, 0, 0, bytes(8))),
    "4.2 DATA above the size that we take": frame(DATA, 0, 1, bytes(16_385)),
    "4.2 HEADERS above the size that we take": frame(HEADERS, END_HEADERS, 1, bytes(16_385)),
    "4.2 an unknown frame above the size that we take": frame(99, 0, 1, bytes(16_385)),
    "4.3 a block that is none": frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
    "4.3 a block within another": frame(HEADERS, 0, 1, encode(OK)) + answer(3),
    "4.3 a table beyond what we allow": frame(HEADERS, END_HEADERS, 1, b"\x3f\xe1\xff\xff\x07" + encode(OK)),
    "5.1 DATA of an idle stream": frame(DATA, END_STREAM, 7, b"x"),
    "5.1 HEADERS of an idle stream": answer(7),
    "5.1 RST_STREAM of an idle stream": frame(RST_STREAM, 0, 7, bytes(4)),
    "5.1 WINDOW_UPDATE of an idle stream": window_update(7, 1),
    "5.1.1 HEADERS of a stream of the server's": answer(2),
    "5.5 an unknown frame within a block": frame(HEADERS, 0, 1, encode(OK)) + frame(99, 0, 0, b""),
    "6.1 DATA of stream 0": frame(DATA, 0, 0, b"x"),
    "6.1 padding as long as its frame": head(1, OK) + frame(DATA, PADDED, 1, b"\4xxx"),
    "6.1 padding without a length": head(1, OK) + frame(DATA, PADDED, 1, b""),
    "6.2 HEADERS of stream 0": answer(0),
    "6.2 padding beyond its frame": frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + encode(OK)),
    "6.2 priority without room": frame(HEADERS, END_HEADERS | PRIORITIZED, 1, b"\0\0\0"),
    "6.3 PRIORITY of stream 0": frame(PRIORITY, 0, 0, bytes(5)),
    "6.4 RST_STREAM of stream 0": frame(RST_STREAM, 0, 0, bytes(4)),
    "6.4 RST_STREAM of another length": frame(RST_STREAM, 0, 1, bytes(3)),
    "6.5 SETTINGS of a stream": frame(SETTINGS, 0, 1, b""),
    "6.5 an acknowledgement with content": frame(SETTINGS, ACK, 0, bytes(6)),
    "6.5 SETTINGS of another length": frame(SETTINGS, 0, 0, bytes(5)),
    "6.5.2 a server that switches push on": settings({frames.ENABLE_PUSH: 1}),
    "6.5.2 ENABLE_PUSH of another value": settings({frames.ENABLE_PUSH: 2}),
    "6.5.2 a window beyond the largest": settings({frames.INITIAL_WINDOW_SIZE: TOP + 1}),
    "6.5.2 a frame below the smallest size": settings({frames.MAX_FRAME_SIZE: 16_383}),
    "6.5.2 a frame beyond the largest size": settings({frames.MAX_FRAME_SIZE: 1 << 24}),
    "6.6 a promise that nobody allowed": frame(PUSH_PROMISE, END_HEADERS, 1, bytes((0, 0, 0, 2)) + encode(OK)),
    "6.6 a promise of stream 0": frame(PUSH_PROMISE, END_HEADERS, 0, bytes((0, 0, 0, 2))),
    "6.7 PING of a stream": frame(PING, 0, 1, bytes(8)),
    "6.7 PING of another length": frame(PING, 0, 0, bytes(7)),
    "6.8 GOAWAY of a stream": frame(GOAWAY, 0, 1, bytes(8)),
    "6.8 GOAWAY that is too short": frame(GOAWAY, 0, 0, bytes(7)),
    "6.9 WINDOW_UPDATE of another length": frame(WINDOW_UPDATE, 0, 0, bytes(3)),
    "6.9 the connection's window by nothing": window_update(0, 0),
    "6.9.1 the connection's window beyond the largest": window_update(0, TOP),
    "6.9.2 a stream's window beyond the largest by SETTINGS":
        window_update(5, TOP) + settings({frames.INITIAL_WINDOW_SIZE: 1 << 20}),
    "6.10 CONTINUATION without HEADERS": frame(CONTINUATION, END_HEADERS, 1, encode(OK)),
    "6.10 CONTINUATION behind a whole block": head(1, OK) + frame(CONTINUATION, END_HEADERS, 1, b""),
    "6.10 CONTINUATION of another stream":
        frame(HEADERS, 0, 1, encode(OK)) + frame(CONTINUATION, END_HEADERS, 3, b""),
    "6.10 DATA within a block": frame(HEADERS, 0, 1, encode(OK)) + frame(DATA, 0, 1, b"x"),
}  # fmt: skip


@pytest.mark.parametrize("said", CONNECTION.values(), ids=CONNECTION)
def test_what_ends_the_connection(said: bytes | tuple[bytes, bytes]) -> None:
    client, data = (asking(), said) if isinstance(said, bytes) else (Http2Client(), said[1])
    assert client.error is None
    try:
        client.feed_untrusted(data + answer(3), 1)  # streams that ended before are told first
    except Http2Error:
        return
    assert client.error is not None


# --- a stream ends ----------------------------------------------------------------------------------------------------

STREAM = {
    "6.9 its window by nothing": (5, window_update(5, 0)),
    "6.9 its window by nothing, when all is sent": (1, window_update(1, 0)),
    "6.9.1 its window beyond the largest": (5, window_update(5, TOP) * 2),
    "8.1 content before a head": (1, frame(DATA, END_STREAM, 1, b"x")),
    "8.1 a second head that is no end": (1, head(1, OK) + head(1, OK)),
    "8.1 an interim head that is the end": (1, head(1, [(b":status", b"103")], end=True)),
    "8.2.1 a name in upper case": (1, head(1, [*OK, (b"X-Name", b"1")], end=True)),
    "8.2.1 a name with a blank": (1, head(1, [*OK, (b"x name", b"1")], end=True)),
    "8.2.1 a name that is empty": (1, head(1, [*OK, (b"", b"1")], end=True)),
    "8.2.1 a value with a line's end": (1, head(1, [*OK, (b"x", b"1\r\ny: 2")], end=True)),
    "8.2.1 a value with a NUL": (1, head(1, [*OK, (b"x", b"1\0")], end=True)),
    "8.2.2 Connection": (1, head(1, [*OK, (b"connection", b"close")], end=True)),
    "8.2.2 Keep-Alive": (1, head(1, [*OK, (b"keep-alive", b"timeout=5")], end=True)),
    "8.2.2 Transfer-Encoding": (1, head(1, [*OK, (b"transfer-encoding", b"chunked")], end=True)),
    "8.2.2 Upgrade": (1, head(1, [*OK, (b"upgrade", b"h2c")], end=True)),
    "8.3 no status": (1, head(1, [(b"x", b"1")], end=True)),
    "8.3 an unknown pseudo-header": (1, head(1, [*OK, (b":other", b"1")], end=True)),
    "8.3 a pseudo-header of requests": (1, head(1, [*OK, (b":path", b"/")], end=True)),
    "8.3 a pseudo-header behind a field": (1, head(1, [(b"x", b"1"), *OK], end=True)),
    "8.3 a pseudo-header twice": (1, head(1, OK + OK, end=True)),
    "8.3 a pseudo-header among trailers": (1, head(1, OK) + head(1, OK, end=True)),
    "8.3.2 a status that is none": (1, head(1, [(b":status", b"20x")], end=True)),
    "8.6 101": (1, head(1, [(b":status", b"101")])),
}  # fmt: skip


@pytest.mark.parametrize(("stream", "data"), STREAM.values(), ids=STREAM)
def test_what_ends_a_stream_alone(stream: int, data: bytes) -> None:
    """It is told so by RST_STREAM (§5.4.2), and its neighbour is answered."""
    client = asking()
    ended = client.feed_untrusted(data + answer(3), 1)
    assert client.error is None
    assert [(one.stream, one.failure) for one in ended] == [(stream, "malformed"), (3, "")]
    code = frames.PROTOCOL_ERROR.to_bytes(4, "big")
    assert (RST_STREAM, 0, stream, code) in said(client.out)
    assert client.feed_untrusted(data, 2) == [] or stream == 5  # what crosses the reset is nobody's


def test_who_is_reset_or_refused_is_told_so() -> None:
    for code, begun, failure in (
        (frames.REFUSED_STREAM, False, "refused"), (frames.REFUSED_STREAM, True, "truncated"),
        (frames.CANCEL, False, "reset"), (frames.NO_ERROR, True, "truncated"),
    ):  # fmt: skip
        client = asking()
        data = head(1, OK) * begun + frame(RST_STREAM, 0, 1, code.to_bytes(4, "big"))
        assert client.feed_untrusted(data + answer(3), 1)[0] == Answer(1, None, failure)  # §5.4.2, §8.7
        assert not any(kind == RST_STREAM for kind, *_ in said(client.out))  # §5.4.2: never in answer to one


# --- nothing ends -----------------------------------------------------------------------------------------------------

NOTHING = {
    "4.1 flags that a frame does not have": frame(PING, 0xFE, 0, bytes(8)),
    "4.1 the reserved bit": b"\0\0\x08\6\0\x80\0\0\0" + bytes(8),
    "5.1 PRIORITY of an idle stream": frame(PRIORITY, 0, 9, bytes(5)),
    "5.5 an unknown frame": frame(99, 0xFF, 0, b"whatever") + frame(99, 0, 1, b"") + frame(99, 0, 1234, b"x"),
    "6.2 a block in pieces, with padding and priority": frame(HEADERS, PADDED | PRIORITIZED, 1, b"\2" + bytes(7))
        + frame(CONTINUATION, 0, 1, b"") + frame(CONTINUATION, END_HEADERS, 1, encode([(b":status", b"103")])),
    "6.5 an acknowledgement": frame(SETTINGS, ACK, 0),
    "6.5.2 an unknown setting": settings({0x4A4A: 7}),
    "6.5.2 push switched off": settings({frames.ENABLE_PUSH: 0}),
    "6.5.3 a setting that is said twice": frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0" + b"\0\4\0\0\0\x0a"),
    "6.9 the window of a stream that is open": window_update(1, 1),
    "8.1 interim heads": head(1, [(b":status", b"100")]) + head(1, [(b":status", b"103"), (b"link", b"</x>")]),
    "8.2.1 bytes that are no text": head(1, [(b":status", b"103"), (b"x", b"\xff\x80\t\x7f")]),
}  # fmt: skip


@pytest.mark.parametrize("data", NOTHING.values(), ids=NOTHING)
def test_what_ends_nothing(data: bytes) -> None:
    client = asking()
    ended = client.feed_untrusted(data + answer(1) + answer(3), 1)
    assert client.error is None
    assert [(one.stream, one.failure) for one in ended] == [(1, ""), (3, "")]
    assert not any(kind in (RST_STREAM, GOAWAY) for kind, *_ in said(client.out))


@pytest.mark.parametrize("late", [answer(1), head(1, OK) + frame(DATA, END_STREAM, 1, b"x"), window_update(1, 0),
                                  frame(RST_STREAM, 0, 1, bytes(4))])  # fmt: skip
def test_what_comes_behind_a_streams_end(late: bytes) -> None:
    """§5.1: the answer stands, whoever else is asked goes on, and what crosses a reset of ours is no fault."""
    for cancelled in (False, True):
        client = asking()
        if cancelled:
            client.cancel(1)
        else:
            assert [one.failure for one in client.feed_untrusted(answer(1), 1)] == [""]
        assert [(one.stream, one.failure) for one in client.feed_untrusted(late + answer(3), 2)] == [(3, "")]


# --- what is said in answer -------------------------------------------------------------------------------------------


def test_a_ping_is_answered_with_what_it_says_and_an_answer_is_not() -> None:
    client = asking()
    client.feed_untrusted(frame(PING, 0, 0, b"12345678") + frame(PING, ACK, 0, b"87654321"), 1)
    assert said(client.out) == [(PING, ACK, 0, b"12345678")]  # §6.7


def test_every_settings_is_acknowledged_once() -> None:
    client = asking()
    client.feed_untrusted(settings({}) + settings({frames.MAX_CONCURRENT_STREAMS: 7}) + frame(SETTINGS, ACK, 0), 1)
    assert said(client.out) == [(SETTINGS, ACK, 0, b"")] * 2  # §6.5.3
    assert client.limit == 7


def test_content_goes_as_windows_and_frame_size_allow() -> None:
    client = asking()
    client.feed_untrusted(window_update(5, 5), 1)
    assert said(client.out) == [(DATA, 0, 5, b"xxxxx")]  # §6.9
    client.feed_untrusted(settings({frames.INITIAL_WINDOW_SIZE: 0}) + window_update(5, 10), 1)
    assert said(client.out) == [(SETTINGS, ACK, 0, b"")]  # §6.9.2: the window is below nothing now, and back at it
    client.feed_untrusted(window_update(5, 200), 1)
    assert said(client.out) == [(DATA, 0, 5, b"x" * 200)]
    client.feed_untrusted(window_update(5, 200_000) + settings({frames.MAX_FRAME_SIZE: 20_000}), 1)
    sizes = [len(payload) for kind, _, _, payload in said(client.out) if kind == DATA]
    assert sizes == [16_384, 16_384, 16_384, 65_535 - 10 - 5 - 200 - 3 * 16_384]  # what the connection's window takes
    client.feed_untrusted(window_update(0, 200_000), 1)
    sizes = [len(payload) for _, _, _, payload in said(client.out)]
    assert sizes == [20_000, 100_000 - 65_535 - 20_000]  # §4.2: as long as it says it takes
    assert client.sent == [5]


def test_goaway_leaves_those_below_its_number_and_no_new_ones() -> None:
    """§6.8: above it nothing was done, and they may be asked again."""
    client = asking()
    ended = client.feed_untrusted(frame(GOAWAY, 0, 0, (3).to_bytes(4, "big") + bytes(4) + b"why"), 1)
    assert ended == [Answer(5, None, "refused")]
    assert client.full
    ended = client.feed_untrusted(frame(GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4)) + answer(1), 2)
    assert [(one.stream, one.failure) for one in ended] == [(3, "refused"), (1, "")]
