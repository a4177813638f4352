"""A verdict belongs to a build, and an error can be looked at: over a real daemon, its door and ``shadowctl``."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
import termios
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.netns.lab import Daemon, Server, check_ledger, free_port, running, wait_for
from tests.netns.shop import Made, ask, compared

pytestmark = pytest.mark.usefixtures("root_user")

SHOP = "shop"


class Door:
    """Asks the daemon's HTTP door."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def __call__(self, method: str, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self._base + path, method=method, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def running_daemon(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), f'http = "127.0.0.1:{port}"\n') as started:
        yield started


@pytest.fixture
def daemon(running_daemon: Daemon) -> Iterator[Daemon]:
    yield running_daemon
    check_ledger(running_daemon.ledger(SHOP))
    running_daemon.call("filter.rm", name=SHOP)


@pytest.fixture
def door(port: int) -> Door:
    return Door(port)


def shadowctl(daemon: Daemon, *words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.socket), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


def on_terminal(daemon: Daemon, columns: int, *words: str) -> str:
    """The same where somebody looks, without the colours."""
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (40, columns))
    command = [sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.socket), *words]
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "TERM")}
    with subprocess.Popen(command, stdout=writer, cwd=ROOT, env={**environment, "NO_COLOR": "1"}) as process:
        os.close(writer)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while some := os.read(reader, 65536):
                shown += some
        os.close(reader)
    assert process.returncode == 0
    return shown.decode()


def served(servers: Callable[[Made], Server], daemon: Daemon, shadow: Made) -> tuple[Server, Server]:
    production, other = servers(lambda number: {"n": number}), servers(shadow)
    daemon.add(SHOP, production.port, other.url)
    return production, other


def test_a_rollout_begins_its_run_and_is_judged_by_its_own_evidence(
    daemon: Daemon, door: Door, servers: Callable[[Made], Server]
) -> None:
    production, _ = served(servers, daemon, lambda number: {"n": number})
    assert door("POST", "/run/shop?label=v1")[0] == 403, "a web page could send that"
    status, begun = door("POST", "/run/shop?label=v1", X_Shadowd="run")
    assert (status, begun["started"], begun["label"]) == (200, True, "v1")
    ask(production.port, 50)
    compared(daemon, SHOP, 50)

    status, again = door("POST", "/run/shop?label=v1", X_Shadowd="run")
    assert (status, again["started"]) == (200, False), "a pipeline that tries again loses nothing"
    status, verdict = door("GET", "/verdict?filter=shop&label=v1")
    assert (status, verdict["compared"], verdict["run"]["label"]) == (200, 50, "v1")

    status, other = door("GET", "/verdict?filter=shop&label=v2")
    assert (status, other["verdict"], other["judged"]) == (409, "inconclusive", "v1")
    assert "shop judges the build v1, not v2" in other["error"]
    assert "compared" not in other, "no figures of another build"

    assert door("POST", "/run/shop?label=v2", X_Shadowd="run")[1]["started"]
    status, verdict = door("GET", "/verdict?filter=shop&label=v2")
    assert (status, verdict["compared"]) == (200, 0)
    assert door("GET", "/verdict?filter=shop&label=v1")[0] == 409
    assert door("GET", "/verdict?filter=shop")[1]["run"]["label"] == "v2"
    assert door("POST", "/run/nope?label=v2", X_Shadowd="run")[0] == 404
    assert door("POST", "/run/shop?label=" + "v" * 300, X_Shadowd="run")[0] == 400

    ends = {run["label"]: run["reason"] for run in wait_for("both are stored", lambda: two_runs(daemon))}
    assert ends["v1"] == "a new run was started"


