"""What the supervisor wants of a worker, and the worker made so: filters, targets and their limits.

Settings are told whole each time, and what differs is done: whoever begins late, or anew, needs nothing else. Of each
filter: its specification, the kernel's bits that mean it, how often it was left (removed or paused: requests under way
are shed each time), and its targets with where they are, what they may use here, and the run that compares them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from shadowd.config.document import FilterSpec
from shadowd.errors import ShadowdError
from shadowd.evidence.endpoints import Endpoints
from shadowd.evidence.examiner import asks_twice
from shadowd.exchange.exchange import Request
from shadowd.replay.target import Target
from shadowd.worker.accounts import Counts, filter_counts, target_counts, told
from shadowd.worker.building import limits_of, make_filter, make_policy, make_target, run_by, tls_contexts
from shadowd.worker.filters import Filter
from shadowd.worker.page import BUSY, USES, Page
from shadowd.worker.pump import Pump

#: A worker that saw no traffic for so long (ns) leaves the limits to the others.
RECENTLY = 100_000_000


def _may(own: int, left: int, active: int) -> int:
    """What a worker may have until the end of its next turn, of what the others leave: of what is free its part among
    those that are at work, one at least, for all of them may begin to use it in one moment."""
    free = left - own
    return own + max(1, free // active) if free > 0 else own


class Reporter:
    """Stands for a run's examiner, which is the supervisor's. ``twin``: share of safe requests sent twice; ``needy``:
    names of endpoints where more are. ``declared``: paths of calls that declare that they change nothing."""

    __slots__ = ("_names", "by_digest", "declared", "faults", "needy", "number", "twin")

    def __init__(self, number: int, twin: float, routes: Sequence[str]) -> None:
        self.number = number
        self.twin = twin
        self.needy: frozenset[str] = frozenset()
        self.declared: frozenset[bytes] = frozenset()
        self.faults = self.by_digest = 0
        self._names = Endpoints(routes)

    def wants_twin(self, request: Request, draw: float) -> bool:
        """As ``Examiner.wants_twin``: names learned here are the supervisor's, but for a few ids."""
        return asks_twice(request, draw, self.twin, self.needy, self._names, self.declared)


class _Known:
    """A filter of this worker."""

    __slots__ = ("filter", "left", "slot", "targets", "wire")

    def __init__(self, running: Filter, slot: int) -> None:
        self.filter = running
        self.slot = slot
        self.left = 0
        self.wire: dict[str, Any] = {}
        self.targets: dict[int, Target] = {}


