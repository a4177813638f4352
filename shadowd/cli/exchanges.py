"""The HTTP exchanges of a capture file, as the daemon's own codec cuts them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from shadowd.cli.capture_file import CaptureFile
from shadowd.cli.keylogs import decrypted
from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.protocols.base import Codec, CodecSink, FlowView
from shadowd.protocols.content_digest import content_of
from shadowd.protocols.detect import identify
from shadowd.protocols.http1 import Http1Codec
from shadowd.protocols.http2 import Http2Codec
from shadowd.protocols.proxy import ProxyError, looks_like_proxy, parse_untrusted
from shadowd.stream.flow import CLIENT, Flow
from shadowd.tls.keyring import Keyring
from shadowd.tls.session import PlainSink

#: Bytes of a body that are kept for its digest: what a capture file may hold of one message.
_MAX_BODY = 1 << 30
#: First bytes that are held until the protocol is known: a PROXY v2 header may be 64 KB, then one request line.
_OPENING = 96 << 10

_FIELD = re.compile(rb"\r\n([^\r\n:]*):[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)")


class Found:
    """What the connections of a file held. ``others``: connections that are no HTTP/1, by what they speak; ``lost``:
    requests that are not among the exchanges, by the ledger's reasons."""

    def __init__(self) -> None:
        self.others: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self._rows: list[tuple[tuple[int, int, int], dict[str, Any]]] = []

    def add(self, place: tuple[int, int, int], row: dict[str, Any]) -> None:
        """``place``: time of the request's first byte, connection, number on it."""
        self._rows.append((place, row))

    def exchanges(self) -> list[dict[str, Any]]:
        """What ``--json`` prints."""
        self._rows.sort(key=lambda row: row[0])
        return [{"n": number, **row} for number, (_, row) in enumerate(self._rows)]


