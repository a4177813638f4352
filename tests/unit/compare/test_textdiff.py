"""Line differences: kinds, examples, and a bounded cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.aligned import ALIGNED_LINES, gaps
from shadowd.compare.textdiff import diff_texts


def found(p: str, c: str) -> dict[tuple[str, str], tuple[str, str]]:
    differences = diff_texts(p, c)
    assert all(d.where == "body" for d in differences)
    return {(d.path, d.kind): (d.production, d.candidate) for d in differences}


def test_each_line_by_its_position() -> None:
    assert found("a\nb\nc", "a\nX\nc") == {("line[2]", "value"): ("b", "X")}
    assert found("a\nb\nc", "a\nc") == {("line[2]", "missing"): ("b", "")}
    assert found("a\nc", "a\nb\nc") == {("line[2]", "extra"): ("", "b")}
    assert found("a\nb\nc\nd\ne", "a\nX\nc\ne\nf") == {
        ("line[2]", "value"): ("b", "X"),
        ("line[4]", "missing"): ("d", ""),
        ("line[6]", "extra"): ("", "f"),
    }
    assert found("a", "a") == {}


def test_a_token_in_one_line_hides_nothing_in_another() -> None:
    assert set(found("csrf a1\n\nprice 100\nend", "csrf b2\n\nprice 999\nend")) == {
        ("line[1].word[2]", "value"),
        ("line[3].word[2]", "value"),
    }


def test_words_of_a_line_that_is_built_alike() -> None:
    assert found("at=1, price=100", "at=2, price=999") == {
        ("line[1].word[2]", "value"): ("1", "2"),
        ("line[1].word[4]", "value"): ("100", "999"),
    }
    assert set(found("at=1, price=100", "at=2; price=999")) == {("line[1]", "value")}  # other punctuation
    assert set(found("at=1 price", "at=2 price 9")) == {("line[1]", "value")}  # another number of words
    assert set(found("a " * 5000, "b " * 5000)) == {("line[1]", "value")}  # a page in one line


def test_ends_of_lines_are_seen() -> None:
    assert found("a\r\nb", "a\nb") == {("line[1]", "value"): ("a\\r", "a")}
    assert found("a\n", "a") == {("line[2]", "missing"): ("(an empty line)", "")}


def test_a_large_text_by_the_lines_that_both_have() -> None:
    p = [f"line {n}" for n in range(5000)]
    c = list(p)
    c[10], c[4990] = "ten", "last"
    assert set(found("\n".join(p), "\n".join(c))) == {("line[11]", "value"), ("line[4991]", "value")}
    gone = p[:2] + p[3:4000] + ["new"] + p[4000:-2] + ["changed"] + p[-1:]
    assert set(found("\n".join(p), "\n".join(gone))) == {
        ("line[3]", "missing"),
        ("line[4001]", "extra"),
        ("line[4999]", "value"),
    }
    assert found("\n".join(p), "\n".join(reversed(p))) == {("line", "order"): ("line 0", "line 4999")}


def test_more_than_are_listed_are_counted() -> None:
    p, c = ("\n".join(f"{letter}{n}" for n in range(100)) for letter in "pc")
    result = diff_texts(p, c, limit=10)
    assert (len(result), result.more) == (10, 90)


def test_the_worst_case_is_bounded() -> None:
    def steps(p: list[str], c: list[str]) -> int:
        seen = 0

        class Counted(str):
            __slots__ = ()

            def __eq__(self, other: object) -> bool:
                nonlocal seen
                seen += 1
                return str.__eq__(self, other)

            __hash__ = str.__hash__

        for _ in gaps([Counted(line) for line in p], [Counted(line) for line in c]):
            pass
        return seen

    for size in (1000, 8000):
        p, c = (["ab"[n * n % m % 2] for n in range(size)] for m in (7, 11))
        assert steps(p, c) < 12 * size
        p, c = (["abcdefghijklmnop"[n * n % m % 16] + str(n % 40) for n in range(size)] for m in (17, 19))
        assert steps(p, c) < 12 * size + 30 * ALIGNED_LINES * 40
        assert steps([f"{n}" for n in range(size)], [f"{n * 7919 % size}" for n in range(size)]) < 40 * size


LINES = st.lists(st.sampled_from("abcd"), max_size=12)


@given(LINES, LINES)
def test_gaps_lead_from_one_text_to_the_other(p: list[str], c: list[str]) -> None:
    made: list[str] = []
    at = other = 0
    for a, b, x, y in gaps(p, c):
        assert p[at:a] == c[other:x]
        assert b > a or y > x
        made += p[at:a] + c[x:y]
        at, other = b, y
    assert made + p[at:] == c


@given(LINES, LINES)
def test_the_same_lines_in_another_order_are_one_difference(p: list[str], c: list[str]) -> None:
    result = found("\n".join(p), "\n".join(c))
    assert bool(result) == ("\n".join(p) != "\n".join(c))
    if sorted("\n".join(p).split("\n")) == sorted("\n".join(c).split("\n")) and p != c:
        assert set(result) == {("line", "order")}


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text(p: str, c: str) -> None:
    assert bool(diff_texts(p, c)) == (p != c)