class InForce:
    """See the module's head. ``secret`` and ``node`` mark what is replayed."""

    def __init__(self, pump: Pump, node: str, secret: bytes | None, page: Page, others: Sequence[Page] = ()) -> None:
        self._pump = pump
        self._node = node
        self._secret = secret
        self._page = page
        self._others = others
        self._limited: dict[Target, tuple[int, tuple[int, int, int]]] = {}  # its place on the pages, and its limits
        self.sequence = 0  # of the settings in force
        self._known: dict[int, _Known] = {}
        self.problems: dict[str, str] = {}
        self._gone: list[dict[str, Any]] = []  # last counts of what went since the last snapshot

    def take(self, settings: dict[str, Any]) -> None:
        """Do what differs. The settings are the supervisor's own words."""
        pump = self._pump
        pump.engine.spared = settings["spared"]
        wanted = {one["number"]: one for one in settings["filters"]}
        bits: dict[int, Filter] = {}
        for number, one in wanted.items():
            known = self._known.get(number) or self._begin(one)
            self._follow(known, one)
            bits.update(dict.fromkeys(one["bits"], known.filter))
        for number in [number for number in self._known if number not in wanted]:
            self._end(number)
        pump.set_bits(bits)
        self.sequence = settings["sequence"]

    def _begin(self, one: dict[str, Any]) -> _Known:
        spec = FilterSpec.from_wire(one["spec"])
        known = _Known(make_filter(spec, make_policy(spec, self._node, self._secret)), one["slot"])
        known.left = one["left"]
        known.wire = one["spec"]
        if known.slot >= 0:
            self._page.seen[known.slot] = 0  # of whoever had the slot before
        self._known[one["number"]] = known
        return known

    def _follow(self, known: _Known, one: dict[str, Any]) -> None:
        running = known.filter
        spec = None
        if known.wire != one["spec"]:
            known.wire = one["spec"]
            spec = FilterSpec.from_wire(known.wire)
            unedited = running.policy.unedited
            run_by(running, spec, make_policy(spec, self._node, self._secret))
            running.policy.unedited = unedited
        running.policy.declared = frozenset(one["reads"])
        listed = {target["number"]: target for target in one["targets"]}
        for number in [number for number in known.targets if number not in listed]:
            self._end_target(known, number)
        if spec is not None or listed.keys() != known.targets.keys():
            self._make_targets(known, listed, spec or FilterSpec.from_wire(known.wire))
        running.targets = [known.targets[number] for number in listed]
        examiners: dict[Target, Any] = {}
        for number, told_of in listed.items():
            target = known.targets[number]
            self._place(target, told_of)
            run = told_of["run"]
            if run is not None:
                reporter: Any = running.examiners.get(target)
                if reporter is None or reporter.number != run["number"]:
                    reporter = Reporter(run["number"], run["twin"], run["routes"])
                reporter.needy = frozenset(run["needy"])
                reporter.declared = running.policy.declared
                examiners[target] = reporter
        running.examiners = examiners
        if one["left"] != known.left:
            known.left = one["left"]
            self._pump.leave(running, one["reason"])

    def _make_targets(self, known: _Known, listed: dict[int, dict[str, Any]], spec: FilterSpec) -> None:
        for number, told_of in listed.items():
            wanted = next(t for t in spec.targets if (t.url, t.role) == (told_of["url"], told_of["role"]))
            target = known.targets.get(number)
            if target is None:
                target = known.targets[number] = make_target(known.filter, wanted, limits_of(spec))
                self._pump.engine.targets.append(target)
            target.limits = limits_of(spec)
            target.call(wanted.server_name or "", wanted.host)
            target.speak(wanted.to_protocol)
            target.role = wanted.role
            place = f"certificates of {target.url}"
            self.problems.pop(place, None)
            try:
                target.tls, target.tls_streams = tls_contexts(wanted)
            except ShadowdError as error:  # a file went away since the filter was added: what was loaded stays in use
                if target.tls is None:
                    self.problems[place] = str(error)

    def _place(self, target: Target, told_of: dict[str, Any]) -> None:
        """Where it is, and what it may use here."""
        target.addresses = [(family, tuple(address)) for family, address in told_of["addresses"]]
        target.resolve_error = told_of["resolve_error"]
        if told_of["itself"] and not target.itself:
            target.itself = told_of["itself"]  # first, so that nothing new is taken
            self._pump.engine.cut(target, time.monotonic_ns())
        else:
            target.itself = told_of["itself"]
        limits = target.limits
        limits.max_rps = told_of["max_rps"]
        if told_of["slot"] >= 0:
            whole = told_of["limits"]
            self._limited[target] = USES * told_of["slot"], (whole[0], whole[1], whole[2])
        target.breaker_until = max(target.breaker_until, told_of["breaker"])

    def _end_target(self, known: _Known, number: int) -> None:
        target = known.targets.pop(number)
        self._limited.pop(target, None)
        self._pump.leave_target(known.filter, target)
        self._pump.engine.remove_target(target, time.monotonic_ns())
        self._gone.append({"target": number, "counts": target_counts(target)})

    def _end(self, number: int) -> None:
        known = self._known.pop(number)
        known.filter.following = False
        self._pump.leave(known.filter, "removed")
        for target in list(known.targets):
            self._end_target(known, target)
        self._gone.append({"filter": number, "counts": filter_counts(known.filter)})

    # --- what is told -------------------------------------------------------------------------------------------------

    def count(self) -> None:
        """Onto the page; and of each limit what the others leave, as they stood at the end of their latest turns."""
        page = self._page
        for known in self._known.values():
            if known.slot >= 0:
                page.seen[known.slot] = known.filter.account.seen
        uses = page.uses
        recently = self._pump.now - RECENTLY
        active = 1 + sum(other.numbers[BUSY] > recently for other in self._others)
        for target, (place, (most_in_flight, most_connections, most_buffered)) in self._limited.items():
            own_in_flight, own_connections, own_buffered = target.account.in_flight, target.connections, target.buffered
            uses[place], uses[place + 1], uses[place + 2] = own_in_flight, own_connections, own_buffered
            in_flight, connections, buffered = most_in_flight, most_connections, most_buffered
            for other in self._others:
                theirs = other.uses
                in_flight -= theirs[place]
                connections -= theirs[place + 1]
                buffered -= theirs[place + 2]
            limits = target.limits
            limits.max_in_flight = _may(own_in_flight, in_flight, active)
            limits.max_connections = _may(own_connections, connections, active)
            limits.max_buffered = _may(own_buffered, buffered, active)

    def snapshot(self) -> dict[str, Any]:
        """Counts of all filters and targets; those of what went come once more, the last time."""
        filters: dict[int, Counts] = {}
        targets: dict[int, dict[str, Any]] = {}
        for gone in self._gone:
            if "filter" in gone:
                filters[gone["filter"]] = gone["counts"]
            else:
                targets[gone["target"]] = {"counts": gone["counts"]}
        self._gone = []
        for number, known in self._known.items():
            filters[number] = filter_counts(known.filter)
            for place, target in known.targets.items():
                targets[place] = self._target(target)
        return {"filters": filters, "targets": targets}

    def _target(self, target: Target) -> dict[str, Any]:
        view: dict[str, Any] = {
            "counts": target_counts(target),
            "breaker": target.breaker_until,
            "tls_error": target.tls_error,
            "ends": self._pump.engine.local_ends(target),
        }
        for name in ("production_latency", "shadow_latency"):
            sketch = getattr(target, name)
            if sketch.count:
                view[name] = told(sketch)
                setattr(target, name, type(sketch)())
        return view
