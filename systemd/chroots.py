#!/usr/bin/python3
"""Packages for several releases, each built and tried in a chroot of its own: systemd/chroots.py [RELEASE ...]

Each release's minimal system is made once by mmdebstrap (build/chroots/RELEASE.tar). In one copy the package is built,
into another it is installed as a user would, with nothing there but what apt brings: it must answer, mirror the demo
through the bytecode it carries, and leave nothing behind. Copies are removed, packages stay in dist/. Needs root.

DEBIAN_MIRROR and UBUNTU_MIRROR name other archives. --try PACKAGE tries packages that are built already.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/chroots"
DIST = ROOT / "dist"
KEYRINGS = Path("/usr/share/keyrings")
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "CHANGELOG.md", "MANIFEST.in",
           "docs", "shadowd", "bpf", "systemd")  # fmt: skip
#: What a new system keeps of the machine's ways to the network.
PASSED = ("PIP_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "http_proxy", "https_proxy", "no_proxy",
          "SHADOWD_PURE")  # fmt: skip
CERTIFICATES = "/root/certificates.pem"  # a copy of PIP_CERT
LIMIT_MB = 100  # the package and all that it brings, on a minimal system


class Failed(Exception):
    """What went wrong, in words, with the end of the output."""


class Release(NamedTuple):
    name: str
    suffix: str  # of the package's version
    ubuntu: bool = False


RELEASES = {
    one.name: one
    for one in (
        Release("bookworm", "debian12"),
        Release("trixie", "debian13"),
        Release("jammy", "ubuntu22.04", ubuntu=True),
        Release("noble", "ubuntu24.04", ubuntu=True),
    )
}


def say(text: str) -> None:
    print(text, flush=True)


def run(*words: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                          check=False)  # fmt: skip
    if done.returncode:
        raise Failed(f"{words[0]} ended with {done.returncode}: …{done.stdout.strip()[-1500:]}")
    return done.stdout


class Chroot:
    """A copy of a release's minimal system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, network: bool = True) -> str:
        """Mounts are the command's alone: when it has ended there is nothing to unmount. Without ``network`` it has a
        loopback of its own."""
        mounts = f"mount -t proc proc {self.folder}/proc; mount --rbind /sys {self.folder}/sys; "
        loopback = "" if network else "ip link set lo up; "
        script = f'set -e; {loopback}{mounts}exec chroot {self.folder} "$@"'
        own = ["--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        given = {name: os.environ[name] for name in PASSED if name in os.environ}
        if os.environ.get("PIP_CERT"):
            given["PIP_CERT"] = CERTIFICATES
        env = given | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root",
                       "DEBIAN_FRONTEND": "noninteractive", "SOURCE_DATE_EPOCH": source_date()}  # fmt: skip
        return run("unshare", *own, "--", "/bin/sh", "-c", script, "sh", *words, env=env)

    def succeeds(self, *words: str) -> bool:
        try:
            self.run(*words)
        except Failed:
            return False
        return True

    def packages(self) -> dict[str, int]:
        """KB of every installed package, as dpkg says it."""
        listed = self.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${binary:Package} ${Installed-Size}\\n")
        lines = (line.split() for line in listed.splitlines())
        return {name: int(size) for status, name, size in lines if status == "installed"}

    def disk(self) -> int:
        """Bytes in use, without apt's lists and downloads."""
        kept = (self.folder / "var/cache/apt", self.folder / "var/lib/apt/lists")
        total = run("du", "-sxB1", *(f"--exclude={folder}" for folder in kept), self.folder)
        return int(total.split()[0])


def source_date() -> str:
    if "SOURCE_DATE_EPOCH" in os.environ:
        return os.environ["SOURCE_DATE_EPOCH"]
    try:
        return run("git", "-C", ROOT, "log", "-1", "--format=%ct").strip()
    except (Failed, OSError):  # a source archive
        return str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


def keyring(release: Release) -> Path:
    """By which the archive is verified; Debian has a package of Ubuntu's."""
    name = "ubuntu-archive-keyring.gpg" if release.ubuntu else "debian-archive-keyring.gpg"
    for place in (KEYRINGS / name, BUILD / name):
        if place.exists():
            return place
    if not release.ubuntu:
        raise Failed(f"{KEYRINGS / name} is missing — apt install debian-archive-keyring")
    with chroot(RELEASES["trixie"], "keyring") as debian:
        debian.run("apt-get", "update", "-q")
        debian.run("apt-get", "install", "-q", "-y", "ubuntu-keyring")
        shutil.copy(debian.folder / "usr/share/keyrings" / name, BUILD / name)
    return BUILD / name


def base(release: Release) -> Path:
    """The archive of the release's minimal system, made where it is not there."""
    made = BUILD / f"{release.name}.tar"
    if not made.exists():
        say(f"{release.name}: making a minimal system (once)")
        partial = BUILD / f"{release.name}.partial.tar"
        components = "main,universe" if release.ubuntu else "main"
        mirror = os.environ.get("UBUNTU_MIRROR" if release.ubuntu else "DEBIAN_MIRROR", "")
        words = [
            "--variant=minbase",
            "--include=apt",
            "--mode=root",
            f"--components={components}",
            f"--keyring={keyring(release)}",
        ]
        run("mmdebstrap", *words, release.name, partial, *([mirror] if mirror else []))
        partial.rename(made)
    return made


