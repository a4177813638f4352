"""Under which conditions evidence was counted: what must be the same where two become one (sans-IO).

Another margin, another rule, another build or another target makes another question; the sum of two answers to two
questions is none. So whatever differs is an error that says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shadowd.compare.difference import Options
from shadowd.errors import UsageError
from shadowd.evidence.margins import Margins
from shadowd.evidence.plain import exactly, finite, listed, number, real, said, text
from shadowd.evidence.rules import EXPECTED, MAX_RULES, NOISE, Rules
from shadowd.evidence.settings import Settings
from shadowd.evidence.sums import Kind
from shadowd.talk.llm import Price

_SIDES = ("production", "the candidate")
_RULE = ("where", "path", "endpoint", "change")
#: Routes, headers, paths: an operator wrote each of them; and none is longer than the configuration's own limit.
_LISTED, _WORD = 4096, 1 << 16
_MARGINS = tuple(name for name in Margins.__slots__)
_OPTIONS = tuple(name for name in Options.__slots__ if name not in ("head_memo", "schema"))
_SETTINGS = tuple(name for name in Settings.__slots__ if name not in ("margins", "options"))


class MergeError(UsageError):
    """Evidence that cannot become one, or is none."""


def conditions_of(
    settings: Settings, rules: Rules, name: str, target: str, label: str, versions: tuple[str, str] = ("", "")
) -> dict[str, Any]:
    """As they are kept: of plain values alone. ``versions``: of production and of the candidate, as ``--run-key`` read
    them, "" where nobody knows."""
    return {
        "filter": name,
        "target": target,
        "label": label,
        "versions": list(versions),
        "rules": sorted([label, *(rule.get(key, "") for key in _RULE)] for label, rule in rules._rules),
        "settings": {
            **{name: _plain(getattr(settings, name)) for name in _SETTINGS},
            **{name: _plain(getattr(settings.margins, name)) for name in _MARGINS},
            **{name: _plain(getattr(settings.options, name)) for name in _OPTIONS},
        },
    }


def settings_again(conditions: Mapping[str, Any]) -> tuple[Settings, Rules]:
    """Raises ValueError for what no operator can have said."""
    told = conditions["settings"]
    plain = Settings(
        Options(**{name: told[name] for name in _OPTIONS if name in told}),
        Margins(**{name: told[name] for name in _MARGINS}),
        prices=[Price(*one) for one in told["prices"]],
    )
    for name in set(_SETTINGS) - {"prices"}:
        value = told[name]
        setattr(plain, name, tuple(value) if isinstance(value, list) else value)
    rules = [(one[0], dict(zip(_RULE, one[1:], strict=True))) for one in conditions["rules"]]
    return plain, Rules(*([rule for label, rule in rules if label == wanted] for wanted in (NOISE, EXPECTED)))


class Alike(Kind):
    """Conditions; None before the first. ``merge`` raises MergeError where they differ."""

    def empty(self) -> None:
        return None

    def merge(self, one: Any, other: Any) -> Any:
        if one is None or other is None:
            return other if one is None else one
        for what in ("filter", "target", "label"):
            if one[what] != other[what]:
                raise MergeError(
                    f"the evidence is of two {what}s, {said(one[what])} and {said(other[what])}",
                    "merge that of one filter, target and build",
                )
        for name, value in one["settings"].items():
            if other["settings"][name] != value:
                raise MergeError(
                    f"{name} differs: {said(value)} and {said(other['settings'][name])}",
                    "give all nodes the same configuration, and begin a run",
                )
        if one["rules"] != other["rules"]:
            differs = next(rule for rule in one["rules"] + other["rules"] if _is_of_one(rule, one, other))
            raise MergeError(
                f"the rules differ: {said(differs[0])} {said(differs[1])} {said(differs[2])} is one node's alone",
                "give all nodes the same rules (shadowctl noise, shadowctl expect)",
            )
        versions = []
        for side, first, second in zip(_SIDES, one["versions"], other["versions"], strict=True):
            if first and second and first != second:
                builds = f"{said(first)} and {said(second)}"
                raise MergeError(f"{side} is of two builds, {builds}", "merge that of one build")
            versions.append(first or second)
        return {**one, "versions": versions}

    def read_untrusted(self, data: Any) -> Any:
        if data is None:
            return None
        if type(data) is not dict or data.keys() != {"filter", "target", "label", "versions", "rules", "settings"}:
            raise ValueError("conditions")
        return {
            **{what: text(data[what]) for what in ("filter", "target", "label")},
            "versions": [text(one) for one in exactly(data["versions"], 2)],
            "rules": sorted([text(part) for part in exactly(one, 5)] for one in listed(data["rules"], 2 * MAX_RULES)),
            "settings": _settings_untrusted(data["settings"]),
        }


def _is_of_one(rule: list[str], one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (rule in one["rules"]) != (rule in other["rules"])


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [[one.model, one.for_input, one.for_output] if isinstance(one, Price) else one for one in value]
    return value


def _words(data: Any) -> list[str]:
    return [text(one, _WORD) for one in listed(data, _LISTED)]


def _prices(data: Any) -> list[Any]:
    rows = (exactly(one, 3) for one in listed(data, _LISTED))
    return [[text(model), real(paid), real(earned)] for model, paid, earned in rows]


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda data: None if data is None else read(data)


def _truth(data: Any) -> bool:
    if type(data) is not bool:
        raise ValueError("truth")
    return data


def _measure(data: Any) -> float:
    """A number as it was given, 0 or 0.0."""
    return number(data) if type(data) is int else finite(data)


def _reader(value: Any) -> Callable[[Any], Any]:
    """Of what is like a default."""
    if isinstance(value, bool):
        return _truth
    if isinstance(value, str):
        return lambda data: text(data, _WORD)
    return _words if isinstance(value, tuple | frozenset) else _measure


_DEFAULT = Settings()
_READERS: dict[str, Callable[[Any], Any]] = {
    **{name: _reader(getattr(_DEFAULT, name)) for name in _SETTINGS},
    **{name: _reader(getattr(_DEFAULT.margins, name)) for name in _MARGINS},
    **{name: _reader(getattr(_DEFAULT.options, name)) for name in _OPTIONS},
    "max_slowdown": lambda data: [real(one) for one in exactly(data, 3)],
    "compare_headers": _or_none(_words),
    "warmup": _or_none(number),
    **dict.fromkeys(("min_span", "first_look"), number),
    "prices": _prices,
}


def _settings_untrusted(data: Any) -> dict[str, Any]:
    if type(data) is not dict or data.keys() != _READERS.keys():
        raise ValueError("settings")
    return {name: read(data[name]) for name, read in _READERS.items()}
