"""``shadowctl pcap``: the daemon's own flow table and assemblers, run over a capture file."""

from __future__ import annotations

import ipaddress
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from shadowd.capture.frames import FrameReader, Segment
from shadowd.capture.pcap import CaptureFileError, read_packets
from shadowd.cli.output import AsJson, new_app, print_json
from shadowd.errors import ShadowdError
from shadowd.stream.flow import ACK, CLIENT, FIN, SYN, Flow
from shadowd.stream.seq import add
from shadowd.stream.table import FlowLimits, FlowTable

app = new_app("Work with capture files.")

_SECOND = 1_000_000_000
_WRITE_AT = 8 << 20  # bytes held before files are written: many small segments, few system calls
_SHOW_PROGRESS_AFTER = 2.0  # seconds
_STREAMS_LIMIT = 1_000_000  # connections of one file: 2 KB of memory each

#: A file is read at leisure: connections of any age, more out of order than the daemon would hold; retransmissions
#: after the end are recognised for two segment lifetimes (RFC 9293 §3.4.2).
LIMITS = {
    "max_flows": _STREAMS_LIMIT,
    "max_buffered_flow": 16 << 20,
    "max_buffered_total": 256 << 20,
    "max_ranges": 4096,
    "idle": 1 << 62,
    "handshake_idle": 1 << 62,
    "gap_timeout": 1 << 62,
    "closed_linger": 240 * _SECOND,
    "max_ended": _STREAMS_LIMIT,
}


class PartialStreamsError(ShadowdError):
    """The capture file could be read only in part; ``streams`` is what was whole, and is written."""

    def __init__(self, fault: ShadowdError, streams: list[dict[str, Any]]) -> None:
        super().__init__(fault.problem, fault.remedy)
        self.streams = streams


class _Files:
    """Where streams are written: appended in batches, so that any number of connections needs no open file."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._held: dict[str, list[bytes]] = {}
        self._size = 0
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(out, error) from None

    def create(self, name: str) -> None:
        try:
            (self._out / name).write_bytes(b"")
        except OSError as error:
            raise self._unwritable(self._out / name, error) from None

    def append(self, name: str, data: bytes) -> None:
        self._held.setdefault(name, []).append(data)
        self._size += len(data)
        if self._size >= _WRITE_AT:
            self.flush()

    def flush(self) -> None:
        for name, parts in self._held.items():
            try:
                with (self._out / name).open("ab") as file:
                    file.writelines(parts)
            except OSError as error:
                raise self._unwritable(self._out / name, error) from None
        self._held.clear()
        self._size = 0

    @staticmethod
    def _unwritable(path: Path, error: OSError) -> ShadowdError:
        return ShadowdError(
            f"{path} cannot be written: {error.strerror or error}", "give --out a directory with room and write access"
        )


class _StreamSink:
    """Writes one connection's bytes, and its line of the result."""

    __slots__ = ("_at", "_files", "_flow", "_names", "_pending", "result")

    def __init__(self, number: int, flow: Flow, client: bytes, server: bytes, files: _Files) -> None:
        self._flow = flow
        self._files = files
        self._names = (f"{number}.c2s", f"{number}.s2c")
        self._at = [0, 0]
        self._pending = [0, 0]  # a gap not yet confirmed by what follows
        self.result: dict[str, Any] = {
            "n": number,
            "client": endpoint(client),
            "server": endpoint(server),
            "c2s": {"bytes": 0, "gaps": [], "conflicts": 0},
            "s2c": {"bytes": 0, "gaps": [], "conflicts": 0},
            "state": "midstream" if flow.midstream else "open",
        }
        for name in self._names:
            files.create(name)

    def _side(self, direction: int) -> dict[str, Any]:
        side: dict[str, Any] = self.result["s2c" if direction else "c2s"]
        return side

    def data(self, direction: int, data: bytes, time: int) -> None:
        self._confirm(direction)
        self._files.append(self._names[direction], data)
        self._side(direction)["bytes"] += len(data)
        self._at[direction] += len(data)

    def gap(self, direction: int, length: int, time: int) -> None:
        self._pending[direction] += length

    def eof(self, direction: int, time: int) -> None:
        self._confirm(direction)

    def urgent(self, direction: int, time: int) -> None:
        self._confirm(direction)
        side = self._side(direction)
        side.setdefault("urgent", []).append(self._at[direction])
        self._at[direction] += 1

    def _confirm(self, direction: int) -> None:
        """Data or FIN stand behind the hole. A stray ACK beyond the last byte alone is no evidence in a file."""
        length = self._pending[direction]
        if length:
            self._side(direction)["gaps"].append([self._at[direction], length])
            self._at[direction] += length
            self._pending[direction] = 0

    def closed(self, state: str, time: int) -> None:
        for side, stream in (("c2s", self._flow.client), ("s2c", self._flow.server)):
            self.result[side]["conflicts"] = stream.conflicts
            if stream.discarded:
                self.result[side]["discarded"] = stream.discarded
        if state in ("closed", "reset"):
            self.result["state"] = state


