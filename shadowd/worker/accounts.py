"""A worker's counts of filters and targets, and how the supervisor adds them to its own (no I/O here).

A worker tells what it has counted since it began, each time anew; the supervisor adds the difference to what it knew of
that worker. So the accounts that everybody looks at are sums, gauges (in flight, connections) included, and a worker
that is gone is taken out of the gauges and stays in the counters.
"""

from __future__ import annotations

from typing import Any

from shadowd.evidence.latency import LatencySketch
from shadowd.ledger.ledger import FILTERED, LOST
from shadowd.replay.target import Target
from shadowd.worker.filters import Filter

Counts = dict[str, int]

_OF_TARGET = ("mirrored", "uncomparable", "in_flight", "spread", "stray", "twins_in_flight")
_OLDER = ("older", "older_http2")
_MAX_BUCKETS = 4096
_MAX_COUNT = 1 << 62


class AccountError(Exception):
    """It has not the shape of counts."""


def filter_counts(chosen: Filter) -> Counts:
    """Of all that is not nothing: ``seen``, ``flows``, ``unedited``, ``filtered:REASON`` …, the gauges ``_OLDER``."""
    account = chosen.account
    counts = {"seen": account.seen, "flows": chosen.flows, "unedited": chosen.policy.unedited}
    counts |= {name: getattr(chosen, name) for name in _OLDER}
    counts |= {f"filtered:{reason}": count for reason, count in account.filtered.items() if count}
    counts |= {f"lost:{reason}": count for reason, count in account.lost.items() if count}
    return {name: count for name, count in counts.items() if count}


def target_counts(target: Target) -> Counts:
    """Likewise of a target."""
    account = target.account
    counts = {name: getattr(account, name) for name in _OF_TARGET}
    counts |= {"connections": target.connections, "status_differences": target.status_differences}
    for kind, table in (("shed", account.shed), ("failed", account.failed), ("twins", account.twins)):
        counts |= {f"{kind}:{reason}": count for reason, count in table.items()}
    return {name: count for name, count in counts.items() if count}


def counts_untrusted(told: Any) -> Counts:
    """Raises AccountError."""
    if not isinstance(told, dict):
        raise AccountError("no counts")
    for name, count in told.items():
        if type(name) is not str or type(count) is not int or not 0 <= count < _MAX_COUNT:
            raise AccountError("no count")
    return told


def balance(counts: Counts) -> int:
    """Requests of a filter that became its targets'."""
    left_out = sum(count for name, count in counts.items() if name.startswith(("filtered:", "lost:")))
    return counts.get("seen", 0) - left_out


def add_filter(chosen: Filter, before: Counts, now: Counts) -> None:
    """Add to a filter what came since ``before``. Raises AccountError for a reason that there is not."""
    account = chosen.account
    for name in before.keys() | now.keys():
        change = now.get(name, 0) - before.get(name, 0)
        kind, _, reason = name.partition(":")
        if name == "seen":
            account.seen += change
        elif name == "flows":
            chosen.flows += change
        elif name in _OLDER:
            setattr(chosen, name, getattr(chosen, name) + change)
        elif name == "unedited":
            chosen.policy.unedited += change
        elif kind == "filtered" and reason in FILTERED:
            account.filtered[reason] += change
        elif kind == "lost" and reason in LOST:
            account.lost[reason] += change
        else:
            raise AccountError(f"no count of a filter: {name!r:.60}")


def add_target(target: Target, before: Counts, now: Counts) -> None:
    """Likewise to a target."""
    account = target.account
    tables = {"shed": account.shed, "failed": account.failed, "twins": account.twins}
    for name in before.keys() | now.keys():
        change = now.get(name, 0) - before.get(name, 0)
        kind, _, reason = name.partition(":")
        if name in _OF_TARGET:
            setattr(account, name, getattr(account, name) + change)
        elif name in ("connections", "status_differences"):
            setattr(target, name, getattr(target, name) + change)
        elif reason in tables.get(kind, ()):
            tables[kind][reason] += change
        else:
            raise AccountError(f"no count of a target: {name!r:.60}")


def write_off(chosen: Filter, filter_before: Counts, targets: list[tuple[Target, Counts]], seen: int) -> None:
    """A worker is gone: requests it had seen (``seen`` in all, more than it had told) and not ended are lost(worker);
    those that one target had answered and another not are shed(worker) for the other."""
    untold = max(0, seen - filter_before.get("seen", 0))
    open_of = {target: before.get("in_flight", 0) for target, before in targets}
    least = min(open_of.values(), default=0)
    account = chosen.account
    account.seen += untold
    account.lost["worker"] += untold + least
    for name in _OLDER:
        setattr(chosen, name, getattr(chosen, name) - filter_before.get(name, 0))
    for target, before in targets:
        target.account.in_flight -= open_of[target]
        target.account.shed["worker"] += open_of[target] - least
        target.account.twins["shed"] += before.get("twins_in_flight", 0)
        target.account.twins_in_flight -= before.get("twins_in_flight", 0)
        target.connections -= before.get("connections", 0)


# --- latencies: since the last snapshot -------------------------------------------------------------------------------


def told(sketch: LatencySketch) -> list[list[int]]:
    """[lowest duration, count] of each bucket."""
    return [[low, count] for low, _, count in sketch.buckets()]


def merge_untrusted(sketch: LatencySketch, buckets: Any) -> None:
    """Add what another counted. Raises AccountError."""
    if not isinstance(buckets, list) or len(buckets) > _MAX_BUCKETS:
        raise AccountError("no latencies")
    for bucket in buckets:
        if not isinstance(bucket, list) or len(bucket) != 2 or any(type(number) is not int for number in bucket):
            raise AccountError("no latency")
        if not (0 <= bucket[0] < _MAX_COUNT and 0 < bucket[1] < _MAX_COUNT):
            raise AccountError("no latency")
        sketch.add_many(bucket[0], bucket[1])
