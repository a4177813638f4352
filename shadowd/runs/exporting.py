"""A run's evidence as a file for ``shadowctl verdict --merge``: one node's part of a fleet's verdict.

Of a run that goes on, or of one that the store still has the evidence of. It is read in steps between which traffic
goes on, redacted like everything that leaves the daemon, and packed in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from functools import partial
from typing import Any

import trio

from shadowd.errors import ShadowdError, UsageError
from shadowd.evidence.carrying import to_bytes
from shadowd.evidence.conditions import conditions_of
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.freezing import FreezeError
from shadowd.evidence.gathering import gather_steps
from shadowd.evidence.merging import folded
from shadowd.evidence.parts import NOTES, cpu_of, memory_of, part_id
from shadowd.evidence.resources import CpuEvidence, MemorySeries
from shadowd.judge.resources import MemoryJudge
from shadowd.runs.recording import Recorder
from shadowd.runs.resuming import thawed_untrusted
from shadowd.runs.run import Run
from shadowd.runs.runs import Runs
from shadowd.store.database import Database


class Exporter:
    """Makes such files."""

    def __init__(self, runs: Runs, recorder: Recorder) -> None:
        self._runs = runs
        self._recorder = recorder

    async def export(self, name: str, wanted: str = "") -> bytes:
        """Of the filter's run with this id or label; of the one that goes on where none is named. Raises UsageError
        where there is none, or more than one."""
        current = self._runs.of(name)
        found = [run for run in current if not wanted or wanted in (str(run.id), run.label)]
        if len(found) > 1:
            named = ", ".join(f"{run.id} ({run.target.url})" for run in found)
            raise UsageError(f"{name} has {len(found)} such runs", f"name one with --run: {named}")
        if found:
            return await self._of_run(found[0])
        if not wanted:
            raise ShadowdError(
                f"the filter {name} compares nothing",
                f"give it a candidate: shadowctl filter set {name} --to URL --compare",
            )
        return await self._of_stored(name, wanted)

    async def _of_run(self, run: Run) -> bytes:
        await self._runs.assess(run)  # examples are looked at: what they masked is masked
        vitals = run.vitals
        part = {
            "seconds": run.seconds(time.time()),
            "eligible": run.eligible,
            "notes": tuple(run.notes[-NOTES:]),
            "unseen": vitals.unseen,
            **_of_processes(
                vitals.memory if vitals.memory_seen else None,
                vitals.production_memory if vitals.production_seen else None,
                vitals.cpu,
            ),
        }
        return await self._packed(run.examiner, run.entry.spec.name, run.target.url, run.label, run.began, part)

    async def _of_stored(self, name: str, wanted: str) -> bytes:
        row = await self._runs.writer.ask(partial(_row, name=name, wanted=wanted))
        if row is None:
            raise UsageError(
                f"the filter {name} has no run {wanted[:60]} with evidence",
                f"shadowctl run ls {name} lists them; evidence of a run that is over is kept for two hours",
            )
        try:
            kept = await trio.to_thread.run_sync(thawed_untrusted, row["data"])
        except FreezeError as error:
            raise ShadowdError(f"the evidence of run {row['run']} cannot be read: {error.problem}", "") from None
        examiner = kept["examiner"]
        self._recorder.trust(examiner)
        part = {
            "seconds": float(kept["seconds"]),
            "eligible": int(kept["eligible"]),
            "notes": tuple(str(note) for note in kept["notes"][-NOTES:]),
            "unseen": "",
            **_stored_vitals(kept["vitals"]),
        }
        return await self._packed(examiner, name, row["target"], row["label"], row["started"], part)

    async def _packed(
        self, examiner: Examiner, name: str, target: str, label: str, began: float, part: dict[str, Any]
    ) -> bytes:
        node = self._recorder.node
        parts = {part_id(node, name, target, began): {"node": node, "began": began, **part}}
        conditions = conditions_of(examiner.settings, examiner.rules, name, target, label)
        value = await _taken(gather_steps(examiner, conditions, parts, self._recorder.shown()))
        return await trio.to_thread.run_sync(lambda: to_bytes(folded(value)))


async def _taken(steps: Generator[None, None, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The value, with a turn for the others after each step."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            value: Mapping[str, Any] = done.value
            return value
        await trio.lowlevel.checkpoint()


def _stored_vitals(kept: Mapping[str, Any]) -> dict[str, Any]:
    memory, production, cpu = kept.get("memory"), kept.get("production_memory"), kept.get("cpu")
    return _of_processes(
        memory if kept.get("memory_seen") is True and isinstance(memory, MemorySeries) else None,
        production if kept.get("production_seen") is True and isinstance(production, MemorySeries) else None,
        cpu if isinstance(cpu, CpuEvidence) else None,
    )


def _of_processes(
    memory: MemorySeries | None, production: MemorySeries | None, cpu: CpuEvidence | None
) -> dict[str, Any]:
    """Without the readings; so what production's memory is held against is noted first."""
    if memory is not None:
        MemoryJudge(memory).judge(reference=production)
    return {
        "memory": memory_of(memory) if memory is not None else None,
        "production": memory_of(production) if production is not None else None,
        "cpu": cpu_of(cpu) if cpu is not None and cpu.count else None,
    }


def _row(database: Database, name: str, wanted: str) -> dict[str, Any] | None:
    return database.evidence_of(name, wanted)
