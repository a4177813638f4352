"""How the daemon stands: the snapshots that ``status``, ``ledger`` and the metrics page show."""

from __future__ import annotations

import os
import time
from typing import Any

from shadowd import __version__, compiled
from shadowd.capture.programs import Programs
from shadowd.config.document import Config
from shadowd.evidence.examining import ExaminingStatistics
from shadowd.ledger.ledger import totals
from shadowd.runs.runs import Runs
from shadowd.service.crew import Crew
from shadowd.service.guard import Guard
from shadowd.service.roster import Roster
from shadowd.worker.comparer_worker import MEMORY as COMPARER_MEMORY
from shadowd.worker.memory import Memory

CATCH_UP = 2.0  # seconds: whoever asks waits; what is not read by then is counted as ``waiting``
#: Replayed requests that came back: fewer may be a shadow that asks production for something now and then.
LOOPED = 20


class Standing:
    """Reads what the others keep. ``problems`` is the daemon's own list, by what it is about."""

    def __init__(
        self,
        config: Config,
        programs: Programs,
        crew: Crew,
        roster: Roster,
        runs: Runs,
        guard: Guard,
        memory: Memory,
        problems: dict[str, str],
    ) -> None:
        self.config = config
        self.programs = programs
        self.crew = crew
        self.roster = roster
        self.runs = runs
        self.guard = guard
        self.memory = memory
        self.problems = problems
        self.started = time.monotonic()
        self.starting = True  # the doors are open before the filters are in force
        self._rates: dict[str, tuple[float, int]] = {}

    def status(self) -> dict[str, Any]:
        """What ``shadowctl status`` shows."""
        self.roster.count()
        seen, mirrored = totals(entry.filter.account for entry in self.roster.entries.values())
        rates = {"seen_per_s": self._rate("seen", seen), "mirrored_per_s": self._rate("mirrored", mirrored)}
        return {
            "version": __version__,
            "code": compiled.STATE,
            "loader": self.programs.loader,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self.started, 1),
            "node": self.config.node,
            "netns": self.programs.netns,
            "hooks": self.roster.hooks(),
            "flows": self.crew.statistics().flows,
            "rate": rates,
            "pump": self.crew.pump_view(),
            "filters": [self.roster.view(entry) for entry in self.roster.entries.values()],
            "examining": _examining(self.crew.examining.statistics()),
            "workers": self.crew.views(),
            "guard": self.guard.statistics(),
            "memory": {**self.memory.statistics(), "comparer_max": COMPARER_MEMORY},
            "store": self.runs.writer.statistics()._asdict(),
            "problems": self.problem_lines(),
        }

    def unready(self) -> str:
        """Why a filter of the configuration does not capture yet, "" if all do (READY=1)."""
        if self.starting:
            return "the daemon is starting"
        return "; ".join(self.roster.unattached())

    def sentence(self) -> str:
        """How it stands in one line, for the service manager."""
        entries = self.roster.entries.values()
        seen, mirrored = totals(entry.filter.account for entry in entries)
        rates = f"{self._rate('told seen', seen):,.0f}/s seen, {self._rate('told mirrored', mirrored):,.0f}/s mirrored"
        count = len(entries)
        hooks = ", ".join(self.roster.hooks())
        words = f"{count} filter{'s' * (count != 1)} on {hooks}; {rates}" if hooks else "idle: no filter is active"
        problems = self.problem_lines()
        return f"{words}; {len(problems)} problem{'s' * (len(problems) != 1)}: {problems[0]}" if problems else words

    def problem_lines(self) -> list[str]:
        """What an operator should know and do, a line each."""
        others = (self.guard.problem, self.runs.writer.problem, self.runs.problem, self.roster.pods.problem)
        own = (
            *self.problems.values(),
            *self.crew.problems,
            *self.runs.keeper.problems.values(),
            *self.roster.problems.values(),
            *self.roster.schemas.problems.values(),
            *self._target_problems(),
            *self._comparison_problems(),
        )
        return [*own, *filter(None, others)]

    def _target_problems(self) -> list[str]:
        told: dict[str, None] = {}  # two filters may have the same target
        every = [(name, target) for name, entry in self.roster.entries.items() for target in entry.filter.targets]
        for name, target in every:
            if target.resolve_error:
                told[f"{target.resolve_error} — check the name and this host's resolver"] = None
            if target.itself:
                told[target.itself] = None
            if target.tls_error:
                how = (
                    f"shadowctl filter set {name} --ca FILE (or --server-name HOST, --insecure) says how it is verified"
                )
                told[f"{target.tls_error} — {how}; does it speak TLS?"] = None
        for name, entry in self.roster.entries.items():
            account = entry.filter.account
            came_back, sent = account.filtered["loop"], sum(target.mirrored for target in account.targets)
            if came_back >= LOOPED and 2 * came_back >= sent and not entry.spec.allow_self:
                told[
                    f"{came_back:,} replayed requests of {name} came back to production: a target leads there, by NAT, "
                    "a container's own address or a proxy, and production serves them twice — give the shadow an "
                    "address of its own"
                ] = None
        return list(told)

    def _comparison_problems(self) -> list[str]:
        failed = self.crew.examining.failed
        if not failed:
            return []
        worst = max(failed, key=lambda place: failed[place])
        return [
            f"comparing failed {sum(failed.values()):,} times, most often in {worst}: those exchanges are mirrored "
            "and not judged — please report it (shadowctl status --json lists the places)"
        ]

    def _rate(self, name: str, count: int) -> float:
        now = time.monotonic()
        before, counted = self._rates.get(name, (self.started, 0))
        self._rates[name] = (now, count)
        return round(max(0, count - counted) / max(now - before, 1e-3), 1)

    async def ledger(self, name: object) -> dict[str, Any]:
        """The account. What passed before the question is read first, if that takes no longer than ``CATCH_UP``; the
        rest is counted where it waits, so that the byte identity can be checked."""
        entries = [self.roster.find(str(name))] if name is not None else list(self.roster.entries.values())
        before = self.programs.counters()
        await self.crew.catch_up(CATCH_UP)
        self.roster.count()
        table, waiting = self.crew.statistics(), self.crew.waiting()
        after = self.programs.counters()
        discarded = dict(sorted(table.discarded.items()))
        accounted = table.delivered + table.duplicate + table.buffered + sum(discarded.values()) + waiting
        lost = {
            reason: after[f"{reason}_bytes"]
            for reason in ("ring_full", "load_failed", "oversize")
            if after[f"{reason}_bytes"]
        }
        least, most = (counted["bytes"] - _lost_bytes(counted) for counted in (before, after))
        kernel: dict[str, Any] = dict(after)
        kernel["pressure"] = self.crew.switch.held(after["dead"])
        kernel["dead"] = after["dead"] - kernel["pressure"]
        kernel |= {
            "delivered": table.delivered,
            "duplicate": table.duplicate,
            "buffered": table.buffered,
            "waiting": waiting,
            "discarded": discarded,
            "lost": lost,
            "gap_bytes": table.gap_bytes,
            "balanced": least <= accounted <= most,
        }
        return {"filters": [entry.filter.account.view() for entry in entries], "kernel": kernel}


def _examining(found: ExaminingStatistics) -> dict[str, Any]:
    return {
        "waiting": found.waiting,
        "heavy_waiting": found.heavy,
        "compared_elsewhere": found.elsewhere,
        "compared_by_digest": found.by_digest,
        "comparison_failed": dict(found.failed),
    }


def _lost_bytes(counters: dict[str, int]) -> int:
    return counters["ring_full_bytes"] + counters["load_failed_bytes"] + counters["oversize_bytes"]
