"""Shared by all tests: what the host offers, and the loaded capture programs.

Where the kernel, root or bcc are promised (CI=true) their lack fails; elsewhere it skips with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.unit.certificates import Certificate

# CI looks at the same examples every time, so that a run judges the change and not the draw; elsewhere they are drawn
# anew, and what is found there becomes an @example. How long an example takes is no verdict anywhere.
settings.register_profile("ci", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "here")

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT.parent / "shared" / "corpus"


def need(condition: bool, reason: str) -> None:
    """Skip for ``reason``, or fail where CI promised it."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"promised in CI: {reason}")
    pytest.skip(reason)


#: Tests that drive live traffic share one host: one after the other, in one worker. What only loads programs or starts
#: a daemon goes to a second worker, before the tests that compute; the third computes while those two wait.
TRAFFIC = ("netns", "faults")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not _is_unit(item):
            live = item.path.relative_to(ROOT / "tests").parts[0] in TRAFFIC
            item.add_marker(pytest.mark.xdist_group("traffic" if live else "host"))
    items.sort(key=lambda item: 0 if item.get_closest_marker("xdist_group") else 1)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Groups that pytest-xdist did not understand would be torn apart without a word."""
    if "PYTEST_XDIST_WORKER" in os.environ and session.config.getoption("loadgroup"):
        for item in session.items:
            marker = item.get_closest_marker("xdist_group")
            if marker is not None and not item.nodeid.endswith(f"@{marker.args[0]}"):
                raise pytest.UsageError("this pytest-xdist does not group tests under this pytest: see pyproject.toml")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.geteuid() == 0 and "PYTEST_XDIST_WORKER" in os.environ:
        # computing steps back behind live traffic
        os.setpriority(os.PRIO_PROCESS, 0, 15 if _is_unit(item) else 0)


def _is_unit(item: pytest.Item) -> bool:
    """Whether it only computes: the catalogue does, too."""
    return item.path.relative_to(ROOT / "tests").parts[0] in ("unit", "catalogue")


@pytest.fixture(scope="session")
def root_user() -> None:
    need(os.geteuid() == 0, "needs root")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    from tests.unit.certificates import Certificate

    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def probed() -> None:
    """Secrets can be had from a library of this host."""
    need(os.uname().machine == "x86_64", "probes are for x86-64")


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
