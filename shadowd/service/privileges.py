"""Giving up, for good, what only loading needed (capabilities(7), prctl(2)).

The daemon is started with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN. Its child loads the programs and exits; then maps and
the ring are used through descriptors, which takes no capability at all, and what stays is

* CAP_NET_ADMIN: links on the root cgroup and on interfaces are made whenever a filter comes or an interface appears,
  and ``SO_MARK``, by which our own connections are known, is set on every connection to a shadow;
* CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, if the operator gave them: they let the daemon see which process of another
  user holds a port, for its memory and CPU figures;
* CAP_BPF before Linux 5.19 alone: with ``unprivileged_bpf_disabled`` those kernels refuse every bpf(2) call without it
  (c8644cd0efe7 restricts only loading and creating).

Capabilities belong to threads: this must run before the first thread is started, and says so when it does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from shadowd.capture.preflight import CAP_BPF, CAP_NET_ADMIN, effective_capabilities, kernel_release
from shadowd.errors import PlatformError

CAP_DAC_READ_SEARCH = 2
CAP_SYS_PTRACE = 19

_BPF_BY_DESCRIPTOR_IS_FREE = (5, 19)

# include/uapi/linux/prctl.h and capability.h
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
_CAPABILITY_VERSION_3 = 0x20080522  # 64 bits in two halves

_libc = ctypes.CDLL(None, use_errno=True)


def kept(release: tuple[int, int]) -> int:
    """The capabilities that the running daemon may keep, as a bitmap."""
    numbers = [CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH]
    if release < _BPF_BY_DESCRIPTOR_IS_FREE:
        numbers.append(CAP_BPF)
    return sum(1 << number for number in numbers)


def give_up() -> None:
    """Keep what ``kept`` names of what is held, in every set; no program run from here ever gains more.

    Raises PlatformError if the process has threads already, or the kernel refuses.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise PlatformError("capabilities cannot be given up: a thread runs already", "report it, with --version")
    mask = kept(kernel_release())
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    # Only CAP_SETPCAP may narrow the bounding set; without it nothing there can be gained, for no_new_privs holds.
    number = 0
    while (present := _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:
        if present and not mask >> number & 1 and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
            break
        number += 1
    _capset(effective_capabilities() & mask, 0)


def _capset(held: int, inheritable: int) -> None:
    """This thread's: effective and permitted ``held``."""
    low, high = held & 0xFFFFFFFF, held >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = struct.pack("=6I", low, low, inheritable & 0xFFFFFFFF, high, high, inheritable >> 32)
    if _libc.capset(header, sets):
        raise _refused("capset")


@contextlib.contextmanager
def inheriting() -> Iterator[None]:
    """Programs that this thread starts meanwhile have what it may do, if it is not root (who has it anyway)."""
    if os.geteuid() == 0:
        yield
        return
    held = effective_capabilities()
    _capset(held, held)
    for number in range(held.bit_length()):
        if held >> number & 1:
            _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)
    try:
        yield
    finally:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        _capset(held, 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise _refused("prctl")


def _refused(call: str) -> PlatformError:
    reason = os.strerror(ctypes.get_errno())
    return PlatformError(f"capabilities cannot be given up: {call}: {reason}", "check what confines the daemon")
