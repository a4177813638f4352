"""Operators' patterns: RE2's, in linear time, and refused with the reason where they cannot be."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shadowd.config.document import Config
from shadowd.config.patterns import tried
from shadowd.exchange.patterns import PatternError, compiled

#: What Python's ``re`` and RE2 mean the same by.
SIMPLE = st.recursive(
    st.sampled_from(["a", "b", "/", "[ab]", "[^a]", r"\.", "x", "."]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        inner.map(lambda one: f"(?:{one})*"),
        inner.map(lambda one: f"(?:{one}){{1,3}}"),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(SIMPLE, st.text("ab/x.", max_size=12))
def test_it_finds_what_python_finds(pattern: str, target: str) -> None:
    found = compiled(pattern.encode()).search(target.encode()) is not None
    assert found == (re.search(pattern, target) is not None)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (rb"(?=a)b", "lookaround is not supported"),
        (rb"(?<!a)b", "lookaround is not supported"),
        (rb"(a)\1", "backreferences are not supported"),
        (rb"[", "missing ]"),
        (rb"(", "missing )"),
        (rb"*a", "no argument for repetition"),
        (rb"a{2000}", "repetition size"),
        (rb"[^a]{900}|[^b]{900}|[^c]{900}|[^d]{900}", "steps"),
        (rb"[ab]*a[ab]{20}c", "too slowly"),
        (rb"(a|b)*a(a|b){200}c", "too slowly"),
    ],
)
def test_what_cannot_be_linear_is_refused_with_the_reason(pattern: bytes, why: str) -> None:
    with pytest.raises(PatternError, match=re.escape(why)):
        tried(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        rb"(a+)+$",
        rb"(a|aa)+$",
        rb"(.*)*=",
        rb"^(([a-z])+.)+[A-Z]([a-z])+$",
        rb"(?i)select.{0,100}from",
        rb"^/api/(v1|v2)/(orders|users|carts)(/|$)",
        rb"\.(?:png|jpe?g|gif|css|js|woff2?)(?:\?|$)",
    ],
)
def test_what_is_accepted_takes_no_longer_than_a_scan(pattern: bytes) -> None:
    """Against a plain automaton's time for the same, at the same moment: simulations take over 100 times that."""
    made, plain = tried(pattern), compiled(rb"(?:[^\x00][^\x00])*\x00")
    for target in (b"a" * 65_536, b"ab" * 32_768, b"/api/v1/orders/" * 4_369):
        took = []
        for one in (made, plain):
            tries = []
            for _ in range(5):
                began = time.thread_time_ns()
                one.search(target)
                tries.append(time.thread_time_ns() - began)
            took.append(min(tries))
        assert took[0] < 40 * took[1]


def test_texts_are_matched_by_their_letters() -> None:
    pattern = compiled("^unsere RICHTLINIE für".encode(), ignore_case=True, utf8=True)
    assert pattern.search("Unsere Richtlinie FÜR alle".encode()) is not None
    assert pattern.search("eure Richtlinie für".encode()) is None


def test_what_only_trying_shows_is_refused_where_the_configuration_is_read() -> None:
    with pytest.raises(ValidationError) as refused:
        Config(redact_patterns=["[ab]*a[ab]{20}c"])  # type: ignore[arg-type]
    assert "too slowly" in str(refused.value.errors())
