"""Real HTTP captures, through the flow table and the codec: whole exchanges come out, every byte is accounted for."""

from __future__ import annotations

from pathlib import Path

import dpkt
import pytest

from shadowd.exchange.exchange import Exchange
from shadowd.protocols.base import Codec
from shadowd.protocols.detect import identify
from shadowd.protocols.http1 import Http1Codec
from shadowd.stream.flow import Flow, FlowSink
from shadowd.stream.table import FlowLimits, FlowTable

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "pcap"
CAPTURES = sorted(path for path in CORPUS.glob("*http*.pcap*") if path.suffix in (".pcap", ".pcapng"))
if not CAPTURES:
    pytest.skip("the corpus (../shared/corpus) is absent", allow_module_level=True)


def bare(frame: bytes) -> dpkt.Packet:
    """A packet without a link layer."""
    return dpkt.ip6.IP6(frame) if frame[0] >> 4 == 6 else dpkt.ip.IP(frame)


LAYERS = {
    dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
    dpkt.pcap.DLT_NULL: dpkt.loopback.Loopback,
    dpkt.pcap.DLT_RAW: bare,
    dpkt.pcap.DLT_LINUX_SLL: dpkt.sll.SLL,
    101: bare,
    228: bare,
    229: bare,
    276: dpkt.sll2.SLL2,
}


class Conversation(FlowSink):
    """A flow's sink, its codec, and the codec's sink."""

    def __init__(self, flow: Flow, midstream: bool) -> None:
        self._flow = flow
        self.midstream = midstream
        self.kind: str | None = None
        self.codec: Codec = Http1Codec(self, flow, midstream, body_limit=1 << 20)
        self.first = b""
        self.fed = self.dropped = 0
        self.wire = (bytearray(), bytearray())
        self.exchanges: list[Exchange] = []
        self.answered: list[Exchange] = []
        self.reasons: list[str] = []

    def data(self, direction: int, data: bytes, time: int) -> None:
        self.fed += len(data)
        self.wire[direction].extend(data)
        if direction:
            self.codec.server_data(data, time)
        else:
            self.first += data[: 64 - len(self.first)]
            self.codec.client_data(data, time)

    def gap(self, direction: int, length: int, time: int) -> None:
        (self.codec.server_gap if direction else self.codec.client_gap)(length, time)

    def eof(self, direction: int, time: int) -> None:
        (self.codec.server_eof if direction else self.codec.client_eof)(time)

    def closed(self, state: str, time: int) -> None:
        self.codec.closed(time)

    def request(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def response(self, exchange: Exchange) -> None:
        self.answered.append(exchange)

    def filtered(self, reason: str) -> None:
        self.reasons.append(reason)

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)

    def switched(self, codec: Codec) -> None:
        self.codec = codec

    def discarded(self, reason: str, length: int) -> None:
        self.dropped += length


def conversations(path: Path) -> list[Conversation]:
    """Every TCP connection of a capture file with Ethernet or raw IP frames, in order of first packet."""
    opened: list[Conversation] = []

    def open_sink(key: bytes, time: int, flow: Flow, midstream: bool) -> Conversation:
        opened.append(Conversation(flow, midstream))
        return opened[-1]

    table = FlowTable(open_sink, FlowLimits(offline=True))
    servers: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        try:
            reader = dpkt.pcap.UniversalReader(file)
            frames = [(int(float(time) * 1e9), frame) for time, frame in reader]
        except (ValueError, dpkt.dpkt.Error) as error:
            pytest.skip(f"dpkt cannot read it: {error}")
        layer = LAYERS.get(reader.datalink())
    if layer is None:
        pytest.skip(f"link type {reader.datalink()} is left to the tests of the pcap reader")
    for time, frame in frames:
        try:
            outer = layer(frame)
            packet = outer if isinstance(outer, (dpkt.ip.IP, dpkt.ip6.IP6)) else outer.data
        except dpkt.dpkt.Error:
            continue
        segment = getattr(packet, "data", None)
        if not isinstance(segment, dpkt.tcp.TCP):
            continue
        source = packet.src + segment.sport.to_bytes(2, "big")
        target = packet.dst + segment.dport.to_bytes(2, "big")
        key = min(source, target) + max(source, target)
        if key not in servers or segment.flags & 0x12 == 0x02:
            servers[key] = source if segment.flags & 0x12 == 0x12 or segment.sport < segment.dport else target
            if segment.flags & 0x12 == 0x02:
                servers[key] = target
        direction = int(source == servers[key])
        table.segment(key, direction, segment.seq, segment.ack, segment.flags, bytes(segment.data), time)
    table.close_all(frames[-1][0] if frames else 0)
    return opened


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_capture(path: Path) -> None:
    for conversation in conversations(path):
        asked = sum(exchange.request.size for exchange in conversation.exchanges)
        said = sum(e.response.end - e.response.begin for e in conversation.answered if e.response is not None)
        assert asked + said + conversation.dropped == conversation.fed
        assert {e.index for e in conversation.answered} == {e.index for e in conversation.exchanges}
        if identify(conversation.first) == "http" and not conversation.midstream:
            assert conversation.exchanges or conversation.reasons, "a request that is neither known nor lost"
