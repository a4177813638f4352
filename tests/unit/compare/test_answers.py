"""Whole answers: the order of the comparison, and how each kind of body is compared."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare import answers
from shadowd.compare.answers import compare_answers
from shadowd.compare.difference import Difference, Differences, Options, shown
from shadowd.exchange.exchange import Response
from shadowd.protocols.content_digest import ContentDigest, drop_body

Found = set[tuple[str, str, str]]


def answer(body: bytes = b"", *fields: str, status: int = 200, kind: str = "application/json") -> Response:
    lines = [f"HTTP/1.1 {status} X", *([f"Content-Type: {kind}"] if kind else []), *fields, "", ""]
    response = Response(status, "\r\n".join(lines).encode(), 0, 0)
    response.body = body
    response.body_length = len(body)
    return response


def turn(data: bytes, length: int | None = None) -> Response:
    response = Response(0, b"", 0, 0)
    response.body = data
    response.body_length = len(data) if length is None else length
    return response


def found(p: Response, c: Response, **options: object) -> Found:
    return {d[:3] for d in compare_answers(p, c, Options(**options))}  # type: ignore[arg-type]


def test_equal_answers_are_never_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(*_: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(answers, "content_untrusted", parsed)
    p, c = answer(b'{"a":1}', "Date: Mon"), answer(b'{"a":1}', "Date: Tue")
    assert compare_answers(p, c, Options()) == ()
    with pytest.raises(AssertionError, match="parsed"):
        compare_answers(p, answer(b'{"a":2}', "Date: Tue"), Options())


def test_equal_bodies_are_never_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(answers, "content_untrusted")
    assert found(answer(b"{}", "ETag: a"), answer(b"{}", "ETag: b")) == {("header", "etag", "value")}


def test_another_status_is_one_difference() -> None:
    p, c = answer(b'{"a":1}', "ETag: a"), answer(b"oops", status=500, kind="text/plain")
    assert compare_answers(p, c, Options())[0][:] == ("status", "", "value", "200", "500")
    assert len(compare_answers(p, c, Options())) == 1


@pytest.mark.parametrize("status", [204, 304, 103])
def test_answers_that_have_no_body(status: int) -> None:
    assert found(answer(b"x", status=status), answer(b"y", status=status)) == set()


def test_json_by_structure_and_heads_beside_it() -> None:
    p = answer(b'{"total": 10, "items": [{"price": 1}], "at": "x"}', "ETag: 1")
    c = answer(b'{"items": [{"price": 2}], "total": 10.0, "new": 0, "at": "x"}', "ETag: 2")
    assert found(p, c) == {
        ("header", "etag", "value"),
        ("body", "$.items[*].price", "value"),
        ("body", "$.new", "extra"),
    }


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "application/vnd.api+json", "text/json", "", "APPLICATION/JSON"]
)
def test_what_is_json(kind: str) -> None:
    assert found(answer(b'{"a": [1], "b": 2}', kind=kind), answer(b'{"b":2,"a":[1]}', kind=kind)) == set()
    assert found(answer(b'{"a":1}', kind=kind), answer(b'{"a":2}', kind=kind)) == {("body", "$.a", "value")}


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl", "application/json-seq"])
def test_lines_of_json(kind: str) -> None:
    p, c = answer(b'{"a":1,"b":1}\n{"a":2}\n', kind=kind), answer(b'{"b":1,"a":1}\n{"a":3}\n', kind=kind)
    assert found(p, c) == {("body", "$[*].a", "value")}


def test_codings_and_chunks_are_undone() -> None:
    text = b'{"a":1,"b":[1,2,3]}'
    squeezed = gzip.compress(text)
    p = answer(squeezed, "Content-Encoding: gzip")
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
    c = answer(chunked, "Transfer-Encoding: chunked")
    assert found(p, c) == {("header", "content-encoding", "missing")}
    c = answer(zlib.compress(text.replace(b"1", b"7", 1)), "Content-Encoding: deflate")
    assert found(p, c) == {("header", "content-encoding", "value"), ("body", "$.a", "value")}


def test_a_body_that_cannot_be_decoded() -> None:
    p, c = answer(gzip.compress(b"{}"), "Content-Encoding: gzip"), answer(b"{}", "Content-Encoding: gzip")
    assert found(p, c) == {("body", "", "encoding")}
    assert compare_answers(p, c, Options())[0].candidate == "malformed gzip"
    coded = [answer(b"\0" + end, "Content-Encoding: x", kind="application/octet-stream") for end in (b"1", b"2")]
    assert found(*coded) == {("body", "", "digest")}


def test_malformed_json_on_one_side_and_on_both() -> None:
    assert found(answer(b'{"a":1}'), answer(b'{"a":1')) == {("body", "$", "malformed")}
    assert found(answer(b'{"a":1'), answer(b'{"a":1}')) == {("body", "$", "malformed")}
    assert found(answer(b""), answer(b"{}")) == {("body", "$", "malformed")}
    (difference,) = compare_answers(answer(b"{a\n{b"), answer(b"{a\n{c"), Options())
    assert difference[:3] == ("body", "line[2]", "value")
    assert difference.candidate == "{c (malformed JSON: compared as text)"


@pytest.mark.parametrize("kind", ["text/plain", "text/css", "application/x+yaml", "application/yaml", ""])
def test_what_is_text(kind: str) -> None:
    p, c = answer(b"a {\n b: 1\n}\n", kind=kind), answer(b"a {\n b: 2\n}\n", kind=kind)
    assert found(p, c) == {("body", "line[2].word[2]", "value")}


def test_charsets() -> None:
    p = answer("grün".encode("latin-1"), kind="text/plain; charset=iso-8859-1")
    c = answer("grün".encode(), kind="text/plain; charset=utf-8")
    assert found(p, c) == {("header", "content-type", "value")}
    assert found(answer(b"\xff", kind="text/plain"), answer(b"\xfe", kind="text/plain")) == {("body", "", "digest")}


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "multipart/mixed"])
def test_anything_else_by_length_and_digest(kind: str) -> None:
    assert found(answer(b"\0\1", kind=kind), answer(b"\0\2", kind=kind)) == {("body", "", "digest")}
    assert found(answer(b"\0\1", kind=kind), answer(b"\0", kind=kind)) == {("body", "", "length")}


def test_another_media_type() -> None:
    p, c = answer(b'{"a":1}'), answer(b"<a>1</a>", kind="text/xml")
    assert found(p, c) == {("header", "content-type", "media_type"), ("body", "$", "type")}
    assert found(p, answer(b'{"a":1}', kind="text/plain")) == {("header", "content-type", "media_type")}
    assert found(p, answer(b'{"a":2}', kind="text/plain"), ignore_headers=["content-type"]) == {
        ("body", "$.a", "value")
    }


def test_limits_of_json_say_so() -> None:
    deep = b"[" * 100 + b"1" + b"]" * 100
    (difference,) = compare_answers(answer(deep), answer(deep.replace(b"1", b"2")), Options())
    assert difference.kind == "digest"
    assert "nested too deeply" in difference.production
    deeper = b"[" * 50_000
    assert found(answer(deeper), answer(deeper + b"[")) == {("body", "", "length")}
    wide = json.dumps([{"a": n} for n in range(100)]).encode()
    (difference,) = compare_answers(answer(wide), answer(wide.replace(b"3", b"4")), Options(max_nodes=50))
    assert "too many values" in difference.candidate
    assert found(answer(wide), answer(wide.replace(b" ", b"")), max_nodes=50) == set()


def test_more_differences_are_counted() -> None:
    p = answer(json.dumps({f"k{n}": n for n in range(9)}).encode(), "X-A: 1", "X-B: 1", "X-C: 1")
    result = compare_answers(p, answer(b"{}"), Options(max_differences=10))
    assert (len(result), result.more) == (10, 2)
    assert compare_answers(p, answer(b"{}"), Options()).more == 0


def test_a_body_over_the_limit_is_compared_by_digest() -> None:
    def long(body: bytes, *fields: str) -> Response:
        response = answer(body, *fields)
        drop_body(response)
        return response

    big = b"x" * 1000
    assert found(long(big), long(big)) == set()
    (difference,) = compare_answers(long(big), long(b"y" * 1000), Options())
    assert difference[:3] == ("body", "", "digest")
    assert "over the limit" in difference.candidate
    chunked = b"3e8\r\n%s\r\n0\r\n\r\n" % big
    assert found(long(big), long(chunked, "Transfer-Encoding: chunked")) == set()
    assert found(long(big), answer(chunked, "Transfer-Encoding: chunked")) == set()  # one side just fits
    assert found(answer(big + b"y"), long(big)) == {("body", "", "digest")}
    assert long(big).digest == (lambda d: (d.update_untrusted(big), d.digest())[1])(ContentDigest(False))


def test_a_body_that_was_cut_without_a_digest() -> None:
    p, c = answer(b"abc"), answer(b"abd")
    p.body_length = c.body_length = 900
    (difference,) = compare_answers(p, c, Options())
    assert difference.kind == "digest"
    assert "first 3 bytes" in difference.production
    c.body = b"ab"
    assert found(p, c) == set()
    c.body_length = 901
    assert found(p, c) == {("body", "", "length")}


def test_too_large_when_decompressed() -> None:
    bodies = [gzip.compress(bytes(answers.CONTENT_LIMIT) + tail) for tail in (b"a", b"b", b"a" * 9)]
    a, b, c = (answer(body, "Content-Encoding: gzip") for body in bodies)
    assert found(a, b) == {("body", "", "digest")}
    assert found(a, c) == {("body", "", "digest")}
    small = answer(gzip.compress(b"{}"), "Content-Encoding: gzip")
    assert found(a, small) == {("body", "", "encoding")}


def test_raw_turns() -> None:
    assert found(turn(b"abc"), turn(b"abc")) == set()
    assert found(turn(b"abc"), turn(b"abd")) == {("turn", "", "value")}
    assert found(turn(b"*1\r\n:1\r\n"), turn(b"*1\r\n:2\r\n")) == {("turn", "$[*]", "value")}
    assert found(turn(b":1\r\n"), turn(b":1")) == {("turn", "", "value")}
    assert found(turn(b":1\r\n", 9), turn(b":2\r\n", 9)) == {("turn", "", "value")}
    assert found(turn(b":1\r\n", 9), turn(b":1\r\n", 8)) == {("turn", "", "value")}
    (difference,) = compare_answers(turn(b"\x1b[2J"), turn(b"x"), Options())
    assert difference.production.isprintable()


def test_a_candidate_that_leaves_http_is_told_and_production_that_does_is_not() -> None:
    """Such answers are read, and kept as what they should have been."""
    strict, loose, other = answer(b"a"), answer(b"a"), answer(b"b")
    loose.loose = True
    assert found(strict, loose) == {("header", "(framing)", "malformed")}
    assert found(loose, loose) == found(loose, strict) == set()
    assert ("header", "(framing)", "malformed") in found(other, loose)


def test_a_difference_is_its_field_and_kind() -> None:
    a, b = Difference("body", "$.a", "value", "1", "2"), Difference("body", "$.a", "value", "3", "4")
    assert a == b
    assert not (a != b)  # noqa: SIM202 - the operator is what is tested
    assert len({a, b}) == 1
    assert a != Difference("body", "$.a", "type", "1", "2")
    assert a != ("body", "$.a", "value", "1", "2")
    assert Differences.of([a], 3).more == 3


def test_shown() -> None:
    assert shown("a" * 200) == "a" * 200
    assert shown("a" * 201) == "a" * 199 + "…"
    assert shown("\x1b[31m\n") == "\\x1b[31m\\n"
    assert len(shown("\n" * 150)) == 200


BODIES = st.binary(max_size=60) | st.text('{}[]":,0123ab\n ', max_size=40).map(str.encode)
KINDS = st.sampled_from(
    ["application/json", "text/plain; charset=utf-16", "", "application/x-ndjson", "a/b", "text/html"]
)
FIELDS = st.sampled_from(["X: 1", "Content-Encoding: gzip", "Content-Encoding: br, zstd", "Transfer-Encoding: chunked"])


@given(BODIES, BODIES, KINDS, KINDS, FIELDS, FIELDS)
def test_any_answers_are_survived(p: bytes, c: bytes, kp: str, kc: str, fp: str, fc: str) -> None:
    ours, theirs = answer(p, fp, kind=kp), answer(c, fc, kind=kc)
    assert all(isinstance(d, Difference) and d.kind for d in compare_answers(ours, theirs, Options()))
    assert compare_answers(ours, answer(p, fp, kind=kp), Options()) == ()
    compare_answers(turn(p), turn(c), Options())
