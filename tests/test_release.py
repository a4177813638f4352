"""What a release is made of agrees with itself: the version wherever it is written, and what the pipelines call."""

from __future__ import annotations

import re
from pathlib import Path

import shadowd
from tests.conftest import ROOT

VERSION = shadowd.__version__


def makefile_targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    named = {"pyproject.toml": re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text())}
    for file in sorted((ROOT / "kubernetes").rglob("*")):
        for found in re.finditer(r"(?:shadowd:|newTag: |appVersion: \"?)(\d+\.\d+\.\d+)", _text(file)):
            named[f"{file.relative_to(ROOT)}:{found.start()}"] = found
    for file in [*(ROOT / "docs").rglob("*"), *(ROOT / "systemd/ansible").rglob("*"), ROOT / "README.md"]:
        for found in re.finditer(r"shadowd(?:[:_-]|==)(\d+\.\d+\.\d+)", _text(file)):
            named[f"{file.relative_to(ROOT)}:{found.start()}"] = found
    assert len(named) >= 7
    assert {place: found and found[1] for place, found in named.items()} == dict.fromkeys(named, VERSION)


def _text(file: Path) -> str:
    return file.read_text() if file.is_file() else ""


def test_the_changelog_is_cut() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"(?m)^## (.+)$", text)
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(VERSION)}\] — \d{{4}}-\d\d-\d\d", headings[1])


def test_every_target_is_in_the_help_and_no_file_of_that_name_stops_it() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"(?m)^\.PHONY: (.*)$", text)[0].split())
    targets = makefile_targets()
    assert phony == targets
    assert targets == set(re.findall(r"(?m)^([a-z-]+):.*## \S", text)), "a target without ## is not in make help"
