"""``shadowctl pcap exchanges``: what is told of made captures, by hand and by a naive reading of what was sent."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.cli.capture_file import CaptureFile
from shadowd.cli.exchanges import read_exchanges
from shadowd.cli.shadowctl import main
from tests.pcaps.craft import CLIENT6, RAW, RST, SERVER6, SYN, Talk, pcap

Run = Callable[..., tuple[int, Any, str]]
KEYS = [
    "n", "flow", "method", "target", "request_headers", "request_body_sha256", "request_body_length", "status",
    "response_headers", "response_body_sha256", "response_body_length", "complete",
]  # fmt: skip
GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def go(*talks: Talk, text: bool = False) -> tuple[int, Any, str]:
        file = tmp_path / "capture"
        file.write_bytes(pcap([packet for talk in talks for packet in talk.packets], RAW))
        monkeypatch.setattr(sys, "argv", ["shadowctl", "pcap", "exchanges", str(file), *([] if text else ["--json"])])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out if text else json.loads(out), err

    return go


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def converse(*turns: tuple[bytes, bytes], talk: Talk | None = None, fin: bool = True) -> Talk:
    """Turn after turn on one connection."""
    talk = talk or Talk().shake()
    sent = said = 0
    for asked, answered in turns:
        talk.client(sent, asked, ack=said)
        sent += len(asked)
        talk.server(said, answered, ack=sent)
        said += len(answered)
    return talk.finish(sent, said) if fin else talk


def test_one_exchange_has_exactly_these_keys(run: Run) -> None:
    code, rows, err = run(converse((GET, OK)))
    assert (code, err) == (0, "")
    assert [list(row) for row in rows] == [KEYS]
    assert rows == [
        {
            "n": 0, "flow": 0, "method": "GET", "target": "/a?b=c",
            "request_headers": [["Host", "x"], ["Accept", "*/*"]],
            "request_body_sha256": sha(b""), "request_body_length": 0,
            "status": 200, "response_headers": [["Content-Length", "2"]],
            "response_body_sha256": sha(b"hi"), "response_body_length": 2, "complete": True,
        }
    ]  # fmt: skip


def test_digests_are_of_the_content_without_chunks_and_with_its_coding(run: Run) -> None:
    coded = gzip.compress(b"content" * 100)
    chunked = b"".join(b"%x ; e=1\r\n%s\r\n" % (len(p), p) for p in (coded[:5], coded[5:])) + b"0\r\nT: v\r\n\r\n"
    fields = b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"
    post = b"POST / HTTP/1.1\r\n" + fields + chunked
    (row,) = run(converse((post, b"HTTP/1.1 201 Created\r\n" + fields + chunked)))[1]
    assert row["request_body_sha256"] == row["response_body_sha256"] == sha(coded)
    assert row["request_body_length"] == row["response_body_length"] == len(coded)


def test_in_order_of_the_requests_first_bytes(run: Run) -> None:
    one, two = Talk().shake(), Talk(client=CLIENT6, server=SERVER6).shake()
    mixed = Talk()
    slow = b"PUT /slow HTTP/1.1\r\nContent-Length: 4\r\n\r\n"
    one.client(0, slow)
    two.client(0, GET).server(0, OK, ack=len(GET))
    one.client(len(slow), b"body").server(0, OK, ack=len(slow) + 4).client(len(slow) + 4, GET * 2, ack=len(OK))
    one.server(len(OK), OK * 2, ack=len(slow) + 4 + 2 * len(GET))
    mixed.packets = one.packets[:4] + two.packets + one.packets[4:]
    rows = run(mixed)[1]
    assert [(row["n"], row["flow"], row["method"]) for row in rows] == [
        (0, 0, "PUT"), (1, 1, "GET"), (2, 0, "GET"), (3, 0, "GET"),
    ]  # fmt: skip
    assert all(row["complete"] for row in rows)


def test_what_is_not_whole_is_told_as_far_as_it_came(run: Run) -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
    upload = b"POST /u HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"
    closed = b"HTTP/1.0 200 OK\r\n\r\nuntil the end"
    talks = [
        converse((GET, long), fin=False),
        converse((GET, b""), talk=Talk(client=("10.0.0.3", 1025)).shake(), fin=False),
        converse((upload, b""), talk=Talk(client=("10.0.0.4", 1025)).shake(), fin=False),
        converse((GET, closed), talk=Talk(client=("10.0.0.5", 1025)).shake()),
        converse((GET, closed), talk=Talk(client=("10.0.0.6", 1025)).shake(), fin=False).server(
            len(closed), ack=len(GET), flags=RST
        ),
    ]
    rows = run(*talks)[1]
    assert [(row["status"], row["response_body_length"], row["complete"]) for row in rows] == [
        (200, 9, False), (None, None, False), (None, None, False), (200, 13, True), (200, 13, False),
    ]  # fmt: skip
    assert rows[0]["response_body_sha256"] == sha(b"only this")
    assert (rows[2]["target"], rows[2]["request_body_length"]) == ("/u", 4)


def test_midstream_begins_with_a_request_or_at_an_idle_point(run: Run) -> None:
    first = Talk().client(500, GET, ack=70).server(70, OK, ack=500 + len(GET))
    later = Talk(client=("10.0.0.3", 1025)).server(70, b"tail", ack=500).client(500, GET, ack=74)
    later.server(74, OK, ack=500 + len(GET))
    rows = run(first, later)[1]
    assert [(row["flow"], row["complete"]) for row in rows] == [(0, True), (1, True)]


def test_what_is_no_http_or_cannot_be_read_is_said(run: Run) -> None:
    tls = Talk(client=("10.0.0.3", 1025)).shake().client(0, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
    greets = Talk(client=("10.0.0.4", 1025)).shake().server(0, b"220 mail\r\n")
    both = b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    smuggled = converse((both, OK), (GET, OK), talk=Talk(client=("10.0.0.5", 1025)).shake())
    code, rows, err = run(tls, greets, smuggled)
    assert code == 0
    assert [row["method"] for row in rows] == ["GET"]
    assert "connections that are no HTTP/1: 2 (1 TLS, 1 unknown)" in err
    assert "requests not shown: 1 (1 unparsable)" in err


def test_text_shows_no_control_bytes(run: Run) -> None:
    code, out, _ = run(converse((b"GET /\xc2\x9b HTTP/1.1\r\nA: \x1b[2J\r\n\r\n", OK)), text=True)
    assert code == 0
    assert out.startswith("0  flow 0  GET /")
    assert out.endswith("  200, 2 bytes\n")
    assert out.isascii() or "\x9b" not in out
    assert run(Talk().client(-1, flags=SYN), text=True)[1] == "no HTTP/1 exchanges\n"


BODIES = st.binary(max_size=60)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(BODIES, BODIES, st.booleans()), min_size=1, max_size=6), st.integers(1, 40), st.randoms())
def test_any_segmentation_and_order(
    tmp_path_factory: pytest.TempPathFactory,
    turns: list[tuple[bytes, bytes, bool]],
    size: int,
    chance: random.Random,
) -> None:
    """Segments of a turn in any order, some twice: the bodies are those that were sent."""
    talk = Talk().shake()
    sent = said = 0
    for number, (up, down, chunked) in enumerate(turns):
        asked = b"POST /%d HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (number, len(up)) + up
        framed = (b"%x\r\n%s\r\n" % (len(down), down) if down else b"") + b"0\r\n\r\n"
        answered = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed
            if chunked
            else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(down) + down
        )
        for data, tell, at, ack in ((asked, talk.client, sent, said), (answered, talk.server, said, sent + len(asked))):
            pieces = [(at + i, data[i : i + size]) for i in range(0, len(data), size)]
            pieces += chance.sample(pieces, len(pieces) // 3)
            chance.shuffle(pieces)
            for place, piece in pieces:
                tell(place, piece, ack=ack)
        sent, said = sent + len(asked), said + len(answered)
    file = tmp_path_factory.mktemp("made") / "capture"
    file.write_bytes(pcap(talk.packets, RAW))
    rows = read_exchanges(CaptureFile(file)).exchanges()
    assert [row["target"] for row in rows] == [f"/{number}" for number in range(len(turns))]
    assert [row["request_body_sha256"] for row in rows] == [sha(up) for up, _, _ in turns]
    assert [row["response_body_sha256"] for row in rows] == [sha(down) for _, down, _ in turns]
    assert all(row["complete"] for row in rows)
