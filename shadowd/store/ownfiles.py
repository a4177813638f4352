"""Files and directories of the daemon's own: made so that nobody else reads or replaces them, and opened only if they
are what they should be. A FIFO would hold the daemon up for good, a symlink lead it elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shadowd.errors import ShadowdError


def prepare_directory(path: Path, own: frozenset[str]) -> None:
    """``path`` exists, is ours, and nobody else may write there. One that is made, or that holds nothing but files
    whose names begin with one of ``own``, is for its owner alone (0700); its parents stay as they are.

    Raises ShadowdError.
    """
    try:
        made = _made(path)
        found = path.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise ShadowdError(f"the state directory {path} is no directory", "give another one with --state-dir")
        if found.st_uid not in (os.geteuid(), 0):
            raise ShadowdError(
                f"the state directory {path} belongs to the user {found.st_uid}", "chown it, or give another one"
            )
        if found.st_mode & 0o022:
            raise ShadowdError(
                f"others may write to the state directory {path} (mode {stat.S_IMODE(found.st_mode):04o})",
                f"chmod 700 {path}, or give another one with --state-dir",
            )
        _check_parents(path)
        if made or (found.st_mode & 0o077 and all(name.startswith(tuple(own)) for name in os.listdir(path))):
            os.chmod(path, 0o700)
    except PermissionError as error:
        raise ShadowdError(f"the state directory {path} cannot be used: {error.strerror}",
                           "give another one with --state-dir, or run as its owner") from None  # fmt: skip
    except OSError as error:
        raise ShadowdError(f"the state directory {path} cannot be made: {error.strerror}",
                           "give another one with --state-dir") from None  # fmt: skip


def _made(path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _check_parents(path: Path) -> None:
    """Who may rename a directory on the way may put another in its place (the sticky bit forbids it)."""
    for parent in path.resolve().parents:
        mode = parent.stat().st_mode
        if mode & 0o002 and not mode & stat.S_ISVTX:
            raise ShadowdError(
                f"others may write to {parent}, and so replace the state directory {path}",
                f"chmod o-w {parent}, or give another one with --state-dir",
            )


def check_regular(path: Path) -> bool:
    """Whether there is a file at ``path``. Raises ShadowdError at once for what is none (a symlink, FIFO, device)."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise ShadowdError(f"{path} is {_kind(mode)} and no file", "move it away: shadowd makes a new one")
    return True


def open_regular(path: Path) -> int:
    """A descriptor to read the file. Never waits. Raises ShadowdError as ``check_regular``, OSError."""
    check_regular(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):  # it was put there in between
        os.close(descriptor)
        raise ShadowdError(f"{path} is {_kind(mode)} and no file", "move it away: shadowd makes a new one")
    return descriptor


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISLNK, "a symlink"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISDIR, "a directory"),
        (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    ):  # fmt: skip
        if test(mode):
            return name
    return "something else"
