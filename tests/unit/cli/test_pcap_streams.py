"""``shadowctl pcap streams``: made captures, real captures with known answers, and hostile ones."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shadowd.capture import frames as frames_module
from shadowd.capture.frames import FrameReader
from shadowd.capture.pcap import CaptureFileError, read_packets
from shadowd.cli.pcap import PartialStreamsError, write_streams
from shadowd.cli.shadowctl import main
from shadowd.errors import ShadowdError
from shadowd.stream.flow import CLIENT, Flow, FlowSink
from shadowd.stream.table import FlowLimits, FlowTable
from tests.pcaps import craft
from tests.pcaps.cases import ANSWER, CASES, REQUEST, Stream, plain

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "pcap"
CAPTURES = sorted(CORPUS.glob("*.expected.json"))
Run = Callable[..., tuple[int, str, str]]


def streams_of(capture: bytes, directory: Path) -> list[dict[str, Any]]:
    file = directory / "capture"
    file.write_bytes(capture)
    return write_streams(file, directory / "out")


def check(results: list[dict[str, Any]], expected: list[Stream], out: Path) -> None:
    assert [result["n"] for result in results] == list(range(len(expected)))
    for result, stream in zip(results, expected, strict=True):
        number = result["n"]
        assert (out / f"{number}.c2s").read_bytes() == stream.client
        assert (out / f"{number}.s2c").read_bytes() == stream.server
        assert result["c2s"]["bytes"] == len(stream.client)
        assert result["s2c"]["bytes"] == len(stream.server)
        assert result["c2s"]["gaps"] == [list(gap) for gap in stream.client_gaps]
        assert result["s2c"]["gaps"] == [list(gap) for gap in stream.server_gaps]
        assert result["c2s"]["conflicts"] == stream.conflicts
        assert result["state"] == stream.state
        if stream.client_discarded is not None:
            assert result["c2s"]["discarded"] == stream.client_discarded
        assert result["c2s"].get("urgent") == stream.client_urgent


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_made_captures(case: Callable[[], tuple[bytes, list[Stream]]], tmp_path: Path) -> None:
    capture, expected = case()
    check(streams_of(capture, tmp_path), expected, tmp_path / "out")


@pytest.mark.parametrize("link", [craft.ETHERNET, craft.RAW, craft.NULL, craft.SLL, craft.SLL2])
@pytest.mark.parametrize("six", [False, True])
def test_link_layers(link: int, six: bool, tmp_path: Path) -> None:
    ends = {"client": craft.CLIENT6, "server": craft.SERVER6} if six else {}
    talk = craft.Talk(**ends).shake().client(0, b"abc").server(0, b"xyz", ack=3).finish(3, 3)
    capture = craft.pcap([craft.wrap(link, packet) for packet in talk.packets], link)
    results = streams_of(capture, tmp_path)
    check(results, [Stream(b"abc", b"xyz")], tmp_path / "out")
    expected = ("2001:db8::1:40000", "2001:db8::2:80") if six else ("10.0.0.1:40000", "10.0.0.2:80")
    assert (results[0]["client"], results[0]["server"]) == expected


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng(order: str, tmp_path: Path) -> None:
    """Two sections, two link layers, three kinds of packet blocks, unknown blocks between."""
    packets = craft.Talk().shake().client(0, REQUEST).server(0, ANSWER, ack=len(REQUEST)).packets
    packets += craft.Talk().finish(len(REQUEST), len(ANSWER)).packets
    capture = craft.section(order) + craft.interface(craft.RAW, order) + craft.interface(craft.ETHERNET, order)
    for number, packet in enumerate(packets[:3]):
        frame = craft.ethernet(packet) if number % 2 else packet
        capture += craft.enhanced(number % 2, frame, 10**15 + number, order) + craft.block(0xBAD, b"??", order)
    other = "<>"[order == "<"]
    capture += craft.section(other) + craft.interface(craft.RAW, other, resolution=0x80 | 10)
    for packet in packets[3:5]:
        capture += craft.simple(packet, other)
    for packet in packets[5:]:
        old = struct.pack(other + "HHIIII", 0, 0, 0, 5, len(packet), len(packet)) + packet
        capture += craft.block(2, old, other)
    results = streams_of(capture, tmp_path)
    check(results, [Stream(REQUEST, ANSWER)], tmp_path / "out")
    assert (results[0]["client"], results[0]["server"]) == ("10.0.0.1:40000", "10.0.0.2:80")


def test_times(tmp_path: Path) -> None:
    file = tmp_path / "capture"
    for nano in (False, True):
        file.write_bytes(craft.pcap([b"a", b"b"], nano=nano))
        first, second = (packet.time for packet in read_packets(file))
        assert first == 1_700_000_000 * 10**9
        assert abs(second - first - 10**6) < 1000  # dpkt's times are floats
    tail = craft.enhanced(0, b"x", ticks=3 << 9)
    file.write_bytes(craft.section() + craft.interface(craft.RAW, resolution=0x80 | 10) + tail)
    assert [packet.time for packet in read_packets(file)] == [1_500_000_000]
    file.write_bytes(craft.section() + craft.interface(craft.RAW, resolution=3) + tail)
    assert [packet.time for packet in read_packets(file)] == [(3 << 9) * 10**6]


def test_big_endian_and_nanosecond_pcap(tmp_path: Path) -> None:
    packets = craft.Talk().shake().client(0, b"abc").packets
    capture = struct.pack(">IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, craft.RAW)
    for packet in packets:
        capture += struct.pack(">IIII", 5, 7, len(packet), len(packet)) + packet
    results = streams_of(capture, tmp_path)
    check(results, [Stream(b"abc", b"", "open")], tmp_path / "out")
    assert len(results) == 1


def test_simultaneous_open_and_a_server_that_calls_back(tmp_path: Path) -> None:
    both = craft.Talk().client(-1, flags=craft.SYN).server(-1, flags=craft.SYN).server(-1, flags=craft.SYN | craft.ACK)
    both.client(0, b"hi").finish(2, 0)
    back = craft.Talk(isn=9, other=99, client=craft.SERVER4, server=craft.CLIENT4).shake().client(0, b"call")
    results = streams_of(craft.pcap(both.packets + back.packets, craft.RAW), tmp_path)
    check(results, [Stream(b"hi", b""), Stream(b"call", b"", "open")], tmp_path / "out")
    assert results[1]["client"] == "10.0.0.2:80"


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``shadowctl pcap ...`` in this process: exit code, stdout, stderr."""

    def invoke(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["shadowctl", "pcap", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return invoke


def test_json_is_as_promised(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.pcap"
    file.write_bytes(plain()[0])
    code, out, err = run("streams", file, "--out", tmp_path / "deep" / "out", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == [
        {
            "n": 0,
            "client": "10.0.0.1:40000",
            "server": "10.0.0.2:80",
            "c2s": {"bytes": len(REQUEST), "gaps": [], "conflicts": 0},
            "s2c": {"bytes": len(ANSWER), "gaps": [], "conflicts": 0},
            "state": "closed",
        }
    ]
    assert (tmp_path / "deep" / "out" / "0.c2s").read_bytes() == REQUEST


def test_a_capture_without_tcp_says_so(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.pcap"
    file.write_bytes(craft.pcap([], craft.RAW))
    assert run("streams", file, "--out", tmp_path / "out") == (0, "no TCP connections\n", "")
    assert run("streams", file, "--out", tmp_path / "out", "--json") == (0, "[]\n", "")


def test_text_names_gaps(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.pcap"
    talk = craft.Talk().shake().client(5, b"abc")
    file.write_bytes(craft.pcap(talk.packets, craft.RAW))
    code, out, _ = run("streams", file, "--out", tmp_path)
    assert code == 0
    assert "c2s 3 bytes, 1 gaps (5 bytes)" in out


def test_as_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shadowd.cli.shadowctl", "pcap", "streams"]
    done = subprocess.run([*command, "none.pcap", "--out", tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "error: none.pcap cannot be read: No such file or directory — " + (
        "give a capture file that this user may read\n"
    )
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 2


def test_truncated_file_gives_what_was_whole(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.pcap"
    file.write_bytes(craft.pcap(craft.Talk().shake().client(0, b"abc").client(3, b"def").packets, craft.RAW)[:-2])
    code, out, err = run("streams", file, "--out", tmp_path, "--json")
    assert code == 1
    assert json.loads(out)[0]["c2s"]["bytes"] == 3
    assert (tmp_path / "0.c2s").read_bytes() == b"abc"
    assert err.count("\n") == 1
    assert "is truncated: it ends at byte" in err


GOOD = craft.section() + craft.interface(craft.RAW)
BAD_FILES = {
    "empty": (b"", "not a capture"),
    "text": (b"GET / HTTP/1.1\r\n", "not a capture"),
    "gzip": (b"\x1f\x8b\x08\0rest of it", "not a capture"),
    "short magic": (b"\xd4\xc3", "truncated"),
    "half a header": (plain()[0][:20], "truncated"),
    "giant packet": (plain()[0][:24] + struct.pack("<IIII", 0, 0, 1 << 31, 9), "a packet of 2147483648 bytes"),
    "unknown link": (craft.pcap([b"frame"], link=147), "a link layer that"),
    "no byte order": (b"\n\r\r\n" + bytes(24), "without a byte order"),
    "giant block": (GOOD + struct.pack("<II", 6, 1 << 30), "a block of 1073741824 bytes"),
    "odd block": (GOOD + struct.pack("<II", 6, 33) + bytes(40), "a block of 33 bytes"),
    "tiny block": (GOOD + struct.pack("<II", 6, 8), "a block of 8 bytes"),
    "lengths differ": (GOOD + struct.pack("<III", 5, 12, 16), "lengths differ"),
    "no interface": (craft.section() + craft.enhanced(0, b"x"), "interface 0, which is not described"),
    "packet beyond its block": (GOOD + craft.block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99)), "a packet of 99"),
    "short packet block": (GOOD + craft.block(6, b"1234"), "too short"),
    "short interface": (craft.section() + craft.block(1, b"1234"), "too short"),
    "too many interfaces": (craft.section() + craft.interface(1) * 4097, "more than 4096 interfaces"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_one_clear_line(name: str, run: Run, tmp_path: Path) -> None:
    data, words = BAD_FILES[name]
    file = tmp_path / "bad.pcap"
    file.write_bytes(data)
    code, _, err = run("streams", file, "--out", tmp_path / "out")
    assert code == 1
    assert words in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_directory_and_unwritable_out(run: Run, tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in run("streams", tmp_path, "--out", tmp_path)[2]
    file = tmp_path / "a.pcap"
    file.write_bytes(plain()[0])
    code, _, err = run("streams", file, "--out", file)
    assert code == 1
    assert "cannot be written: " in err
    (tmp_path / "0.s2c").mkdir()
    code, _, err = run("streams", file, "--out", tmp_path)
    assert code == 1
    assert "0.s2c cannot be written: Is a directory" in err


def test_not_a_capture_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(CaptureFileError):
        streams_of(b"nonsense", tmp_path)
    assert not (tmp_path / "out").exists()


def test_usage(run: Run, tmp_path: Path) -> None:
    assert run("streams", tmp_path)[0] == 2
    assert run()[0] == 2


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_fragment_memory_is_bounded() -> None:
    reader = FrameReader()
    for ident in range(frames_module.MAX_DATAGRAMS + 500):
        packet = craft.ip4("10.0.0.1", "10.0.0.2", bytes(16384), ident=ident & 0xFFFF, more=True)
        assert reader.segments_untrusted(craft.RAW, packet, ident) == []
    assert len(reader._datagrams) <= frames_module.MAX_DATAGRAMS
    assert reader._held <= frames_module.MAX_FRAGMENT_BYTES + 16384
    assert reader.skipped["fragments_incomplete"] > 500
    late = craft.ip4("10.0.0.1", "10.0.0.3", bytes(8), more=True)
    reader.segments_untrusted(craft.RAW, late, frames_module.FRAGMENT_TIMEOUT * 2)
    assert len(reader._datagrams) == 1
    assert reader._held == 8


UNREADABLE = {
    "header length": (craft.ethernet(b"\x44" + bytes(30)), "malformed"),
    "half an IP header": (craft.ethernet(b"\x45"), "truncated"),
    "ARP": (craft.ethernet(b"", kind=0x0806), "not_ip"),
    "too many tags": (craft.ethernet(b"\x45\0", tags=[0x8100] * 9), "not_ip"),
    "ICMPv6": (craft.ethernet(craft.ip6("::1", "::2", bytes(8), 58)), "not_tcp"),
    "too many extension headers": (craft.ethernet(craft.ip6("::1", "::2", bytes(8) * 9, 0)), "nesting"),
    "data offset": (craft.ethernet(craft.ip4("1.2.3.4", "1.2.3.5", bytes(20))), "malformed"),
    "half a TCP header": (craft.ethernet(craft.ip4("1.2.3.4", "1.2.3.5", b"short")), "truncated"),
    "half a frame": (b"\2\0\0", "truncated"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_frames_are_counted(name: str) -> None:
    frame, reason = UNREADABLE[name]
    reader = FrameReader()
    assert reader.segments_untrusted(craft.ETHERNET, frame, 0) == []
    assert reader.skipped == {reason: 1}


MATERIAL = [case()[0] for case in CASES]
MATERIAL.append(
    craft.section() + craft.interface(craft.RAW) + b"".join(craft.enhanced(0, p) for p in craft.Talk().shake().packets)
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(MATERIAL),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=12),
    st.one_of(st.none(), st.integers(0, 1 << 12)),
)
def test_mutated_files_never_trace_back(material: bytes, changes: list[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(material[:cut])
    for at, value in changes:
        if data:
            data[at % len(data)] = value
    with tempfile.TemporaryDirectory() as directory:
        try:
            results = streams_of(bytes(data), Path(directory))
        except PartialStreamsError as error:
            results = error.streams
        except ShadowdError:
            results = []
        for result in results:
            for side in ("c2s", "s2c"):
                assert (Path(directory) / "out" / f"{result['n']}.{side}").stat().st_size == result[side]["bytes"]


@settings(deadline=None)
@given(st.sampled_from([0, 1, 12, 101, 108, 113, 239, 276, 9999]), st.binary(max_size=200))
def test_arbitrary_frames_give_a_segment_or_a_reason(link: int, frame: bytes) -> None:
    reader = FrameReader()
    assert len(reader.segments_untrusted(link, frame, 0)) == 1 or sum(reader.skipped.values()) == 1


# --- real captures with known answers ---------------------------------------------------------------------------------


def holes(coverage: list[list[int]]) -> list[list[int]]:
    found, at = [], 0
    for start, length in coverage:
        if start > at:
            found.append([at, start - at])
        at = start + length
    return found


@pytest.mark.skipif(not CAPTURES, reason="needs the reference captures at ../shared/corpus")
def test_corpus_is_whole() -> None:
    assert len(CAPTURES) >= 150


@pytest.mark.parametrize(
    "answers",
    CAPTURES or [pytest.param(None, marks=pytest.mark.skip(reason="needs the reference captures at ../shared/corpus"))],
    ids=lambda path: path.name.removesuffix(".expected.json") if path else "absent",
)
def test_corpus(answers: Path, tmp_path: Path) -> None:
    known = json.loads(answers.read_text())
    results = write_streams(CORPUS / answers.name.removesuffix(".expected.json"), tmp_path)
    for stream in known["streams"]:
        result = results[stream["stream"]]
        for side in stream["dirs"]:
            assert {side["src"], side["dst"]} == {result["client"], result["server"]}
            name = "c2s" if side["src"] == result["client"] else "s2c"
            data = (tmp_path / f"{stream['stream']}.{name}").read_bytes()
            assert len(data) == result[name]["bytes"]
            if side["verdict"] in ("unambiguous", "determined_not_tshark", "gap", "empty"):
                assert len(data) == side["bytes"]
                assert hashlib.sha256(data).hexdigest() == side["sha256"]
                known_end = sum(side["coverage"][-1]) if side["coverage"] else 0
                at_end = [gap for gap in result[name]["gaps"] if gap[0] >= known_end]
                assert result[name]["gaps"] == holes(side["coverage"]) + at_end
                assert not at_end or at_end == [[known_end, side["fin_offset"] - known_end]]
            elif side["verdict"] == "conflict":
                # What an application read: it stops at the first hole.
                prefix = data[: side["bytes"]]
                assert hashlib.sha256(prefix).hexdigest() == side["sha256"]
                assert result[name]["gaps"] == holes(side["coverage"])


@pytest.mark.skipif(not CAPTURES, reason="needs the reference captures at ../shared/corpus")
def test_corpus_as_the_daemon_sees_it() -> None:
    """With the live table's limits, with and without pure ACKs: every byte of every capture is accounted for."""

    class Sink(FlowSink):
        def __init__(self, flow: Flow) -> None:
            self.flow = flow

        def data(self, direction: int, data: bytes, time: int) -> None:
            if direction == CLIENT:
                assert self.flow.client_acked >= 0
                assert self.flow.idle_point in (True, False)

        def gap(self, direction: int, length: int, time: int) -> None:
            assert length > 0

        def eof(self, direction: int, time: int) -> None: ...

        def closed(self, state: str, time: int) -> None: ...

    fed = 0
    for answers in CAPTURES:
        for bare in (True, False):
            table = FlowTable(lambda key, time, flow, midstream: Sink(flow), FlowLimits())
            reader = FrameReader()
            given = now = 0
            for link, time, data in read_packets(CORPUS / answers.name.removesuffix(".expected.json")):
                for segment in reader.segments_untrusted(link, data, time):
                    ordered = segment.source < segment.target
                    key = segment.source + segment.target if ordered else segment.target + segment.source
                    if not bare and not segment.payload and not segment.flags & 7:
                        continue
                    given += len(segment.payload)
                    now = max(now, time)
                    table.segment(key, int(ordered), *segment[2:6], now)
                    table.expire(now)
            for _ in range(2):
                numbers = table.statistics()
                accounted = numbers.delivered + numbers.duplicate + numbers.buffered + sum(numbers.discarded.values())
                assert accounted == given, answers.name
                table.close_all(now)
            assert table.statistics().buffered == 0
            fed += given
    assert fed > 1_000_000
