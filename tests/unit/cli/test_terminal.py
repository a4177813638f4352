"""Widths and colours as terminals and the environment ask for them: tables that fit, and differences as patches."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from shadowd.cli import progress
from shadowd.cli.terminal import table_lines
from tests.unit.cli.screen import Screen, environment, on_screen
from tests.unit.cli.test_cli import Filters, Served, serving, worked
from tests.unit.cli.test_cli_hostile import Canned

LINE = [sys.executable, "-m", "shadowd.cli.shadowctl"]
CODES = re.compile("\x1b\\[[0-9;]*m")


def ls(server: Served) -> list[str]:
    return ["--socket", str(server.path), "filter", "ls"]


# --- tables -----------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.text(max_size=60), st.integers(0, 10**9), st.text(max_size=90)), max_size=5),
    st.integers(20, 200),
)
def test_a_table_fits_and_leaves_out_whole_columns(rows: list[tuple[str, int, str]], room: int) -> None:
    whole = table_lines(("NAME", "COUNT", "TITLE"), rows, None)
    lines = table_lines(("NAME", "COUNT", "TITLE"), rows, room, spare=("COUNT", "TITLE"))
    assert len(whole) == len(rows) + 1
    table = lines[: len(rows) + 1]
    assert all(cell_len(line) <= room for line in table)
    left_out = lines[len(rows) + 1 :]
    head = table[0].split()
    assert head[0] == "NAME"
    assert bool(left_out) == (head != ["NAME", "COUNT", "TITLE"])
    if all(cell_len(line) <= room for line in whole):
        assert lines == whole, "nothing is lost where there is room"


def test_the_least_important_go_first_and_words_are_whole(shop: Served) -> None:
    wide = on_screen(ls(shop), columns=120, settings={"NO_COLOR": "1"}).splitlines()
    assert wide[0].split() == ["NAME", "HOOK", "PORTS", "TARGETS", "STATE", "ORIGIN", "SEEN", "MIRRORED"]
    narrow = on_screen(ls(shop), columns=50, settings={"NO_COLOR": "1"}).splitlines()
    assert narrow[0].split() == ["NAME", "PORTS", "TARGETS", "STATE", "MIRRORED"]
    assert narrow[1].split() == ["shop", "8080", "http://next:8080", "active", "10"]
    assert narrow[2] == "no room for ORIGIN, HOOK, SEEN: widen the terminal, or see --json"
    assert on_screen(ls(shop), columns=120, settings={"COLUMNS": "50", "NO_COLOR": "1"}).splitlines() == narrow


def test_a_pipe_gets_all_columns_in_whole_lines(shop: Served) -> None:
    head, row = worked(shop("filter", "ls")).splitlines()  # SETTINGS says 80 columns
    assert len(head.split()) == len(row.split()) == 8


# --- colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "colours"),
    [
        ({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"CLICOLOR": "0"}, False),
        ({"TERM": "dumb"}, False), ({"CLICOLOR": "0", "CLICOLOR_FORCE": "1"}, True),
        ({"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False),
    ],
    ids=str,
)  # fmt: skip
def test_colours_on_a_terminal(shop: Served, settings: dict[str, str], colours: bool) -> None:
    assert bool(CODES.search(on_screen(ls(shop), settings=settings))) is colours


@pytest.mark.parametrize(("settings", "colours"), [({}, False), ({"CLICOLOR_FORCE": "1"}, True)], ids=str)
def test_colours_in_a_pipe(canned: tuple[Served, Canned], settings: dict[str, str], colours: bool) -> None:
    server, _ = canned
    for words in (["verdict", "shop"], ["diffs", "shop", "1f3a09bc"]):
        done = subprocess.run(
            [*LINE, "--socket", str(server.path), *words], capture_output=True, text=True, timeout=60,
            env=environment(**settings),
        )  # fmt: skip
        assert bool(CODES.search(done.stdout)) is colours, done.stdout


# --- differences ------------------------------------------------------------------------------------------------------


def test_a_difference_is_a_patch_where_two_columns_have_no_room(canned: tuple[Served, Canned]) -> None:
    server, _ = canned
    words = ["--socket", str(server.path), "diffs", "shop", "1f3a09bc"]
    assert " │ shadow" in on_screen(words, columns=120)
    for told in (on_screen(words, columns=80, settings={"NO_COLOR": "1"}), worked(server(*words[2:]))):
        assert "--- production\n+++ shadow\n" in told
        assert "│" not in told
        assert re.search(r"(?m)^- x", told)
        assert re.search(r'(?m)^\+ \{"a"', told)


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_in_words() -> None:
    assert progress.told("a.pcap", 40, 100, 8.0) == "a.pcap: 40%, 12 s left"
    assert progress.told("a.pcap", 1, 1000, 1.0) == "a.pcap: 0%, 17 min left"
    assert progress.told("pipe", 40, 0, 8.0) == "pipe: 8 s"
    assert progress.told("a.pcap", 0, 100, 3.0) == "a.pcap: 3 s"


class Slow(Filters):
    """Takes longer than somebody waits in the dark."""

    async def handle(self, op: str, args: dict[str, object]) -> object:
        import trio

        await trio.sleep(progress.SHOWN_AFTER + 1.5)
        return await super().handle(op, args)


def test_a_daemon_that_takes_its_time_is_told_on_a_terminals_stderr_alone() -> None:
    with serving(Slow()) as server:
        watched = Screen(["--socket", str(server.path), "status", "--json"], errors_only=True)
        assert watched.process.stdout is not None
        said = watched.process.stdout.read()
        code, text = watched.ended()
        assert json.loads(said)["pid"] == 42
        assert code == 0
        assert "waiting for the daemon: 2 s of 15 s at most" in text
        assert text.endswith("\r"), "and taken away"
        assert server("status").stderr == ""


def test_wait_tells_the_time_left_and_what_is_open(canned: tuple[Served, Canned]) -> None:
    server, _ = canned
    began = time.monotonic()
    code, text = Screen(["--socket", str(server.path), "verdict", "shop", "--gate", "--wait", "1500ms"], 120).ended()
    assert code == 3
    assert time.monotonic() - began >= 1.5
    assert re.search(r"\r[12] s left, undecided after 7 exchanges: GET /a", text)
