"""The writer: batches reach the file, a file that fails costs batches and nothing else, a shutdown is short."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from shadowd.store import writer as module
from shadowd.store.batch import Batch
from shadowd.store.database import Database, RowError, StoreError
from shadowd.store.writer import StoreWriter

DAY = 86_400.0
PATIENCE = 20.0  # seconds; nothing here takes longer than a fraction of one


def rollups(run: int, minutes: range, sketches: bytes = b"") -> Batch:
    batch = Batch()
    batch.rollups = [{"run": run, "minute": minute, "counts": {}, "sketches": sketches} for minute in minutes]
    return batch


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.005)


def run_with(writer: StoreWriter, work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            await work()
            nursery.cancel_scope.cancel()

    trio.run(main)


def stored(path: Path) -> list[int]:
    """Minutes of all runs."""
    database = Database(path, DAY, 1 << 30, unfinished=None)
    try:
        return [row["minute"] for run in database.runs() for row in database.rollups(run["id"])]
    finally:
        database.close()


def begin(database: Database) -> int:
    return database.begin_run("a", "http://t", "", "", time.time())


def now_minute() -> int:
    return int(time.time()) // 60


def test_batches_are_written_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    writer = StoreWriter(path, DAY, 1 << 30)
    start = now_minute()

    async def work() -> None:
        run = await writer.ask(begin)
        assert writer.submit_nowait(rollups(run, range(start, start + 3)))
        assert writer.submit_nowait(rollups(run, range(start + 3, start + 5)))
        await until(lambda: writer.statistics().written == 2)
        assert len(await writer.ask(lambda database: database.rollups(run))) == 5

    run_with(writer, work)
    told = writer.statistics()
    assert (told.written, told.rows, told.dropped, told.failures, told.queued, told.problem) == (2, 5, 0, 0, 0, "")
    assert told.bytes > 0
    assert writer.opened == 1
    assert stored(path) == list(range(start, start + 5))


def test_a_large_batch_is_written_in_slices(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    writer = StoreWriter(path, DAY, 1 << 30)
    minutes = range(now_minute(), now_minute() + 2 * module.SLICE_ROWS + 1)

    async def work() -> None:
        run = await writer.ask(begin)
        assert writer.submit_nowait(rollups(run, minutes))
        await until(lambda: writer.statistics().rows == len(minutes))

    run_with(writer, work)
    assert writer.statistics().written == 3
    assert stored(path) == list(minutes)


def test_what_waits_is_flushed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    writer = StoreWriter(path, DAY, 1 << 30)
    start = now_minute()

    async def work() -> None:
        run = await writer.ask(begin)
        for minute in range(start, start + 40):  # no checkpoint between this and the cancellation
            assert writer.submit_nowait(rollups(run, range(minute, minute + 1)))

    run_with(writer, work)
    assert writer.statistics().written == 40
    assert stored(path) == list(range(start, start + 40))


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store.db", DAY, 1 << 30)
    accepted = [writer.submit_nowait(rollups(1, range(1))) for _ in range(module.BATCHES + 7)]
    assert accepted == [True] * module.BATCHES + [False] * 7
    assert (writer.statistics().queued, writer.statistics().dropped) == (module.BATCHES, 7)
    by_rows = StoreWriter(tmp_path / "store.db", DAY, 1 << 30)
    assert by_rows.submit_nowait(rollups(1, range(module.ROWS)))
    assert not by_rows.submit_nowait(rollups(1, range(1)))


def test_a_corrupt_store_stops_storing_until_it_is_moved_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"rubbish" * 1000)
    writer = StoreWriter(path, DAY, 1 << 30, retry_seconds=0.05)
    start = now_minute()

    async def work() -> None:
        assert "corrupt" in writer.problem
        assert f"move {path.name}* away" in writer.problem
        assert not writer.submit_nowait(rollups(1, range(1)))
        with pytest.raises(StoreError, match="corrupt"):
            await writer.ask(begin)
        await until(lambda: writer.statistics().failures >= 2)
        assert path.read_bytes() == b"rubbish" * 1000
        path.rename(tmp_path / "aside")
        await until(lambda: not writer.problem)
        run = await writer.ask(begin)
        assert writer.submit_nowait(rollups(run, range(start, start + 1)))
        await until(lambda: writer.statistics().written == 1)

    run_with(writer, work)
    assert writer.statistics().dropped == 1
    assert stored(path) == [start]
    told = [record.getMessage() for record in caplog.records if record.name == "shadowd.store"]
    assert [text.partition(":")[0] for text in told] == ["nothing is stored", "the store works again"]  # not each retry


def test_a_store_that_fails_while_it_is_used_is_opened_again_and_its_runs_go_on(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    writer = StoreWriter(path, DAY, 1 << 30, retry_seconds=0.05)
    start = now_minute()

    def lose(database: Database) -> None:
        raise StoreError("the disk is gone")

    async def work() -> None:
        run = await writer.ask(begin)
        with pytest.raises(StoreError, match="the disk is gone"):
            await writer.ask(lose)
        assert "the disk is gone" in writer.statistics().problem
        assert not writer.submit_nowait(rollups(run, range(start, start + 1)))
        await until(lambda: not writer.problem)
        assert writer.opened == 2
        assert (await writer.ask(lambda database: database.runs()))[0]["ended"] is None
        assert writer.submit_nowait(rollups(run, range(start + 1, start + 2)))
        await until(lambda: writer.statistics().written == 1)

    run_with(writer, work)
    assert stored(path) == [start + 1]


def test_rows_that_cannot_be_stored_do_not_stop_the_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    writer = StoreWriter(path, DAY, 1 << 30)
    start = now_minute()

    async def work() -> None:
        run = await writer.ask(begin)
        bad = rollups(run, range(start, start + 1))
        bad.rollups[0]["counts"] = {"share": float("nan")}
        assert writer.submit_nowait(bad)
        assert writer.submit_nowait(rollups(run, range(start + 1, start + 2)))
        await until(lambda: writer.statistics().written == 1)
        with pytest.raises(RowError):
            await writer.ask(lambda database: database.add_override("a", "noise", {"x": {1}}))
        assert writer.problem == ""

    run_with(writer, work)
    told = writer.statistics()
    assert (told.dropped, told.failures) == (1, 1)
    assert "could not be stored" in told.refused
    assert stored(path) == [start + 1]


def test_the_loop_turns_while_the_disk_is_slow_and_a_shutdown_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.2)
    writer = StoreWriter(tmp_path / "store.db", DAY, 1 << 30)
    slow = threading.Event()
    write = Database.write

    def waits(self: Database, batch: Batch) -> None:  # a disk that hangs, not another store
        slow.wait(PATIENCE)
        write(self, batch)

    turns = 0

    async def main() -> None:
        nonlocal turns
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            run = await writer.ask(begin)
            monkeypatch.setattr(Database, "write", waits)
            writer.submit_nowait(rollups(run, range(1)))
            with trio.move_on_after(0.2):
                while True:
                    await trio.sleep(0.001)
                    turns += 1
            slow.set()
            await until(lambda: writer.statistics().written == 1)
            slow.clear()
            nursery.cancel_scope.cancel()
            writer.submit_nowait(rollups(run, range(2)))

    started = time.monotonic()
    trio.run(main)
    took = time.monotonic() - started
    slow.set()
    assert turns > 20
    assert took < 5
    assert (writer.statistics().written, writer.statistics().dropped) == (1, 1)


def test_it_is_pruned_at_once_then_regularly_and_when_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    old = Database(path, DAY, 1 << 30)
    run = begin(old)
    old.write(rollups(run, range(100)))
    old.close()
    writer = StoreWriter(path, DAY, 1 << 20, prune_seconds=0.1)

    async def work() -> None:
        async def count() -> int:
            rows: list[Any] = await writer.ask(lambda database: database.rollups(run))
            return len(rows)

        with trio.fail_after(PATIENCE):
            while await count():
                await trio.sleep(0.01)
        writer.submit_nowait(rollups(run, range(7)))
        await until(lambda: writer.statistics().written == 1)
        with trio.fail_after(PATIENCE):
            while await count():
                await trio.sleep(0.01)
        for minute in range(now_minute(), now_minute() + 40):
            await until(lambda: writer.statistics().queued == 0)
            writer.submit_nowait(rollups(run, range(minute, minute + 1), bytes(100_000)))
        await until(lambda: writer.statistics().queued == 0)
        with trio.fail_after(PATIENCE):
            while await writer.ask(lambda database: database.size()) > 1 << 20:
                await trio.sleep(0.01)

    run_with(writer, work)
    assert writer.statistics().dropped == 0
