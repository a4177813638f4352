"""The shell of the examples for pipelines, run by a shell: what each outcome ends with, and what it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
import yaml

from tests.conftest import ROOT, need
from tests.control.test_http_door import SECRET, Filters, serving
from tests.control.test_nodes import closed

GATES = ROOT / "docs" / "gates"
OUTCOMES = {0: "pass", 1: "fail", 2: "wrong-command", 3: "inconclusive", 4: "not-asked"}
Ended = subprocess.CompletedProcess[str]


def shell(script: str, folder: Path, shadowctl: str, **environment: str) -> Ended:
    """As both services run a script; ``shadowctl`` is what stands on the path under that name."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in (("shadowctl", shadowctl), ("../deploy-to-shadow", "exit 0")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": f"{programs}:/usr/bin:/bin", **environment},
    )  # fmt: skip


def ending(code: int) -> str:
    """A shadowctl whose verdict ends so."""
    return f'if [ "$1" = verdict ]; then exit {code}; fi'


NO_DAEMON = f'exec {sys.executable} -m shadowd.cli.shadowctl --socket /nowhere/shadowd.sock "$@"'


def github(folder: Path, shadowctl: str, inconclusive: str = "stop") -> tuple[Ended, str]:
    (workflow,) = yaml.safe_load_all((GATES / "github-actions.yml").read_text())
    (step,) = [one for one in workflow["jobs"]["verdict"]["steps"] if one.get("id") == "verdict"]
    output = folder / "output"
    output.write_text("")
    done = shell(step["run"], folder, shadowctl, LABEL="v2", INCONCLUSIVE=inconclusive, GITHUB_OUTPUT=str(output),
                 PYTHONPATH=str(ROOT))  # fmt: skip
    return done, output.read_text().strip()


def gitlab(folder: Path, shadowctl: str) -> Ended:
    (pipeline,) = yaml.safe_load_all((GATES / "gitlab-ci.yml").read_text())
    script = "\n".join(pipeline["shadow verdict"]["script"])
    return shell(script, folder, shadowctl, CI_COMMIT_SHA="a" * 40, CI_COMMIT_SHORT_SHA="a" * 8, PYTHONPATH=str(ROOT))


@pytest.mark.parametrize("code", OUTCOMES)
def test_github_tells_every_outcome(code: int, tmp_path: Path) -> None:
    done, output = github(tmp_path, ending(code))
    assert (done.returncode, output) == (code, f"outcome={OUTCOMES[code]}")
    assert done.stdout.count("::") == (0 if code == 0 else 2)
    done, _ = github(tmp_path, ending(code), inconclusive="go")
    assert done.returncode == (0 if code == 3 else code)


@pytest.mark.parametrize("code", OUTCOMES)
def test_gitlab_ends_with_every_outcome(code: int, tmp_path: Path) -> None:
    assert gitlab(tmp_path, ending(code)).returncode == code
    (pipeline,) = yaml.safe_load_all((GATES / "gitlab-ci.yml").read_text())
    job = pipeline["shadow verdict"]
    assert (job["allow_failure"], job["retry"]) == ({"exit_codes": 3}, {"max": 2, "exit_codes": 4})


def test_where_no_daemon_runs_nothing_is_said_of_the_build(tmp_path: Path) -> None:
    """By the real shadowctl."""
    done, output = github(tmp_path, NO_DAEMON)
    assert (done.returncode, output) == (4, "outcome=not-asked"), done.stderr
    assert gitlab(tmp_path, NO_DAEMON).returncode == 4


# --- over HTTP --------------------------------------------------------------------------------------------------------


def asked(door: str, filter_name: str, token: str = SECRET, build: str = "v2", seconds: int = 0) -> Ended:
    need(shutil.which("jq") is not None and shutil.which("curl") is not None, "needs curl and jq")
    return subprocess.run(
        [str(GATES / "ask.sh"), filter_name, build, str(seconds)], capture_output=True, text=True, timeout=60,
        check=False, env={"PATH": "/usr/bin:/bin", "SHADOWD_DOOR": door, "SHADOWD_TOKEN": token, "SHADOWD_PAUSE": "0"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("filter_name", "code", "said"),
    [
        ("good", 0, "pass: because good"),
        ("bad", 1, "fail: because bad"),
        ("open", 3, "inconclusive: because open"),
        ("unknown", 2, "the run did not begin: status 404 there is no filter unknown"),
        ("broken", 4, "the run did not begin: status 409 the filter broken compares nothing"),
    ],
)
def test_what_the_door_answers_ends_as_shadowctl_does(filter_name: str, code: int, said: str) -> None:
    async def test(host: str, port: int) -> None:
        door = f"http://127.0.0.1:{port}"
        done = await trio.to_thread.run_sync(partial(asked, door, filter_name))
        assert done.returncode == code, done.stderr
        assert said in done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr

    serving(test, address="0.0.0.0:0")


def test_no_right_and_no_daemon_is_not_asked() -> None:
    async def test(host: str, port: int) -> None:
        door = f"http://127.0.0.1:{port}"
        done = await trio.to_thread.run_sync(partial(asked, door, "good", token="not the token of the tests"))
        assert done.returncode == 4
        assert "status 401" in done.stderr

    serving(test, address="0.0.0.0:0")
    done = asked(f"http://127.0.0.1:{closed()}", "good")
    assert done.returncode == 4
    assert done.stderr.count("status 000") == 5, "a daemon that restarts is asked again"
    assert asked(f"http://127.0.0.1:{closed()}", "good", build="").returncode == 4
    assert subprocess.run([str(GATES / "ask.sh")], capture_output=True, timeout=20, check=False).returncode == 2


def test_another_build_that_was_begun_meanwhile_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The door answers 409: what it judges is no verdict on this one."""
    begin = Filters.start_run

    async def begun_over(self: Filters, name: str, label: str, restart: bool = False) -> dict[str, object]:
        answer = await begin(self, name, label, restart)
        self.labels[name] = "v3"
        return answer

    monkeypatch.setattr(Filters, "start_run", begun_over)

    async def test(host: str, port: int) -> None:
        done = await trio.to_thread.run_sync(partial(asked, f"http://127.0.0.1:{port}", "good"))
        assert done.returncode == 4
        assert "status 409" in done.stderr

    serving(test, address="0.0.0.0:0")
