"""Handshake messages, as far as a reader needs them: which keys a connection will use (RFC 8446 §4, RFC 5246 §7.4)."""

from __future__ import annotations

import re
from typing import NamedTuple

from shadowd.tls.schedule import TLS12, RecordError

CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, END_OF_EARLY_DATA = 1, 2, 4, 5
ENCRYPTED_EXTENSIONS, CERTIFICATE_REQUEST, FINISHED, KEY_UPDATE = 8, 13, 20, 24
_KEPT = frozenset({CLIENT_HELLO, SERVER_HELLO, ENCRYPTED_EXTENSIONS})
#: Bytes of one message that is kept. Hellos are 300 B to some KB (post-quantum key shares), 64 KB if somebody tries.
MAX_KEPT = 1 << 16
#: RFC 8446 §4.1.3: the random of a HelloRetryRequest.
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_SERVER_NAME, _EARLY_DATA, _SUPPORTED_VERSIONS = 0, 42, 43
#: A host's name (RFC 1123 §2.1, RFC 1035 §2.3.4), whose last label is no number: RFC 6066 §3 has no addresses here.
_LABEL = rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rb"(?:" + _LABEL + rb"\.)*(?![0-9]+\Z)" + _LABEL + rb"\Z")
_LONGEST_NAME = 253


class ClientHello(NamedTuple):
    """``server_name``: whom the client asks for, in lower case, "" if it does not say; ``early``: early data may
    follow."""

    random: bytes
    early: bool
    server_name: str


class ServerHello(NamedTuple):
    random: bytes
    version: int
    suite: int

    @property
    def retry(self) -> bool:
        """It is a HelloRetryRequest: another ClientHello follows, and another answer."""
        return self.random == RETRY


class Messages:
    """Cuts one direction's handshake messages out of the contents of its records. Bodies that nobody needs are skipped,
    not kept."""

    __slots__ = ("_held", "_skip")

    def __init__(self) -> None:
        self._held = b""
        self._skip = 0

    def feed_untrusted(self, content: bytes) -> list[tuple[int, bytes]]:
        """Messages that are whole, or known by their type alone (then with an empty body): (type, body). Raises
        RecordError for one that is too long to be kept."""
        found = []
        data = self._held + content
        at, end = 0, len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
                continue
            if end - at < 4:
                break
            kind, length = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
            if kind not in _KEPT:
                found.append((kind, b""))
                self._skip = length
                at += 4
                continue
            if length > MAX_KEPT:
                raise RecordError("a hello beyond all measure")
            if end - at < 4 + length:
                break
            found.append((kind, data[at + 4 : at + 4 + length]))
            at += 4 + length
        self._held = data[at:]
        return found


def client_hello_untrusted(body: bytes) -> ClientHello:
    """Raises RecordError."""
    if len(body) < 34:
        raise RecordError("a ClientHello that is too short")
    at = 34
    for width in (1, 2, 1):  # session id, suites, compression methods
        at += width + int.from_bytes(_piece(body, at, width), "big")
    told = _extensions(body, at) if at < len(body) else {}
    return ClientHello(body[2:34], _EARLY_DATA in told, _host_name(told.get(_SERVER_NAME, b"")))


def _host_name(listed: bytes) -> str:
    """The name in a server_name extension (RFC 6066 §3), which has one: its type is 0 and its length in two bytes. ""
    if it is none that anybody could ask for: the server has seen it, and what it made of it is its business."""
    name = listed[5:].lower()
    whole = listed[2:3] == b"\0" and int.from_bytes(listed[3:5], "big") == len(name) <= _LONGEST_NAME
    return name.decode() if whole and _HOST_NAME.match(name) else ""


def server_hello_untrusted(body: bytes) -> ServerHello:
    """Raises RecordError."""
    version, random = int.from_bytes(_piece(body, 0, 2), "big"), _piece(body, 2, 32)
    at = 35 + _piece(body, 34, 1)[0]
    suite = int.from_bytes(_piece(body, at, 2), "big")
    at += 3
    if at < len(body):
        told = _extensions(body, at).get(_SUPPORTED_VERSIONS, b"")
        if len(told) == 2 and version == TLS12:
            version = int.from_bytes(told, "big")
    return ServerHello(random, version, suite)


def accepts_early_data_untrusted(body: bytes) -> bool:
    """EncryptedExtensions that say so (RFC 8446 §4.2.10). Raises RecordError."""
    return _EARLY_DATA in _extensions(body, 0)


def _piece(body: bytes, at: int, length: int) -> bytes:
    piece = body[at : at + length]
    if len(piece) < length:
        raise RecordError("a message that ends too early")
    return piece


def _extensions(body: bytes, at: int) -> dict[int, bytes]:
    end = at + 2 + int.from_bytes(_piece(body, at, 2), "big")
    at += 2
    found: dict[int, bytes] = {}
    while at < end:
        kind, length = int.from_bytes(_piece(body, at, 2), "big"), int.from_bytes(_piece(body, at + 2, 2), "big")
        found.setdefault(kind, _piece(body, at + 4, length))
        at += 4 + length
    return found
