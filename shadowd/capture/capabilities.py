"""Which capabilities this thread holds, and giving them up for good (capabilities(7), capset(2), prctl(2))."""

from __future__ import annotations

import ctypes
import os
import struct

from shadowd.capture.preflight import effective_capabilities
from shadowd.errors import PlatformError

CAP_DAC_READ_SEARCH = 2
CAP_SYS_PTRACE = 19

# include/uapi/linux/prctl.h and capability.h
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24
PR_SET_NO_NEW_PRIVS = 38
PR_SET_DUMPABLE = 4
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522  # 64 bits in two halves

libc = ctypes.CDLL(None, use_errno=True)


def give_up_all_but(mask: int) -> None:
    """Keep what ``mask`` names of what is held, in every set; no program run from here ever gains more. Of this thread:
    a process that is not threaded yet, and a child that has just been forked, are one. Raises PlatformError."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    # Only CAP_SETPCAP may narrow the bounding set; without it nothing there can be gained, for no_new_privs holds.
    number = 0
    while (present := libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:
        if present and not mask >> number & 1 and libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0):
            break
        number += 1
    capset(effective_capabilities() & mask, 0)


def undumpable() -> None:
    """No core dump, and no process of this user can read this one's memory: it has secrets of TLS (prctl(2))."""
    prctl(PR_SET_DUMPABLE, 0)


def capset(held: int, inheritable: int) -> None:
    """This thread's: effective and permitted ``held``. Raises PlatformError."""
    low, high = held & 0xFFFFFFFF, held >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = struct.pack("=6I", low, low, inheritable & 0xFFFFFFFF, high, high, inheritable >> 32)
    if libc.capset(header, sets):
        raise _refused("capset")


def prctl(option: int, value: int) -> None:
    """Raises PlatformError."""
    if libc.prctl(option, value, 0, 0, 0):
        raise _refused("prctl")


def _refused(call: str) -> PlatformError:
    reason = os.strerror(ctypes.get_errno())
    return PlatformError(f"capabilities cannot be given up: {call}: {reason}", "check what confines the daemon")
