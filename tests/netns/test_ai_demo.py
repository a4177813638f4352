"""``shadowctl demo --ai``: the verdict names each planted change, and nothing but what follows from them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("root_user")


def demonstrated(tmp_path: Path, *options: str) -> dict[str, Any]:
    """What the demo shows with ``--json``; it must say itself that the demonstration worked."""
    command = [sys.executable, "-m", "shadowd.cli.shadowctl", "demo", "--ai", "--json", *options]
    command += ["--report", str(tmp_path / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=ROOT)
    assert done.returncode == 0, done.stderr + done.stdout[-3000:]
    shown: dict[str, Any] = json.loads(done.stdout)
    assert shown["production_errors"] == 0
    assert {one["name"] for one in shown["ledger"]["filters"]} == {"demo", "weather"}
    assert all(one["balanced"] for one in shown["ledger"]["filters"])
    return shown


def test_the_ai_demo_names_what_was_planted(tmp_path: Path) -> None:
    shown = demonstrated(tmp_path)
    assert shown["verdict"]["verdict"] == "fail"
    assert shown["third_party"]["verdict"] == "fail"
    third = {(one["judge"], one["endpoint"], one["path"]) for one in shown["third_party"]["findings"]}
    assert third == {("content", "GET /v1/current", "body $.wind")}


def test_two_equal_models_do_not_fail(tmp_path: Path) -> None:
    shown = demonstrated(tmp_path, "--identical", "--seconds", "20")
    assert shown["verdict"]["verdict"] != "fail", shown["findings"]
    assert shown["third_party"]["verdict"] != "fail"
    assert not shown["findings"]
