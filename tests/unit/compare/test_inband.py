"""Errors inside answers whose status is good: found, ranked, and the same fault has the same signature."""

from __future__ import annotations

import base64
import gzip
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare import inband
from shadowd.compare.inband import FAILED, REFUSED, in_band_error_untrusted, in_band_errors_untrusted
from shadowd.exchange.exchange import Response
from tests.unit.compare.exchanges import answer, request


def turn(data: bytes) -> Response:
    made = Response(0, b"", 0, 1)
    made.body, made.body_length = data, len(data)
    return made


def frame(data: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BI", flags, len(data)) + data


def typed(body: bytes, kind: str, **more: str) -> Response:
    return answer(body, 200, {"Content-Type": kind, **more})


def graphql(errors: list[object], data: object = ..., **more: object) -> Response:
    document = {"errors": errors} | ({} if data is ... else {"data": data}) | more
    return answer(document)


RPC = {"jsonrpc": "2.0", "id": 1}
NO_CART = {"message": "no cart 4711", "path": ["cart", 0, "lines"]}
EVENTS = "text/event-stream"
SOAP = "<s:Envelope xmlns:s='x'><s:Body><s:Fault>{}</s:Fault></s:Body></s:Envelope>"


@pytest.mark.parametrize(
    ("response", "rank", "kind", "title"),
    [
        (graphql([NO_CART], None), FAILED, "graphql error", "no cart <n> at cart.lines"),
        (graphql([NO_CART], {"cart": None}), REFUSED, "graphql error", "no cart <n> at cart.lines"),
        (graphql([{"message": "Syntax Error: a Name"}]), REFUSED, "graphql error", "Syntax Error: a Name"),
        (graphql([{"message": "x", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]), FAILED, "graphql error",
         "INTERNAL_SERVER_ERROR: x"),
        (graphql([{"message": "x", "extensions": {"code": "FORBIDDEN"}}], None), REFUSED, "graphql error",
         "FORBIDDEN: x"),
        (graphql([{"message": "a", "extensions": {"code": "BAD_USER_INPUT"}},
                  {"message": "b", "extensions": {"code": "TIMEOUT"}}], {}), FAILED, "graphql error", "TIMEOUT: b"),
        (answer([{"data": {}}, {"errors": [{"message": "no"}], "data": None}]), FAILED, "graphql error", "no"),
        (answer(RPC | {"error": {"code": -32603, "message": "stock failed for 17"}}), FAILED, "json-rpc error",
         "-32603: stock failed for <n>"),
        (answer(RPC | {"error": {"code": -32601, "message": "Method not found"}}), REFUSED, "json-rpc error",
         "-32601: Method not found"),
        (answer(RPC | {"error": {"code": -32001, "message": "busy"}}), FAILED, "json-rpc error", "-32001: busy"),
        (answer(RPC | {"error": {"code": 3, "message": "reverted"}}), REFUSED, "json-rpc error", "3: reverted"),
        (answer({"id": 1, "result": None, "error": "no method"}), REFUSED, "json-rpc error", "no method"),
        (answer([RPC | {"result": 1}, RPC | {"error": {"code": -32603, "message": "m"}}]), FAILED, "json-rpc error",
         "-32603: m"),
        (answer(RPC | {"result": {"isError": True, "content": [{"type": "text", "text": "no file 12"}]}}), REFUSED,
         "tool error", "no file <n>"),
        (typed(b'event: message\ndata: {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"bad"}}\n\n', EVENTS),
         REFUSED, "json-rpc error", "-32602: bad"),
        (typed(b'data: {"jsonrpc":"2.0","result":{"isError":true,"content":[{"text":"t"}]}}\n\n', EVENTS), REFUSED,
         "tool error", "t"),
        (typed(b"data: 1\n\nevent: error\ndata: lost the price of 17\n\n", EVENTS), FAILED, "sse error",
         "lost the price of <n>"),
        (typed(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n', EVENTS),
         FAILED, "sse error", "overloaded_error: m"),
        (typed(b'data: {"error":{"code":429,"message":"slow down"}}\n\n', EVENTS), REFUSED, "sse error",
         "<n>: slow down"),
        (typed(b"event: error\ndata: x\n\n", "text/plain"), FAILED, "sse error", "x"),
        (typed(frame(b"m") + frame(b"grpc-status: 5\r\ngrpc-message: no%20item 7\r\n", 0x80), "application/grpc-web"),
         REFUSED, "grpc error", "NOT_FOUND: no item <n>"),
        (typed(frame(b"grpc-status:13\r\n", 0x80), "application/grpc-web+proto"), FAILED, "grpc error", "INTERNAL"),
        (typed(base64.b64encode(frame(b"m")) + base64.b64encode(frame(b"grpc-status: 14\r\n", 0x80)),
               "application/grpc-web-text"), FAILED, "grpc error", "UNAVAILABLE"),
        (typed(b"", "application/grpc-web", **{"grpc-status": "16"}), REFUSED, "grpc error", "UNAUTHENTICATED"),
        (typed(b"1\r\nm\r\n0\r\ngrpc-status: 5\r\ngrpc-message: gone\r\n\r\n", "application/grpc+json",
               **{"Transfer-Encoding": "chunked"}), REFUSED, "grpc error", "NOT_FOUND: gone"),
        (typed(b'{"n": 1}\n{"n": 2, "text": "error"}\n{"error": "model 7 crashed"}\n', "application/x-ndjson"), FAILED,
         "sse error", "model <n> crashed"),
        (typed(b'{"jsonrpc":"2.0"}\n{"jsonrpc":"2.0","error":{"code":-32603,"message":"m"}}\n', "text/plain"), FAILED,
         "json-rpc error", "-32603: m"),
        (typed(frame(b"{}") + frame(b'{"error":{"code":"not_found","message":"m"}}', 2), "application/connect+json"),
         REFUSED, "grpc error", "NOT_FOUND: m"),
        (typed(SOAP.format("<faultcode>s:Server</faultcode><faultstring>out of 3 &amp; more</faultstring>").encode(),
               "text/xml"), FAILED, "soap fault", "Server: out of <n> & more"),
        (typed(SOAP.format("<s:Code><s:Value>s:Sender</s:Value></s:Code><s:Reason><s:Text xml:lang='en'>bad</s:Text>"
                           "</s:Reason>").encode(), "application/soap+xml"), REFUSED, "soap fault", "Sender: bad"),
        (typed(b"<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>4</int></value></member>"
               b"<member><name>faultString</name><value><string>many</string></value></member></struct></value></fault>"
               b"</methodResponse>", "text/xml"), FAILED, "soap fault", "4: many"),
        (turn(b"-ERR unknown command 'FOO'\r\n"), REFUSED, "error reply", "ERR: unknown command 'FOO'"),
        (turn(b"+OK\r\n-WRONGTYPE Operation\r\n:1\r\n"), REFUSED, "error reply", "WRONGTYPE: Operation"),
        (turn(b"*2\r\n:1\r\n-LOADING the dataset\r\n"), FAILED, "error reply", "LOADING: the dataset"),
        (turn(b"!21\r\nSYNTAX invalid syntax\r\n"), REFUSED, "error reply", "SYNTAX: invalid syntax"),
        (turn(b"-MOVED 3999 127.0.0.1:6381\r\n"), REFUSED, "error reply", "MOVED: <n> <address>"),
        (turn(b"-OOM command not allowed\r\n" + b"$70000\r\n" + b"x" * 70_000), FAILED, "error reply",
         "OOM: command not allowed"),
    ],
)  # fmt: skip
def test_errors(response: Response, rank: int, kind: str, title: str) -> None:
    found = in_band_error_untrusted(response)
    assert found is not None
    assert (found.rank, found.signature.kind, found.signature.title) == (rank, kind, title)


@pytest.mark.parametrize(
    "response",
    [
        answer({"data": {"error": "a"}}),
        graphql([], {"a": 1}),
        answer({"errors": [{"message": "m"}], "items": []}),  # somebody's own batch
        answer({"errors": True, "items": []}),
        answer({"errors": ["a"]}),
        answer({"error": "no"}),
        answer(RPC | {"result": {"error": "in the data"}}),
        answer(RPC | {"error": None, "result": 1}),
        answer([1, "error", None]),
        answer(RPC | {"error": {"code": -32603, "message": "m"}}, 500),  # its status says so
        answer(RPC | {"error": {"code": -32603, "message": "m"}}, 302),
        typed(b'{"errors": [{"message": "cut', "application/json"),
        typed(b'{"id": 1, "error": null}\n{"id": 2, "error": "x", "a": 1, "b": 2}\n{"error"', "application/x-ndjson"),
        typed(b"data: error\n\nevent: end\ndata: {}\n\n", EVENTS),
        typed(b'data: {"error": null}\n\ndata: {"error": false}\n\n', EVENTS),
        typed(b"event: error\n\n", EVENTS),  # without data it is no event
        typed(frame(b"m") + frame(b"grpc-status: 0\r\n", 0x80), "application/grpc-web"),
        typed(frame(b"grpc-status: 5")[:-1], "application/grpc-web"),
        typed(frame(b"grpc-status: 5"), "application/grpc-web"),  # a message, no trailer
        typed(b"!!!", "application/grpc-web-text"),
        typed(b"<html><Fault></html>", "text/html"),
        typed(b"an error: Fault", "text/plain"),
        turn(b"$6\r\na\r\n-ERR\r\n"),  # inside a value
        turn(b"+OK\r\n:-1\r\n"),
        turn(b"-1\r\n-2 of something that is not Redis"),
        turn(b""),
    ],
)
def test_no_errors(response: Response) -> None:
    assert in_band_error_untrusted(response) is None


def test_coded_bodies_are_decoded() -> None:
    error = answer(RPC | {"error": {"code": -32603, "message": "m"}})
    packed = gzip.compress(error.body)
    assert in_band_error_untrusted(typed(packed, "application/json", **{"Content-Encoding": "gzip"}))
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(error.body), error.body)
    assert in_band_error_untrusted(typed(chunked, "application/json", **{"Transfer-Encoding": "chunked"}))


def test_of_a_long_answer_the_errors_that_come_first_are_read() -> None:
    long = json.dumps({"errors": [{"message": "m"}], "data": {"a": "x" * (2 * inband.BODY)}}).encode()
    assert in_band_error_untrusted(typed(long, "application/json"))
    assert in_band_error_untrusted(typed(long.replace(b"errors", b"others"), "application/json")) is None


@pytest.mark.parametrize("number", range(3))
def test_the_same_fault_has_the_same_signature_whatever_varies(number: int) -> None:
    for make in (
        lambda n: graphql([{"message": f"no cart {n}00{n} at 10:3{n}:00", "path": ["carts", n]}], None),
        lambda n: answer(RPC | {"id": n, "error": {"code": -32000, "message": f"order {n} of 'user{n}' is gone"}}),
        lambda n: turn(b"-MOVED %d 10.0.0.%d:6379\r\n" % (n, n)),
        lambda n: typed(b"event: error\ndata: worker %d died\n\n" % n, EVENTS),
    ):
        first, other = in_band_error_untrusted(make(7)), in_band_error_untrusted(make(number))
        assert first is not None
        assert other is not None
        assert first.signature.fingerprint == other.signature.fingerprint
    codes = [in_band_error_untrusted(answer(RPC | {"error": {"code": c, "message": "m"}})) for c in (-32603, -32000)]
    assert codes[0].signature.fingerprint != codes[1].signature.fingerprint  # type: ignore[union-attr]


def test_both_sides() -> None:
    good, bad = answer({"data": {}}), graphql([NO_CART], None)
    post, get = request("/graphql", "POST"), request("/orders")
    assert in_band_errors_untrusted(post, good, good) == (None, None)
    ours, theirs = in_band_errors_untrusted(post, good, bad)
    assert ours is None
    assert theirs is not None
    ours, theirs = in_band_errors_untrusted(post, bad, bad)
    assert ours is not None
    assert ours is theirs
    assert in_band_errors_untrusted(get, bad, bad) == (None, None)  # as GET nobody asks GraphQL without a query
    assert in_band_errors_untrusted(get, good, bad)[1] is not None
    assert in_band_errors_untrusted(request("/graphql?query={a}"), bad, bad)[0] is not None
    events = typed(b"event: error\ndata: x\n\n", EVENTS)
    assert in_band_errors_untrusted(get, events, events)[0] is not None
    redis = turn(b"-ERR x\r\n")
    assert in_band_errors_untrusted(request("", ""), redis, redis)[0] is not None
    trailers = typed(b"", "application/grpc-web", **{"grpc-status": "5"})
    fine = typed(b"", "application/grpc-web", **{"grpc-status": "0"})
    ours, theirs = in_band_errors_untrusted(post, fine, trailers)  # equal bodies, other heads
    assert ours is None
    assert theirs is not None


NOISE = st.binary(max_size=200) | st.text('{}[]":,error\n -!*$0123<>Fault', max_size=200).map(str.encode)
KINDS = ("application/json", EVENTS, "application/grpc-web", "application/grpc-web-text", "text/xml", "text/plain")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["error", "errors", "code", "message", "data", "jsonrpc", "id", "result", "isError", "content", "path",
             "extensions", "type", "text"]
        ), inner, max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@given(NOISE, VALUES)
def test_hostile_answers_do_no_harm(noise: bytes, value: object) -> None:
    text = json.dumps(value).encode()
    bodies = (noise, text, b"data: " + text + b"\n\n", b"event: error\ndata: " + noise, b"-" + noise, frame(text, 2))
    for body in bodies:
        for response in (turn(body), *(typed(body, kind) for kind in KINDS)):
            found = in_band_error_untrusted(response)
            if found is not None:
                assert found.rank in (REFUSED, FAILED)
                assert len(found.signature.title) <= 160
