"""Heads: which headers and cookies are compared, and how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.difference import Difference, Options
from shadowd.compare.headers import MEMO_PAIRS, Headers, compare_heads, without_date


def head(*fields: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *fields, "", "")).encode("latin-1")


def found(production: bytes, candidate: bytes, options: Options | None = None) -> set[tuple[str, str, str]]:
    return {d[:3] for d in compare_heads(production, candidate, options or Options())}


def test_values_missing_and_extra() -> None:
    p, c = head("ETag: a", "Vary: x", "Same: 1"), head("etag: b", "X-New: 1", "same:1  ")
    assert found(p, c) == {("header", "etag", "value"), ("header", "vary", "missing"), ("header", "x-new", "extra")}
    etag = next(d for d in compare_heads(p, c, Options()) if d.path == "etag")
    assert (etag.production, etag.candidate) == ("a", "b")


@pytest.mark.parametrize(
    "name",
    ["Date", "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding",
     "Upgrade", "Via", "Age", "Content-Length", "X-Shadowd"],
)  # fmt: skip
def test_what_belongs_to_the_connection_is_never_compared(name: str) -> None:
    assert found(head(f"{name}: 1"), head(f"{name}: 2")) == set()
    assert found(head(f"{name}: 1"), head()) == set()


def test_what_connection_names_is_not_compared_either() -> None:
    p, c = head("Connection: close, X-Hop", "X-Hop: 1", "X-Far: 1"), head("X-Hop: 2", "X-Far: 2")
    assert found(p, c) == {("header", "x-far", "value")}


def test_order_case_and_folding_do_not_matter_but_order_within_a_name_does() -> None:
    assert found(head("A: 1", "B: 2"), head("b: 2", "a: 1")) == set()
    assert found(head("A: 1\r\n  2"), head("A: 1 2")) == set()
    assert found(head("A: 1", "A: 2"), head("A: 1, 2")) == set()
    assert found(head("A: 1", "A: 2"), head("A: 2", "A: 1")) == {("header", "a", "value")}


def test_content_type() -> None:
    assert found(head("Content-Type: text/html"), head("Content-Type: text/plain")) == {
        ("header", "content-type", "media_type")
    }
    assert found(head("Content-Type: text/html"), head("Content-Type: text/html; charset=utf-8")) == {
        ("header", "content-type", "value")
    }


def test_the_operator_chooses() -> None:
    p, c = head("ETag: a", "X-Id: 1"), head("ETag: b", "X-Id: 2")
    assert found(p, c, Options(ignore_headers=["ETAG"])) == {("header", "x-id", "value")}
    assert found(p, c, Options(compare_headers=["etag"])) == {("header", "etag", "value")}
    assert found(p, c, Options(compare_headers=["etag"], ignore_headers=["etag"])) == set()
    cookies = head("Set-Cookie: a=1"), head("Set-Cookie: b=1")
    assert found(*cookies, Options(ignore_headers=["Set-Cookie"])) == set()


def test_cookies_are_compared_by_name() -> None:
    p = head("Set-Cookie: sid=secret1; Path=/; HttpOnly; Secure", "Set-Cookie: theme=dark", "Set-Cookie: old=1")
    c = head("Set-Cookie: theme=dark", "Set-Cookie: sid=secret22; path=/; Secure; SameSite=Lax", "Set-Cookie: new=1")
    assert found(p, c) == {
        ("cookie", "sid", "value"),
        ("cookie", "sid; httponly", "missing"),
        ("cookie", "sid; samesite", "extra"),
        ("cookie", "old", "missing"),
        ("cookie", "new", "extra"),
    }


def test_cookie_values_are_never_shown() -> None:
    differences = compare_heads(head("Set-Cookie: sid=hunter2; Path=/a"), head("Set-Cookie: sid=hunter33"), Options())
    assert len(differences) == 2
    assert "hunter" not in repr(differences)


def test_a_cookie_expires_relative_to_its_answer() -> None:
    p, c = head("Set-Cookie: a=1; Expires=Mon, 1 Jan 2027"), head("Set-Cookie: a=1; Expires=Tue, 2 Jan 2027")
    assert found(p, c) == set()
    assert found(p, head("Set-Cookie: a=1")) == {("cookie", "a; expires", "missing")}
    assert found(head("Set-Cookie: a=1; Max-Age=60"), head("Set-Cookie: a=1; Max-Age=61")) == {
        ("cookie", "a; max-age", "value")
    }


def test_the_memo_gives_the_same_answer_and_stays_small() -> None:
    options = Options()
    p, c = head("Date: 1", "ETag: a"), head("Date: 2", "ETag: b")
    first = compare_heads(p, c, options)
    assert compare_heads(p.replace(b"Date: 1", b"Date: 3"), c, options) is first
    assert compare_heads(c, p, options) is not first
    for n in range(3 * MEMO_PAIRS):
        compare_heads(p, head(f"ETag: {n}"), options)
        assert len(options.head_memo) <= MEMO_PAIRS
    before = len(options.head_memo)
    compare_heads(p, head("X: " + "y" * 5000), options)
    assert len(options.head_memo) == before


@pytest.mark.parametrize("name", ["Date", "date", "DATE"])
def test_without_date(name: str) -> None:
    assert without_date(head("A: 1", f"{name}: Mon", "B: 2")) == head("A: 1", "B: 2")
    assert without_date(head(f"{name}: Mon")) == head()
    assert without_date(head("X-Date: Mon")) == head("X-Date: Mon")


def test_lists_and_first_values() -> None:
    headers = Headers(head("A: x, Y", "a: ,z", "B: 1"))
    assert headers.listed("a") == ["x", "y", "z"]
    assert headers.first("b") == "1"
    assert headers.first("c") == ""
    assert headers.all("a") == ["x, Y", ",z"]


def test_no_more_than_the_limit() -> None:
    p = head(*(f"X-{n}: 1" for n in range(100)))
    differences = compare_heads(p, head(), Options(max_differences=10))
    assert (len(differences), differences.more) == (10, 90)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_are_survived(p: bytes, c: bytes) -> None:
    ours, theirs = (b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n" for fields in (p, c))
    assert all(isinstance(d, Difference) for d in compare_heads(ours, theirs, Options()))
    assert compare_heads(ours, ours, Options()) == ()


NAMES = st.sampled_from(["a", "b", "x-c", "etag"])
FIELDS = st.dictionaries(NAMES, st.sampled_from(["1", "2", "x y"]), max_size=4)


@given(FIELDS, FIELDS)
def test_against_dictionaries(p: dict[str, str], c: dict[str, str]) -> None:
    expected = {("header", n, "missing") for n in p.keys() - c.keys()}
    expected |= {("header", n, "extra") for n in c.keys() - p.keys()}
    expected |= {("header", n, "value") for n in p.keys() & c.keys() if p[n] != c[n]}
    heads = [head(*(f"{n}: {v}" for n, v in fields.items())) for fields in (p, c)]
    assert found(heads[0], heads[1]) == expected
