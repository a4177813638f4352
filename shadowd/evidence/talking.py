"""What can only be measured of generated answers: the judges of time, length and likeness (sans-IO).

**Time to the first content** is latency like any other, of the first piece of text, refusal or arguments (role chunks
come earlier), by the kernel's clock on both sides. **Output tokens** (characters where the answer does not tell tokens)
are judged by the paired ratio of the same request, over blocks of time as the median latency is. **Similarity** of the
text is relative: how alike production's answer and the candidate's are, against how alike production's and the
baseline's are, for the same request; a model that samples differs from itself, and only what is beyond that counts.
The mean of (likeness of A/A − likeness of A/B), which lies in −1 … 1, is bet on (``betting.py``). Without a baseline
there is no such pair, and the text is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shadowd.evidence.clock import Clock
from shadowd.evidence.slowdown import LatencyEvidence
from shadowd.protocols.llm import Ask, Message
from shadowd.talk.likeness import likeness
from shadowd.talk.llm import Answer, Price, cost_of

#: Tokens below which an answer has no pace to speak of.
_FEW = 8
_MONEY = 1_000_000_000  # a unit of the currency: a conversation costs thousandths of it
#: Characters of a text that are compared: the cost is quadratic, 4 KB take 2.5 ms and 40 KB 0.1 s.
COMPARED = 4096
#: Models that are told apart on one side: who answers is what servers say.
MAX_MODELS = 10
#: Likeness is counted in steps, so that evidence is a handful of integers.
STEPS = 40
_MOST = 1 << 62  # what an answer says of itself may be anything; durations are signed 64-bit numbers
_TOKEN = 1_000_000  # a token as a "duration" of the paired-ratio machinery: large against its buckets


def texts_of(production: Answer, candidate: Answer, baseline: Answer | None) -> tuple[str, str, str] | None:
    """Production's text, the baseline's and the candidate's, where their likeness says something."""
    if baseline is None or not production.message.text:
        return None
    if any(one.message.refused or one.message.outcome != "whole" for one in (candidate, baseline)):
        return None
    return production.message.text[:COMPARED], baseline.message.text[:COMPARED], candidate.message.text[:COMPARED]


def likeness_loss(texts: tuple[str, str, str]) -> float:
    """By edits: how much less like the first the third is than the second."""
    text, baseline, candidate = texts
    return likeness(text, baseline) - likeness(text, candidate)


class Unweighed:
    """Texts whose likeness is worked out elsewhere, and the evidence that waits for it."""

    __slots__ = ("_talks", "texts")

    def __init__(self, texts: tuple[str, str, str], talks: Sequence[TalkEvidence]) -> None:
        self.texts = texts
        self._talks = talks

    def weighed(self, loss: float) -> None:
        for talk in self._talks:
            talk.add_loss(max(-1.0, min(1.0, loss)))


