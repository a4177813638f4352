"""``--watch``: drawn in place, block after block in a pipe, and through a restart of the daemon."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from typing import IO

import pytest

from shadowd.cli.watching import _with_number
from tests.netns.lab import wait_for
from tests.unit.cli.screen import Screen, environment, shadowctl
from tests.unit.cli.test_cli import Filters, Served, refused


def watching(server: Served, *words: str) -> subprocess.Popen[str]:
    line = shadowctl(["--socket", str(server.path), *words])
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def interrupted(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    return errors


def out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ([], []), (["-w"], ["-w", "2"]), (["-w", "5"], ["-w", "5"]),
        (["--watch", "--json"], ["--watch", "2", "--json"]),
        (["--watch=1"], ["--watch=1"]), (["-w", "shop"], ["-w", "2", "shop"]), (["--", "-w"], ["--", "-w"]),
        (["-w", "-5"], ["-w", "-5"]), (["-w", "9shop"], ["-w", "2", "9shop"]),
    ],
)  # fmt: skip
def test_the_number_may_be_left_out(given: list[str], meant: list[str]) -> None:
    assert _with_number(given) == meant


@pytest.mark.parametrize("words", [["status"], ["ledger", "shop"], ["filter", "ls"]], ids=" ".join)
def test_a_pipe_gets_block_after_block(shop: Served, words: list[str]) -> None:
    once = shop(*words).stdout
    process = watching(shop, *words, "--watch", "0.1")
    blocks = "".join(out(process).readline() for _ in range(3 * (len(once.splitlines()) + 1)))
    assert interrupted(process) == ""
    assert blocks == f"{once}\n" * 3


def test_json_is_an_object_a_line(shop: Served) -> None:
    process = watching(shop, "status", "--json", "-w", "0.1")
    lines = [out(process).readline() for _ in range(3)]
    assert interrupted(process) == ""
    assert [json.loads(line)["pid"] for line in lines] == [42, 42, 42]


def test_a_terminal_is_drawn_over_at_its_size(shop: Served) -> None:
    screen = Screen(["--socket", str(shop.path), "status", "-w", "0.1"], columns=40, rows=6, settings={"NO_COLOR": "1"})
    screen.until(lambda text: text.count("\x1b[H") >= 4)
    screen.resize(100, 30)
    screen.until(lambda text: "beside it a comparer" in text.split("\x1b[H")[-2])
    code, text = screen.ended(interrupt=True)
    assert code == 130
    drawn = [re.sub("\x1b\\[[0-9]*[KJ]", "", part) for part in text.split("\x1b[H")]
    assert text.startswith("\x1b[2J")
    small = drawn[2].splitlines()
    assert len(small) == 5
    assert all(len(line) <= 40 for line in small)
    assert small[0].startswith("every 0.1 s, ")
    assert small[-1] == "… 4 more lines"


def test_a_daemon_that_is_started_again_is_told_in_a_line(shop: Served) -> None:
    process = watching(shop, "status", "--json", "--watch", "0.1")
    said: list[str] = []

    def listen() -> None:
        assert process.stderr is not None
        said.extend(iter(process.stderr.readline, ""))

    assert out(process).readline()
    listener = threading.Thread(target=listen)
    listener.start()
    shop.stop()
    wait_for("somebody is missed", lambda: bool(said))
    again = Served(shop.path, Filters())
    try:
        while json.loads(out(process).readline()).get("filters"):
            pass  # of the first one
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        listener.join(10)
        again.stop()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    (told,) = said
    assert "(asking again)" in told
    assert str(shop.path) in told


def test_nobody_there_at_the_beginning_is_an_error(served: Served) -> None:
    served.stop()
    assert "no daemon answers" in refused(served("status", "-w"), 1)
    assert "0.1" in refused(served("status", "--watch", "0.05"), 2)
