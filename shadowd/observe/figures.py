"""How the report writes quantities (sans-IO), and how it reads the data it is given.

A missing or non-finite number is a dash. Units follow the value (``1.2 ms``, ``3.4 s``), with three significant
digits at most: no reader compares the fourth. Readers of the data accept anything and return what is usable, so that a
report can be made of half a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

#: In ns 32 years, in bytes an exabyte: what is larger is a mistake, and would overflow an axis.
_LARGEST = 1e18

DASH = "–"
MINUS = "−"


def number(value: object) -> float | None:
    """A finite number of a size that anything here can have, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if abs(result) < _LARGEST else None  # NaN is not


def whole(value: object) -> int:
    """A count; 0 where there is none."""
    result = number(value)
    return int(result) if result is not None else 0


def beyond_noise(counted: Mapping[str, Any]) -> int:
    """Of an endpoint or a period the exchanges that differ beyond noise; where nobody told noise apart, all."""
    beyond = number(counted.get("differing_beyond_noise"))
    return whole(counted.get("differing")) if beyond is None else int(beyond)


def part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping inside the data; empty where it is missing or null."""
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def entries(data: Mapping[str, Any], name: str) -> Sequence[Any]:
    """A list inside the data; empty where it is missing, null or no list."""
    value = data.get(name)
    return value if isinstance(value, (list, tuple)) else ()


def rows(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of mappings inside the data; empty where it is missing or null."""
    return [row for row in entries(data, name) if isinstance(row, Mapping)]


def text(data: Mapping[str, Any], name: str) -> str:
    """A text of the data; "" where it is missing or null."""
    value = data.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)


def texts(data: Mapping[str, Any], name: str) -> list[str]:
    """A list of texts of the data."""
    return [item for item in entries(data, name) if isinstance(item, str)]


def count(value: object) -> str:
    """``12,345``."""
    result = number(value)
    return DASH if result is None else f"{result:,.0f}".replace("-", MINUS)


def plural(value: object, one: str, many: str = "") -> str:
    """``1 exchange``, ``2 exchanges``."""
    return f"{count(value)} {one if number(value) == 1 else many or one + 's'}"


def digits(value: float, significant: int = 3) -> str:
    """At most so many significant digits, no exponent, no trailing zeros."""
    size = abs(value)
    if size == 0 or not math.isfinite(value):
        return "0" if size == 0 else "∞"
    decimals = max(0, significant - 1 - math.floor(math.log10(size)))
    result = f"{value:,.{min(decimals, 9)}f}"
    if "." in result:
        result = result.rstrip("0").rstrip(".")
    return result.replace("-", MINUS) if result not in ("-0", "0") else "0"


def percent(share: object, significant: int = 2) -> str:
    """A share as ``0.12 %``; from 10 % on without decimals, but ``99.3 %``: near all, the rest is what counts."""
    value = number(share)
    if value is None:
        return DASH
    value *= 100
    if 99 < value < 100:
        return f"{min(99.99, value):.2f}".rstrip("0").rstrip(".") + " %"
    return (f"{value:,.0f}".replace("-", MINUS) if abs(value) >= 99.5 else digits(value, significant)) + " %"


def milliseconds(value: object) -> str:
    """``0.34 ms``, ``12 ms``, ``1.2 s`` of a value in ms."""
    result = number(value)
    if result is None:
        return DASH
    size = abs(result)
    if size >= 60_000:
        return f"{digits(result / 60_000, 2)} min"
    if size >= 1000:
        return f"{digits(result / 1000)} s"
    if 0 < size < 0.1:
        return f"{digits(result * 1000)} µs"
    return f"{digits(result)} ms"


def size(value: object) -> str:
    """``512 B``, ``1.5 KB``, ``34 MB`` (1 KB = 1024 B)."""
    result = number(value)
    if result is None:
        return DASH
    for unit in ("B", "KB", "MB", "GB"):
        if abs(result) < 1000:
            return f"{digits(result)} {unit}"
        result /= 1024
    return f"{digits(result)} TB"


def seconds(value: object) -> str:
    """``31 s``, ``12 min``, ``3 h 5 min``."""
    result = number(value)
    if result is None:
        return DASH
    if result < 120:
        return f"{digits(result, 2) if result < 10 else f'{result:.0f}'} s"
    minutes = round(result / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def moment(value: object, form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """Seconds since 1970 as a date and time in UTC."""
    result = number(value)
    if result is None:
        return DASH
    try:
        return datetime.fromtimestamp(result, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return DASH


def quantity(value: object, unit: str, *, signed: bool = False) -> str:
    """An effect, margin or end of an interval in a judge's own unit."""
    result = number(value)
    if result is None:
        return DASH
    if unit in ("share", "ratio"):
        shown = percent(result)
    elif unit.startswith("bytes"):
        shown = size(result)
    elif unit == "ms":
        shown = milliseconds(result)
    else:
        shown = digits(result)
    return f"+{shown}" if signed and result > 0 else shown


def interval(low: object, high: object, unit: str) -> str:
    """``0.3…0.8 %``; an end that is missing is unbounded."""
    first, last = number(low), number(high)
    if first is None and last is None:
        return DASH
    left = quantity(first, unit) if first is not None else f"{MINUS}∞"
    right = quantity(last, unit) if last is not None else "∞"
    head, _, tail = left.rpartition(" ")
    if head and right.endswith(f" {tail}"):
        left = head
    return f"{left} … {right}"
