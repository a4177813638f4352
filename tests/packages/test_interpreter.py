"""Which Python `.venv` is made with: root's is the distribution's, which any user can run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, need

NEW = "import sys; sys.exit(sys.version_info < (3, 11))"


@pytest.mark.parametrize(("user", "chosen"), [(0, "/usr/bin/python3"), (1000, "python3")])
def test_root_takes_the_distribution_s_python_before_somebody_s_own(user: int, chosen: str, tmp_path: Path) -> None:
    system = Path("/usr/bin/python3")
    new = system.exists() and subprocess.run([system, "-c", NEW], check=False).returncode == 0
    need(new, "this distribution's python3 is older than 3.11")
    own = tmp_path / "python3"
    own.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    own.chmod(0o755)
    functions = "/^new_enough()/p; /^find_python()/,/^}/p"
    script = f"""
id() {{ echo {user}; }}
source <(sed -n '{functions}' {ROOT}/.ci/setup)
PATH={tmp_path}:$PATH
find_python
echo "$python"
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    done = subprocess.run(["bash", "-euc", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == chosen
