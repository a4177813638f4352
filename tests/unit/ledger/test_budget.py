"""The memory account: what is charged comes back, whatever way its owner ends; beyond the limit messages are let go."""

from __future__ import annotations

import gc
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.ledger.budget import Budget, Charge
from shadowd.protocols.http1_reader import OversizedRequest, RequestReader
from shadowd.protocols.http1_response import ResponseReader

POST = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_charge_is_given_back_when_its_owner_is_gone() -> None:
    budget = Budget(100)
    charge = Charge(budget)
    charge.hold(100)
    assert budget.exhausted
    charge.hold(60)
    assert (budget.used, budget.exhausted) == (60, False)
    del charge
    gc.collect()
    assert budget.used == 0


def test_a_request_that_waits_for_its_rest_is_charged_until_it_is_whole() -> None:
    budget = Budget(1 << 20)
    reader = RequestReader(budget=budget)
    assert not reader.feed_untrusted(POST[:20], 1)
    assert budget.used == 20
    assert not reader.feed_untrusted(POST[20:] + b"x" * 4000, 2)
    assert budget.used >= 4000
    (request,) = reader.feed_untrusted(b"x" * 5000, 3)
    assert request.body == b"x" * 9000
    assert budget.used == 0


def test_without_memory_a_request_is_read_to_its_end_and_not_kept() -> None:
    budget = Budget(3000)
    reader = RequestReader(budget=budget)
    assert not reader.feed_untrusted(POST + b"x" * 4000, 1)
    assert not reader.feed_untrusted(b"x" * 1000, 2)
    assert budget.used == 0  # what was kept is let go at once
    (request,) = reader.feed_untrusted(b"x" * 4000, 3)
    assert isinstance(request, OversizedRequest)
    assert (request.reason, request.size, request.body) == ("memory", len(POST) + 9000, b"")
    (after,) = reader.feed_untrusted(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 4)
    assert not isinstance(after, OversizedRequest)


def test_without_memory_an_answer_is_known_by_its_digest() -> None:
    for head, rest in ((ANSWER, b"y" * 9000), (CHUNKED, b"2328\r\n" + b"y" * 9000 + b"\r\n0\r\n\r\n")):
        full = ResponseReader(body_limit=100)
        full.expect(b"GET")
        (expected,) = full.feed_untrusted(head + rest, 1)
        budget = Budget(2000)
        reader = ResponseReader(body_limit=1 << 20, budget=budget)
        reader.expect(b"GET")
        done = list(reader.feed_untrusted(head, 1))
        for at in range(0, len(rest), 700):
            done += reader.feed_untrusted(rest[at : at + 700], 2)
            assert budget.used <= 2000 + 700
        (answer,) = done
        assert answer.digest == expected.digest
        assert answer.body_length == expected.body_length
        assert len(answer.body) < 9000
        assert budget.used == 0


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([1, 500, 5000, 1 << 20]),
    st.lists(st.sampled_from([POST + b"x" * 9000, b"GET / HTTP/1.1\r\n\r\n"]), max_size=4),
    st.lists(st.sampled_from([ANSWER + b"x" * 9000, CHUNKED + b"0\r\n\r\n"]), max_size=4),
    st.lists(st.integers(1, 6000), min_size=1, max_size=8),
)
def test_used_is_never_negative_and_ends_at_zero(
    limit: int, asked: list[bytes], answered: list[bytes], steps: list[int]
) -> None:
    budget = Budget(limit)
    requests, responses = RequestReader(budget=budget), ResponseReader(body_limit=4000, budget=budget)
    for _ in answered:
        responses.expect(b"GET")
    forth, back = b"".join(asked), b"".join(answered)
    for step in cycle(steps):
        if not forth and not back:
            break
        if forth:
            requests.feed_untrusted(forth[:step], 1)
        if back:
            responses.feed_untrusted(back[:step], 1)
        forth, back = forth[step:], back[step:]
        assert budget.used >= 0
    requests.release()
    responses.release()
    assert budget.used == 0
