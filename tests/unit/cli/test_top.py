"""``shadowctl top`` without a daemon's work: what it refuses, what strangers write, how often it asks, its cells."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot

from shadowd.cli.top.app import TopApp
from shadowd.cli.top.asking import AT_FIRST, EACH, FOLLOW, Answer, Question
from shadowd.cli.top.differencepage import DifferencePage
from shadowd.cli.top.filterpage import FilterPage
from shadowd.cli.top.overview import Overview
from shadowd.cli.top.picture import Cell, Picture, Plan, cell, columns, count, spark
from shadowd.cli.top.sides import LINES, side_by_side
from shadowd.control.client import Client
from tests.conftest import ROOT
from tests.unit.cli.test_cli import Filters, Served, command, refused, serving
from tests.unit.cli.test_cli_hostile import EVIL, Canned

# --- where it cannot draw ---------------------------------------------------------------------------------------------


def test_what_is_no_terminal_is_refused_in_a_line() -> None:
    assert "top draws on a terminal" in refused(command("shadowctl", "top", TERM="xterm"), 2)


@pytest.mark.parametrize(
    ("term", "block", "code", "said"),
    [("dumb", False, 2, "TERM=dumb"), ("xterm", True, 1, "needs the package textual — pip install 'textual>=1'")],
)
def test_a_terminal_that_cannot_and_a_missing_package_are_said(term: str, block: bool, code: int, said: str) -> None:
    """On a real terminal, whose lines are what was printed."""
    with serving() as served:
        program = "import sys; from shadowd.cli.shadowctl import main; main()"
        if block:
            program = "import sys; sys.modules['textual'] = None; " + program
        reader, writer = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-c", program, "top", "--socket", str(served.path)], stdin=writer, stdout=writer,
            stderr=writer, cwd=ROOT, env={**os.environ, "TERM": term}, timeout=60, check=False,
        )  # fmt: skip
        os.close(writer)
        shown = os.read(reader, 65536).decode()
        os.close(reader)
    assert done.returncode == code
    assert said in shown
    assert len(shown.splitlines()) == 1
    assert "Traceback" not in shown


# --- what strangers write ---------------------------------------------------------------------------------------------


class Hostile(Canned):
    """All that traffic can write into answers, and markup of the screen's own."""

    async def handle(self, op: str, args: dict[str, Any]) -> object:
        evil = f"{EVIL}[/]['@click=app.quit()']"
        target = {"url": "http://next", "role": "candidate", "mirrored": 3, "failed": {evil: 2}, "latency_ms": evil}
        entry = {
            "n": 1, "time": 1.0, "method": evil, "path": f"/{evil}", "endpoint": evil, "status": 200, "shadow": evil,
            "differs": True, "differences": [{"id": "1f3a09bc", "where": "body", "path": evil, "label": evil}],
        }  # fmt: skip
        match op:
            case "status":
                view = {"name": "shop", "state": evil, "words": [evil], "targets": [target], "spec": {}}
                return {"version": evil, "node": evil, "uptime_s": 1, "problems": [evil], "filters": [view]}
            case "ledger":
                return {"filters": [{"name": "shop", "seen": 3, "targets": [target]}]}
            case "exchanges.follow":
                return {"entries": [entry], "token": "t", "next": 2, "missed": 1, "targets": ["http://next"]}
            case "report":
                verdict = await super().handle("verdict", args)
                return {"verdict": verdict, "endpoints": [{"endpoint": evil, "exchanges": evil, "worse": 1}]}
        return await super().handle(op, args)


def test_nothing_that_strangers_write_controls_the_screen() -> None:
    async def main(client: Client) -> None:
        app = TopApp(client)
        async with app.run_test(size=(100, 30)) as pilot:
            for keys, wanted in (((), Overview), (("enter",), FilterPage), (("1",), FilterPage), (("3",), FilterPage),
                                 (("2", "enter"), DifferencePage)):  # fmt: skip
                await pilot.press(*keys)
                deadline = time.monotonic() + 20
                while "owned" not in (text := _text(app)) or not isinstance(app.screen, wanted):
                    assert time.monotonic() < deadline, text
                    await pilot.pause(0.05)
                harmful = [line for line in text.split("\n") if set(line) & set("\x1b\x07\x08\r\x9b\u202e")]
                assert not harmful
        app.stop_asking()

    with serving(Hostile()) as served:
        asyncio.run(main(Client(served.path, timeout=10)))


def test_a_daemon_that_is_away_is_said_and_waited_for() -> None:
    async def shown(pilot: Pilot[None], app: TopApp, word: str, there: bool = True) -> None:
        deadline = time.monotonic() + 30
        while (word in _text(app)) is not there:
            assert time.monotonic() < deadline, _text(app)
            await pilot.pause(0.05)

    async def main(first: Served) -> None:
        app = TopApp(Client(first.path, timeout=10))
        async with app.run_test(size=(80, 24)) as pilot:
            await shown(pilot, app, "shadowd 9.9")
            await asyncio.to_thread(first.stop)
            await shown(pilot, app, "the daemon is away, trying again: no daemon answers")
            second = await asyncio.to_thread(Served, first.path)
            await shown(pilot, app, "the daemon is away", there=False)
        app.stop_asking()
        await asyncio.to_thread(second.stop)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(Served(Path(directory) / "s")))


