"""One production exchange as evidence: what each side answered to the very same request (sans-IO).

A trial is complete when production's answer and every side's are over; it is examined once, then.

    production P ── the exchange itself
    candidate  C ── the judged target
    baseline   B ── the target of production's version, asked at the same time (if the filter has one)
    twin       C2 ─ the candidate asked a second time, for a random share of safe requests (without a baseline)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from shadowd.compare.difference import Difference, Differences
from shadowd.compare.inband_wire import InBand
from shadowd.compare.signatures import Signature
from shadowd.evidence.settings import Settings
from shadowd.exchange.exchange import Exchange, Response

if TYPE_CHECKING:
    from shadowd.evidence.evidence import Endpoint

#: A time that was not measured.
UNKNOWN = -1


class Side:
    """What came of the request at one target. The replay's ``Leg`` is one."""

    __slots__ = ("done", "failure", "first_byte", "last_byte", "late", "response", "sent_at", "shed")

    def __init__(self, shed: str = "") -> None:
        self.done = True  # nothing more will come of it
        self.shed = shed  # our decision not to send it (ledger.SHED)
        self.failure = ""  # the target's: connect, timeout, reset, truncated, tls, malformed, resolve
        self.response: Response | None = None
        self.first_byte = UNKNOWN  # ns from the request's last byte to the answer's first; kernel times, RTT taken off
        self.last_byte = UNKNOWN
        self.sent_at = 0  # when it left (ns); 0: nobody knows
        self.late = False  # the request left late through the daemon's own fault: its latency says nothing

    @property
    def authority(self) -> bytes:
        """The Host that was sent there; b"" if it was production's."""
        return b""

    @property
    def encrypted(self) -> bool:
        """Whether it was asked over TLS."""
        return False


class Faults(NamedTuple):
    """What an answer that was looked at elsewhere says of its own faults: an error under a status that says that all is
    well, or the signature of one whose status does not."""

    inside: InBand | None
    signature: Signature | None


class Judging(Protocol):
    """Who examines a trial, as far as the trial's way there needs to know (``examiner.py``)."""

    settings: Settings
    by_digest: int
    faults: int

    @property
    def epoch(self) -> int: ...

    def examine(self, trial: Trial) -> None: ...


class Trial:
    """See the module's head. ``pending`` counts the sides that are not over."""

    __slots__ = (
        "baseline", "candidate", "differences", "endpoint", "examiner", "exchange", "excused", "faults", "found",
        "kept", "outcome", "pending", "twin",
    )  # fmt: skip

    def __init__(self, examiner: Judging, exchange: Exchange, candidate: Side, baseline: Side | None) -> None:
        self.examiner = examiner
        self.exchange = exchange
        self.candidate = candidate
        self.baseline = baseline
        self.twin: Side | None = None
        self.pending = 0
        self.kept = 0  # bytes of production's answer that wait here
        #: What was compared elsewhere: production and the candidate, production and the third, the candidate and that.
        self.found: tuple[Differences, ...] | None = None
        #: Of production's answer, the candidate's and the third's, if they were looked at elsewhere.
        self.faults: tuple[Faults, ...] = ()
        # what came of it, for whoever follows exchanges as they end
        self.endpoint: Endpoint | None = None
        self.differences: Sequence[Difference] = ()  # of the candidate's answer
        self.outcome = 0  # above 0: worse than its reference's, below: better
        self.excused = ""  # why what is worse or differs speaks against nobody: drift, session, rate limit


class Held:
    """What an examiner was told while its evidence was written: by which of its methods, in order."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told: list[tuple[Callable[[Any], None], Any]] = []


class Watch:
    """Who is told of each trial once it was examined."""

    __slots__ = ("tell",)

    def __init__(self, tell: Callable[[Trial], None]) -> None:
        self.tell = tell
