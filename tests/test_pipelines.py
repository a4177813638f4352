"""The pipelines that run elsewhere, and the Ansible role: well-formed, of little power, and calling what is here."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.test_release import makefile_targets

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [ROOT / ".github/ISSUE_TEMPLATE" / name for name in ("bug.yml", "idea.yml")]
ROLE = ROOT / "systemd/ansible"


def workflow(file: Path) -> dict[Any, Any]:
    read = yaml.safe_load(file.read_text())
    assert isinstance(read, dict)
    return read


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(file)["jobs"].values() for step in job["steps"]]


def test_all_of_it_is_there() -> None:
    assert {file.stem for file in WORKFLOWS} == {"tests", "lint", "packages", "image"}
    assert {file.name for file in (ROOT / ".github/ISSUE_TEMPLATE").iterdir()} == {"bug.yml", "idea.yml", "config.yml"}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_may_little_and_ends(file: Path) -> None:
    read = workflow(file)
    assert read["permissions"] == {"contents": "read"}
    for name, job in read["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 90, name
        assert "permissions" not in job or name == "release"
    for step in steps(file):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), step["uses"]
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        # what somebody else may write (a branch's name) reaches a shell by the environment alone
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_target_that_a_workflow_calls_is_in_the_makefile(file: Path) -> None:
    matrices = [job.get("strategy", {}).get("matrix", {}) for job in workflow(file)["jobs"].values()]
    called = {name for matrix in matrices for name in matrix.get("target", [])}
    for step in steps(file):
        for words in re.findall(r"\bmake ([^&|;\n]+)", step.get("run", "")):
            called |= {word for word in words.split() if re.fullmatch(r"[a-z][a-z-]*", word)}
    assert called or file.stem == "image"
    assert called <= makefile_targets()


def test_the_releases_that_are_built_are_those_of_the_chroots() -> None:
    text = (ROOT / "systemd/chroots.py").read_text()
    known = re.findall(r'Release\("(\w+)", "([\w.]+)"', text)
    built = workflow(ROOT / ".github/workflows/packages.yml")["jobs"]["debs"]["strategy"]["matrix"]["release"]
    assert [name for name, _ in known] == built
    suites = dict(re.findall(r"\[([\w.]+)\]=(\w+)", (ROOT / "systemd/build-repo.sh").read_text()))
    assert suites == {suffix: name for name, suffix in known}


@pytest.mark.parametrize(
    ("schema", "files"),
    [("github-workflows", WORKFLOWS), ("github-issue-forms", FORMS)],
)  # fmt: skip
def test_the_platform_s_own_schemas_hold(schema: str, files: list[Path]) -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("there is no check-jsonschema")
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_role_s_variables_are_those_it_documents() -> None:
    defaults = yaml.safe_load((ROLE / "roles/shadowd/defaults/main.yml").read_text())
    documented = set(re.findall(r"(?m)^\| `(shadowd_\w+)`", (ROLE / "README.md").read_text()))
    assert documented == set(defaults)
    used = set()
    for file in (ROLE / "roles/shadowd").rglob("*"):
        used |= set(re.findall(r"\bshadowd_(?!units\b|copied\b)\w+", file.read_text())) if file.is_file() else set()
    assert used == set(defaults)


def test_the_playbook_s_syntax() -> None:
    if shutil.which("ansible-playbook") is None:
        pytest.skip("there is no ansible-playbook")
    done = subprocess.run(
        ["ansible-playbook", "-i", "inventory.ini", "--syntax-check", "playbook.yml"], cwd=ROLE,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
