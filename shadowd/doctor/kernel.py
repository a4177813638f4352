"""What this kernel can do, by trying it: nothing that is made here outlives its check.

Programs of two instructions are loaded and maps of a page created, and closed again; a cgroup of our own is made and
removed to attach to; TCX is asked for at an interface that cannot exist, and the refusal tells.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from shadowd.capture import bpf
from shadowd.capture.preflight import find_cgroup2, kernel_release, unlimit_memlock
from shadowd.doctor.finding import Finding
from shadowd.errors import PlatformError

_MAP_CREATE, _PROG_LOAD = 0, 5
_RINGBUF, _SCHED_CLS, _CGROUP_SKB = 27, 3, 8
_RETURN_ONE = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)  # r0 = 1; exit
_NOBODY = 0x7FFFFFFF  # no interface has this index
_DENIED = (errno.EPERM, errno.EACCES)
_ROOT = "run it as root, or ask the daemon: shadowctl status"


def check_kernel() -> Iterator[Finding]:
    unlimit_memlock()
    major, minor = kernel_release()
    release = os.uname().release
    if (major, minor) < (5, 8):
        yield Finding("kernel", "error", f"Linux {release}", "it has no BPF ring buffer", "run Linux 5.8 or later")
    else:
        yield Finding("kernel", "ok", f"Linux {release}")
    yield _ring_buffer()
    yield _cgroup_skb()
    yield _tcx()
    btf = os.path.exists("/sys/kernel/btf/vmlinux")
    yield Finding("btf", "ok" if btf else "note", f"BTF of the kernel is {'there' if btf else 'not there'}",
                  "" if btf else "shadowd does not need it")  # fmt: skip
    yield _jit()
    yield from _lockdown()


def _ring_buffer() -> Finding:
    try:
        attr = struct.pack("=IIII", _RINGBUF, 0, 0, os.sysconf("SC_PAGE_SIZE"))
        os.close(bpf.bpf(_MAP_CREATE, attr, 72)[0])
    except (OSError, PlatformError) as error:
        return _refused("ring_buffer", "BPF ring buffers", error, "run Linux 5.8 or later with CONFIG_BPF_SYSCALL")
    return Finding("ring_buffer", "ok", "BPF ring buffers can be made")


def _load(kind: int) -> int:
    code, license_text = ctypes.create_string_buffer(_RETURN_ONE, 16), ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("=IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(license_text))
    return bpf.bpf(_PROG_LOAD, attr, 120)[0]


def _cgroup_skb() -> Finding:
    what = "programs at cgroups (the socket hook)"
    try:
        program = _load(_CGROUP_SKB)
    except (OSError, PlatformError) as error:
        return _refused("cgroup_skb", what, error, "use a kernel with CONFIG_CGROUP_BPF, or tc:<interface> hooks")
    try:
        root = find_cgroup2()
        if root is None:
            return Finding("cgroup_skb", "error", f"{what}: there is no cgroup v2 root to attach to",
                           "filters with the socket hook cannot work", "see cgroup2 below")  # fmt: skip
        return _attach(program, root, what)
    finally:
        os.close(program)


def _attach(program: int, root: Path, what: str) -> Finding:
    """To a cgroup of our own, in which nobody is."""
    own = root / f"shadowd-doctor-{os.getpid()}"
    try:
        own.mkdir()
    except OSError:
        return Finding("cgroup_skb", "ok", f"{what} can be loaded; attaching was not tried: {root} is read-only here")
    try:
        descriptor = os.open(own, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.close(bpf.link_cgroup(program, descriptor, True))
        finally:
            os.close(descriptor)
    except OSError as error:
        return _refused("cgroup_skb", what, error, "check for CAP_NET_ADMIN, and for Linux 5.7 or later")
    finally:
        with contextlib.suppress(OSError):
            own.rmdir()
    return Finding("cgroup_skb", "ok", f"{what} can be loaded and attached")


def _tcx() -> Finding:
    what = "TCX links (the tc hook beside other people's programs)"
    try:
        program = _load(_SCHED_CLS)
    except (OSError, PlatformError) as error:
        return _refused("tcx", what, error, "use a kernel with CONFIG_NET_CLS_BPF")
    try:
        os.close(bpf.link_tcx(program, _NOBODY, False))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return Finding("tcx", "ok", f"{what} can be made")
        if error.errno in _DENIED:
            return _refused("tcx", what, error, "")
        return Finding("tcx", "note", f"{what} are not there", "tc hooks use clsact and a classifier instead",
                       "Linux 6.6 or later has them; the socket hook needs neither")  # fmt: skip
    finally:
        os.close(program)
    return Finding("tcx", "ok", f"{what} can be made")


def _refused(code: str, what: str, error: OSError | PlatformError, remedy: str) -> Finding:
    if isinstance(error, OSError) and error.errno in _DENIED:
        return Finding(code, "unseen", f"{what}: this process may not try", "it says nothing about the daemon", _ROOT)
    words = error.strerror if isinstance(error, OSError) else str(error)
    return Finding(code, "error", f"{what} cannot be made: {words}", "capturing needs it", remedy)


def _jit() -> Finding:
    try:
        enabled = Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip() != "0"
    except OSError:
        return Finding("jit", "unseen", "whether BPF programs are compiled cannot be seen", "", _ROOT)
    if enabled:
        return Finding("jit", "ok", "BPF programs are compiled to machine code")
    return Finding("jit", "warning", "BPF programs are interpreted", "each packet costs several times as much",
                   "sysctl net.core.bpf_jit_enable=1")  # fmt: skip


def _lockdown() -> Iterator[Finding]:
    try:
        text = Path("/sys/kernel/security/lockdown").read_text()
    except FileNotFoundError:
        return
    except OSError:
        yield Finding("lockdown", "unseen", "the kernel's lockdown mode cannot be seen", "", _ROOT)
        return
    mode = text.partition("[")[2].partition("]")[0]
    if mode == "confidentiality":
        yield Finding("lockdown", "warning", "the kernel is locked down: confidentiality",
                      "some BPF helpers are refused; whether ours load, the checks above tell",
                      "boot with lockdown=integrity if the daemon says that its program is refused")  # fmt: skip
    else:
        yield Finding("lockdown", "ok", f"the kernel's lockdown mode is {mode or 'none'}")
