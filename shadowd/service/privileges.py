"""Giving up, for good, what only loading needed (capabilities(7), prctl(2)); and having as many descriptors as may be.

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
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from shadowd.capture.capabilities import (
    CAP_DAC_READ_SEARCH,
    CAP_SYS_PTRACE,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    capset,
    give_up_all_but,
    libc,
    prctl,
)
from shadowd.capture.preflight import CAP_BPF, CAP_NET_ADMIN, effective_capabilities, kernel_release
from shadowd.errors import PlatformError

_BPF_BY_DESCRIPTOR_IS_FREE = (5, 19)


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
    give_up_all_but(kept(kernel_release()))


def raise_file_limit() -> None:
    """Each connection to a shadow is a descriptor; the soft limit of 1,024 is select(2)'s, which nobody calls here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def inheriting() -> Iterator[None]:
    """Programs that this thread starts meanwhile have what it may do, if it is not root (who has it anyway)."""
    if os.geteuid() == 0:
        yield
        return
    held = effective_capabilities()
    capset(held, held)
    for number in range(held.bit_length()):
        if held >> number & 1:
            libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)
    try:
        yield
    finally:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        capset(held, 0)
