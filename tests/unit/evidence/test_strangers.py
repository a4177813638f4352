"""Sessions unknown to the shadow, told apart from a candidate that refuses at random."""

from __future__ import annotations

import random

import pytest

from shadowd.evidence import strangers
from shadowd.evidence.strangers import Strangers
from tests.unit.compare.exchanges import request


def drive(refuses: object, exchanges: int = 20_000) -> tuple[int, int]:
    """(refused, of these taken for strangers) of a service with 500 sessions that come one after the other, two
    endpoints, one of which is open to all. ``refuses(session, draw)``: whether the candidate says 401 at the other."""
    draw, known = random.Random(7), Strangers()
    refused = strange = 0
    for number in range(exchanges):
        session = draw.randrange(max(0, number // 40 - 50), number // 40 + 1)
        endpoint = draw.choice(("GET /items", "GET /cart"))
        asked = request("/cart", headers=f"Cookie: theme=dark; sid=s{session}\r\n")
        if endpoint == "GET /cart" and refuses(session, draw):  # type: ignore[operator]
            refused += 1
            strange += known.refused(asked, endpoint)
        elif endpoint in known.doubted:
            known.accepted(asked, endpoint)
    return refused, strange


def test_sessions_that_the_shadow_never_heard_of_are_strangers() -> None:
    refused, strange = drive(lambda session, draw: session > 100)
    assert refused > 5000
    assert strange == refused


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_candidate_that_refuses_at_random_is_not_excused(share: float) -> None:
    refused, strange = drive(lambda session, draw: draw.random() < share)
    assert refused > 50
    assert strange < (0.1 if share < 0.5 else 0.2) * refused + 5


@pytest.mark.parametrize(
    "headers",
    [
        "",
        "Cookie: theme=dark; _ga=GA1.2.123456789.1700000000\r\n",
        "Authorization: Basic YW5uOng=\r\n",
        "X-Api-Key: 0123456789abcdef\r\n",
        "Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiI3In0.c2ln\r\n",
        "Cookie: session=eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiI3In0.c2ln\r\n",
    ],
)
def test_what_needs_no_store_of_sessions_is_no_stranger(headers: str) -> None:
    known = Strangers()
    assert not known.refused(request("/me", headers=headers), "GET /me")
    assert not known.doubted


@pytest.mark.parametrize(
    "headers", ["Authorization: Bearer 0a1b2c\r\n", "cookie: JSESSIONID=7\r\n", "X-Session-Token: k\r\n"]
)
def test_what_needs_one_is(headers: str) -> None:
    known = Strangers()
    asked = request("/me", headers=headers)
    assert known.refused(asked, "GET /me")
    known.accepted(asked, "GET /me")
    assert not known.refused(asked, "GET /me")
    assert known.refused(asked, "GET /cart")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "MAX_ACCEPTED", 10)
    monkeypatch.setattr(strangers, "MAX_ENDPOINTS", 10)
    known = Strangers()
    for number in range(100):
        asked = request("/me", headers=f"Cookie: sid={number}\r\n")
        known.refused(asked, f"GET /{number}")
        known.accepted(asked, "GET /me")
    assert len(known.doubted) == len(known._accepted) == 10
    assert not known.refused(request("/me", headers="Cookie: sid=99\r\n"), "GET /me")
    assert known.refused(request("/me", headers="Cookie: sid=1\r\n"), "GET /me")
