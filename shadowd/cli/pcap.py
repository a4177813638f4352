"""``shadowctl pcap``: the daemon's own flow table and assemblers, run over a capture file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from shadowd.cli.capture_file import CaptureFile, endpoint, reading
from shadowd.cli.exchanges import read_exchanges
from shadowd.cli.keylogs import decrypted, read_keylog
from shadowd.cli.output import AsJson, new_app, print_json
from shadowd.errors import ShadowdError
from shadowd.redact.quoting import visible
from shadowd.stream.flow import Flow
from shadowd.tls.keyring import Keyring
from shadowd.tls.session import PlainSink

Keylog = Annotated[
    Path | None,
    typer.Option("--keylog", metavar="FILE", help="Secrets of TLS connections (NSS format, as SSLKEYLOGFILE writes)."),
]

app = new_app("Work with capture files.")

_WRITE_AT = 8 << 20  # bytes held before files are written: many small segments, few system calls


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
            (self._out / name).unlink(missing_ok=True)
            (self._out / name).touch(0o600)  # what was said, decrypted too
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


class _StreamSink(PlainSink):
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

    def sealed(self, view: object) -> None:
        self.result["tls"] = "read"

    def unreadable(self, reason: str) -> None:
        self.result["tls"] = reason

    def dropped(self, reason: str, length: int) -> None:
        if reason != "tls_framing":
            told = self.result.setdefault("tls_discarded", {})
            told[reason] = told.get(reason, 0) + length

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


def write_streams(
    path: Path, out: Path, progress: Callable[[int], None] | None = None, keyring: Keyring | None = None
) -> list[dict[str, Any]]:
    """Write every TCP connection's two streams to ``out/N.c2s`` and ``out/N.s2c``; returns what ``--json`` prints.

    A connection's ``gaps`` are ``[stream offset, length]``; at a gap the file goes on with what came after the hole.
    ``urgent``, where there are any, the stream offsets of bytes that an application reads apart from the stream;
    ``conflicts`` are bytes of queued copies that differed; ``discarded``, where there are any, bytes that belong to no
    stream, by the reasons of ``Assembler.discarded``. Connections without their SYN are ``midstream`` until they
    end. With a ``keyring`` streams of TLS are their plaintext, ``tls`` says ``read`` or why not, ``tls_discarded`` what
    bytes of ciphertext were not read, and a gap's length is of about as much plaintext. Raises ``ShadowdError``, as
    ``PartialStreamsError`` if the file is cut short or corrupt.
    """
    return streams_of(CaptureFile(path, progress), out, keyring)


def streams_of(file: CaptureFile, out: Path, keyring: Keyring | None = None) -> list[dict[str, Any]]:
    """The same, of a file that was opened: one that is no capture leaves nothing behind."""
    files = _Files(out)
    sinks: list[_StreamSink] = []

    def open_sink(client: bytes, server: bytes, flow: Flow, midstream: bool) -> _StreamSink:
        sink = _StreamSink(len(sinks), flow, client, server, files)
        sinks.append(sink)
        return sink

    file.feed(decrypted(keyring, open_sink))
    files.flush()
    streams = [sink.result for sink in sinks]
    if file.fault is not None:
        raise PartialStreamsError(file.fault, streams) from None
    return streams


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
    if "tls" in stream:
        sides.append("TLS" if stream["tls"] == "read" else f"TLS, not read: {stream['tls']}")
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
    keylog: Keylog = None,
    as_json: AsJson = False,
) -> None:
    """Write both byte streams of every TCP connection in a capture file.

    Uses the same reassembly as the daemon, and looks into tunnels (GRE, VXLAN, Geneve, GTP-U, IP in IP). A gap is left
    out of the file and reported; packets that could not be read are counted on standard error.

    With --keylog the streams of TLS 1.2 and 1.3 are written decrypted; those that cannot be are empty, and say why.

    \b
    Examples:
      shadowctl pcap streams traffic.pcapng --out streams
      shadowctl pcap streams traffic.pcap --out streams --json | jq '.[] | select(.state == "reset")'
    """
    keyring = None if keylog is None else read_keylog(keylog)
    progress = reading(file)
    fault: PartialStreamsError | None = None
    try:
        capture = CaptureFile(file, progress)
        try:
            found = streams_of(capture, out, keyring)
        except PartialStreamsError as error:
            fault, found = error, error.streams
    finally:
        progress.close()
    _print(found, as_json)
    capture.tell_unread()
    if fault is not None:
        raise fault


@app.command()
def exchanges(
    file: Annotated[Path, typer.Argument(help="A pcap or pcapng file.")],
    keylog: Keylog = None,
    as_json: AsJson = False,
) -> None:
    """Show the HTTP/1 exchanges of a capture file, in the order of the requests' first bytes.

    Bodies are told by length and SHA-256, without chunk framing and with their content coding. An exchange that is not
    whole (the answer was cut short, or is not in the file) has `complete: false`. What is no HTTP/1, or could not be
    read, is counted on standard error.

    \b
    Examples:
      shadowctl pcap exchanges traffic.pcapng
      shadowctl pcap exchanges https.pcap --keylog keys.log
      shadowctl pcap exchanges traffic.pcap --json | jq '.[] | select(.status >= 500) | .target'
    """
    keyring = None if keylog is None else read_keylog(keylog)
    progress = reading(file)
    try:
        capture = CaptureFile(file, progress)
        found = read_exchanges(capture, keyring)
    finally:
        progress.close()
    rows = found.exchanges()
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            print(_exchange(row))
        if not rows:
            print("no HTTP/1 exchanges")
    capture.tell_unread()
    for what, counts in (("connections that are no HTTP/1", found.others), ("requests not shown", found.lost)):
        if counts:
            each = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
            print(f"{what}: {sum(counts.values())} ({each})", file=sys.stderr)
    if capture.fault is not None:
        raise capture.fault


def _exchange(row: dict[str, Any]) -> str:
    answer = "no answer" if row["status"] is None else f"{row['status']}, {row['response_body_length']} bytes"
    note = "" if row["complete"] or row["status"] is None else ", cut short"
    return f"{row['n']}  flow {row['flow']}  {visible(row['method'])} {visible(row['target'])}  {answer}{note}"
