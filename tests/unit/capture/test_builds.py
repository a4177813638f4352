"""Real processes: the same file started again is the same build, a replaced one is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from shadowd.capture.builds import build_of, rebuilt


def started(*arguments: str) -> tuple[str, ...]:
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):  # until exec has happened
            if os.path.basename(os.readlink(f"/proc/{process.pid}/exe")).startswith(
                Path(arguments[0]).resolve().name
            ) and Path(f"/proc/{process.pid}/cmdline").read_bytes().strip(b"\0"):
                break
            time.sleep(0.01)
        return build_of(process.pid)
    finally:
        process.kill()
        process.wait()


def test_an_executable_that_is_replaced(tmp_path: Path) -> None:
    server, sleep = tmp_path / "server", shutil.which("sleep") or ""
    shutil.copy(sleep, server)
    before = started(str(server), "60")
    assert before
    assert rebuilt(before, started(str(server), "60")) == ""
    server.unlink()
    server.write_bytes(Path(sleep).read_bytes() + b"another build")
    server.chmod(0o755)
    assert rebuilt(before, started(str(server), "60")) == "its executable was replaced"


def test_a_script_that_is_changed(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text("import time; time.sleep(60)")
    before = started(sys.executable, str(script))
    assert rebuilt(before, started(sys.executable, str(script))) == ""
    script.write_text("import time; time.sleep(60)  # changed")
    assert rebuilt(before, started(sys.executable, str(script))) == "its script was replaced"


def test_what_cannot_be_read_is_no_change() -> None:
    assert build_of(2**22 + 1) == ()
    assert rebuilt((), ("executable a 1 2",)) == ""
