"""Files that a command writes: whole or not at all, and told before any work where they cannot be."""

from __future__ import annotations

import os
from pathlib import Path

from shadowd.errors import ShadowdError, UsageError


def check_writable(path: Path) -> None:
    """Before any work: a file that cannot be written is told at once."""
    folder = path.parent if str(path.parent) else Path()
    if path.is_dir():
        raise UsageError(f"{path} is a directory", "name a file in it")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a directory", "make it first, or name another file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"{path} cannot be written", "name a file where you may write")


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Whole or not at all. A link keeps being one, and what is no regular file (/dev/null, a pipe) is written to.
    A new file is its owner's alone (it shows what traffic said), one that is replaced keeps its mode."""
    temporary: Path | None = None
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        path = Path(os.path.realpath(path))
        if path.exists():
            mode = path.stat().st_mode & 0o777
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask
            file.write(data)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise ShadowdError(f"{path} cannot be written: {error.strerror}", "check the path and the disk") from None
