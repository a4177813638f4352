"""Writes batches to the store in a thread, so that no disk ever holds up the mirroring.

Batches wait in a bounded queue; when it is full, or while the store has failed, a batch is dropped and counted (counts
are cumulative, so the next batch makes it good). Whatever goes wrong with the file — disk full, corrupt, read-only,
locked — closes it: ``problem`` says so, and a fresh open is tried every ``retry_seconds``. Reads and everything else
that wants the store go through ``ask``, one after the other with the writes: SQLite is given one thread at a time.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import trio

from shadowd.store.batch import Batch
from shadowd.store.database import Database
from shadowd.store.schema import RowError, StoreError

log = logging.getLogger("shadowd.store")

T = TypeVar("T")

BATCHES = 64  # waiting: a minute's worth where one is made each second
ROWS = 100_000  # waiting, of all batches: some 50 MB of examples of 500 bytes
SLICE_ROWS = 2_000  # written in one call of the thread, which cannot be interrupted: some 150 ms
FLUSH_SECONDS = 2.0  # a shutdown waits no longer for a slow disk
RETRY_SECONDS = 15.0  # somebody made room: opening costs milliseconds
PRUNE_SECONDS = 60.0
_CROWDED_SECONDS = 5.0  # between two prunes for size: a store smaller than what is written must not only prune


class WriterStatistics(NamedTuple):
    """Numbers since the writer began. Batches of more than ``SLICE_ROWS`` rows count as several."""

    written: int  # batches
    rows: int
    dropped: int  # batches
    failures: int  # times that the store was given up, and batches whose rows it refused
    queued: int  # batches that wait now
    bytes: int  # of the store, after the last write
    problem: str  # why nothing is stored now, "" while all is well
    refused: str  # the last refusal of rows, "" if there was none: a fault of shadowd itself


class StoreWriter:
    """The one owner of the store of a daemon. ``run`` it in a nursery; the rest may be called from the same thread.

    ``opened`` counts successful opens: where it grows, the file may be another one, and the runs in it too.
    """

    __slots__ = (
        "_bytes",
        "_crowded",
        "_database",
        "_dropped",
        "_failures",
        "_keep",
        "_lock",
        "_path",
        "_prune_seconds",
        "_queue",
        "_queued_rows",
        "_refused",
        "_retry_seconds",
        "_rows",
        "_wake",
        "_written",
        "max_bytes",
        "opened",
        "problem",
    )

    def __init__(
        self,
        path: Path,
        keep_seconds: float,
        max_bytes: int,
        *,
        retry_seconds: float = RETRY_SECONDS,
        prune_seconds: float = PRUNE_SECONDS,
    ) -> None:
        self._path = path
        self._keep = keep_seconds
        self.max_bytes = max_bytes
        self._retry_seconds = retry_seconds
        self._prune_seconds = prune_seconds
        self._database: Database | None = None
        self._lock = trio.Lock()
        self._queue: deque[Batch] = deque()
        self._queued_rows = 0
        self._wake = trio.Event()
        self._crowded = 0.0
        self._written = self._rows = self._dropped = self._failures = self._bytes = 0
        self._refused = ""
        self.opened = 0
        self.problem = ""

    def submit_nowait(self, batch: Batch) -> bool:
        """Hand a batch over; it is not to be changed afterwards. False: dropped, and counted."""
        rows = len(batch)
        full = len(self._queue) >= BATCHES or (self._queue and self._queued_rows + rows > ROWS)
        if self.problem or full:
            self._dropped += 1
            return False
        self._queue.extend(batch.slices(SLICE_ROWS))
        self._queued_rows += rows
        self._wake.set()
        return True

    async def ask(self, work: Callable[[Database], T]) -> T:
        """``work(database)`` in the thread, after what is being written. Raises StoreError while the store has failed.

        A StoreError that ``work`` raises closes the store as a failed write does, a RowError does not.
        """
        async with self._lock:
            if self._database is None:
                raise StoreError(self.problem or f"{self._path}: the store is not open")
            try:
                return await self._in_thread(work)
            except RowError:
                raise
            except StoreError as error:
                await self._give_up(error)
                raise

    def statistics(self) -> WriterStatistics:
        return WriterStatistics(
            self._written,
            self._rows,
            self._dropped,
            self._failures,
            len(self._queue),
            self._bytes,
            self.problem,
            self._refused,
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open, write and prune until cancelled; then flush for at most ``FLUSH_SECONDS``, and close.

        ``task_status`` is told after the first attempt to open; ``problem`` says whether it failed.
        """
        try:
            await self._open()
            task_status.started()
            pruned = -self._prune_seconds  # at once: a store that was left too large, or too old, begins well
            while True:
                if self._database is None:
                    await trio.sleep(self._retry_seconds)
                    await self._open()
                    continue
                due = pruned + self._prune_seconds
                if trio.current_time() >= due:
                    await self._work(_prune)
                    pruned = trio.current_time()
                    due = pruned + self._prune_seconds
                await self._write_queued()
                if self._database is not None:
                    with trio.move_on_at(due):
                        await self._wake.wait()
        finally:
            await self._flush()

    async def _write_queued(self) -> None:
        """Everything that waits; a batch leaves the queue when it is written, or when it cannot be."""
        self._wake = trio.Event()
        while self._queue:
            failures = self._failures
            await self._work(partial(_write, self._queue[0]))
            if self._database is None:
                return  # and the queue is empty
            self._leave(self._failures == failures)
            if self._bytes > self.max_bytes and trio.current_time() >= self._crowded:
                self._crowded = trio.current_time() + _CROWDED_SECONDS
                await self._work(_prune)

    def _leave(self, well: bool) -> None:
        """The first batch of the queue is done with."""
        rows = len(self._queue.popleft())
        self._queued_rows -= rows
        if well:
            self._written += 1
            self._rows += rows
        else:
            self._dropped += 1

    async def _work(self, work: Callable[[Database], int]) -> None:
        """Work that returns the store's size. A failure is noted, and ends the store unless it was the rows'."""
        async with self._lock:
            if self._database is None:
                return
            try:
                self._bytes = await self._in_thread(work)
            except RowError as error:
                self._failures += 1
                self._refused = str(error)
            except StoreError as error:
                await self._give_up(error)

    async def _in_thread(self, work: Callable[[Database], T]) -> T:
        assert self._database is not None
        return await trio.to_thread.run_sync(work, self._database, abandon_on_cancel=False)

    async def _open(self) -> None:
        # Runs that are open at a later open are this daemon's own.
        unfinished = None if self.opened else "daemon ended"

        def open_() -> Database:
            return Database(self._path, self._keep, self.max_bytes, unfinished=unfinished)

        async with self._lock:
            try:
                self._database = await trio.to_thread.run_sync(open_, abandon_on_cancel=False)
            except StoreError as error:
                await self._give_up(error)
            else:
                self.opened += 1
                if self.problem:
                    log.warning("the store works again: %s", self._path)
                self.problem = ""

    async def _give_up(self, error: StoreError) -> None:
        """Close what failed and drop what waits."""
        database, self._database = self._database, None
        self._failures += 1
        self._dropped += len(self._queue)
        self._queue.clear()
        self._queued_rows = 0
        problem = f"nothing is stored: {error}; tried again every {self._retry_seconds:g} s"
        if problem != self.problem:  # once, not at every retry
            log.warning("%s", problem)
        self.problem = problem
        self._wake.set()  # the retries begin, also where it was a reader who found out
        if database is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_close, database)

    async def _flush(self) -> None:
        """The thread may be abandoned here: the process is about to end, and SQLite survives that."""
        with trio.move_on_after(FLUSH_SECONDS, shield=True):
            database, self._database = self._database, None
            if database is None:
                return
            try:
                while self._queue:
                    await trio.to_thread.run_sync(database.write, self._queue[0], abandon_on_cancel=True)
                    self._leave(True)
            except StoreError as error:
                self._failures += 1
                self.problem = f"the last batches were not stored: {error}"
                log.warning("%s", self.problem)
            await trio.to_thread.run_sync(_close, database, abandon_on_cancel=True)
        self._dropped += len(self._queue)


def _write(batch: Batch, database: Database) -> int:
    database.write(batch)
    return database.size()


def _prune(database: Database) -> int:
    database.prune(time.time())
    return database.size()


def _close(database: Database) -> None:
    """What cannot be closed well was told when it failed."""
    with contextlib.suppress(StoreError):
        database.close()
