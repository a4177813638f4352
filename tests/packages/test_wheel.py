"""The sdist and the wheel that is built of it: what they hold, and that the wheel works where it is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.conftest import ROOT, need

SOURCES = ("pyproject.toml", "setup.py", "README.md", "CHANGELOG.md", "LICENSE", "bpf", "shadowd")
#: Imported where they are, asked for where they are not: by name of the module.
OPTIONAL = {"bcc", "grpc", "google", "sentence_transformers"}
#: Imported by its own name, and a part of what is required: jinja2's, pydantic's.
BROUGHT = {"markupsafe", "pydantic_core"}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, not compiled: that takes minutes, and is nothing of a package's own."""
    need((ROOT / "bpf/shadowd.bytecode").is_file(), "bpf/shadowd.bytecode is missing: make bpf-bytecode")
    folder = tmp_path_factory.mktemp("made")
    tools, source = folder / "tools", folder / "source"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--target", str(tools)]
    done = subprocess.run(
        [*pip, *(one for one in wanted if "cython" not in one)], capture_output=True, text=True, check=False
    )
    need(done.returncode == 0, f"pip gives no setuptools: {done.stderr[-300:]}")
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    setup = (sys.executable, "-P", "setup.py", "-q")
    pure = {"PYTHONPATH": str(tools), "SHADOWD_PURE": "1", "SHADOWD_BYTECODE": "required"}
    run(*setup, "sdist", "-d", folder / "dist", cwd=source, **pure)
    (folder / "unpacked").mkdir()
    run("tar", "-xzf", next((folder / "dist").glob("*.tar.gz")), "-C", folder / "unpacked", cwd=folder)
    run(*setup, "bdist_wheel", "-d", folder / "dist", cwd=next((folder / "unpacked").iterdir()), **pure)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(made: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(made.glob("*.whl")))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


@pytest.fixture(scope="module")
def installed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel; what it depends on is this interpreter's."""
    place = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=made)
    wheel = next(made.glob("*.whl"))
    run(sys.executable, "-m", "pip", "--python", place / "bin/python", "install", "-q", "--no-deps", wheel, cwd=made)
    site = next(place.glob("lib/python*/site-packages"))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def tracked(folder: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    need(listed.returncode == 0, "no git here, or no clone")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file() and not name.endswith(".gitkeep")}


def test_all_of_the_product_is_in_the_wheel_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    found = {name for name in wheel.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    program = {f"shadowd/{name}" for name in tracked("bpf")} - {"shadowd/bpf/build_bytecode.py"}
    assert found == tracked("shadowd") | program | {"shadowd/bpf/shadowd.bytecode"}
    assert wheel.read("shadowd/bpf/shadowd.bytecode") == (ROOT / "bpf/shadowd.bytecode").read_bytes()


def test_the_sdist_has_what_a_build_needs(made: Path) -> None:
    with tarfile.open(next(made.glob("*.tar.gz"))) as sdist:
        found = {name.partition("/")[2] for name in sdist.getnames()}
    assert tracked("shadowd") | tracked("bpf") | {"bpf/shadowd.bytecode", "setup.py", "LICENSE", "README.md"} <= found
    assert not {name for name in found if name.startswith(("tests", "build")) or name.endswith((".so", ".pyc"))}


def test_a_stranger_is_told_what_it_is(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0 AND (BSD-2-Clause OR GPL-2.0-only)"
    assert metadata.get_all("License-File") == ["LICENSE", "bpf/LICENSE"]
    for name in ("Summary", "Author-email", "Keywords", "Requires-Python"):
        assert metadata[name], name
    classifiers = metadata.get_all("Classifier") or []
    assert {"Operating System :: POSIX :: Linux", "Typing :: Typed"} <= set(classifiers)
    assert str(metadata.get_payload()).startswith("# ")


def test_nothing_in_the_wheel_names_the_place_where_it_was_made(made: Path, wheel: zipfile.ZipFile) -> None:
    places = [str(one).encode() for one in (ROOT, made.parent)]
    assert [name for name in wheel.namelist() if any(place in wheel.read(name) for place in places)] == []


def test_what_is_imported_is_required_and_what_is_required_is_imported(metadata: Message) -> None:
    imported = set()
    for file in (ROOT / "shadowd").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                imported.add(node.module.partition(".")[0])
    foreign = imported - sys.stdlib_module_names - {"shadowd", "compression"} - OPTIONAL - BROUGHT
    required = set()
    for line in metadata.get_all("Requires-Dist") or []:
        if "extra ==" not in line:
            required.add(re.split(r"[^\w.-]", line)[0].lower().replace("_", "-"))
    given = importlib.metadata.packages_distributions()
    providers = {module: {name.lower().replace("_", "-") for name in given[module]} for module in foreign}
    assert {module for module in foreign if not providers[module] & required} == set()
    assert required - set().union(*providers.values()) == set()


def test_it_runs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    where = "import shadowd, shadowd.capture.programs as p; print(shadowd.__file__, p.find_bpf('shadowd.bpf.c'))"
    for file in run(installed / "python", "-c", where, cwd=tmp_path).split():
        assert Path(file).is_relative_to(installed.parent)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(installed / "shadowd", "--version", cwd=tmp_path) == f"shadowd {version}\n"
    assert "--to" in run(installed / "shadowctl", "try", "--help", cwd=tmp_path)


def test_it_loads_its_programs_where_there_is_no_bcc(root_user: None, installed: Path, tmp_path: Path) -> None:
    """bcc's folder is hidden in a mount namespace; a compiler would be of no use there."""
    asked = "import bcc, os; print(os.path.dirname(bcc.__file__))"
    found = subprocess.run(["/usr/bin/python3", "-c", asked], capture_output=True, text=True, check=False)
    hidden = f"mount -t tmpfs none {found.stdout.strip()}; " if found.returncode == 0 else ""
    script = """
import json
from shadowd.capture.preflight import find_bcc_python
from shadowd.capture.programs import load
from shadowd.errors import PlatformError
try:
    bcc = find_bcc_python()
except PlatformError:
    bcc = ""
programs = load(1 << 20, 0x5AD)
print(json.dumps([bcc, programs.loader, sorted(programs.maps)[:1]]))
programs.close()
"""
    (tmp_path / "load.py").write_text(script)
    told = run(
        "unshare", "-m", "sh", "-c", f"{hidden}exec {installed}/python {tmp_path}/load.py",
        cwd=tmp_path, SHADOWD_BCC_PYTHON="",
    )  # fmt: skip
    assert json.loads(told)[:2] == ["", "prebuilt"]
