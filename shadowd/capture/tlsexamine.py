"""What is in somebody else's file, found by a child that has no rights at all and no more time than ``PARSE_SECONDS``.

A file that is cut short while it is read kills its reader (SIGBUS, mmap(2)), and a parser may have faults: neither
reaches the attacher, who has rights. One that takes as long as this is damaged, or made to be slow.

Copies of a file, as fifty containers have of one library, are looked into once. What makes them copies is all of their
bytes, not the build-id: that is what a file says of itself, and who gave his own file another's would choose where the
other's probe goes, into the middle of an instruction of production. For the same reason what is looked into is a copy
of our own, which nobody can change between its digest and its reading.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import resource
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from shadowd.capture.capabilities import give_up_all_but
from shadowd.capture.tlslibs import UNKNOWN, Finding, LibraryError, Place, find_untrusted

#: A file of 101 MB takes 0.4 s.
PARSE_SECONDS = 20
#: GraalVM's images and Chromium are some 300 MB.
MAX_FILE = 1 << 30
#: Larger files are looked into where they are, each by itself: the attacher as a service has 256 MB (Envoy is 101 MB).
MAX_COPIED = 128 << 20
#: Contents that are remembered: a host's processes have some hundred files. Beyond it the oldest are looked into again.
MAX_CONTENTS = 4096
_PIECE = 1 << 20
#: Bytes of what the child tells: a finding has some 400.
_REPLY = 16 << 10
_OVERLAY = 0x794C7630  # OVERLAYFS_SUPER_MAGIC

Key = tuple[object, ...]


def identity(descriptor: int, status: os.stat_result) -> Key:
    """Of the inode that a probe is for. Overlays give the file of a layer that many containers share another device
    with each mount; number, size and the nanosecond of its last change are the layer's own."""
    if _is_overlay(descriptor):
        return ("overlay", status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def changed(key: Key, status: os.stat_result) -> bool:
    """Whether a file was written to since it had this identity. (The other time tells of its names, too.)"""
    return key[2:4] != (status.st_size, status.st_mtime_ns)


def _is_overlay(descriptor: int) -> bool:
    buffer = ctypes.create_string_buffer(256)  # struct statfs of Linux has 120 bytes
    libc = ctypes.CDLL(None, use_errno=True)
    return not libc.fstatfs(descriptor, buffer) and struct.unpack_from("=q", buffer.raw)[0] == _OVERLAY


class Examiner:
    """Looks into files, and remembers what was in which contents. ``meanwhile``: a descriptor, and what to call when it
    is readable, for one file may take ``PARSE_SECONDS``."""

    __slots__ = ("_meanwhile", "_seen", "parsed")

    def __init__(self, meanwhile: tuple[int, Callable[[], None]]) -> None:
        self._meanwhile = meanwhile
        self._seen: dict[bytes, Finding | LibraryError] = {}
        self.parsed = 0

    def examine(self, descriptor: int, size: int) -> Finding | LibraryError:
        """Raises OSError for want of descriptors, memory or processes."""
        if not 0 < size <= MAX_FILE:
            return LibraryError(f"it is larger than {MAX_FILE >> 20} MB" if size else "it is empty")
        if size > MAX_COPIED:
            return self._parse(descriptor) or _unread()
        with _copied(descriptor, size) as (copy, digest):
            found = self._seen.pop(digest, None)
            if found is None:
                found = self._parse(copy)
                if found is None:
                    return _unread()
        self._seen[digest] = found  # as the youngest
        while len(self._seen) > MAX_CONTENTS:
            del self._seen[next(iter(self._seen))]
        return found

    def _parse(self, descriptor: int) -> Finding | LibraryError | None:
        self.parsed += 1
        return parse(descriptor, self._meanwhile)


@contextlib.contextmanager
def _copied(descriptor: int, size: int) -> Iterator[tuple[int, bytes]]:
    """A file's bytes where nobody else can write, and their digest. Raises OSError."""
    copy = os.memfd_create("examined", os.MFD_CLOEXEC)
    try:
        digest, at = hashlib.blake2b(digest_size=32), 0
        while at < size and (piece := os.pread(descriptor, min(_PIECE, size - at), at)):
            digest.update(piece)
            at += len(piece)
            while piece:
                piece = piece[os.write(copy, piece) :]
        yield copy, digest.digest()
    finally:
        os.close(copy)


def parse(descriptor: int, meanwhile: tuple[int, Callable[[], None]] | None = None) -> Finding | LibraryError | None:
    """By a child. None: it ended, or its time did. Raises OSError."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _parse_and_exit(descriptor, writing)
    os.close(writing)
    try:
        data = _read_until(reading, time.monotonic() + PARSE_SECONDS, meanwhile)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _finding_untrusted(data)


def _parse_and_exit(descriptor: int, writing: int) -> None:
    try:
        give_up_all_but(0)
        resource.setrlimit(resource.RLIMIT_CPU, (PARSE_SECONDS, PARSE_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as data:
            try:
                reply: dict[str, Any] = {"found": find_untrusted(data)._asdict()}
            except LibraryError as error:
                reply = {"error": str(error), "kind": error.kind, "remedy": error.remedy}
        os.write(writing, json.dumps(reply).encode())
    finally:
        os._exit(0)  # nothing of the parent's is flushed or closed twice


def _read_until(reading: int, end: float, meanwhile: tuple[int, Callable[[], None]] | None) -> bytes:
    data = b""
    while len(data) < _REPLY:
        left = end - time.monotonic()
        waiting = select.poll()
        for descriptor in (reading, *(() if meanwhile is None else meanwhile[:1])):
            waiting.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in waiting.poll(left * 1000)] if left > 0 else []
        if not ready:
            return b""
        if meanwhile is not None and meanwhile[0] in ready:
            meanwhile[1]()
        if reading not in ready:
            continue
        piece = os.read(reading, _REPLY)
        if not piece:
            return data
        data += piece
    return b""


def _unread() -> LibraryError:
    return LibraryError(
        f"it could not be read through within {PARSE_SECONDS} s, or it changed meanwhile",
        UNKNOWN,
        "it is looked at again when it is replaced",
    )


def _finding_untrusted(data: bytes) -> Finding | LibraryError | None:
    try:
        reply = json.loads(data)
        if "found" in reply:
            return _checked(reply["found"])
        return LibraryError(*(_text(reply[name]) for name in ("error", "kind", "remedy")))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _checked(found: dict[str, Any]) -> Finding:
    """Raises ValueError, TypeError or KeyError."""
    places = tuple(
        Place(None if through is None else _number(through, 0xFFFE), _number(offset, 0xFFFE))
        for through, offset in found["places"]
    )
    kind, abi, cost, build_id, how = (_text(found[name]) for name in ("kind", "abi", "cost", "build_id", "how"))
    return Finding(kind, _number(found["offset"], MAX_FILE - 1), abi, cost, build_id, places, how)


def _number(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("no such number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value
