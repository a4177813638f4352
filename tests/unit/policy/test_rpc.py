"""Which calls of gRPC go to a shadow that must not be written to."""

from __future__ import annotations

import pytest

from shadowd.exchange.exchange import Request
from shadowd.policy.policy import Policy

KIND = b"content-type: application/grpc\r\n"


def call(target: bytes, fields: bytes = KIND, method: bytes = b"POST") -> Request:
    head = method + b" " + target + b" HTTP/2\r\nhost: shop\r\n" + fields + b"\r\n"
    return Request(method, target, head, b"", 0, len(head), 0, 0)


@pytest.mark.parametrize(
    "target",
    [
        b"/shop.Shop/Get", b"/shop.Shop/GetItem", b"/shop.v1.Shop/ListItems", b"/Shop/Search", b"/a.B/WatchAll",
        b"/a.B/ReadRows", b"/grpc.health.v1.Health/Check", b"/a.B/BatchGetItems", b"/a.B/Get2",
    ],
)  # fmt: skip
def test_reads_are_mirrored_by_default(target: bytes) -> None:
    assert Policy(b"here/x").refuse(call(target)) == ""
    assert Policy(b"here/x").refuse(call(target, b"content-type: application/grpc-web+proto\r\n")) == ""
    assert Policy(b"here/x", methods=[b"GET"]).refuse(call(target)) == "method"


@pytest.mark.parametrize(
    ("target", "fields", "method"),
    [
        (b"/shop.Shop/PutItem", KIND, b"POST"), (b"/shop.Shop/Getaway", KIND, b"POST"),
        (b"/shop.Shop/Listen", KIND, b"POST"), (b"/shop.Shop/Checkout", KIND, b"POST"),
        (b"/shop.Shop/Readmit", KIND, b"POST"), (b"/shop.Shop/DeleteItem?x=/a.B/GetItem", KIND, b"POST"),
        (b"/GetItem", KIND, b"POST"), (b"/shop.Shop/GetItem", b"content-type: application/json\r\n", b"POST"),
        (b"/shop.Shop/GetItem", b"", b"POST"), (b"/shop.Shop/GetItem", KIND, b"PUT"),
        (b"/shop.Shop/GetItem/Delete", KIND, b"POST"),
    ],
)  # fmt: skip
def test_everything_else_is_not(target: bytes, fields: bytes, method: bytes) -> None:
    assert Policy(b"here/x").refuse(call(target, fields, method)) == "method"
    assert Policy(b"here/x", methods=None).refuse(call(target, fields, method)) == ""


def test_what_a_schema_declares_to_change_nothing_is_mirrored_too() -> None:
    policy = Policy(b"here/x")
    policy.declared = frozenset({b"/shop.Shop/Quote"})
    assert policy.refuse(call(b"/shop.Shop/Quote")) == ""
    assert policy.refuse(call(b"/shop.Shop/Quote", b"")) == "method", "it is no call of gRPC"
    assert policy.refuse(call(b"/shop.Shop/QuoteAll")) == "method"
    listed = Policy(b"here/x", methods=[b"GET"])
    listed.declared = policy.declared
    assert listed.refuse(call(b"/shop.Shop/Quote")) == "method", "the operator said which"
