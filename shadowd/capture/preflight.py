"""What the host must offer before anything is loaded, each lack in one line with what to do."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from shadowd.errors import PlatformError

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21
CAP_PERFMON = 38  # Linux 5.8; before that CAP_SYS_ADMIN loads programs
CAP_BPF = 39

_INSTALL_BCC = (
    "install bcc's Python binding: apt install python3-bpfcc (Debian, Ubuntu), dnf install python3-bcc (Fedora, RHEL), "
    "apk add py3-bcc (Alpine); the PyPI project called bcc is something else"
)


def effective_capabilities(status: Path = Path("/proc/self/status")) -> int:
    """The effective capability set of this process as a bitmap."""
    for line in status.read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def kernel_release() -> tuple[int, int]:
    """Major and minor version of the running kernel."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def unlimit_memlock() -> None:
    """Before Linux 5.11 maps and programs are charged against RLIMIT_MEMLOCK: EPERM or ENOMEM where it is low."""
    with contextlib.suppress(ValueError, OSError):  # not ours to raise: the kernel says what it lacks
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def check_host() -> None:
    """Raise PlatformError naming everything that is missing."""
    missing = []
    if kernel_release() < (5, 8):
        missing.append(f"Linux {os.uname().release} has no BPF ring buffer — run a kernel of 5.8 or later")
    held = effective_capabilities()
    # CAP_PERFMON: the verifier lets variable offsets be added to a pointer on several paths only without the checks
    # against Spectre v1, and those are for loaders without it ("prohibited for !root", kernel/bpf/verifier.c)
    for number, name in ((CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")):
        if not held >> CAP_SYS_ADMIN & 1 and not held >> number & 1:
            missing.append(f"{name} is missing: programs cannot be loaded — run as root or grant {name}")
    if not held >> CAP_NET_ADMIN & 1:
        missing.append("CAP_NET_ADMIN is missing: programs cannot be attached — run as root or grant CAP_NET_ADMIN")
    if missing:
        raise PlatformError("; ".join(missing))


def bcc_candidates() -> list[str]:
    """Interpreters that may have bcc: the one the operator names, ours, then the distribution's."""
    return [
        os.environ.get("SHADOWD_BCC_PYTHON", ""),
        sys.executable,
        "/usr/bin/python3",
        shutil.which("python3") or "",
    ]


def find_bcc_python(candidates: Sequence[str] | None = None) -> str:
    """The first interpreter that can import bcc's BPF. Raises PlatformError naming those that were tried."""
    candidates = bcc_candidates() if candidates is None else candidates
    tried = []
    for python in dict.fromkeys(path for path in candidates if path and os.path.exists(path)):
        probe = (
            "import importlib.util as u, sys; s = u.find_spec('bcc'); sys.exit(not (s and u.find_spec('bcc.libbcc')))"
        )
        tried.append(python)
        try:
            done = subprocess.run([python, "-I", "-c", probe], capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):  # not a program, or one that hangs: the next may do
            continue
        if done.returncode == 0:
            return python
    raise PlatformError(f"no Python that can import bcc was found (tried {', '.join(tried) or 'none'})", _INSTALL_BCC)


def find_cgroup2(mountinfo: Path = Path("/proc/self/mountinfo")) -> Path | None:
    """Mount point of the cgroup v2 root; it is not always /sys/fs/cgroup (hybrid hosts have it beside v1).

    In a container with a cgroup namespace "/" is the container's own cgroup, and the host's root, where it was mounted
    for us, shows as "/../.." with a step for every level above (cgroup_namespaces(7)): the highest is taken.
    """
    found: tuple[int, Path | None] = (-1, None)
    for line in mountinfo.read_text().splitlines():
        fields, _, after = line.partition(" - ")
        _, _, _, root, place, *_ = fields.split()
        above = root.count("/..")
        if after.startswith("cgroup2 ") and root in ("/", "/.." * above) and above > found[0]:
            found = above, Path(place.encode().decode("unicode_escape"))
    return found[1]


def cgroup_id(path: Path) -> int:
    """The id the kernel gives a cgroup v2 directory: its inode number."""
    return path.stat().st_ino
