"""The store's file: what is written is read, versions and corruption are told, and age and size are bounded."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowd.store import schema
from shadowd.store.batch import Batch
from shadowd.store.database import EXAMPLES, Database, RowError, StoreError

DAY = 86_400.0
MEGABYTE = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Database]:
    database = Database(path, 14 * DAY, 1 << 30)
    yield database
    database.close()


def group(run: int, id: str = "g1", count: int = 1, last: float = 2.0, **others: Any) -> Any:  # noqa: A002
    row = {
        "run": run, "id": id, "endpoint": "GET /orders/{id}", "place": "body", "path": "$.total", "kind": "value",
        "label": "", "count": count, "exchanges": 100, "first": 1.0, "last": last, "details": {"share": 0.5},
    }  # fmt: skip
    return row | others


def signature(run: int, fingerprint: str, **others: Any) -> Any:
    row = {
        "run": run, "fingerprint": fingerprint, "kind": "5xx", "title": "boom", "new": False, "count": 1,
        "production_count": 0, "endpoints": ["GET /"], "first": 1.0, "last": 2.0, "example": {"a": 1},
    }  # fmt: skip
    return row | others


def example(run: int, group: str, text: str = "x", time: float = 1.0) -> Any:
    return {"run": run, "group": group, "time": time, "example": {"text": text}}


def verdict(run: int, time: float, verdict: str = "pass", score: float = 1.0) -> Any:
    return {"run": run, "time": time, "verdict": verdict, "score": score, "details": {}}


def batch(**rows: list[Any]) -> Batch:
    made = Batch()
    for name, values in rows.items():
        getattr(made, name).extend(values)
    return made


def noise(bytes_: int, seed: int = 0) -> str:
    """Text that does not compress to less than half."""
    return random.Random(seed).randbytes(bytes_ // 2).hex()


# -- what is written is read -----------------------------------------------------------------------------------------


def test_runs(store: Database) -> None:
    assert store.latest_run("a") is None
    first = store.begin_run("a", "http://x", "v1", "k1", 10.0)
    other = store.begin_run("b", "http://y", "", "", 11.0)
    second = store.begin_run("a", "http://x", "v2", "k2", 12.0)
    store.end_run(first, 11.5, "another began")
    store.end_run(first, 99.0, "too late")
    assert store.runs("a") == [
        {"id": second, "filter": "a", "target": "http://x", "label": "v2", "key": "k2", "started": 12.0, "ended": None,
         "reason": "", "verdict": None, "score": None},
        {"id": first, "filter": "a", "target": "http://x", "label": "v1", "key": "k1", "started": 10.0, "ended": 11.5,
         "reason": "another began", "verdict": None, "score": None},
    ]  # fmt: skip
    assert [run["id"] for run in store.runs()] == [second, other, first]
    latest = store.latest_run("a")
    assert latest is not None
    assert latest["id"] == second


def test_rows_come_back_and_are_replaced(store: Database) -> None:
    run = store.begin_run("a", "t", "", "", 0.0)
    other = store.begin_run("b", "t", "", "", 0.0)
    store.write(
        batch(
            rollups=[{"run": run, "minute": 5, "counts": {"seen": 1}, "sketches": b"\x00\xff"}],
            groups=[group(run), group(run, "g2", 7), group(other)],
            signatures=[signature(run, "f1"), signature(run, "f2", new=True)],
        )
    )
    store.write(
        batch(
            rollups=[
                {"run": run, "minute": 5, "counts": {"seen": 2}, "sketches": b"b"},
                {"run": run, "minute": 4, "counts": {}, "sketches": b""},
            ],
            groups=[group(run, count=9)],
            signatures=[signature(run, "f1", count=4, example={"curl": "\udc80"})],
        )
    )
    assert store.rollups(run) == [
        {"run": run, "minute": 4, "counts": {}, "sketches": b""},
        {"run": run, "minute": 5, "counts": {"seen": 2}, "sketches": b"b"},
    ]
    assert store.groups(run) == [group(run, count=9), group(run, "g2", 7)]
    assert store.groups(run, 1) == [group(run, count=9)]
    assert store.groups(other) == [group(other)]
    assert store.signatures(run) == [
        signature(run, "f2", new=True), signature(run, "f1", count=4, example={"curl": "\udc80"})
    ]  # fmt: skip


def test_the_newest_examples_of_a_group_are_kept(store: Database) -> None:
    run = store.begin_run("a", "t", "", "", 0.0)
    for start in range(0, 50, 10):
        store.write(batch(examples=[example(run, "g", str(n), float(n)) for n in range(start, start + 10)]))
    store.write(batch(examples=[example(run, "h", "alone")]))
    assert [row["example"]["text"] for row in store.examples(run, "g")] == [
        str(n) for n in range(49, 49 - EXAMPLES, -1)
    ]
    assert [row["example"] for row in store.examples(run, "h")] == [{"text": "alone"}]


def test_verdict_history_has_the_changes_and_one_a_minute(store: Database) -> None:
    run = store.begin_run("a", "t", "", "", 0.0)
    told = [
        (0, "inconclusive"),
        (10, "inconclusive"),
        (20, "pass"),
        (30, "pass"),
        (59, "fail"),
        (61, "fail"),
        (70, "fail"),
    ]
    for time, word in told:
        store.write(batch(verdicts=[verdict(run, float(time), word, time)]))
    assert [(row["time"], row["verdict"], row["score"]) for row in store.verdicts(run)] == [
        (10, "inconclusive", 10), (30, "pass", 30), (59, "fail", 59), (70, "fail", 70)
    ]  # fmt: skip
    assert [(row["verdict"], row["score"]) for row in store.runs()] == [("fail", 70)]


def test_overrides(store: Database) -> None:
    rule = {"path": "$.requestId", "change": ["extra", "value"]}
    store.add_override("a", "noise", rule)
    store.add_override("a", "noise", dict(reversed(rule.items())))
    store.add_override("a", "expect", {"header": "etag"})
    store.add_override("b", "noise", rule)
    assert store.overrides("a") == [
        {"kind": "expect", "rule": {"header": "etag"}},
        {"kind": "noise", "rule": rule},
    ]
    assert store.remove_override("a", "noise", rule)
    assert not store.remove_override("a", "noise", rule)
    assert [row["kind"] for row in store.overrides("a")] == ["expect"]
    assert store.overrides("b") == [{"kind": "noise", "rule": rule}]


def test_rows_of_an_unknown_run_are_left_out(store: Database) -> None:
    run = store.begin_run("a", "t", "", "", 0.0)
    store.write(
        batch(
            groups=[group(run), group(77)],
            examples=[example(77, "g")],
            verdicts=[verdict(77, 1.0)],
            signatures=[signature(77, "f")],
            rollups=[{"run": 77, "minute": 1, "counts": {}, "sketches": b""}],
        )
    )
    assert len(store.groups(run)) == 1
    assert store.groups(77) == store.examples(77, "g") == store.verdicts(77) == store.signatures(77) == []


@pytest.mark.parametrize(
    "details", [{"x": float("nan")}, {"x": b"bytes"}, {"x": {1, 2}}], ids=["not finite", "bytes", "a set"]
)
def test_what_is_not_json_is_refused_whole(store: Database, details: dict[str, Any]) -> None:
    run = store.begin_run("a", "t", "", "", 0.0)
    with pytest.raises(RowError):
        store.write(batch(groups=[group(run), group(run, "g2", details=details)]))
    assert store.groups(run) == []
    store.write(batch(groups=[group(run)]))
    assert len(store.groups(run)) == 1


def test_a_count_beyond_64_bits_is_refused(store: Database) -> None:
    run = store.begin_run("a", "t", "", "", 0.0)
    with pytest.raises(RowError):
        store.write(batch(groups=[group(run, count=1 << 64)]))


def test_undecodable_text_is_stored(store: Database) -> None:
    run = store.begin_run("a", "t", "", "", 0.0)
    store.write(batch(groups=[group(run, path="$.\udcff")]))
    assert store.groups(run)[0]["path"] == "$.?"


# -- the file --------------------------------------------------------------------------------------------------------


def test_only_the_owner_may_read(path: Path, store: Database) -> None:
    store.begin_run("a", "t", "", "", 0.0)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for name in os.listdir(path.parent):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o600, name
    assert (path.parent / "store.db-wal").exists()


def test_everything_is_there_after_closing(path: Path) -> None:
    first = Database(path, DAY, 1 << 30)
    run = first.begin_run("a", "t", "", "", 5.0)
    first.write(batch(groups=[group(run)], verdicts=[verdict(run, 100.0)]))
    first.write(batch(rollups=[{"run": run, "minute": 3, "counts": {}, "sketches": b""}]))
    first.close()
    first.close()
    second = Database(path, DAY, 1 << 30)
    assert second.groups(run) == [group(run)]
    ended = second.latest_run("a")
    assert ended is not None
    assert (ended["ended"], ended["reason"]) == (180.0, "daemon ended")
    second.close()


def test_a_second_reader_leaves_runs_open(path: Path, store: Database) -> None:
    store.begin_run("a", "t", "", "", 5.0)
    reader = Database(path, DAY, 1 << 30, unfinished=None)
    assert reader.runs()[0]["ended"] is None
    reader.close()


def with_header(path: Path, at: int, value: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at : at + 4] = value.to_bytes(4, "big")
    path.write_bytes(raw)


def test_a_newer_store_is_left_untouched(path: Path) -> None:
    Database(path, DAY, 1 << 30).close()
    with_header(path, 60, schema.VERSION + 1)
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(StoreError, match=f"{path}: the store was written by a newer shadowd .* — run that version"):
        Database(path, DAY, 1 << 30)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert os.listdir(path.parent) == [path.name]


def test_the_database_of_somebody_else_is_left_untouched(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE precious (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="no store of shadowd — choose another path"):
        Database(path, DAY, 1 << 30)
    assert path.read_bytes() == before


def scribble(raw: bytearray) -> bytes:
    """Everything but the header and the first page, which say that it is a store."""
    raw[4096:] = random.Random(1).randbytes(len(raw) - 4096)
    return bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [lambda raw: b"not a database at all" * 100, lambda raw: raw[:50], scribble, lambda raw: raw[: len(raw) // 2 + 7]],
    ids=["text", "a piece of the header", "scribbled pages", "cut off"],
)
def test_a_corrupt_store_is_told_and_kept(path: Path, damage: Callable[[bytearray], bytes]) -> None:
    store = Database(path, DAY, 1 << 30)
    run = store.begin_run("a", "t", "", "", 0.0)
    store.write(batch(examples=[example(run, str(n), noise(3000, n)) for n in range(50)]))
    store.close()
    path.write_bytes(damage(bytearray(path.read_bytes())))
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"store\.db: the store is corrupt: .* — move store\.db\* away"):
        Database(path, DAY, 1 << 30)
    assert path.read_bytes() == before


def test_damage_after_opening_is_told(path: Path) -> None:
    store = Database(path, DAY, 1 << 30)
    run = store.begin_run("a", "t", "", "", 0.0)
    store.write(batch(examples=[example(run, str(n), noise(3000, n)) for n in range(1000)]))
    store.prune(0.0)  # the log into the file
    path.write_bytes(scribble(bytearray(path.read_bytes())))

    def read() -> None:
        for n in range(1000):  # more than its cache holds
            store.examples(run, str(n))

    with pytest.raises(StoreError, match="corrupt"):
        read()
    store.close()


def test_a_store_killed_while_it_was_made_is_made_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"")
    store = Database(path, DAY, 1 << 30)
    assert store.runs() == []
    store.close()


@pytest.mark.parametrize("where", ["a directory", "below a file"])
def test_a_path_that_cannot_be_a_store(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path if where == "a directory" else tmp_path / "file" / "store.db"
    told = r"is a directory and no file — move it away|Not a directory — check the directory"
    with pytest.raises(StoreError, match=told):
        Database(path, DAY, 1 << 30)


def test_a_lock_of_another_process_is_told(path: Path, store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    store._connection.execute("PRAGMA busy_timeout = 50")  # the test's patience, not the daemon's
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked by another process"):
        store.begin_run("a", "t", "", "", 0.0)
    other.execute("ROLLBACK")
    other.close()
    assert store.begin_run("a", "t", "", "", 0.0)


def test_a_reader_sees_whole_batches_while_another_writes(path: Path, store: Database) -> None:
    run = store.begin_run("a", "t", "", "", 0.0)
    reader = Database(path, DAY, 1 << 30, unfinished=None)
    over = threading.Event()
    seen: list[set[int]] = []

    def read() -> None:
        while not over.is_set():
            seen.append({row["count"] for row in reader.groups(run)})

    thread = threading.Thread(target=read)
    thread.start()
    for count in range(1, 200):
        store.write(batch(groups=[group(run, f"g{n}", count) for n in range(20)]))
    over.set()
    thread.join()
    reader.close()
    assert max(map(len, seen)) == 1, "rows of two batches were seen at once"
    assert len({count for counts in seen for count in counts}) > 1, "nothing was read while it was written"


# -- age and size ----------------------------------------------------------------------------------------------------


def test_what_is_too_old_goes(path: Path) -> None:
    store = Database(path, 14 * DAY, 1 << 30)
    now = 100 * DAY
    old = store.begin_run("a", "t", "", "", 10 * DAY)
    store.write(batch(groups=[group(old, last=10 * DAY)], examples=[example(old, "g", time=10 * DAY)]))
    store.end_run(old, 11 * DAY, "done")
    recent = store.begin_run("a", "t", "", "", 80 * DAY)
    store.end_run(recent, 90 * DAY, "done")
    lasting = store.begin_run("a", "t", "", "", 10 * DAY)
    store.add_override("a", "noise", {"path": "$.x"})
    for time in (20 * DAY, 95 * DAY):
        store.write(
            batch(
                rollups=[{"run": lasting, "minute": int(time) // 60, "counts": {}, "sketches": b""}],
                groups=[group(lasting, f"g{time}", last=time)],
                signatures=[signature(lasting, f"f{time}", last=time)],
                examples=[example(lasting, "g", time=time)],
                verdicts=[verdict(lasting, time)],
            )
        )
    assert store.prune(now)["runs"] == 1
    assert [run["id"] for run in store.runs()] == [lasting, recent]
    assert store.groups(old) == store.examples(old, "g") == []
    assert [row["minute"] for row in store.rollups(lasting)] == [95 * 1440]
    assert [row["last"] for row in store.groups(lasting)] == [95 * DAY]
    assert [row["last"] for row in store.signatures(lasting)] == [95 * DAY]
    assert [row["time"] for row in store.examples(lasting, "g")] == [95 * DAY]
    assert [row["time"] for row in store.verdicts(lasting)] == [95 * DAY]
    assert len(store.overrides("a")) == 1
    assert store.prune(now) == {"runs": 0, "rows": 0, "bytes": 0}
    store.close()


def fill(store: Database, run: int, megabytes: int, time: float) -> None:
    for number in range(megabytes):
        rows = [example(run, f"g{number}-{n % 50}", noise(20_000, n), time + number) for n in range(100)]
        store.write(batch(examples=rows, groups=[group(run, f"g{number}")]))


def test_the_oldest_runs_go_until_the_file_is_small_enough(path: Path) -> None:
    store = Database(path, DAY, 4 * MEGABYTE)
    runs = []
    for number in range(3):
        run = store.begin_run("a", "t", "", "", float(number))
        fill(store, run, 2, float(number))
        runs.append(run)
        if number < 2:
            store.end_run(run, number + 1.0, "done")
    before = store.size()
    assert before > 4 * MEGABYTE
    told = store.prune(10.0)
    after = sum(os.stat(path.parent / name).st_size for name in ("store.db", "store.db-wal"))
    assert after == store.size() <= 4 * MEGABYTE
    assert told["bytes"] == before - after
    left = [run["id"] for run in store.runs()]
    assert runs[2] in left
    assert runs[0] not in left
    assert store.examples(runs[2], "g1-0")
    store.close()


def test_the_only_run_loses_its_oldest_examples_and_not_itself(path: Path) -> None:
    store = Database(path, DAY, 2 * MEGABYTE)
    run = store.begin_run("a", "t", "", "", 0.0)
    fill(store, run, 4, 0.0)
    store.end_run(run, 9.0, "done")
    assert store.prune(10.0)["runs"] == 0
    assert MEGABYTE < store.size() <= 2 * MEGABYTE
    assert not store.examples(run, "g0-0")
    assert store.examples(run, "g3-49")
    store.close()


def test_of_a_run_that_lasts_the_oldest_examples_go(path: Path) -> None:
    store = Database(path, DAY, 2 * MEGABYTE)
    run = store.begin_run("a", "t", "", "", 0.0)
    fill(store, run, 4, 0.0)
    store.prune(10.0)
    assert store.size() <= 2 * MEGABYTE
    assert store.runs()[0]["id"] == run
    assert len(store.groups(run)) == 4
    assert not store.examples(run, "g0-0")
    assert store.examples(run, "g3-49")
    store.close()


def test_a_reader_that_holds_the_log_costs_no_rows(path: Path) -> None:
    """The log cannot be emptied while somebody reads: then the file is large, but what it holds is not."""
    store = Database(path, DAY, 4 * MEGABYTE)
    run = store.begin_run("a", "t", "", "", 0.0)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM runs").fetchone()
    store._connection.execute("PRAGMA busy_timeout = 50")  # the test's patience, not the daemon's
    for _ in range(12):  # the same 20 examples are replaced: much log, few rows
        store.write(batch(examples=[example(run, "g", noise(40_000, n)) for n in range(60)]))
    assert store.size() > 4 * MEGABYTE
    assert store.prune(10.0)["rows"] == 0
    assert len(store.examples(run, "g")) == EXAMPLES
    reader.execute("ROLLBACK")
    reader.close()
    store.prune(10.0)
    assert store.size() <= 4 * MEGABYTE
    store.close()


def test_a_store_that_cannot_become_small_enough_ends_pruning(path: Path) -> None:
    store = Database(path, DAY, 1000)
    run = store.begin_run("a", "t", "", "", 0.0)
    store.write(batch(groups=[group(run)], examples=[example(run, "g")]))
    store.prune(1.0)
    assert store.groups(run) == [group(run)]
    store.close()


def test_a_store_of_the_version_before_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with contextlib.closing(Database(path, 1e9, 1 << 30)) as database:
        run = database.begin_run("shop", "http://a", "v1", "", 1.0)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE evidence; PRAGMA user_version = 1;")
    with contextlib.closing(Database(path, 1e9, 1 << 30)) as database:
        batch = Batch()
        batch.evidence += [
            {"run": run, "time": 5.0, "boot": "b", "spec": "s", "data": b"old"},
            {"run": run, "time": 9.0, "boot": "b", "spec": "s", "data": b"new"},
            {"run": run + 1, "time": 9.0, "boot": "b", "spec": "s", "data": b"of no run"},
        ]
        database.write(batch)
        (found,) = database.resumable(8.0, ("daemon ended",))
        assert (found["run"], found["data"], found["label"]) == (run, b"new", "v1")
        assert database.resumable(10.0, ("daemon ended",)) == []
        assert database.resumable(8.0, ("daemon stopped",)) == []
        database.resume_run(run)
        assert database.runs("shop")[0]["ended"] is None
        database.end_run(run, 10.0, "a new run was started")
        assert database.resumable(0.0, ("daemon ended", "daemon stopped")) == []
        database.prune(10.0 + 7201)
        assert database.resumable(0.0, ("a new run was started",)) == []
