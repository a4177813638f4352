"""Runs: one candidate version against one production version, from its first exchange to its verdict.

A run begins when a filter with a candidate is added (or ``shadowctl run start``) and ends when it is started anew, the
filter goes, or a version changes (``--run-key``, a restart that shows another one). ``Runs`` owns the examiners of all
candidates, looks at their processes once a second, and hands to the store what it must not forget. Nothing here is on
the hot path, and nothing here can stop it: a store that fails is told in ``status``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from shadowd.errors import ShadowdError
from shadowd.evidence.examining import place_of
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from shadowd.judge.verdict import cpu_alpha, memory_alpha
from shadowd.replay.target import Target
from shadowd.runs.recording import Recorder
from shadowd.runs.resuming import STOPPED, Keeper
from shadowd.runs.run import Run, settings_key
from shadowd.store.database import Database
from shadowd.store.schema import StoreError
from shadowd.store.writer import StoreWriter
from shadowd.worker.entry import Entry

#: Seconds between two looks at processes: a collector's sawtooth needs some 20 readings a tooth to be told from a
#: leak. A look costs half a millisecond, so many runs are looked at less often.
LOOK_EVERY = 0.2
LOOK_EACH = 0.05
LOOK_IDLE = 1.0  # seconds: where nothing was asked since the last look, memory and CPU tell little
RECORD_IDLE = 60.0  # seconds: how old an assessment may be that is stored once more, where nothing was asked since
RECORD_EVERY = 5.0  # between two hand-overs to the store; what a crash may lose
#: An assessment is not repeated sooner than so many times what it took: 500 endpoints must not eat the pump's core.
RESPITE = 30.0


class Runs:
    """See the module's head. ``log`` is told when a run begins or ends."""

    def __init__(self, writer: StoreWriter, recorder: Recorder, log: Callable[..., None]) -> None:
        self.writer = writer
        self._recorder = recorder
        self.redacted = recorder.redacted
        self.current: dict[tuple[str, str], Run] = {}  # by filter and target's URL
        self._log = log
        self._rules: dict[str, Rules] = {}
        self._opened = 0
        self.problem = ""
        self._registering = trio.Lock()
        self.on_change: list[Callable[[], None]] = []  # told when a run began or ended
        self._begun = trio.Event()  # a run that the store does not know of yet
        self._closing: list[tuple[int, float, str]] = []  # runs whose end the store is still to be told
        self.keeper = Keeper(writer, recorder)
        recorder.on_failure = self._fault
        self._resumed: list[int] = []  # runs that the store holds for ended

    # --- what the roster says -----------------------------------------------------------------------------------------

    def follow(self, entry: Entry) -> None:
        """A filter was added or changed: candidates that are new, or judged otherwise, begin a run."""
        name = entry.spec.name
        candidates = [t for t in entry.filter.targets if t.role == "candidate"] if entry.spec.compare else []
        wanted = {target.url: target for target in candidates}
        for key in [key for key in self.current if key[0] == name]:
            run = self.current[key]
            if run.target is not wanted.get(key[1]):
                self._end(key, "the target was removed" if entry.spec.compare else "comparing was turned off")
            elif run.key != settings_key(entry.spec):
                self._end(key, "the way of comparing was changed")
            else:
                run.examiner.settings.options.schema = entry.schema
        for url, target in wanted.items():
            if (name, url) not in self.current:
                self._begin(entry, target, "")

    def forget(self, name: str) -> None:
        """A filter was removed."""
        for key in [key for key in self.current if key[0] == name]:
            self._end(key, "the filter was removed")

    def start(self, name: str, entry: Entry, label: str, restart: bool = True) -> list[Run]:
        """``shadowctl run start``: end what runs, begin anew with a label. Without ``restart`` a run that has the label
        goes on: pipelines try again. Returns the runs that were begun."""
        found = [run for key, run in self.current.items() if key[0] == name]
        if not found:
            raise ShadowdError(
                f"the filter {name} compares nothing",
                f"give it a candidate: shadowctl filter set {name} --to URL --compare",
            )
        stale = [run for run in found if restart or not label or run.label != label]
        for run in stale:
            self._end((name, run.target.url), "a new run was started")
            self._begin(entry, run.target, label)
        return [self.current[name, run.target.url] for run in stale]

    def of(self, name: str) -> list[Run]:
        return [run for key, run in self.current.items() if key[0] == name]

    def _begin(self, entry: Entry, target: Target, label: str) -> None:
        name = entry.spec.name
        run = Run(entry, target, self._rules.get(name, Rules()), label, time.time())
        self.keeper.take_up(run)
        self.current[name, target.url] = run
        self._begun.set()
        self._changed()
        if run.id >= 0:
            self._resumed.append(run.id)
        self._log("run resumed" if run.id >= 0 else "run started", filter=name, target=target.url, label=run.label)

    def _end(self, key: tuple[str, str], reason: str) -> None:
        run = self.current.pop(key)
        run.ended = time.time()
        run.examiner.ended = run.examiner.ended or reason
        run.entry.filter.examiners.pop(run.target, None)
        self._changed()
        if run.id >= 0:
            self._closing.append((run.id, run.ended, reason))
        self._log("run ended", filter=key[0], target=key[1], reason=reason)

    def _changed(self) -> None:
        for tell in self.on_change:
            tell()

    # --- overrides ----------------------------------------------------------------------------------------------------

    async def override(self, name: str, kind: str, rule: dict[str, str], remove: bool) -> bool:
        """Add or remove a rule; whether anything changed. Raises ShadowdError while the store has failed."""

        def work(database: Database) -> bool:
            if remove:
                return database.remove_override(name, kind, rule)  # type: ignore[arg-type]
            before = database.overrides(name)
            database.add_override(name, kind, rule)  # type: ignore[arg-type]
            return len(database.overrides(name)) > len(before)

        changed = await self.writer.ask(work)
        await self.load_rules(name)
        return changed

    async def overrides(self, name: str) -> list[dict[str, Any]]:
        return await self.writer.ask(lambda database: database.overrides(name))

    async def load_rules(self, name: str) -> None:
        """What the store has of the operator's rules, for the runs of a filter and those to come."""
        found = await self.overrides(name)
        rules = Rules(
            [row["rule"] for row in found if row["kind"] == "noise"],
            [row["rule"] for row in found if row["kind"] == "expect"],
        )
        self._rules[name] = rules
        for run in self.of(name):
            run.examiner.rules = rules
            run.assessment = None

    # --- assessing ----------------------------------------------------------------------------------------------------

    async def assess(self, run: Run, fresh: float = 1.0) -> Assessment:
        """What the evidence says now; one not older than ``fresh`` seconds is given again."""
        now = time.time()
        if run.assessment is not None and now - run.assessed_at < fresh:
            return run.assessment
        run.assessed_of = run.activity
        await self._recorder.listen(run)
        margins = run.examiner.settings.margins
        resources = run.vitals.judgements(margins.max_leak, margins.max_cpu, memory_alpha(), cpu_alpha())
        assessment = Assessment(run.examiner, run.eligible, run.seconds(now), resources)
        for _ in assessment.steps():
            await trio.lowlevel.checkpoint()
        self._recorder.told(assessment)
        if run.vitals.unseen:
            assessment.verdict["limits"] = [*assessment.verdict["limits"], run.vitals.unseen]
        assessment.verdict["limits"] = [*assessment.verdict["limits"], *run.notes]
        assessment.verdict |= {
            "filter": run.entry.spec.name,
            "target": run.target.url,
            "run": {
                "id": run.id if run.id >= 0 else None,
                "label": run.label,
                "started": run.began,
                "ended": run.ended or None,
                "reason": run.examiner.ended,
            },
        }
        run.assessment, run.assessed_at = assessment, time.time()
        return assessment

    async def recall(self) -> None:
        """Before the filters begin: runs of a daemon that ended a moment ago may go on."""
        try:
            await self.keeper.recall()
        except StoreError:
            pass  # ``writer.problem`` says it

    # --- tasks --------------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look at processes, slices and versions."""
        while True:
            quiet = all(run.looked_of == run.activity for run in self.current.values())
            await trio.sleep(LOOK_IDLE if quiet else max(LOOK_EVERY, LOOK_EACH * len(self.current)))
            for key, run in list(self.current.items()):
                now = trio.current_time()
                if run.looked_of == run.activity and now - run.looked_at < LOOK_IDLE:
                    continue
                run.looked_of, run.looked_at = run.activity, now
                try:
                    await run.vitals.look(run.served, run.asked)
                    if run.vitals.shadow_started:
                        run.examiner.candidate_began(max(0.0, run.began - run.vitals.shadow_started))
                    run.roll(time.time())
                except Exception as error:  # one run's fault must not end the mirroring
                    self._fault(error)
                run.examiner.ended = run.examiner.ended or run.vitals.another_version
                if run.examiner.ended and self.current.get(key) is run:
                    self._end(key, run.examiner.ended)
                    self._begin(run.entry, run.target, "")

    async def record(self) -> None:
        """Hand to the store, again and again, what has changed."""
        self.keeper.forget()
        while True:
            began = time.monotonic()
            try:
                await self._register()
                for run in list(self.current.values()):
                    if run.id >= 0:
                        await self._record(run)
            except StoreError:
                pass  # ``writer.problem`` says it, and the next opening makes it good
            except Exception as error:
                self._fault(error)
            with trio.move_on_after(max(RECORD_EVERY, RESPITE * (time.monotonic() - began))):
                await self._begun.wait()
            self._begun = trio.Event()

    async def _record(self, run: Run, last: bool = False) -> None:
        """A fault of one run is neither another's nor the mirroring's."""
        try:
            fresh = RECORD_IDLE if run.assessed_of == run.activity and not last else 1.0
            self.writer.submit_nowait(await self._recorder.batch(run, await self.assess(run, fresh)))
            await (self.keeper.keep_last(run) if last else self.keeper.keep(run))
        except StoreError:
            raise
        except Exception as error:
            self._fault(error)

    def _fault(self, error: Exception) -> None:  # without its words, which traffic may have written
        if not self.problem:
            self._log("comparison failed", place=place_of(error))
        self.problem = f"the comparison failed: {place_of(error)} — mirroring goes on; report it"

    async def close(self) -> None:
        """The daemon ends in good order: what was seen last is stored, and why the runs ended."""
        try:
            await self._register()
            for run in self.current.values():
                if run.id >= 0:
                    await self._record(run, last=True)
                    self._closing.append((run.id, time.time(), STOPPED))
            await self._register()
        except StoreError:
            pass  # it was told before

    async def _register(self) -> None:
        """Runs that the store does not know of, and ends it was not told. The end may come while this is under way."""
        async with self._registering:
            if self.writer.opened != self._opened:
                self._opened = self.writer.opened
                for name in {key[0] for key in self.current}:
                    await self.load_rules(name)
                known = await self.writer.ask(lambda database: {row["id"] for row in database.runs()})
                for run in self.current.values():
                    if run.id not in known:
                        run.id = -1
            while self._resumed:
                await self.writer.ask(partial(_resume_run, self._resumed[0]))
                self._resumed.pop(0)
            for run in list(self.current.values()):
                if run.id < 0:
                    await self.load_rules(run.entry.spec.name)
                    run.id = await self.writer.ask(partial(_begin_run, run))
            while self._closing:
                await self.writer.ask(partial(_end_run, *self._closing[0]))
                self._closing.pop(0)


def _end_run(run: int, when: float, reason: str, database: Database) -> None:
    database.end_run(run, when, reason)


def _resume_run(run: int, database: Database) -> None:
    database.resume_run(run)


def _begin_run(run: Run, database: Database) -> int:
    spec = run.entry.spec
    return database.begin_run(spec.name, run.target.url, run.label, spec.run_key or "", run.began)


#: Fields of a filter whose change makes another comparison.
