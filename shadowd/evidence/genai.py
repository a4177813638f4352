"""What conversations cost in time and tokens, counted for a metrics page (sans-IO).

The measures are those of OpenTelemetry's semantic conventions for generative AI, with their buckets:
``gen_ai.client.operation.duration``, ``gen_ai.client.operation.time_to_first_chunk``,
``gen_ai.server.time_to_first_token`` and ``gen_ai.client.token.usage``. Models are what requests name, which is
untrusted: at most MAX_MODELS are told apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from shadowd.evidence.trial import Trial
from shadowd.exchange.exchange import Response
from shadowd.protocols.llm import Ask
from shadowd.talk.llm import Answer

#: Upper bounds as the conventions advise them: seconds, and tokens.
DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRSTS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
#: Values of the attribute gen_ai.provider.name: who made the interface that is spoken, which is all a wire can tell.
PROVIDERS = {
    "chat": "openai", "responses": "openai", "anthropic": "anthropic", "ollama": "ollama", "gemini": "gcp.gemini",
}  # fmt: skip
#: Models and finish reasons with counts of their own; the rest is ``other``. A series has some 70 numbers.
MAX_MODELS = 20
MAX_REASONS = 12
_NAME = 64  # characters of a model's name


class Histogram:
    """Counts by upper bound, the last for what is above all of them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Conversations:
    """Histograms of one (side, operation, provider, model)."""

    __slots__ = ("durations", "first_chunk", "first_token", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.durations: dict[str, Histogram] = {}  # by finish reason
        self.first_chunk = Histogram(FIRSTS)
        self.first_token = Histogram(FIRSTS)
        self.input_tokens = Histogram(TOKENS)
        self.output_tokens = Histogram(TOKENS)


Key = tuple[str, str, str]


class GenAiMeasures:
    """By (side, provider, model): ``side`` is production, shadow or baseline."""

    __slots__ = ("_models", "_reasons", "series")

    def __init__(self) -> None:
        self.series: dict[Key, Conversations] = {}
        self._models: set[str] = set()
        self._reasons: set[str] = set()

    def note(self, ask: Ask, trial: Trial, read: Mapping[int, Answer | None]) -> None:
        """A conversation; ``read`` has the answers by the ids of their responses."""
        production, sent = trial.exchange.response, trial.exchange.request.ended
        if production is not None:
            first, last = production.first_byte - sent, production.last_byte - sent
            self._note("production", ask, production, read.get(id(production)), first, last)
        for name, side in (("shadow", trial.candidate), ("baseline", trial.baseline)):
            if side is not None and side.response is not None:
                answer = read.get(id(side.response))
                self._note(name, ask, side.response, answer, side.first_byte, side.last_byte)

    def _note(self, side: str, ask: Ask, response: Response, answer: Answer | None, first: int, last: int) -> None:
        """``first`` and ``last`` byte in ns since the request, -1 if not timed."""
        if answer is None:
            return
        message = answer.message
        name = _bounded(ask.model[:_NAME], self._models, MAX_MODELS)
        key = (side, PROVIDERS.get(ask.api, ask.api), name)
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Conversations()
        if last >= 0 and not response.open:
            reason = _bounded(message.finish_reason or message.outcome, self._reasons, MAX_REASONS)
            if reason not in found.durations:
                found.durations[reason] = Histogram(DURATIONS)
            found.durations[reason].add(last / 1e9)
        if first >= 0 and response.marks is not None:
            found.first_chunk.add(first / 1e9)
        if answer.first_content >= 0:
            found.first_token.add(answer.first_content / 1e9)
        if message.input_tokens is not None:
            found.input_tokens.add(message.input_tokens)
        if message.output_tokens is not None:
            found.output_tokens.add(message.output_tokens)


def _bounded(name: str, known: set[str], most: int) -> str:
    """``name``, or ``other`` if it is one too many."""
    if name not in known:
        if len(known) >= most:
            return "other"
        known.add(name)
    return name
