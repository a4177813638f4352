"""The manual pages: one for each command, from its own ``--help``; groff and mandoc say nothing against them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from shadowd.cli import shadowctl
from shadowd.config.document import Config
from tests.conftest import ROOT

UTF8 = os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "80"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    command = [sys.executable, "-B", str(ROOT / "systemd/manpages.py"), str(folder)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=60)
    return folder


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for word, one in getattr(command, "commands", {}).items():
        if not one.hidden:
            yield from commands(f"{name}-{word}", one)


def test_every_command_has_a_page_with_all_its_options(pages: Path) -> None:
    tree = dict(commands("shadowctl", typer.main.get_command(shadowctl.app)))
    assert len(tree) > 30
    assert {file.name for file in (pages / "man1").iterdir()} == {f"{name}.1" for name in tree}
    for name, command in tree.items():
        text = (pages / f"man1/{name}.1").read_text().replace("\\-", "-")
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert all(f"\\fB{option}\\fR" in text for option in parameter.opts), (name, parameter.opts)


def test_the_configuration_s_page_has_every_setting(pages: Path) -> None:
    text = (pages / "man5/shadowd.toml.5").read_text()
    for setting in Config.model_fields:
        if setting not in ("filters", "origin"):
            assert f"\n\\fB{setting}\\fR\n" in text, setting


def test_options_and_quotes_come_out_as_they_are_typed(pages: Path) -> None:
    if shutil.which("man") is None:
        pytest.skip("there is no man — apt-get install man-db")
    shown = subprocess.run(
        ["man", "-E", "UTF-8", "-P", "cat", "-l", pages / "man1/shadowctl-filter-add.1"],
        env=UTF8 | {"MANWIDTH": "200"}, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert "shadowctl filter add gateway --hook 'tc:veth*' --port 80 --to http://shadow --methods GET,POST" in shown
    assert "--max-slowdown" in shown


@pytest.mark.parametrize("program", ["mandoc -Tlint -W all", "man --warnings -E UTF-8 -l -Tutf8 -Z"])
def test_nothing_is_said_against_them(pages: Path, program: str) -> None:
    words = program.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no {words[0]}")
    done = subprocess.run(
        [*words, *sorted(pages.glob("*/*"))], env=UTF8, capture_output=True, text=True, check=False, timeout=120
    )
    said = done.stderr + (done.stdout if words[0] == "mandoc" else "")
    assert not said.strip()
