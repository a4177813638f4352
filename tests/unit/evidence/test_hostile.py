"""What strangers can make of the examiner: requests that are dear to read, heads that are dear to keep."""

from __future__ import annotations

import gzip
import json

import pytest

from shadowd.compare.burden import LIGHT, LIGHT_READ, parsing_weighs
from shadowd.evidence.contents import MAX_EXAMPLES, MAX_REPEATS, REPEAT_ANSWER
from shadowd.evidence.credentials import carried, hashed, opaque
from shadowd.evidence.earlier import MAX_ANSWER, Earlier
from shadowd.evidence.evidence import EXAMPLE_BODY, EXAMPLE_HEAD, Endpoint, short_head
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.examining import MAX_BYTES, TURN, Examining
from shadowd.evidence.rules import Rules
from shadowd.evidence.trial import Trial
from shadowd.exchange.exchange import Exchange, Request
from shadowd.ledger.budget import Budget
from shadowd.policy.jsonedit import JsonEdit, edit_request
from shadowd.protocols.llm_request import UNREAD
from shadowd.talk.llm import ENCODED_LIMIT, arguments_weigh, read_answer, recognise
from tests.unit.compare.exchanges import MS, answer, examine, request, side
from tests.unit.costs import LINEAR, growth

DEAR = b'{"model":"m","messages":[' + b"[]," * 200_000 + b"0]}"


def posted(body: bytes, target: bytes = b"/v1/chat/completions", headers: bytes = b"") -> Request:
    head = b"POST " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + headers + b"\r\n"
    return Request(b"POST", target, head, body, 0, len(head) + len(body), 1, 1)


@pytest.mark.parametrize(
    ("target", "api"),
    [
        (b"/v1/chat/completions?a=b", "chat"), (b"/v1/messages", "anthropic"), (b"/v1/responses", "responses"),
        (b"/v1beta/models/g:streamGenerateContent", "gemini"), (b"/api/chat", "ollama"),
    ],
)  # fmt: skip
def test_a_request_that_is_dear_to_parse_is_a_group_of_its_own(target: bytes, api: str) -> None:
    for asked in (
        posted(DEAR, target),
        posted(gzip.compress(DEAR), target, b"Content-Encoding: gzip\r\n"),
        posted(b'{"messages":"' + b"a" * (9 << 20) + b'"}', target),
        posted(gzip.compress(b'{"messages":"' + b"a" * ENCODED_LIMIT + b'"}'), target, b"Content-Encoding: gzip\r\n"),
    ):
        found = recognise(asked)
        assert found is not None
        assert (found.api, found.model, found.system, found.tools) == (api, UNREAD, "", {})
    assert recognise(posted(DEAR, b"/orders")) is None
    assert recognise(posted(b"[" * 300_000, target)) is None


def test_a_long_conversation_is_read() -> None:
    said = [{"role": "user", "content": f"{number} " + ("word " * 8 + "\n") * 25} for number in range(4_000)]  # 4 MB
    found = recognise(posted(json.dumps({"model": "m", "messages": said}).encode()))
    assert found is not None
    assert found.model == "m"