@contextmanager
def chroot(release: Release, purpose: str) -> Iterator[Chroot]:
    archive = base(release)
    folder = Path(tempfile.mkdtemp(prefix=f"{release.name}-{purpose}-", dir=BUILD))
    folder.chmod(0o755)
    try:
        run("tar", "-C", folder, "-xf", archive)
        (folder / "etc/resolv.conf").unlink(missing_ok=True)
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
        policy = folder / "usr/sbin/policy-rc.d"  # a chroot starts no services
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        (folder / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True, exist_ok=True)
        (folder / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")  # it is thrown away
        if os.environ.get("PIP_CERT"):
            shutil.copy(os.environ["PIP_CERT"], folder / CERTIFICATES.lstrip("/"))
        yield Chroot(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def build(release: Release) -> Path:
    say(f"{release.name}: building")
    with chroot(release, "build") as system:
        system.run("apt-get", "update", "-q")
        given = [name for name in SOURCES if (ROOT / name).exists()]
        archive = BUILD / "source.tar"
        run("tar", "-C", ROOT, "--exclude=__pycache__", "--exclude=*.so", "-cf", archive, *given)
        (system.folder / "src").mkdir()
        run("tar", "-C", system.folder / "src", "-xf", archive)
        archive.unlink()
        system.run("/src/systemd/build-deb.sh")
        DIST.mkdir(exist_ok=True)
        for made in (system.folder / "src/dist").iterdir():
            shutil.copy(made, DIST / made.name)
        (package,) = (system.folder / "src/dist").glob("shadowd_*.deb")
        return DIST / package.name


def attempt(release: Release, package: Path) -> dict[str, object]:
    """Install, use, purge. What it brought, in numbers."""
    say(f"{release.name}: trying {package.name}")
    with chroot(release, "try") as system:
        system.run("apt-get", "update", "-q")
        packages, disk = system.packages(), system.disk()
        shutil.copy(package, system.folder / "root" / package.name)
        system.run("apt-get", "install", "-q", "-y", f"/root/{package.name}")  # with what is recommended, as users do
        (system.folder / "root" / package.name).unlink()
        brought = {name: size for name, size in system.packages().items() if name not in packages}
        taken = system.disk() - disk
        use(system)
        system.run("apt-get", "purge", "-q", "-y", "shadowd")
        left = [path for path in ("usr/lib/shadowd", "etc/shadowd", "var/lib/shadowd", "usr/share/doc/shadowd")
                if (system.folder / path).exists()]  # fmt: skip
        if left or system.succeeds("getent", "passwd", "shadowd"):
            raise Failed(f"purging leaves behind {', '.join(left) or 'the user'}")
    told = {"release": release.name, "package_mb": round(brought["shadowd"] / 1024, 1),
            "total_mb": round(sum(brought.values()) / 1024, 1), "disk_mb": round(taken / 2**20, 1),
            "brought": sorted(brought)}  # fmt: skip
    if sum(brought.values()) > LIMIT_MB * 1024:
        raise Failed(f"it brings {told['total_mb']} MB, more than {LIMIT_MB}: {json.dumps(brought)}")
    return told


def use(system: Chroot) -> None:
    """As somebody would on the first day."""
    version = system.run("shadowd", "--version").split()[-1]
    if f'version = "{version}"' not in (ROOT / "pyproject.toml").read_text():
        raise Failed(f"the package is of version {version}")
    system.run("shadowctl", "--help")
    system.run("shadowd", "check-config", "/etc/shadowd/shadowd.toml")
    state = system.run("/usr/lib/shadowd/bin/python3", "-c", "import shadowd; print(shadowd.compiled.STATE)").strip()
    if state != "compiled" and not os.environ.get("SHADOWD_PURE"):
        raise Failed(f"the hot modules are {state}")
    for path in ("usr/share/bash-completion/completions/shadowd", "usr/share/zsh/vendor-completions/_shadowctl",
                 "usr/share/doc/shadowd/operations.md", "usr/share/doc/shadowd/observability/alerts.yaml"):  # fmt: skip
        # a minimal system of Ubuntu leaves documentation out
        if not (system.folder / path).exists() and not (system.folder / "etc/dpkg/dpkg.cfg.d/excludes").exists():
            raise Failed(f"the package lacks /{path}")
    # its exit code says whether the demonstration worked
    system.run("shadowctl", "demo", "--seconds", "5", "--json", network=False)


def lint(package: Path) -> None:
    if shutil.which("lintian") is None:
        say("lintian is not here: not asked — apt install lintian")
        return
    run("lintian", "--fail-on", "error,warning", "--suppress-tags", "bad-distribution-in-changes-file", package)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "releases", nargs="*", metavar="RELEASE", help=f"of {', '.join(RELEASES)}; all if none is given"
    )
    parser.add_argument("--try", action="store_true", dest="built", help="try what is in dist/ already")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.releases if name not in RELEASES]
    if unknown:
        parser.error(f"{', '.join(unknown)} is none of {', '.join(RELEASES)}")
    if os.geteuid() != 0:
        parser.error("chroots need root — run: sudo make debs")
    if shutil.which("mmdebstrap") is None:
        parser.error("mmdebstrap is missing — apt install mmdebstrap")
    BUILD.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in options.releases or RELEASES:
        release = RELEASES[name]
        try:
            built = sorted(DIST.glob(f"shadowd_*+{release.suffix}_*.deb"), key=lambda file: file.stat().st_mtime)
            package = built[-1] if options.built and built else build(release)
            lint(package)
            say(f"{name}: {json.dumps(attempt(release, package))}")
        except Failed as error:
            failed += 1
            print(f"{name}: FAILED: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
