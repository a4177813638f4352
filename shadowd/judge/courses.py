"""Evidence over stretches of the run and groups of connections: weather is one event, however many it hits (sans-IO).

The bets of ``betting.py`` are right for exchanges that are independent of each other. Real ones are not: a burst of
503s, a collector's pause or a pod behind four of forty connections hits hundreds at once, and hundreds of witnesses of
one event are one witness. So next to the bets a rate must hold over *stretches*::

    |-------------------------- the run so far ---------------------------|    a look at 60 s, 75 s, 94 s, 117 s ...
    |  1  |  2  |  3  |  4  |  ...                         | 14 | 15 | 16 |    stretches of equal time
       each: how much oftener the candidate did it than its reference, less the margin
    fails if  mean / (standard error over the stretches)  >  Student's quantile at the look's level

Look k spends α/(k(k+1)), so looking on costs nothing more. A fault that begins late would be diluted by a long clean
past, so the same test looks at the run's last quarter, and at a window of fixed length that moves on by half of itself;
the three share the level by ``PARTS``. The method is that of batch means (A. Law, W. Kelton, "Simulation Modeling and
Analysis", 9.5.3): what is alike within a stretch does no harm, whatever its shape.

The same mean over groups of connections must be beyond the margin too (``Groups``): what differs between two pods is no
matter of how many requests met each. Where fewer than ``LEAST_GROUPS`` groups say something, or those there are cannot
be certain, all must say the same: each a quarter of the rate, or all together no more scattered than draws that know
nothing of connections are (``_even``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from shadowd.evidence.stretches import GROUPS, LEAST_GROUPS, MORE_STRETCHES, STRETCHES, Rate, Tally, Values, rate
from shadowd.judge.betting import Counts, log_e_above

GROWTH = 1.25  # between two looks
#: Of a level: the whole run, its last quarter, the moving window.
PARTS = (0.8, 0.1, 0.1)
_EACH = 0.25  # of the overall rate, that each of few groups must have
#: Groups that may be called even, and events expected in each: below five the statistic is still near χ², and on the
#: safe side of it where they are as equal as groups of connections (W. Cochran, Biometrics 10, 1954).
EVEN_GROUPS, EVEN_EVENTS = 4, 3.0
_EVEN_Z = 1.645  # normal quantile of 95 %: one of twenty that are even is not seen to be


class Window(NamedTuple):
    """A part of the run that is looked at, and the share of α spent there."""

    begin: int
    end: int
    spent: float
    parts: int  # stretches
    name: str  # "run", "last quarter" or "last minutes"


def windows(begin: int, latest: int, least: int) -> list[Window]:
    """What is looked at ``latest - begin`` ns after the evidence began; empty before ``least``."""
    span = latest - begin
    if span < least or least <= 0:
        return []
    look = int(math.log(span / least) / math.log(GROWTH) + 1e-9) + 1
    seen = int(least * GROWTH ** (look - 1))
    spent = 1 / (look * (look + 1))
    end = begin + seen
    found = [_window(begin, end, least, PARTS[0] * spent, "run")]
    if seen >= 4 * least:
        found.append(_window(end - seen // 4, end, least, PARTS[1] * spent, "last quarter"))
    if look > 1:
        scale = max(0, math.ceil(math.log2(span / (16 * least))))
        length = least << scale
        moved = (span - length) // (length // 2)
        if moved > 0:
            end = begin + length + moved * (length // 2)
            share = PARTS[2] / ((moved + 1) * (moved + 2)) / 2 ** (scale + 1)
            found.append(_window(end - length, end, least, share, "last minutes"))
    return found


def _window(begin: int, end: int, least: int, spent: float, name: str) -> Window:
    return Window(begin, end, spent, MORE_STRETCHES if end - begin >= 2 * least else STRETCHES, name)


def over_time(values: Values, total: Tally, begin: int, end: int, parts: int = STRETCHES) -> Rate | None:
    """The mean value of a sample over the stretches from ``begin`` to ``end``."""
    sums = [0.0] * parts
    for value, tally in values:
        if tally.count:
            for index, many in enumerate(tally.slots.cut(begin, end, parts)):
                sums[index] += value * many
    return rate(sums, total.slots.cut(begin, end, parts))


def over_connections(values: Values, total: Tally) -> Rate | None:
    """The same over groups of connections."""
    sums = [0.0] * GROUPS
    for value, tally in values:
        for index, many in enumerate(tally.by_group):
            sums[index] += value * many
    return rate(sums, total.by_group, 2)


def hold(values: Values, total: Tally, margin: float, alpha: float, few: int = 1) -> bool:
    """Whether a rate beyond the margin is one of the connections at large: certain over their groups, or, where there
    are few (but at least ``few``), beyond the margin in each, or even over them. True where nobody knows the
    connections."""
    if not any(total.by_group):
        return True
    found = over_connections(values, total)
    if found is not None and found.parts >= LEAST_GROUPS and found.low(alpha) > margin:
        return True
    sums = [sum(value * tally.by_group[group] for value, tally in values) for group in range(GROUPS)]
    rates = [x / n for x, n in zip(sums, total.by_group, strict=True) if n]
    overall = sum(sums) / sum(total.by_group)
    if len(rates) >= few and min(rates) > max(margin, overall * _EACH):
        return True
    return overall > margin and _even(values, total, sums)


def _even(values: Values, total: Tally, sums: Sequence[float]) -> bool:
    """Whether the groups differ no more than by chance: Fisher's index of dispersion against χ² (its quantile by E.
    Wilson and M. Hilferty, 1931). A pod behind some of the connections scatters them far beyond it."""
    size = sum(total.by_group)
    sizes = [n for n in total.by_group if n]
    events = sum(sum(tally.by_group) for _, tally in values)
    if len(sizes) < EVEN_GROUPS or events * min(sizes) < EVEN_EVENTS * size:
        return False
    mean = sum(sums) / size
    spread = sum(value * value * sum(tally.by_group) for value, tally in values) / size - mean * mean
    if spread <= 0:
        return True
    scatter = sum((x - n * mean) ** 2 / (n * spread) for x, n in zip(sums, total.by_group, strict=True) if n)
    free = len(sizes) - 1
    return scatter <= free * (1 - 2 / (9 * free) + _EVEN_Z * math.sqrt(2 / (9 * free))) ** 3


class Course:
    """How a rate went over the run: its tallies, and since when they count."""

    __slots__ = ("begin", "few", "latest", "least", "total", "values")

    def __init__(self, values: Values, total: Tally, begin: int, latest: int, least: int, few: int = 1) -> None:
        self.few = few  # connections that must say the same where there are fewer than LEAST_GROUPS
        self.values = values
        self.total = total
        self.begin = begin  # of the evidence (ns)
        self.latest = latest
        self.least = least

    def fails(self, rejected: bool, margin: float, lowest: float, alpha: float) -> tuple[bool, str, Counts]:
        """Whether the rate is beyond the margin over stretches and connections, what to say of it, and the counts of
        a late window that shows it. ``rejected``: the bets on all exchanges say that it is; late windows bet on their
        own. Values are at least ``lowest``."""
        looks = windows(self.begin, self.latest, self.least)
        if not looks:
            return False, self._early() if rejected else "", ()
        why = ""
        for look in looks:
            level = alpha * look.spent
            counts: Counts = ()
            if look is not looks[0] or not rejected:
                counts = self._counts(look)
                if not counts or log_e_above(counts, margin, lowest, 1.0) < -math.log(level):
                    continue
            found = over_time(self.values, self.total, look.begin, look.end, look.parts)
            if found is None or found.low(level) <= margin:
                why = why or self._bursts(look)
            elif not hold(self.values, self.total, margin if look is looks[0] else 0.0, alpha, self.few):
                why = why or FEW_CONNECTIONS
            elif look is looks[0]:
                return True, "", counts
            else:
                return True, f" in the last {(look.end - look.begin) / 1e9:,.0f} s looked at", counts
        return False, why, ()

    def passes(self, margin: float, alpha: float) -> tuple[bool, str]:
        """Whether the rate is within the margin over stretches, and else what to say of it."""
        looks = windows(self.begin, self.latest, self.least)
        if not looks:
            return False, self._early()
        found = over_time(self.values, self.total, looks[0].begin, looks[0].end, looks[0].parts)
        if found is None:
            return False, f"they are too few in {looks[0].parts} stretches of the run to tell"
        return (True, "") if found.high(alpha) <= margin else (False, self._bursts(looks[0]))

    def _counts(self, look: Window) -> Counts:
        """Of the samples within a window; empty where nothing speaks against anybody."""
        many = [(value, sum(tally.slots.cut(look.begin, look.end, 1))) for value, tally in self.values]
        if not any(value > 0 and count > 0 for value, count in many):
            return ()
        rest = sum(self.total.slots.cut(look.begin, look.end, 1)) - sum(count for _, count in many)
        return (*((value, max(0, count)) for value, count in many), (0.0, max(0, rest)))

    def _early(self) -> str:
        return (
            f"nothing passes or fails before {self.least / 1e9:g} s of evidence "
            "(shadowctl filter set NAME --min-span TIME); "
            f"{(self.latest - self.begin) / 1e9:.0f} s so far"
        )

    def _bursts(self, look: Window) -> str:
        """Where what speaks against either side came in bursts: how much of it at once."""
        sums = [0] * look.parts
        for _, tally in self.values:
            for index, many in enumerate(tally.slots.cut(look.begin, look.end, look.parts)):
                sums[index] += many
        length = (look.end - look.begin) / look.parts / 1e9
        if sum(sums) < 1:
            return "the run is too short to tell"
        return (
            f"{max(sums) / sum(sums):.0%} of what differs came within {length:.3g} s: a burst is one event, "
            "and only a longer run tells whether it belongs to the release"
        )


FEW_CONNECTIONS = (
    f"it differs from connection to connection, and fewer than {LEAST_GROUPS} groups of them say the same: it may be "
    "one of several servers behind them"
)
