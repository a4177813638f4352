"""The comparison of conversations with a model: of their prompt group, and of all together (sans-IO).

A rare refusal shows first in all of them together; what it is about, in its group.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shadowd.compare.burden import LIGHT
from shadowd.compare.difference import NONE, Differences, Options
from shadowd.compare.event_times import StreamTimes
from shadowd.evidence.contents import Contents, Moment
from shadowd.evidence.evidence import Endpoint
from shadowd.evidence.genai import GenAiMeasures
from shadowd.evidence.talking import TalkEvidence, Unweighed, likeness_loss, texts_of
from shadowd.evidence.trial import Side, Trial
from shadowd.exchange.exchange import Response
from shadowd.protocols.llm import Ask
from shadowd.talk.llm import Answer, arguments_weigh, compare_talk, read_answer
from shadowd.talk.schemas import Checking

ALL_PROMPTS, OTHER_PROMPTS = "all conversations", "other prompts"
MAX_UNWEIGHED = 256  # texts that wait for an embedding model: 3 MB

NoteStream = Callable[[Trial, Endpoint, StreamTimes | None, StreamTimes | None, int], None]


class Conversations:
    """Of a run. ``note_stream`` counts when the events of an answer came."""

    def __init__(self, contents: Contents, note_stream: NoteStream) -> None:
        self._contents = contents
        self._note_stream = note_stream
        self.measures = GenAiMeasures()
        self.unweighed: deque[Unweighed] = deque(maxlen=MAX_UNWEIGHED)

    def examine(
        self, ask: Ask, trial: Trial, group: Endpoint, everything: Endpoint, third: Side | None, moment: Moment,
    ) -> None:  # fmt: skip
        settings = self._contents.settings
        exchange, side = trial.exchange, trial.candidate
        production, candidate = exchange.response, side.response
        assert production is not None
        assert candidate is not None
        other = third.response if third is not None else None
        told = settings.citations, settings.refusal
        read: dict[int, Answer | None] = {id(production): read_answer(ask, production, exchange.request.ended, *told)}
        for response in (candidate, other):
            if response is not None:
                read[id(response)] = read_answer(ask, response, 0, *told)

        checking = Checking(arguments_weigh(read.values()) > LIGHT)

        def compare(ours: Response, theirs: Response, options: Options) -> Differences:
            left, right = read[id(ours)], read[id(theirs)]
            if left is None or right is None or ours.status != theirs.status:
                return NONE
            return compare_talk(ask, left, right, options, checking)

        self.measures.note(ask, trial, read)
        differences = compare(production, candidate, settings.options)
        for endpoint in (group, everything):
            self._contents.judge(trial, endpoint, differences, third, moment, False, compare)
            assert endpoint.talk is not None
            ours, theirs = read[id(production)], read[id(candidate)]
            if ours is None or theirs is None:
                endpoint.talk.too_long += 1
                continue
            baseline = read[id(other)] if trial.baseline is not None and other is not None else None
            if settings.baseline and baseline is None:
                continue
            self._note_stream(trial, endpoint, (baseline or ours).times, theirs.times, moment.time)
            timed = not side.late and not (trial.baseline is not None and trial.baseline.late)
            endpoint.talk.note(ours, theirs, baseline, moment.time, timed)
            endpoint.talk.note_cost(ask, ours, theirs, baseline, moment.time, settings.prices)
        if ours is not None and theirs is not None and trial.baseline is not None and other is not None:
            self._weigh([one.talk for one in (group, everything) if one.talk], ours, theirs, read[id(other)])

    def _weigh(self, talks: list[TalkEvidence], ours: Answer, theirs: Answer, baseline: Answer | None) -> None:
        """The likeness of the texts, here or, by a model, elsewhere."""
        texts = texts_of(ours, theirs, baseline)
        if texts is None:
            return
        waiting = Unweighed(texts, talks)
        if self._contents.settings.similarity:
            self.unweighed.append(waiting)
        else:
            waiting.weighed(likeness_loss(texts))
