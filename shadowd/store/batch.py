"""What is written to the store in one go (sans-IO): lists of rows, filled by whoever knows them.

Counts are cumulative for the run and replace what is stored, so that a batch that was dropped is made good by the next
one. All times are seconds of the Unix epoch; ``run`` is what ``Database.begin_run`` returned. Rows of a run that is not
in the store (it was pruned, or the file was replaced) are left out when they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypedDict


class Rollup(TypedDict):
    """One minute of a run; replaces the row of the same minute."""

    run: int
    minute: int  # of the Unix epoch: seconds // 60
    counts: dict[str, Any]  # anything JSON
    sketches: bytes  # latency sketches, as the caller packs them


class Group(TypedDict):
    """One group of differences; replaces the row of the same id."""

    run: int
    id: str
    endpoint: str
    place: str  # status, header, cookie, body, turn
    path: str
    kind: str
    label: str  # "", or why it is shown apart: state drift suspected, expected, not judged ...
    count: int  # exchanges with this difference
    exchanges: int  # exchanges compared at the endpoint
    first: float
    last: float
    details: dict[str, Any]  # anything JSON


class Example(TypedDict):
    """One exchange that shows a group, redacted by the caller. Of each group the newest ``EXAMPLES`` are kept."""

    run: int
    group: str
    time: float
    example: dict[str, Any]  # anything JSON; stored compressed


class SignatureRow(TypedDict):
    """One error signature; replaces the row of the same fingerprint."""

    run: int
    fingerprint: str
    kind: str
    title: str
    new: bool  # not seen in production
    count: int  # of the shadow
    production_count: int
    endpoints: list[str]
    first: float
    last: float
    example: dict[str, Any]  # anything JSON, redacted by the caller


class VerdictRow(TypedDict):
    """The verdict at a time. Of those that are the same within one minute the last is kept."""

    run: int
    time: float
    verdict: str  # pass, fail, inconclusive
    score: float
    details: dict[str, Any]  # anything JSON


class EvidenceRow(TypedDict):
    """What a run has counted, so that it can go on after a restart; replaces what was there of the run."""

    run: int
    time: float
    boot: str  # of the host: times in it are of its monotonic clock
    spec: str  # equal for filters that mirror and compare alike
    data: bytes


class Batch:
    """Rows to write in one transaction, in this order."""

    __slots__ = ("evidence", "examples", "groups", "rollups", "signatures", "verdicts")

    def __init__(self) -> None:
        self.rollups: list[Rollup] = []
        self.groups: list[Group] = []
        self.examples: list[Example] = []
        self.signatures: list[SignatureRow] = []
        self.verdicts: list[VerdictRow] = []
        self.evidence: list[EvidenceRow] = []

    def __len__(self) -> int:
        return sum(len(getattr(self, name)) for name in Batch.__slots__)

    def slices(self, rows: int) -> Iterator[Batch]:
        """The same rows in batches of at most so many; a batch that is small enough is itself."""
        if len(self) <= rows:
            yield self
            return
        for name in ("rollups", "groups", "examples", "signatures", "verdicts", "evidence"):
            all_rows = getattr(self, name)
            for start in range(0, len(all_rows), rows):
                part = Batch()
                getattr(part, name).extend(all_rows[start : start + rows])
                yield part
