"""What a comparison finds, and what it may be told to overlook (sans-IO).

A *field* is ``(where, path)`` in an answer; a difference is a field and the kind of harm done to it. Two differences
are equal if these three are: the texts are an example for people and take no part, so that the differences of many
exchanges can be counted in one dictionary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shadowd.compare.descriptors import Schema

#: Characters of a value that are shown: two terminal lines, enough to recognise it.
SHOWN = 200
#: Characters of a path: deeper names are cut, so that a hostile document cannot make field names of megabytes.
PATH = 300

WHERES = ("status", "header", "cookie", "body", "trailer", "turn", "llm")
KINDS = ("value", "type", "missing", "extra", "length", "order", "malformed", "media_type", "encoding", "digest")


def shown(text: str, limit: int = SHOWN) -> str:
    """``text`` on one line, at most ``limit`` characters, the last of them "…" if it was cut. What is not printable
    (terminal controls, lone surrogates) is escaped: these texts reach terminals, HTML and UTF-8 files."""
    cut = text[: limit + 1]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return cut if len(cut) <= limit and len(text) <= limit else cut[: limit - 1] + "…"


class _Fields(NamedTuple):
    where: str
    path: str
    kind: str
    production: str
    candidate: str


class Difference(_Fields):
    """One field of two answers to the same request that is not the same.

    ``where``: ``status`` | ``header`` | ``cookie`` | ``body`` | ``trailer`` | ``stream`` | ``turn`` (raw) | ``llm``
    (talk/llm.py). ``path``: "" | header name in lower case | cookie name, or ``name; attribute`` |
    ``$.items[*].price`` | ``line[3]`` | "" (all of it, by digest). ``kind``: one of ``KINDS``;
    ``missing`` is what production has and the candidate has not. ``production`` and ``candidate``: for people, made
    by ``shown``. Cookie values are never in them; other secrets may be: redact before storing.
    """

    __slots__ = ()

    def __new__(cls, where: str, path: str, kind: str, production: str = "", candidate: str = "") -> Difference:
        return super().__new__(cls, where, path, kind, shown(production), shown(candidate))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Difference) and self[:3] == other[:3]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:3])


class Differences(tuple[Difference, ...]):
    """A tuple that also knows how many findings were not listed (``more``, repetitions of one field included)."""

    more: int = 0

    @classmethod
    def of(cls, found: Iterable[Difference], more: int = 0) -> Differences:
        result = cls(found)
        if more:
            result.more = more
        return result


#: The answer of the cheap path.
NONE = Differences()


class Options:
    """What counts as a difference, and how much may be spent on finding it. Give one object to all comparisons of a
    filter: it carries the memo of compared heads.

    ``allow_extra``: members that the candidate's objects have beside production's are no difference.
    ``json_types_strict``: 1 and 1.0 differ (kind ``type``). ``unordered``: paths of arrays whose order says nothing
    (``$.tags``, ``$.items[*].tags``; ``*`` is all). ``tolerance``: numbers p and c are equal if |p-c| ≤ tolerance ·
    max(|p|, |c|). ``ignore_headers`` and ``compare_headers`` (None: all but the ignored): names in any case;
    ``also_headers``: those that are otherwise overlooked (``fields.overlooked``) and shall be compared. ``schema``: of
    Protocol Buffers and gRPC, where the operator gave one.

    Limits of a JSON body, and what happens there: beyond ``max_depth`` nested values (64: deeper than any API seen, far
    below Python's recursion limit) or ``max_nodes`` values (100,000: some 30 ms) it is compared by digest and the
    difference says so; beyond ``max_differences`` (64: nobody reads more of one exchange) the rest is counted in
    ``Differences.more``.
    """

    __slots__ = (
        "allow_extra",
        "also_headers",
        "compare_headers",
        "head_memo",
        "ignore_headers",
        "json_types_strict",
        "max_depth",
        "max_differences",
        "max_nodes",
        "schema",
        "tolerance",
        "unordered",
    )

    def __init__(
        self,
        *,
        allow_extra: bool = False,
        json_types_strict: bool = False,
        unordered: Sequence[str] = (),
        tolerance: float = 0.0,
        ignore_headers: Iterable[str] = (),
        compare_headers: Iterable[str] | None = None,
        also_headers: Iterable[str] = (),
        max_depth: int = 64,
        max_nodes: int = 100_000,
        max_differences: int = 64,
    ) -> None:
        self.allow_extra = allow_extra
        self.json_types_strict = json_types_strict
        self.unordered = frozenset(unordered)
        self.tolerance = tolerance
        self.ignore_headers = frozenset(name.lower() for name in ignore_headers)
        self.compare_headers = None if compare_headers is None else frozenset(name.lower() for name in compare_headers)
        self.also_headers = frozenset(name.lower() for name in also_headers)
        self.max_depth = max_depth
        self.max_nodes = max_nodes
        self.max_differences = max_differences
        self.schema: Schema | None = None
        self.head_memo: dict[tuple[bytes, bytes], Differences] = {}  # see shadowd.compare.headers

    def compares_header(self, name: str) -> bool:
        """Whether the operator wants this header (lower case) compared."""
        return name not in self.ignore_headers and (self.compare_headers is None or name in self.compare_headers)

    def names_header(self, name: str) -> bool:
        """Whether the operator asked for this header (lower case) by its name."""
        return name in self.also_headers or (self.compare_headers is not None and name in self.compare_headers)


class Collector:
    """Gathers differences: the first example of each, at most ``limit`` of them, the rest counted."""

    __slots__ = ("_found", "limit", "more")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.more = 0
        self._found: dict[Difference, Difference] = {}

    def add(self, difference: Difference) -> None:
        if difference in self._found:
            return
        if len(self._found) < self.limit:
            self._found[difference] = difference
        else:
            self.more += 1

    def full(self) -> bool:
        """Nothing more will be listed, only counted."""
        return len(self._found) >= self.limit

    def result(self) -> Differences:
        return Differences.of(self._found, self.more) if self._found or self.more else NONE
