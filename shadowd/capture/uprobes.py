"""A program at the entry of a function of some file, in whatever process has it mapped (bpf(2), perf_event_open(2)).

One attachment is for the file's inode: processes that start later are hit as well, and two overlay mounts of one lower
file are one file. It is a breakpoint in the text of every process that has the file; it goes with the last descriptor,
also when its owner is killed.

Linux 6.6 has ``uprobe_multi`` links, for CAP_BPF and CAP_PERFMON; before, it is an event of perf's for each, which
CAP_SYS_ADMIN may make.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

from shadowd.capture.bpf import bpf
from shadowd.errors import PlatformError

MULTI, PERF = "uprobe_multi", "perf"
#: How a program must say when it is loaded that it will be attached: BPF_TRACE_UPROBE_MULTI, or not at all.
ATTACH_TYPE = {MULTI: 48, PERF: 0}
#: Kernels before load programs that say so, and refuse to attach them.
MULTI_SINCE = (6, 6)

_PERF_EVENT_OPEN = {"x86_64": 298}
_PERF_TYPE = "/sys/bus/event_source/devices/uprobe/type"
_PERF_ATTRIBUTES = 136  # bytes: PERF_ATTR_SIZE_VER8
_CLOSE_ON_EXEC = 8  # PERF_FLAG_FD_CLOEXEC
_LINK_CREATE = 28
_BPF_PERF_EVENT = 41
_libc = ctypes.CDLL(None, use_errno=True)


def attach(program: int, file: int, offset: int, cookie: int, way: str) -> list[int]:
    """Put a program on the function at ``offset`` of an open file. Descriptors: the probe is there while they are open.
    Raises OSError."""
    # by the descriptor: the file that was looked at is the one that is changed, whatever its path is now
    path = ctypes.create_string_buffer(f"/proc/self/fd/{file}".encode())
    return [_multi(program, path, offset, cookie)] if way == MULTI else _perf(program, path, offset, cookie)


def _multi(program: int, path: ctypes.Array[ctypes.c_char], offset: int, cookie: int) -> int:
    offsets, cookies = ctypes.c_uint64(offset), ctypes.c_uint64(cookie)
    attr = struct.pack(
        "=IIIIQQQQIII", program, 0, ATTACH_TYPE[MULTI], 0, ctypes.addressof(path), ctypes.addressof(offsets), 0,
        ctypes.addressof(cookies), 1, 0, 0,
    )  # fmt: skip
    return bpf(_LINK_CREATE, attr, 64)[0]


def _perf(program: int, path: ctypes.Array[ctypes.c_char], offset: int, cookie: int) -> list[int]:
    """An event of CPU 0 is hit on all: the program is the probe's, not the event's (uprobe_perf_func)."""
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise PlatformError(f"no probes are put on functions on {platform.machine()}", "use x86-64")
    with open(_PERF_TYPE, encoding="ascii") as file:
        kind = int(file.read())
    attributes = bytearray(_PERF_ATTRIBUTES)
    struct.pack_into("=II", attributes, 0, kind, _PERF_ATTRIBUTES)
    struct.pack_into("=QQ", attributes, 56, ctypes.addressof(path), offset)  # config1, config2
    buffer = ctypes.create_string_buffer(bytes(attributes), _PERF_ATTRIBUTES)
    event = _libc.syscall(number, buffer, -1, 0, -1, _CLOSE_ON_EXEC)
    if event < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    try:
        link, _ = bpf(_LINK_CREATE, struct.pack("=IIIIQ", program, event, _BPF_PERF_EVENT, 0, cookie), 64)
    except OSError:
        os.close(event)
        raise
    return [link, event]