class _Roles:
    """Who is the client. A SYN tells; a flow seen from the middle: who has the well-known port is the server."""

    def __init__(self) -> None:
        self._clients: dict[bytes, bytes] = {}

    def orient(self, segment: Segment, table: FlowTable) -> tuple[bytes, int]:
        """The flow's key (client's endpoint, then the server's) and the segment's direction."""
        source, target = segment.source, segment.target
        pair = source + target if source < target else target + source
        client = self._clients.get(pair)
        opens = segment.flags & (SYN | ACK) == SYN
        if client is None:
            answers = segment.flags & (SYN | ACK) == SYN | ACK
            source_port, target_port = source[-2] << 8 | source[-1], target[-2] << 8 | target[-1]
            serves = not opens and source_port < 1024 <= target_port
            client = self._clients[pair] = target if answers or serves else source
        elif opens and client != source:
            flow = table.get(client + source)
            if flow is None or flow.midstream:  # else both ends open at once (RFC 9293 §3.5)
                if flow is not None:
                    table.remove(client + source, flow.seen, "replaced")
                client = self._clients[pair] = source
        return (source + target, CLIENT) if client == source else (target + source, 1 - CLIENT)


def endpoint(raw: bytes) -> str:
    """``address:port``; IPv6 without brackets too, the port is what follows the last colon."""
    return f"{ipaddress.ip_address(raw[:-2])}:{int.from_bytes(raw[-2:], 'big')}"


def write_streams(path: Path, out: Path, progress: Callable[[int], None] | None = None) -> list[dict[str, Any]]:
    """Write every TCP connection's two streams to ``out/N.c2s`` and ``out/N.s2c``; returns what ``--json`` prints.

    A connection's ``gaps`` are ``[stream offset, length]``; at a gap the file goes on with what came after the hole.
    ``urgent``, where there are any, the stream offsets of bytes that an application reads apart from the stream;
    ``conflicts`` are bytes of queued copies that differed; ``discarded``, where there are any, bytes that belong to no
    stream, by the reasons of ``Assembler.discarded``. Connections without their SYN are ``midstream`` until they
    end. Raises ``ShadowdError``, as ``PartialStreamsError`` if the file is cut short or corrupt.
    """
    packets_of_file = read_packets(path, progress)
    first = next(packets_of_file, None)  # a file that is no capture leaves nothing behind
    files = _Files(out)
    sinks: list[_StreamSink] = []

    def open_sink(key: bytes, time: int, flow: Flow, midstream: bool) -> _StreamSink:
        half = len(key) // 2
        sink = _StreamSink(len(sinks), flow, key[:half], key[half:], files)
        sinks.append(sink)
        return sink

    table = FlowTable(open_sink, FlowLimits(**LIMITS, offline=True))
    frames = FrameReader()
    roles = _Roles()
    now = expire_at = packets = 0
    fault: ShadowdError | None = None
    try:
        for link, stamp, data in chain([] if first is None else [first], packets_of_file):
            packets += 1
            for segment in frames.segments_untrusted(link, data, stamp):
                now = max(now, stamp)
                if now >= expire_at:
                    table.expire(now)
                    expire_at = now + _SECOND
                _feed(table, *roles.orient(segment, table), segment, now)
    except CaptureFileError as error:
        fault = error
    table.close_all(now)
    files.flush()
    streams = [sink.result for sink in sinks]
    refused = table.statistics().refused_flows
    if fault is None and packets and frames.skipped.get("link_type") == packets:
        fault = CaptureFileError(
            f"{path} has a link layer that shadowctl cannot read", "capture on an Ethernet or loopback device, or `any`"
        )
    if fault is None and refused:
        fault = ShadowdError(f"{path} has more than {_STREAMS_LIMIT} connections at once", "split it")
    if fault is not None:
        raise PartialStreamsError(fault, streams) from None
    return streams


