"""A run's evidence as one node writes it for a fleet: of a run that goes on, and of one that the store remembers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from shadowd.errors import ShadowdError, UsageError
from shadowd.evidence.carrying import from_bytes_untrusted
from shadowd.evidence.merging import merge
from shadowd.judge.merged import assess_untrusted
from shadowd.judge.verdict import cpu_alpha, memory_alpha
from shadowd.redact.redaction import Redactor
from shadowd.runs.exporting import Exporter
from shadowd.runs.recording import Recorder
from shadowd.runs.run import Run
from shadowd.runs.runs import Runs
from shadowd.store.writer import StoreWriter
from tests.unit.compare.exchanges import MS, answer, examine, request, side
from tests.unit.loopback import Mirror
from tests.unit.runs.test_resuming import DAY, made_run, run_with, see, stopped

SECRETS = ("hunter2-of-production", "hunter2-of-candidate", "s3cr3t-9f86d081884c7d659a2feaa0c55ad015")


def with_exporter(
    path: Path, run: Run | None, work: Callable[[Exporter], Awaitable[None]], node: str = "edge-1"
) -> None:
    writer = StoreWriter(path, DAY, 1 << 30)
    recorder = Recorder(Redactor(node.encode() * 8), node)
    runs = Runs(writer, recorder, lambda *_, **__: None)
    if run is not None:
        runs.current["shop", run.target.url] = run

    async def whole() -> None:
        await work(Exporter(runs, recorder))

    run_with(writer, whole)


def exported(path: Path, run: Run | None, wanted: str = "", node: str = "edge-1") -> bytes:
    found: list[bytes] = []

    async def work(exporter: Exporter) -> None:
        found.append(await exporter.export("shop", wanted))

    with_exporter(path, run, work, node)
    return found[0]


def test_what_is_exported_is_judged_as_the_run_is(tmp_path: Path) -> None:
    with Mirror() as mirror:
        run = made_run(mirror)
        see(run, 400)
        value = from_bytes_untrusted(exported(tmp_path / "db", run))
        verdict = assess_untrusted(value).verdict
        assert (verdict["compared"], verdict["eligible"], verdict["filter"]) == (400, 400, "shop")
        assert (verdict["run"]["label"], verdict["target"]) == ("v2", run.target.url)
        assert [one["node"] for one in verdict["nodes"]] == ["edge-1"]
        assert abs(value["latest"] - time.time_ns()) < time.monotonic_ns() + 60e9, "by the epoch, not since the boot"


def test_memory_and_cpu_of_the_run_are_in_it(tmp_path: Path) -> None:
    """The oracle: what the run's own vitals say, before it is over and after."""
    with Mirror() as mirror:
        run = made_run(mirror, memory_after=1000)
        see(run, 50)
        vitals = run.vitals
        vitals.memory_seen = vitals.production_seen = True
        for served in range(0, 2001, 5):
            vitals.memory.add(served, (100 << 20) + served * 9000)
            vitals.production_memory.add(served, 90 << 20)
            vitals.cpu.add(served / 100, served, served / 100, served)
        wanted = {one.judge: one for one in vitals.judgements(256.0, 0.25, memory_alpha(), cpu_alpha())}
        values = [from_bytes_untrusted(exported(tmp_path / "a", run))]
        stopped(tmp_path / "db", run)
        values.append(from_bytes_untrusted(exported(tmp_path / "db", None, "v2")))
        for value in values:
            found = {one["judge"]: one for one in assess_untrusted(value).verdict["judges"]}
            for judge, one in wanted.items():
                assert (found[judge]["result"], found[judge]["sentence"]) == (one.result, one.sentence)
        assert wanted["memory"].result == "fail"


