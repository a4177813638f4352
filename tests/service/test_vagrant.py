"""The machines of ``vagrant/``: valid where vagrant is there, and each script one that a shell reads."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "vagrant"


def test_vagrant_validates_the_machines(tmp_path: Path) -> None:
    if shutil.which("vagrant") is None:
        pytest.skip("vagrant is not installed")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "VAGRANT_HOME": str(tmp_path / "home"),
                   "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot"), "VAGRANT_CHECKPOINT_DISABLE": "1"}  # fmt: skip
    done = subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "validated successfully" in done.stdout


def test_the_lab_has_every_role() -> None:
    script = FOLDER / "lab.sh"
    assert subprocess.run(["bash", "-n", script], check=False, timeout=10).returncode == 0
    text = (FOLDER / "Vagrantfile").read_text()
    for role in ("client", "production", "shadow"):
        assert f'"{role}" =>' in text
        assert f"\n{role})" in script.read_text()
    for machine in ("focal", "jammy", "noble", "bookworm", "trixie", "rocky9"):
        assert f'"{machine}" =>' in text
