"""Whether generated JSON is what a request's schema allows, at a bounded cost (sans-IO).

The schema comes from a stranger and the JSON from another: every value may be held against every part of the schema,
so a request and an answer of 10 KB each can ask for a minute's work. All checks of one exchange share ``STEPS``. What
costs more, or cannot be checked, is not checked, and nothing is said of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

#: Size of a schema and of what is checked against it.
SCHEMA_LIMIT = 16 << 10
CHECKED_LIMIT = 64 << 10
#: Of one exchange, of some 1.5 us each: a structured answer of 100 objects with five members takes 4,000.
STEPS = 10_000
#: Steps that an error costs, and those for each so many characters that may be quoted in it.
_ERROR = 4
_QUOTED = 64
_UNCHECKED = ('"pattern', '"$ref"', '"$dynamicRef"', '"unevaluated')

Keyword = Callable[..., Iterator[ValidationError]]


class Checking:
    """All checks of one exchange; an answer that is looked at again costs nothing. ``coarse``: its answers call tools
    with so much that it is compared as text."""

    __slots__ = ("_known", "_meter", "_usable", "coarse")

    def __init__(self, coarse: bool = False) -> None:
        self.coarse = coarse
        self._meter = _Meter()
        self._known: dict[tuple[str, int], str | None] = {}
        self._usable: dict[int, bool] = {}

    def problem(self, text: str, schema: dict[str, Any]) -> str | None:
        """Why ``text`` is not the JSON that ``schema`` (of the exchange's request) allows: "" if it is, None if that
        cannot be told."""
        key = text, id(schema)
        if key not in self._known:
            self._known[key] = self._problem(text, schema)
        return self._known[key]

    def _problem(self, text: str, schema: dict[str, Any]) -> str | None:
        try:
            value = json.loads(text or "{}")
        except (ValueError, RecursionError):
            return "no JSON"
        if not schema:
            return ""
        meter = self._meter
        if len(text) > CHECKED_LIMIT or meter.left <= 0 or not self._is_usable(schema):
            return None
        meter.quoted = len(text) // _QUOTED
        try:
            wrong = best_match(_Charged(schema, format_checker=meter).iter_errors(value))
        except Exception:  # too costly; or the schema, which came from outside, is none: what is raised then has no end
            return None
        return f"{wrong.json_path}: {wrong.message}"[:200] if wrong is not None else ""

    def _is_usable(self, schema: dict[str, Any]) -> bool:
        """Small, without patterns (their cost is unbounded) and without references (they may lead anywhere)."""
        found = self._usable.get(id(schema))
        if found is None:
            try:
                text = json.dumps(schema)
            except RecursionError:  # it was read at a shallower place of our own stack
                text = _UNCHECKED[0]
            found = len(text) <= SCHEMA_LIMIT and not any(word in text for word in _UNCHECKED)
            self._usable[id(schema)] = found
        return found


class _SpentError(Exception):
    """The steps are used up."""


class _Meter(FormatChecker):
    """What is left. A validator takes its format checker into every part of the schema; this one checks no formats."""

    def __init__(self) -> None:
        super().__init__(formats=())
        self.left = STEPS
        self.quoted = 0  # steps that quoting all of what is checked costs

    def charge(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _SpentError


def _breadth(value: Any) -> int:
    return len(value) if isinstance(value, (list, dict)) else 0


def _charged(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        meter: _Meter = validator.format_checker
        meter.charge(1 + _breadth(instance) + _breadth(value))
        for error in keyword(validator, value, instance, schema):
            meter.charge(_ERROR + (meter.quoted if isinstance(instance, (list, dict, str)) else 0))
            yield error

    return check


def _among(keyword: Keyword) -> Keyword:
    """Of ``enum`` and ``const``, whose arrays and objects are compared from end to end."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        allowed = value if isinstance(value, list) else [value]
        validator.format_checker.charge(sum(len(json.dumps(one)) for one in allowed if isinstance(one, (list, dict))))
        yield from keyword(validator, value, instance, schema)

    return check


def _unique(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """``uniqueItems`` in linear time: of a mixed array jsonschema compares each with each."""
    if wanted and isinstance(instance, list):
        texts = [json.dumps(_plain(one), sort_keys=True) for one in instance]
        validator.format_checker.charge(sum(map(len, texts)) // _QUOTED)
        if len(set(texts)) < len(texts):
            yield ValidationError(f"{instance!r} has non-unique elements")


def _plain(value: Any) -> Any:
    """1.0 is 1 to JSON Schema."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


_KEYWORDS: dict[str, Keyword] = dict(Draft202012Validator.VALIDATORS)
_KEYWORDS |= {name: _among(_KEYWORDS[name]) for name in ("enum", "const")}
_KEYWORDS["uniqueItems"] = _unique
_Charged: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {name: _charged(keyword) for name, keyword in _KEYWORDS.items()}
)
