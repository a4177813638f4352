"""The door's HTTP/1.1 without a socket: what is written comes out, however it is cut; http.client reads the answers."""

from __future__ import annotations

import http.client
import io
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.observe.http11 import Http11, Message, Refused

LIMIT = 4096


def response(body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> list[Message]:
    return [
        {"type": "http.response.start", "status": status, "headers": list(headers)},
        {"type": "http.response.body", "body": body},
    ]


def converse(connection: Http11, pieces: list[bytes], answer: bytes = b"ok") -> list[tuple[Message, bytes]]:
    """What the application sees: (scope, body) of each request, each answered once its body is here."""
    seen: list[tuple[Message, bytes]] = []
    scope: Message | None = None
    body = b""
    for piece in pieces:
        connection.feed_untrusted(piece)
        while True:
            if scope is None:
                scope, body = connection.next_request_untrusted(), b""
                if scope is None:
                    break
            message = connection.next_body_untrusted()
            if message is None:
                break
            body += message["body"]
            if not message["more_body"]:
                assert connection.received
                seen.append((scope, body))
                for told in response(answer):
                    connection.answer(told)
                assert connection.goes_on()
                scope = None
    return seen


def chunked(body: bytes, cut: int) -> bytes:
    pieces = [body[:cut], body[cut:]]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


@given(
    requests=st.lists(
        st.tuples(st.sampled_from(["GET", "POST"]), st.binary(max_size=40), st.booleans(), st.integers(0, 40)),
        min_size=1, max_size=4,
    ),
    data=st.data(),
)  # fmt: skip
def test_pipelined_requests_come_out_as_they_were_written_however_they_are_cut(
    requests: list[tuple[str, bytes, bool, int]], data: st.DataObject
) -> None:
    wire = b""
    for number, (method, body, in_chunks, cut) in enumerate(requests):
        framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % len(body)
        wire += b"%b /%d/a%%20b?q=%d HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % (method.encode(), number, number, framing)
        wire += chunked(body, cut) if in_chunks else body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True) if a < b]
    seen = converse(Http11(LIMIT), pieces)
    told = [(scope["method"], scope["path"], scope["raw_path"], scope["query_string"], body) for scope, body in seen]
    assert told == [
        (method, f"/{number}/a b", b"/%d/a%%20b" % number, b"q=%d" % number, body)
        for number, (method, body, _, _) in enumerate(requests)
    ]


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        ("http://other:1/x?y", b"/x", b"y", b"other:1"),
        ("http://u:p@other", b"/", b"", b"other"),
        ("*", b"*", b"", b"h"),
        ("//x/y", b"//x/y", b"", b"h"),
    ],
)
def test_a_target_in_another_form_says_the_host_itself(target: str, path: bytes, query: bytes, host: bytes) -> None:
    """RFC 9112 §3.2.2: what Host says does not count then, so that nobody passes the door's check of names by it."""
    connection = Http11(LIMIT)
    connection.feed_untrusted(f"GET {target} HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n".encode())
    scope = connection.next_request_untrusted()
    assert scope is not None
    assert (scope["raw_path"], scope["query_string"]) == (path, query)
    assert [value for name, value in scope["headers"] if name == b"host"] == [host]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400), (b"GET\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n x: y\r\nHost: a\r\n\r\n", 400),
        (b"GET http://[/ HTTP/1.1\r\nHost: a\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nX : y\r\nHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505), (b"GET / HTTP/1.1\r\nX: " + b"y" * 2 * LIMIT, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_once_and_for_all(sent: bytes, status: int) -> None:
    connection = Http11(LIMIT)
    connection.feed_untrusted(sent)
    with pytest.raises(Refused) as caught:
        connection.next_request_untrusted()
    assert caught.value.status == status
    answer = connection.refusal(status)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nconnection: close\r\n" in answer
    assert connection.refusal(status) == b""
    assert not connection.goes_on()


def test_a_broken_chunk_is_refused_also_when_it_is_looked_at_by_an_answer() -> None:
    for asked in (True, False):
        connection = Http11(LIMIT)
        connection.feed_untrusted(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
        assert connection.next_request_untrusted() is not None
        if asked:
            with pytest.raises(Refused, match="400"):
                connection.next_body_untrusted()
            assert connection.refusal(400).startswith(b"HTTP/1.1 400 ")
        else:
            assert b"\r\nconnection: close\r\n" in connection.answer(response(b"")[0]).lower()
            connection.answer(response(b"")[1])
        assert not connection.goes_on()


def read(method: str, wire: bytes) -> tuple[int, dict[str, str], bytes, bytes]:
    """Status, headers, body, and what is left, as http.client reads them."""

    class Sock(io.BytesIO):
        def makefile(self, mode: str) -> Sock:
            return self

        def close(self) -> None:
            """What is left is asked for later."""

    stream = Sock(wire)
    answer = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type]
    answer.begin()
    body = answer.read()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body, stream.read()


def asked(method: str, version: str = "1.1") -> Http11:
    connection = Http11(LIMIT)
    connection.feed_untrusted(f"{method} / HTTP/{version}\r\nHost: h\r\n\r\n".encode())
    assert connection.next_request_untrusted() is not None
    return connection


@given(pieces=st.lists(st.binary(max_size=50), max_size=5), told=st.booleans(), method=st.sampled_from(["GET", "HEAD"]))
def test_an_answer_is_read_by_a_client_as_it_was_given(pieces: list[bytes], told: bool, method: str) -> None:
    body = b"".join(pieces)
    connection = asked(method)
    headers = [(b"content-length", str(len(body)).encode())] if told else []
    wire = connection.answer({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in [*pieces, None]:
        if not connection.answered:  # to HEAD it is whole at once
            wire += connection.answer(
                {"type": "http.response.body", "body": piece or b"", "more_body": piece is not None}
            )
    assert connection.answered
    status, found, given_body, left = read(method, wire)
    assert (status, given_body, left) == (200, b"" if method == "HEAD" else body, b"")
    assert "date" in found
    assert found.get("content-length") == (str(len(body)) if told else None)
    assert connection.goes_on()


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_cannot_have_a_body_has_none(status: int) -> None:
    connection = asked("GET")
    wire = b"".join(connection.answer(message) for message in response(b"text", status=status))
    assert read("GET", wire)[2:] == (b"", b"")
    assert connection.goes_on()


def test_an_old_client_reads_to_the_end() -> None:
    connection = asked("GET", "1.0")
    wire = b"".join(connection.answer(message) for message in response(b"text"))
    assert read("GET", wire)[2] == b"text"
    assert not connection.goes_on()


def test_an_answer_before_the_body_ends_the_connection_unless_the_body_is_here() -> None:
    for rest in (b"", b"12345"):
        connection = Http11(LIMIT)
        connection.feed_untrusted(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n" + rest)
        assert connection.next_request_untrusted() is not None
        head, _ = (connection.answer(message) for message in response(b"no", status=413))
        assert (b"connection: close" in head.lower()) == (not rest)
        assert connection.goes_on() == bool(rest)


def test_continue_is_said_once_and_only_to_who_waits() -> None:
    connection = Http11(LIMIT)
    connection.feed_untrusted(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert connection.next_request_untrusted() is not None
    assert connection.next_body_untrusted() is None
    assert [connection.encourage()[:13], connection.encourage()] == [b"HTTP/1.1 100 ", b""]
    assert asked("GET").encourage() == b""


@pytest.mark.parametrize(
    "wrong",
    [
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.start", "status": 200}],
        response(b"too long", (b"content-length", b"3")),
        response(b"x", (b"content-length", b"3")),
        response(b"x", (b"a", b"line\r\nbreak")),
        [*response(b"x"), {"type": "http.response.body", "body": b"x"}],
        [{"type": "http.response.push"}],
    ],
)
def test_an_application_that_does_not_keep_to_its_words_is_told(wrong: list[dict[str, Any]]) -> None:
    connection = asked("GET")

    def say() -> None:
        for message in wrong:
            connection.answer(message)

    with pytest.raises((h11.LocalProtocolError, ValueError)):
        say()
    assert not connection.goes_on() or wrong[-1]["body"] == b"x"
