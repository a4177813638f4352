"""Names that one node has folded and another has not (sans-IO).

What is data in a name is learned from the names seen (``endpoints.py``, ``compare/keys.py``), so a node that saw twenty
customers has ``GET /users/{name}``, and one that saw three has three endpoints. Where they meet, a place that is folded
anywhere is folded, and so is one that all of them together have shown too many names of: as one examiner would have it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from shadowd.compare.keys import folded_path
from shadowd.evidence.endpoints import _PREFIX, CHILDREN, NAME, ROOT_CHILDREN, SEGMENTS
from shadowd.evidence.evidence import OVERFLOW

_NAMED = re.compile(r"([A-Z][A-Z-]{0,19}) (/[^ ]*)(.*)\Z", re.DOTALL)
_FOLDED = "{name}"


def folded_names(
    names: Iterable[str], folded: Iterable[str], routes: Collection[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """(what each endpoint is called now, the places that are folded now). ``routes``: the operator's, which stay."""
    kept = {route.strip().rpartition(" ")[2] for route in routes}
    known, places = tuple(names), set(folded)
    while True:
        called = {name: _folded(name, places, kept) for name in known}
        children: dict[str, set[str]] = {}
        limits: dict[str, int] = {}
        for name in set(called.values()):
            for place, segment, limit, _ in _steps(name, places, kept):
                if _is_plain(segment) and place not in places:
                    children.setdefault(place, set()).add(segment)
                    limits[place] = limit
        more = {place for place, found in children.items() if len(found) > limits[place]}
        if not more:
            return called, tuple(sorted(places))
        places |= more


def folded_place(place: tuple[str, str], folded: Collection[str]) -> tuple[str, str]:
    """The field that a place is part of."""
    return (place[0], folded_path(place[1], folded)) if place[0] == "body" and place != OVERFLOW else place


def _folded(name: str, places: Collection[str], routes: Collection[str]) -> str:
    found = _NAMED.match(name)
    steps = list(_steps(name, places, routes))
    if found is None or not steps:
        return name
    path = "".join(f"/{shown}" for _, _, _, shown in steps)
    return f"{found[1]} {path}{found[3]}"


def _steps(name: str, places: Collection[str], routes: Collection[str]) -> Iterator[tuple[str, str, int, str]]:
    """(place, segment, names that it may show, the segment as it is called) of an endpoint's path."""
    found = _NAMED.match(name)
    if found is None or found[2] in routes or len(name) >= NAME:
        return
    place, resources = "", True
    for segment in found[2].split("/", SEGMENTS + 1)[1:]:
        shown = _FOLDED if place in places and _is_plain(segment) else segment
        yield place, segment, ROOT_CHILDREN if resources else CHILDREN, shown
        resources = resources and _is_plain(segment) and _PREFIX.match(segment) is not None
        place = f"{place}/{shown}"


def _is_plain(segment: str) -> bool:
    """Whether it is a name that was seen, and not what stands for such."""
    return bool(segment) and "{" not in segment and segment != "…"
