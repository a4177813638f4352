#!/usr/bin/env python3
# SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
"""Compile shadowd.bpf.c with bcc and keep the bytecode: bpf/shadowd.bytecode, for machines that have no bcc.

    python3 bpf/build_bytecode.py [OUTPUT]     (`make bpf-bytecode`)

bcc has no way to compile without loading, and a build machine or `docker build` is not allowed to load. So the thread
that runs bcc is put under a seccomp filter that hands its bpf(2) calls to this process (SECCOMP_RET_USER_NOTIF, Linux
5.0), which notes what would have been created and answers with a descriptor of its own making. No privilege is needed,
and nothing reaches the kernel. In the instructions those descriptors stand where maps are meant; names replace them.

Standard library and bcc, Python >= 3.8. The format is described in shadowd/capture/bytecode.py.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import runpy
import struct
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FORMAT = runpy.run_path(str(HERE.parent / "shadowd/capture/bytecode.py"))
LOADER = runpy.run_path(str(HERE.parent / "shadowd/capture/loader.py"))

# __NR_bpf, __NR_seccomp, and AUDIT_ARCH_*
ARCHITECTURES = {"x86_64": (321, 317, 0xC000003E), "aarch64": (280, 277, 0xC00000B7)}
PR_SET_NO_NEW_PRIVS = 38
SET_MODE_FILTER, NEW_LISTENER = 1, 8
RET_ALLOW, RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101  # _IOWR('!', 0, 80 bytes), _IOWR('!', 1, 24 bytes)
NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, nr, arch, instruction_pointer, args
ANSWER = struct.Struct("=QqiI")  # id, val, error, flags
MAP_CREATE, PROG_LOAD = 0, 5

libc = ctypes.CDLL(None, use_errno=True)


class Intercepted:
    """What bcc asked the kernel for: maps by descriptor, programs by name."""

    def __init__(self) -> None:
        self.maps: dict[int, tuple[str, dict[str, Any]]] = {}
        self.programs: dict[str, tuple[int, str, bytes]] = {}

    def answer(self, command: int, attr: int, size: int) -> int:
        """The result of one call: a descriptor, or -errno. ``attr`` is an address in this process."""
        raw = ctypes.string_at(attr, size).ljust(128, b"\0")
        if command == MAP_CREATE:
            kind, key, value, entries, flags, inner = struct.unpack_from("=6I", raw)
            fd = os.memfd_create("map")
            made: dict[str, Any] = {"type": kind, "key": key, "value": value, "entries": entries, "flags": flags}
            if inner:
                made["inner"] = self.maps[inner][0]
            self.maps[fd] = (_text(raw[28:44]), made)
            return fd
        if command == PROG_LOAD:
            kind, count, code, license_at = struct.unpack_from("=IIQQ", raw)
            license_text = (ctypes.string_at(license_at) if license_at else b"").decode()
            self.programs[_text(raw[48:64])] = (kind, license_text, ctypes.string_at(code, count * 8))
            return os.memfd_create("program")
        return -errno.EINVAL  # BTF and probes: bcc does without


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode()


def _listen() -> int:
    """Put the calling thread under the filter; the descriptor on which its bpf(2) calls are told."""
    _, seccomp, arch = ARCHITECTURES[platform.machine()]
    code = [
        (0x20, 0, 0, 4),  # seccomp_data.arch
        (0x15, 0, 3, arch),
        (0x20, 0, 0, 0),  # seccomp_data.nr
        (0x15, 0, 1, ARCHITECTURES[platform.machine()][0]),
        (0x06, 0, 0, RET_USER_NOTIF),
        (0x06, 0, 0, RET_ALLOW),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(program)))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    listener: int = libc.syscall(seccomp, SET_MODE_FILTER, NEW_LISTENER, head)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)")
    return listener


def _serve(listener: int, intercepted: Intercepted) -> None:
    while True:
        told = bytearray(NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, NOTIF_RECV, told)
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            return  # ENOENT: the thread is gone
        number, _, _, _, _, _, command, attr, size, _, _, _ = NOTIFICATION.unpack(told)
        result = intercepted.answer(command, attr, size)
        fcntl.ioctl(listener, NOTIF_SEND, bytearray(ANSWER.pack(number, max(result, 0), min(result, 0), 0)))


def compile_variant(source: Path, cookie: bool) -> Intercepted:
    """Run bcc over the source in a thread whose bpf(2) calls are intercepted. Raises what bcc raises."""
    from bcc import BPF

    intercepted = Intercepted()
    listening = threading.Event()
    result: list[Any] = []

    def compile_there() -> None:
        try:
            listener = _listen()
        except OSError as error:
            result.append(error)
            listening.set()
            return
        result.append(listener)
        listening.set()
        try:
            flags = LOADER["compiler_flags"](str(source), 1, cookie, True)
            module = BPF(src_file=str(source), cflags=flags)
            for name, kind in LOADER["PROGRAMS"].items():
                module.load_func(name, getattr(BPF, kind))
            for name in LOADER["PROBES"]:
                module.load_func(name, BPF.KPROBE)
        except Exception as error:  # bcc has no error class of its own
            result.append(error)

    thread = threading.Thread(target=compile_there)
    thread.start()
    listening.wait()
    if isinstance(result[0], OSError):
        raise result[0]
    server = threading.Thread(target=_serve, args=(result[0], intercepted), daemon=True)
    server.start()
    thread.join()
    if len(result) > 1:
        raise result[1]
    return intercepted


def programs_of(intercepted: Intercepted, names: Iterable[str]) -> dict[str, Any]:
    """The programs in the file's form: map descriptors taken out, names noted."""
    programs = {}
    maps = {descriptor: name for descriptor, (name, _) in intercepted.maps.items()}
    for name in names:
        kind, license_text, code = intercepted.programs[name[:15]]
        programs[name] = {"type": kind, "license": license_text, **FORMAT["named"](code, maps)}
    return programs


def build(source: Path) -> bytes:
    """The file's bytes."""
    os.environ["BCC_KERNEL_SOURCE"] = str(source.parent)
    variants, maps, probes = {}, {}, {}
    for variant, cookie in (("cookie", True), ("cgroup", False)):
        intercepted = compile_variant(source, cookie)
        variants[variant] = programs_of(intercepted, LOADER["PROGRAMS"])
        probes = programs_of(intercepted, LOADER["PROBES"])  # the same in both
        found = dict(intercepted.maps.values())
        maps = {name: found[name[:15]] for name in LOADER["MAPS"] + LOADER["PROBE_MAPS"]}
    abi = next(line.split()[2] for line in (HERE / "abi.h").read_text().splitlines() if "define ABI_VERSION" in line)
    from bcc import __version__ as bcc_version

    body = {
        "abi": int(abi),
        "bcc": bcc_version,
        "source": FORMAT["source_digest"](str(source.parent)),
        "maps": maps,
        "variants": variants,
        "probes": probes,
        "probe_maps": list(LOADER["PROBE_MAPS"]),
    }
    return bytes(FORMAT["encode"](body))


def main(argv: list[str]) -> str | None:
    if platform.machine() not in ARCHITECTURES:
        return f"bytecode is not built on {platform.machine()} — build it on x86_64 or aarch64; the file fits both"
    output = Path(argv[1]) if len(argv) > 1 else HERE / "shadowd.bytecode"
    try:
        data = build(HERE / "shadowd.bpf.c")
    except Exception as error:
        return f"the bytecode could not be built: {type(error).__name__}: {error} — bcc's words stand above"
    FORMAT["decode_untrusted"](data)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(data)
    print(f"{output}: {len(data)} bytes")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv))
