"""A model's answers compared: planted changes are found within 3,000 conversations, sampling alone is no change.

The model of these tests samples: it phrases every answer anew, each time with other words and another length, and calls
tools with arguments that the prompt determines. Answers are streams of chunks as servers send them, with kernel times.
"""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from shadowd.compare.difference import Options
from shadowd.evidence.examiner import ALL_PROMPTS, Examiner, Settings
from shadowd.evidence.margins import Margins
from shadowd.evidence.rules import Rules
from shadowd.evidence.talking import MAX_MODELS, TalkEvidence
from shadowd.evidence.trial import Side
from shadowd.exchange.exchange import Request, Response
from shadowd.judge.assessment import Assessment
from shadowd.judge.talking import judge_talk
from shadowd.protocols.llm import Ask, Message, ToolCall
from shadowd.talk.llm import Answer, compare_messages, compare_talk, group_name, read_answer, recognise
from tests.unit.compare.exchanges import MS, SECOND, examine

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city"],
}
PROMPTS = ("You help with travel.", "You answer about orders.")
WORDS = [
    "the",
    "a",
    "weather",
    "order",
    "in",
    "your",
    "city",
    "is",
    "sunny",
    "and",
    "ships",
    "today",
    "please",
    "note",
    "that",
    "we",
    "can",
    "also",
    "help",
    "with",
    "more",
]
SPAN = 240 * SECOND  # of a run: beyond the least span, and no longer than needed


