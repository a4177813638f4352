"""A run to report on: the shape that the daemon gives, with numbers as a service of an online shop makes them."""

from __future__ import annotations

import math
import random
from typing import Any

START = 1_795_000_000.0


def conversations(name: str, buckets: bool) -> dict[str, Any]:
    """An endpoint that is a prompt, or all of them."""

    def side(scale: float) -> dict[str, Any]:
        found: dict[str, Any] = {"count": 900, "p50": 80.0 * scale, "p90": 110.0 * scale, "p99": 140.0 * scale}
        if buckets:
            found["buckets"] = [[40.0 * scale, 80.0 * scale, 450], [80.0 * scale, 150.0 * scale, 450]]
        return found

    pair = {"production": {"p50": 91.5, "p99": 130.25}, "candidate": {"p50": 118.5, "p99": 170.5}}
    return {
        "endpoint": name,
        "exchanges": 900,
        "worse": 0,
        "differing": 31,
        "differing_beyond_noise": 0,
        "differing_noise": 31,
        "talk": {
            "first_content_ms": {"production": side(1), "candidate": side(1.3)},
            "tokens": {"production": side(0.5), "candidate": side(0.6)},
            "models": {"production": {"aria-1": 900}, "candidate": {"aria-2": 880, "aria-mini": 20}},
            "too_long": 2,
            "cost": {"conversations": 900, "production": 0.00123, "candidate": 0.00148},
        },
        "stream": {
            "streams": 874,
            "events": {"production": 52_431, "candidate": 63_118},
            "first_event_ms": pair,
            "between_events_ms": {"production": {"p50": 3.1, "p99": 4.7}, "candidate": {"p50": 3.2, "p99": 9.1}},
            "total_ms": pair,
        },
    }


