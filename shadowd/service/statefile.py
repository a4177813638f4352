"""Filters added with shadowctl, kept across restarts in one small JSON file.

Written whole each time: a temporary file, fsync, rename, fsync of the directory, so that after a crash there is the
old file or the new one. A file that cannot be understood is set aside as ``*.corrupt`` (replacing an earlier one) and
told; it never stops the daemon, and is never overwritten unseen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shadowd.config.document import FilterSpec
from shadowd.errors import ShadowdError, UsageError
from shadowd.store.ownfiles import open_regular

VERSION = 1
SIZE_LIMIT = 16 << 20  # bytes read: 64 filters with every list full are far below it


class StateFile:
    """``path`` is the file; its directory is made when first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> tuple[list[FilterSpec], list[str]]:
        """The filters that are well, and a sentence for each thing that is not.

        A file that does not exist is empty. Raises ShadowdError where it exists and cannot be read: going on would
        overwrite it.
        """
        try:
            with os.fdopen(open_regular(self.path), "rb") as file:
                raw = file.read(SIZE_LIMIT + 1)
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise ShadowdError(
                f"{self.path}: cannot be read: {error.strerror}", "check the state directory's owner and permissions"
            ) from None
        try:
            entries = _entries(raw)
        except ValueError as error:
            return [], [f"{self.path}: {error}; {self._set_aside(raw)}, and no stored filter was started"]
        filters: dict[str, FilterSpec] = {}
        problems = []
        for index, entry in enumerate(entries):
            try:
                spec = FilterSpec.from_wire(entry)
            except UsageError as error:
                fault = "; ".join(str(error).splitlines())
                problems.append(f"{self.path}: stored filter {index} ({_name(entry)}) was left out: {fault}")
                continue
            if spec.name in filters:
                problems.append(f"{self.path}: stored filter {index} ({spec.name}) was left out: the name comes twice")
                continue
            filters[spec.name] = spec
        if problems:
            problems.append(f"{self.path}: {self._set_aside(raw, keep=True)}")
        return list(filters.values()), problems

    def _set_aside(self, raw: bytes, keep: bool = False) -> str:
        """Keep the bytes as ``*.corrupt``; says so, or why not. With ``keep`` the file itself stays too."""
        aside = self.path.with_name(self.path.name + ".corrupt")
        try:
            if keep:
                self._write(aside, raw)
            else:
                self.path.replace(aside)
        except OSError as error:
            return f"it could not be set aside as {aside}: {error.strerror}"
        return f"a copy is kept as {aside}" if keep else f"it was set aside as {aside}"

    def save(self, filters: Sequence[FilterSpec]) -> None:
        """Replace what is stored. Raises OSError; then the old file is as it was."""
        document = {"version": VERSION, "filters": [spec.to_wire() for spec in filters]}
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(self.path, json.dumps(document, indent=1).encode())

    @staticmethod
    def _write(path: Path, raw: bytes) -> None:
        temporary = path.with_name(path.name + ".new")
        temporary.unlink(missing_ok=True)  # left by a crash, maybe with other permissions
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)  # the rename itself must survive a power cut
        finally:
            os.close(directory)


def _entries(raw: bytes) -> list[Any]:
    """The stored tables; raises ValueError with what is wrong."""
    if len(raw) > SIZE_LIMIT:
        raise ValueError(f"larger than {SIZE_LIMIT >> 20} MB")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({type(error).__name__})") from None
    if not isinstance(document, dict) or not isinstance(document.get("filters"), list):
        raise ValueError("not a list of filters")
    if document.get("version") != VERSION:
        raise ValueError(f"written in version {str(document.get('version'))[:20]} of the format, this is {VERSION}")
    return list(document["filters"])


def _name(entry: object) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name[:63] if isinstance(name, str) and name.isprintable() else "without a name"
