"""Compiled or not: what is used, and what is said where something does not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shadowd import compiled
from shadowd.compiled import RECORD, SUFFIX, why_not, write_record


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one compiled module."""
    monkeypatch.delenv("SHADOWD_PURE", raising=False)
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow" / "table.py").write_text("x = 1\n")
    (tmp_path / "flow" / "table.pxd").write_text("")
    (tmp_path / "flow" / f"table{SUFFIX}").write_bytes(b"")
    write_record(tmp_path, tmp_path)
    return tmp_path


def test_what_fits_is_used(package: Path) -> None:
    assert why_not(package) == ""
    (package / "flow" / "table.pxd").unlink()  # wheels may leave it out
    assert why_not(package) == ""


def test_it_can_be_asked_for(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHADOWD_PURE", "1")
    assert why_not(package) == "SHADOWD_PURE is set"
    monkeypatch.setenv("SHADOWD_PURE", "0")
    assert why_not(package) == ""


@pytest.mark.parametrize("name", ["table.py", "table.pxd"])
def test_a_source_that_was_changed(package: Path, name: str) -> None:
    (package / "flow" / name).write_text("x = 2\n")
    assert why_not(package) == f"flow/{name} is newer than what was compiled: make setup"


def test_a_module_that_became_one_of_them(package: Path) -> None:
    (package / "flow" / "seq.py").write_text("")
    (package / "flow" / "seq.pxd").write_text("")
    assert why_not(package) == "flow/seq.pxd was not compiled yet: make setup"


def test_nothing_was_compiled(package: Path) -> None:
    (package / RECORD).unlink()
    assert why_not(package) == "install gcc and python3-dev, then make setup"


def test_a_library_or_source_that_is_missing(package: Path) -> None:
    (package / "flow" / f"table{SUFFIX}").unlink()
    assert why_not(package) == "the library of flow/table.py is missing: make setup"


def test_another_python(package: Path) -> None:
    record = json.loads((package / RECORD).read_text())
    (package / RECORD).write_text(json.dumps(record | {"suffix": ".cpython-399.so"}))
    assert why_not(package) == "what was compiled is for another Python (.cpython-399.so): make setup"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"suffix": 1}', '{"suffix": "x", "sources": 3}'])
def test_a_record_that_is_none(package: Path, text: str) -> None:
    (package / RECORD).write_text(text)
    assert why_not(package) == f"{RECORD} cannot be read: make setup"


ASKED = "import shadowd, shadowd.worker.pump as p, shadowd.stream.flow as f; print(shadowd.compiled.STATE, f.__file__)"


def test_the_sources_run_beside_the_libraries() -> None:
    environment = os.environ | {"SHADOWD_PURE": "1"}
    said = subprocess.run([sys.executable, "-c", ASKED], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("pure Python — SHADOWD_PURE is set ")
    assert said.stdout.rstrip().endswith("stream/flow.py")


def test_these_tests_run_compiled_where_that_is_asked_for() -> None:
    """`make test` asks for it: else nobody would notice that nothing was compiled."""
    if os.environ.get("SHADOWD_COMPILED") != "required":
        pytest.skip(f"make test asks for compiled modules; here: {compiled.STATE}")
    assert compiled.STATE == "compiled"
    from shadowd.stream import flow

    assert flow.__file__.endswith(SUFFIX)