def latencies(seed: int, median_ms: float, spread: float, count: int, slow: float = 0.0) -> dict[str, Any]:
    """One side of a distribution: log-normal, a share ``slow`` of it five times as long; buckets of 3 %."""
    source = random.Random(seed)
    values = sorted(
        median_ms * math.exp(source.gauss(0, spread)) * (5 if source.random() < slow else 1) for _ in range(count)
    )
    buckets: dict[int, int] = {}
    for value in values:
        index = int(math.log(value * 1e6) / math.log(1.03))
        buckets[index] = buckets.get(index, 0) + 1
    return {
        "buckets": [[int(1.03**i), int(1.03 ** (i + 1)) + 1, n] for i, n in sorted(buckets.items())],
        "p50_ms": values[count // 2],
        "p90_ms": values[count * 9 // 10],
        "p99_ms": values[count * 99 // 100],
        "count": count,
    }


def judge(name: str, result: str, **more: Any) -> dict[str, Any]:
    base = {
        "judge": name,
        "endpoint": "",
        "path": "",
        "kind": "",
        "result": result,
        "effect": 0.0,
        "interval": [-0.0002, 0.0006],
        "unit": "share",
        "margin": 0.001,
        "samples": 12_000,
        "needed": None,
        "sentence": "",
        "critical": True,
        "required": True,
    }
    return base | more


def judges() -> list[dict[str, Any]]:
    ratio = {"unit": "ratio", "samples": 11_950}
    return [
        judge(
            "errors",
            "fail",
            effect=0.005,
            interval=[0.0032, 0.0081],
            sentence="the shadow fails in 0.5 % more of the exchanges than production (0.32…0.81 %, margin 0.1 %)",
        ),
        judge(
            "content",
            "fail",
            endpoint="GET /orders/{id}",
            path="body $.items[*].price",
            kind="value",
            effect=0.031,
            interval=[0.022, 0.043],
            samples=4012,
            required=False,
            sentence="body $.items[*].price differs in 3.1 % of the exchanges (2.2…4.3 %, margin 0.1 %)",
        ),
        judge(
            "latency",
            "fail",
            endpoint="GET /search",
            path="first_byte p50",
            effect=2.1,
            interval=[1.8, 2.4],
            margin=0.1,
            required=False,
            sentence="first byte is 210 % slower at the median (95 % interval 180…240 %, margin 10 %)",
            **ratio,
        ),
        judge(
            "latency",
            "pass",
            path="first_byte p50",
            effect=0.012,
            interval=[-0.021, 0.06],
            margin=0.1,
            sentence="a slowdown of the median beyond 6 % would have been noticed",
            **ratio,
        ),
        judge(
            "latency",
            "inconclusive",
            path="first_byte p99",
            effect=0.14,
            interval=[-0.1, 0.62],
            margin=0.25,
            needed=8400,
            sentence="first byte at the 99th percentile may be 62 % slower: about 8,400 more exchanges are needed",
            **ratio,
        ),
        judge(
            "memory",
            "fail",
            effect=1024.0,
            interval=[940.0, 1130.0],
            unit="bytes/request",
            margin=256.0,
            samples=20_000,
            sentence="memory grows by 1,024 B a request (940…1,130 B, margin 256 B)",
        ),
        judge("cpu", "inconclusive", unit="ratio", effect=0.08, interval=[None, 0.4], margin=0.25, critical=False,
              required=False, samples=31, sentence="CPU per request may be 40 % higher"),
        judge("capacity", "pass", sentence="the shadow kept up"),
        *(
            judge(
                "latency",
                "pass" if index % 3 else "inconclusive",
                endpoint=f"GET /catalogue/{index}",
                path="first_byte p50",
                effect=0.01 * index,
                interval=[-0.05, 0.04 + 0.03 * index],
                margin=0.1,
                required=False,
                sentence="",
                **ratio,
            )
            for index in range(6)
        ),
    ]  # fmt: skip


def over_time() -> list[dict[str, Any]]:
    source = random.Random(7)
    points = []
    for index in range(31):
        base = 11 + 2 * math.sin(index / 4) + source.random()
        points.append(
            {
                "time": START + 10 * index,
                "seconds": 10,
                "exchanges": 390,
                "production": {"p50_ms": base, "p99_ms": base * 6 * (1 + 0.2 * source.random())},
                "candidate": {"p50_ms": base * 1.05, "p99_ms": base * 11 * (1 + 0.3 * source.random())},
                "worse": 2 if index % 3 else 4,
                "differing": 12 + index % 5,
                "differing_beyond_noise": 5 + index % 5,
            }
        )
    return points


def differences() -> list[dict[str, Any]]:
    def one(name: str, endpoint: str, where: str, path: str, label: str, **more: Any) -> dict[str, Any]:
        base = {
            "id": name,
            "endpoint": endpoint,
            "where": where,
            "path": path,
            "kind": "value",
            "count": 124,
            "share": 0.031,
            "noise_share": 0.0,
            "label": label,
            "production": "19.99",
            "candidate": "20.00",
            "first": START,
            "last": START + 290,
        }
        return base | more

    return [
        one("77aa01bc", "GET /sessions/{id}", "body", "$.nonce", "noise", count=4000, share=1.0, noise_share=1.0,
            production="f3a9bb0c", candidate="90ce71aa"),
        one("1f3a09bc", "GET /orders/{id}", "body", "$.items[*].price", "regression"),
        one("5e00aa10", "GET /orders/{id}", "status", "", "regression", count=60, share=0.005, kind="value",
            production="200", candidate="500"),
        one("0d1c2b3a", "GET /users/{id}", "body", "$.profile.displayName", "undecided", count=3, share=0.0008,
            kind="type", production='"Ana Popović"', candidate="null"),
        one("aa12ff00", "GET /cart", "body", "$.items", "drift", count=41, share=0.01, kind="length", production="3",
            candidate="2"),
        one("bb12ff00", "GET /prices", "body", "$.currency", "expected", kind="extra", production=None,
            candidate='"EUR"'),
        one("cc12ff00", "GET /prices", "header", "x-request-cost", "not judged"),
    ]  # fmt: skip


def sample() -> dict[str, Any]:
    """Everything there can be, with a verdict of fail."""
    found = judges()
    memory = [
        [500 * i, int(88e6 + (6e6 * (1 - math.exp(-i / 4))) + 512_000 * i + 4e5 * math.sin(i))] for i in range(41)
    ]
    reasons = [str(one["sentence"]) for one in found if one["result"] == "fail"]
    return {
        "generated": START + 320,
        "version": "0.1.0",
        "node": "web-1",
        "filter": "shop",
        "target": "http://shadow:8080",
        "production": "http://127.0.0.1:8080",
        "run": {"id": 1, "label": "v2.3.1", "started": START, "ended": None, "reason": ""},
        "verdict": {
            "verdict": "fail",
            "score": 41,
            "reasons": reasons,
            "mode": "twin",
            "coverage": 0.993,
            "compared": 12_000,
            "seconds": 310.0,
            "judges": found,
            "findings": [one for one in found if one["result"] == "fail"],
            "not_judged": [
                {"endpoint": "GET /prices", "path": "header x-request-cost", "sentence": "too noisy to be certified"}
            ],
            "drift": {"exchanges": 41, "share": 0.0034},
            "limits": ["A fault that strikes the shadow at random looks like noise without a baseline."],
            "parts": [
                {"judge": "errors", "weight": 31.6, "points": 0.0},
                {"judge": "content", "weight": 31.6, "points": 22.0},
                {"judge": "latency", "weight": 21.1, "points": 14.0},
                {"judge": "memory", "weight": 10.5, "points": 0.0},
                {"judge": "capacity", "weight": 5.2, "points": 5.2},
            ],
        },
        "ledger": {
            "name": "shop",
            "seen": 14_302,
            "in_flight": 2,
            "filtered": {"method": 2100, "path": 118},
            "lost": {"gap": 3},
            "targets": [
                {
                    "url": "http://shadow:8080",
                    "mirrored": 12_010,
                    "shed": {"shadow_lag": 44},
                    "failed": {"reset": 21, "timeout": 4},
                    "in_flight": 2,
                    "uncomparable": 10,
                }
            ],
            "balanced": True,
        },
        "latency": {
            "first_byte": {
                "production": latencies(1, 11.0, 0.45, 12_000),
                "candidate": latencies(2, 12.0, 0.5, 12_000, slow=0.12),
            },
            "last_byte": {
                "production": latencies(3, 12.5, 0.45, 9000),
                "candidate": latencies(4, 13.5, 0.5, 9000, slow=0.12),
            },
            "over_time": over_time(),
        },
        "endpoints": [
            {
                "endpoint": name,
                "exchanges": exchanges,
                "worse": worse,
                "differing": differing + 40,
                "differing_beyond_noise": differing,
                "differing_noise": 40,
                "production_p50_ms": p50,
                "candidate_p50_ms": p50 * slower,
                "production_p99_ms": p50 * 6,
                "candidate_p99_ms": p50 * 6 * slower,
            }
            for name, exchanges, worse, differing, p50, slower in (
                ("GET /orders/{id}", 4012, 60, 184, 11.2, 1.02),
                ("GET /search", 2210, 0, 0, 34.0, 3.1),
                ("GET /cart", 3980, 0, 41, 7.4, 0.99),
                ("GET /users/{id}", 1798, 0, 3, 5.1, 1.0),
            )
        ]
        + [conversations("all conversations", True), conversations("“You help with travel.” aria-2 #1f", False)],
        "differences": differences(),
        "signatures": [
            {
                "fingerprint": "9b1f0c22",
                "kind": "python",
                "title": "KeyError: 'discount'",
                "new": True,
                "count": 60,
                "production_count": 0,
                "endpoints": ["GET /orders/{id}"],
                "exchange": {
                    "request": {
                        "method": "GET",
                        "target": "/orders/17?page=1",
                        "head": "GET /orders/17?page=1 HTTP/1.1\r\n"
                        "Host: shop\r\nAuthorization: [redacted:3f]\r\nAccept: application/json\r\n\r\n",
                        "body": "",
                    },
                    "production": {"status": 200, "head": "HTTP/1.1 200 OK\r\n\r\n", "body": '{"total": 19.99}'},
                    "candidate": {
                        "status": 500,
                        "head": "HTTP/1.1 500 Internal Server Error\r\n\r\n",
                        "body": "KeyError: 'discount'",
                    },
                },
                "example": 'Traceback (most recent call last):\n  File "/app/orders.py", line 81, in total\n'
                "    return price * (1 - order['discount'])\nKeyError: 'discount'",
            },
            {
                "fingerprint": "00aa11bb",
                "kind": "transport",
                "title": "upstream timed out",
                "new": False,
                "count": 4,
                "production_count": 5,
                "endpoints": ["GET /search"],
                "example": "timeout after 30 s",
            },
        ],
        "memory": {
            "points": memory,
            "slope": 1024.0,
            "low": 940.0,
            "high": 1130.0,
            "unit": "bytes/request",
            "sentence": "The shadow's memory grows by 1,024 B with every request and does not slow down.",
        },
    }
