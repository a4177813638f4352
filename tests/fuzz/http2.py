"""HTTP/2: a connection as it is read from outside, header blocks, and what a shadow of HTTP/1 makes of requests."""

from __future__ import annotations

import contextlib

from shadowd.ledger.budget import Budget
from shadowd.protocols.hpack import MAX_LIST, MAX_TABLE, OVERHEAD, Decoder, HpackError, encode
from shadowd.protocols.http1_framing import ProtocolError
from shadowd.protocols.http1_reader import RequestReader
from shadowd.protocols.http2 import Http2Codec
from shadowd.protocols.http2_frames import DATA, END_STREAM, PREFACE_BYTES, frame, header_block, settings
from shadowd.protocols.http2_heads import (
    HeadError,
    request_fields,
    request_head_untrusted,
    response_head_untrusted,
    trailer_lines_untrusted,
)
from shadowd.replay.http2 import framed_for_http1
from tests.unit.protocols.http2_peers import CLIENT, SERVER, Reading, Talk, asked

#: Between what the client says and what the server says; between header blocks.
CUT = b"\xff\xfe\xfd"


def one_request(head: bytes, body: bytes, trailers: bytes, method: bytes) -> None:
    """A shadow that speaks HTTP/1 reads it as one request, or refuses it."""
    reader = RequestReader()
    with contextlib.suppress(ProtocolError):
        (read,) = reader.feed_untrusted(framed_for_http1(head + body, trailers), 1)
        if read.method != method or reader.pending:
            raise AssertionError("another request than was told")


def http2(data: bytes) -> None:
    """Two streams of bytes, cut where the data says, with holes and ends; every byte has its place after each step."""
    choice = data[0] if data else 0
    said = list(data[1:].partition(CUT)[::2])
    if not choice & 1:
        said = [PREFACE_BYTES + settings({}) + said[CLIENT], settings({}) + said[SERVER]]
    step = 1 + choice % 97
    budget = Budget(1 << 20)
    seen = Reading()
    seen.codec = Http2Codec(seen, seen, body_limit=64 if choice & 2 else 1 << 16, max_body=4096, budget=budget)
    for begin in range(0, max(map(len, said)), step):
        for direction in (CLIENT, SERVER):
            piece = said[direction][begin : begin + step]
            if piece and choice & 4 and piece[0] == 7:
                (seen.codec.server_gap if direction else seen.codec.client_gap)(len(piece), seen.time)
            elif piece:
                seen.feed(direction, piece, acked=bool(choice & 8))
    if choice & 16:
        seen.codec.server_eof(seen.time)
    seen.close()
    if budget.used:
        raise AssertionError("something is held for ever")
    for exchange in seen.exchanges:
        request = exchange.request
        one_request(request.head, request.body, request.trailers, request.method)


def header_blocks(data: bytes) -> None:
    """Heads have as many lines as fields and a request line, and mean the same when they are said again."""
    decoder = Decoder()
    with contextlib.suppress(HpackError):
        for block in data.split(CUT):
            fields = decoder.decode_untrusted(block)
            if decoder.size > MAX_TABLE or sum(len(n) + len(v) + OVERHEAD for n, v in fields) > MAX_LIST:
                raise AssertionError("more than the bounds")
            for make in (response_head_untrusted, trailer_lines_untrusted):
                with contextlib.suppress(HeadError):
                    made = make(fields)
                    lines(made if isinstance(made, bytes) else made[1])
            with contextlib.suppress(HeadError):
                found = request_head_untrusted(fields)
                lines(found.head)
                if found.tunnel:
                    continue
                again = request_head_untrusted(Decoder().decode_untrusted(encode(request_fields(found.head, b"http"))))
                if (again.method, again.target, again.length) != (found.method, found.target, found.length):
                    raise AssertionError("a head that means something else in HTTP/2")


def lines(head: bytes) -> None:
    if head.count(b"\r\n") != head.count(b"\n") or head.count(b"\r\n") != head.count(b"\r") or b"\0" in head:
        raise AssertionError("a field that ends a line")


def _talked() -> bytes:
    talk = Talk()
    ok = [(b":status", b"200"), (b"content-type", b"text/event-stream")]
    first = talk.ask(
        asked(b"/a", b"POST", (b"content-length", b"5"), (b"cookie", b"a=1"), (b"cookie", b"b=2")), b"first"
    )
    talk.answer(first, ok, b"data: 1\n\n", [(b"x-sum", b"1")])
    talk.answer(talk.ask(asked(b"/b", b"GET", (b"x-id", b"7"))), ok)
    talk.client.reset_stream(talk.ask(asked(b"/c")))
    talk.flush()
    said = [b"".join(piece for way, piece in talk.wire if way == one) for one in (CLIENT, SERVER)]
    return CUT.join(said)


_HIDDEN = b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"
SEEDS: dict[str, list[bytes]] = {
    "http2": [
        *(bytes([choice]) + _talked() for choice in (1, 3, 29, 63)),
        *(
            b"\x60"
            + header_block(1, encode(asked(b"/a", b"GET", (b"content-length", b"%d" % size))), end=False)
            + frame(DATA, END_STREAM, 1, _HIDDEN)
            for size in (0, len(_HIDDEN))
        ),
    ],
    "header_blocks": [
        encode(asked(b"/a")) + CUT + b"\x3f\xe1\x1f\x40\x01x\x03abc\x82\x86\x84\xbe" + CUT + b"\x89",
        encode([*asked(b"/", b"POST"), (b"content-length", b"3"), (b"te", b"trailers"), (b"cookie", b"a")]),
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
    ],
}  # fmt: skip
TARGETS = {"http2": http2, "header_blocks": header_blocks}
