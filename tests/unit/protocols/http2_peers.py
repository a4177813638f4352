"""An HTTP/2 connection between two peers of the ``h2`` package, and what somebody sees who listens: the oracle.

``Talk.wire`` has what was sent, in its order: (direction, bytes, what the client had acknowledged of the server's).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from shadowd.exchange.exchange import Exchange
from shadowd.protocols.base import Codec
from shadowd.protocols.http2 import Http2Codec

CLIENT, SERVER = 0, 1
Headers = list[tuple[bytes, bytes]]


def asked(path: bytes = b"/", method: bytes = b"GET", *more: tuple[bytes, bytes]) -> Headers:
    return [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"shop"), *more]


class Talk:
    """Both peers. What one sends the other reads at once."""

    def __init__(self) -> None:
        lenient = {"header_encoding": None, "validate_outbound_headers": False, "normalize_outbound_headers": False}
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, **lenient))
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, **lenient))
        self.wire: list[tuple[int, bytes]] = []
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.flush()

    def flush(self) -> None:
        moved = True
        while moved:
            moved = False
            for direction, sender, reader in (
                (CLIENT, self.client, self.server), (SERVER, self.server, self.client),
            ):  # fmt: skip
                data = sender.data_to_send()
                if data:
                    moved = True
                    self.wire.append((direction, data))
                    for event in reader.receive_data(data):
                        if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                            reader.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def raw(self, direction: int, data: bytes) -> None:
        """Bytes that no peer of ``h2`` sends, and that the other never sees."""
        self.wire.append((direction, data))

    def ask(self, headers: Headers, body: bytes | None = None, trailers: Headers | None = None) -> int:
        stream = int(self.client.get_next_available_stream_id())
        whole = body is None and trailers is None
        self.client.send_headers(stream, headers, end_stream=whole)
        self.flush()
        if not whole:
            self.send(self.client, stream, body or b"", trailers)
        return stream

    def answer(self, stream: int, headers: Headers, body: bytes | None = None, trailers: Headers | None = None) -> None:
        whole = body is None and trailers is None
        self.server.send_headers(stream, headers, end_stream=whole)
        self.flush()
        if not whole:
            self.send(self.server, stream, body or b"", trailers)

    def send(self, peer: h2.connection.H2Connection, stream: int, body: bytes, trailers: Headers | None = None) -> None:
        at = 0
        while at < len(body):
            room = min(peer.local_flow_control_window(stream), peer.max_outbound_frame_size, len(body) - at)
            assert room > 0
            peer.send_data(stream, body[at : at + room])
            at += room
            self.flush()
        if trailers is None:
            peer.end_stream(stream)
        else:
            peer.send_headers(stream, trailers, end_stream=True)
        self.flush()


class Reading:
    """A codec, what it told, and whether every byte is somewhere after each step."""

    def __init__(self, **limits: Any) -> None:
        self.client_acked = 0
        self.idle_point = False
        self.spoke_unseen = False
        self.offsets = (0, 0)
        self.server_name = ""
        self.told: list[str] = []
        self.exchanges: list[Exchange] = []
        self.answered: list[Exchange] = []
        self.gone: Counter[str] = Counter()
        self.fed = [0, 0]
        self.time = 0
        self.codec = Http2Codec(self, self, **{"body_limit": 1 << 20, **limits})  # type: ignore[arg-type]

    def request(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.told.append(f"request {exchange.request.target.decode(errors='backslashreplace')}")

    def response(self, exchange: Exchange) -> None:
        assert exchange not in self.answered
        self.answered.append(exchange)
        what = "unknown" if exchange.uncomparable else str(exchange.response and exchange.response.status)
        self.told.append(f"response {exchange.request.target.decode(errors='backslashreplace')} {what}")

    def filtered(self, reason: str) -> None:
        self.told.append(f"filtered {reason}")

    def lost(self, reason: str) -> None:
        self.told.append(f"lost {reason}")

    def switched(self, codec: Codec) -> None:
        assert isinstance(codec, Http2Codec), "nothing here agreed to another protocol"
        self.codec = codec

    def discarded(self, reason: str, length: int) -> None:
        assert length > 0
        self.gone[reason] += length

    def feed(self, direction: int, data: bytes, acked: bool = True) -> None:
        """``acked``: the client has acknowledged all that the server has said before."""
        self.time += 1000
        self.fed[direction] += len(data)
        if acked and direction == CLIENT:
            self.client_acked = self.fed[SERVER]
        if direction == CLIENT:
            self.codec.client_data(data, self.time)
        else:
            self.codec.server_data(data, self.time)
        self.check()

    def read(self, wire: Iterable[tuple[int, bytes]]) -> Reading:
        for direction, data in wire:
            self.feed(direction, data)
        return self

    def close(self) -> Reading:
        self.codec.closed(self.time)
        self.check()
        assert self.codec.client_pending == 0
        assert self.codec.server_pending == 0
        return self

    def check(self) -> None:
        delivered = sum(one.request.end - one.request.begin for one in self.exchanges)
        answers = [one.response for one in self.exchanges if one.response is not None]
        delivered += sum(response.end - response.begin for response in answers)
        pending = self.codec.client_pending + self.codec.server_pending
        assert pending >= 0
        assert delivered + sum(self.gone.values()) + pending == sum(self.fed), (delivered, self.gone, pending)
