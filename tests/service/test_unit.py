"""The unit by systemd's own judges, and what it says compared with what the daemon asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from shadowd.config.document import DEFAULT_SOCKET, DEFAULT_STATE_DIR, load_config
from tests.conftest import ROOT, need
from tests.service.unprivileged import SERVICE

UNIT = ROOT / "systemd" / "shadowd.service"
EXPOSURE = 3.0  # at most; systemd calls up to 4.0 OK


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit, with programs that exist: verify looks for them."""
    need(shutil.which("systemd-analyze") is not None, "needs systemd-analyze (Debian's package systemd)")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"/usr/bin/shadow(d|ctl)\b", "/bin/true", UNIT.read_text()))
    return unit


def analyze(*arguments: str | Path) -> str:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_verify_is_clean(installed: Path) -> None:
    assert analyze("verify", "--man=no", installed) == ""
    installed.write_text(installed.read_text().replace("WatchdogSec=30", "WatchdogSecs=30"))
    assert "WatchdogSecs" in analyze("verify", "--man=no", installed), "the judge is awake"


def test_the_unit_that_reads_tls_is_clean_too(tmp_path: Path) -> None:
    need(shutil.which("systemd-analyze") is not None, "needs systemd-analyze (Debian's package systemd)")
    for unit in (UNIT, UNIT.with_name("shadowd-tls.service")):  # the one belongs to the other
        (tmp_path / unit.name).write_text(re.sub(r"/usr/bin/shadow(d|ctl)\b", "/bin/true", unit.read_text()))
    assert analyze("verify", "--man=no", tmp_path / "shadowd-tls.service") == ""
    text = UNIT.with_name("shadowd-tls.service").read_text()
    rights = {
        line.partition("=")[2] for line in text.splitlines() if line.startswith(("Ambient", "CapabilityBounding"))
    }
    assert rights == {"CAP_BPF CAP_PERFMON CAP_SYS_PTRACE CAP_DAC_READ_SEARCH"}
    assert "User=shadowd" in text.splitlines()


def test_exposure_is_small(installed: Path) -> None:
    found = re.search(r"exposure level for shadowd.service: ([0-9.]+)", analyze("security", "--offline=yes", installed))
    assert found is not None
    assert float(found[1]) <= EXPOSURE


def test_the_tests_of_privileges_use_the_units_own() -> None:
    for name in ("AmbientCapabilities", "CapabilityBoundingSet"):
        (value,) = settings()[name]
        assert sorted(value.split()) == sorted(f"CAP_{capability.upper()}" for capability in SERVICE)


def test_the_units_places_are_the_daemons_defaults() -> None:
    found = settings()
    assert f"/run/{found['RuntimeDirectory'][0]}/shadowd.sock" == DEFAULT_SOCKET
    assert f"/var/lib/{found['StateDirectory'][0]}" == DEFAULT_STATE_DIR
    (command,) = found["ExecStart"]
    assert command.split()[-2:] == ["--config", f"/etc/{found['ConfigurationDirectory'][0]}/shadowd.toml"]


def test_the_default_configuration_is_the_default(tmp_path: Path) -> None:
    """Every line of it is a comment, and every commented setting is valid and says the default."""
    text = (ROOT / "systemd" / "shadowd.toml").read_text()
    assert all(not line or line.startswith("#") for line in text.splitlines())
    file = tmp_path / "shadowd.toml"
    file.write_text(text)
    untouched = load_config(file)
    file.write_text(re.sub(r"^#(?=\w+ = |\[)", "", text, flags=re.MULTILINE))
    spelled = load_config(file)
    assert len(spelled.filters) == 1
    assert spelled.model_copy(update={"filters": []}) == untouched
