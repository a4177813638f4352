"""What live pages show, from the daemon's parts; nothing here is worked out for one reader alone (``watching.py``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import trio

from shadowd.control.server import Handler
from shadowd.errors import ShadowdError
from shadowd.runs.run import Run
from shadowd.service.standing import Standing
from shadowd.service.verdicts import Verdicts
from shadowd.worker.entry import Entry

RATE_OVER = 5  # seconds
FILTERS = 200  # on the first page
SPARK = 60  # points of a sparkline: ten minutes
EXAMPLES = 8  # differences that are shown with one, the most harmful
REMEMBERED = 200  # examples: of ten pages, 10 MB at most
LOOK_AGAIN = 5.0  # seconds after which an example is looked for anew, where its difference was counted again
HARMFUL = ("regression", "undecided", "drift")

Row = dict[str, Any]


class Gathered(Protocol):
    """Where live pages get what they show, and who does what their buttons ask for. All may raise ShadowdError."""

    async def run(self) -> None:
        """A task as long as the door is open."""
        ...

    def names(self) -> list[str]:
        """The filters there are."""
        ...

    async def overview(self) -> Row:
        """All filters, without content: ``filters``, ``problems``."""
        ...

    async def filter(self, name: str) -> Row:
        """One, with its report, its most harmful differences' examples, and the operator's rules."""
        ...

    async def difference(self, name: str, group: str) -> Row:
        """One difference or error with its examples."""
        ...

    async def act(self, op: str, args: Row) -> None:
        """An operation of the control socket."""
        ...


class Gathering:
    """The same of a daemon; ``handle`` is what answers on its control socket."""

    def __init__(self, verdicts: Verdicts, standing: Standing, handle: Handler) -> None:
        self._verdicts = verdicts
        self._standing = standing
        self._handle = handle
        self._seen: deque[tuple[float, dict[str, int]]] = deque(maxlen=RATE_OVER + 1)
        self._examples: dict[tuple[str, str], tuple[float, int, Row]] = {}  # of a run's groups: when, at which count
        self._rules: dict[str, tuple[float, Row]] = {}

    async def run(self) -> None:
        """Count once a second, so that whoever comes is told a rate at once."""
        while True:
            seen = {name: entry.filter.account.seen for name, entry in self._standing.roster.entries.items()}
            self._seen.append((trio.current_time(), seen))
            await trio.sleep(1)

    def names(self) -> list[str]:
        return self._verdicts.names()

    async def act(self, op: str, args: Row) -> None:
        await self._handle(op, args)
        self._rules.clear()

    # --- all filters --------------------------------------------------------------------------------------------------

    async def overview(self) -> Row:
        filters = []
        for name, entry in list(self._standing.roster.entries.items())[:FILTERS]:
            try:
                verdict = await self._verdicts.verdict(name)
            except ShadowdError as error:
                verdict = {"verdict": None, "reasons": [str(error)]}
            filters.append(self._row(name, entry, verdict))
            await trio.lowlevel.checkpoint()
        left = len(self._standing.roster.entries) - len(filters)
        config = self._standing.config
        return {"node": config.node, "filters": filters, "more": left, "problems": self._standing.problem_lines()}

    def _row(self, name: str, entry: Entry, verdict: Mapping[str, Any]) -> Row:
        view = self._standing.roster.view(entry)
        runs = self._standing.runs.of(name)
        run = next((run for run in runs if run.target.url == verdict.get("target")), None)
        return {
            "name": name, "state": view["state"], "words": view["words"], "latency_ms": view["latency_ms"],
            "targets": [target["url"] for target in view["targets"]], "verdict": dict(verdict),
            "label": run.label if run is not None else "", "ledger": entry.filter.account.view(),
            "rate": self._rate(name), "points": self._points(run),
        }  # fmt: skip

    def _points(self, run: Run | None) -> list[Row]:
        return self._verdicts.points(run, SPARK) if run is not None else []

    def _rate(self, name: str) -> float | None:
        known = [(when, seen[name]) for when, seen in self._seen if name in seen]
        if len(known) < 2:
            return None
        (first, before), (last, now) = known[0], known[-1]
        return max(0, now - before) / (last - first)

    # --- one filter ---------------------------------------------------------------------------------------------------

    async def filter(self, name: str) -> Row:
        entry = self._standing.roster.find(name)
        report: Row = {}
        problem = ""
        try:
            report = await self._verdicts.report(name, newest=self._newest)
        except ShadowdError as error:
            problem = str(error)  # it compares nothing: what was mirrored is shown all the same
        found = self._row(name, entry, report.get("verdict") or {"verdict": None, "reasons": [problem]})
        run = next((run for run in self._standing.runs.of(name) if run.target.url == report.get("target")), None)
        found |= {"report": report or {"filter": name, "ledger": found["ledger"]}, "rules": await self._ruled(name)}
        found["candidates"] = len(self._standing.runs.of(name))
        found["examples"] = await self._shown(run, report) if run is not None else {}
        return found

    async def _shown(self, run: Run, report: Row) -> dict[str, Row]:
        """The newest example of each of the most harmful differences, by its id."""
        wanted = [one for one in report["differences"] if one["label"] in HARMFUL]
        wanted.sort(key=lambda one: one["where"] != "status")
        examples = [(one["id"], await self._newest(run, one["id"], one["count"])) for one in wanted[:EXAMPLES]]
        return {group: example for group, example in examples if example}

    async def _newest(self, run: Run, group: str, count: int) -> Row:
        """An example, looked for anew now and then where its group was counted again."""
        key, now = (f"{run.began} {run.target.url}", group), trio.current_time()
        known = self._examples.get(key)
        if known is None or (known[1] != count and now - known[0] >= LOOK_AGAIN):
            known = now, count, await self._verdicts.newest(run, group, count)
            if len(self._examples) >= REMEMBERED:
                self._examples.clear()
            self._examples[key] = known
        return known[2]

    async def _ruled(self, name: str) -> Row:
        """The operator's rules; asked of the store again after an act, and now and then: shadowctl has them too."""
        known, now = self._rules.get(name), trio.current_time()
        if known is None or now - known[0] >= LOOK_AGAIN:
            try:
                rules = {kind: (await self._verdicts.given(name, kind)) for kind in ("noise", "expect")}
            except ShadowdError:  # the store has failed, and the problems say so
                rules = {"noise": [], "expect": []}
            known = self._rules[name] = now, rules
        return known[1]

    async def difference(self, name: str, group: str) -> Row:
        return await self._verdicts.difference(name, group)