class Connection(PlainSink, CodecSink):
    """One connection: a sink of its flow, and of its codec. ``midstream`` ones begin with the first request line that
    the client is seen to begin with, else at the first idle point."""

    def __init__(self, number: int, flow: Flow, midstream: bool, found: Found) -> None:
        self._number = number
        self._flow: FlowView = flow
        self._midstream = midstream
        self._found = found
        self._codec: Codec | None = None
        self._opening = b""
        self._opened = 0  # time of its first byte
        self._skipped = False  # a PROXY header stood before the first request
        self._other = False
        self._urgent = -1
        self._sealed = False
        self._cut_request: Request | None = None
        self._cut_response: Response | None = None

    # --- the flow's sink ----------------------------------------------------------------------------------------------

    def data(self, direction: int, data: bytes, time: int) -> None:
        if self._codec is not None and not self._other:
            if direction == CLIENT:
                self._codec.client_data(data, time)
            else:
                self._codec.server_data(data, time)
        elif not self._other:
            self._identify(direction, data, time)

    def gap(self, direction: int, length: int, time: int) -> None:
        if self._codec is None and not self._other:  # the first bytes are gone
            self._begin_midstream(0, length, direction)
        if self._codec is not None:
            self._note_cut(self._codec, direction)
            (self._codec.server_gap if direction else self._codec.client_gap)(length, time)

    def eof(self, direction: int, time: int) -> None:
        if self._codec is not None:
            self._note_cut(self._codec, direction)
            (self._codec.server_eof if direction else self._codec.client_eof)(time)

    def urgent(self, direction: int, time: int) -> None:
        self._urgent = direction
        if self._codec is not None:
            self._codec.urgent(direction)

    def closed(self, state: str, time: int) -> None:
        if self._codec is not None:
            self._note_cut(self._codec, 0)
            self._note_cut(self._codec, 1)
            self._codec.closed(time)
        elif self._opening and not self._other:
            self._is_other("unknown")

    def sealed(self, view: FlowView) -> None:
        self._flow, self._sealed = view, True
        self._midstream = False

    def unreadable(self, reason: str) -> None:
        if self._codec is None:
            self._is_other(f"TLS: {reason}")
        else:  # what was read of it stays
            self._other = True
            self.filtered(reason)

    def _note_cut(self, codec: Codec, direction: int) -> None:
        """What may be given up now: as far as it came, it is told all the same. Of HTTP/2 what is whole is told."""
        if not isinstance(codec, Http1Codec):
            return
        if direction:
            self._cut_response = codec.responses.so_far()
        else:
            self._cut_request = codec.requests.so_far()

    def _identify(self, direction: int, data: bytes, time: int) -> None:
        if direction != CLIENT:
            if self._midstream and not self._opening:
                self._begin_midstream(len(data), 0, direction)
                self.data(direction, data, time)
            else:
                self._is_other("unknown")  # the server speaks first
            return
        if not self._opening:
            self._opened = time
        self._opening += data
        if not self._skipped and looks_like_proxy(self._opening) is not False:
            try:
                header = parse_untrusted(self._opening)
            except ProxyError:
                self._skipped = True
            else:
                if header is None:
                    return
                self._skipped = True
                self._opening = self._opening[header.length :]
        kind = identify(self._opening)
        if kind == "http":
            opening, self._opening = self._opening, b""
            self._begin(Http1Codec(self, self._flow, body_limit=_MAX_BODY, max_body=_MAX_BODY))
            self.data(CLIENT, opening, self._opened)
        elif kind == "http2":
            opening, self._opening = self._opening, b""
            self._begin(Http2Codec(self, self._flow, body_limit=_MAX_BODY, max_body=_MAX_BODY))
            self.data(CLIENT, opening, self._opened)
        elif kind is not None or len(self._opening) >= _OPENING:
            self._is_other("TLS" if kind == "tls" else "unknown")

    def _begin_midstream(self, server: int, gap: int, direction: int) -> None:
        """``server`` and ``gap`` bytes have been counted by the flow, and are still to be told."""
        client_offset, server_offset = self._flow.offsets
        start = (client_offset - (0 if direction else gap), server_offset - server)
        self._opening = b""
        self._begin(Http1Codec(self, self._flow, True, _MAX_BODY, max_body=_MAX_BODY, start=start))

    def _begin(self, codec: Codec) -> None:
        self._codec = codec
        if self._urgent >= 0:
            codec.urgent(self._urgent)

    def _is_other(self, kind: str) -> None:
        self._other = True
        self._opening = b""
        self._found.others[kind] = self._found.others.get(kind, 0) + 1

    # --- the codec's sink ---------------------------------------------------------------------------------------------

    def request(self, exchange: Exchange) -> None:
        """Told again with its response."""

    def response(self, exchange: Exchange) -> None:
        response = exchange.response
        if response is None:
            response, self._cut_response = self._cut_response, None
        place = (exchange.request.started, self._number, exchange.index)
        complete = exchange.response is not None and not exchange.response.open
        self._found.add(place, self._row(exchange.request, response, complete))

    def filtered(self, reason: str) -> None:
        self._found.lost[reason] = self._found.lost.get(reason, 0) + 1

    def lost(self, reason: str) -> None:
        cut, self._cut_request = self._cut_request, None
        if cut is not None and reason in ("gap", "truncated"):
            self._found.add((cut.started, self._number, 1 << 62), self._row(cut, None, False))
        else:
            self.filtered(reason)

    def switched(self, codec: Codec) -> None:
        self._codec = codec

    def discarded(self, reason: str, length: int) -> None:
        """Of no exchange."""

    def _row(self, request: Request, response: Response | None, complete: bool) -> dict[str, Any]:
        sent = content_of(request.head, request.body)
        row: dict[str, Any] = {
            "flow": self._number,
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "request_headers": headers(request.head),
            "request_body_sha256": hashlib.sha256(sent).hexdigest(),
            "request_body_length": len(sent),
            "status": None,
            "response_headers": None,
            "response_body_sha256": None,
            "response_body_length": None,
            "complete": complete,
        }
        if response is not None:
            said = content_of(response.head, response.body)
            row |= {
                "status": response.status,
                "response_headers": headers(response.head),
                "response_body_sha256": hashlib.sha256(said).hexdigest(),
                "response_body_length": len(said),
            }
        return row


def headers(head: bytes) -> list[list[str]]:
    """``[name, value]`` in order, as sent (Latin-1); a folded line's parts are joined by a blank (RFC 9112 §5.2)."""
    return [
        [name.decode("latin-1"), re.sub(rb"[ \t]*\r\n[ \t]+", b" ", value).rstrip(b" \t").decode("latin-1")]
        for name, value in _FIELD.findall(head)
    ]


def read_exchanges(file: CaptureFile, keyring: Keyring | None = None) -> Found:
    """All exchanges of all connections, numbered as ``pcap streams`` numbers them; with a keyring those behind TLS."""
    found = Found()
    count = 0

    def open_sink(client: bytes, server: bytes, flow: Flow, midstream: bool) -> Connection:
        nonlocal count
        count += 1
        return Connection(count - 1, flow, midstream, found)

    file.feed(decrypted(keyring, open_sink))
    return found
