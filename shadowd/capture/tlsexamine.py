"""What is in somebody else's file, found by a child that has no rights at all and no more time than ``PARSE_SECONDS``.

A file that is cut short while it is read kills its reader (SIGBUS, mmap(2)), and a parser may have faults: neither
reaches the attacher, who has rights. One that takes as long as this is damaged, or made to be slow.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import select
import signal
import struct
import time
from typing import Any

from shadowd.capture.capabilities import give_up_all_but
from shadowd.capture.tlslibs import UNKNOWN, Finding, LibraryError, Place, find_untrusted

#: A file of 101 MB takes 0.4 s.
PARSE_SECONDS = 20
#: GraalVM's images and Chromium are some 300 MB.
MAX_FILE = 1 << 30
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


def _is_overlay(descriptor: int) -> bool:
    buffer = ctypes.create_string_buffer(256)  # struct statfs of Linux has 120 bytes
    libc = ctypes.CDLL(None, use_errno=True)
    return not libc.fstatfs(descriptor, buffer) and struct.unpack_from("=q", buffer.raw)[0] == _OVERLAY


def examine(descriptor: int, size: int) -> Finding | LibraryError:
    if not 0 < size <= MAX_FILE:
        return LibraryError(f"it is larger than {MAX_FILE >> 20} MB" if size else "it is empty")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _parse_and_exit(descriptor, writing)
    os.close(writing)
    try:
        data = _read_until(reading, time.monotonic() + PARSE_SECONDS)
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


def _read_until(reading: int, end: float) -> bytes:
    data = b""
    while len(data) < _REPLY:
        left = end - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return b""
        piece = os.read(reading, _REPLY)
        if not piece:
            return data
        data += piece
    return b""


def _finding_untrusted(data: bytes) -> Finding | LibraryError:
    try:
        reply = json.loads(data)
        if "found" in reply:
            return _checked(reply["found"])
        return LibraryError(*(_text(reply[name]) for name in ("error", "kind", "remedy")))
    except (ValueError, TypeError, KeyError, RecursionError):
        return LibraryError(
            f"it could not be read through within {PARSE_SECONDS} s, or it changed meanwhile",
            UNKNOWN,
            "it is looked at again when it is replaced",
        )


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
