"""What a container runtime does with a pod's container, as a program: mounts, a read-only root, capabilities, seccomp.

    unshare --mount --pid --cgroup --fork --kill-child -- python3 container.py SPEC.json

SPEC: {"root": DIR, "command": [...], "mounts": [{"target", "source" (null: a tmpfs), "readonly"}], "host_pid": bool,
"capabilities": ["NET_ADMIN", ...], "seccomp": PROFILE.json or null}. As in Kubernetes the process runs as uid 0, with
no_new_privs and the capabilities in all its sets but the ambient one. Standard library and libseccomp alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

CAPABILITIES = {"DAC_READ_SEARCH": 2, "NET_ADMIN": 12, "SYS_PTRACE": 19, "PERFMON": 38, "BPF": 39}  # linux/capability.h
LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
CAPABILITY_VERSION_3 = 0x20080522
ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000 | 1, "SCMP_ACT_KILL_PROCESS": 0x80000000}


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def build_root(spec: dict[str, Any]) -> None:
    root = spec["root"]
    mount("--bind", root, root)
    if spec["host_pid"]:
        mount("--rbind", "/proc", f"{root}/proc")
    else:
        mount("-t", "proc", "proc", f"{root}/proc")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/dev")
    for device in ("null", "zero", "random", "urandom"):
        Path(root, "dev", device).touch()
        mount("--bind", f"/dev/{device}", f"{root}/dev/{device}")
    mount("--bind", "/sys", f"{root}/sys")
    mount("-o", "remount,bind,ro", f"{root}/sys")
    for wanted in spec["mounts"]:
        target = root + wanted["target"]
        Path(target).mkdir(parents=True, exist_ok=True)  # as every runtime does
        if wanted["source"] is None:
            mount("-t", "tmpfs", "tmpfs", target)
        else:
            mount("--bind", wanted["source"], target)
            if wanted["readonly"]:
                mount("-o", "remount,bind,ro", target)
    # what the kubelet brings into every container
    for name in ("hosts", "resolv.conf", "hostname"):
        if Path("/etc", name).exists():
            Path(root, "etc", name).touch()
            mount("--bind", f"/etc/{name}", f"{root}/etc/{name}")
    mount("-o", "remount,bind,ro", root)


def seccomp_filter(profile: str) -> Any:
    """A libseccomp context of an OCI profile, and the function that loads it."""
    wanted = json.loads(Path(profile).read_text())
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    context = library.seccomp_init(ctypes.c_uint32(ACTIONS[wanted["defaultAction"]]))
    for rule in wanted["syscalls"]:
        for name in rule["names"]:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number < 0:
                continue  # of another architecture, or newer than this libseccomp
            if library.seccomp_rule_add(context, ACTIONS[rule["action"]], number, 0):
                raise SystemExit(f"{profile}: {name} cannot be added")
    return library.seccomp_load, context


def main(argv: list[str]) -> None:
    spec = json.loads(Path(argv[1]).read_text())
    build_root(spec)
    last = int(LAST_CAPABILITY.read_text())
    kept = {CAPABILITIES[name] for name in spec["capabilities"]}
    load, context = seccomp_filter(spec["seccomp"]) if spec["seccomp"] else (None, None)
    libc = ctypes.CDLL(None, use_errno=True)
    os.chroot(spec["root"])
    os.chdir("/")
    for capability in set(range(last + 1)) - kept:
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise SystemExit(f"capability {capability} cannot be dropped")
    bits = sum(1 << capability for capability in kept)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    if libc.capset(struct.pack("=II", CAPABILITY_VERSION_3, 0), struct.pack("=6I", low, low, low, high, high, high)):
        raise SystemExit("the capabilities cannot be set")
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise SystemExit("no_new_privs cannot be set")
    if load is not None and load(context):
        raise SystemExit("the seccomp filter cannot be loaded")
    os.execve(spec["command"][0], spec["command"], {"PATH": "/usr/bin", "HOSTNAME": os.uname().nodename})


if __name__ == "__main__":
    main(sys.argv)