def two_runs(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [run for run in daemon.call("run.ls", name=SHOP) if run["label"]]
    return found if {run["label"]: run["ended"] for run in found}.get("v1") and len(found) == 2 else []


def test_shadowctl_begins_a_run_and_begins_it_anew(daemon: Daemon, servers: Callable[[Made], Server]) -> None:
    production, _ = served(servers, daemon, lambda number: {"n": number})

    def start(*words: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(shadowctl(daemon, "run", "start", SHOP, *words, "--json"))
        return told

    assert start("--label", "v1")["started"]
    ask(production.port, 30)
    compared(daemon, SHOP, 30)
    assert not start("--label", "v1")["started"]
    assert daemon.call("verdict", name=SHOP)["compared"] == 30
    assert start("--label", "v1", "--restart")["started"]
    verdict = daemon.call("verdict", name=SHOP)
    assert (verdict["compared"], verdict["run"]["label"]) == (0, "v1")
    assert start()["started"], "without a label there is nothing to go on with"
    words = ("verdict", SHOP, "--gate", "--label", "v1")
    assert shadowctl(daemon, *words, code=3) == "inconclusive\n"
    shadowctl(daemon, "run", "start", "nope", "--label", "v1", code=2)


def test_an_error_is_shown_from_all_sides_and_can_be_repeated(
    daemon: Daemon, servers: Callable[[Made], Server]
) -> None:
    production, shadow = served(
        servers, daemon, lambda number: {"status": b"500 Oops"} if number % 5 == 3 else {"n": number}
    )
    ask(production.port, 40)
    compared(daemon, SHOP, 40)
    (row,) = [line for line in shadowctl(daemon, "diffs", SHOP).splitlines() if "stock lookup failed" in line]
    fingerprint, label, kind, count, known = row.split()[:5]
    assert (label, kind, count, known) == ("new", "5xx", "8", "0")

    shown = shadowctl(daemon, "diffs", SHOP, fingerprint)
    asked = next(line.rpartition("/")[2] for line in shown.splitlines() if line.startswith("example 1: GET /orders/"))
    assert int(asked) % 5 == 3
    assert "new error: " in shown
    lines = shown.splitlines()
    assert {"- HTTP/1.1 200 OK", "+ HTTP/1.1 500 Oops"} <= set(lines), "through a pipe one below the other"
    assert any(line.startswith("- ") and f'"n": {asked}' in line for line in lines)
    assert any(line.startswith("+ ") and '"error": "stock lookup failed"' in line for line in lines)

    shown = on_terminal(daemon, 120, "diffs", SHOP, fingerprint)
    beside = [tuple(map(str.strip, line.split(" ≠ "))) for line in shown.splitlines() if " ≠ " in line]
    assert ("HTTP/1.1 200 OK", "HTTP/1.1 500 Oops") in beside
    assert any(f'"n": {asked}' in left for left, _ in beside)
    assert any('"error": "stock lookup failed"' in right for _, right in beside)
    assert "+ HTTP/1.1 500 Oops" in on_terminal(daemon, 80, "diffs", SHOP, fingerprint)

    found = json.loads(shadowctl(daemon, "diffs", SHOP, fingerprint, "--json"))
    example = found["examples"][0]
    assert (example["production"]["status"], example["candidate"]["status"]) == (200, 500)

    printed = shadowctl(daemon, "diffs", SHOP, fingerprint, "--curl").splitlines()
    commands = [line for line in printed if line.startswith("curl ")]
    assert [shlex.split(line)[-1] for line in commands] == [
        f"http://127.0.0.1:{server.port}/orders/{asked}" for server in (production, shadow)
    ]
    if shutil.which("curl"):
        answers = [
            subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=20, check=True).stdout
            for line in commands
        ]
        assert [answer.split(" ", 2)[1] for answer in answers] == ["200", "500"]
    shadowctl(daemon, "diffs", SHOP, "0123456789abcdef", code=2)


def test_a_side_that_gave_no_answer_says_why(daemon: Daemon, servers: Callable[[Made], Server]) -> None:
    production = servers(lambda number: {"n": number})
    silent = Server(answer=lambda number, head, body: None)  # closes without a word
    daemon.add(SHOP, production.port, silent.url)
    ask(production.port, 10)
    daemon.settled(SHOP, lambda found: found["seen"] == 10)
    (error,) = daemon.call("diffs", name=SHOP)["signatures"]
    assert error["new"]
    shown = shadowctl(daemon, "diffs", SHOP, error["fingerprint"])
    assert "HTTP/1.1 200 OK" in shown
    assert "+ no answer: reset" in shown
    silent.close()
