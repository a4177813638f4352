"""JSON edits: the place is changed and nothing else, framing is right afterwards, what does not fit stays."""

from __future__ import annotations

import copy
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.exchange.exchange import Request
from shadowd.policy.jsonedit import JsonEdit, edit_request
from shadowd.policy.policy import Policy
from shadowd.protocols.http1_reader import RequestReader

BODY = {"model": "old", "messages": [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "ü"}]}


def post(body: bytes, *lines: bytes) -> tuple[bytes, bytes]:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((b"POST /v1/chat HTTP/1.1", b"Host: a", length, *lines, b"", b"")), body


@pytest.mark.parametrize(
    ("edit", "value", "at"),
    [
        ("$.model=candidate-model", "candidate-model", ("model",)),
        ("$.temperature=0", 0, ("temperature",)),
        ('$.stop=["a"]', ["a"], ("stop",)),
        ("$.messages[0].content=You refuse = more.", "You refuse = more.", ("messages", 0, "content")),
        ('$.model="7"', "7", ("model",)),
        ("$.empty=", "", ("empty",)),
    ],
)
def test_a_place_is_changed_and_nothing_else(edit: str, value: Any, at: tuple[Any, ...]) -> None:
    edited = edit_request(*post(json.dumps(BODY).encode()), [JsonEdit(edit)])
    assert edited is not None
    head, body = edited
    found, expected = json.loads(body), copy.deepcopy(BODY)
    place: Any = expected
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = value
    assert found == expected
    (again,) = RequestReader().feed_untrusted(head + body, 1)
    assert again.body == body
    assert again.head == head


def test_chunked_and_compressed_bodies_are_sent_plain() -> None:
    plain = json.dumps(BODY).encode()
    packed = gzip.compress(plain)
    for head, body in (
        post(packed, b"Content-Encoding: gzip"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n",
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(plain), plain),
        ),
    ):
        edited = edit_request(head, body, [JsonEdit("$.model=new")])
        assert edited is not None
        (again,) = RequestReader().feed_untrusted(edited[0] + edited[1], 1)
        assert json.loads(again.body)["model"] == "new"
        for gone in (b"chunked", b"gzip", b"Trailer"):
            assert gone not in again.head
        assert again.head.count(b"Content-Length") == 1


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'{"messages": []}', b"\xff", b"[" * 100_000], ids=map(str, range(7))
)
def test_what_does_not_fit_stays(body: bytes) -> None:
    assert edit_request(*post(body), [JsonEdit("$.messages[0].content=x")]) is None


@pytest.mark.parametrize(
    "text", ["model=x", "$=x", "$.a", "$..a=1", "$.a[x]=1", "$[=1", "$.a.=1", "", "$" + ".a" * 400]
)
def test_what_is_no_edit_says_why(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|name|members|value"):
        JsonEdit(text)


def test_a_baseline_is_asked_what_production_was_asked() -> None:
    head, body = post(json.dumps(BODY).encode())
    asked = Request(b"POST", b"/v1/chat", head, body, 0, len(head) + len(body), 1, 1)
    policy = Policy(b"n/f", methods=None, json_edits=[JsonEdit("$.model=new")])
    assert b'"model":"new"' in policy.rewrite(asked, b"b")
    assert policy.rewrite(asked, b"b", edit=False).endswith(body)
    assert policy.unedited == 0
    odd = Request(b"POST", b"/", *post(b"no JSON"), 0, 1, 1, 1)
    assert policy.rewrite(odd, b"b").endswith(b"no JSON")
    assert policy.unedited == 1


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_any_bytes(head: bytes, body: bytes) -> None:
    edited = edit_request(head + b"\r\n\r\n", body, [JsonEdit("$.a=1")])
    if edited is not None:
        assert json.loads(edited[1])["a"] == 1
        assert edited[0].endswith(b"\r\nContent-Length: %d\r\n\r\n" % len(edited[1]))
