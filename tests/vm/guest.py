"""A guest under qemu that runs a kernel of our choice, over this machine's own files or a disk.

The kernel and an initramfs of one static busybox and a few modules are all that is made. With ``over_this_machine`` the
guest's root is this machine's root, read-only over virtio's 9p, with a tmpfs laid over it: what it runs (Python, .venv,
this tree) is exactly what is here, and what it writes is gone with it. The guest's second serial port comes back line
by line (the first is the kernel's console); it powers itself off.
"""

from __future__ import annotations

import lzma
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from tests.vm.packages import Missing

MEMORY_MB = 768  # Python, bcc's LLVM (120 MB), maps (60 MB) and what the tmpfs over the root takes
# What it takes to reach the root, and what the acceptance script uses: nothing is loaded on demand in the guest.
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "veth", "sch_ingress", "cls_bpf", "dummy")

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /ro /rw /new
b() {{ /bin/busybox "$@"; }}
b mount -t proc proc /proc
b mount -t sysfs sys /sys
b mount -t devtmpfs dev /dev
for module in {modules}; do b insmod /modules/$module.ko || echo "insmod $module failed"; done
b ip link set lo up
b hostname guest
{rest}
"""
#: The root is this machine's, read-only, with a tmpfs over it; then ``{command}`` runs as the first process.
SHARED = """b mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 root /ro || b poweroff -f
b mount -t tmpfs -o size=60% tmp /rw
b mkdir /rw/upper /rw/work
b mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work root /new || b poweroff -f
for place in proc sys dev; do b mount --move /$place /new/$place; done
b mount -t tmpfs tmp /new/tmp
b mount -t tmpfs run /new/run
b mount -t cgroup2 none /new/sys/fs/cgroup
exec /bin/busybox switch_root -c /dev/console /new /bin/sh -c {command}"""


def module_files(kernel: Path) -> dict[str, Path]:
    """Modules of an unpacked kernel package by name (``-`` and ``_`` are one)."""
    found = [path for path in kernel.glob("**/*.ko*") if path.suffix in (".ko", ".xz")]
    return {path.name.partition(".")[0].replace("-", "_"): path for path in found}


def plain(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def with_dependencies(names: tuple[str, ...], files: dict[str, Path]) -> dict[str, bytes]:
    """Modules in an order in which they can be loaded. One that is not there is built into that kernel."""
    ordered: dict[str, bytes] = {}

    def take(name: str) -> None:
        if name in ordered or name not in files:
            return
        data = plain(files[name])
        told = re.search(rb"\0depends=([^\0]*)\0", data)
        for needed in (told[1].decode() if told else "").split(","):
            take(needed.replace("-", "_"))
        ordered[name] = data

    for name in names:
        take(name.replace("-", "_"))
    return ordered


def make_initramfs(kernel: Path, output: Path, rest: str, wanted: tuple[str, ...] = MODULES) -> None:
    """``rest``: the end of /init, once the modules are loaded; ``b`` is busybox, the new root goes to /new."""
    busybox = shutil.which("busybox")
    # ldd fails for what needs no libraries
    if busybox is None or subprocess.run(["ldd", busybox], capture_output=True, check=False).returncode == 0:
        raise Missing("a static busybox is needed — apt-get install busybox-static")
    modules = with_dependencies(wanted, module_files(kernel))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("bin", "modules", "dev"):
            (root / folder).mkdir()
        shutil.copy(busybox, root / "bin/busybox")
        for module, data in modules.items():
            (root / "modules" / f"{module}.ko").write_bytes(data)
        init = root / "init"
        init.write_text(INIT.format(modules=" ".join(modules), rest=rest))
        init.chmod(0o755)
        listed = "\n".join(str(path.relative_to(root)) for path in sorted(root.glob("**/*")))
        with open(output, "wb") as file:
            subprocess.run(
                ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
                input=listed.encode(), stdout=file, cwd=root, check=True,
            )  # fmt: skip


def over_this_machine(command: str) -> str:
    """The end of /init for a guest whose root is this machine's."""
    return SHARED.format(command=shlex.quote(command))


def accelerator() -> list[str]:
    """Hardware virtualisation if asked for (``SHADOWD_VM_ACCEL=kvm``): a /dev/kvm that is there may still not serve."""
    if os.environ.get("SHADOWD_VM_ACCEL") == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg", "-cpu", "max"]


def boot(
    image: Path, initramfs: Path, console: Path, line: Callable[[str], None], limit: float,
    devices: tuple[str, ...] = (), append: str = "",
) -> int:  # fmt: skip
    """Run a guest until it powers off; ``line`` is given every line of its second serial port, the first goes to the
    file ``console``. Returns qemu's exit code; a guest that is not off after ``limit`` seconds is killed (code -9)."""
    command = [
        "nice", "-n", "19", "qemu-system-x86_64", *accelerator(), "-smp", "1", "-m", str(MEMORY_MB),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-kernel", str(image), "-initrd", str(initramfs),
        "-append", f"console=ttyS0 quiet panic=-1 {append}",
        "-serial", f"file:{console}", "-serial", "stdio", *devices,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
    timer = threading.Timer(limit, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        for text in process.stdout:
            line(text.rstrip("\r\n"))
        return process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()


SHARED_ROOT = (
    "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
    "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
)  # fmt: skip
