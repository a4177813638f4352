"""A WebSocket's two directions after its handshake, as whoever speaks there wants them."""

from __future__ import annotations

from collections.abc import Callable

from shadowd.ledger.budget import Budget
from shadowd.protocols.websocket_frames import CLOSE, PING, TEXT, Deflate, MessageWriter
from tests.unit.protocols.test_websocket import Playbook
from tests.unit.protocols.websocket_talk import Server

CUT = b"\xfe\xca\xfe"  # between what one says and what the other says
AGREEMENTS = ("", "permessage-deflate", "permessage-deflate; client_no_context_takeover; server_max_window_bits=9")


def websocket(data: bytes) -> None:
    """The first byte chooses: what was agreed on, how the rest comes in pieces, what is kept of an answer, and whether
    the client acknowledges what it is told."""
    if not data:
        return
    choice, rest = data[0], data[1:]
    budget = Budget(1 << 20)
    book = Playbook(body_limit=64 if choice & 1 else 1 << 16, budget=budget, deflate=AGREEMENTS[choice % 3])
    step = 1 + choice % 61
    for number, said in enumerate(rest.split(CUT)):
        for begin in range(0, len(said), step):
            piece = said[begin : begin + step]
            if number & 1:
                book.server(piece)
            else:
                book.client(piece, book.server_end if choice & 2 else book.client_acked)
        if choice & 64 and number == 2:
            book.codec.server_gap(7, book.clock)
    if choice & 128:
        book.codec.server_eof(book.clock)
    book.ends()
    if budget.used:
        raise AssertionError("something is held for ever")
    if sum(one.request.size for one in book.exchanges) + sum(book.gone.values()) < book.fed:
        raise AssertionError("bytes that nobody was told of")
    if len(book.ended) != len(book.exchanges):
        raise AssertionError("an exchange that never ends")


def _talked(deflate: Deflate | None) -> bytes:
    writer, server = MessageWriter(deflate), Server(deflate)
    return CUT.join([
        writer.framed(TEXT, b'{"type":"ask"}', b"mask") + writer.framed(PING, b"?", b"mask"),
        server.framed(TEXT, b'{"type":"token"}') + server.framed(TEXT, b"done"),
        writer.framed(TEXT, b"more", b"mask"),
        server.framed(CLOSE, b"\x03\xf3out"),
    ])  # fmt: skip


SEEDS: dict[str, list[bytes]] = {
    "websocket": [
        *(bytes([choice]) + _talked(None) for choice in (0, 3, 66, 129)),
        *(bytes([choice]) + _talked(Deflate()) for choice in (1, 4, 70)),
        b"\x02" + CUT + _talked(None),
    ]
}
TARGETS: dict[str, Callable[[bytes], None]] = {"websocket": websocket}
