"""Where the root of cgroup v2 is mounted: on hosts of both kinds, and in containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from shadowd.capture.preflight import find_cgroup2

UNIFIED = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw"
LEGACY = "31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
HYBRID = "32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
A_SERVICE = "33 24 0:26 /system.slice/x.service /mnt/x rw - cgroup2 cgroup2 rw"
OWN = "40 39 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup ro"  # a container's, in its cgroup namespace
HOST = "41 39 0:26 /../../.. /host/cgroup ro - cgroup2 cgroup2 rw"
HALFWAY = "42 39 0:26 /.. /pod ro - cgroup2 cgroup2 rw"
BESIDE = "43 39 0:26 /../sibling /other ro - cgroup2 cgroup2 rw"
OVER = "44 40 0:26 /../../.. /sys/fs/cgroup ro - cgroup2 cgroup2 rw"
SPACE = "45 24 0:26 / /mnt/with\\040space rw shared:1 master:2 - cgroup2 cgroup2 rw"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([UNIFIED], "/sys/fs/cgroup"),
        ([LEGACY, HYBRID], "/sys/fs/cgroup/unified"),
        ([LEGACY], None),
        ([A_SERVICE], None),
        ([A_SERVICE, UNIFIED], "/sys/fs/cgroup"),
        ([SPACE], "/mnt/with space"),
        ([OWN], "/sys/fs/cgroup"),
        ([OWN, HALFWAY, HOST, BESIDE], "/host/cgroup"),
        ([HOST, OWN], "/host/cgroup"),
        ([OWN, OVER], "/sys/fs/cgroup"),
        ([BESIDE], None),
        ([], None),
    ],
)
def test_the_highest_root_is_taken(lines: list[str], expected: str | None, tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("".join(f"{line}\n" for line in lines))
    assert find_cgroup2(mountinfo) == (expected and Path(expected))