def _text(app: TopApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


# --- how often it asks ------------------------------------------------------------------------------------------------


def test_two_questions_a_second_at_most() -> None:
    async def main(client: Client) -> float:
        app = TopApp(client)
        began = time.monotonic()
        async with app.run_test(size=(80, 24)) as pilot:
            while len(asked.asked) < AT_FIRST + 3:
                await pilot.pause(0.05)
        app.stop_asking()
        return time.monotonic() - began

    asked = Filters()
    with serving(asked) as served:
        seconds = asyncio.run(main(Client(served.path, timeout=10)))
    assert len(asked.asked) <= AT_FIRST + seconds / EACH + 1


def test_what_is_in_front_is_asked_for() -> None:
    picture = Picture()
    target = {"url": "http://a", "role": "candidate"}
    views = [{"name": name, "targets": [target, {"url": "http://b", "role": "baseline"}]} for name in ("shop", "other")]
    picture.take(Answer(Question("status", {}), {"filters": views}))
    plan = Plan(picture)
    asked = [plan.next() for _ in range(8)]
    assert {one.op for one in asked} == {"status", "ledger", "report"}
    assert {one.args["name"] for one in asked if one.op == "report"} == {"shop", "other"}
    plan.focus = "shop", "http://a"
    asked = [plan.next() for _ in range(16)]
    assert [one.op for one in asked].count(FOLLOW) == 8
    assert {one.op for one in asked} == {FOLLOW, "status", "ledger", "report", "diffs"}
    assert all(one.args == {"name": "shop", "target": "http://a"} for one in asked if one.op in (FOLLOW, "report"))


def test_exchanges_are_those_of_the_page_in_front() -> None:
    picture = Picture()
    picture.follow(("shop", "http://a"))
    picture.take(Answer(Question(FOLLOW, {"name": "shop", "target": "http://a"}), [{"n": 1}], missed=3))
    picture.take(Answer(Question(FOLLOW, {"name": "other"}), [{"n": 2}]))
    assert [one["n"] for _, one in picture.exchanges] == [1]
    assert picture.missed == 3
    picture.take(Answer(Question(FOLLOW, {"name": "shop", "target": "http://a"}), [{"n": 1}]))
    assert len(dict(picture.chosen(None))) == 2, "a daemon that was started anew numbers from the beginning"
    picture.follow(("other", ""))
    assert not picture.exchanges


def test_rates_come_of_two_looks_and_a_new_daemon_is_no_negative_one() -> None:
    picture = Picture()
    for seen, now in ((100, 10.0), (150, 12.0), (5, 14.0)):
        account = {"name": "shop", "seen": seen, "targets": []}
        picture.take(Answer(Question("ledger", {}), {"filters": [account]}), now)
        if now == 12.0:
            assert picture.rates == {"shop": 25.0}
    assert picture.rates == {"shop": 0.0}


# --- cells ------------------------------------------------------------------------------------------------------------


def test_columns_go_away_and_one_takes_what_is_left() -> None:
    cells = [Cell("A", 0, 0), Cell("B", 10, 80), Cell("C", 6, 0, True)]
    for width in range(30, 201):
        shown = columns(cells, width)
        assert [one.title for one in shown] == (["A", "B", "C"] if width >= 80 else ["A", "C"])
        assert sum(one.width + 2 for one in shown) <= width
    assert cell("x" * 50, Cell("A", 10, 0)).plain == "x" * 9 + "…"
    assert cell("[red]\x1b", Cell("A", 20, 0)).plain == "[red]\\u{1b}"


def test_bars() -> None:
    assert spark([0, 1, 2, 4], 10) == "▁▂▄█"
    assert spark([1, None, 1], 2) == " █"
    assert spark([50], 5, 100.0) == "▄"
    assert spark([], 5) == ""
    assert spark([0, 0], 5) == "▁▁"


@given(st.floats(0, 1e15))
def test_counts_have_six_characters_at_most(value: float) -> None:
    assert len(count(value)) <= 6


def test_counts() -> None:
    told = {99_998: "99998", 123_456: "123k", 999_499: "999k", 999_999: "1.0M", 1_234_567: "1.2M", 5e9: "5.0G"}
    assert {value: count(value) for value in told} == told


def test_sides_fit_and_long_lines_go_on_below() -> None:
    ours = {"head": "HTTP/1.1 200 OK\r\nA: 1\r\n\r\n", "body": '{"a": 1, "long": "' + "x" * 100 + '"}'}
    theirs = {"head": "HTTP/1.1 200 OK\r\nA: 1\r\n\r\n", "body": '{"a": 2, "long": "' + "x" * 100 + '\\u001b"}'}
    for width in (60, 80, 121, 200):
        lines = side_by_side(ours, theirs, width).plain.splitlines()
        assert all(len(line) <= width for line in lines)
        half = (width - 3) // 2
        differing = [line for line in lines if line[half : half + 3] == " ≠ "]
        assert len(differing) == 2
        assert '"a": 1' in differing[0]
        assert '"a": 2' in differing[0]
    assert "no answer: connect" in side_by_side(ours, {"failure": "connect"}, 80).plain
    assert len(side_by_side({"body": "\n" * 5000}, {}, 80).plain.splitlines()) == LINES + 1
