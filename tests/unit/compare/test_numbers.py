"""Numbers by their decimals, against ``Fraction``."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.difference import Options
from shadowd.compare.jsondiff import diff_documents, parse_text_untrusted
from shadowd.compare.numbers import Exact, integer, number, number_as_written

DIGITS = st.text("0123456789", min_size=1, max_size=24)
WHOLE = st.integers(-(10**22), 10**22).map(str)


def written(whole: str, fraction: str, power: int | None) -> str:
    return f"{whole}.{fraction}" + ("" if power is None else f"e{power}")


NUMBERS = st.builds(written, WHOLE, DIGITS, st.none() | st.integers(-330, 330))


@given(NUMBERS, NUMBERS)
def test_numbers_are_equal_exactly_if_their_decimals_are(p: str, c: str) -> None:
    found = diff_documents(parse_text_untrusted(p), parse_text_untrusted(c), Options())
    assert bool(found) == (Fraction(p) != Fraction(c))


@given(NUMBERS, st.integers(0, 6))
def test_another_spelling_is_no_difference(text: str, zeros: int) -> None:
    whole, _, power = text.partition("e")
    other = f"{whole}{'0' * zeros}" + (f"E{power}" if power else "")
    for parse in (number, number_as_written):
        assert parse(text) == parse(other)
        assert type(parse(text)) is type(parse(other))


@pytest.mark.parametrize(
    ("p", "c"),
    [
        ("0.123456789012345678", "0.123456789012345671"), ("9007199254740993.0", "9007199254740992.0"),
        ("9007199254740993", "9007199254740992.0"), ("1e400", "2e400"), ("1e400", "-1e400"), ("1e-400", "0"),
        ("1e1000000000", "1e1000000001"), ("1e99999999999999999999", "1e99999999999999999998"),
        ("9" * 5000, "9" * 4999 + "8"),
    ],
)  # fmt: skip
def test_what_doubles_cannot_tell_apart(p: str, c: str) -> None:
    for text in (f"[{p}]", f'{{"a":{p}}}'):
        other = text.replace(p, c)
        assert len(diff_documents(parse_text_untrusted(text), parse_text_untrusted(other), Options())) == 1
        assert not diff_documents(parse_text_untrusted(text), parse_text_untrusted(text), Options())


def test_what_stays_equal() -> None:
    for p, c in (("1", "1.0"), ("100", "1e2"), ("-0.0", "0"), ("9007199254740993", "9007199254740993.0")):
        assert diff_documents(parse_text_untrusted(p), parse_text_untrusted(c), Options()) == ()
    assert diff_documents(parse_text_untrusted("1e400"), parse_text_untrusted("10e399"), Options()) == ()


def test_a_double_stays_a_double() -> None:
    assert type(number("33.333333333333336")) is float
    assert type(number("1.0")) is int
    assert type(number_as_written("1.0")) is float
    assert type(number("1e400")) is Exact
    assert type(integer("9" * 5000)) is Exact


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_json_writes_of_a_double_is_that_double(value: float) -> None:
    whole = value.is_integer() and abs(value) >= 1 << 53  # of those the decimal counts: 1e21 is 1 and 21 zeros
    assert number(json.dumps(value)) in ((int(Decimal(repr(value))), value) if whole else (value,))
    assert type(number_as_written(json.dumps(value))) is float


def test_strict_types_tell_integers_from_the_rest() -> None:
    def kinds(p: str, c: str) -> list[str]:
        documents = [parse_text_untrusted(text, strict=True) for text in (p, c)]
        return [d.kind for d in diff_documents(documents[0], documents[1], Options(json_types_strict=True))]

    assert kinds("1", "1.0") == ["type"]
    assert kinds("0.5", "0.123456789012345678") == ["value"]


def test_a_tolerance_holds_for_long_numbers_too() -> None:
    documents = [parse_text_untrusted(f"0.12345678901234567{n}") for n in (1, 8)]
    assert diff_documents(documents[0], documents[1], Options(tolerance=1e-9)) == ()


def test_constants() -> None:
    p, c = parse_text_untrusted('{"r": NaN, "s": Infinity}'), parse_text_untrusted('{"r": "NaN", "s": -Infinity}')
    assert diff_documents(p, p, Options()) == ()
    assert {(d.path, d.kind) for d in diff_documents(p, c, Options())} == {("$.r", "type"), ("$.s", "value")}
