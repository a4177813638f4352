"""``shadowctl try``: a service is mirrored by one line, and nothing is left of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, need
from tests.netns.lab import HttpClient, Server, free_port, ok, wait_for

COMMAND = [sys.executable, "-m", "shadowd.cli.shadowctl", "try"]


def answering(word: bytes) -> Server:
    body = b'{"word": "%s"}' % word
    return Server(answer=lambda number, head, sent: ok(body, headers=b"Content-Type: application/json\r\n"))


class Asked:
    """Production that is asked all the time, twenty requests a second, until it ends."""

    def __init__(self) -> None:
        self.server = answering(b"old")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        client = HttpClient("127.0.0.1", self.server.port)
        number = 0
        while not self._over.wait(0.05):
            number += 1
            client.get(f"/{number}")
            if number % 20 == 0:  # a connection that began before the filter is joined in its middle
                client.close()
                client = HttpClient("127.0.0.1", self.server.port)
        client.close()

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self.server.close()


@pytest.fixture
def production() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    asked.close()


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = answering(b"new")
    yield server
    server.close()


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder)}


def test_one_line_mirrors_and_judges(tmp_path: Path, production: Asked, shadow: Server) -> None:
    report = tmp_path / "report.html"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ["--port", str(production.server.port), "--to", shadow.url, "--for", "12s", "--min-span", "1s"]
    words += ["--cpu-guard", "off"]  # this host is busy with other tests
    done = subprocess.run(
        [*COMMAND, *words, "--html", str(report), "--json"], capture_output=True, text=True, timeout=120, cwd=ROOT,
        env=environment(scratch),
    )  # fmt: skip
    assert done.returncode in (1, 3), done.stderr  # twelve seconds on a full host need not be enough
    found = json.loads(done.stdout)
    assert found["verdict"] == ("fail" if done.returncode == 1 else "inconclusive")
    assert found["ledger"]["balanced"] is True
    assert found["ledger"]["targets"][0]["mirrored"] > 0
    assert [(one["where"], one["path"]) for one in found["diffs"]["differences"]] == [("body", "$.word")]
    assert "<html" in report.read_text()
    assert list(scratch.iterdir()) == []


def test_ctrl_c_ends_it_with_a_verdict(tmp_path: Path, production: Asked, shadow: Server) -> None:
    words = ["--port", str(production.server.port), "--to", shadow.url, "--for", "10m", "--cpu-guard", "off"]
    process = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment(tmp_path),
    )  # fmt: skip
    try:
        wait_for("the shadow is asked", lambda: len(shadow.requests) > 20, 180)
        daemons = list(children(process.pid))
        assert len(daemons) >= 1
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (1, 3), errors
    assert "score" in out
    assert "$.word" in out
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
    for pid in daemons:
        assert not Path(f"/proc/{pid}").exists()
    before = len(shadow.requests)
    time.sleep(0.3)
    assert len(shadow.requests) == before


def test_what_is_left_out_for_the_hosts_sake_is_said(tmp_path: Path, production: Asked, shadow: Server) -> None:
    words = ["--port", str(production.server.port), "--to", shadow.url, "--for", "20s", "--cpu-guard", "1%"]
    done = subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment(tmp_path)
    )
    assert done.returncode in (1, 3), done.stderr
    assert re.search(r"[0-9,]+ of [0-9,]+ requests were not sent on, as this host was busy", done.stdout + done.stderr)


def children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def test_a_wrong_command_begins_nothing(tmp_path: Path) -> None:
    for words, code, said in (
        (["--port", "80", "--to", "ftp://next"], 2, "scheme 'ftp' is not known"),
        (["--port", "80", "--to", "http://next", "--for", "soon"], 2, "is not a time"),
        (["--port", "80", "--to", "http://next", "--cpu-guard", "much"], 2, "cpu_guard: 'much' is not a rate"),
        (["--port", "80", "--to", "http://next", "--for", "0"], 2, "no time to see anything"),
        (["--port", "80", "--to", "http://next", "--html", "/nowhere/x.html"], 2, "is not a directory"),
    ):
        done = subprocess.run(
            [*COMMAND, *words], capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment(tmp_path)
        )
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []


def test_who_is_not_root_is_told_before_anything_is_begun(tmp_path: Path) -> None:
    need(os.geteuid() == 0 and shutil.which("setpriv") is not None, "needs root and setpriv")
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *COMMAND]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        done = subprocess.run(
            [*command, "--port", str(free_port()), "--to", "http://next"], capture_output=True, text=True, timeout=60,
            cwd=ROOT, env=environment(Path(folder)),
        )  # fmt: skip
        if "Permission denied" in done.stderr and "No module" not in done.stderr:
            pytest.skip("another user cannot read this interpreter")
        assert done.returncode == 2, done.stderr
        assert "needs root — run: sudo " in done.stderr
        assert list(Path(folder).iterdir()) == []
