"""The answers to one request, and what is known of them beside their bytes (sans-IO)."""

from __future__ import annotations

import re

from shadowd.compare.answers import compare_answers
from shadowd.compare.context import Context
from shadowd.compare.difference import NONE, Differences, Options
from shadowd.evidence.trial import Side, Trial
from shadowd.exchange.exchange import Response

_HOST = re.compile(rb"(?i)\nhost:[ \t]*([^\r\n]*)")


class Pairing:
    """Compares any two of a trial's answers. ``epoch``: what is to be added to the capture's clock (ns since the Unix
    epoch). Nothing is looked up for answers that are equal."""

    __slots__ = ("_epoch", "_host", "_preserve_host", "_trial")

    def __init__(self, trial: Trial, epoch: int, preserve_host: bool) -> None:
        self._trial = trial
        self._epoch = epoch
        self._preserve_host = preserve_host
        self._host: bytes | None = None

    def __call__(self, ours: Response, theirs: Response, options: Options) -> Differences:
        if self._trial.found is not None:
            return self._known(ours, theirs)
        same = ours.body == theirs.body and ours.head == theirs.head and ours.open == theirs.open
        if same and ours.digest == theirs.digest and ours.body_length == theirs.body_length and not theirs.loose:
            return NONE
        return compare_answers(ours, theirs, options, self.context(ours, theirs))

    def _known(self, ours: Response, theirs: Response) -> Differences:
        found = self._trial.found
        assert found is not None
        if ours is not self._trial.exchange.response:
            return found[2]
        return found[0] if theirs is self._trial.candidate.response else found[1]

    def context(self, ours: Response, theirs: Response) -> Context:
        left, right = self._side(ours), self._side(theirs)
        return Context(
            self._trial.exchange.request.head,
            self._time(ours, left),
            self._time(theirs, right),
            self._authority(left),
            self._authority(right),
            (left is not None and left.encrypted) != (right is not None and right.encrypted),
        )

    def _side(self, response: Response) -> Side | None:
        """Whose it is; None: production's."""
        trial = self._trial
        for side in (trial.candidate, trial.baseline, trial.twin):
            if side is not None and side.response is response:
                return side
        return None

    def _time(self, response: Response, side: Side | None) -> int:
        if side is None:
            return self._epoch + response.last_byte
        sent = side.sent_at or self._trial.exchange.request.ended
        return self._epoch + sent + max(0, side.last_byte)

    def _authority(self, side: Side | None) -> bytes:
        if side is not None and not self._preserve_host and side.authority:
            return side.authority
        if self._host is None:
            found = _HOST.search(self._trial.exchange.request.head)
            self._host = found[1].strip() if found else b""
        return self._host
