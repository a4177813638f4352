"""Numbers of JSON by what their decimals say (sans-IO).

A double holds some 16 digits. Amounts with 18 of them, integers beyond 2^53 written with a point and 1e400 say more, so
a number is a float only where that float, written shortest, says the same; else it is kept as ``Exact``: its digits and
its exponent, never a power that would have to be worked out (1e1000000000 costs its eleven characters).

    1.0 ──► 1      0.1 ──► 0.1 (float)      9007199254740993.0 ──► 9007199254740993      1e400 ──► Exact
"""

from __future__ import annotations

import re

#: Characters that any double can tell apart (DBL_DIG is 15 digits; the point is one more).
_SHORT = 16
#: Beyond, integers written with a point or exponent are not multiplied out; those of banks and chains have below 80.
_INTEGER_DIGITS = 100
_PARTS = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?\Z")


class Exact(str):
    """A number that no float holds, as ``-12345e-7``: equal texts, equal numbers."""

    __slots__ = ()


class Constant(str):
    """What JSON has no number for, and what servers write all the same: NaN, Infinity, -Infinity."""

    __slots__ = ()


def number(text: str) -> float | Exact:
    """A JSON number with a point or an exponent; an int where it is one, so that 1.0 and 1 are equal."""
    value = float(text)
    if len(text) <= _SHORT and 1e-300 < abs(value) < 1e300:
        if not value.is_integer():
            return value
        if abs(value) < 1 << 53:
            return int(value)
    return _long(text, value)


def number_as_written(text: str) -> float | Exact:
    """The same where 1.0 and 1 shall differ: never an int."""
    value = float(text)
    if (len(text) <= _SHORT and 1e-300 < abs(value) < 1e300) or repr(value) == text:
        return value
    sign, digits, exponent = _canonical(text)
    return value if (sign, digits, exponent) == _canonical(repr(value)) else _exact(sign, digits, exponent)


def integer(text: str) -> int | Exact:
    """A JSON integer of any length: beyond Python's 4300 digits its text (conversion is quadratic)."""
    try:
        return int(text)
    except ValueError:
        return _exact(*_canonical(text))


def _long(text: str, value: float) -> float | Exact:
    if repr(value) == text and (abs(value) < 1 << 53 or not value.is_integer()):
        return int(value) if value.is_integer() else value
    sign, digits, exponent = _canonical(text)
    if not digits:
        return 0
    if isinstance(exponent, int) and exponent >= 0 and len(digits) + exponent <= _INTEGER_DIGITS:
        return int(sign + digits + "0" * exponent)
    return value if (sign, digits, exponent) == _canonical(repr(value)) else _exact(sign, digits, exponent)


def _exact(sign: str, digits: str, exponent: int | str) -> Exact:
    return Exact(f"{sign}{digits or '0'}" + (f"e{exponent}" if exponent else ""))


def _canonical(text: str) -> tuple[str, str, int | str]:
    """Sign, digits without zeros around them, exponent; an exponent of more than 18 digits stays text."""
    parts = _PARTS.match(text)
    if parts is None:  # inf
        return "", text, 0
    sign, whole, fraction, power = parts[1], parts[2], parts[3] or "", parts[4] or "0"
    digits = (whole + fraction).lstrip("0")
    short = digits.rstrip("0")
    if not short:
        return "", "", 0
    if len(power) > 18:
        return sign, digits, power
    return sign, short, int(power) - len(fraction) + len(digits) - len(short)
