"""The store's disk and process fail: kill -9 loses nothing that was written, a full disk is told and survived."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from shadowd.store.batch import Batch
from shadowd.store.database import Database, StoreError
from shadowd.store.writer import StoreWriter
from tests.conftest import ROOT, need

DAY = 86_400.0

# Batch n holds ten groups of count n, and says so on its output when it is written.
WRITE_FOR_EVER = """
import sys
from pathlib import Path
from shadowd.store.batch import Batch
from shadowd.store.database import Database
store = Database(Path(sys.argv[1]), 1e9, 1 << 30)
run = store.begin_run("a", "t", "", "", 1.0)
n = 0
while True:
    n += 1
    batch = Batch()
    batch.groups = [dict(run=run, id=f"g{k}", endpoint="e", place="body", path="$", kind="value", label="", count=n,
                         exchanges=n, first=1.0, last=2.0, details={"text": "x" * 2000}) for k in range(10)]
    batch.examples = [dict(run=run, group=f"g{n}", time=1.0, example={"n": n})]
    store.write(batch)
    print(n, flush=True)
"""


def test_kill_9_in_the_middle_of_writing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for delay in (0.0, 0.013, 0.05, 0.11, 0.2):
        written = 0
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, path], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            assert process.stdout is not None
            written = int(process.stdout.readline())
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            for line in process.stdout:
                if line.endswith("\n"):
                    written = int(line)
            assert process.wait(20) == -signal.SIGKILL
        store = Database(path, 1e9, 1 << 30)
        run = store.runs()[0]
        assert run["reason"] == "daemon ended"
        counts = {row["count"] for row in store.groups(run["id"])}
        assert len(counts) == 1, "half a batch was kept"
        assert counts <= {written, written + 1}, "a batch that was written is gone"
        assert store.examples(run["id"], f"g{written}")[0]["example"] == {"n": written}
        store.close()
        raw = sqlite3.connect(path)
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        raw.close()
    store = Database(path, 1e9, 1 << 30)
    assert len(store.runs()) == 5
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path, root_user: None) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False, timeout=20)
    need(mounted.returncode == 0, "needs to mount a tmpfs")
    yield place
    subprocess.run(["umount", place], check=True, timeout=20)


def examples(run: int, number: int) -> Batch:
    batch = Batch()
    batch.examples = [
        {"run": run, "group": f"g{number}-{n}", "time": time.time(), "example": {"x": os.urandom(5_000).hex()}}
        for n in range(10)
    ]
    return batch


def fill_disk(ballast: Path) -> None:
    """Half of the disk at once, then kilobyte by kilobyte until there is no room."""
    with ballast.open("wb", buffering=0) as file:
        file.write(bytes(600 << 10))
        with contextlib.suppress(OSError):
            while file.write(bytes(1024)):
                pass
    assert os.statvfs(ballast.parent).f_bfree == 0


def test_a_full_disk_is_told_and_what_was_written_stays(small_disk: Path) -> None:
    path = small_disk / "store.db"
    store = Database(path, DAY, 1 << 30)
    run = store.begin_run("a", "t", "", "", time.time())
    written = 0

    def write_until_full() -> None:
        nonlocal written
        for number in range(100):
            store.write(examples(run, number))
            written += 1

    with pytest.raises(StoreError, match=r"the disk is full — free space"):
        write_until_full()
    assert written > 0
    assert len(store.examples(run, f"g{written - 1}-9")) == 1
    assert store.examples(run, f"g{written}-0") == []
    store.close()
    again = Database(path, DAY, 1 << 30)
    assert len(again.examples(run, f"g{written - 1}-9")) == 1
    again.close()


def test_a_full_disk_stops_storing_until_there_is_room(small_disk: Path) -> None:
    path = small_disk / "store.db"
    writer = StoreWriter(path, DAY, 1 << 30, retry_seconds=0.1)
    ballast = small_disk / "ballast"

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(writer.run)
            run = await writer.ask(lambda store: store.begin_run("a", "t", "", "", time.time()))
            fill_disk(ballast)
            with trio.fail_after(20):
                number = 0
                while not writer.problem:
                    writer.submit_nowait(examples(run, number))
                    number += 1
                    await trio.sleep(0.01)
                assert "the disk is full" in writer.problem
                assert not writer.submit_nowait(examples(run, number))
                ballast.unlink()
                while not writer.submit_nowait(examples(run, 1000)):
                    await trio.sleep(0.01)
                while not await stored_again(run):
                    await trio.sleep(0.01)
                    writer.submit_nowait(examples(run, 1000))
            nursery.cancel_scope.cancel()

    async def stored_again(run: int) -> bool:
        try:
            return bool(await writer.ask(lambda store: store.examples(run, "g1000-9")))
        except StoreError:
            return False

    trio.run(main)
    told = writer.statistics()
    assert told.failures >= 1
    assert told.dropped >= 1
    assert told.problem == ""
