"""Operations: what a request asks for where one URL carries many."""

from __future__ import annotations

import gzip
import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.evidence.endpoints import OPERATIONS, Endpoints
from shadowd.evidence.operations import _SCAN, NAME, operation_of
from shadowd.exchange.exchange import Request
from tests.unit.compare.exchanges import request

JSON = "Content-Type: application/json\r\n"


def post(body: object, target: str = "/graphql", headers: str = JSON) -> Request:
    made = request(target, "POST", headers=headers)
    made.body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return made


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ("query GetCart { cart { id } }", "query GetCart"),
        ("query GetCart($id: ID!, $n: Int = 3) @live { cart(id: $id) { id } }", "query GetCart"),
        ("mutation Pay{pay(id:7){ok}}", "mutation Pay"),
        ("subscription OnPrice { price }", "subscription OnPrice"),
        ("{ cart { id } }", "query cart"),
        ("  \n# the cart { of\n# query Wrong { no }\n { mine: cart(id: 7) { total: id } }", "query cart"),
        ("query ($id: ID!) { user(id: $id) { cart { id } } }", "query user"),
        ("mutation { a: addItem(id: 1) { id } b: other { id } }", "mutation addItem"),
        ("fragment F on Cart { id } query Second { cart { ...F } }", "query Second"),
        ('query A { cart(note: "} query B { x") { id } }', "query A"),
        ('{ cart(note: """ } " mutation B { x """) { id } }', "query cart"),
        ("query { ...F cart }", "query cart"),
        ("query { ... on Query { cart } }", "query"),
        ("query { ... on Query @live { cart } shop }", "query shop"),
        ("{ query { id } }", "query query"),
        ("query Cart_8812 { c }", "query Cart_{id}"),
        ("query GetCartV2 { c }", "query GetCartV2"),
        ("query Big { " + "a " * 40000 + "}", "query Big"),
    ],
)
def test_graphql_documents(document: str, name: str) -> None:
    assert operation_of(post({"query": document})) == name
    assert operation_of(post({"query": document, "operationName": None, "variables": {"query": "x"}})) == name
    assert operation_of(post(document.encode(), headers="Content-Type: application/graphql\r\n")) == name
    assert operation_of(request("/any?" + urlencode({"query": document[:2000]}))) == name


def test_graphql_named_batched_and_persisted() -> None:
    two = "query A { a } mutation B { b }"
    assert operation_of(post({"query": two, "operationName": "B"})) == "mutation B"
    assert operation_of(post({"query": two, "operationName": "A"})) == "query A"
    assert operation_of(post([{"query": two}, {"query": "{ x }"}])) == "batch query A"
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": "3f2a9c01" * 8}}
    assert operation_of(post({"operationName": "GetCart", "extensions": extensions})) == "query GetCart"
    assert operation_of(post({"extensions": extensions})) == "persisted 3f2a9c01"
    by_url = {"operationName": "GetCart", "extensions": json.dumps(extensions)}
    assert operation_of(request("/graphql?" + urlencode(by_url))) == "query GetCart"


@pytest.mark.parametrize(
    "asked",
    [
        post({"query": "shoes"}),
        post({"query": "query of shoes"}),
        post({"query": {"match_all": {}}}, "/index/_search"),
        post({"query": ["a"], "method": 7}),
        post({"method": "card", "amount": 7}, "/pay"),
        post({"operationName": "x y", "variables": {}}),
        post(b'{"query": "{ cart'),
        post(b'{"query": ' + b"[" * 100_000),
        post(b""),
        request("/search?query=shoes"),
        request("/search?query={"),
        request("/x?operationName=GetCart"),
        request("/graphql"),
        request("/graphql", "PUT"),
        post(b"<html><body>Envelope</body></html>"),
        post(b"a=1&Action=Run", headers="Content-Type: application/x-www-form-urlencoded\r\n"),
    ],
)
def test_what_is_no_operation(asked: Request) -> None:
    assert operation_of(asked) == ""


