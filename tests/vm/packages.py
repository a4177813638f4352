"""Debian packages of other releases, through a private apt configuration: the machine's own sources stay as they are.

The mirror is the one this machine uses itself (``DEBIAN_MIRROR`` names another); lists, packages and what was unpacked
from them are kept under ``build/vm``, so that a second run asks for nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import ROOT

CACHE = ROOT / "build" / "vm"
RELEASES = ("bullseye", "bookworm", "trixie")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Missing(Exception):
    """Something this machine must have; the text says what to do."""


#: What guests are made with: program → Debian package (`.ci/setup vm` installs them).
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86", "cpio": "cpio", "busybox": "busybox-static", "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
}  # fmt: skip


def need_tools() -> None:
    """Raises Missing naming the packages of all programs that are not there."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = {package for program, package in TOOLS.items() if shutil.which(program, path=path) is None}
    if lacking:
        raise Missing(f"programs are missing — apt-get install --no-install-recommends {' '.join(sorted(lacking))}")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        raise Missing(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


def mirror() -> str:
    """The address of the Debian archive that this machine's own apt uses. Raises Missing where it uses none."""
    named = os.environ.get("DEBIAN_MIRROR", "")
    if named:
        return named
    listed = run(
        "apt-get", "indextargets", "--format", "$(REPO_URI)",
        "Created-By: Packages", "Origin: Debian", "Label: Debian",
    ).split()  # fmt: skip
    if not listed:
        raise Missing("this machine's apt has no Debian archive — name one: DEBIAN_MIRROR=http://…/debian")
    return listed[0]


class Apt:
    """apt-get with sources and caches of its own, for one Debian release."""

    def __init__(self, release: str) -> None:
        self.release = release
        self.folder = CACHE / "apt" / release
        for name in ("lists/partial", "cache/archives/partial", "packages"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        sources = self.folder / "sources.list"
        sources.write_text(f"deb {signed}{mirror()} {release} main\n")
        self._options = [
            *("-o", f"Dir::Etc::sourcelist={sources}"),
            *("-o", "Dir::Etc::sourceparts=/dev/null"),
            *("-o", f"Dir::State::lists={self.folder}/lists"),
            *("-o", f"Dir::Cache={self.folder}/cache"),
            *("-o", "APT::Sandbox::User=root"),  # the folder belongs to whoever runs this
        ]

    def kernel(self) -> str:
        """The name of the package that the release's linux-image-amd64 stands for."""
        if not any((self.folder / "lists").glob("*Packages*")):
            run("apt-get", *self._options, "-q", "update")
        shown = run("apt-cache", *self._options, "show", "--no-all-versions", "linux-image-amd64")
        for line in shown.splitlines():
            if line.startswith("Depends:"):
                return line.split()[1].rstrip(",")
        raise Missing(f"{self.release} has no kernel package — is the mirror whole?")

    def unpacked(self, package: str) -> Path:
        """The folder into which a package was unpacked, downloaded first where it is not there yet."""
        folder = CACHE / "unpacked" / f"{self.release}-{package}"
        if not folder.exists():
            packages = self.folder / "packages"
            run("apt-get", *self._options, "-q", "download", package, cwd=packages)
            (found,) = packages.glob(f"{package}_*.deb")
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            run("dpkg-deb", "-x", found, partial)
            found.unlink()
            partial.rename(folder)
        return folder
