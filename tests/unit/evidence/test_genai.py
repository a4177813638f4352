"""Cost, pace, citations, and the counts behind OpenTelemetry's measures of generative AI."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.evidence.examiner import ALL_PROMPTS, Examiner, Settings
from shadowd.evidence.genai import MAX_MODELS, Histogram
from shadowd.evidence.rules import Rules
from shadowd.exchange.exchange import Request, Response
from shadowd.judge.assessment import Assessment
from shadowd.protocols.llm_assembly import Message
from shadowd.talk.citations import cited_by, steps_of
from shadowd.talk.llm import Price
from tests.unit.compare.exchanges import MS, examine, side

SECOND = 1_000 * MS


def asked(number: int, model: str = "aria-1") -> Request:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": f"q {number}"}]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n"
    at = SECOND + number * 100 * MS
    return Request(b"POST", b"/v1/chat/completions", head, body, 0, len(head) + len(body), at, at)


def answered(tokens: int, model: str = "aria-1", sources: tuple[str, ...] = (), **more: Any) -> Response:
    body = json.dumps({
        "id": "x", "model": model, "sources": [{"id": one} for one in sources],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": tokens, "total_tokens": 100 + tokens}, **more,
    }).encode()  # fmt: skip
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    made = Response(200, head, 0, 0)
    made.body, made.body_length, made.end = body, len(body), len(head) + len(body)
    return made


def talk(settings: Settings, ours: Any, theirs: Any, conversations: int = 3000) -> tuple[Examiner, dict[str, Any]]:
    """``ours`` and ``theirs`` make a response of a number; the baseline is as production is."""
    examiner = Examiner(settings, Rules())
    for number in range(conversations):
        request = asked(number)
        production = ours(number)
        production.first_byte = production.last_byte = request.ended + 50 * MS
        examine(examiner, request, production, side(theirs(number)), baseline=side(ours(number)))
    return examiner, Assessment(examiner, examiner.compared, conversations / 10).finish()


def failing(made: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["endpoint"], one["path"]) for one in made["judges"] if one["result"] == "fail"}


PRICES = [Price("aria", 1.0, 2.0), Price("aria-2", 3.0, 6.0)]


def test_a_dearer_model_is_found_where_there_are_prices() -> None:
    settings = Settings(baseline=True, prices=PRICES)
    examiner, made = talk(settings, lambda n: answered(50), lambda n: answered(50, "aria-2-2026"))
    assert (ALL_PROMPTS, "llm cost") in failing(made)
    view = examiner.endpoints[ALL_PROMPTS].talk
    assert view is not None
    cost: Any = view.view(False)["cost"]
    assert cost["production"] == pytest.approx((100 * 1 + 50 * 2) / 1e6)
    assert cost["candidate"] == pytest.approx((100 * 3 + 50 * 6) / 1e6)
    _, without = talk(Settings(baseline=True), lambda n: answered(50), lambda n: answered(50, "aria-2-2026"), 500)
    assert not any("cost" in one["path"] for one in without["judges"])


def test_the_same_model_costs_the_same() -> None:
    dice = random.Random(1)
    settings = Settings(baseline=True, prices=PRICES)
    _, made = talk(settings, lambda n: answered(dice.randint(20, 80)), lambda n: answered(dice.randint(20, 80)))
    assert not failing(made)


def test_longer_answers_are_told_once() -> None:
    settings = Settings(baseline=True, prices=[Price("aria", 0.0, 2.0)])
    _, made = talk(settings, lambda n: answered(50), lambda n: answered(70))
    assert (ALL_PROMPTS, "llm output tokens") in failing(made)
    assert (ALL_PROMPTS, "llm cost") not in failing(made)
    (cost,) = (one for one in made["judges"] if (one["endpoint"], one["path"]) == (ALL_PROMPTS, "llm cost"))
    assert "it follows from the longer answers" in cost["sentence"]


def test_refusals_in_prose_and_in_the_operators_words_are_found() -> None:
    """Worded anew each time; 6 % instead of 1 %, by openings that are known and by one that the operator gives."""
    dice = random.Random(4)
    known = (
        "I'm sorry, but I can't help with that.",
        "I am not able to discuss that topic.",
        "Sorry, I can't do that.",
    )
    own = ("This desk answers billing questions.", "This desk only knows about billing, as you see.")

    def said(share: float, words: tuple[str, ...]) -> Response:
        text = dice.choice(words) if dice.random() < share else dice.choice(("Of course: yes.", "Yes.", "It is so."))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return answered(50, choices=[choice])

    for words, refusal in ((known, ""), (own, "^this desk")):
        settings = Settings(baseline=True, refusal=refusal)
        _, made = talk(settings, lambda n, words=words: said(0.01, words), lambda n, words=words: said(0.06, words))
        assert (ALL_PROMPTS, "llm refusal") in failing(made)
    _, made = talk(Settings(baseline=True), lambda n: said(0.01, own), lambda n: said(0.06, own), 500)
    assert not any("refusal" in one["path"] for one in made["judges"])
    _, made = talk(Settings(baseline=True), lambda n: said(0.03, known), lambda n: said(0.03, known))
    assert not failing(made)


def test_other_citations_are_found_and_their_order_is_none() -> None:
    dice = random.Random(2)

    def some(wrong: float) -> Response:
        found = ["a", "b", "c"]
        dice.shuffle(found)
        return answered(50, sources=("z", "b", "c") if dice.random() < wrong else tuple(found))

    settings = Settings(baseline=True, citations="$.sources[*].id")
    _, made = talk(settings, lambda n: some(0.002), lambda n: some(0.06))
    assert (ALL_PROMPTS, "llm citations") in failing(made)
    _, same = talk(settings, lambda n: some(0.02), lambda n: some(0.02))
    assert not failing(same)


@pytest.mark.parametrize(
    ("kind", "body", "text", "cited"),
    [
        ("application/json", b'{"sources": [{"id": "b"}, {"id": "a"}, {"id": 7}, {}]}', "", ("7", "a", "b")),
        ("application/json", b"{}", '{"sources": [{"id": "in the text"}]}', ("in the text",)),
        ("text/event-stream", b'data: {"sources": [{"id": "b"}]}\n\ndata: [DONE]\n\n', "", ("b",)),
        ("application/x-ndjson", b'{"a": 1}\n{"sources": [{"id": "n"}]}\n', "", ("n",)),
        ("application/json", b'{"sources": "none"}', "hello", ()),
        ("application/json", b'{"sources": [', "{", ()),
    ],
)
def test_where_citations_stand(kind: str, body: bytes, text: str, cited: tuple[str, ...]) -> None:
    message = Message()
    message.text = text
    response = Response(200, b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n\r\n" % kind.encode(), 0, 0)
    response.body, response.body_length = body, len(body)
    assert cited_by(response, message, kind, "$.sources[*].id") == cited


@given(st.text(max_size=40))
def test_paths_are_read_or_refused(path: str) -> None:
    try:
        assert steps_of(path)
    except ValueError:
        pass


@given(st.binary(max_size=300), st.sampled_from(["application/json", "text/event-stream", "application/x-ndjson"]))
def test_nothing_that_is_answered_hurts(body: bytes, kind: str) -> None:
    response = Response(200, b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n\r\n" % kind.encode(), 0, 0)
    response.body, response.body_length = body, len(body)
    assert isinstance(cited_by(response, Message(), kind, "$.a[*].b"), tuple)


# --- measures ---------------------------------------------------------------------------------------------------------


def test_what_is_counted_for_the_metrics_page() -> None:
    examiner, _ = talk(Settings(baseline=True), lambda n: answered(50), lambda n: answered(300, "aria-2"), 20)
    series = examiner.conversations.measures.series
    assert set(series) == {(name, "openai", "aria-1") for name in ("production", "shadow", "baseline")}
    ours, theirs = series["production", "openai", "aria-1"], series["shadow", "openai", "aria-1"]
    assert list(ours.durations) == ["stop"]
    assert sum(ours.durations["stop"].counts) == 20
    assert ours.durations["stop"].total == pytest.approx(20 * 0.05)
    assert (ours.input_tokens.total, ours.output_tokens.total) == (2000, 1000)
    assert theirs.output_tokens.total == 6000
    assert sum(ours.first_chunk.counts) == 0, "whole answers have no chunks"


def test_models_are_bounded() -> None:
    examiner = Examiner(Settings(baseline=True), Rules())
    for number in range(100):
        request = asked(number, f"model-{number}")
        production = answered(5)
        production.first_byte = production.last_byte = request.ended + MS
        examine(examiner, request, production, side(answered(5)), baseline=side(answered(5)))
    names = {model for _, _, model in examiner.conversations.measures.series}
    assert len(names) == MAX_MODELS + 1
    assert "other" in names


@given(st.lists(st.floats(0, 1e4), max_size=50))
def test_a_histogram_counts_what_is_not_above_its_bound(values: list[float]) -> None:
    bounds = (0.1, 1.0, 10.0, 100.0)
    made = Histogram(bounds)
    for value in values:
        made.add(value)
    for at, bound in enumerate(bounds):
        assert sum(made.counts[: at + 1]) == sum(value <= bound for value in values)
    assert sum(made.counts) == len(values)
