"""``shadowctl tail`` on live traffic: precisely what was asked for, redacted, and its ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.netns.lab import Daemon, HttpClient, Server, ok, running, wait_for
from tests.netns.shop import JSON, Made

pytestmark = pytest.mark.usefixtures("root_user")

TAIL = [sys.executable, "-m", "shadowd.cli.shadowctl", "tail"]


class Tail:
    """The command on a filter, its lines as they come. ``ready`` asks production until it shows that it follows."""

    def __init__(self, daemon: Daemon, *words: str, **streams: Any) -> None:
        self.process = subprocess.Popen(
            [*TAIL, *words, "--socket", str(daemon.socket)], cwd=ROOT, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "", "COLUMNS": "100", "NO_COLOR": "1"},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        if self.process.stdout is not None:
            self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def ready(self, ask: Callable[[], object]) -> None:
        def look() -> bool:
            ask()
            assert self.process.poll() is None
            return any("/ready" in line for line in self.lines)

        wait_for("it follows", look, 40)

    def until(self, word: str) -> None:
        wait_for(f"{word} is shown", lambda: any(word in line for line in self.lines), 40)

    def end(self, kind: int | None = None) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        if kind is not None:
            self.process.send_signal(kind)
        try:
            code = self.process.wait(40)
        finally:
            self.process.kill()
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        self.process.stderr.close()
        if self.process.stdout is not None:
            self._reader.join(10)
            self.process.stdout.close()
        assert "Traceback" not in said
        return code, said


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


@pytest.fixture
def shop(daemon: Daemon, servers: Callable[[Made], Server]) -> Iterator[HttpClient]:
    """A filter whose shadow gives every fifth order another total, and fails every seventh; a client of production."""
    production = servers(lambda number: {"n": number, "total": number})
    shadow = servers(
        lambda number: {"status": b"500 Oops"} if number % 7 == 3 else {"n": number, "total": number + (not number % 5)}
    )
    daemon.add("shop", production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    yield client
    client.close()
    daemon.call("filter.rm", name="shop")


def test_precisely_those_that_were_asked_for(daemon: Daemon, shop: HttpClient) -> None:
    words = "(worse and endpoint = 'GET /orders/{id}') or (differs and place = $.total) or path ~ '^/(ready|over)/'"
    tail = Tail(daemon, "shop", "--json", "--where", words)
    tail.ready(lambda: shop.get("/ready/1"))
    for number in range(200, 400):
        shop.get(f"/orders/{number}?password=hunter2hunter2&next=/{number}")
    shop.get("/over/1")
    wrong = {number for number in range(200, 400) if number % 5 == 0 or number % 7 == 3}
    tail.until("/over")  # equal answers are compared at once, others may wait for a turn
    wait_for("all are told", lambda: sum("/orders/" in line for line in tail.lines) >= len(wrong), 40)
    code, said = tail.end(signal.SIGINT)
    assert (code, said) == (130, "")
    entries = [json.loads(line) for line in tail.lines]
    shown = {int(one["path"].partition("?")[0].rpartition("/")[2]): one for one in entries if "/orders/" in one["path"]}
    assert set(shown) == wrong
    assert {number for number, one in shown.items() if one["shadow"]["status"] == 500} == {
        number for number in wrong if number % 7 == 3
    }
    assert all(one["status"] == 200 and one["latency_ms"] > 0 and one["size"] > 0 for one in shown.values())
    assert [one["n"] for one in entries] == sorted(one["n"] for one in entries)
    assert "hunter2hunter2" not in "".join(tail.lines)


def test_lines_and_differences_for_people(daemon: Daemon, shop: HttpClient) -> None:
    tail = Tail(daemon, "shop", "--diff", "-n", "3", "--where", "differs or path ~ ^/ready")
    tail.ready(lambda: shop.get("/ready/1"))

    def ask() -> bool:
        for number in (1, 2, 5, 10, 3):
            shop.get(f"/orders/{number}")
        return tail.process.poll() is not None

    wait_for("three lines end it", ask, 40)
    code, said = tail.end()
    assert (code, said) == (0, "")
    head, *rest = tail.lines
    assert head.split()[:5] == ["TIME", "METHOD", "PATH", "STATUS", "LATENCY"]
    assert not [line for line in tail.lines if "\x1b" in line or line.rstrip() != line.rstrip("\n")]
    body = "".join(rest)
    assert "/orders/1 " not in body
    if "/orders/5" in body:  # the others may have been the readiness's
        at = rest.index(next(line for line in rest if "/orders/5" in line))
        assert "differs $.total" in rest[at]
        assert rest[at + 1].startswith("  @ body $.total")
        assert [line.strip() for line in rest[at + 2 : at + 4]] == ["- 5", "+ 6"]


def test_it_ends_with_its_daemon_in_one_line(tmp_path: Path, servers: Callable[[Made], Server]) -> None:
    with running(tmp_path) as daemon:
        production, shadow = servers(lambda number: {"n": number}), servers(lambda number: {"n": number})
        daemon.add("shop", production.port, shadow.url)
        client = HttpClient("127.0.0.1", production.port)
        tail = Tail(daemon, "shop")
        tail.ready(lambda: client.get("/ready/1"))
    code, said = tail.end()
    assert code == 1
    assert len(said.splitlines()) == 1
    assert said.startswith("error: ")
    assert " — " in said
    client.close()


def test_a_reader_that_goes_away_is_no_error(daemon: Daemon, shop: HttpClient) -> None:
    reader, writer = os.pipe()
    tail = Tail(daemon, "shop", "--json", stdout=writer)
    os.close(writer)
    with open(reader) as lines:
        wait_for("a line comes", lambda: shop.get("/orders/1") and select_readable(lines), 40)
        lines.readline()
    wait_for("it ends", lambda: shop.get("/orders/1") and tail.process.poll() is not None, 40)
    assert tail.end() == (1, "")


def select_readable(file: Any) -> bool:
    import select

    return bool(select.select([file], [], [], 0)[0])


def test_a_terminal_has_colours_and_nothing_that_controls_it(daemon: Daemon) -> None:
    production = Server(answer=lambda number, head, sent: ok(b'{"a": "x"}', headers=JSON))
    shadow = Server(answer=lambda number, head, sent: ok(b'{"a": "\\u001b[31m\\u202e"}', headers=JSON))
    daemon.add("evil", production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (40, 140))
    words = ["evil", "--diff", "-n", "2", "--socket", str(daemon.socket)]
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    environment["TERM"] = "xterm"
    process = subprocess.Popen(
        [*TAIL, *words], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment
    )
    os.close(writer)
    wait_for("two lines end it", lambda: client.get("/a\x9b31m[red]") and process.poll() is not None, 40)
    assert process.stderr is not None
    assert (process.wait(), process.stderr.read()) == (0, "")
    process.stderr.close()
    shown = b""
    while True:
        try:
            shown += os.read(reader, 65536)
        except OSError:  # the other end is closed
            break
    os.close(reader)
    text = shown.decode()
    assert "\x1b[3" in text, "a terminal has colours"
    assert "\\u{9b}31m[red]" in text
    assert "\u202e" not in text
    assert "\x1b[31m\\u" not in text.replace("\x1b[31m  + ", "")
    client.close()
    production.close()
    shadow.close()
    daemon.call("filter.rm", name="evil")


def test_what_cannot_be_followed_is_said(daemon: Daemon, shop: HttpClient) -> None:
    for words, code, said in (
        (["nobody"], 2, "there is no filter named nobody"),
        (["shop", "--target", "http://none"], 2, "shop has no candidate http://none"),
        (["shop", "--where", "statsu = 1"], 2, "did you mean status?"),
    ):
        done = subprocess.run([*TAIL, *words, "--socket", str(daemon.socket)], capture_output=True, text=True,
                              timeout=60, cwd=ROOT)  # fmt: skip
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert said in done.stderr
    daemon.call("filter.set", name="shop", changes={"compare": False})
    done = subprocess.run([*TAIL, "shop", "--socket", str(daemon.socket)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "shop compares nothing — give it a candidate" in done.stderr
