"""What is shown of a filter while it runs."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from shadowd.cli.moment import Moment

ACCOUNT: dict[str, Any] = {
    "name": "shop", "seen": 1000, "filtered": {"method": 12, "path": 0}, "lost": {"gap": 3}, "balanced": True,
    "targets": [
        {"url": "http://next:8080", "role": "candidate", "mirrored": 900, "shed": {"max_rps": 5}, "failed": {},
         "in_flight": 2},
    ],
}  # fmt: skip
VIEW: dict[str, Any] = {
    "name": "shop",
    "targets": [
        {
            "url": "http://next:8080",
            "latency_ms": {"production": {"p50": 1.5, "p99": 250.0}, "shadow": {"p50": None, "p99": None}},
        }
    ],
}
VERDICT: dict[str, Any] = {
    "verdict": "fail", "score": 40, "compared": 880, "reasons": ["[bold]$.price[/] differs in 12 %"],
    "findings": [{"sentence": "[bold]$.price[/] differs in 12 %"}, {"sentence": "\x1b[31mred"}],
}  # fmt: skip


def shown(moment: Moment, width: int = 100) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(moment.table("34 s left"))
    return text.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_has_every_figure(width: int) -> None:
    before = Moment({**ACCOUNT, "seen": 900}, VIEW, {}, 10.0)
    text = shown(Moment(ACCOUNT, VIEW, VERDICT, 12.0, before), width)
    assert all(len(line) <= width for line in text.splitlines())
    joined = " ".join(text.replace("│", " ").split())
    for words in (
        "34 s left",
        "per second",
        "50",
        "900",
        "12 method",
        "3 gap",
        "5 max_rps",
        "1.50 ms",
        "250 ms",
        "FAIL",
    ):
        assert words in joined, words
    assert "path" not in joined
    assert "\x1b[31m" not in text
    assert "[bold]$.price" in joined  # no markup of traffic's


def test_a_line_says_the_same() -> None:
    line = Moment(ACCOUNT, VIEW, VERDICT, 12.0).line()
    assert "seen 1,000" in line
    assert "mirrored 900" in line
    assert "fail: 880 compared" in line


def test_answers_that_are_not_as_expected_are_shown_as_they_are() -> None:
    for account in ({}, {"targets": [{}]}, {"filtered": None, "targets": None, "seen": "x"}):
        moment = Moment(account, {}, {"verdict": "inconclusive"}, 1.0)
        assert "INCONCLUSIVE" in shown(moment)
        assert moment.line()
