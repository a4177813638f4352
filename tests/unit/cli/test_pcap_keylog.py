"""``shadowctl pcap … --keylog``: captures of real TLS connections, read as those of the same words in plaintext."""

from __future__ import annotations

import json
import os
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shadowd.cli.shadowctl import main
from tests.conftest import ROOT
from tests.pcaps.craft import RAW, pcap
from tests.pcaps.craft import Talk as Packets
from tests.unit.certificates import Certificate
from tests.unit.tls.handshakes import CLIENT, SERVER, TLS12, TLS13, Contexts, Talk

Run = Callable[..., tuple[int, str, str]]
CORPUS = ROOT.parent / "shared" / "corpus" / "pcap"
GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def go(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["shadowctl", "pcap", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return go


def packets(segments: list[tuple[int, bytes]], number: int) -> Packets:
    """As a capture has them, in segments of 1,460 bytes."""
    made = Packets(client=("10.0.0.9", 20_000 + number), server=("10.0.0.2", 443)).shake()
    at = [0, 0]
    for direction, data in segments:
        for begin in range(0, len(data), 1460):
            piece = data[begin : begin + 1460]
            (made.server if direction else made.client)(at[direction], piece, ack=at[1 - direction])
            at[direction] += len(piece)
    return made.finish(*at)


def shop(contexts: Contexts, count: int, session: ssl.SSLSession | None = None) -> Talk:
    talk = Talk(contexts, session).shake()
    for number in range(count):
        body = bytes([number]) * (number * 3000)
        talk.say(CLIENT, GET % number).say(SERVER, OK % len(body) + body)
    return talk.close()


def write(path: Path, *talks: Packets) -> Path:
    path.write_bytes(pcap([packet for talk in talks for packet in talk.packets], RAW))
    return path


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_the_same_as_of_plaintext(run: Run, certificate: Certificate, tmp_path: Path, version: ssl.TLSVersion) -> None:
    contexts = Contexts(certificate, tmp_path, version)
    first = shop(contexts, 8)
    talks = [first, shop(contexts, 3, first.client.session)]
    sealed = write(tmp_path / "sealed", *(packets(talk.segments, number) for number, talk in enumerate(talks)))
    plain = write(tmp_path / "plain", *(packets(talk.turns, number) for number, talk in enumerate(talks)))
    told = run("exchanges", sealed, "--keylog", contexts.log, "--json")
    assert told == run("exchanges", plain, "--json")
    rows = json.loads(told[1])
    assert len(rows) == 11
    assert all(row["complete"] for row in rows)
    code, out, err = run("streams", sealed, "--keylog", contexts.log, "--out", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    for number, (talk, row) in enumerate(zip(talks, json.loads(out), strict=True)):
        assert row["tls"] == "read"
        assert "tls_discarded" not in row
        assert row["state"] == "closed"
        for direction, name in ((CLIENT, "c2s"), (SERVER, "s2c")):
            assert (tmp_path / "out" / f"{number}.{name}").read_bytes() == talk.said[direction]
            assert row[name]["bytes"] == len(talk.said[direction])


def test_without_keys_and_with_those_of_others(run: Run, certificate: Certificate, tmp_path: Path) -> None:
    for name in "one", "two":
        (tmp_path / name).mkdir()
    one, two = Contexts(certificate, tmp_path / "one"), Contexts(certificate, tmp_path / "two")
    talk = shop(one, 2)
    shop(two, 1)
    file = write(tmp_path / "file", packets(talk.segments, 0))
    for options, words in (([], "1 TLS)"), (["--keylog", two.log], "1 TLS: tls_no_key)")):
        code, out, err = run("exchanges", file, *options, "--json")
        assert (code, json.loads(out)) == (0, [])
        assert words in err
    (row,) = json.loads(run("streams", file, "--keylog", two.log, "--out", tmp_path / "out", "--json")[1])
    assert row["tls"] == "tls_no_key"
    assert row["c2s"]["bytes"] == row["s2c"]["bytes"] == 0
    assert sum(row["tls_discarded"].values()) > 500
    assert "not read: tls_no_key" in run("streams", file, "--keylog", two.log, "--out", tmp_path / "out")[1]


def test_a_key_log_that_lies(run: Run, certificate: Certificate, tmp_path: Path) -> None:
    contexts = Contexts(certificate, tmp_path)
    file = write(tmp_path / "file", packets(shop(contexts, 2).segments, 0))
    lying = tmp_path / "lying"
    lines = [line.split() for line in contexts.keys().split(b"\n") if line[:1] not in (b"", b"#")]
    lying.write_bytes(b"".join(b"%b %b %b\n" % (label, random, b"7" * len(secret)) for label, random, secret in lines))
    code, out, err = run("exchanges", file, "--keylog", lying, "--json")
    assert (code, json.loads(out)) == (0, [])
    assert "TLS: tls_undecryptable" in err


def test_a_gap(run: Run, certificate: Certificate, tmp_path: Path) -> None:
    """Of one answer's middle. In a file a hole is told at the end, as of plaintext: those before it are whole."""
    contexts = Contexts(certificate, tmp_path)
    talk = shop(contexts, 8)
    made = packets(talk.segments, 0)
    large = [i for i, packet in enumerate(made.packets) if len(packet) == 1500]
    del made.packets[large[len(large) // 2]]
    rows = json.loads(run("exchanges", write(tmp_path / "file", made), "--keylog", contexts.log, "--json")[1])
    complete = {row["target"] for row in rows if row["complete"]}
    assert complete == {f"/{number}" for number in range(5)}
    assert len(rows) == 8


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        pytest.param(os.urandom(5000), "is no key log", id="random"),
        (b"\0" * 3_000_000, "is no key log"),
        (b"hello\nworld\n", "is no key log"),
        (b"CLIENT_RANDOM zz yy", "is no key log"),
    ],
    ids=["missing", "random", "zeros", "text", "cut"],
)
def test_what_is_no_key_log(run: Run, tmp_path: Path, content: bytes | None, words: str) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)
    file = write(tmp_path / "file", Packets().shake())
    for command in (["exchanges", file], ["streams", file, "--out", tmp_path / "out"]):
        code, out, err = run(*command, "--keylog", bad)
        assert code == 1
        assert not out
        assert words in err
        assert len(err.splitlines()) == 1


def test_one_without_end(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "file", Packets().shake())
    code, _, err = run("exchanges", file, "--keylog", "/dev/zero")
    assert code == 1
    assert err.endswith("is no key log — give a file in NSS format, such as SSLKEYLOGFILE writes\n")


def test_a_pipe(run: Run, certificate: Certificate, tmp_path: Path) -> None:
    contexts = Contexts(certificate, tmp_path)
    file = write(tmp_path / "file", packets(shop(contexts, 2).segments, 0))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(contexts.keys(),))
    writer.start()
    rows: list[Any] = json.loads(run("exchanges", file, "--keylog", pipe, "--json")[1])
    writer.join()
    assert len(rows) == 2


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no ../shared/corpus")
@pytest.mark.parametrize("name", sorted(path.name for path in CORPUS.glob("*.pcap")) if CORPUS.is_dir() else [])
def test_captures_of_others(run: Run, tmp_path: Path, name: str) -> None:
    """Without their keys: what is no TLS is as it was, what is says why, and nothing is made of it."""
    keys = tmp_path / "keys"
    keys.write_bytes(b"# none\n")
    without = run("streams", CORPUS / name, "--out", tmp_path / "a", "--json")
    told = run("streams", CORPUS / name, "--out", tmp_path / "b", "--keylog", keys, "--json")
    assert told[0] == without[0]
    for row, other in zip(json.loads(told[1]), json.loads(without[1]), strict=True):
        if "tls" in row:
            assert row["tls"] in ("read", "tls_no_key", "tls_suite", "tls_midstream", "tls_undecryptable")
            assert row["c2s"]["bytes"] == row["s2c"]["bytes"] == 0
        else:
            assert row == other