def _feed(table: FlowTable, key: bytes, direction: int, segment: Segment, now: int) -> None:
    _, _, seq, ack, flags, payload, missing, urgent = segment
    if urgent >= 0 and payload:
        flow = table.get(key)
        if flow is not None:
            flow.mark_urgent(direction, urgent)
    if missing and flags & FIN:  # the FIN stands behind bytes that were not captured
        table.segment(key, direction, seq, ack, flags & ~FIN, payload, now)
        seq = add(seq, len(payload) + missing + (1 if flags & SYN else 0))
        flags, payload = FIN | ACK, b""
    table.segment(key, direction, seq, ack, flags, payload, now)


class _Progress:
    """A percentage on standard error, once it takes long and somebody looks."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._size = max(1, path.stat().st_size) if path.is_file() else 1
        self._begun = time.monotonic()
        self._visible = sys.stderr is not None and sys.stderr.isatty()
        self._shown = False

    def __call__(self, done: int) -> None:
        if self._visible and time.monotonic() - self._begun >= _SHOW_PROGRESS_AFTER:
            self._shown = True
            print(f"\r{self._name}: {100 * done // self._size} %", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._shown:
            print(f"\r{' ' * (len(self._name) + 7)}\r", end="", file=sys.stderr, flush=True)


def _describe(stream: dict[str, Any]) -> str:
    sides = []
    for name in ("c2s", "s2c"):
        side = stream[name]
        text = f"{name} {side['bytes']} bytes"
        if side["gaps"]:
            text += f", {len(side['gaps'])} gaps ({sum(length for _, length in side['gaps'])} bytes)"
        if side["conflicts"]:
            text += f", {side['conflicts']} bytes in conflict"
        if side.get("urgent"):
            text += f", {len(side['urgent'])} urgent bytes left out"
        for reason, length in side.get("discarded", {}).items():
            text += f", {length} bytes left out ({reason})"
        sides.append(text)
    return f"{stream['n']}  {stream['client']} → {stream['server']}  {stream['state']}  {';  '.join(sides)}"


def _print(streams: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(streams)
    else:
        for stream in streams:
            print(_describe(stream))
        if not streams:
            print("no TCP connections")


@app.callback()
def _group() -> None:
    """Work with capture files."""


@app.command()
def streams(
    file: Annotated[Path, typer.Argument(help="A pcap or pcapng file.")],
    out: Annotated[Path, typer.Option("--out", help="Directory for N.c2s and N.s2c; made if missing.")],
    as_json: AsJson = False,
) -> None:
    """Write both byte streams of every TCP connection in a capture file.

    Uses the same reassembly as the daemon. A gap is left out of the file and reported.

    \b
    Examples:
      shadowctl pcap streams traffic.pcapng --out streams
      shadowctl pcap streams traffic.pcap --out streams --json | jq '.[] | select(.state == "reset")'
    """
    progress = _Progress(file)
    fault: PartialStreamsError | None = None
    try:
        found = write_streams(file, out, progress)
    except PartialStreamsError as error:
        fault, found = error, error.streams
    finally:
        progress.close()
    _print(found, as_json)
    if fault is not None:
        raise fault
