"""The store: what shadowd learned about each filter, run by run, in one SQLite file.

A *run* is one comparison of two versions. Its rows are written in batches, one transaction each, in WAL mode with
``synchronous=NORMAL``: after kill -9 every committed batch is there, after a power cut all but the last few, and the
file is never torn. The size is bounded: what is older than ``keep_seconds`` goes, then the oldest runs, then the oldest
examples, and the freed pages are given back to the file system (``auto_vacuum=INCREMENTAL``).

Everything here blocks: the daemon calls it in a thread, one call at a time. Every method raises StoreError only.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from shadowd.store import schema
from shadowd.store.batch import Batch
from shadowd.store.schema import RowError, StoreError

__all__ = ["EXAMPLES", "Database", "RowError", "StoreError"]

EXAMPLES = 20  # a group: enough to see a pattern

Override = Literal["noise", "expect"]

_BUSY_MS = 2_000  # somebody else's lock is waited for, as long as a shutdown may take; then told
_PAGE = 4096
_CHUNK = 256  # rows deleted in one transaction: the WAL that a deletion needs stays below the size that it frees
_VACUUM_PAGES = 2048  # 8 MB of log at most, for the same reason
_FILL = 0.9  # of the size a prune leaves: not each minute's rows must prune again
_EVIDENCE_SECONDS = 7200.0  # of a run that is over: twice as long as it may be taken up again
_RUN_TABLES = ("evidence", "examples", "rollups", "verdicts", "signatures", '"groups"')


class Database:
    """One open store. ``unfinished``: why runs that a dead daemon left open ended (at the last thing they wrote), or
    None to leave them: for a second reader of a store that is in use."""

    __slots__ = ("_connection", "_keep", "_max_bytes", "path")

    def __init__(
        self, path: Path, keep_seconds: float, max_bytes: int, *, unfinished: str | None = "daemon ended"
    ) -> None:
        self.path = path
        self._keep = keep_seconds
        self._max_bytes = max_bytes
        with self._told():
            exists = schema.inspect(path)
            if not exists:
                schema.create(path)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False, cached_statements=64
            )
        try:
            with self._told():
                schema.prepare(self._connection, path, exists)
                self._configure()
                if unfinished is not None:
                    self._end_unfinished(unfinished)
        except BaseException:
            self._connection.close()
            raise

    def _configure(self) -> None:
        self._connection.row_factory = sqlite3.Row
        wal_pages = min(1000, max(16, self._max_bytes // 16 // _PAGE))  # 1000 is SQLite's own; small stores, small WAL
        for setting in (
            "synchronous = NORMAL",
            "foreign_keys = ON",
            f"wal_autocheckpoint = {wal_pages}",
            f"journal_size_limit = {wal_pages * _PAGE}",
            "cache_size = -2048",  # KB: the daemon's whole budget is 64 MB
            "temp_store = MEMORY",
        ):
            self._connection.execute(f"PRAGMA {setting}")

    # -- runs ------------------------------------------------------------------------------------------------------

    def begin_run(self, filter: str, target: str, label: str, key: str, now: float) -> int:  # noqa: A002
        """The id of a new run. ``label`` is the operator's, ``key`` names the build under test; both may be ""."""
        with self._told(), self._transaction() as connection:
            row = connection.execute(
                "INSERT INTO runs (filter, target, label, key, started) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (_text(filter), _text(target), _text(label), _text(key), now),
            ).fetchone()
        return int(row["id"])

    def end_run(self, run: int, now: float, reason: str) -> None:
        """``run`` is over; one that is over already stays as it is."""
        with self._told(), self._transaction() as connection:
            connection.execute(
                "UPDATE runs SET ended = ?, reason = ? WHERE id = ? AND ended IS NULL", (now, _text(reason), run)
            )

    def resume_run(self, run: int) -> None:
        """``run`` goes on: its end was the daemon's."""
        with self._told(), self._transaction() as connection:
            connection.execute("UPDATE runs SET ended = NULL, reason = '' WHERE id = ?", (run,))

    def resumable(self, since: float, reasons: Sequence[str]) -> list[dict[str, Any]]:
        """The latest run of each filter and target if it ended after ``since`` for one of the reasons and has evidence:
        ``EvidenceRow`` with the run's filter, target, label and started."""
        marks = ", ".join("?" * len(reasons))
        return self._rows(
            f"""SELECT evidence.*, runs.filter, runs.target, runs.label, runs.started
            FROM runs JOIN evidence ON evidence.run = runs.id
            WHERE runs.id IN (SELECT max(id) FROM runs GROUP BY filter, target)
            AND runs.reason IN ({marks}) AND max(runs.ended, evidence.time) >= ?""",
            (*reasons, since),
        )

    def evidence_of(self, filter: str, run: str) -> dict[str, Any] | None:  # noqa: A002
        """The newest run of the filter with this id or label that has evidence, as ``resumable`` gives it."""
        rows = self._rows(
            """SELECT evidence.*, runs.filter, runs.target, runs.label, runs.started
            FROM runs JOIN evidence ON evidence.run = runs.id
            WHERE runs.filter = ? AND (CAST(runs.id AS TEXT) = ? OR runs.label = ?) ORDER BY runs.id DESC LIMIT 1""",
            (filter, run, run),
        )
        return rows[0] if rows else None

    def runs(self, filter: str | None = None) -> list[dict[str, Any]]:  # noqa: A002
        """Newest first: id, filter, target, label, key, started, ended (None while it lasts), reason, and the last
        verdict and score (None before the first)."""
        where, values = ("WHERE filter = ?", (filter,)) if filter is not None else ("", ())
        last = "SELECT {} FROM verdicts WHERE run = runs.id ORDER BY time DESC, rowid DESC LIMIT 1"
        columns = ", ".join(f"({last.format(name)}) AS {name}" for name in ("verdict", "score"))
        return self._rows(f"SELECT *, {columns} FROM runs {where} ORDER BY id DESC", values)

    def latest_run(self, filter: str) -> dict[str, Any] | None:  # noqa: A002
        found = self._rows("SELECT * FROM runs WHERE filter = ? ORDER BY id DESC LIMIT 1", (filter,))
        return found[0] if found else None

    # -- what a run holds ------------------------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """All of it or nothing, one transaction."""
        with self._told(), self._transaction() as connection:
            runs = {int(row[0]) for row in connection.execute("SELECT id FROM runs")}
            connection.executemany(
                "INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?)",
                (
                    (row["run"], row["minute"], _json(row["counts"]), row["sketches"])
                    for row in batch.rollups
                    if row["run"] in runs
                ),
            )
            connection.executemany(
                'INSERT OR REPLACE INTO "groups" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
                (
                    (
                        *(row["run"], _text(row["id"]), _text(row["endpoint"]), _text(row["place"])),
                        *(_text(row["path"]), _text(row["kind"]), _text(row["label"]), row["count"], row["exchanges"]),
                        *(row["first"], row["last"], _json(row["details"])),
                    )
                    for row in batch.groups
                    if row["run"] in runs
                ),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO signatures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        *(row["run"], _text(row["fingerprint"]), _text(row["kind"]), _text(row["title"]), row["new"]),
                        *(row["count"], row["production_count"], _json(row["endpoints"]), row["first"], row["last"]),
                        _json(row["example"]),
                    )
                    for row in batch.signatures
                    if row["run"] in runs
                ),
            )
            self._write_examples(batch, runs)
            self._write_verdicts(batch, runs)
            connection.executemany(
                "INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?, ?)",
                (
                    (row["run"], row["time"], row["boot"], row["spec"], row["data"])
                    for row in batch.evidence
                    if row["run"] in runs
                ),
            )

    def _write_examples(self, batch: Batch, runs: set[int]) -> None:
        execute = self._connection.execute
        for row in batch.examples:
            if row["run"] not in runs:
                continue
            key = row["run"], _text(row["group"])
            last = "SELECT coalesce(max(n), 0) FROM examples WHERE run = ? AND group_id = ?"
            n = int(execute(last, key).fetchone()[0]) + 1
            blob = zlib.compress(_json(row["example"]).encode())
            execute("INSERT INTO examples VALUES (?, ?, ?, ?, ?)", (*key, n, row["time"], blob))
            execute("DELETE FROM examples WHERE run = ? AND group_id = ? AND n <= ?", (*key, n - EXAMPLES))

    def _write_verdicts(self, batch: Batch, runs: set[int]) -> None:
        execute = self._connection.execute
        for row in batch.verdicts:
            if row["run"] not in runs:
                continue
            last = execute(
                "SELECT rowid, time, verdict FROM verdicts WHERE run = ? ORDER BY time DESC, rowid DESC LIMIT 1",
                (row["run"],),
            ).fetchone()
            if last and last["verdict"] == row["verdict"] and last["time"] // 60 == row["time"] // 60:
                execute("DELETE FROM verdicts WHERE rowid = ?", (last["rowid"],))
            values = row["run"], row["time"], _text(row["verdict"]), row["score"], _json(row["details"])
            execute("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?)", values)

    def groups(self, run: int, limit: int = 1000) -> list[dict[str, Any]]:
        """As ``Group``, those with most differences first."""
        query = 'SELECT * FROM "groups" WHERE run = ? ORDER BY count DESC, id LIMIT ?'
        return [_parsed(row, "details") for row in self._rows(query, (run, limit))]

    def examples(self, run: int, group: str) -> list[dict[str, Any]]:
        """``n``, ``time``, ``example``: newest first."""
        query = "SELECT n, time, example FROM examples WHERE run = ? AND group_id = ? ORDER BY n DESC"
        with self._told():
            return [
                {"n": row["n"], "time": row["time"], "example": json.loads(zlib.decompress(row["example"]))}
                for row in self._rows(query, (run, group))
            ]

    def signatures(self, run: int) -> list[dict[str, Any]]:
        """As ``SignatureRow``, the new ones first, then the most frequent."""
        query = "SELECT * FROM signatures WHERE run = ? ORDER BY new DESC, count DESC, fingerprint"
        return [{**_parsed(row, "endpoints", "example"), "new": bool(row["new"])} for row in self._rows(query, (run,))]

    def rollups(self, run: int) -> list[dict[str, Any]]:
        """As ``Rollup``, in order of time."""
        query = "SELECT * FROM rollups WHERE run = ? ORDER BY minute"
        return [_parsed(row, "counts") for row in self._rows(query, (run,))]

    def verdicts(self, run: int) -> list[dict[str, Any]]:
        """As ``VerdictRow``, in order of time."""
        query = "SELECT * FROM verdicts WHERE run = ? ORDER BY time, rowid"
        return [_parsed(row, "details") for row in self._rows(query, (run,))]

    # -- what the operator decided -----------------------------------------------------------------------------------

    def overrides(self, filter: str) -> list[dict[str, Any]]:  # noqa: A002
        """``kind`` and ``rule``, in a stable order. They outlive every run."""
        query = "SELECT kind, rule FROM overrides WHERE filter = ? ORDER BY kind, rule"
        return [_parsed(row, "rule") for row in self._rows(query, (filter,))]

    def add_override(self, filter: str, kind: Override, rule: dict[str, Any]) -> None:  # noqa: A002
        """Adding one that is there changes nothing."""
        with self._told(), self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO overrides VALUES (?, ?, ?)", (_text(filter), kind, _json(rule)))

    def remove_override(self, filter: str, kind: Override, rule: dict[str, Any]) -> bool:  # noqa: A002
        """Whether there was one."""
        with self._told(), self._transaction() as connection:
            deleted = connection.execute(
                "DELETE FROM overrides WHERE filter = ? AND kind = ? AND rule = ?", (_text(filter), kind, _json(rule))
            )
        return deleted.rowcount > 0

    # -- size --------------------------------------------------------------------------------------------------------

    def size(self) -> int:
        """Bytes on disk: the file and its write-ahead log."""
        total = 0
        for suffix in ("", "-wal"):
            with self._told(), contextlib.suppress(FileNotFoundError):  # no log: nothing was written since
                total += os.stat(f"{self.path}{suffix}").st_size
        return total

    def prune(self, now: float) -> dict[str, int]:
        """Delete what is too old, then what is too much; ``{"runs": n, "rows": n, "bytes": freed on disk}``.

        Too much: the oldest ended run first (its examples, then itself), then of the runs that last the oldest
        examples, minutes and verdicts, until the file has room again. Groups, signatures and overrides of a run that
        lasts are never deleted for size: they are bounded by their makers.
        """
        before = self.size()
        deleted = {"runs": 0, "rows": 0}
        with self._told():
            self._prune_old(now - self._keep, deleted)
            over = "SELECT run FROM evidence JOIN runs ON id = run WHERE ended < ?"
            while self._delete(over, "evidence", (now - _EVIDENCE_SECONDS,), deleted):
                pass
            self._give_back()
            if self.size() > self._max_bytes:
                # what is used decides, and not the file: a reader may keep the log from being emptied for now
                while self._used() > self._max_bytes * _FILL and self._delete_oldest(deleted):
                    pass
                self._give_back()
        return {**deleted, "bytes": max(0, before - self.size())}

    def _prune_old(self, limit: float, deleted: dict[str, int]) -> None:
        for row in self._rows("SELECT id FROM runs WHERE ended < ? ORDER BY id", (limit,)):
            self._delete_run(row["id"], deleted)
        for table, condition in (
            ("rollups", "minute < ? / 60.0"),
            ("examples", "time < ?"),
            ("verdicts", "time < ?"),
            ("signatures", "last < ?"),
            ('"groups"', "last < ?"),
        ):
            while self._delete(f"SELECT rowid FROM {table} WHERE {condition}", table, (limit,), deleted):
                pass

    def _delete_oldest(self, deleted: dict[str, int]) -> bool:
        """One step; False when there is nothing left that may go."""
        ended = self._rows("SELECT id FROM runs WHERE ended IS NOT NULL ORDER BY id LIMIT 1")
        if ended:  # its examples, some at a time, and then the rest: it may be the only run, and still be wanted
            run = ended[0]["id"]
            if not self._delete("SELECT rowid FROM examples WHERE run = ? ORDER BY time", "examples", (run,), deleted):
                self._delete_run(run, deleted)
            return True
        order = {"examples": "time", "rollups": "minute", "verdicts": "time"}
        return any(
            self._delete(f"SELECT rowid FROM {table} ORDER BY {column}", table, (), deleted)
            for table, column in order.items()
        )

    def _delete_run(self, run: int, deleted: dict[str, int]) -> None:
        for table in _RUN_TABLES:
            while self._delete(f"SELECT rowid FROM {table} WHERE run = ?", table, (run,), deleted):
                pass
        with self._transaction() as connection:
            connection.execute("DELETE FROM runs WHERE id = ?", (run,))
        deleted["runs"] += 1

    def _delete(self, rows: str, table: str, values: Sequence[object], deleted: dict[str, int]) -> bool:
        with self._transaction() as connection:
            query = f"DELETE FROM {table} WHERE rowid IN ({rows} LIMIT {_CHUNK})"
            count = connection.execute(query, values).rowcount
        deleted["rows"] += count
        return count > 0

    def _used(self) -> int:
        """Bytes of pages that hold something, the log's among them."""
        pages = self._pragma("page_count") - self._pragma("freelist_count")
        return pages * self._pragma("page_size")

    def _give_back(self) -> None:
        """Free pages to the file system, the log to nothing (as far as readers allow)."""
        free = self._pragma("freelist_count")
        while free:  # in steps: the pages that are moved pass through the log
            # one result row without columns for each page: only executescript steps through them all
            self._connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            before, free = free, self._pragma("freelist_count")
            if free >= before:
                break
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    # -- the file ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The log goes into the file. Closing twice is harmless."""
        with self._told():
            self._connection.close()

    def _end_unfinished(self, reason: str) -> None:
        with self._transaction() as connection:
            connection.execute(
                """UPDATE runs SET reason = ?, ended = max(started,
                   coalesce((SELECT 60.0 * max(minute) FROM rollups WHERE run = runs.id), 0),
                   coalesce((SELECT max(time) FROM verdicts WHERE run = runs.id), 0)) WHERE ended IS NULL""",
                (_text(reason),),
            )

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        with self._told():
            return [dict(row) for row in self._connection.execute(query, values)]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite ends it itself when the disk is full
                connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever goes wrong is a StoreError: the system's, SQLite's, and rows that cannot be stored as they are."""
        try:
            yield
        except StoreError:
            raise
        except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError, zlib.error) as error:
            raise schema.explain(self.path, error) from error


def _json(value: object) -> str:
    """Canonical (equal values are equal texts); NaN and infinities are refused with ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _text(value: str) -> str:
    """Lone surrogates (undecodable bytes of the network) as question marks: SQLite holds UTF-8."""
    return value.encode("utf-8", "replace").decode()


def _parsed(row: dict[str, Any], *columns: str) -> dict[str, Any]:
    return {name: json.loads(value) if name in columns else value for name, value in row.items()}
