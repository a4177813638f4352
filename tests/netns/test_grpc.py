"""gRPC live: ``shadowctl demo --grpc`` names each fault that was planted, by status, field, time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("root_user")


def test_the_demo_names_what_was_planted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shadowd.cli.shadowctl", "demo", "--grpc", "--json", "--seconds", "40"]
    done = subprocess.run(
        [*command, "--report", str(tmp_path / "report.html")], capture_output=True, text=True, timeout=150, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr + done.stdout[-3000:]
    shown = json.loads(done.stdout)
    account = shown["ledger"]["filters"][0]
    assert account["balanced"]
    assert set(account["filtered"]) == {"method"}  # PutItem, by its name
    assert not account["lost"]
    assert shown["production_errors"] == 0
    assert shown["verdict"]["verdict"] == "fail"
    found = {one["judge"]: one for one in shown["findings"]}
    assert found.keys() <= {"content", "errors", "latency", "memory"}, "nothing but what was planted"
    assert {"content", "errors"} <= found.keys()
    places = {"content": "POST /shop.Shop/GetOrder", "errors": "POST /shop.Shop/GetItem", "memory": ""}
    assert all(one["endpoint"] in (places.get(judge, "POST /shop.Shop/Search"), "") for judge, one in found.items())
    assert "$['2']" in found["content"]["sentence"]
    assert any("UNAVAILABLE" in str(one.get("signature")) for one in shown["findings"])
