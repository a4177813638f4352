"""Being told when somebody writes to a file that is open here (inotify(7))."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

_MODIFY = 0x2
_OVERFLOW = 0x4000  # IN_Q_OVERFLOW: more was written to than the kernel keeps (16,384 events)
_NONBLOCK_CLOEXEC = 0o2004000  # IN_NONBLOCK | IN_CLOEXEC
_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name that follows
_libc = ctypes.CDLL(None, use_errno=True)


class Writes:
    """Watches of files. ``descriptor`` is readable when one was written to."""

    __slots__ = ("descriptor",)

    def __init__(self) -> None:
        """Raises OSError."""
        self.descriptor = _checked(_libc.inotify_init1(_NONBLOCK_CLOEXEC))

    def add(self, file: int) -> int:
        """Watch an open file: the watch's number, the same for the same inode. Raises OSError."""
        return _checked(_libc.inotify_add_watch(self.descriptor, f"/proc/self/fd/{file}".encode(), _MODIFY))

    def remove(self, watch: int) -> None:
        _libc.inotify_rm_watch(self.descriptor, watch)

    def read(self) -> tuple[set[int], bool]:
        """Watches whose files were written to since, and whether some may be missing."""
        found, missing = set(), False
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.descriptor, 4096):
                at = 0
                while at < len(data):
                    watch, mask, _, length = _EVENT.unpack_from(data, at)
                    if mask & _MODIFY:
                        found.add(watch)
                    missing = missing or bool(mask & _OVERFLOW)
                    at += _EVENT.size + length
        return found, missing


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
