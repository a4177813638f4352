"""Progress on standard error, for whatever takes over two seconds, where somebody looks: a line that is drawn over."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shadowd.cli.terminal import plain, stderr_width

SHOWN_AFTER = 2.0  # seconds
_DRAWN_EVERY = 0.2


class Line:
    """One line of standard error; where that is no terminal, nothing."""

    def __init__(self) -> None:
        self.visible = sys.stderr is not None and sys.stderr.isatty()
        self._drawn = 0

    def draw(self, text: str) -> None:
        if self.visible:
            text = text[: max(1, stderr_width() - 1)]
            print(f"\r{text:{self._drawn}}", end="", file=sys.stderr, flush=True)
            self._drawn = len(text)

    def clear(self) -> None:
        if self._drawn:
            print(f"\r{' ' * self._drawn}\r", end="", file=sys.stderr, flush=True)
            self._drawn = 0


class Progress:
    """How much of ``size`` is done, and how long the rest takes; of what has no size, how long it has taken."""

    def __init__(self, what: str, size: int) -> None:
        self._what = plain(what)
        self._size = size
        self._line = Line()
        self._begun = time.monotonic()
        self._next = self._begun + SHOWN_AFTER

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _DRAWN_EVERY
            self._line.draw(told(self._what, done, self._size, now - self._begun))

    def close(self) -> None:
        self._line.clear()


def told(what: str, done: int, size: int, passed: float) -> str:
    """``traffic.pcap: 40 %, 12 s left``."""
    if size <= 0 or done <= 0:
        return f"{what}: {passed:.0f} s"
    share = min(1.0, done / size)
    return f"{what}: {share:.0%}, {length(passed * (1 - share) / share)} left"


def length(seconds: float) -> str:
    """``9 s``, ``2 min``, as far as a person wants to know."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@contextmanager
def waiting(what: str, limit: float = 0.0) -> Iterator[None]:
    """Around what gives no account of itself: how long it has taken, of how long at most."""
    line = Line()
    if not line.visible:
        yield
        return
    over = threading.Event()

    def draw() -> None:
        begun = time.monotonic()
        if over.wait(SHOWN_AFTER):
            return
        while True:
            most = f" of {length(limit)} at most" if limit else ""
            line.draw(f"{what}: {length(time.monotonic() - begun)}{most}")
            if over.wait(_DRAWN_EVERY):
                return

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        line.clear()
