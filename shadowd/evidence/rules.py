"""What the operator said about fields: noise that is never judged, and changes of the contract that are intended.

A rule is a plain dict, as the store and the control socket carry it::

    {"where": "body", "path": "$.requestId", "endpoint": "", "change": ""}

``endpoint`` "" means any, one without an operation (``POST /graphql``) all of its operations; ``change`` "" any kind of
difference. A path matches itself and what lies below it (``$.meta`` also matches ``$.meta.time`` and ``$.meta[*]``);
``*`` at its end matches any ending.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

NOISE, EXPECTED = "noise", "expected"
#: Rules of one filter: a person wrote them, and each new field is held against all.
MAX_RULES = 1000
#: Fields whose label is remembered; above it the memory begins anew.
_REMEMBERED = 4096


def matches(rule: Mapping[str, str], endpoint: str, where: str, path: str, kind: str) -> bool:
    """Whether a difference of this place and kind is meant by the rule."""
    of = rule.get("endpoint")
    if rule.get("where", "body") != where or (of and of != endpoint and not endpoint.startswith(f"{of} ")):
        return False
    if rule.get("change") not in ("", None, kind):
        return False
    wanted = rule.get("path", "")
    if where == "header":
        wanted, path = wanted.lower(), path.lower()
    if wanted.endswith("*") and not wanted.endswith("[*]"):
        return path.startswith(wanted[:-1])
    return path == wanted or (path.startswith(wanted) and path[len(wanted) :][:1] in (".", "["))


class Rules:
    """All rules of a filter. ``label`` is asked once a field and kind."""

    __slots__ = ("_labels", "_rules")

    def __init__(self, noise: Iterable[Mapping[str, str]] = (), expected: Iterable[Mapping[str, str]] = ()) -> None:
        self._rules = [(NOISE, dict(rule)) for rule in noise] + [(EXPECTED, dict(rule)) for rule in expected]
        self._labels: dict[tuple[str, str, str, str], str] = {}

    def label(self, endpoint: str, where: str, path: str, kind: str) -> str:
        """``noise``, ``expected`` or "" if nobody said anything."""
        key = (endpoint, where, path, kind)
        found = self._labels.get(key)
        if found is None:
            found = next((label for label, rule in self._rules if matches(rule, *key)), "")
            if len(self._labels) >= _REMEMBERED:
                self._labels.clear()
            self._labels[key] = found
        return found
