"""A filter as TOML, with what differs from the defaults alone: ``document.py`` reads it back as the same filter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shadowd.config.fields import duration, rate, size
from shadowd.config.filter import REDACTED, FilterSpec
from shadowd.errors import UsageError

_DURATIONS = ("latency_floor", "max_lag", "min_duration", "min_span", "slow_floor", "stream_window", "timeout")
_SIZES = ("max_buffered", "max_leak")
_SHARES = (
    "max_cost_increase", "max_cpu", "max_decision_increase", "max_diff_share", "max_error_increase",
    "max_similarity_loss", "max_slow_increase", "max_slowdown", "max_token_increase", "max_token_time_increase",
    "min_coverage", "sample", "tolerance", "twin",
)  # fmt: skip
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"), (0.001, "ms"))
_BYTES = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))


def filter_toml(wire: Mapping[str, Any], *, commented: bool = False) -> str:
    """``wire`` is what ``FilterSpec.to_wire`` gave. A header whose value was redacted is left out and told in a
    comment. Raises UsageError for what is no filter."""
    lines = ["[[filters]]"]
    spec, hidden = _spec(wire)
    usual = FilterSpec.model_fields
    for key, value in spec.to_wire().items():
        if key != "targets" and (key == "name" or getattr(spec, key) != usual[key].default):
            lines.append(f"{key} = {_value(key, value)}")
    for line in hidden:
        lines.append(f"# set_header {json.dumps(line)} is secret: write its value here")
    for target in spec.targets:
        lines += ["", "[[filters.targets]]"]
        lines += [f"{key} = {_toml(value)}" for key, value in target.to_wire().items() if value != "candidate"]
    if commented:
        lines = [f"#{line}" for line in lines]
    return "\n".join(lines) + "\n"


def _spec(wire: Mapping[str, Any]) -> tuple[FilterSpec, list[str]]:
    """And the headers whose values are not known here."""
    headers = [str(line) for line in wire.get("set_header") or []]
    hidden = [line for line in headers if line.partition(": ")[2] == REDACTED]
    try:
        return FilterSpec.from_wire({**wire, "set_header": [line for line in headers if line not in hidden]}), hidden
    except UsageError as error:
        why = error.problem
        raise UsageError(f"this shadowctl cannot read the filter: {why}", "use one of the daemon's version") from None


def _value(key: str, value: Any) -> str:
    """As a person writes it, where that says exactly the same."""
    words: Iterator[str] = iter(())
    parse: Callable[[object], object] | None = None
    if isinstance(value, list) and key in _SHARES:
        return "[" + ", ".join(_value("max_cpu", one) for one in value) + "]"
    if key in _DURATIONS:
        words, parse = (f"{value / unit:.12g}{name}" for unit, name in _UNITS), duration(0, 1e12)
    elif key in _SIZES:
        words, parse = (f"{value >> 10 * (3 - at)}{name}" for at, (_, name) in enumerate(_BYTES)), size(0, 1 << 62)
    elif key in _SHARES and 0 < value <= 1:
        words, parse = iter([f"{value * 100:.12g}%"]), rate
    for text in words:
        digits = text.rstrip("dhmsKMGB%")
        if "e" not in digits and len(digits) <= 6 and not text.startswith("0") and parse and parse(text) == value:
            return _toml(text)
    return _toml(value)


def _toml(value: Any) -> str:
    """A value of plain types; text as a basic string, whose escapes are JSON's (TOML 1.0)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