RPC = {"jsonrpc": "2.0", "id": 1}
SOAP = b'<?xml version="1.0"?><s:Envelope xmlns:s="x"><s:Header/><s:Body a="b">\n <m:GetPrice/></s:Body></s:Envelope>'


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (post(RPC | {"method": "eth_call", "params": ["0x1"]}), "eth_call"),
        (post({"method": "sum", "params": [1], "id": 1}), "sum"),
        (post(RPC | {"method": "tools/call", "params": {"name": "search", "arguments": {}}}), "tools/call search"),
        (post(RPC | {"method": "prompts/get", "params": {"name": "review"}}), "prompts/get review"),
        (post(RPC | {"method": "resources/read", "params": {"uri": "file:///a/b"}}), "resources/read file"),
        (post({"jsonrpc": "2.0", "method": "notifications/initialized"}), "notifications/initialized"),
        (post([RPC | {"method": "b"}, RPC | {"method": "a"}, RPC | {"method": "b"}]), "batch a, b"),
        (post([RPC | {"method": "a"}, 7, RPC | {"result": 1}]), "batch (response), a"),
        (post([RPC | {"method": name} for name in "dcba"]), "batch a, b and more"),
        (post([RPC | {"method": "m" * 60}, RPC | {"method": "a"}]), f"batch a, {'m' * 40}"),
        (post(RPC | {"result": {}}), "(response)"),
        (post(RPC | {"method": "user.8812.get"}), "user.{id}.get"),
        (post(gzip.compress(json.dumps(RPC | {"method": "a"}).encode()), headers="Content-Encoding: gzip\r\n"), "a"),
        (post(b"\xef\xbb\xbf " + json.dumps(RPC | {"method": "a"}).encode(), headers=""), "a"),
        (post(SOAP, headers='SOAPAction: "urn:shop#GetTotal"\r\n'), "GetTotal"),
        (post(SOAP, headers="soapaction: http://shop/GetTotal/\r\n"), "GetTotal"),
        (post(SOAP, headers='Content-Type: application/soap+xml; action="urn:shop:GetTotal"\r\n'), "GetTotal"),
        (post(SOAP, headers='SOAPAction: ""\r\n'), "GetPrice"),
        (post(b"<methodCall><methodName>cart.add</methodName></methodCall>", headers=""), "cart.add"),
        (post({"Key": 1}, headers="X-Amz-Target: DynamoDB_20120810.GetItem\r\n"), "GetItem"),
        (post(b"Action=SendMessage&Version=2012-11-05&Body=x",
              headers="Content-Type: application/x-www-form-urlencoded\r\n"), "SendMessage"),
    ],
)  # fmt: skip
def test_other_protocols(asked: Request, name: str) -> None:
    assert operation_of(asked) == name


def test_endpoints_are_named_by_operation() -> None:
    names = Endpoints(["/shops/{shop}/graphql"])
    assert names.name_of(post({"query": "query GetCart { c }"})) == "POST /graphql query GetCart"
    assert names.name_of(post({"query": "{ c }"}, "/shops/7/graphql")) == "POST /shops/{shop}/graphql query c"
    call = RPC | {"method": "tools/call", "params": {"name": "search"}}
    assert names.name_of(post(call, "/mcp?session=1")) == "POST /mcp tools/call search"
    assert names.name_of(post({"a": 1}, "/orders")) == "POST /orders"
    assert names.name_of(request("/orders/8812?page=2")) == "GET /orders/{id}"
    asked = request("/graphql?query=%7Bcart%7D")
    assert names.name_of(asked) == names.name_of(asked) == "GET /graphql query cart"
    assert names.name_of(Request(b"", b"", b"", b"GET a\r\n", 0, 0, 0, 0)) == "raw GET"


def test_the_names_of_one_url_are_bounded_and_so_are_all() -> None:
    names = Endpoints(limit=3 * OPERATIONS)
    seen = {names.name_of(post(RPC | {"method": f"m{chr(97 + n % 26)}{chr(97 + n // 26)}"})) for n in range(600)}
    assert len(seen) == OPERATIONS + 1
    assert "POST /graphql other" in seen
    for url in range(1000):
        path = "/" + "".join(chr(97 + int(d)) for d in str(url))
        seen |= {names.name_of(post(RPC | {"method": f"m{chr(97 + n)}"}, path)) for n in range(3)}
    assert len(seen) <= 2 * 3 * OPERATIONS + 1  # each URL has its "other" at most


DOCUMENTS = st.text('{}()[]":$@#.\\ \nqueryab', max_size=200)


@given(st.binary(max_size=300) | DOCUMENTS.map(str.encode), st.binary(max_size=80))
def test_it_never_raises_and_is_bounded(body: bytes, noise: bytes) -> None:
    document = body.decode("utf-8", "replace")
    head = b"POST / HTTP/1.1\r\nContent-Type: " + noise + b"\r\n\r\n"
    for method, target, sent in (
        (b"POST", b"/", body),
        (b"POST", noise, json.dumps({"query": "{" + document, "operationName": document}).encode()),
        (b"POST", b"/", json.dumps({"jsonrpc": "2.0", "method": document, "params": {"name": document}}).encode()),
        (b"GET", b"/?query=" + body, b""),
    ):
        name = operation_of(Request(method, target, head, sent, 0, 0, 0, 0))
        assert len(name) <= NAME
        assert name.isprintable()


@pytest.mark.parametrize("piece", ['"', '"""', "#", '"\\', '"""\\', '""" "'])
def test_a_token_that_does_not_end_is_read_once(piece: str) -> None:
    """Else the same bytes would be tried again from every quote: quadratic work."""
    for text in (piece + "a" * 1000, piece + "\\" * 1001, piece + '\\"' * 1001):
        assert len(_SCAN.findall(text)) <= 4
        assert sum(len(match[0]) for match in _SCAN.finditer(text)) >= 1000


@given(DOCUMENTS)
def test_nothing_but_blanks_and_stray_characters_is_left_out(document: str) -> None:
    left, at = "", 0
    for match in _SCAN.finditer(document):
        left += document[at : match.start()]
        at = match.end()
    assert set(left + document[at:]) <= set(" \n.\\")
