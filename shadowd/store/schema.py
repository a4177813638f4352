"""The store's file: its tables, its version, and whether a file may be opened at all.

A file is looked at before SQLite touches it: the 100-byte header (sqlite.org/fileformat2.html §1.3) holds the version
and the application's id, so that a store from a newer shadowd, and a database of somebody else, stay as they are.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from shadowd.errors import ShadowdError
from shadowd.store.ownfiles import check_regular, open_regular

VERSION = 2
APPLICATION = 0x73686477  # "shdw"

_MAGIC = b"SQLite format 3\0"
_CHECKED_BYTES = 256 << 20  # a whole check takes 0.2 s for so many; larger stores show their faults when they are read

_EVIDENCE = """
CREATE TABLE evidence (
  run INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE, time REAL NOT NULL, boot TEXT NOT NULL,
  spec TEXT NOT NULL, data BLOB NOT NULL);
"""
#: What makes a store of the version before one of this: added to, never rewritten.
MIGRATIONS = {1: _EVIDENCE}

TABLES = f"""{_EVIDENCE}
CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, filter TEXT NOT NULL, target TEXT NOT NULL, label TEXT NOT NULL,
  key TEXT NOT NULL, started REAL NOT NULL, ended REAL, reason TEXT NOT NULL DEFAULT '');
CREATE INDEX runs_of_filter ON runs (filter, id);
CREATE TABLE rollups (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, minute INTEGER NOT NULL, counts TEXT NOT NULL,
  sketches BLOB NOT NULL, PRIMARY KEY (run, minute));
CREATE TABLE "groups" (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, id TEXT NOT NULL, endpoint TEXT NOT NULL,
  place TEXT NOT NULL, path TEXT NOT NULL, kind TEXT NOT NULL, label TEXT NOT NULL, count INTEGER NOT NULL,
  exchanges INTEGER NOT NULL, first REAL NOT NULL, last REAL NOT NULL, details TEXT NOT NULL, PRIMARY KEY (run, id));
CREATE TABLE examples (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, group_id TEXT NOT NULL, n INTEGER NOT NULL,
  time REAL NOT NULL, example BLOB NOT NULL, PRIMARY KEY (run, group_id, n));
CREATE INDEX examples_by_time ON examples (time);
CREATE TABLE signatures (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, fingerprint TEXT NOT NULL, kind TEXT NOT NULL,
  title TEXT NOT NULL, new INTEGER NOT NULL, count INTEGER NOT NULL, production_count INTEGER NOT NULL,
  endpoints TEXT NOT NULL, first REAL NOT NULL, last REAL NOT NULL, example TEXT NOT NULL,
  PRIMARY KEY (run, fingerprint));
CREATE TABLE verdicts (
  run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, time REAL NOT NULL, verdict TEXT NOT NULL,
  score REAL NOT NULL, details TEXT NOT NULL);
CREATE INDEX verdicts_of_run ON verdicts (run, time);
CREATE TABLE overrides (
  filter TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('noise', 'expect')), rule TEXT NOT NULL,
  PRIMARY KEY (filter, kind, rule));
"""


class StoreError(ShadowdError):
    """The store cannot be opened, read or written; nothing in it was deleted."""


class RowError(StoreError):
    """Something cannot be stored as it is (not JSON, not finite, too large): the caller's fault; the store is well."""


def inspect(path: Path) -> bool:
    """Whether there is a store at ``path``; False where there is none yet (no file, or an empty one).

    Raises StoreError for a file that is no store, or a newer shadowd's. Reads the file's first 100 bytes only.
    """
    try:
        for beside in ("-wal", "-shm", "-journal"):
            check_regular(path.with_name(path.name + beside))
        with os.fdopen(open_regular(path), "rb") as file:
            header = file.read(100)
    except StoreError:
        raise
    except ShadowdError as error:
        raise StoreError(error.problem, error.remedy) from None
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}", _PERMISSIONS) from None
    if not header:
        return False
    if len(header) < 100 or not header.startswith(_MAGIC):
        raise corrupt(path, "it is no SQLite database")
    _check_version(path, int.from_bytes(header[60:64], "big"), int.from_bytes(header[68:72], "big"))
    return True


def create(path: Path) -> None:
    """A new, empty store, readable by its owner only; its directory is made if it is missing. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    )  # SQLite gives -wal and -shm the same mode


def prepare(connection: sqlite3.Connection, path: Path, exists: bool) -> None:
    """Make the tables, or check those that are there. Raises StoreError, sqlite3.Error."""
    if exists and int(connection.execute("PRAGMA page_count").fetchone()[0]):  # none: killed while it was made
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        _check_version(path, version, int(connection.execute("PRAGMA application_id").fetchone()[0]))
        if path.stat().st_size <= _CHECKED_BYTES:
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            if verdict != "ok":
                raise corrupt(path, verdict.splitlines()[-1][:120])
        connection.execute("SELECT count(*) FROM runs").fetchone()
        for before in range(version, VERSION):  # each whole or not at all: a crash leaves a store of a known version
            connection.executescript(
                f"BEGIN IMMEDIATE; {MIGRATIONS[before]} PRAGMA user_version = {before + 1}; COMMIT;"
            )
    else:  # one transaction, and in the main file before WAL begins: after a crash there is all of it or nothing
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        script = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
        connection.executescript(f"BEGIN IMMEDIATE; {script} {TABLES} COMMIT;")
    connection.execute("PRAGMA journal_mode = WAL")


def corrupt(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: the store is corrupt: {what}", f"move {path.name}* away; a new store is then begun")


def explain(path: Path, error: Exception) -> StoreError:
    """What SQLite or the system said, for people, by SQLite's primary result code (sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return corrupt(path, str(error))
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"{path}: cannot be written: the disk is full", "free space, or lower the store's size")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"{path}: locked by another process", "end whatever holds it: only shadowd writes the store")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return StoreError(f"{path}: cannot be opened or written: {error}", _PERMISSIONS)
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(f"{path}: cannot be read or written: {error}", "check the disk and its free space")
    if code in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG) or isinstance(
        error, (ValueError, TypeError, OverflowError, sqlite3.InterfaceError)
    ):
        return RowError(f"{path}: something could not be stored: {error}", "report it with this line")
    if isinstance(error, OSError):
        return StoreError(f"{path}: {error.strerror or error}", _PERMISSIONS)
    return StoreError(f"{path}: {error}", "report it with this line")


def _check_version(path: Path, version: int, application: int) -> None:
    if application != APPLICATION:
        raise StoreError(f"{path}: it is a database, but no store of shadowd", "choose another path for the store")
    if version > VERSION:
        raise StoreError(
            f"{path}: the store was written by a newer shadowd (format {version}, this one knows {VERSION})",
            "run that version, or move the store away",
        )


_PERMISSIONS = "check the directory, its owner, its permissions and its free space"
