"""Reads capture files: pcap and pcapng, both byte orders, all time resolutions.

Sources: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. A capture file is untrusted input: lengths are checked
against limits before anything is read, and every fault is one ``CaptureFileError`` that says where. Packets before
the fault have been given out by then.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from shadowd.errors import ShadowdError

#: Largest packet believed: twice a BIG TCP super-packet as libpcap stores it (512 KiB); libpcap's own limit is 256 KiB.
MAX_PACKET = 1 << 20
#: Largest pcapng block skipped or read: name resolution and secrets blocks may be larger than packets.
MAX_BLOCK = 16 << 20
#: Interfaces described in one section: real files have tens; each costs memory.
MAX_INTERFACES = 4096

_SECOND = 1_000_000_000
_FARTHEST = 1 << 62  # ns, 146 years: times are signed 64-bit numbers everywhere
_SECTION = 0x0A0D0D0A
_ORDER_MAGIC = 0x1A2B3C4D
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
_TSRESOL, _TSOFFSET = 9, 14

_PCAP_MAGIC = {  # → nanoseconds a tick, bytes of a record header
    0xA1B2C3D4: (1000, 16),
    0xA1B23C4D: (1, 16),
    0xA1B2CD34: (1000, 24),  # Kuznetzov's patched libpcap
}


class CaptureFileError(ShadowdError):
    """A capture file that cannot be read, or not to its end."""


class Packet(NamedTuple):
    """One captured frame. ``time`` is ns since the epoch; ``data`` may be cut short by the snap length."""

    link: int  # LINKTYPE_ of the interface
    time: int
    data: bytes


class _Interface(NamedTuple):
    link: int
    snap: int
    units: int  # ticks a second
    offset: int  # seconds


def read_packets(path: Path, progress: Callable[[int], None] | None = None) -> Iterator[Packet]:
    """Every packet of the file, in order. ``progress`` is told the bytes read so far, about every MiB.

    Raises ``CaptureFileError``, after the last whole packet if the file is cut short or corrupt.
    """
    try:
        with path.open("rb") as file:
            yield from _read(_Source(file, path, progress))
    except OSError as error:
        raise CaptureFileError(
            f"{path} cannot be read: {error.strerror or error}", "give a capture file that this user may read"
        ) from None


class _Source:
    """A file of which every read is checked."""

    __slots__ = ("_file", "_path", "_progress", "_reported", "position")

    def __init__(self, file: BinaryIO, path: Path, progress: Callable[[int], None] | None) -> None:
        self._file = file
        self._path = path
        self._progress = progress
        self._reported = 0
        self.position = 0

    def take(self, length: int, may_end: bool = False) -> bytes:
        """Exactly ``length`` bytes; ``b""`` at the end of the file if that is a place where it may end."""
        data = self._file.read(length)
        if len(data) < length and (data or not may_end):
            raise CaptureFileError(
                f"{self._path} is truncated: it ends at byte {self.position + len(data)} within a packet or header",
                "what came before was read; capture or copy it again for the rest",
            )
        self.position += len(data)
        if self._progress is not None and self.position - self._reported >= 1 << 20:
            self._reported = self.position
            self._progress(self.position)
        return data

    def corrupt(self, what: str) -> CaptureFileError:
        return CaptureFileError(
            f"{self._path} is corrupt near byte {self.position}: {what}", "what came before was read; capture it again"
        )

    def not_a_capture(self) -> CaptureFileError:
        return CaptureFileError(f"{self._path} is not a capture file", "give a pcap or pcapng file, uncompressed")


def _read(source: _Source) -> Iterator[Packet]:
    start = source.take(4, may_end=True)
    if not start:
        raise source.not_a_capture()
    for order in "<>":
        (magic,) = struct.unpack(order + "I", start)
        if magic in _PCAP_MAGIC:
            return _pcap_untrusted(source, order, *_PCAP_MAGIC[magic])
        if magic == _SECTION:
            return _pcapng_untrusted(source)
    raise source.not_a_capture()


def _pcap_untrusted(source: _Source, order: str, tick: int, header_length: int) -> Iterator[Packet]:
    link = struct.unpack(order + "HHiIII", source.take(20))[5] & 0xFFFF  # FCS length stands above
    header = struct.Struct(order + "IIII")
    while head := source.take(header_length, may_end=True):
        seconds, fraction, captured, _ = header.unpack_from(head)
        if captured > MAX_PACKET:
            raise source.corrupt(f"a packet of {captured} bytes")
        yield Packet(link, seconds * _SECOND + fraction * tick, source.take(captured))


def _pcapng_untrusted(source: _Source) -> Iterator[Packet]:
    order = "<"
    interfaces: list[_Interface] = []
    kind_bytes = b"\n\r\r\n"  # the caller has read the first block's type
    while kind_bytes:
        (kind,) = struct.unpack(order + "I", kind_bytes)
        length_bytes = source.take(4)
        if kind == _SECTION:
            magic = source.take(4)
            order = next((o for o in "<>" if struct.unpack(o + "I", magic)[0] == _ORDER_MAGIC), "")
            if not order:
                raise source.corrupt("a section header without a byte order")
            interfaces = []
        (length,) = struct.unpack(order + "I", length_bytes)
        done = 12 if kind == _SECTION else 8
        if length % 4 or not done + 4 <= length <= MAX_BLOCK:
            raise source.corrupt(f"a block of {length} bytes")
        body = source.take(length - done - 4)
        if source.take(4) != length_bytes:
            raise source.corrupt("a block whose two lengths differ")
        if kind == _INTERFACE:
            if len(interfaces) >= MAX_INTERFACES:
                raise source.corrupt(f"more than {MAX_INTERFACES} interfaces")
            interfaces.append(_interface_untrusted(source, order, body))
        elif kind in (_ENHANCED_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            yield _packet_untrusted(source, order, kind, body, interfaces)
        kind_bytes = source.take(4, may_end=True)


def _interface_untrusted(source: _Source, order: str, body: bytes) -> _Interface:
    if len(body) < 8:
        raise source.corrupt("an interface description that is too short")
    link, _, snap = struct.unpack_from(order + "HHI", body)
    units, offset, at = 1_000_000, 0, 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4 : at + 4 + length]
        if code == 0 or len(value) < length:
            break
        if code == _TSRESOL and length == 1:
            exponent = value[0] & 0x7F
            units = int(2**exponent if value[0] & 0x80 else 10**exponent)
        elif code == _TSOFFSET and length == 8:
            (offset,) = struct.unpack(order + "q", value)
        at += 4 + (length + 3 & ~3)
    return _Interface(link, snap, units, offset)


def _packet_untrusted(source: _Source, order: str, kind: int, body: bytes, interfaces: list[_Interface]) -> Packet:
    head = 4 if kind == _SIMPLE_PACKET else 20
    if len(body) < head:
        raise source.corrupt("a packet block that is too short")
    number = high = low = 0
    if kind == _ENHANCED_PACKET:
        number, high, low, captured, _ = struct.unpack_from(order + "IIIII", body)
    elif kind == _OLD_PACKET:
        number, _, high, low, captured, _ = struct.unpack_from(order + "HHIIII", body)
    else:
        (captured,) = struct.unpack_from(order + "I", body)
    if number >= len(interfaces):
        raise source.corrupt(f"a packet of interface {number}, which is not described")
    interface = interfaces[number]
    if kind == _SIMPLE_PACKET:
        captured = min(captured, interface.snap or captured, len(body) - head)
    if captured > min(len(body) - head, MAX_PACKET):
        raise source.corrupt(f"a packet of {captured} bytes")
    time = (high << 32 | low) * _SECOND // interface.units + interface.offset * _SECOND
    if not -_FARTHEST < time < _FARTHEST:
        raise source.corrupt("a time that is centuries away")
    return Packet(interface.link, time, body[head : head + captured])
