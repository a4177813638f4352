"""A WebSocket's handshake, and what its server says: wsproto frames it."""

from __future__ import annotations

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from shadowd.protocols.websocket_frames import BINARY, CLOSE, PING, PONG, TEXT, Deflate
from shadowd.protocols.websocket_handshake import agreed as agreed_by

KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3
ASK = (
    b"GET /talk HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nCookie: session=abc\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def agreed(deflate: str) -> tuple[Deflate | None, Deflate | None]:
    return agreed_by(Server().agreement(deflate))


class Server:
    """``last``: what it said last, on the wire."""

    def __init__(self, deflate: Deflate | None = None) -> None:
        extensions = []
        if deflate is not None:
            extension = PerMessageDeflate()
            extension._enabled = True
            extension._server_max_window_bits = deflate.bits
            extension.server_no_context_takeover = not deflate.takeover
            extensions.append(extension)
        self._connection = Connection(ConnectionType.SERVER, extensions)
        self.last = b""

    @staticmethod
    def agreement(extensions: str = "") -> bytes:
        line = f"Sec-WebSocket-Extensions: {extensions}\r\n".encode() if extensions else b""
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n" + line + b"\r\n"
        )

    def framed(self, kind: int, data: bytes) -> bytes:
        if kind == CLOSE:
            code = int.from_bytes(data[:2], "big") if data else None
            if code is None:
                self.last = b"\x88\x00"
                return self.last
            self.last = self._connection.send(CloseConnection(code, data[2:].decode()))
        else:
            event = {TEXT: lambda: TextMessage(data.decode()), BINARY: lambda: BytesMessage(data),
                     PING: lambda: Ping(data), PONG: lambda: Pong(data)}[kind]()  # fmt: skip
            self.last = self._connection.send(event)
        return self.last
