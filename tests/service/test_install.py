"""`make install` into a folder: what it holds, that it runs from there without root, and what uninstalling leaves."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, need
from tests.netns.lab import HttpClient, Server
from tests.service import unprivileged

pytestmark = pytest.mark.usefixtures("root_user")

PREFIX = "/opt/shadow"
OPERATORS = "# an operator's own\n"


def install(action: str, destination: Path) -> None:
    given = {"PREFIX": PREFIX, "DESTDIR": str(destination), "PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    # without what setup.py compiles, which would take a minute
    environment = (
        given | {"SHADOWD_PURE": "1"} | {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    )
    done = subprocess.run(
        [ROOT / "systemd" / "install.sh", action],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    for reason in ("no Python 3.11", "has no venv", "is this machine offline?"):
        need(reason not in done.stderr, done.stderr.strip())
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    destination = tmp_path_factory.mktemp("root")
    for parent in (destination, *destination.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    (destination / "etc/shadowd").mkdir(parents=True)
    (destination / "etc/shadowd/shadowd.toml").write_text(OPERATORS)
    install("install", destination)
    yield destination
    install("uninstall", destination)
    left = {str(path.relative_to(destination)) for path in destination.rglob("*") if not path.is_dir()}
    assert left == {"etc/shadowd/shadowd.toml"}, "the operator's file stays, nothing else"
    assert (destination / "etc/shadowd/shadowd.toml").read_text() == OPERATORS


def test_nothing_names_the_place_where_it_was_made(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_symlink():
            assert str(root) not in os.readlink(path), path
        elif path.is_file():
            data = path.read_bytes()
            assert os.fsencode(root) not in data, path
            assert os.fsencode(ROOT) + b"/" not in data, path
    for name in ("shadowd", "shadowctl"):
        script = root / PREFIX[1:] / "lib/shadowd/bin" / name
        assert script.read_text().startswith(f"#!{PREFIX}/lib/shadowd/bin/python3\n")
        assert (root / PREFIX[1:] / "bin" / name).resolve() == script


def test_everything_is_compiled_and_open_to_all(root: Path) -> None:
    packages = next((root / PREFIX[1:] / "lib/shadowd/lib").glob("python3.*/site-packages"))
    sources = [path for path in packages.rglob("*.py") if "__pycache__" not in path.parts]
    assert len(sources) > 500
    lacking = [path for path in sources if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))]
    assert not lacking
    for path in (root / PREFIX[1:]).rglob("*"):
        mode = path.lstat().st_mode
        assert path.is_symlink() or mode & stat.S_IROTH, path
        assert path.is_symlink() or not mode & (stat.S_IWOTH | stat.S_IWGRP), path


def test_the_unit_names_the_installed_programs(root: Path) -> None:
    unit = (root / PREFIX[1:] / "lib/systemd/system/shadowd.service").read_text()
    programs = set(re.findall(r"^Exec\w+=-?(\S+)", unit, re.MULTILINE))
    assert programs == {f"{PREFIX}/bin/shadowd", f"{PREFIX}/bin/shadowctl"}
    for program in programs:
        assert (root / program[1:]).exists()


def test_the_manual_the_documentation_and_completion_are_there(root: Path) -> None:
    share = root / PREFIX[1:] / "share"
    for name in ("shadowd", "shadowctl"):
        variable = f"_{name.upper()}_COMPLETE"
        assert variable in (share / f"bash-completion/completions/{name}").read_text()
        assert variable in (share / f"zsh/vendor-completions/_{name}").read_text()
        assert variable in (share / f"fish/vendor_completions.d/{name}.fish").read_text()
    for page in ("man1/shadowctl.1", "man1/shadowctl-filter-add.1", "man5/shadowd.toml.5", "man8/shadowd.8"):
        assert (share / "man" / page).read_text().startswith('.\\" made by')
    for document in (ROOT / "docs").rglob("*"):
        assert (share / "doc/shadowd" / document.relative_to(ROOT / "docs")).exists(), document


def test_it_mirrors_from_there_without_root(root: Path, tmp_path: Path) -> None:
    """Nothing of the clone is in its reach: the interpreter is isolated and the working directory empty."""
    production, shadow = Server(), Server()
    daemon = unprivileged.daemon(tmp_path / "d", *unprivileged.SERVICE)
    python = str(root / PREFIX[1:] / "lib/shadowd/bin/python3")
    daemon.program = ("env", "-C", "/", "-u", "PYTHONPATH", python, "-I", "-m", "shadowd.cli.shadowd")
    try:
        daemon.start()
        command = Path(f"/proc/{daemon.pid}/cmdline").read_bytes().split(b"\0")
        assert command[0] == os.fsencode(python)
        assert os.stat(f"/proc/{daemon.pid}").st_uid == pwd.getpwnam(unprivileged.USER).pw_uid
        assert os.fsencode(ROOT) + b"/shadowd" not in Path(f"/proc/{daemon.pid}/maps").read_bytes()
        daemon.add("shop", production.port, shadow.url)
        client = HttpClient(production.host, production.port)
        for _ in range(20):
            client.get()
        client.close()
        assert daemon.settled("shop", lambda found: found["seen"] == 20)["targets"][0]["mirrored"] == 20
    finally:
        log = daemon.stop()
    assert "Traceback" not in log
    production.close()
    shadow.close()
