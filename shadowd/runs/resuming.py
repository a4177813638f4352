"""A run outlives the daemon: its evidence goes to the store now and then, and is taken up at the next start.

Kept: what the examiner counted, memory and CPU, the slices of the report, and how many requests there were to compare.
Not kept: answers that are only remembered (production's latest, to compare with its next; examples that wait to be
stored; texts that wait for a model). Texts are redacted, as everywhere in the store.

A run is taken up where the daemon was stopped, or killed, at most ``WITHIN`` ago, on the same boot of the host (times
are those of CLOCK_MONOTONIC, which goes on while the daemon is away and not over a boot), for a filter that has not
changed, and where the evidence has the shape that this version writes. What happened meanwhile was not seen: the
verdict says so. After a crash up to ``EVERY`` seconds of evidence are missing as well, in all of the counts alike.

It costs the pump no more than a millisecond at a time: the evidence is written in steps, and exchanges that end
meanwhile wait (``Hold``), so that what is kept is of one moment.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
import time
import types
import zlib
from collections.abc import Callable, Generator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

import shadowd.compare
import shadowd.evidence
import shadowd.judge
import shadowd.talk
from shadowd.capture.processes import ProcessSample
from shadowd.compare.descriptors import Schema
from shadowd.config.document import FilterSpec
from shadowd.errors import ShadowdError
from shadowd.evidence.evidence import Example
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.freezing import MAX_BYTES, FreezeError, Registry, freeze_steps
from shadowd.evidence.talking import Unweighed
from shadowd.evidence.thawing import thaw_untrusted
from shadowd.evidence.trial import Held, Side, Trial, Watch
from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.judge.assessment import Assessment
from shadowd.runs.slices import Slice
from shadowd.runs.vitals import Reading
from shadowd.store.batch import Batch
from shadowd.store.database import Database
from shadowd.store.writer import StoreWriter

if TYPE_CHECKING:
    from shadowd.runs.recording import Recorder
    from shadowd.runs.run import Run

WITHIN = 3600.0  # seconds: a longer absence has seen other traffic, other data, other deployments
EVERY = 60.0  # seconds between two hand-overs of a run's evidence, and what a crash may lose
SHARE = 100.0  # and so many times what it took: keeping costs at most 1 % of a core
STOPPED, KILLED = "daemon stopped", "daemon ended"  # why the runs ended that may be taken up
HELD = 2_000  # exchanges that may wait while evidence is written, a second of a heavy load
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@cache
def registry() -> Registry:
    """Everything that the packages of comparing and judging define; traffic is left out, and schemas."""
    modules: list[types.ModuleType] = [
        importlib.import_module(f"{package.__name__}.{one.name}")
        for package in (shadowd.compare, shadowd.talk, shadowd.evidence, shadowd.judge)
        for one in pkgutil.iter_modules(package.__path__)
    ]
    traffic = (Example, Held, Watch, Unweighed, Request, Response, Exchange, Trial, Side, Schema)
    return Registry.of(modules, traffic, (Slice, Reading, ProcessSample))


def spec_key(spec: FilterSpec) -> str:
    """Equal for filters that mirror and compare alike; options that a later version adds do not change it."""
    given = spec.model_dump(mode="json", exclude_defaults=True, exclude={"paused", "follow"})
    given["targets"] = [target.to_wire() for target in spec.targets]
    return hashlib.blake2b(json.dumps(given, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def boot() -> str:
    """Of this host, "" where it is not told: then nothing is taken up."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


class Recalled:
    """What the store had of a run. Without ``kept``, ``problem`` says why its evidence is not taken up."""

    __slots__ = ("kept", "label", "problem", "run", "seen", "spec")

    def __init__(self, row: dict[str, Any]) -> None:
        self.run: int = row["run"]
        self.label: str = row["label"]
        self.spec: str = row["spec"]
        self.seen: float = row["time"]
        self.kept: dict[str, Any] | None = None
        self.problem = ""


