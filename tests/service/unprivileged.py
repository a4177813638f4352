"""The daemon as a user without rights but a few capabilities, as a service manager starts it (setpriv(1))."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import sys
import sysconfig
from pathlib import Path

from shadowd.capture.preflight import find_cgroup2
from tests.conftest import ROOT, need
from tests.netns.lab import Daemon

USER = "nobody"
SERVICE = ("bpf", "perfmon", "net_admin")  # AmbientCapabilities of systemd/shadowd.service; a test compares
NAMES = {"dac_read_search": 2, "net_admin": 12, "sys_ptrace": 19, "perfmon": 38, "bpf": 39}


def setpriv(*capabilities: str) -> tuple[str, ...]:
    """What a unit with User=, AmbientCapabilities=, CapabilityBoundingSet= and NoNewPrivileges= does."""
    named = ",".join(("-all", *(f"+{name}" for name in capabilities)))
    user = pwd.getpwnam(USER)
    return (
        "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--no-new-privs",
        f"--inh-caps={named}", f"--ambient-caps={named}", f"--bounding-set={named}",
    )  # fmt: skip


def _open_to_all(path: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def program() -> tuple[str, ...]:
    """The daemon by an interpreter that any user may run: the project's, or the distribution's with its packages."""
    own = Path(sys.executable).resolve()
    if _open_to_all(own) and _open_to_all(ROOT):
        return (sys.executable, "-m", "shadowd.cli.shadowd")
    version = "python{}.{}".format(*sys.version_info[:2])
    other, packages = shutil.which(version, path="/usr/bin:/usr/local/bin"), sysconfig.get_path("purelib")
    need(other is not None and _open_to_all(Path(packages)) and _open_to_all(ROOT), "no Python that any user may run")
    return ("env", f"PYTHONPATH={ROOT}:{packages}", str(other), "-m", "shadowd.cli.shadowd")


def daemon(folder: Path, *capabilities: str, config: str = "", namespace: str | None = None) -> Daemon:
    """Not started yet."""
    need(os.geteuid() == 0 and shutil.which("setpriv") is not None, "needs root and setpriv")
    need(find_cgroup2() is not None, "needs cgroup v2")
    made = Daemon(folder, config, namespace)
    user = pwd.getpwnam(USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
    for parent in folder.parents:  # pytest's folders are for their owner alone
        if not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    made.prefix, made.program = setpriv(*capabilities), program()
    return made


def sets(pid: int) -> list[dict[str, int]]:
    """The capability sets and NoNewPrivs of every thread, from /proc."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        found.append({name: int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")})
        found[-1]["NoNewPrivs"] = int(fields["NoNewPrivs"])
        found[-1]["Uid"] = int(fields["Uid"].split()[1])
    return found
