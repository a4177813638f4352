"""The few things that are done to every head, as functions: find, cut, lower, read a number.

Compiled modules take them from ``octets.pxd``, where each is a few lines of C: a method of ``bytes`` costs 700 to 900
instructions there (its arguments become a tuple, numbers and slices become objects), and an exchange needs forty of
them. Positions beyond the end mean the end, as in Python; none is negative.
"""

from __future__ import annotations


def find(data: bytes, what: bytes, start: int, end: int) -> int:
    """Where ``what`` begins in ``data[start:end]``, counted from the begin of ``data``; -1 if it is not there."""
    return data.find(what, start, end)


def cut(data: bytes, start: int, end: int) -> bytes:
    """``data[start:end]``."""
    return data[start:end]


def lower(data: bytes) -> bytes:
    """A to Z in lower case, all else as it is."""
    return data.lower()


def number(data: bytes, start: int, end: int) -> int:
    """The decimal number that ``data[start:end]`` is, if it is one to fifteen digits and nothing else; -1 if not."""
    digits = data[start:end]
    return int(digits) if len(digits) <= 15 and digits.isdigit() else -1
