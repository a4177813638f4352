"""Plain values from outside, believed in nothing: their kind, their size and their length (sans-IO).

Whatever is otherwise raises ValueError.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

#: Times are ns of the Unix epoch and counts are those of exchanges: both are far below it.
LIMIT = 1 << 62
TEXT_LIMIT = 4096  # characters: names have 200, values of a difference some hundred


def number(data: Any, least: int = -LIMIT, most: int = LIMIT) -> int:
    if type(data) is not int or not least <= data <= most:
        raise ValueError("number")
    return data


def real(data: Any) -> float:
    """A number that is one, finite or not."""
    if type(data) not in (int, float) or math.isnan(data):
        raise ValueError("number")
    return float(data)


def finite(data: Any) -> float:
    if not abs(real(data)) <= LIMIT:
        raise ValueError("number")
    return float(data)


def said(value: object) -> str:
    """As a line of an error may show it."""
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return shown[:60] if shown.isprintable() and shown else repr(shown[:60])


def text(data: Any, most: int = TEXT_LIMIT) -> str:
    if type(data) is not str or len(data) > most:
        raise ValueError("text")
    return data


def listed(data: Any, most: int) -> list[Any]:
    if type(data) is not list or len(data) > most:
        raise ValueError("list")
    return data


def exactly(data: Any, many: int) -> list[Any]:
    if type(data) is not list or len(data) != many:
        raise ValueError("list")
    return data


def numbers(data: Any, most: int, fewest: int = 0, least: int = -LIMIT) -> array[int]:
    """So many signed numbers of 64 bits, as ``array.tobytes`` writes them on machines that are little-endian."""
    if type(data) is not bytes or len(data) % 8 or not 8 * fewest <= len(data) <= 8 * most:
        raise ValueError("numbers")
    found = array("q", data)
    if found and not (least <= min(found) and max(found) <= LIMIT):
        raise ValueError("number")
    return found
