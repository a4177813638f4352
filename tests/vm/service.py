"""The package in a Debian guest where systemd is PID 1: `make test-vm`.

The guest is made here: a minimal system of this machine's own release (mmdebstrap), the package that `make deb` builds,
and the release's kernel, under qemu. It runs ``service_acceptance.py`` once it is up, and powers itself off.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.vm.guest import boot, make_initramfs
from tests.vm.packages import CACHE, KEYRING, Apt, Missing, mirror, need_tools, run

LIMIT = 3600.0  # seconds for the whole guest on an emulated processor
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "iproute2", "procps", "adduser",
            "ca-certificates", "openssl")  # fmt: skip
DISK_MB = 3000
MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "sch_ingress", "cls_bpf")
MOUNT = """b mount -t ext4 /dev/vda /new || b poweroff -f
for place in proc sys dev; do b mount --move /$place /new/$place; done
exec /bin/busybox switch_root -c /dev/console /new /sbin/init"""
UNIT = """[Unit]
Description=The acceptance of shadowd
After=multi-user.target
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh -c 'python3 /root/service_acceptance.py >/dev/ttyS1 2>&1; echo "exit $?" >/dev/ttyS1; systemctl poweroff --force --force'
[Install]
WantedBy=default.target
"""  # noqa: E501


def release() -> str:
    """The code name of this machine's Debian: a package is bound to one Python."""
    lines = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    if lines.get("ID", "").strip('"') != "debian":
        raise Missing(
            "the guest is a Debian of this machine's release, and this is none — run it on Debian 12 or later"
        )
    return lines["VERSION_CODENAME"].strip('"')


def base_system(name: str) -> Path:
    """The unpacked minimal system, made once."""
    folder = CACHE / "system" / name
    if not folder.exists():
        print(f"making a minimal {name} (once)", flush=True)
        partial = folder.with_name(name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        keyring = [f"--keyring={KEYRING}"] if KEYRING.exists() else []
        words = ["--variant=minbase", *keyring, f"--include={','.join(PACKAGES)}", "--mode=root", name]
        run("mmdebstrap", *words, partial, mirror())
        partial.rename(folder)
    return folder


def make_disk(name: str, package: Path, disk: Path) -> None:
    root = disk.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    run("cp", "-a", base_system(name), root)
    shutil.copy(package, root / "root")
    shutil.copy(ROOT / "tests/vm/service_acceptance.py", root / "root")
    unit = root / "etc/systemd/system/acceptance.service"
    unit.write_text(UNIT)
    wants = root / "etc/systemd/system/default.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "acceptance.service").symlink_to("/etc/systemd/system/acceptance.service")
    # an emulated processor takes a minute to load what a machine loads in two seconds
    slow = root / "etc/systemd/system/shadowd.service.d"
    slow.mkdir()
    (slow / "slow.conf").write_text("[Service]\nTimeoutStartSec=900\nTimeoutStopSec=300\n")
    for getty in ("getty@tty1.service", "serial-getty@ttyS0.service", "systemd-timesyncd.service", "apt-daily.timer"):
        (root / "etc/systemd/system" / getty).symlink_to("/dev/null")
    disk.unlink(missing_ok=True)
    run("mke2fs", "-q", "-t", "ext4", "-d", root, disk, f"{DISK_MB}M")
    shutil.rmtree(root)


def try_service(name: str, package: Path, keep: bool) -> list[dict[str, Any]]:
    apt = Apt(name)
    kernel = apt.unpacked(apt.kernel())
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    folder = CACHE / "guests" / f"{name}-service"
    folder.mkdir(parents=True, exist_ok=True)
    disk = folder / "disk"
    make_disk(name, package, disk)
    make_initramfs(kernel, folder / "initramfs", MOUNT, MODULES)
    steps: list[dict[str, Any]] = []
    rest: list[str] = []

    def line(text: str) -> None:
        try:
            step = json.loads(text)
        except ValueError:
            rest.append(text)
            return
        steps.append(step)
        print(f"  {'ok  ' if step['ok'] else 'FAIL'} {step['step']:16} {step['seconds']:7.1f} s  {step['detail']}",
              flush=True)  # fmt: skip

    drive = ("-drive", f"file={disk},if=virtio,format=raw,cache=unsafe")
    code = boot(image, folder / "initramfs", folder / "console", line, LIMIT, drive)
    if not keep:
        disk.unlink(missing_ok=True)
    if "exit 0" not in rest:
        console = (folder / "console").read_text("utf-8", "replace")[-2000:]
        steps.append({"step": "end", "ok": False, "seconds": 0.0, "detail": f"qemu {code}; {rest[-8:]}; {console}"})
    return steps


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="keep the guest's disk in build/vm/guests")
    parser.add_argument("--package", type=Path, help="a package that is built already")
    options = parser.parse_args()
    try:
        need_tools()
        name = release()
        if options.package is None:
            print("building the package", flush=True)
            options.package = Path(run("make", "--no-print-directory", "deb", cwd=ROOT).splitlines()[-1])
        steps = try_service(name, options.package, options.keep)
    except Missing as error:
        print(f"test-vm: {error}", file=sys.stderr)
        return 2
    failed = [step for step in steps if not step["ok"]]
    for step in failed:
        print(f"FAILED {step['step']}: {step['detail']}")
    print(f"{len(steps) - len(failed)} of {len(steps)} steps passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