class Keeper:
    """Of all runs. ``problems``: why a filter's evidence is not kept, by filter, for ``status``."""

    def __init__(self, writer: StoreWriter, recorder: Recorder) -> None:
        self._writer = writer
        self._recorder = recorder
        self._text = _remembered(recorder.kept)
        self._boot = boot()
        self._recalled: dict[tuple[str, str], Recalled] = {}
        self.problems: dict[str, str] = {}

    # --- to the store -------------------------------------------------------------------------------------------------

    async def keep(self, run: Run) -> None:
        """Hand the run's evidence over if that is due, and if there is any more."""
        now = time.monotonic()
        run.keep_at = run.keep_at or now + EVERY
        if now < run.keep_at or run.kept_of == run.activity:
            return
        activity, busy, data = run.activity, 0.0, b""
        steps = self._steps(run)
        with Hold(run.examiner) as hold:
            while not data and not hold.overflown:  # else it is put off: the next time may be calmer
                began = time.monotonic()
                try:
                    next(steps)
                except StopIteration as done:
                    data = done.value
                except FreezeError as error:
                    self._refuse(run, error)
                    break
                busy += time.monotonic() - began
                await trio.lowlevel.checkpoint()
        run.kept_of, run.keep_at = activity, time.monotonic() + max(EVERY, SHARE * busy)
        if data:
            await self._hand_over(run, data)

    async def keep_last(self, run: Run) -> None:
        """At the daemon's end, when nothing is examined any more."""
        steps = self._steps(run)
        try:
            while True:
                next(steps)
        except StopIteration as done:
            await self._hand_over(run, done.value)
        except FreezeError as error:
            self._refuse(run, error)

    def _steps(self, run: Run) -> Generator[None, None, bytes]:
        yield from self._recorder.clean(run)
        return (yield from freeze_steps(_state(run), registry(), self._text))

    async def _hand_over(self, run: Run, data: bytes) -> None:
        packed = await trio.to_thread.run_sync(partial(zlib.compress, data, 1))
        if len(packed) > self._writer.max_bytes // 4:
            self._refuse(run, FreezeError(f"it has {len(packed) >> 10} KB", "let the store be larger (max_size)"))
            return
        self.problems.pop(run.entry.spec.name, None)
        batch = Batch()
        batch.evidence.append(
            {"run": run.id, "time": time.time(), "boot": self._boot, "spec": spec_key(run.entry.spec), "data": packed}
        )
        self._writer.submit_nowait(batch)

    def _refuse(self, run: Run, error: FreezeError) -> None:
        name = run.entry.spec.name
        self.problems[name] = f"the evidence of {name} would not survive a restart: {error}"

    # --- from the store -----------------------------------------------------------------------------------------------

    async def recall(self) -> None:
        """Before the first run begins: what may be taken up. Raises StoreError while the store has failed."""
        rows = await self._writer.ask(partial(_rows, since=time.time() - WITHIN))
        for row in rows:
            recalled = self._recalled[row["filter"], row["target"]] = Recalled(row)
            if not self._boot or row["boot"] != self._boot:
                recalled.problem = "this host was started anew since, and times of two boots cannot be compared"
                continue
            try:
                recalled.kept = await trio.to_thread.run_sync(thawed_untrusted, row["data"])
            except ShadowdError as error:
                recalled.problem = error.problem

    def forget(self) -> None:
        """Runs that begin from now on begin anew."""
        self._recalled.clear()

    def take_up(self, run: Run) -> None:
        """Let a run that begins go on with what was recalled of it, if it is the same filter's."""
        recalled = self._recalled.pop((run.entry.spec.name, run.target.url), None)
        if recalled is None or recalled.spec != spec_key(run.entry.spec):
            return
        run.label = recalled.label
        if recalled.kept is None:
            run.notes.append(f"The evidence of the run before was not taken up: {recalled.problem}.")
            return
        away = max(0.0, time.time() - recalled.seen)
        run.id = recalled.run
        _take_up(run, recalled.kept, away)
        self._recorder.trust(run.examiner)


