"""What each worker is to do: the filters in force as settings, and their limits dealt out (no I/O here).

The roster changes filters and targets as it always does; here they have numbers, by which the workers know them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from shadowd.config.document import FilterSpec
from shadowd.evidence.examiner import Examiner
from shadowd.replay.target import Target
from shadowd.service.shares import Share
from shadowd.worker.filters import Filter
from shadowd.worker.page import FILTERS, TARGETS

#: Filters and targets that are gone and still known by their numbers: a worker tells of them once more.
REMEMBERED = 512


class Usage(NamedTuple):
    """What a worker does at a target now: requests a second that went there, and that were shed for max_rps; and until
    when its circuit is open."""

    rate: float = 0.0
    shed_rate: float = 0.0
    breaker: int = 0


NOTHING = Usage()


class Telling:
    """See the module's head."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.spared = 0  # of 65,536 parts of the connections
        self.filters: dict[int, Filter] = {}
        self.targets_by_number: dict[int, Target] = {}
        self.runs: dict[int, Examiner] = {}
        self._numbers: dict[object, int] = {}
        self._next = itertools.count(1)
        self._specs: dict[Filter, dict[str, Any]] = {}
        self._bits: dict[int, Filter] = {}
        self._left: dict[Filter, tuple[int, str]] = {}
        self._slots: dict[Filter, int] = {}
        self._used: dict[Target, int] = {}  # targets in use, and their places on the pages
        self._shares: dict[Target, Share] = {}
        self._breakers: dict[Target, int] = {}

    @property
    def targets(self) -> list[Target]:
        """Those in use."""
        return list(self._used)

    def number(self, one: Filter | Target | Examiner) -> int:
        """By which workers know it."""
        found = self._numbers.get(one)
        if found is None:
            found = self._numbers[one] = next(self._next)
            table: dict[int, Any] = (
                self.filters if isinstance(one, Filter)
                else self.targets_by_number if isinstance(one, Target) else self.runs
            )  # fmt: skip
            table[found] = one
            if len(table) > REMEMBERED:
                self._forget(table)
        return found

    def _forget(self, table: dict[int, Any]) -> None:
        used: set[Any] = {*self._specs, *self._bits.values(), *self._used}
        used |= {examiner for chosen in self._bits.values() for examiner in chosen.examiners.values()}
        for number in list(table)[: REMEMBERED // 2]:
            if table[number] not in used:
                del self._numbers[table.pop(number)]

    # --- what the roster says -----------------------------------------------------------------------------------------

    def run_by(self, chosen: Filter, spec: FilterSpec) -> None:
        """A filter's specification."""
        self._specs[chosen] = spec.to_wire()

    def show(self, bits: dict[int, Filter]) -> None:
        """Which filter a bit means."""
        self._bits = dict(bits)

    def leave(self, chosen: Filter, reason: str) -> None:
        """Its requests under way are to be shed."""
        self._left[chosen] = (self._left.get(chosen, (0, ""))[0] + 1, reason)

    def adopt(self, target: Target) -> None:
        """A target is in use."""
        taken = set(self._used.values())
        self._used[target] = next((slot for slot in range(TARGETS) if slot not in taken), -1)
        self.number(target)

    def drop(self, target: Target) -> None:
        """It is no longer."""
        self._used.pop(target, None)
        self._shares.pop(target, None)
        self._breakers.pop(target, None)

    # --- limits -------------------------------------------------------------------------------------------------------

    def deal(self, usage: Sequence[dict[int, Usage]], confirmed: Sequence[bool]) -> None:
        """Deal rates out by what each worker uses, by targets' numbers; ``confirmed``: it knows the last deal."""
        for target in self._used:
            number = self._numbers[target]
            used = [one.get(number, NOTHING) for one in usage]
            self._breakers[target] = max(one.breaker for one in used)
            share = self._shares.get(target)
            if share is not None:
                share.deal([one.rate for one in used], [one.shed_rate for one in used], confirmed)

    def _rates(self, target: Target) -> list[float | None]:
        """``max_rps`` of each worker."""
        limit = target.limits.max_rps
        if limit is None:
            self._shares.pop(target, None)
            return [None] * self.workers
        share = self._shares.get(target)
        if share is None or share.limit != limit:
            share = self._shares[target] = Share(limit, self.workers)
        return list(share.shares)

    # --- settings -----------------------------------------------------------------------------------------------------

    def settings(self) -> list[dict[str, Any]]:
        """For each worker, but for the sequence. Equal if nothing is wanted otherwise."""
        bits: dict[Filter, list[int]] = {}
        for bit, chosen in self._bits.items():
            bits.setdefault(chosen, []).append(bit)
        used = self._used
        kept = [chosen for chosen in self._specs if chosen in bits or any(one in used for one in chosen.targets)]
        for gone in [chosen for chosen in self._specs if chosen not in kept]:
            del self._specs[gone]
            self._left.pop(gone, None)
            self._slots.pop(gone, None)
        filters: list[list[dict[str, Any]]] = [[] for _ in range(self.workers)]
        for chosen in kept:
            left, reason = self._left.get(chosen, (0, ""))
            told = {
                "number": self.number(chosen), "slot": self._slot(chosen), "spec": self._specs[chosen],
                "bits": bits.get(chosen, []), "left": left, "reason": reason, "reads": sorted(chosen.policy.declared),
            }  # fmt: skip
            targets = [self._target(chosen, target) for target in chosen.targets if target in self._used]
            for worker in range(self.workers):
                filters[worker].append({**told, "targets": [one[worker] for one in targets]})
        return [{"spared": self.spared, "filters": mine} for mine in filters]

    def _slot(self, chosen: Filter) -> int:
        """Its place on the pages, -1 where all are taken."""
        if chosen not in self._slots:
            taken = set(self._slots.values())
            self._slots[chosen] = next((slot for slot in range(FILTERS) if slot not in taken), -1)
        return self._slots[chosen]

    def slot(self, chosen: Filter) -> int:
        """The same of one that may not have any."""
        return self._slots.get(chosen, -1)

    def _target(self, chosen: Filter, target: Target) -> list[dict[str, Any]]:
        examiner = chosen.examiners.get(target)
        run = None
        if examiner is not None:
            settings = examiner.settings
            run = {"number": self.number(examiner), "twin": settings.twin, "routes": list(settings.routes),
                   "needy": sorted(examiner.needy)}  # fmt: skip
        told = {
            "number": self.number(target), "url": target.url, "role": target.role,
            "addresses": [[family, list(address)] for family, address in target.addresses], "itself": target.itself,
            "resolve_error": target.resolve_error, "breaker": self._breakers.get(target, 0), "run": run,
            "slot": self._used[target],
            "limits": [target.limits.max_in_flight, target.limits.max_connections, target.limits.max_buffered],
        }  # fmt: skip
        return [{**told, "max_rps": mine} for mine in self._rates(target)]
