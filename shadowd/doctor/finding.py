"""One thing the doctor found: how bad it is, what it means, what to do."""

from __future__ import annotations

#: From harmless to fatal. ``unseen``: it could not be looked at, for want of rights or of a daemon.
LEVELS = ("ok", "note", "unseen", "warning", "error")


class Finding:
    """``code`` is stable, for scripts and for docs/doctor.md; ``remedy`` is "" where nothing is to be done."""

    __slots__ = ("code", "level", "meaning", "remedy", "what")

    def __init__(self, code: str, level: str, what: str, meaning: str = "", remedy: str = "") -> None:
        self.code = code
        self.level = level
        self.what = what
        self.meaning = meaning
        self.remedy = remedy

    def to_wire(self) -> dict[str, str]:
        return {name: str(getattr(self, name)) for name in ("code", "level", "what", "meaning", "remedy")}
