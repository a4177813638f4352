"""Exchanges as they end, for whoever follows them: ``shadowctl tail`` and ``shadowctl top``.

Nothing is kept, and nothing paid, of a filter that nobody follows. One that was asked for within ``FOLLOWED`` seconds
has a ring of its latest exchanges: a few numbers, the path, and what differs of each; no bodies. Who is too slow for it
is told how many went by. Everything is redacted when it is read, as examples are.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from shadowd.compare.difference import Difference
from shadowd.errors import ShadowdError, UsageError
from shadowd.evidence.trial import Trial, Watch
from shadowd.exchange.exchange import Response
from shadowd.ledger.budget import Budget
from shadowd.runs.recording import Recorder
from shadowd.runs.run import Run
from shadowd.runs.runs import Runs
from shadowd.service.roster import Roster

#: Seconds after the last question in which a filter is still followed: a client asks some times a second.
FOLLOWED = 5.0
#: Of one filter: exchanges, and bytes of what is kept of them. What 4,000 requests a second leave in a second.
MAX_ENTRIES, MAX_BYTES = 4096, 4 << 20
#: Filters that are followed at once, for 32 MB at most.
MAX_FOLLOWED = 8
#: Exchanges in one answer, and bytes of their texts: an answer of the control socket has 1 MB.
PAGE, PAGE_BYTES = 1000, 384 << 10
#: Characters of a request's target: a line of a wide terminal, and some.
TARGET = 1000
#: Exchanges that are redacted in one go: 20 to 40 µs each.
STRIDE = 40
_ENTRY = 600  # bytes of an entry without its texts


class Ended:
    """What is kept of one exchange. Times are ns, -1 where nobody knows."""

    __slots__ = (
        "bytes", "differences", "endpoint", "excused", "groups", "method", "number", "outcome", "production", "request",
        "run", "shadow", "target", "time",
    )  # fmt: skip

    def __init__(self, trial: Trial, run: Run) -> None:
        request, production = trial.exchange.request, trial.exchange.response
        side, endpoint, ended = trial.candidate, trial.endpoint, request.ended
        self.run = run
        self.number = 0
        self.time = ended
        self.method = request.method
        self.target = request.target[: TARGET + 1]
        self.endpoint = endpoint.name if endpoint is not None else ""
        self.request = len(request.body)
        first, last = (production.first_byte - ended, production.last_byte - ended) if production else (-1, -1)
        failure = trial.exchange.failure or ("" if production is not None else "unreadable")
        self.production = _side(production, first, last, failure, "")
        self.shadow = _side(side.response, side.first_byte, side.last_byte, side.failure, side.shed)
        self.outcome = trial.outcome
        self.excused = trial.excused
        self.differences = tuple(trial.differences)
        self.groups = tuple(_group(trial, found) for found in self.differences)
        texts = sum(len(one.path) + len(one.production) + len(one.candidate) for one in self.differences)
        self.bytes = _ENTRY + len(self.target) + texts + 200 * len(self.differences)


_Answer = tuple[int, int, int, int, str, str]


def _side(response: Response | None, first: int, last: int, failure: str, shed: str) -> _Answer:
    """Status, times, size, and why there is no answer: its failure, or our decision."""
    if response is None:
        return 0, -1, -1, -1, failure, shed
    return response.status, max(-1, first), max(-1, last), response.body_length, failure, shed


def _group(trial: Trial, found: Difference) -> str:
    """The id by which ``shadowctl diffs`` lists it; "" for one that is not listed by itself."""
    endpoint = trial.endpoint
    field = endpoint.fields.get(endpoint.place(found)) if endpoint is not None else None
    group = field.groups.get(found.kind) if field is not None else None
    return group.name if group is not None else ""


class Followed:
    """The latest exchanges of one filter."""

    def __init__(self, name: str, budget: Budget) -> None:
        self.name = name
        self.token = secrets.token_hex(4)  # numbers of another ring mean nothing here
        self.until = 0  # ns
        self.next = 0
        self._budget = budget
        self._bytes = 0
        self._kept: deque[Ended] = deque()

    def take(self, entry: Ended) -> None:
        """The oldest go where there is no room."""
        entry.number = self.next
        self.next += 1
        self._kept.append(entry)
        self._charge(entry.bytes)
        while len(self._kept) > MAX_ENTRIES or self._bytes > MAX_BYTES or (self._budget.exhausted and self._kept):
            self._charge(-self._kept.popleft().bytes)

    def _charge(self, amount: int) -> None:
        self._bytes += amount
        self._budget.change(amount)

    def since(self, number: int) -> tuple[list[Ended], int]:
        """Those from that one on, and how many of these are gone."""
        oldest = self._kept[0].number if self._kept else self.next
        kept = [entry for entry in self._kept if entry.number >= number]
        return kept, max(0, oldest - number)

    def clear(self) -> None:
        self._kept.clear()
        self._charge(-self._bytes)


class Feed:
    """See the module's head. ``clock``: ns, as captures are timed."""

    def __init__(
        self, roster: Roster, runs: Runs, recorder: Recorder, budget: Budget,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        self._roster = roster
        self._runs = runs
        self._recorder = recorder
        self._budget = budget
        self._clock = clock
        self._followed: dict[str, Followed] = {}

    # --- what ends ----------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Runs began or ended: those of filters that are followed are watched, and no others."""
        for run in self._runs.current.values():
            followed = self._followed.get(run.entry.spec.name)
            run.examiner.watch = Watch(partial(self._take, followed, run)) if followed is not None else None

    def _take(self, followed: Followed, run: Run, trial: Trial) -> None:
        if self._clock() > followed.until:
            self._leave(followed)
        else:
            followed.take(Ended(trial, run))

    def _leave(self, followed: Followed) -> None:
        followed.clear()
        if self._followed.get(followed.name) is followed:
            del self._followed[followed.name]
        self.attach()

    def _find(self, name: str) -> Followed:
        """The filter's ring; it is followed from now on."""
        now = self._clock()
        for one in list(self._followed.values()):
            if now > one.until:
                self._leave(one)
        followed = self._followed.get(name)
        if followed is None:
            if len(self._followed) >= MAX_FOLLOWED:
                raise ShadowdError(
                    f"{MAX_FOLLOWED} filters are followed already ({', '.join(sorted(self._followed))})",
                    "end one shadowctl tail or top, and try again",
                )
            followed = self._followed[name] = Followed(name, self._budget)
            self.attach()
        followed.until = now + int(FOLLOWED * 1e9)
        return followed

    # --- who asks -----------------------------------------------------------------------------------------------------

    async def follow(self, args: dict[str, Any]) -> dict[str, Any]:
        """Exchanges of a filter from number ``since`` on (none: from now on), ``limit`` of them at most, those of
        ``target`` if one is named, the differing values too with ``values``. ``missed`` are gone; ``more`` wait.
        ``token`` names the ring whose numbers these are: where it is another, what was between them is not known."""
        name, since, token, url, limit = (args.get(key) for key in ("name", "since", "token", "target", "limit"))
        values = bool(args.get("values"))
        if not isinstance(name, str):
            raise UsageError("a filter's name is missing", "name one: shadowctl filter ls lists them")
        if not isinstance(since, int | None) or not isinstance(limit, int | None):
            raise UsageError("since and limit are numbers", "use a shadowctl of the daemon's version")
        self._roster.find(name)
        runs = self._runs.of(name)
        targets = [run.target.url for run in runs]
        if not runs:
            raise ShadowdError(
                f"the filter {name} compares nothing", "give it a candidate (--to) and leave --compare on"
            )
        if url is not None and url not in targets:
            raise UsageError(f"{name} has no candidate {url}", f"its candidates are: {', '.join(targets)}")
        followed = self._find(name)
        anew = since is None or token != followed.token
        kept, missed = followed.since(followed.next if anew or since is None else since)
        most = min(PAGE, max(1, limit or PAGE))
        found: list[dict[str, Any]] = []
        labels = [await self._labels(run) for run in runs] if kept else []
        if values and kept:
            for run in runs:
                await self._recorder.listen(run)  # what was masked in an example is masked in values of its group
        known = {one: label for listed in labels for one, label in listed.items()}
        taken, size, left = followed.next, 0, False
        for at, entry in enumerate(kept):
            if len(found) >= most or size > PAGE_BYTES:
                taken, left = entry.number, True
                break
            if at % STRIDE == STRIDE - 1:
                await trio.lowlevel.checkpoint()
            if url is None or entry.run.target.url == url:
                shown = self._view(entry, known, values)
                size += 200 + len(shown["path"]) + sum(
                    100 + sum(len(str(value)) for value in one.values()) for one in shown["differences"]
                )  # fmt: skip
                found.append(shown)
        if not left and kept:
            taken = kept[-1].number + 1
        return {
            "filter": name, "targets": targets, "token": followed.token, "next": taken, "missed": missed, "more": left,
            "broken": anew and since is not None, "entries": found,
        }  # fmt: skip

    async def _labels(self, run: Run) -> dict[str, str]:
        """What is known of each difference, by its id. The recorder looks again every few seconds."""
        assessment = run.assessment or await self._runs.assess(run)
        return {found["id"]: found["label"] for found in assessment.differences}

    def _view(self, entry: Ended, labels: dict[str, str], values: bool) -> dict[str, Any]:
        """An exchange for people and programs."""
        run, recorder = entry.run, self._recorder
        content = run.examiner.settings.content
        method, path = recorder.asked(entry.method, entry.target)
        differences = [
            self._difference(entry, found, group, labels, values and content)
            for found, group in zip(entry.differences, entry.groups, strict=True)
        ]
        told = {one["label"] for one in differences}
        *answer, failure, _ = entry.production
        *other, failed, shed = entry.shadow
        return {
            "n": entry.number,
            "time": round(recorder.epoch(entry.time), 6),
            "filter": run.entry.spec.name,
            "target": run.target.url,
            "method": method,
            # without content nothing of a request is shown but what its endpoint is called
            "path": (path if len(path) <= TARGET else path[:TARGET] + "…") if content else "",
            "endpoint": recorder.redacted(entry.endpoint),
            **_answer(*answer),
            "failure": failure,
            "request_size": entry.request,
            "shadow": _answer(*other),
            "failed": failed,
            "shed": shed,
            "worse": entry.outcome > 0,
            "better": entry.outcome < 0,
            "differs": bool(told - _QUIET) and not entry.excused,
            "noise": bool(told) and told <= _QUIET,
            "excused": entry.excused,
            "differences": differences,
        }

    def _difference(
        self, entry: Ended, found: Difference, group: str, labels: dict[str, str], values: bool
    ) -> dict[str, Any]:  # fmt: skip
        said = entry.run.examiner.rules.label(entry.endpoint, found.where, found.path, found.kind)
        shown = {"id": group, "where": found.where, "path": self._recorder.place(found.path), "kind": found.kind,
                 "label": said or labels.get(group, "undecided")}  # fmt: skip
        if values:
            for side, value in (("production", found.production), ("candidate", found.candidate)):
                shown[side] = self._recorder.value(group, found.path, value)
        return shown


#: Labels of differences that speak against nobody (``judge/fieldwork.py``).
_QUIET = frozenset({"not judged", "noise", "expected", "drift"})


def _answer(status: int, first: int, last: int, size: int) -> dict[str, Any]:
    return {
        "status": status or None,
        "latency_ms": round(first / 1e6, 3) if first >= 0 else None,
        "total_ms": round(last / 1e6, 3) if last >= 0 else None,
        "size": size if size >= 0 else None,
    }