class Hold:
    """While it lasts, what the examiner is told waits; at its end it is told in order."""

    __slots__ = ("_examiner", "_held")

    def __init__(self, examiner: Examiner) -> None:
        self._examiner = examiner
        self._held = Held()

    @property
    def overflown(self) -> bool:
        return len(self._held.told) > HELD

    def __enter__(self) -> Hold:
        self._examiner.held = self._held
        return self

    def __exit__(self, *_: object) -> None:
        self._examiner.held = None
        waiting, self._held = self._held.told, Held()
        failed: Exception | None = None
        for tell, what in waiting:
            try:
                tell(what)
            except Exception as error:  # the others' exchanges are not lost with this one
                failed = error
        if failed is not None:
            raise failed


def _remembered(text: Callable[[str], str]) -> Callable[[str], str]:
    """The same texts come again and again: names of fields, paths, titles. Short ones hold no secret that looks so."""
    known: dict[str, str] = {}

    def redacted(given: str) -> str:
        if len(given) < 6:
            return given
        found = known.get(given)
        if found is None:
            if len(known) >= 20_000:
                known.clear()
            found = known[given] = text(given)
        return found

    return redacted


def _rows(database: Database, since: float) -> list[dict[str, Any]]:
    return database.resumable(since, (STOPPED, KILLED))


def thawed_untrusted(packed: bytes) -> dict[str, Any]:
    """Raises FreezeError for what is no evidence, or none that can be judged."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, MAX_BYTES + (2 << 20))
    except zlib.error:
        raise FreezeError("the data is damaged") from None
    if unpacker.unconsumed_tail:
        raise FreezeError("it is too large")
    kept = thaw_untrusted(data, registry())
    try:
        examiner = kept["examiner"]
        fresh = Examiner(examiner.settings, examiner.rules)
        if type(examiner) is not Examiner or not all(hasattr(examiner, name) for name in Examiner.__slots__):
            raise FreezeError("it has another shape in this version")
        for name in _emptied(examiner, fresh):
            setattr(examiner, name, getattr(fresh, name))
        Assessment(examiner, int(kept["eligible"]), float(kept["seconds"])).finish()
    except FreezeError:
        raise
    except Exception as error:  # whatever is wrong with it shows now, and not in the pump
        raise FreezeError(f"it cannot be judged ({type(error).__name__})") from None
    return dict(kept)


def _emptied(examiner: Examiner, fresh: Examiner) -> list[str]:
    """Attributes that held a left-out object themselves: as a new examiner has them."""
    emptied = (name for name in Examiner.__slots__ if getattr(examiner, name) is None)
    return [name for name in emptied if getattr(fresh, name) is not None]


_OF_SOURCE = ("_before", "_version")


def _state(run: Run) -> dict[str, Any]:
    """Of one moment."""
    vitals = run.vitals
    return {
        "examiner": run.examiner,
        "slices": run.slices,
        "eligible": run.eligible,
        "served": run.served,
        "asked": run.asked,
        "began": run.began,
        "seconds": run.seconds(time.time()),
        "notes": run.notes,
        # numbers may be times of this process's clock: evidence and words are kept
        "vitals": {
            name: value
            for name in type(vitals).__slots__
            if type(value := getattr(vitals, name)) in registry().names or isinstance(value, bool | str)
        },
        "sources": [
            {name: getattr(source, name) for name in _OF_SOURCE} for source in (vitals._shadow, vitals._production)
        ],
    }


def _take_up(run: Run, kept: dict[str, Any], away: float) -> None:
    rules, settings = run.examiner.rules, run.examiner.settings
    run.examiner = kept["examiner"]
    run.examiner.rules, run.examiner.settings = rules, settings
    run.entry.filter.examiners[run.target] = run.examiner
    run.slices.clear()
    run.slices.extend(kept["slices"])
    run.slices.append(Slice(time.time()))
    run.rebase(kept["eligible"], kept["served"], kept["asked"])
    run.began = kept["began"]
    run.away = time.time() - run.began - kept["seconds"]
    run.notes = [*kept["notes"], f"The run was resumed after {_said(away)}: what happened meanwhile was not seen."][-5:]
    for name, value in kept["vitals"].items():
        setattr(run.vitals, name, value)
    for source, values in zip((run.vitals._shadow, run.vitals._production), kept["sources"], strict=True):
        for name, value in values.items():
            setattr(source, name, value)


def _said(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
