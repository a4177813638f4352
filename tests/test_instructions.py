"""What an exchange costs, held to the figures of docs/benchmarks.md: instructions, which no other load changes."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from pathlib import Path

import pytest

from bench.instructions import MODES, answer_of, count, request_of
from shadowd import compiled

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
SLACK = 1.1

measurable = pytest.mark.skipif(
    not (shutil.which("valgrind") and shutil.which("cc")), reason="valgrind or a C compiler is missing"
)
figures_of_this = pytest.mark.skipif(
    (platform.machine(), sys.version_info[:2]) != ("x86_64", (3, 11)),
    reason="the figures are of CPython 3.11 on x86_64",
)


def figures() -> dict[str, int]:
    """By mode, as the page has them, of what runs here: compiled or from the sources."""
    table = PAGE.read_text().split("## Instructions an exchange")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| ([0-9,]+) \| ([0-9,]+) \|$", table, re.M)
    column = 1 if compiled.STATE == "compiled" else 2
    return {row[0]: int(row[column].replace(",", "")) for row in rows}


def test_every_mode_has_a_figure() -> None:
    assert tuple(figures()) == MODES


@measurable
@figures_of_this
@pytest.mark.parametrize("mode", MODES)
def test_an_exchange_costs_no_more_than_its_figure_and_a_tenth(mode: str) -> None:
    found = count(mode, rounds=10)
    assert found <= figures()[mode] * SLACK
    assert found >= figures()[mode] / 2, "write the better figure to docs/benchmarks.md"


def test_modes_differ_in_what_they_say() -> None:
    assert len(request_of("browser")) > 4 * len(request_of("mirror"))
    assert request_of("post").endswith(request_of("post")[-10240:])
    assert b"chunked" in answer_of("chunked")
