"""Processes that the demo and the bench start, and end whatever happens.

Each child has a process group of its own, so that a Ctrl-C at the terminal reaches only us and we end them in order;
the kernel ends it if we are killed (``PR_SET_PDEATHSIG``). What it prints goes to a file: no pipe can fill up and
stall it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from shadowd.errors import ShadowdError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL = 0.02  # seconds between looks at a child's state: starting up takes some tenths of a second
TAIL_LINES = 8  # of a failed child's log shown to the person: a Python traceback's end fits

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Child:
    """A process started by us; standard output and error are in ``log`` (standard error alone with ``out``)."""

    def __init__(self, name: str, command: Sequence[str], directory: Path, out: Path | None = None) -> None:
        self.name = name
        self.command = list(command)
        self.log = directory / f"{name}.log"
        self.out = out or self.log
        with self.log.open("wb") as log, self.out.open("wb") as stdout:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=stdout if out else log,
                stderr=log,
                process_group=0,
                preexec_fn=_die_with_parent,  # we have one thread
            )

    @classmethod
    def python(
        cls, name: str, module: str, arguments: Sequence[str], directory: Path, out: Path | None = None
    ) -> Child:
        """Run ``python -m module`` with this interpreter."""
        return cls(name, [sys.executable, "-m", module, *arguments], directory, out)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if a signal ended it."""
        return self._process.poll()

    def lines(self) -> list[str]:
        """The whole lines of its output so far."""
        return self.out.read_text(errors="replace").split("\n")[:-1]

    def tail(self) -> str:
        """The end of its log, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").rstrip().split("\n")[-TAIL_LINES:])

    def must_run(self) -> None:
        """Raises ShadowdError, with the end of its log, if it has ended."""
        if not self.running:
            raise ShadowdError(f"{self.name} ended with code {self.exit_code}: {self.tail()}", f"its log is {self.log}")

    def wait_line(self, start: str, limit: float) -> str:
        """The first line of its output that begins with ``start``, without it; ShadowdError after ``limit`` seconds."""
        deadline = time.monotonic() + limit
        while True:
            for line in self.lines():
                if line.startswith(start):
                    return line[len(start) :]
            self.must_run()
            if time.monotonic() > deadline:
                raise ShadowdError(f"{self.name} was not ready within {limit:.0f} s: {self.tail()}", "see its log")
            time.sleep(POLL)

    def wait(self, limit: float) -> bool:
        """True once it has ended by itself, False after ``limit`` seconds."""
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, limit: float = 8.0) -> bool:
        """SIGTERM, and SIGKILL to its group after ``limit`` seconds. False if it had to be killed."""
        if not self.running:
            return True
        self._process.terminate()
        if self.wait(limit):
            return True
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        return False


def last_words(child: Child | None) -> str:
    """What it said last, in one line; "" for nothing."""
    lines = [line.strip() for line in child.tail().splitlines() if line.strip()] if child is not None else []
    return lines[-1] if lines else ""


def explained(error: ShadowdError, daemon: Child | None) -> ShadowdError:
    """The same without a log to look into, which goes away with the daemon that was started here: its last words."""
    if not re.search(r"\blog\b|journal", error.remedy):
        return error
    said = last_words(daemon)
    remedy = f"the daemon said last: {said}" if said else "shadowctl doctor tells what this host lacks"
    told = ShadowdError(" ".join(error.problem.split()), remedy)
    told.exit_code = error.exit_code
    return told


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP end what runs alike; once it is cleaning up, none of them breaks that off."""

    def __init__(self) -> None:
        self.ending = False

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self.ending:
            raise KeyboardInterrupt

    @contextmanager
    def caught(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        saved = {number: signal.signal(number, self._interrupt) for number in numbers}
        try:
            yield
        finally:
            for number, handler in saved.items():
                signal.signal(number, handler)

    def hold(self) -> None:
        self.ending = True
