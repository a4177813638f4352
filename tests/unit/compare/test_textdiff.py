"""Line differences: kinds, examples, and a bounded cost."""

from __future__ import annotations

from collections import Counter
from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.textdiff import diff_texts


def found(p: str, c: str) -> dict[str, tuple[str, str]]:
    differences = diff_texts(p, c)
    assert all(d[:2] == ("body", "line") for d in differences)
    return {d.kind: (d.production, d.candidate) for d in differences}


def test_kinds_and_examples() -> None:
    assert found("a\nb\nc", "a\nX\nc") == {"value": ("b", "X")}
    assert found("a\nb\nc", "a\nc") == {"missing": ("b", "")}
    assert found("a\nc", "a\nb\nc") == {"extra": ("", "b")}
    assert found("a\nb\nc\nd\ne", "a\nX\nc\ne\nf") == {"value": ("b", "X"), "missing": ("d", ""), "extra": ("", "f")}
    assert found("a", "a") == {}


def test_ends_of_lines_are_seen() -> None:
    assert found("a\r\nb", "a\nb") == {"value": ("a\\r", "a")}
    assert found("a\n", "a") == {"missing": ("(an empty line)", "")}


def test_a_large_text_is_counted_instead_of_aligned() -> None:
    p = [f"line {n}" for n in range(5000)]
    c = [f"line {n}" for n in range(5000)]
    c[10], c[4990] = "ten", "last"
    assert found("\n".join(p), "\n".join(c)) == {"value": ("line 10", "ten")}
    assert found("\n".join(p), "\n".join(p[:2] + p[3:-2] + p[-1:])) == {"missing": ("line 2", "")}
    assert found("\n".join(p), "\n".join(reversed(p))) == {"order": ("line 0", "line 4999")}


def test_the_worst_case_is_bounded() -> None:
    p = "\n".join("ab"[n * n % 7 % 2] for n in range(200_000))
    c = "\n".join("ab"[n * n % 11 % 2] for n in range(200_000))
    began = process_time()
    assert found(p, c)
    p, c = ("\n".join("abcdefghijklmnop"[n * n % m % 16] + str(n % 40) for n in range(198)) for m in (17, 19))
    assert found(p, c)
    assert process_time() - began < 1


LINES = st.lists(st.sampled_from("abcd"), max_size=12)


@given(LINES, LINES)
def test_against_multisets(p: list[str], c: list[str]) -> None:
    result = found("\n".join(p), "\n".join(c))
    p, c = "\n".join(p).split("\n"), "\n".join(c).split("\n")
    assert bool(result) == (p != c)
    if len(p) > len(c):
        assert set(result) & {"missing", "value"}
    if Counter(p) <= Counter(c) and p != c and "value" not in result:
        assert "extra" in result


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text(p: str, c: str) -> None:
    assert bool(diff_texts(p, c)) == (p != c)
