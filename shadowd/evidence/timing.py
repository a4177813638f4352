"""How long answers took, of all endpoints and of each (sans-IO)."""

from __future__ import annotations

from shadowd.compare.event_times import StreamTimes, stream_times
from shadowd.evidence.contents import Contents, Moment
from shadowd.evidence.evidence import Balance, Endpoint
from shadowd.evidence.latency import LatencySketch
from shadowd.evidence.settings import Settings
from shadowd.evidence.streams import StreamEvidence
from shadowd.evidence.stretches import Tally
from shadowd.evidence.trial import Trial
from shadowd.exchange.exchange import Response

#: Longer responses leave the server in several flights (RFC 6928: ten segments of 1,448 bytes at first): their last
#: byte tells of the network and of production's own slow clients.
LAST_BYTE_LIMIT = 14_000
#: Share of the reference's answers that are slower than half of what counts as slow.
_SLOW_TAIL = 0.01
_NEVER = 1 << 62


class Timing:
    """Of one run. ``whole`` is all endpoints together."""

    __slots__ = (
        "_contents", "_interval", "_lost", "_settings", "_slow_at", "_slow_until", "late", "of_slow", "slow", "timed",
        "whole",
    )  # fmt: skip

    def __init__(self, settings: Settings, contents: Contents) -> None:
        self._settings = settings
        self._contents = contents
        self._interval = (LatencySketch(), LatencySketch())  # first bytes of both sides since it was last taken
        self.whole = Endpoint("", 1, contents.clock)
        self.begin()

    def begin(self) -> None:
        """Evidence begins, or begins anew. First bytes that looked for a warm-up themselves have done so already."""
        first = self.whole.first_byte
        self.whole = Endpoint("", 1, self._contents.clock)
        if first.warmup:
            self.whole.first_byte = first
        shift = self._contents.clock.shift
        self.slow = Balance(shift)  # first bytes beyond twice the reference's p99
        self.of_slow = Tally(shift)  # exchanges of which it is known
        self.late = 0  # sent late through the daemon's own fault
        self.timed = 0
        self._lost = 0.0
        self._slow_at = _NEVER  # ns from which on a first byte is slow
        self._slow_until = 0  # when that is to be worked out anew

    def take_interval(self) -> tuple[LatencySketch, LatencySketch]:
        """First bytes of production and candidate since the last call."""
        taken, self._interval = self._interval, (LatencySketch(), LatencySketch())
        return taken

    def note(self, trial: Trial, production: Response, endpoint: Endpoint, moment: Moment) -> bool:
        """An answered exchange; whether the evidence so far was a warm-up, and begins anew."""
        side, other, time, group = trial.candidate, trial.baseline, moment.time, moment.group
        sent = trial.exchange.request.ended
        first, last = production.first_byte - sent, production.last_byte - sent
        production_times, candidate_times = self._interval
        production_times.add(first)
        candidate_times.add(side.first_byte)
        if self._settings.baseline:
            if other is None or other.first_byte < 0 or other.late:
                return False
            first, last = other.first_byte, other.last_byte
        if side.late:
            self.late += 1
            return False
        self.timed += 1
        whole = self.whole
        warmed = whole.first_byte.warmed
        whole.first_byte.add(time, first, side.first_byte, group)
        endpoint.first_byte.add(time, first, side.first_byte, group)
        if whole.first_byte.warmed != warmed:
            return True
        self._note_slow(first, side.first_byte, time, group)
        candidate = side.response
        assert candidate is not None
        if endpoint.talk is not None:  # how long it takes follows from how much is said
            return False
        size = max(production.end - production.begin, candidate.end - candidate.begin)
        if size <= LAST_BYTE_LIMIT and not (production.open or candidate.open):
            whole.last_byte.add(time, last, side.last_byte)
            endpoint.last_byte.add(time, last, side.last_byte)
        return False

    def _note_slow(self, first: int, candidate: int, time: int, group: int) -> None:
        """A first byte beyond twice the reference's p99: a tail of 1 %, which that quantile cannot see."""
        if time >= self._slow_until:
            self._slow_until = time + (1 << self._contents.clock.shift)
            sketch = self.whole.first_byte.reference
            beyond = sketch.exceeded_by(_SLOW_TAIL * sketch.count) if sketch.count * _SLOW_TAIL >= 1 else None
            if beyond is not None:
                self._slow_at = int(max(2 * beyond, self._settings.margins.slow_floor))
        self.of_slow.add(time, group)
        theirs = candidate > self._slow_at
        if theirs != (first > self._slow_at):
            (self.slow.against if theirs else self.slow.better).add(time, group)

    def lost(self, endpoint: Endpoint, time: int, compared: int) -> None:
        """Longer than everything. Of the answers only a share is timed, so only that share of the lost counts."""
        self._lost += self.timed / compared if compared else 1.0
        if self._lost >= 1:
            self._lost -= 1
            for one in (self.whole, endpoint):
                one.first_byte.add_lost(time, "candidate")
                one.last_byte.add_lost(time, "candidate")

    def note_events(self, trial: Trial, endpoint: Endpoint, production: Response, candidate: Response) -> None:
        """Of a streamed answer that is no model's."""
        asked, other = trial.exchange.request.ended, trial.baseline
        if not self._settings.baseline:
            reference = stream_times(production, asked)
        else:
            reference = stream_times(other.response, 0) if other is not None and other.response is not None else None
        self.note_stream(trial, endpoint, reference, stream_times(candidate, 0), asked)

    def note_stream(
        self, trial: Trial, endpoint: Endpoint, reference: StreamTimes | None, candidate: StreamTimes | None, time: int
    ) -> None:
        if reference is None or candidate is None or trial.candidate.late:
            return
        if trial.baseline is not None and trial.baseline.late:
            return
        if endpoint.stream is None:
            endpoint.stream = StreamEvidence(
                self._contents.another_hypothesis if endpoint.talk is None else None, self._contents.clock
            )
        endpoint.stream.note(reference, candidate, time)
