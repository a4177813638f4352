"""Answers of language models, compared by what they do and not by their words (sans-IO).

Generated text is never compared exactly. What is compared of two messages that answer the same request are *fields*
like those of any answer (``evidence.py``), so that noise is learned and faults are found in the same way, by discordant
pairs against the baseline's answer to the same request:

================================  ===================================================================
``outcome``                       whole, unterminated, cut, open, error
``error``                         both fail, for another reason
``media type``                    the answer is of another media type: clients choose their reader by it
``stream``                        one side streams, the other answers in one piece
``events``                        one side's stream has events that are no JSON
``refusal``                       one side refuses, by a sign of the interface or in prose (``refusals.py``)
``tool calls``                    other tools, another order, another number; the provider's own tools likewise
``NAME $.path``                   an argument of the tool NAME: canonical JSON, by path
``NAME arguments``                they are no JSON, or not what the request's schema for them allows
``output items``                  other things beside text and calls, by kind: results that failed, images …
``JSON``                          the answer is not what the requested schema allows
``finish reason``                 it ends for another reason
``model``                         another model took over on one side alone
``citations``                     other documents are cited, wherever the operator says they stand
================================  ===================================================================

A field that follows from another is not told twice: whoever refuses calls no tools, and another set of tool calls has
other arguments and another finish reason. What can only be measured (time to the first content, tokens, similarity of
the text) is in ``evidence/talking.py``.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from shadowd.compare.burden import LIGHT_READ, parsing_weighs, values
from shadowd.compare.content import content_untrusted
from shadowd.compare.difference import NONE, Difference, Differences, Options
from shadowd.compare.event_times import StreamTimes
from shadowd.compare.headers import media_type
from shadowd.compare.jsondiff import JsonError, Unbounded, diff_documents, parse_json_untrusted
from shadowd.compare.pieces import content_type, encoded, pieces
from shadowd.exchange.exchange import Request, Response
from shadowd.protocols.llm import Ask, LlmError, Message, Reader, ToolCall, recognise_untrusted
from shadowd.talk.citations import cited_by
from shadowd.talk.refusals import declines
from shadowd.talk.schemas import Checking

WHERE = "llm"
#: Decompressed bytes of a request or an answer: a context of a million tokens has some 4 MB.
CONTENT_LIMIT = 8 << 20
#: The same of a request with a Content-Encoding, which providers do not take: of five in a row each is undone.
ENCODED_LIMIT = 1 << 20
#: Of a tool call, beside the values of its arguments: what comparing it costs in their terms.
_CALL = 20
#: Prompt groups of a run: each has its own evidence (50 KB); a service has a handful of prompts.
MAX_GROUPS = 100
#: Differences of one pair of tool calls that are listed.
MAX_ARGUMENTS = 20
_BEGINS = 48  # characters of a prompt by which people know it
#: What an error's text has of its own each time: ids, counts, times.
_VARIABLE = re.compile(r"(?<!\w)[^\W\d]*+\d\w*+")


def recognise(request: Request) -> Ask | None:
    """What a request asks a model for; None for the rest, which costs a look at the method and a search."""
    if request.method != b"POST" or len(request.body) < 20:
        return None
    content = content_untrusted(request.head, request.body, ENCODED_LIMIT if encoded(request.head) else CONTENT_LIMIT)
    if content.problem not in ("", "too large"):
        return None
    unread = bool(content.problem) or parsing_weighs(content.data, LIGHT_READ)
    return recognise_untrusted(request.target, request.head, content.data, unread)


def group_name(ask: Ask, words: bool = True) -> str:
    """A readable name of the prompt: the same for the same system prompt, model and tools. Without ``words`` of it."""
    names = sorted(ask.tools)
    exact = "\0".join((ask.api, ask.model, ask.system, *names)).encode("utf-8", "surrogatepass")
    begins = _beginning(" ".join(ask.system.split())) or "(no system prompt)"
    prompt = f"“{begins}” " if words else "prompt, "
    tools = f" [{', '.join(names[:4])}{', …' * (len(names) > 4)}]" if names else ""
    return f"{prompt}{ask.model}{tools} #{hashlib.blake2b(exact, digest_size=3).hexdigest()}"


def _beginning(text: str) -> str:
    """Its first words."""
    if len(text) <= _BEGINS:
        return text
    words = text[:_BEGINS].rpartition(" ")[0] if text[_BEGINS] != " " else text[:_BEGINS]
    return f"{words or text[:_BEGINS]}…"


class Price:
    """Of a model, in any currency per million tokens; for models whose names begin with ``model``."""

    __slots__ = ("for_input", "for_output", "model")

    def __init__(self, model: str, for_input: float, for_output: float) -> None:
        self.model = model
        self.for_input = for_input
        self.for_output = for_output


def cost_of(ask: Ask, message: Message, prices: Sequence[Price]) -> float | None:
    """What an answer costs; None where its model has no price or its tokens are not told. The longest name counts."""
    model = message.model or ask.model
    fitting = [price for price in prices if model.startswith(price.model)]
    if not fitting or message.input_tokens is None or message.output_tokens is None:
        return None
    price = max(fitting, key=lambda one: len(one.model))
    return (message.input_tokens * price.for_input + message.output_tokens * price.for_output) / 1e6


class Answer:
    """A message with its times: ns after the request, -1 where they are not known; ``times`` are its events', None if
    it was not streamed. ``cited``: what it cites, sorted; None if that was not looked for. ``media_type``: as it is
    announced, in lower case, without parameters. ``streamed``: by looking, whatever that says."""

    __slots__ = ("cited", "first_content", "last", "media_type", "message", "streamed", "times")

    def __init__(
        self, message: Message, first_content: int, last: int, cited: tuple[str, ...] | None = None,
        times: StreamTimes | None = None, media_type: str = "", streamed: bool = False,
    ) -> None:  # fmt: skip
        self.times = times
        self.media_type = media_type
        self.streamed = streamed
        self.cited = cited
        self.message = message
        self.first_content = first_content
        self.last = last


def read_answer(ask: Ask, response: Response, asked_at: int, citations: str = "", refusal: str = "") -> Answer | None:
    """The message of a response whose ``marks`` are times on the same clock as ``asked_at`` (0: since the request).
    ``citations``: JSON path of what it cites. ``refusal``: the operator's own pattern of refusals in prose.

    None where the body was too long to keep: of half a message nothing can be said.
    """
    if response.digest:
        return None
    kind = content_type(response.head)
    reader = Reader(ask, kind, response.status)
    timed = bool(response.marks)
    try:
        if encoded(response.head):
            content = content_untrusted(response.head, response.body, CONTENT_LIMIT)
            # a coding that is announced and not there is no reason not to look
            data = content.data or b"".join(piece for piece, _ in pieces(response))
            reader.feed_untrusted(data, response.last_byte)
            timed = False
        else:
            for piece, time in pieces(response):
                reader.feed_untrusted(piece, time)
    except LlmError:
        pass  # the message says so
    message = reader.finish(not response.open)
    message.declined = not message.tool_calls and not message.error and declines(message.text, refusal)
    first = reader.first_content - asked_at if timed and reader.first_content >= 0 else -1
    last = reader.last - asked_at if timed and reader.last >= 0 else -1
    cited = cited_by(response, message, reader.kind, citations) if citations else None
    times = None
    if timed and reader.streamed:
        times = StreamTimes([time - asked_at for time in reader.event_times], -1 if response.open else last)
    return Answer(message, first, last, cited, times, media_type(kind), reader.streamed)


# --- differences ------------------------------------------------------------------------------------------------------


def arguments_weigh(answers: Iterable[Answer | None]) -> int:
    """What comparing the tool calls of an exchange can cost, as ``burden.values``."""
    calls = [call for one in answers if one for call in (*one.message.tool_calls, *one.message.hosted)]
    return sum(_CALL + values(call.arguments.encode()) for call in calls)


def compare_talk(
    ask: Ask, ours: Answer, theirs: Answer, options: Options, checking: Checking | None = None
) -> Differences:
    """What the second of two answers to one request does otherwise; a refusal cites nothing. Raises nothing.
    ``checking``: of all answers to the request."""
    found = compare_messages(ask, ours.message, theirs.message, options, checking)
    more: list[Difference] = []
    if ours.media_type != theirs.media_type:
        kinds = (ours.media_type or "none", theirs.media_type or "none")
        more.append(Difference(WHERE, "media type", "value", *kinds))
    elif ours.streamed != theirs.streamed:
        ways = ["streamed" if one.streamed else "in one piece" for one in (ours, theirs)]
        more.append(Difference(WHERE, "stream", "value", *ways))
    if ours.cited != theirs.cited and not (ours.message.refused or theirs.message.refused):
        texts = [", ".join(one.cited or ()) or "nothing" for one in (ours, theirs)]
        more.append(Difference(WHERE, "citations", "value", *texts))
    return Differences.of((*found, *more), found.more) if more else found


def compare_messages(
    ask: Ask, production: Message, candidate: Message, options: Options, checking: Checking | None = None
) -> Differences:
    """What ``candidate`` does otherwise than ``production``; the texts are examples for people."""
    checking = checking or Checking()
    if production.outcome != candidate.outcome:
        texts = [message.error or message.outcome for message in (production, candidate)]
        return Differences((Difference(WHERE, "outcome", "value", *texts),))
    if production.outcome == "error":
        errors = [_VARIABLE.sub("#", message.error) for message in (production, candidate)]
        if errors[0] == errors[1] and production.unread == candidate.unread:
            return NONE
        return Differences((Difference(WHERE, "error", "value", production.error, candidate.error),))
    if production.refused != candidate.refused:
        texts = [message.refusal or message.text for message in (production, candidate)]
        return Differences((Difference(WHERE, "refusal", "extra" if candidate.refused else "missing", *texts),))
    calls = [[*message.tool_calls, *message.hosted] for message in (production, candidate)]
    names = [[call.name for call in made] for made in calls]
    if names[0] != names[1]:
        texts = [", ".join(name or "a call without a name" for name in one) or "none" for one in names]
        return Differences((Difference(WHERE, "tool calls", "value", *texts),))
    found: list[Difference] = []
    for ours, theirs in zip(*calls, strict=True):
        found += _compare_arguments(ask, ours, theirs, options, checking)
    if Counter(production.items) != Counter(candidate.items):
        texts = [", ".join(sorted(message.items)) or "none" for message in (production, candidate)]
        found.append(Difference(WHERE, "output items", "value", *texts))
    if bool(production.broken) != bool(candidate.broken):
        texts = [f"{message.broken} are no JSON" if message.broken else "JSON" for message in (production, candidate)]
        found.append(Difference(WHERE, "events", "malformed", *texts))
    if bool(production.fallback) != bool(candidate.fallback):
        models = [f"{one.model} for {one.fallback}" if one.fallback else one.model for one in (production, candidate)]
        found.append(Difference(WHERE, "model", "value", *models))
    if ask.json_schema is not None and production.text and candidate.text:
        good, bad = (checking.problem(message.text, ask.json_schema) for message in (production, candidate))
        if good is not None and bad is not None and bool(good) != bool(bad):
            found.append(Difference(WHERE, "JSON", "malformed", good or "valid", bad or "valid"))
    if production.finish_reason != candidate.finish_reason:
        reasons = (production.finish_reason or "none", candidate.finish_reason or "none")
        found.append(Difference(WHERE, "finish reason", "value", *reasons))
    return Differences.of(dict.fromkeys(found))


def _compare_arguments(
    ask: Ask, left: ToolCall, right: ToolCall, options: Options, checking: Checking
) -> list[Difference]:
    name = left.name
    if left.free or right.free:  # text of any form
        same = left.arguments == right.arguments and left.free == right.free
        return [] if same else [Difference(WHERE, f"{name} arguments", "value", left.arguments, right.arguments)]
    ours, theirs = left.arguments.strip() or "{}", right.arguments.strip() or "{}"  # no arguments are an empty table
    if ours == theirs:
        return []
    schema = ask.tools.get(name, {})
    good, bad = checking.problem(ours, schema), checking.problem(theirs, schema)
    if good is not None and bad is not None and bool(good) != bool(bad):
        return [Difference(WHERE, f"{name} arguments", "malformed", good or "valid", bad or "valid")]
    if checking.coarse:
        return [Difference(WHERE, f"{name} arguments", "value", ours, theirs)]
    try:
        documents = [parse_json_untrusted(text.encode(errors="replace")) for text in (ours, theirs)]
        listed = diff_documents(documents[0], documents[1], options)
    except (JsonError, Unbounded):
        return [Difference(WHERE, f"{name} arguments", "value", ours, theirs)]
    return [Difference(WHERE, f"{name} {one.path}", *one[2:]) for one in listed[:MAX_ARGUMENTS]]
