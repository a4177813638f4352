"""Every answer of the AI demo as shadowd's readers see it: whole, understood, and with the sizes that were planted."""

from __future__ import annotations

import json
import statistics

import pytest

from tests.unit.demo.chat_rehearsal import Heard, Round, rehearse


@pytest.fixture(scope="module")
def rounds() -> list[Round]:
    return list(rehearse(1000, candidate=2))


def test_every_answer_is_whole_and_understood(rounds: list[Round]) -> None:
    assert len(rounds) > 1500
    assert {one.ask.api for one in rounds} == {"chat", "anthropic"}
    assert {tuple(one.ask.tools) for one in rounds} == {(), ("get_weather",), ("lookup_order",)}
    for one in rounds:
        for side in (one.production, one.baseline, one.candidate):
            message = side.message
            assert (message.outcome, message.unknown, message.error) == ("whole", 0, "")
            assert bool(message.text) != bool(message.refusal)
            assert message.output_tokens
            assert one.time < side.first <= side.last


def test_the_first_token_comes_after_the_first_byte_of_a_stream(rounds: list[Round]) -> None:
    streamed = [one for one in rounds if one.ask.stream]
    assert all(one.production.reader.first_byte < one.production.first for one in streamed)

    def waited(pick: str) -> float:
        sides: list[Heard] = [getattr(one, pick) for one in streamed]
        return statistics.median(side.first - one.time for side, one in zip(sides, streamed, strict=True))

    assert waited("baseline") / waited("production") == pytest.approx(1.0, abs=0.03)
    assert waited("candidate") / waited("production") == pytest.approx(1.3, abs=0.05)


def test_the_planted_changes_reach_the_messages(rounds: list[Round]) -> None:
    refused = {
        name: sum(getattr(one, name).message.refused for one in rounds) / len(rounds)
        for name in ("production", "baseline", "candidate")
    }
    assert refused["production"] == pytest.approx(0.01, abs=0.008)
    assert refused["baseline"] == pytest.approx(refused["production"], abs=0.004)
    assert refused["candidate"] == pytest.approx(0.04, abs=0.015)
    calls = [
        [json.loads(side.message.tool_calls[0].arguments) for side in (one.production, one.baseline, one.candidate)]
        for one in rounds
        if all(side.message.tool_calls for side in (one.production, one.baseline, one.candidate))
    ]
    assert all(before == beside for before, beside, _ in calls)
    wrong = [(before, after) for before, _, after in calls if before != after]
    assert 0.01 < len(wrong) / len(calls) < 0.06
    assert all(before["unit"] != after["unit"] for before, after in wrong)
