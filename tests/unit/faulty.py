"""A fault of ours, put where a collaborator stands: methods of compiled classes cannot be replaced."""

from __future__ import annotations

from typing import Any


class Faulty:
    """Passes everything on to ``real``, but raises at ``stage``: the first time, or always. ``hit`` counts."""

    def __init__(self, real: Any, stage: str, always: bool = False) -> None:
        self._real = real
        self._stage = stage
        self._always = always
        self.hit = 0

    def __getattr__(self, name: str) -> Any:
        if name == self._stage and (self._always or not self.hit):
            self.hit += 1
            raise KeyError("hunter2")
        return getattr(self._real, name)
