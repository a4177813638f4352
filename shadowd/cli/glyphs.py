"""Text for terminals that are not all UTF-8: marks, arrows and dashes become what ASCII has."""

from __future__ import annotations

import sys
from typing import TextIO

_PLAIN = str.maketrans(
    {"✓": "+", "✗": "x", "→": "->", "…": "...", "–": "-", "—": "-", "−": "-", "·": "-", "≤": "<=", "≥": ">=",
     "∞": "inf", "µ": "u", "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " "}
)  # fmt: skip


def fitting(text: str, stream: TextIO | None = None) -> str:
    """``text`` as the stream (stdout) can write it; what it has no sign for is shown by its code point."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text