def test_evidence_goes_on_being_counted_while_it_is_written(tmp_path: Path) -> None:
    """It is read in steps, between which exchanges end and endpoints appear."""
    with Mirror() as mirror:
        run = made_run(mirror)
        see(run, 300)
        sizes: list[int] = []

        async def work(exporter: Exporter) -> None:
            async with trio.open_nursery() as nursery:

                async def traffic() -> None:
                    for number in range(2000):
                        see(run, 1)
                        examine(
                            run.examiner,
                            request(f"/new{number % 90}", time=10**13 + number * MS),
                            answer(b""),
                            side(answer(b"")),
                        )
                        await trio.lowlevel.checkpoint()

                nursery.start_soon(traffic)
                value = from_bytes_untrusted(await exporter.export("shop"))
                nursery.cancel_scope.cancel()
            sizes.append(value["compared"])
            assert assess_untrusted(value).verdict["compared"] == value["compared"]

        with_exporter(tmp_path / "db", run, work)
        assert 300 <= sizes[0] <= run.examiner.compared


def test_two_nodes_with_keys_of_their_own_are_one(tmp_path: Path) -> None:
    """Names that have a secret in them are the same on both, and nobody reads the secret."""
    values, bytes_ = [], b""
    for node in ("edge-1", "edge-2"):
        with Mirror() as mirror:
            run = made_run(mirror)
            run.target.url = "http://next"
            secret = f"/reset/{SECRETS[2]}"
            for number in range(40):
                ours, theirs = ({"n": number, "password": SECRETS[which]} for which in (0, 1))
                asked = request(secret, time=(number + 1) * 10 * MS)
                candidate = side(answer(theirs, 500 if number % 4 == 0 else 200))
                examine(run.examiner, asked, answer(ours), candidate, twin=side(answer(theirs)))
            written = exported(tmp_path / node, run, node=node)
            value = from_bytes_untrusted(written)
            values.append(value)
            bytes_ += repr(value).encode()
    for secret in SECRETS:
        assert secret.encode() not in bytes_
    whole = merge(*values)
    assert len(whole["endpoints"]) == len(values[0]["endpoints"]) == 1
    (endpoint,) = whole["endpoints"].values()
    assert (endpoint["total"], endpoint["fields"]["body", "$.password"]["differed"]) == (80, 60)


def test_a_run_that_is_over_is_exported_by_its_id_or_label(tmp_path: Path) -> None:
    with Mirror() as first, Mirror() as second:
        before = made_run(first)
        see(before, 120)
        stopped(tmp_path / "db", before)
        now = made_run(second)
        now.label = "v3"
        see(now, 30)
        for wanted in (str(before.id), "v2"):
            value = from_bytes_untrusted(exported(tmp_path / "db", now, wanted))
            verdict = assess_untrusted(value).verdict
            assert (verdict["compared"], verdict["eligible"], verdict["run"]["label"]) == (120, 120, "v2")
        assert from_bytes_untrusted(exported(tmp_path / "db", now, "v3"))["compared"] == 30
        alone = from_bytes_untrusted(exported(tmp_path / "db", None, "v2"))
        assert alone["compared"] == 120


@pytest.mark.parametrize(
    ("runs", "wanted", "error", "said"),
    [(0, "", ShadowdError, "compares nothing"), (0, "v9", UsageError, "no run v9"), (1, "7", UsageError, "no run 7"),
     (2, "", UsageError, "2 such runs"), (2, "v2", UsageError, "name one with --run")],
)  # fmt: skip
def test_what_is_not_there_is_told(tmp_path: Path, runs: int, wanted: str, error: type[Exception], said: str) -> None:
    with Mirror() as mirror:
        made = [made_run(mirror) for _ in range(runs)]
        raised: list[Any] = []

        async def work(exporter: Exporter) -> None:
            for number, run in enumerate(made):
                exporter._runs.current["shop", f"http://{number}"] = run
            with pytest.raises(error) as found:
                await exporter.export("shop", wanted)
            raised.append(found.value)

        with_exporter(tmp_path / "db", None, work)
        assert said in str(raised[0])
