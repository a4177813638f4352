"""What a process was built from: its executable, its script, its container's image (reads /proc).

A process that was started anew is the same version if these are the same:

* the **image**: the directories below a container's writable one (``lowerdir`` of the overlay at its root, overlayfs of
  the kernel's documentation). Docker, containerd and CRI-O unpack each layer once on a node, so two containers of one
  image name the same ones, and there is no need to ask the runtime;
* the **executable**: size and time of change of ``/proc/PID/exe``, outside of a container its inode too;
* the **script** of an interpreter: likewise of the first argument that is a file (``app.py``, ``-jar app.jar``).

Not seen: modules and libraries that the script loads, ``python -m``, application servers that are given a module's
name, configuration, environment. ``--run-key`` and ``shadowctl run start`` are for those.
"""

from __future__ import annotations

import hashlib
import os
import re
from itertools import zip_longest

_INTERPRETER = re.compile(r"(python|pypy|node|nodejs|java|ruby|php|php-fpm|perl|deno|bun)[\d.]*$")
_ARGUMENTS = 64  # of a command line: what is beyond is not where a script stands
_LINE = 1 << 20  # bytes of a file of /proc: an overlay of 128 layers is some 20 KB


def build_of(pid: int) -> tuple[str, ...]:
    """("image …", "executable …", "script …"): what can be read of the three, () for a process that is gone. Equal for
    two processes of one build."""
    found = []
    layers = _layers(pid)
    if layers:
        found.append(f"image {layers}")
    try:
        path = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
        found.append(f"executable {path} {_stamp(f'/proc/{pid}/exe', not layers)}")
    except OSError:
        return tuple(found)
    if _INTERPRETER.match(os.path.basename(path)):
        script = _script(pid, not layers)
        if script:
            found.append(f"script {script}")
    return tuple(found)


def rebuilt(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """Which of them is another one ("its executable was replaced"), "" if none, or if either could not be read."""
    if not before or not after or before == after:
        return ""
    for old, new in zip_longest(before, after, fillvalue=" "):
        if old != new:
            kind = (new if new != " " else old).split(" ", 1)[0]
            return f"its {kind} was replaced" if kind != "image" else "its container's image is another one"
    return ""


def _stamp(path: str, inode: bool) -> str:
    """Overlays give files other numbers with each mount, so there size and time must do."""
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns}" + (f" {status.st_dev}:{status.st_ino}" if inode else "")


def _layers(pid: int) -> str:
    """A digest of the overlay's lower directories at the process's root; "" where there is none."""
    for line in reversed(_read(f"/proc/{pid}/mountinfo").splitlines()):  # the last mount at a place is seen
        fields, _, rest = line.partition(" - ")
        if fields.split(" ")[4:5] != ["/"]:
            continue
        kind, _, options = rest.partition(" ")
        lower = [one for one in options.split(" ")[-1].split(",") if one.startswith(("lowerdir=", "lowerdir+="))]
        if kind != "overlay" or not lower:
            return ""
        return hashlib.sha256("\n".join(lower).encode()).hexdigest()[:16]
    return ""


def _script(pid: int, inode: bool) -> str:
    """The first argument that is a regular file, seen from the process's own root and directory."""
    for argument in _read(f"/proc/{pid}/cmdline").split("\0")[1:_ARGUMENTS]:
        if not argument or argument.startswith("-"):
            continue
        base = f"/proc/{pid}/root" if argument.startswith("/") else f"/proc/{pid}/cwd/"
        try:
            if os.path.isfile(base + argument):
                return f"{argument} {_stamp(base + argument, inode)}"
        except (OSError, ValueError):
            continue
    return ""


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_LINE).decode(errors="surrogateescape")
    except OSError:
        return ""
