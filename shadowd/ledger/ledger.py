"""The account of every request (sans-IO): nothing disappears silently.

For every target of a filter, at any time::

    seen = sum(filtered) + sum(lost) + mirrored + sum(shed) + sum(failed) + in_flight

``seen`` is counted where the codec hands a request over (or says that it lost one), the other terms where a request
ends for that target, and ``in_flight`` by requests that are alive: three independent places, so that a mistake shows.

================  =====================================================================================
term              meaning
================  =====================================================================================
filtered[reason]  decided not to mirror, before any target: the operator's choice or not HTTP
lost[reason]      at least one request that could not be known whole
mirrored          sent whole to the shadow and answered whole
shed[reason]      our decision, to protect the host or the shadow
failed[reason]    the shadow's fault
in_flight         seen and not ended for this target
uncomparable      of the mirrored: production's own answer is not known whole, or neither answer can be read
spread            of those sent: out of order, on a connection of their own, while the shadow was slower than production
stray             answers that were followed by bytes which belong to none (their connection is closed)
twins             beside all this: second copies that the comparison sent, by what became of them
missed            beside all this: the kernel counts, by filter, the clients' segments that matched before it copies
                  them, so what share of them never came here is known, and about how many requests that is
================  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NotRequired, TypedDict

FILTERED = frozenset(
    {
        "method",
        "path",
        "header",
        "loop",
        "encrypted",
        "not_http",
        "unparsable",
        "mptcp",
        "writes",
        "upgraded",  # a tunnel: CONNECT, or a stream that turns into another protocol
        "cancelled",  # HTTP/2: the client took a request back, or the server its attention, before it was whole
        "interactive",  # gRPC: a dialogue of more turns than are followed (protocols/dialogue.py)
        "goaway",  # HTTP/2: production refused it unlooked-at, so that its client asks again elsewhere
        "tls_suite",  # a version or cipher suite that is not read: TLS 1.1 and older, CBC
        "tls_refused",  # production's server did not take the client: nothing of what it sent was served
    }
)
LOST = frozenset(
    {
        "gap",
        "midstream",
        "truncated",
        "too_large",
        "memory",
        "flow_limit",
        "urgent",  # without the byte that TCP urgent data took out, it does not parse
        "fault",  # a fault of ours while it was read: the rest of its connection is not followed
        # of connections that a filter would decrypt, each counted once
        "tls_no_key",  # nobody told its secrets in time
        "tls_midstream",  # its handshake was not seen: it is older than the filter, or was captured in part
        "tls_undecryptable",  # the keys that were told do not open it, or it went on in a way that is not read
        "worker",  # a worker process ended with it: seen, and for no target over
        "ring_full",  # a connection's opening found no room in the ring: at least one request of it
    }
)
SHED = frozenset(
    {
        "own_lag",  # older than max_lag because this daemon was late: stopped, starved of CPU, behind in the ring
        "shadow_lag",  # older than max_lag because the shadow was: waiting for its answers, or for a connection to it
        "own_limit",  # this host had no descriptor, port or memory for it
        "interactive",  # a dialogue of gRPC, which a target of HTTP/1 cannot hold
        "itself",  # the target is production itself
        "stray",  # the shadow said what belongs to no answer, and a request that is not safe was under way behind it
        "target_memory",  # the target's byte limit
        "memory",  # the daemon's byte limit
        "pressure",  # the host is busy: production comes first (guard.py)
        "max_rps",
        "max_connections",
        "max_in_flight",
        "circuit_open",  # connecting failed again and again: the target rests
        "removed",  # the filter or target was removed, paused or changed
        "shutdown",
        "worker",  # a worker process ended with it, when other targets had answered
        "before_target",  # seen before this target was added to the filter
    }
)
FAILED = frozenset(
    {
        "connect",
        "resolve",
        "timeout",
        "reset",
        "truncated",
        "tls",
        "malformed",
        "refused",  # a WebSocket: the shadow agreed to none, so that nothing could be said to it
    }
)


class TargetView(TypedDict):
    url: str
    role: str
    mirrored: int
    shed: dict[str, int]
    failed: dict[str, int]
    in_flight: int
    uncomparable: int
    spread: NotRequired[int]
    stray_bytes: NotRequired[int]
    twins: NotRequired[dict[str, int]]


class MissedView(TypedDict):
    """Of clients' segments with payload: how many matched, did not come whole (the ring was full), were not looked at
    (the daemon was dead, or the guard held it back); the share of those that were missed; and the requests there were,
    as far as that tells."""

    matched: int
    lost: int
    not_looked_at: int
    share: float
    requests: int


class FilterView(TypedDict):
    name: str
    seen: int
    in_flight: int
    filtered: dict[str, int]
    lost: dict[str, int]
    targets: list[TargetView]
    balanced: bool
    missed: NotRequired[MissedView]


class TargetAccount:
    """What became of the requests at one target."""

    __slots__ = (
        "failed", "in_flight", "mirrored", "role", "shed", "spread", "stray", "twins", "twins_in_flight",
        "uncomparable", "url",
    )  # fmt: skip

    def __init__(self, url: str, role: str = "candidate") -> None:
        self.url = url
        self.role = role
        self.mirrored = 0
        self.uncomparable = 0
        self.in_flight = 0
        self.spread = self.stray = 0
        self.twins = {"answered": 0, "failed": 0, "shed": 0}
        self.twins_in_flight = 0
        self.shed: dict[str, int] = dict.fromkeys(SHED, 0)
        self.failed: dict[str, int] = dict.fromkeys(FAILED, 0)

    def view(self) -> TargetView:
        view: TargetView = {
            "url": self.url,
            "role": self.role,
            "mirrored": self.mirrored,
            "shed": _present(self.shed),
            "failed": _present(self.failed),
            "in_flight": self.in_flight,
            "uncomparable": self.uncomparable,
        }
        if self.spread:
            view["spread"] = self.spread
        if self.stray:
            view["stray_bytes"] = self.stray
        if self.twins_in_flight or any(self.twins.values()):
            view["twins"] = {**self.twins, "in_flight": self.twins_in_flight}
        return view


class FilterAccount:
    """The ledger of one filter. Reasons are enumerated: an unknown one is a KeyError, not a new column."""

    __slots__ = ("filtered", "lost", "matched", "name", "not_copied", "not_looked_at", "seen", "targets")

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen = 0
        self.filtered: dict[str, int] = dict.fromkeys(FILTERED, 0)
        self.lost: dict[str, int] = dict.fromkeys(LOST, 0)
        self.targets: list[TargetAccount] = []
        self.matched = self.not_copied = self.not_looked_at = 0  # the kernel's: clients' segments with payload

    def note_kernel(self, matched: int, lost: int, dead: int, openings_lost: int) -> None:
        """What the kernel counted since the last time. A connection whose opening was lost had a request at least."""
        self.matched += matched
        self.not_copied += lost
        self.not_looked_at += dead
        self.seen += openings_lost
        self.lost["ring_full"] += openings_lost

    def missed(self) -> MissedView | None:
        """None if nothing was."""
        total = self.matched + self.not_looked_at
        gone = self.not_copied + self.not_looked_at
        if not gone or not total:
            return None
        came = max(1, self.matched - self.not_copied)
        return {
            "matched": self.matched,
            "lost": self.not_copied,
            "not_looked_at": self.not_looked_at,
            "share": gone / total,
            "requests": max(self.seen, round(self.seen * total / came)),
        }

    def add_target(self, url: str, role: str = "candidate") -> TargetAccount:
        """A target joins; what was seen before it is accounted as ``shed(before_target)`` for it."""
        account = TargetAccount(url, role)
        account.shed["before_target"] = self.seen - sum(self.filtered.values()) - sum(self.lost.values())
        self.targets.append(account)
        return account

    def filter_out(self, reason: str) -> None:
        self.seen += 1
        self.filtered[reason] += 1

    def lose(self, reason: str) -> None:
        self.seen += 1
        self.lost[reason] += 1

    @property
    def in_flight(self) -> int:
        """Requests not ended for the slowest target."""
        return max((target.in_flight for target in self.targets), default=0)

    def imbalance(self, target: TargetAccount) -> int:
        """``seen`` minus all that is accounted for; 0 when the ledger balances."""
        ended = target.mirrored + sum(target.shed.values()) + sum(target.failed.values())
        return self.seen - sum(self.filtered.values()) - sum(self.lost.values()) - ended - target.in_flight

    @property
    def balanced(self) -> bool:
        return all(self.imbalance(target) == 0 for target in self.targets)

    def view(self) -> FilterView:
        view: FilterView = {
            "name": self.name,
            "seen": self.seen,
            "in_flight": self.in_flight,
            "filtered": _present(self.filtered),
            "lost": _present(self.lost),
            "targets": [target.view() for target in self.targets],
            "balanced": self.balanced,
        }
        missed = self.missed()
        if missed is not None:
            view["missed"] = missed
        return view


def _present(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counts.items()) if count}


def describe(account: FilterAccount, kernel_segments: int) -> list[str]:
    """What people ask most, in words: why is nothing (or not everything) mirrored?"""
    words = []
    seen = account.seen
    missed = account.missed()
    if missed is not None and missed["share"] > MISSED:
        words.append(_missed_words(missed, seen))
    if not seen:
        words.append(
            "no packets matched this filter yet" if not kernel_segments else "packets match, no request is whole yet"
        )
        return words
    filtered = account.filtered
    if filtered["encrypted"]:
        words.append(
            f"{filtered['encrypted']} connections are encrypted (TLS): shadowd sees bytes on the wire only"
            "; to read them: shadowctl filter set NAME --tls decrypt, or --tls-keylog FILE"
        )
    if filtered["interactive"]:
        words.append(f"{filtered['interactive']} dialogues of gRPC have more than 10,000 turns")
    words += [f"{count} {what}" for reason, what in _TLS_WORDS.items() if (count := _count(account, reason))]
    if filtered["not_http"]:
        words.append(
            f"{filtered['not_http']} connections do not speak HTTP (raw needs a tcp:// target and allow_writes)"
        )
    if filtered["method"] and filtered["method"] == seen - sum(account.lost.values()):
        words.append("all requests are filtered by method (default: GET, HEAD, OPTIONS only)")
    for target in account.targets:
        if failed := _present(target.failed):
            reasons = ", ".join(f"{count} {reason}" for reason, count in failed.items())
            words.append(f"{target.url} failed: {reasons}")
        shed = target.shed
        if shed["own_lag"]:
            words.append(f"{target.url}: {shed['own_lag']} came too late through us: this host is too busy")
        if shed["shadow_lag"]:
            words.append(f"{target.url}: {shed['shadow_lag']} waited too long: the shadow is slower than production")
        if shed["interactive"]:
            words.append(f"{target.url}: {shed['interactive']} dialogues of gRPC not sent: HTTP/1 cannot hold one")
        if shed["own_limit"]:
            words.append(f"{target.url}: {shed['own_limit']} not sent: this host has no descriptors or ports for more")
        if target.spread:
            words.append(
                f"{target.url}: {target.spread} safe requests went out of order, on further connections, while the"
                " shadow was slower than production"
            )
        if target.stray:
            words.append(f"{target.url}: {target.stray} answers were followed by bytes that belong to none")
    return words


_TLS_WORDS = {
    "tls_no_key": "TLS connections had no secret in time: does the server that serves them write the key log?",
    "tls_midstream": "TLS connections were older than this filter: who connects anew is read",
    "tls_undecryptable": "TLS connections could not be decrypted by the secrets that were told",
    "tls_refused": "TLS connections were refused by production's server, and what was sent on them was not served",
    "tls_suite": "TLS connections use a version or cipher that is not read (CBC, TLS 1.1 or older)",
}


def _count(account: FilterAccount, reason: str) -> int:
    return account.lost.get(reason, 0) + account.filtered.get(reason, 0)


#: Share of the clients' segments from which on it is said in words that they were missed.
MISSED = 0.01


def _missed_words(missed: MissedView, seen: int) -> str:
    said = (
        f"{missed['share']:.0%} of what clients sent never reached this daemon: seen is at least {seen:,}, of about"
        f" {missed['requests']:,} requests"
    )
    if missed["lost"] >= missed["not_looked_at"]:
        return (
            f"{said}; the kernel's ring was full — raise ring_bytes, give the daemon more CPU, or take less: "
            "shadowctl filter set NAME --sample 10%"
        )
    return f"{said}; the daemon was stopped, or the guard held it back — see the problems of shadowctl status"


def totals(accounts: Iterable[FilterAccount]) -> tuple[int, int]:
    """(seen, mirrored) over filters; mirrored counts each target."""
    seen = mirrored = 0
    for account in accounts:
        seen += account.seen
        mirrored += sum(target.mirrored for target in account.targets)
    return seen, mirrored
