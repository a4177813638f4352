"""What every protocol codec is given and what it gives back (sans-IO: events in, events out).

A codec belongs to one flow. The stream layer feeds it both directions in order; it cuts them into exchanges and
tells its sink. Everything a codec consumes comes from the network: it never raises for what it was fed.
"""

from __future__ import annotations

from typing import Protocol

from shadowd.exchange.exchange import Exchange


class CodecSink(Protocol):
    """Told by a codec what it cut out of the flow.

    ``seen`` of the ledger is counted here, once for each call of ``request``, ``filtered`` and ``lost``.
    """

    def request(self, exchange: Exchange) -> None:
        """A whole request; its response is still to come."""

    def response(self, exchange: Exchange) -> None:
        """``exchange.response`` is complete, or ``exchange.uncomparable`` is set because it never will be."""

    def filtered(self, reason: str) -> None:
        """A request, or a flow that counts as one, which will not be mirrored: ``unparsable``, ``encrypted``, ..."""

    def lost(self, reason: str) -> None:
        """At least one request that cannot be known whole: ``gap``, ``midstream``, ``truncated``, ``too_large``."""

    def discarded(self, reason: str, length: int) -> None:
        """``length`` delivered bytes that belong to no exchange: ``upgraded``, ``midstream``, ``unparsable``, ..."""

    def switched(self, codec: Codec) -> None:
        """Both sides agreed to go on in another protocol (RFC 9110 §7.8): ``codec``, with this sink, is told of the
        flow from now on."""


class FlowView(Protocol):
    """What a codec may ask of its flow: a ``shadowd.stream.flow.Flow``, or a ``shadowd.tls.session.TlsSession``."""

    @property
    def client_acked(self) -> int:
        """Stream offset up to which the client has acknowledged the server's bytes, as of the segment being fed."""

    @property
    def idle_point(self) -> bool:
        """True while the segment being fed opens a new client turn: every earlier byte of both directions is
        acknowledged and the server spoke last. Only here may a codec that lost its place try a message start."""

    @property
    def spoke_unseen(self) -> bool:
        """The server has acknowledged bytes of the client that were not captured."""

    @property
    def offsets(self) -> tuple[int, int]:
        """Bytes of client→server and server→client so far, holes included."""

    @property
    def server_name(self) -> str:
        """Whom the client asked for in its ClientHello; "" without TLS, or if it did not say."""


class Codec(Protocol):
    """Cuts one flow into exchanges. ``time`` is when the segment was captured (ns, monotonic)."""

    def client_data(self, data: bytes, time: int) -> None:
        """In-order bytes of client→server."""

    def server_data(self, data: bytes, time: int) -> None:
        """In-order bytes of server→client."""

    def client_gap(self, length: int, time: int) -> None:
        """``length`` bytes of client→server were never captured; what follows comes after the hole."""

    def server_gap(self, length: int, time: int) -> None:
        """``length`` bytes of server→client were never captured."""

    def urgent(self, direction: int) -> None:
        """A byte of client→server (0) or server→client (1) was taken out here, as the receiving kernel does unless the
        application asked for urgent data in line: what follows may not parse."""

    def client_eof(self, time: int) -> None:
        """The client's FIN was reached in order (half-close: the server may still speak)."""

    def server_eof(self, time: int) -> None:
        """The server's FIN was reached in order."""

    def closed(self, time: int) -> None:
        """The flow is over (both FINs, RST, expiry, removal); nothing more will be fed."""
