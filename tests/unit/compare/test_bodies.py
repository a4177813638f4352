"""Contents by what they look like, whatever they are called: a path for every difference."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.compare.answers import compare_answers
from shadowd.compare.bodies import look
from shadowd.compare.content import Content
from shadowd.compare.difference import Options
from shadowd.exchange.exchange import Response
from tests.unit.costs import LINEAR, growth

LABELS = [
    "application/json", "text/plain", "text/html", "application/octet-stream", "application/json, application/json", "",
    "application/xml", "text/event-stream", "application/x-ndjson", "multipart/form-data; boundary=b", "text/csv",
    "application/x-www-form-urlencoded", "image/png", "application/javascript", "text/plain; charset=utf-16",
]  # fmt: skip


def answer(body: bytes | str, kind: str = "application/json", *fields: str) -> Response:
    lines = ["HTTP/1.1 200 OK", *([f"Content-Type: {kind}"] if kind else []), *fields, "", ""]
    response = Response(200, "\r\n".join(lines).encode(), 0, 0)
    response.body = body if isinstance(body, bytes) else body.encode()
    response.body_length = len(response.body)
    return response


def found(p: bytes | str, c: bytes | str, kind: str = "application/json", *fields: str) -> set[tuple[str, str]]:
    differences = compare_answers(answer(p, kind, *fields), answer(c, kind, *fields), Options())
    assert all(d.where == "body" for d in differences)
    return {d[1:3] for d in differences}


APART = {("$.at", "value"), ("$.price", "value")}


@pytest.mark.parametrize("kind", [label for label in LABELS if "ndjson" not in label and "utf-16" not in label])
def test_json_under_any_name(kind: str) -> None:
    assert found('{"at": 1, "price": 1}', '{"price": 2, "at": 2}', kind) == APART
    assert found('{"at": 1, "price": 1}', '{"price": 1,"at":1}', kind) == set()


@pytest.mark.parametrize(
    ("before", "after"),
    [(")]}',\n", ""), (")]}'\n", ""), ("while(1);", ""), ("for (;;);", ""), ("throw 1; ", ""), ("callback(", ");"),
     ("/**/a.b_1(", ")"), ("\ufeff", ""), ("\n  ", "\n"), ("{}&&", "")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["application/json", "application/javascript", "text/plain"])
def test_json_behind_a_guard(before: str, after: str, kind: str) -> None:
    p, c = (before + json.dumps({"at": n, "price": n}) + after for n in (1, 2))
    assert found(p, c, kind) == APART
    if before.strip("\ufeff\n "):
        bare = p[len(before) : len(p) - len(after)]
        assert found(p, bare, kind) == {("", "value")}


def test_constants_and_bad_characters_turn_nothing_off() -> None:
    assert found('{"at":1,"r":NaN,"price":1}', '{"at":2,"r":NaN,"price":2}') == APART
    assert found('{"at":1,"r":NaN,"price":1}', '{"at":1,"r":null,"price":1}') == {("$.r", "type")}
    assert found(b'{"at":1,"r":"\xff","price":1}', b'{"at":2,"r":"\xff","price":2}') == APART
    assert found(b'{"r":"a"}', b'{"r":"\xff"}') == {("$.r", "value"), ("$", "malformed")}


def test_a_key_that_stands_there_twice() -> None:
    assert found('{"a": 1, "a": 2}', '{"a": 2}') == {("$.a", "type")}
    assert found('{"a": 1, "a": 2}', '{"a": 9, "a": 2}') == {("$.a['(repeated)'][*]", "value")}
    assert found('{"b": 1, "a": 2}', '{"a": 2, "b": 1}') == set()


def test_json_in_a_string() -> None:
    p, c = (json.dumps({"t": json.dumps({"at": n, "price": n})}) for n in (1, 2))
    assert found(p, c) == {("$.t.at", "value"), ("$.t.price", "value")}
    assert found('{"t": "{1"}', '{"t": "{2"}') == {("$.t", "value")}


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/json", "text/plain", ""])
def test_lines_of_json_under_any_name(kind: str) -> None:
    p, c = ("\n".join(json.dumps({"at": n, "price": n}) for _ in range(3)) for n in (1, 2))
    assert found(p, c, kind) == {("$[*].at", "value"), ("$[*].price", "value")}
    assert found(p, p.rpartition("\n")[0], kind) == {("$", "length")}


def test_one_bad_line_turns_nothing_off() -> None:
    p, c = ("\n".join((json.dumps({"a": n}), "oops", "3")) for n in (1, 2))
    assert found(p, c, "application/x-ndjson") == {("$[*].a", "value")}


@pytest.mark.parametrize(
    "kind", ["text/event-stream", "text/plain", "application/json", "application/octet-stream", ""]
)
def test_events_under_any_name(kind: str) -> None:
    def stream(at: int, price: int) -> str:
        return f': hi\nevent: tick\ndata: {at}\n\nid: 7\ndata: {{"at": {at},\ndata: "price": {price}}}\n\n'

    assert found(stream(1, 1), stream(2, 2), kind) == {
        ("$.events[*].tick.data", "value"),
        ("$.events[*].message.data.at", "value"),
        ("$.events[*].message.data.price", "value"),
    }
    assert found(stream(1, 1), stream(1, 1).replace("\n", "\r\n").replace("hi", "ho"), kind) == set()
    assert found(stream(1, 1), stream(1, 1) * 2, kind) == {("$.events", "length")}
    assert found(stream(1, 1), stream(1, 1)[:-1], kind) == {("$.events", "length"), ("$['(cut)']", "extra")}


def test_other_events_and_another_order() -> None:
    assert found("data: 1\n\ndata: 2\n\n", "data: 2\n\ndata: 1\n\n", "text/event-stream") == {("$.events", "order")}
    assert found("event: a\ndata: 1\n\n", "event: b\ndata: 1\n\n", "text/event-stream") == {
        ("$.events[*].a", "missing"),
        ("$.events[*].b", "extra"),
    }


def test_forms() -> None:
    form = "application/x-www-form-urlencoded"
    assert found("at=1&price=1&s=a+b", "price=2&s=a%20b&at=2", form) == APART
    assert found("tag=1&tag=2", "tag=1", form) == {("$.tag", "length")}
    assert found("at=1&price=1", "at=2&price=2", "text/plain") == APART


def multipart(boundary: str, at: int, price: int, names: bool = True) -> str:
    parts = [(f'Content-Disposition: form-data; name="{name}"\r\n' if names else "") for name in ("at", "goods")]
    body = (f"\r\n{at}", f'Content-Type: application/json\r\n\r\n{{"price": {price}}}')
    return "".join(f"--{boundary}\r\n{h}{b}\r\n" for h, b in zip(parts, body, strict=True)) + f"--{boundary}--\r\n"


def test_multipart_by_part_and_without_its_boundary() -> None:
    def compared(p: str, c: str) -> set[tuple[str, str]]:
        answers = [answer(body, f"multipart/form-data; boundary={body[2:5]}") for body in (p, c)]
        return {d[1:3] for d in compare_answers(answers[0], answers[1], Options())}

    assert compared(multipart("aaa", 1, 1), multipart("bbb", 1, 1)) == set()
    assert compared(multipart("aaa", 1, 1), multipart("bbb", 2, 2)) == {
        ("$.parts.at.content", "value"),
        ("$.parts.goods.content.price", "value"),
    }
    unnamed = multipart("aaa", 1, 1, False), multipart("bbb", 1, 2, False)
    assert compared(*unnamed) == {("$.parts[*].content.price", "value")}
    assert compared(unnamed[0], unnamed[1][:-9]) == {("$['(cut)']", "extra"), ("$.parts[*].content.price", "value")}
    assert compared(unnamed[0], "--bbb no such thing") != set()


def test_tables_by_column() -> None:
    p, c = "id,at,price\n1,1,1\n2,2,2\n", "id,at,price\n1,8,1\n2,9,7\n"
    assert found(p, c, "text/csv") == {("$.rows[*].at", "value"), ("$.rows[*].price", "value")}
    assert found("a,b\n1,2\n", "b,a\n2,1\n", "text/csv") == {("$.columns", "order")}


# --- markup -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/xml", "text/xml", "application/soap+xml", "text/plain", ""])
def test_xml_by_structure(kind: str) -> None:
    def xml(at: int, price: int, more: str = "") -> str:
        return f'<r v="1"><at>{at}</at><i><p c="EUR">{price}</p></i><i><p c="EUR">7</p></i>{more}</r>'

    assert found(xml(1, 1), xml(2, 2), kind) == {("$.r.at", "value"), ("$.r.i[*].p", "value")}
    assert found(xml(1, 1), xml(1, 1).replace('"', "'").replace("><", ">\n<"), kind) == set()
    assert found(xml(1, 1), xml(1, 1, "<n/>"), kind) == {("$.r.n", "extra")}
    assert found(xml(1, 1), xml(1, 1).replace("EUR", "USD", 1), kind) == {("$.r.i[*].p.@c", "value")}
    assert found(xml(1, 1), xml(2, 1).removesuffix("</r>"), "application/xml") == {("$", "malformed")}
    assert found("<a><b>1</b><c>2</c></a>", "<a><c>2</c><b>1</b></a>", kind) == {("$", "order")}


def test_xml_that_declares_entities_is_not_expanded() -> None:
    laughs = (
        '<!DOCTYPE a [<!ENTITY a "'
        + "x" * 100
        + '">'
        + "".join(f'<!ENTITY {chr(98 + n)} "{("&" + chr(97 + n) + ";") * 10}">' for n in range(9))
    )
    p, c = (f"{laughs}]><a><t>{n}</t>&j;<p>{n}</p></a>" for n in (1, 2))
    assert len(found(p, c, "application/xml")) == 2


def test_html_by_structure() -> None:
    def page(token: str, price: int, rows: int = 2) -> str:
        cells = "".join(f"<tr><td>{n}</td><td>{price}</td></tr>" for n in range(rows))
        state = json.dumps({"token": token, "price": price})
        return (
            f'<!doctype html><html>\n<head><meta name="csrf-token" content="{token}"><meta name=viewport content=a>'
            f"<script>window.a < b && c</script><script type=x>{state}</script></head>"
            f"<body><p>Price: {price} EUR<p>Other<br><img src=a><table>{cells}</table></body></html>"
        )

    assert {path for path, _ in found(page("a1", 1), page("b2", 2), "text/html")} == {
        "$.html.head.meta[name=csrf-token].@content",
        "$.html.head.script(2).token",
        "$.html.head.script(2).price",
        "$.html.body.p(1).word[2]",
        "$.html.body.p(2).table.tr[*].td(2)",
    }
    assert found(page("a1", 1), page("a1", 1, 3), "text/html")
    assert found("<div><p>a</p></div>", "<div><p>a</p>", "text/html") == {("$", "order")}
    assert found("<P CLASS='a'>x</P>", '<p class="a">x</p>', "text/html") == set()


# --- what cannot be understood ----------------------------------------------------------------------------------------


def test_a_coding_that_is_announced_and_not_there() -> None:
    for coding in ("gzip", "br", "zstd", "deflate", "utf-8"):
        header = f"Content-Encoding: {coding}"
        p, c = (answer(json.dumps({"at": n, "price": n}), "application/json", header) for n in (1, 2))
        differences = compare_answers(p, c, Options())
        assert {d[1:3] for d in differences} == APART
        assert all("compared as sent" in d.candidate or coding in d.candidate for d in differences)
        assert compare_answers(p, p, Options()) == ()


def test_equal_as_far_as_decoded_is_not_equal() -> None:
    whole = gzip.compress(b"{}" * 50)
    p, c = (answer(whole[:-8] + tail, "text/plain", "Content-Encoding: gzip") for tail in (b"abc", b"abd"))
    (difference,) = compare_answers(p, c, Options())
    assert difference.kind == "digest"
    assert "equal as far as decoded" in difference.production


def test_bytes_say_that_they_hide() -> None:
    (difference,) = compare_answers(answer(b"\0\1", "image/png"), answer(b"\0\2", "image/png"), Options())
    assert difference[:3] == ("body", "", "digest")
    assert "binary: compared by digest" in difference.production


@pytest.mark.parametrize(
    ("p", "c", "kind", "expected"),
    [
        ('{"a":1}', "<html>oops</html>", "application/json", ("$", "malformed")),
        ('{"a":1}', "", "application/json", ("$", "malformed")),
        ('{"a":1}', "oops", "text/plain", ("$", "type")),
        ("text", "", "text/plain", ("", "length")),
        ("[INFO] one\nprice 1", "INFO one\nprice 1", "text/plain", ("line[1]", "value")),
        ("some text", b"\0\1\2", "application/octet-stream", ("", "length")),
    ],
)
def test_another_kind(p: str, c: str | bytes, kind: str, expected: tuple[str, str]) -> None:
    assert expected in found(p, c, kind)


def test_trailers() -> None:
    def chunked(*trailers: str) -> Response:
        body = "".join(("4\r\ndata\r\n0\r\n", *(f"{line}\r\n" for line in trailers), "\r\n"))
        return answer(body, "text/plain", "Transfer-Encoding: chunked")

    def differ(p: Response, c: Response) -> list[tuple[str, str, str]]:
        return [d[:3] for d in compare_answers(p, c, Options())]

    assert differ(chunked("X-Status: 0"), chunked("X-Status: 13")) == [("trailer", "x-status", "value")]
    assert differ(chunked("X-Status: 0"), chunked()) == [("trailer", "x-status", "missing")]
    assert differ(chunked(), chunked("A: 1")) == [("trailer", "a", "extra")]
    assert differ(chunked("A: 1", "B: 2"), chunked("b:2", "a:1")) == []
    assert differ(chunked("Server-Timing: a"), chunked("Server-Timing: b")) == []


# --- whatever is answered ---------------------------------------------------------------------------------------------

PIECES = [
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"1", b"1e9", b"NaN", b"a", b"<", b">", b"</", b"/>", b"<a", b"<a>",
    b"</a>", b"<!--", b"&amp;", b"=", b"&", b"\n", b"\r\n", b"\n\n", b"data: ", b"event: x\n", b"--b", b"--b--",
    b"\0", b"\xff",
    b"\xef\xbb\xbf", b")]}'", b"cb(", b");", b" ", b"'", b"\\", b"\\u00", b"%", b"+", b"\x1e", b"<?xml?>",
    b"<html>",
]  # fmt: skip
BODIES = st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join) | st.binary(max_size=60)


@settings(max_examples=400)
@given(BODIES, BODIES, st.sampled_from(LABELS), st.sampled_from(LABELS), st.sampled_from(["", "gzip", "br", "x"]))
def test_any_two_bodies(p: bytes, c: bytes, ours: str, theirs: str, coding: str) -> None:
    fields = [f"Content-Encoding: {coding}"] if coding else []
    first, second = answer(p, ours, *fields), answer(c, theirs, *fields)
    assert compare_answers(first, answer(p, ours, *fields), Options()) == ()
    ahead = compare_answers(first, second, Options())
    back = compare_answers(second, first, Options())
    assert bool(ahead) == bool(back)
    assert all(d.production.isprintable() and d.candidate.isprintable() for d in ahead)


@given(BODIES, st.sampled_from(LABELS))
def test_a_body_is_of_one_kind(body: bytes, label: str) -> None:
    assert look(Content(body, label.partition(";")[0], "", "", label)) == look(Content(body, label.partition(";")[0]))


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    "kind", ["application/json", "text/html", "application/xml", "text/plain", "multipart/x; boundary=b"]
)
def test_the_cost_grows_with_the_size_and_no_faster(piece: bytes, kind: str) -> None:
    """Bodies of one piece, repeated: lines of the comparison's code that run, for twice the size at most some more."""
    import sys

    counts = []
    for size in (1 << 10, 8 << 10):
        p = piece * (size // len(piece))
        first, second = answer(p + b"1", kind), answer(p + b"2", kind)
        steps = 0

        def count(*_: object) -> object:
            nonlocal steps
            steps += 1
            return count

        before = sys.gettrace()
        sys.settrace(count)  # type: ignore[arg-type]
        try:
            compare_answers(first, second, Options())
        finally:
            sys.settrace(before)
        counts.append(steps)
    assert counts[1] < 12 * counts[0] + 2000


def test_a_volatile_value_among_many_is_one_difference() -> None:
    draw = random.Random(7)
    for _ in range(50):
        lines = [f"row {n} {draw.random():.3f}" for n in range(200)]
        other = list(lines)
        places = draw.sample(range(200), 3)
        for at in places:
            other[at] = f"row {at} changed"
        assert found("\n".join(lines), "\n".join(other), "text/plain") == {
            (f"line[{at + 1}].word[3]", "value") for at in places
        }


@pytest.mark.parametrize("label", ["application/json", "application/x-ndjson", "text/plain"])
@pytest.mark.parametrize("unit", [" ", "\n", "a", "/**/", "while(1) ", "( "])
def test_what_stands_around_json_is_looked_for_in_linear_time(label: str, unit: str) -> None:
    def pair(size: int) -> Callable[[], object]:
        ours, theirs = (answer(unit * (size // len(unit)) + end, label) for end in ("1)", "2)"))
        return lambda: compare_answers(ours, theirs, Options())

    assert growth(pair(40_000), pair(10_000)) < LINEAR