class TalkEvidence:
    """Of one prompt group, or of all conversations."""

    __slots__ = (
        "cost", "first_content", "likeness", "models", "order_cost", "order_likeness", "order_pace", "order_tokens",
        "pace", "spent", "tokens", "too_long",
    )  # fmt: skip

    def __init__(self, order: Callable[[], int], clock: Clock | None = None) -> None:
        clock = clock or Clock()
        self.first_content = clock.latencies()
        self.tokens = clock.measures()
        self.likeness: dict[int, int] = {}  # loss of likeness in steps → how often
        self.pace = clock.measures()  # time per output token after the first content
        self.cost = clock.measures()
        self.spent = [0.0, 0.0]  # by the reference and by the candidate, of the conversations that could be priced
        self.order_tokens, self.order_likeness = order(), order()  # among all fields: their shares of α
        self.order_pace, self.order_cost = order(), order()
        self.models: tuple[dict[str, int], dict[str, int]] = ({}, {})  # who answered: the reference's, the candidate's
        self.too_long = 0  # answers beyond what is kept: not judged

    def note(self, production: Answer, candidate: Answer, baseline: Answer | None, time: int, timed: bool) -> None:
        """One exchange; ``timed``: both sides' times say something."""
        reference = baseline or production
        if timed and reference.first_content > 0 and candidate.first_content > 0:
            self.first_content.add(time, reference.first_content, candidate.first_content)
        ours, theirs = reference.message, candidate.message
        for models, one in zip(self.models, (ours, theirs), strict=True):
            name = one.model if one.model in models or len(models) < MAX_MODELS else "other"
            models[name] = models.get(name, 0) + 1
        if ours.refused or theirs.refused or ours.outcome != "whole" or theirs.outcome != "whole":
            return  # told by the fields; a refusal is short, and so is what was cut
        lengths = _lengths(ours, theirs)
        self.tokens.add(time, min(_MOST, lengths[0] * _TOKEN), min(_MOST, lengths[1] * _TOKEN))
        paces = _pace(reference), _pace(candidate)
        if timed and paces[0] and paces[1]:
            self.pace.add(time, *paces)

    def add_loss(self, loss: float) -> None:
        """Of likeness: of the baseline's text to production's minus that of the candidate's, −1…1."""
        step = round(loss * STEPS)
        self.likeness[step] = self.likeness.get(step, 0) + 1

    def note_cost(
        self, ask: Ask, production: Answer, candidate: Answer, baseline: Answer | None, time: int,
        prices: Sequence[Price],
    ) -> None:  # fmt: skip
        """What both sides cost, where both models have a price and tell their tokens."""
        if not prices:
            return
        costs = [cost_of(ask, one.message, prices) for one in (baseline or production, candidate)]
        if costs[0] is not None and costs[1] is not None:
            self.spent[0] += costs[0]
            self.spent[1] += costs[1]
            self.cost.add(time, _money(costs[0]), _money(costs[1]))

    def view(self, buckets: bool) -> dict[str, object]:
        """For the report: count and quantiles of both sides, in ms and tokens; with ``buckets`` the whole distribution.

        ``production`` is the baseline where there is one: the same version, asked at the same moment.
        """
        return {
            "first_content_ms": _distribution(self.first_content, 1e6, buckets),
            "tokens": _distribution(self.tokens, _TOKEN, buckets),
            "models": dict(zip(("production", "candidate"), map(dict, self.models), strict=True)),
            "too_long": self.too_long,
            **({"cost": self._cost_view()} if self.cost.count else {}),
        }

    def _cost_view(self) -> dict[str, object]:
        """Means of a conversation, in the currency of the price table."""
        sides = zip(("production", "candidate"), self.spent, strict=True)
        return {"conversations": self.cost.count, **{side: round(spent / self.cost.count, 8) for side, spent in sides}}


def _distribution(evidence: LatencyEvidence, unit: float, buckets: bool) -> dict[str, dict[str, object]]:
    result: dict[str, dict[str, object]] = {}
    for side, sketch in (("production", evidence.reference), ("candidate", evidence.candidate)):
        values = {f"p{round(q * 100)}": sketch.quantile(q) for q in (0.5, 0.9, 0.99)}
        quantiles = {name: None if value is None else round(value / unit, 1) for name, value in values.items()}
        result[side] = {"count": sketch.count, **quantiles}
        if buckets:
            result[side]["buckets"] = [[low / unit, high / unit, count] for low, high, count in sketch.buckets()]
    return result


def _pace(answer: Answer) -> int:
    """ns per output token after the first content; 0 where it cannot be told."""
    tokens, taken = answer.message.output_tokens or 0, answer.last - answer.first_content
    return taken // tokens if answer.first_content > 0 and taken > 0 and tokens >= _FEW else 0


def _lengths(ours: Message, theirs: Message) -> tuple[int, int]:
    """In tokens where both tell them, else in characters: one is never measured against the other."""
    if ours.output_tokens and theirs.output_tokens:
        return ours.output_tokens, theirs.output_tokens
    return max(1, len(ours.text)), max(1, len(theirs.text))


def _money(cost: float) -> int:
    return min(_MOST, max(1, round(cost * _MONEY)))
