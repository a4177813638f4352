"""Schemas of gRPC (``descriptors``): read for the filters that name one, and read again when the file has changed.

A build writes the file anew, now and then while the daemon runs. It is looked at every ``LOOK_EVERY`` seconds, and read
when it is the same at two looks: half a file is let finish. One that cannot be used leaves the schema that was read
before in force, and is told in ``status``. Files are read and indexed in a thread: a large one takes half a second.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import trio

from shadowd.compare.descriptors import Schema, SchemaError, schema_untrusted
from shadowd.config.filter import FilterSpec
from shadowd.errors import ShadowdError, UsageError

LOOK_EVERY = 2.0
#: Of one file. All of googleapis has some 10 MB without its comments; reading it takes half a second and 25 MB.
MAX_FILE = 16 << 20
_REMEDY = "write it with protoc --include_imports --descriptor_set_out=FILE, or buf build -o FILE"

_Stamp = tuple[int, int, int, int] | None


def read_schema(path: str) -> tuple[Schema, _Stamp]:
    """And by what it is known that the file has changed. Raises UsageError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"{path} is no file", _REMEDY)
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", _REMEDY) from None
    if len(data) > MAX_FILE:
        raise UsageError(
            f"{path} has more than {MAX_FILE >> 20} MB",
            "leave out comments (buf build --exclude-source-info) and what the service does not import",
        )
    try:
        return schema_untrusted(data), _stamp_of(found)
    except SchemaError as error:
        raise UsageError(f"{path} cannot be used: {error}", _REMEDY) from None


def _stamp_of(found: os.stat_result) -> _Stamp:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _stamps(paths: Iterable[str]) -> dict[str, _Stamp]:
    """Now; None of a file that is not there."""
    stamps: dict[str, _Stamp] = {}
    for path in paths:
        try:
            stamps[path] = _stamp_of(Path(path).stat())
        except OSError:
            stamps[path] = None
    return stamps


class Schemas:
    """By path. ``in_use``: those that filters name now; ``on_change`` is told a path whose schema is another.
    ``problems``: of files that changed and cannot be used, by path."""

    def __init__(self, in_use: Callable[[], Collection[str]], on_change: Callable[[str], None]) -> None:
        self._in_use = in_use
        self._on_change = on_change
        self._read: dict[str, Schema] = {}
        self._stamps: dict[str, _Stamp] = {}  # of what was read, or tried
        self.problems: dict[str, str] = {}

    def check(self, path: str) -> None:
        """Read a schema that a filter names anew. Raises UsageError."""
        if path not in self._read or _stamps([path])[path] != self._stamps[path] or path in self.problems:
            self._read[path], self._stamps[path] = read_schema(path)
            self.problems.pop(path, None)

    async def prepare(self, spec: FilterSpec) -> None:
        """As ``check``, before it, in a thread."""
        if spec.descriptors is not None:
            await trio.to_thread.run_sync(self.check, spec.descriptors)

    def of(self, spec: FilterSpec) -> Schema | None:
        return None if spec.descriptors is None else self._read.get(spec.descriptors)

    async def run(self) -> None:
        """Until cancelled."""
        before: dict[str, _Stamp] = {}
        while True:
            await trio.sleep(LOOK_EVERY)
            wanted = set(self._in_use())
            for path in self._read.keys() - wanted:
                del self._read[path], self._stamps[path]
                self.problems.pop(path, None)
            if wanted:
                before = await self._look(wanted, before)

    async def _look(self, wanted: set[str], before: dict[str, _Stamp]) -> dict[str, _Stamp]:
        seen = await trio.to_thread.run_sync(_stamps, wanted, abandon_on_cancel=True)
        for path, stamp in seen.items():
            if path not in self._read or stamp == self._stamps[path] or before.get(path) != stamp:
                continue
            try:
                self._read[path], stamp = await trio.to_thread.run_sync(read_schema, path)
                self.problems.pop(path, None)
                self._on_change(path)
            except ShadowdError as error:
                self.problems[path] = f"descriptors: {error.problem}; the schema read before stays — {error.remedy}"
            self._stamps[path] = stamp
        return seen
