"""What a daemon gathers for live pages, with the report's sample, and with words that mean harm."""

from __future__ import annotations

from typing import Any

from tests.unit.observe.sample import differences, over_time, sample

#: What breaks out of text, of an attribute, of a script, of a comment and of an event stream.
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>--></title>\r\n\r\ndata: x\u202e{{ 7*7 }}"


def example(production: str = '{"price": 19.99, "n": 1}', shadow: str = '{"price": 20.00, "n": 1}') -> dict[str, Any]:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    return {
        "time": 1_795_000_300.0,
        "endpoint": "GET /orders/{id}",
        "request": {"method": "GET", "target": "/orders/7", "head": "GET /orders/7 HTTP/1.1\r\n\r\n", "body": ""},
        "production": {"status": 200, "head": head, "body": production},
        "candidate": {"status": 200, "head": head, "body": shadow},
    }


def gathered(name: str = "shop", verdict: str = "fail", seen: int = 14_302) -> dict[str, Any]:
    """Of one filter."""
    report = sample()
    report["verdict"]["verdict"] = verdict
    report["ledger"]["seen"] = seen
    return {
        "name": name, "state": "active", "words": ["packets match"], "targets": ["http://shadow:8080"], "label": "v2",
        "latency_ms": {"production": {"p50": 11.0, "p99": 60.0}, "shadow": {"p50": 12.0, "p99": 88.0}},
        "verdict": report["verdict"], "ledger": report["ledger"], "rate": 48.2, "points": over_time()[:20],
        "report": report, "candidates": 1, "examples": {"1f3a09bc": example()},
        "rules": {"noise": [{"where": "body", "path": "$.nonce", "endpoint": "", "change": ""}], "expect": []},
    }  # fmt: skip


def poisoned(value: Any) -> Any:
    """The same with harm in every text that traffic can write."""
    if isinstance(value, dict):
        kept = {"label", "where", "verdict", "judge", "result", "unit", "mode", "state", "id", "fingerprint", "name"}
        return {key: item if key in kept and isinstance(item, str) else poisoned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [poisoned(item) for item in value]
    return f"{value} {HOSTILE}" if isinstance(value, str) else value


def one_difference(group: str = "1f3a09bc") -> dict[str, Any]:
    known = next(one for one in differences() if one["id"] == group)
    return {"difference": known, "examples": [example()], "target": "http://shadow:8080"}
