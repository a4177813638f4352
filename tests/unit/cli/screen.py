"""A command on a terminal of a given size: what it drew."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

DESIRES = ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES")


def environment(**settings: str) -> dict[str, str]:
    """This one without wishes for colours and widths, but those given."""
    kept = {key: value for key, value in os.environ.items() if key not in DESIRES}
    return {**kept, "TERM": "xterm-256color", **settings}


def shadowctl(words: list[str]) -> list[str]:
    """Its command line, which hears SIGINT: a suite that runs in the background inherits an ignored one."""
    line = [sys.executable, "-m", "shadowd.cli.shadowctl", *words]
    return [sys.executable, "-c", f"import os, signal; signal.signal(2, signal.SIG_DFL); os.execv({line[0]!r}, {line})"]


class Screen:
    """A process that draws on a terminal; ``errors_only``: stdout is a pipe, stderr the terminal."""

    def __init__(
        self,
        words: list[str],
        columns: int = 80,
        rows: int = 24,
        errors_only: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, rows)
        out: Any = subprocess.PIPE if errors_only else slave
        self.process = subprocess.Popen(
            shadowctl(words), stdin=slave, stdout=out, stderr=slave, env=environment(**settings or {})
        )
        os.close(slave)
        self._drawn = b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other end is closed: so Linux tells it
                return
            self._drawn += data
            if not data:
                return

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def text(self) -> str:
        return self._drawn.decode().replace("\r\n", "\n")

    def until(self, found: Callable[[str], bool], limit: float = 60) -> str:
        deadline = time.monotonic() + limit
        while not found(self.text):
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None or not self._thread.is_alive(), self.text
            time.sleep(0.02)
        return self.text

    def ended(self, interrupt: bool = False) -> tuple[int, str]:
        """Exit code, and all that it drew."""
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._thread.join(10)
        os.close(self._master)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code, self.text


def on_screen(words: list[str], columns: int = 80, settings: Mapping[str, str] | None = None) -> str:
    """What a command that succeeds draws."""
    code, text = Screen(words, columns, settings=settings).ended()
    assert code == 0, text
    return text