def test_the_weight_of_parsing() -> None:
    assert not parsing_weighs(b'{"image":"' + b"A" * (8 << 20) + b'"}', LIGHT_READ)
    for dear in (b"[],", b"{", b"[", b",", b"\\n" * 4):
        assert parsing_weighs(dear * (LIGHT_READ + 1), LIGHT_READ)
        assert not parsing_weighs(dear * (LIGHT_READ // 8), LIGHT_READ)


def test_json_edits_leave_what_is_dear_to_parse() -> None:
    head = posted(DEAR).head
    assert edit_request(head, DEAR, [JsonEdit("$.model=other")]) is None
    assert edit_request(head, b'{"model":"m"}', [JsonEdit("$.model=other")]) is not None


def test_arguments_of_thousands_of_values_are_compared_as_text() -> None:
    def called(values: list[int]) -> bytes:
        made = {"function": {"name": "f", "arguments": json.dumps(values)}}
        return json.dumps({"choices": [{"message": {"tool_calls": [made]}}]}).encode()

    asked = posted(b'{"model":"m","messages":[{"role":"user","content":"hello"}]}')
    for most, places in ((LIGHT // 8, "f $[*]"), (LIGHT, "f arguments")):
        examiner = Examiner(Settings(twin=0.0), Rules())
        ours, theirs = (called([first, *range(most)]) for first in (1, 2))
        examine(examiner, asked, answer(json.loads(ours)), side(answer(json.loads(theirs))))
        found = {path for endpoint in examiner.endpoints.values() for _, path in endpoint.fields}
        assert found == {places}
        ask = recognise(asked)
        assert ask is not None
        weight = arguments_weigh([read_answer(ask, answer(json.loads(ours)), 0)] * 2)
        assert (weight > LIGHT) == (places == "f arguments")


# --- heads ------------------------------------------------------------------------------------------------------------


def test_tokens_in_heads_are_found_in_linear_time() -> None:
    def padded(blanks: int) -> Request:
        return request(headers=f"Authorization: Bearer x{' ' * blanks}y\r\nX-Auth-Token: {' ' * blanks}\t\r\n" * 4)

    whole, quarter = padded(4_000), padded(1_000)
    for look in (carried, opaque):
        assert growth(lambda look=look: look(whole), lambda look=look: look(quarter)) < LINEAR  # type: ignore[misc]


@pytest.mark.parametrize("value", ["abc def", "bearer abc", "a" * 5_000])
def test_blanks_behind_a_token_are_no_part_of_it(value: str) -> None:
    found = carried(request(headers=f"X-Api-Key: {value} \t\r\n"))
    assert found == carried(request(headers=f"X-Api-Key: {value}\r\n"))
    assert found == [hashed(value.removeprefix("bearer ").encode()[:4096])]
    assert carried(request(headers="X-Api-Key:  \t\r\n")) == []


def test_the_head_of_an_example_is_short_and_tells_how_to_read_the_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: a\r\nX-Long: " + b"x" * 20_000 + b"\r\n folded\r\n"
    head += b"".join(b"X-%d: y\r\n" % n for n in range(4_000)) + b"Content-Encoding: gzip\r\nContent-type: a/b\r\n\r\n"
    short = short_head(head)
    assert len(short) < 2 * EXAMPLE_HEAD
    assert short.startswith(b"HTTP/1.1 200 OK\r\nServer: a\r\nX-0: y\r\n")
    assert short.endswith(b"\r\nContent-Encoding: gzip\r\nContent-type: a/b\r\n\r\n")
    assert b"folded" not in short
    assert short_head(head[:EXAMPLE_HEAD]) == head[:EXAMPLE_HEAD]
    assert len(short_head(b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n\r\n")) < EXAMPLE_HEAD
    assert len(short_head(b"".join(b"Content-Type: %d\r\n" % n for n in range(9_000)))) < 3 * EXAMPLE_HEAD


def test_heads_of_64_kb_are_not_kept_by_the_hundred() -> None:
    examiner = Examiner(Settings(twin=0.0), Rules())
    pad = "x" * 60_000
    for number in range(2 * MAX_REPEATS):
        asked = request(f"/{number % 700}", time=number * MS, headers=f"X-Pad: {pad}{number}\r\n")
        ours, theirs = (answer({"v": v}, headers={"X-Pad": f"{pad}{number}{v}"}) for v in (1, 2))
        examine(examiner, asked, ours, side(theirs))
    contents = examiner.contents
    assert not contents._repeats
    assert len(contents.examples) <= MAX_EXAMPLES
    for example in contents.examples:
        parts = [*example.request[1:], *(example.production or ())[1:], *(example.candidate or ())[1:]]
        assert sum(map(len, parts)) < 4 * EXAMPLE_HEAD + 3 * EXAMPLE_BODY


def test_what_is_remembered_is_small_with_its_head() -> None:
    earlier, endpoint = Earlier(), Endpoint("GET /{id}", 1)
    endpoint.pairs = 1
    room = MAX_ANSWER - len(answer({}, headers={"X": ""}).head) - 2
    for number, (size, kept) in enumerate(((room, 1), (room + 1, 0))):
        made = answer({}, headers={"X": "x" * size})
        earlier.keep(request(f"/{number}", headers=f"X-Pad: {'x' * 60_000}\r\n"), endpoint, made, True)
        assert len(earlier._of_requests) == 1
        assert all(len(str(key)) < 200 for key in earlier._of_requests)
        assert (number == 0) == bool(kept)
    assert REPEAT_ANSWER == MAX_ANSWER


def test_heads_that_wait_to_be_compared_are_charged() -> None:
    """They were not: 4,096 exchanges with three heads of 64 KB may wait."""
    budget = Budget()
    examining = Examining(budget, lambda: 0)
    examiner = Examiner(Settings(twin=0.0), Rules())
    examining._spent = TURN  # nothing more in this turn
    pad = "x" * 60_000
    for number in range(200):
        asked = request(f"/{number}", headers=f"X-Pad: {pad}\r\n")
        ours, theirs = (answer({"v": v}, headers={"X-Pad": f"{pad}{v}"}) for v in (1, 2))
        exchange = Exchange(number, asked, 0)
        exchange.answered, exchange.response = True, ours
        examining.take(Trial(examiner, exchange, side(theirs), None))
        examining._spent = TURN
    waiting = examining.statistics().waiting
    assert 0 < waiting * 180_000 <= budget.used <= MAX_BYTES
    assert examiner.by_digest == 200 - waiting
    for _ in range(waiting):
        examining._spent, examining._allowance = 0, TURN
        examining.go_on(0)
    assert budget.used == 0
