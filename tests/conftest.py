"""Shared by all tests: what the host offers, and the loaded capture programs.

Where the kernel, root or bcc are promised (CI=true) their lack fails; elsewhere it skips with the reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# CI looks at the same examples every time, so that a run judges the change and not the draw; elsewhere they are drawn
# anew, and what is found there becomes an @example.
settings.register_profile("ci", derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT.parent / "shared" / "corpus"


def need(condition: bool, reason: str) -> None:
    """Skip for ``reason``, or fail where CI promised it."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"promised in CI: {reason}")
    pytest.skip(reason)


_background: list[subprocess.Popen[str]] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin the longest simulation with the session: the kernel's tests leave a core idle most of the time."""
    wanted = any("unchanged_runs" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        for first, last in ((0, 50), (50, 100)):
            command = [sys.executable, "-m", "tests.unit.compare.unchanged", str(first), str(last)]
            _background.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))


def pytest_sessionfinish() -> None:
    for process in _background:
        process.kill()
        process.communicate()


@pytest.fixture
def unchanged_runs() -> list[subprocess.Popen[str]]:
    return _background


@pytest.fixture(scope="session")
def root_user() -> None:
    need(os.geteuid() == 0, "needs root")


@pytest.fixture(scope="session")
def loaded(root_user: None) -> Iterator[object]:
    """The capture programs, loaded once: tests attach nothing through it, they use BPF_PROG_TEST_RUN."""
    from shadowd.capture.preflight import check_host
    from shadowd.capture.programs import load
    from shadowd.errors import PlatformError

    try:
        check_host()
        programs = load(1 << 20, 0x40000000)
    except PlatformError as error:
        need(False, str(error))
    yield programs
    programs.close()
