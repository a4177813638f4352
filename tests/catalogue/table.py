"""The whole catalogue, ``make verify-verdict``: how often identical releases fail, how often faults are found.

    python -m tests.catalogue.table [--runs 100] [--worlds blip_2s,cron_5min] [--modes baseline] [--rate 300]
                                    [--seconds 600] [--seed 1] [--jobs N] [--minutes M] [--rows FILE] [--write]

Prints one line a run, and a table in Markdown at the end; ``--write`` puts that into docs/verdict-catalogue.md. Each
world gets its first run before any gets its second; ``--rows`` keeps what was measured, and goes on from there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.stats import beta

from .drive import drive
from .rivals import diffy, kayenta
from .worlds import WORLDS

PAGE = Path(__file__).parents[2] / "docs" / "verdict-catalogue.md"
BEGIN, END = "<!-- catalogue: begin -->", "<!-- catalogue: end -->"
HEAD = """# The catalogue of the verdict

Seeded worlds through the real judges with default options (`tests/catalogue/`): the first table has identical
releases, the second has faults. `make verify-verdict VERIFY_ARGS='--write'` measures and writes them. *Failed* is at
any of the looks, every ten seconds; bounds are Clopper–Pearson's, 95 %. Kayenta and Diffy are their rules on the same
data at the end (`tests/catalogue/rivals.py`; Diffy's where the candidate of a fault was found, for there the run ends).
*Wanted* is the share that must pass in ten minutes; – where nobody can know by then (each world says why in
`tests/catalogue/worlds.py`): there the reason is to be a sentence that can be acted on.
"""


class Task(NamedTuple):
    name: str
    mode: str
    seed: int
    rate: float
    seconds: float


class Row(NamedTuple):
    task: Task
    failed: int | None
    failed_at: float
    false_alarm: bool
    found: bool
    passed: bool  # at the end
    said: str  # first reason if neither, or what it failed for
    kayenta: bool
    diffy: bool | None
    cpu: float


def measure(task: Task) -> Row:
    world = WORLDS[task.name](task.seed, task.mode, task.rate, task.seconds)
    outcome = drive(world, stop=bool(world.fault))
    said = outcome.failed_for if outcome.failed is not None else outcome.reasons if outcome.last != "pass" else []
    return Row(
        task, outcome.failed, outcome.failed_at, outcome.false_alarm, outcome.found_within,
        outcome.last == "pass" and outcome.failed is None, said[0] if said else "", bool(kayenta(world)),
        diffy(outcome.fields) if task.mode == "baseline" else None, outcome.cpu,
    )  # fmt: skip


def read(page: Path) -> dict[Task, Row]:
    """What was measured before."""
    if not page.exists():
        return {}
    lines = [json.loads(line) for line in page.read_text().splitlines()]
    rows = [Row(Task(*task), *rest) for task, *rest in lines]
    return {row.task: row for row in rows}


def bounds(many: int, runs: int, alpha: float = 0.05) -> tuple[float, float]:
    """Clopper–Pearson."""
    low = 0.0 if not many else float(beta.ppf(alpha / 2, many, runs - many + 1))
    high = 1.0 if many == runs else float(beta.ppf(1 - alpha / 2, many + 1, runs - many))
    return low, high


def share(many: int, runs: int) -> str:
    low, high = bounds(many, runs)
    return f"{many} ({100 * low:.0f}…{100 * high:.0f} %)"


def told(rows: Sequence[Row]) -> str:
    """What is said most often where a run did not pass."""
    said = Counter(row.said.replace("|", "/") for row in rows if not row.passed and row.said)
    if not said:
        return ""
    text = said.most_common(1)[0][0]
    return text if len(text) <= 120 else f"{text[:117]}..."


def tables(rows: Sequence[Row]) -> str:
    """Markdown."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.task.name, row.task.mode), []).append(row)
    weather = [
        "| world | mode | runs | ever failed | passed | wanted | what is said if not | Kayenta | Diffy |",
        "|---|---|--:|--:|--:|--:|---|--:|--:|",
    ]
    faults = [
        "| fault | mode | runs | to be found within | found | at (median) | Kayenta | Diffy |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for (name, mode), here in grouped.items():
        world, runs = WORLDS[name], len(here)
        rivals = f"{sum(one.kayenta for one in here)} | " + (
            "–" if mode == "twin" else str(sum(bool(one.diffy) for one in here))
        )
        if not world.fault:
            failed, passed = sum(one.failed is not None for one in here), sum(one.passed for one in here)
            wanted = f"{100 * world.wanted(mode):.0f} %" if world.wanted(mode) else "–"
            cells = (name, mode, str(runs), share(failed, runs), share(passed, runs), wanted, told(here), rivals)
            weather.append(f"| {' | '.join(cells)} |")
            continue
        found = sum(one.found for one in here)
        at = sorted(one.failed - world.since for one in here if one.failed is not None and not one.false_alarm)
        median = f"{at[len(at) // 2]:,}" if at else "–"
        of = " of its endpoint" if world.endpoint >= 0 else ""
        cells = (f"{name}: {world.fault}", mode, str(runs), f"{world.within:,}{of}", share(found, runs), median, rivals)
        faults.append(f"| {' | '.join(cells)} |")
    return "\n".join(weather) + "\n\n" + "\n".join(faults)


def write(text: str, page: Path = PAGE) -> None:
    """Between the markers of the page, which is made if it is not there."""
    old = page.read_text() if page.exists() else f"{HEAD}\n{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make verify-verdict", description="How the verdict does in the catalogue's worlds."
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--worlds", default="", help=f"comma-separated, of: {', '.join(WORLDS)}".replace("%", "%%"))
    parser.add_argument("--modes", default="twin,baseline")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=600.0, help="of a run")
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no run after that (0: no limit)")
    parser.add_argument("--rows", type=Path, help="a file that keeps what was measured, to go on from (JSON lines)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args(arguments)
    names = [name for name in options.worlds.split(",") if name] or list(WORLDS)
    unknown = [name for name in names if name not in WORLDS]
    if unknown:
        parser.error(f"no world is called {', '.join(unknown)}; there are {', '.join(WORLDS)}")
    if min(options.runs, options.jobs) < 1 or options.rate <= 0 or options.seconds < 60:
        parser.error("--runs and --jobs are at least 1, --rate above 0, --seconds at least 60")
    modes = options.modes.split(",")
    tasks = [
        Task(name, mode, options.seed + run, options.rate, options.seconds)
        for run in range(options.runs)
        for name in names
        for mode in WORLDS[name].modes
        if mode in modes
    ]
    if not tasks:
        parser.error("nothing to run: --modes is twin, baseline or both")
    known = read(options.rows) if options.rows is not None else {}
    rows = [known[task] for task in tasks if task in known]
    tasks = [task for task in tasks if task not in known]
    wanted = len(rows) + len(tasks)
    ends = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    with multiprocessing.Pool(options.jobs, initializer=os.nice, initargs=(19,)) as pool:
        for row in pool.imap(measure, tasks):
            rows.append(row)
            if options.rows is not None:
                with options.rows.open("a") as kept:
                    kept.write(json.dumps(row) + "\n")
            state = (
                f"failed at {row.failed:,} ({row.failed_at:.0f} s)"
                if row.failed is not None
                else "passed"
                if row.passed
                else "neither"
            )
            task = row.task
            print(
                f"{len(rows)}/{wanted} {task.name} {task.mode} seed {task.seed}: {state} {row.said[:160]}",
                flush=True,
            )
            if time.monotonic() >= ends:
                pool.terminate()
                break
    text = tables(rows)
    print(f"\n{text}")
    if options.write:
        where = f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        write(
            f"{options.rate:.0f} requests/s for {options.seconds:.0f} s; {today}, {where}. {len(rows)} runs here, "
            f"seeds from {options.seed} on; `make verify-verdict VERIFY_ARGS='--runs 100 --write'` makes the long "
            f"version.\n\n{text}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