class Model:
    """``refusals``, ``wrong``: shares; ``slow``: of the time to the first token; ``longer``: of the tokens."""

    def __init__(self, refusals: float = 0.01, wrong: float = 0.0, slow: float = 1.0, longer: float = 1.0) -> None:
        self.refusals = refusals
        self.wrong = wrong
        self.slow = slow
        self.longer = longer

    def answer(self, seed: int, dice: random.Random, base: int) -> tuple[Response, int]:
        """The response with marks from ``base`` on, and the time to its last byte."""
        prompt = random.Random(seed)  # what the prompt determines
        refuses, strays, wants_tool = prompt.random() < self.refusals, prompt.random() < self.wrong, seed % 2 == 0
        tokens = max(3, round(prompt.randint(8, 20) * self.longer * dice.lognormvariate(0, 0.15)))
        first = base + int(80 * MS * self.slow * dice.lognormvariate(0, 0.15))
        deltas: list[dict[str, Any]] = [{"role": "assistant"}]
        finish = "stop"
        if refuses:
            deltas.append({"refusal": "I cannot help with that."})
        else:
            deltas += [{"content": f"{dice.choice(WORDS)} "} for _ in range(tokens)]
            if wants_tool:
                unit = "F" if strays else "C"
                arguments = json.dumps({"city": f"city {seed % 50}", "unit": unit})
                deltas.append({"tool_calls": [{"index": 0, "id": f"c{dice.random()}",
                                               "function": {"name": "weather", "arguments": arguments}}]})  # fmt: skip
                finish = "tool_calls"
        chunks = [json.dumps({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
        usage = {"completion_tokens": tokens, "prompt_tokens": 20}
        chunks += [
            json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": usage}),
            "[DONE]",
        ]
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        body, marks, at = bytearray(), [], base + 5 * MS
        for number, chunk in enumerate(chunks):
            data = f"data: {chunk}\n\n".encode()
            body += f"{len(data):x}\r\n".encode() + data + b"\r\n"
            if number:
                at = first if number == 1 else at + 3 * MS
            if number in (0, 1) or number == len(chunks) - 1:
                marks.append((len(head) + len(body), at))
        body += b"0\r\n\r\n"
        response = Response(200, head, 0, base + 5 * MS)
        response.body, response.body_length = bytes(body), len(body)
        response.end = len(head) + len(body)
        response.last_byte = at
        response.marks = [*marks[:-1], (response.end, at)]
        return response, at - base


def asked(seed: int, time: int) -> Request:
    body = json.dumps({
        "model": "m", "stream": True,
        "messages": [{"role": "system", "content": PROMPTS[seed % 3 == 0]}, {"role": "user", "content": f"q {seed}"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": CITY}}],
    }).encode()  # fmt: skip
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n"
    return Request(b"POST", b"/v1/chat/completions", head, body, 0, len(head) + len(body), time, time)


def side_of(made: tuple[Response, int]) -> Side:
    side = Side()
    side.response, side.last_byte = made
    side.first_byte = 5 * MS
    return side


def run(candidate: Model, seed: int, conversations: int = 3000, baseline: bool = True) -> dict[str, Any]:
    dice = random.Random(seed)
    examiner = Examiner(Settings(baseline=baseline), Rules())
    same = Model()
    for number in range(conversations):
        request = asked(seed * 100_003 + number, SECOND + number * SPAN // conversations)
        production, _ = same.answer(seed * 100_003 + number, dice, request.ended)
        third = side_of(same.answer(seed * 100_003 + number, dice, 0)) if baseline else None
        tried = side_of(candidate.answer(seed * 100_003 + number, dice, 0))
        examine(examiner, request, production, tried, baseline=third)
    return Assessment(examiner, examiner.compared, SPAN / 1e9).finish()


def found(conversations: int, **changed: float) -> set[str]:
    """What the findings name (judge and path without the quantile)."""
    verdict = run(Model(**changed), 7, conversations)
    return {f"{one['judge']} {one['path'].partition(' p')[0]}" for one in verdict["findings"]}


def test_refusals() -> None:
    assert found(3000, refusals=0.04) == {"content llm refusal"}


def test_a_wrong_argument_in_two_percent_of_the_calls() -> None:
    """A third of the conversations calls the tool: one in a hundred is wrong, and 0.1 % is minded."""
    assert found(6000, wrong=0.02) == {"content llm weather $.unit"}


def test_a_slower_first_token() -> None:
    assert found(1500, slow=1.3) == {"latency first_content"}


def test_longer_answers() -> None:
    assert found(1500, longer=1.2) == {"content llm output tokens"}


def test_everything_at_once() -> None:
    assert found(6000, refusals=0.04, wrong=0.02, slow=1.3, longer=1.2) == {
        "content llm refusal", "content llm weather $.unit", "latency first_content", "content llm output tokens",
    }  # fmt: skip


def test_sampling_alone_is_no_change() -> None:
    """A hundred releases of 150 conversations that changed nothing; what is said of one of 2,000."""
    failed = [seed for seed in range(100) if run(Model(), seed, 150)["findings"]]
    assert len(failed) <= 5
    verdict = run(Model(), 999, 2000)
    assert verdict["verdict"] != "fail"
    judged = {one["path"]: one["result"] for one in verdict["judges"] if one["endpoint"] == ALL_PROMPTS}
    assert judged["llm output tokens"] == judged["llm similarity"] == judged["first_content p50"] == "pass"


def test_without_a_baseline_the_text_is_not_judged() -> None:
    verdict = run(Model(refusals=0.2), 3, 300, baseline=False)
    assert verdict["verdict"] == "inconclusive"
    sentences = [one["sentence"] for one in verdict["judges"] if one["path"] == "llm similarity"]
    assert sentences
    assert all("without a baseline" in sentence for sentence in sentences)


def evidence_of(ours: Message, theirs: Message, times: int = 1) -> TalkEvidence:
    made = TalkEvidence(lambda: 1)
    for number in range(times):
        made.note(Answer(ours, -1, -1), Answer(theirs, -1, -1), None, SECOND + number * 30 * MS, False)
    return made


def sentences(evidence: TalkEvidence) -> list[str]:
    judged = judge_talk(evidence, "chat", "production", Margins(), 0.001, lambda order: 0.001, 0.05)
    return [one.sentence for one in judged if one.judge == "content"]


def test_tokens_are_never_measured_against_characters() -> None:
    ours, theirs = message("a word or two"), message("a word or two")
    ours.output_tokens = 4
    tokens = evidence_of(ours, theirs).tokens
    assert tokens.reference.quantile(0.5) == tokens.candidate.quantile(0.5)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 163_000), (1, 1 << 50), (1 << 50, 1), (100, 110), (3, 9)])
@pytest.mark.parametrize("pairs", [0, 1, 500])
def test_sentences_can_be_read(before: int, after: int, pairs: int) -> None:
    ours, theirs = message(), message()
    ours.output_tokens, theirs.output_tokens = before, after
    for sentence in sentences(evidence_of(ours, theirs, pairs)):
        assert not re.search(r"∞|\binf|nan|\d,\d{3} %|\d,\d{3},\d{3}|e\+", sentence), sentence
    (said, *_) = sentences(evidence_of(ours, theirs, pairs))
    if not pairs:
        assert said == "chat: no pair of answers tells its output tokens yet"
    elif pairs == 1:
        assert said == "chat: too few pairs of answers tell their output tokens yet (1)"
    elif after == 163_000:
        assert "more than 100,000 times the output tokens of before" in said


def test_likeness_that_no_amount_of_traffic_decides_says_so() -> None:
    made = TalkEvidence(lambda: 1)
    made.likeness = {2: 30, 1: 1}  # steps of 2.5 points: on the margin
    assert any("so far; " in one and not re.search(r"\d,\d{3},\d{3}", one) for one in sentences(made))


def test_who_answered_is_counted() -> None:
    ours, theirs = message(), message()
    ours.model, theirs.model = "big", "small"
    made = evidence_of(ours, theirs, 3)
    assert made.view(False)["models"] == {"production": {"big": 3}, "candidate": {"small": 3}}
    for number in range(100):
        theirs.model = f"m{number}"
        made.note(Answer(ours, -1, -1), Answer(theirs, -1, -1), None, SECOND, False)
    assert len(made.models[1]) == MAX_MODELS + 1


# --- one pair ---------------------------------------------------------------------------------------------------------


def message(
    text: str = "hi", finish: str = "stop", refusal: str = "", calls: tuple[tuple[str, str], ...] = ()
) -> Message:
    made = Message()
    made.text, made.finish_reason, made.refusal, made.outcome = text, finish, refusal, "whole"
    made.tool_calls = [ToolCall("x", name, arguments) for name, arguments in calls]
    return made


def fields(ours: Message, theirs: Message, schema: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    ask = Ask("chat", "m", "s", {"weather": CITY}, schema, True)
    return [(one.path, one.kind) for one in compare_messages(ask, ours, theirs, Options())]


def test_words_are_no_difference() -> None:
    assert fields(message("Hello."), message("Good day!")) == []


def test_a_refusal_is_one_difference_and_what_follows_from_it_none() -> None:
    calls = message("", "tool_calls", calls=(("weather", "{}"),))
    assert fields(calls, message("", "stop", "I cannot")) == [("refusal", "extra")]
    assert fields(message(finish="refusal"), message()) == [("refusal", "missing")]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ('{"city": "Bonn", "unit": "C"}', '{"unit":"C","city":"Bonn"}', []),
        ('{"city": "Bonn"}', '{"city": "Köln"}', [("weather $.city", "value")]),
        ('{"city": "Bonn"}', '{"city": "Bonn", "unit": "F"}', [("weather $.unit", "extra")]),
        ('{"city": "Bonn"}', '{"city": 7}', [("weather arguments", "malformed")]),
        ('{"city": "Bonn"}', '{"city": "Bo', [("weather arguments", "malformed")]),
        ('{"city": 1}', '{"city": 2}', [("weather $.city", "value")]),
    ],
)
def test_arguments(ours: str, theirs: str, expected: list[tuple[str, str]]) -> None:
    pair = [message("", "tool_calls", calls=(("weather", text),)) for text in (ours, theirs)]
    assert fields(*pair) == expected


def test_names_order_and_number_of_calls() -> None:
    a, b = ("a", "{}"), ("b", "{}")
    for ours, theirs in (((a, b), (b, a)), ((a,), (a, a)), ((a,), ())):
        assert fields(message(calls=ours), message(calls=theirs)) == [("tool calls", "value")]


def test_the_providers_own_tools_are_compared_as_the_clients() -> None:
    def searched(query: str, name: str = "web_search_call") -> Message:
        made = message()
        made.hosted = [ToolCall("w", name, json.dumps({"action": {"query": query}}), hosted=True)]
        return made

    assert fields(searched("a"), searched("a")) == []
    assert fields(searched("a"), searched("b")) == [("web_search_call $.action.query", "value")]
    assert fields(searched("a"), searched("a", "file_search_call")) == [("tool calls", "value")]
    assert fields(searched("a"), message()) == [("tool calls", "value")]


def test_text_that_a_tool_takes_is_no_json() -> None:
    def custom(text: str) -> Message:
        made = message("", "tool_calls", calls=(("sql", text),))
        made.tool_calls[0].free = True
        return made

    assert fields(custom("1.0"), custom("1.0")) == []
    assert fields(custom("1.0"), custom("1")) == [("sql arguments", "value")]


def test_no_arguments_are_an_empty_table() -> None:
    ours, theirs = (message("", "tool_calls", calls=(("time", text),)) for text in ("", "{}"))
    assert fields(ours, theirs) == []


def test_what_else_differs() -> None:
    ours, theirs = message(), message()
    ours.items, theirs.items = ["mcp_list_tools", "image"], ["image", "mcp_list_tools: failed"]
    theirs.fallback, theirs.model, theirs.broken = "big", "small", 2
    assert fields(ours, theirs) == [("output items", "value"), ("events", "malformed"), ("model", "value")]
    theirs.items = ["image", "mcp_list_tools"]
    assert ("output items", "value") not in fields(ours, theirs), "their order says nothing"


def test_another_model_alone_is_no_difference() -> None:
    """It is what a filter with another model asks for."""
    ours, theirs = message(), message()
    ours.model, theirs.model = "big", "small"
    assert fields(ours, theirs) == []


def test_errors_differ_by_what_they_say_and_not_by_their_ids() -> None:
    def failed(text: str) -> Message:
        made = message()
        made.outcome, made.error = "error", text
        return made

    assert fields(failed("overloaded: try in 3 s (req_12ab)"), failed("overloaded: try in 7 s (req_98fe)")) == []
    assert fields(failed("overloaded: try later"), failed("invalid: no such tool")) == [("error", "value")]


def response(body: bytes, kind: bytes) -> Response:
    made = Response(200, b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n", 0, 1)
    made.body, made.body_length, made.end = body, len(body), len(made.head) + len(body)
    return made


def compared(ours: tuple[bytes, bytes], theirs: tuple[bytes, bytes], refusal: str = "") -> list[tuple[str, str]]:
    ask = Ask("chat", "m", "s", {}, None, True)
    left, right = (read_answer(ask, response(*one), 0, "", refusal) for one in (ours, theirs))
    assert left is not None
    assert right is not None
    return [(one.path, one.kind) for one in compare_talk(ask, left, right, Options())]


def said(text: str) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"


WHOLE = json.dumps({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}).encode()
SSE, JSON = b"text/event-stream", b"application/json"


def test_another_media_type_or_no_stream_is_a_difference() -> None:
    stream = said("Hi.")
    assert compared((stream, SSE), (stream, b"Text/Event-Stream ; charset=utf-8")) == []
    assert compared((stream, SSE), (stream, b"text/plain")) == [("media type", "value")]
    assert compared((stream, SSE), (WHOLE, JSON)) == [("media type", "value")]
    assert compared((stream, SSE), (WHOLE, SSE)) == [("stream", "value")]
    assert compared((b"<p>1</p>", JSON), (b"<p>1</p>", JSON)) == []
    assert compared((b"<p>" + b"x" * 200 + b"1", JSON), (b"<p>" + b"x" * 200 + b"2", JSON)) == [("error", "value")]


def test_a_coding_that_is_announced_and_not_there() -> None:
    kind = SSE + b"\r\nContent-Encoding: gzip"
    assert compared((said("Paris."), kind), (said("I can't help with that."), kind)) == [("refusal", "extra")]


@pytest.mark.parametrize("kind", [SSE, JSON, b"text/plain", b"application/octet-stream"])
def test_a_refusal_in_prose_under_any_media_type(kind: bytes) -> None:
    good, bad = said("Paris is lovely."), said("I’m sorry, but I can’t help with that.")
    assert compared((good, kind), (bad, kind)) == [("refusal", "extra")]
    assert compared((bad, kind), (bad, kind)) == []
    assert compared((good, kind), (said("Ask the front desk."), kind)) == []
    assert compared((good, kind), (said("Ask the front desk."), kind), "front desk") == [("refusal", "extra")]


def test_who_says_that_and_calls_a_tool_does_not_refuse() -> None:
    call = {"tool_calls": [{"id": "a", "function": {"name": "ask_human", "arguments": "{}"}}]}
    choice = {"message": {"content": "I can't answer that myself.", **call}, "finish_reason": "tool_calls"}
    ask = Ask("chat", "m", "s", {}, None, False)
    read = read_answer(ask, response(json.dumps({"choices": [choice]}).encode(), JSON), 0)
    assert read is not None
    assert not read.message.refused


def test_a_requested_schema() -> None:
    good, bad = message('{"city": "Bonn"}'), message("Bonn, I think")
    assert fields(good, bad, CITY) == [("JSON", "malformed")]
    assert fields(bad, bad, CITY) == []
    assert fields(good, bad, None) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 7},
        {"$ref": "http://elsewhere.invalid/"},
        {"pattern": "(a+)+$"},
        {"properties": []},
        {"x": "y" * 20_000},
        {"type": "nonsense"},
        {"multipleOf": 0},
        {"$schema": 7},
    ],
)
def test_a_hostile_schema_checks_nothing(schema: dict[str, Any]) -> None:
    assert fields(message('"' + "a" * 50 + '!"'), message('"b"'), schema) == []


def test_groups_are_prompts() -> None:
    first, second, third = (recognise(asked(seed, 0)) for seed in (1, 2, 3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert group_name(first) == group_name(second) != group_name(third)
    assert group_name(first).startswith("“You help with travel.” m [weather] #")


def test_times_are_those_of_the_pieces() -> None:
    request = asked(2, SECOND)
    ask = recognise(request)
    assert ask is not None
    response, _ = Model(refusals=0).answer(2, random.Random(1), request.ended)
    read = read_answer(ask, response, request.ended)
    assert read is not None
    assert response.marks is not None
    assert read.first_content == response.marks[1][1] - request.ended
    assert read.message.tool_calls[0].name == "weather"
    response.digest = b"too long"
    assert read_answer(ask, response, 0) is None
