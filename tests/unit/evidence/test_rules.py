"""Rules of the operator: which endpoints they mean."""

from __future__ import annotations

import pytest

from shadowd.evidence.rules import matches


@pytest.mark.parametrize(
    ("rule", "endpoint", "meant"),
    [
        ("", "GET /orders", True),
        ("GET /orders", "GET /orders", True),
        ("GET /orders", "GET /orders/{id}", False),
        ("POST /graphql", "POST /graphql query GetCart", True),
        ("POST /graphql query GetCart", "POST /graphql query GetCart", True),
        ("POST /graphql query GetCart", "POST /graphql", False),
        ("POST /graphql query Get", "POST /graphql query GetCart", False),
    ],
)
def test_an_endpoint_without_an_operation_means_all_of_its_operations(rule: str, endpoint: str, meant: bool) -> None:
    assert matches({"where": "body", "path": "$.a", "endpoint": rule}, endpoint, "body", "$.a.b", "value") == meant
