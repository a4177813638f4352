"""The same version on both sides, a hundred times: see ``unchanged``, whose runs begin with the session (conftest)."""

from __future__ import annotations

import json
import subprocess

from tests.unit.compare.unchanged import RUNS

LIMIT = 400  # seconds: 170 of CPU, on what the other tests leave


def test_a_hundred_releases_that_changed_nothing(unchanged_runs: list[subprocess.Popen[str]]) -> None:
    runs: list[tuple[bool, str]] = []
    for process in unchanged_runs:
        told, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0
        runs += json.loads(told)
    assert len(runs) == RUNS
    assert sum(1 for named, _ in runs if not named) >= 95
    assert sum(1 for _, verdict in runs if verdict == "pass") >= 90
