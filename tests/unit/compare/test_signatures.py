"""Error signatures: the same fault is one, another fault is another."""

from __future__ import annotations

import html
import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.content import Content
from shadowd.compare.normalise import normalised, readable
from shadowd.compare.signatures import Signature, signature_of
from shadowd.compare.traces import find_trace
from tests.unit.costs import LINEAR, growth

PYTHON = """Traceback (most recent call last):
  File "/srv/app/shop.py", line 41, in handle
    return self.total(order)
           ^^^^^^^^^^^^^^^^^
  File "/srv/app/orders.py", line 17, in total
    return sum(prices[item] for item in order)
KeyError: 'sku-8812'
"""
CHAINED = (
    """Traceback (most recent call last):
  File "/srv/app/db.py", line 9, in connect
    raise OSError(111)
OSError: [Errno 111] Connection refused

During handling of the above exception, another exception occurred:

"""
    + PYTHON
)
JAVA = """java.lang.IllegalStateException: order 8812 has no total
\tat com.example.shop.OrderService.total(OrderService.java:41)
\tat com.example.shop.OrderController.get(OrderController.java:17)
\tat java.base/jdk.internal.reflect.NativeMethodAccessorImpl.invoke0(Native Method)
\t... 40 common frames omitted
"""
JAVA_CAUSE = (
    JAVA
    + """Caused by: java.sql.SQLException: connection to 10.0.0.3:5432 timed out
\tat com.example.db.Pool.take(Pool.java:88)
\t... 12 more
"""
)
GO = """panic: runtime error: index out of range [7] with length 3

goroutine 34 [running]:
panic({0x5d3f40?, 0xc0000b4018?})
\t/usr/local/go/src/runtime/panic.go:884 +0x213
main.(*Shop).total(0xc000012345, {0xc0001, 0x3, 0x4})
\t/srv/shop/total.go:17 +0x1d
main.handle({0x7f0, 0xc0}, 0xc00012)
\t/srv/shop/main.go:41 +0x85
created by net/http.(*Server).Serve in goroutine 1
\t/usr/local/go/src/net/http/server.go:3086 +0x5cb
"""
NODE = """TypeError: Cannot read properties of undefined (reading 'price')
    at total (/srv/shop/total.js:17:23)
    at async Shop.handle (/srv/shop/main.js:41:5)
    at /srv/shop/index.js:3:1
    at node:internal/process/task_queues:95:5
"""
TRACES = {"python": PYTHON, "java": JAVA, "go": GO, "node": NODE}


def signature(text: str, status: int = 200, kind: str = "text/plain") -> Signature | None:
    return signature_of(status, Content(text.encode(), kind))


def sure(text: str, status: int = 200, kind: str = "text/plain") -> Signature:
    result = signature(text, status, kind)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("text", "kind", "message", "frames"),
    [
        (PYTHON, "KeyError", "'sku-8812'", ["total (orders.py)", "handle (shop.py)"]),
        (CHAINED, "KeyError", "'sku-8812'", ["total (orders.py)", "handle (shop.py)"]),
        (
            JAVA,
            "java.lang.IllegalStateException",
            "order 8812 has no total",
            [
                "com.example.shop.OrderService.total (OrderService.java)",
                "com.example.shop.OrderController.get (OrderController.java)",
                "jdk.internal.reflect.NativeMethodAccessorImpl.invoke0 (Native Method)",
            ],
        ),
        (
            JAVA_CAUSE,
            "java.sql.SQLException",
            "connection to 10.0.0.3:5432 timed out",
            ["com.example.db.Pool.take (Pool.java)"],
        ),
        (
            GO,
            "panic",
            "runtime error: index out of range [7] with length 3",
            ["main.(*Shop).total (total.go)", "main.handle (main.go)", "net/http.(*Server).Serve (server.go)"],
        ),
        (
            NODE,
            "TypeError",
            "Cannot read properties of undefined (reading 'price')",
            ["total (total.js)", "Shop.handle (main.js)", "<anonymous> (index.js)"],
        ),
    ],
)
def test_traces_are_read(text: str, kind: str, message: str, frames: list[str]) -> None:
    trace = find_trace(text.encode())
    assert trace is not None
    assert (trace.kind, trace.message, trace.frames) == (kind, message, frames)


@pytest.mark.parametrize("language", sorted(TRACES))
def test_a_trace_is_found_wherever_it_stands(language: str) -> None:
    text = TRACES[language]
    plain = sure(text)
    assert plain.kind == "stack trace"
    assert (
        sure("2026-11-23 04:00:00 ERROR in the handler\n" + text + "\nthe end\n", 500).fingerprint == plain.fingerprint
    )
    assert sure(json.dumps({"ok": False, "trace": text}), 200, "application/json").fingerprint == plain.fingerprint
    page = f"<html><body><h1>Error</h1><pre>{html.escape(text)}</pre></body></html>"
    assert sure(page, 500, "text/html").fingerprint == plain.fingerprint
    assert sure(text.replace("\n", "\r\n")).fingerprint == plain.fingerprint


def test_an_express_page() -> None:
    lines = NODE.splitlines()
    page = "<pre>" + "<br> &nbsp; &nbsp;".join([lines[0].replace("'", "&#39;"), *map(str.strip, lines[1:])]) + "</pre>"
    assert sure(page, 500, "text/html").fingerprint == sure(NODE).fingerprint


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (PYTHON, [("sku-8812", "sku-9"), ("line 17", "line 1234"), ("/srv/app", "/opt/build-7/app")]),
        (JAVA, [("8812", "31"), (":41)", ":1)"), ("\t... 40", "\t... 7")]),
        (JAVA_CAUSE, [("10.0.0.3:5432", "192.168.7.11:5433"), (":88)", ":9)")]),
        (GO, [("[7]", "[12]"), ("goroutine 34", "goroutine 5"), ("0xc000012345", "0xc999"), ("+0x1d", "+0x2e")]),
        (NODE, [(":17:23", ":1:2"), ("/srv/shop", "/app/dist"), ("'price'", "'total'")]),
    ],
)
def test_what_varies_does_not_count(text: str, changes: list[tuple[str, str]]) -> None:
    for old, new in changes:
        assert old in text
        assert sure(text.replace(old, new)).fingerprint == sure(text).fingerprint


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (PYTHON, [("KeyError", "IndexError"), ("in total", "in discount"), ("orders.py", "carts.py")]),
        (
            JAVA,
            [("IllegalState", "IllegalArgument"), ("no total", "no owner"), ("OrderService.total", "OrderService.sum")],
        ),
        (GO, [("index out of range", "nil map"), (".total(", ".sum("), ("total.go", "sum.go")]),
        (NODE, [("TypeError", "RangeError"), ("undefined", "null"), ("at total", "at sum")]),
    ],
)
def test_another_fault_is_another(text: str, changes: list[tuple[str, str]]) -> None:
    prints = {sure(text).fingerprint}
    for old, new in changes:
        assert old in text
        prints.add(sure(text.replace(old, new)).fingerprint)
    assert len(prints) == len(changes) + 1


def test_code_in_a_page_is_not_its_gist() -> None:
    page = "<!doctype html><style>b{}</style><body><script>var a = 1;</script><p>Out of <b>stock</b>"
    assert sure(page, 500, "text/html").title == "500 Out of"


def test_titles_tell_people() -> None:
    assert sure(PYTHON).title == "KeyError: <value> in total (orders.py)"
    assert sure(NODE).title == "TypeError: Cannot read properties of undefined (reading 'price') in total (total.js)"
    assert (
        sure(GO).title
        == "panic: runtime error: index out of range [<n>] with length <n> in main.(*Shop).total (total.go)"
    )


def test_prose_is_no_trace() -> None:
    for text in (
        "meet me at noon",
        "look at total (the whole)\n at home",
        "goroutine 7 [",
        "\n at x:1:2\n",
        "Traceback (most recent",
    ):
        assert signature(text) is None
    assert signature("Error: x\n  at nothing special") is None


# --- 5xx, JSON, streams, transport ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "body", "title"),
    [
        (
            502,
            "text/html",
            "<html><head><title>502 Bad Gateway</title></head><body>x</body></html>",
            "502 502 Bad Gateway",
        ),
        (500, "text/plain", "\n\ndatabase timeout after 31 ms\nmore", "500 database timeout after <n> ms"),
        (503, "", "", "503 (no body)"),
        (500, "application/json", '{"error": "no stock", "id": 5}', "500 no stock"),
        (500, "application/octet-stream", "\0\1", "500 (application/octet-stream body)"),
    ],
)
def test_5xx(status: int, kind: str, body: str, title: str) -> None:
    found = sure(body, status, kind)
    assert found.kind == "5xx"
    if status != 502:
        assert found.title == title
    else:
        assert "Bad Gateway" in found.title


def test_5xx_groups() -> None:
    a = sure("user 4711 not found at 10.0.0.1:80", 500)
    assert sure("user 5 not found at 10.0.7.1:8080", 500).fingerprint == a.fingerprint
    assert sure("user 5 not found at 10.0.7.1:8080", 503).fingerprint != a.fingerprint
    assert sure("order 5 not found at 10.0.7.1:8080", 500).fingerprint != a.fingerprint
    none = signature_of(500, None)
    assert none is not None
    assert none.fingerprint == sure("", 500).fingerprint


@pytest.mark.parametrize(
    ("body", "title"),
    [
        ({"error": "invalid_grant", "error_description": "expired"}, "400 invalid_grant: expired"),
        ({"error": {"type": "rate_limit", "message": "slow down, req 8812"}}, "400 rate_limit: slow down, req <n>"),
        ({"errors": [{"message": "bad field"}, {"message": "two"}]}, "400 bad field"),
        ({"errors": ["first", "second"]}, "400 first"),
        ({"errors": {"name": ["too short"]}}, "400 too short"),
        ({"code": "E17", "message": "no"}, "400 E17: no"),
        ({"detail": [{"msg": "field required", "loc": ["x"]}]}, "400 field required"),
        ([{"error": "in a batch"}], "400 in a batch"),
    ],
)
def test_json_errors(body: object, title: str) -> None:
    text = json.dumps(body)
    found = sure(text, 400, "application/json")
    assert (found.kind, found.title.replace("<n>", "E17") if "E17" in title else found.title) == ("json error", title)
    assert signature(text, 200, "application/json") is None


def test_problem_details() -> None:
    body = json.dumps(
        {"type": "https://x/out-of-credit", "title": "No credit", "detail": "Balance is 30", "instance": "/a/1"}
    )
    found = sure(body, 403, "application/problem+json")
    assert found.title == "403 https://x/out-of-credit: No credit: Balance is <n>"
    assert (
        sure(body.replace("30", "99").replace("/a/1", "/a/2"), 403, "application/problem+json").fingerprint
        == found.fingerprint
    )


@pytest.mark.parametrize("body", ["<h1>Not found</h1>", '{"id": 5}', "[]", "[1]", "{", "", '"x"', '{"error": null}'])
def test_a_4xx_without_an_error_object_is_no_signature(body: str) -> None:
    assert signature(body, 404, "application/json") is None


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (
            'data: {"a":1}\n\nevent: error\ndata: {"error":{"type":"overloaded","message":"busy 5"}}\n\n',
            "overloaded: busy <n>",
        ),
        ("event: error\ndata: it broke\n\n", "it broke"),
        ('data: {"error": {"message": "quota", "code": null}}\n\n', "quota"),
        ('data: {"error": "plain"}\r\n\r\n', "plain"),
    ],
)
def test_errors_in_streams(body: str, title: str) -> None:
    found = sure(body, 200, "text/event-stream")
    assert (found.kind, found.title) == ("sse error", title)
    assert signature(body, 200, "text/plain") is None


@pytest.mark.parametrize(
    "body", ['data: {"a":"error"}\n\n', 'data: {"error": null}\n\n', "event: error\n\ndata: x\n\n", ": error\n"]
)
def test_streams_without_errors(body: str) -> None:
    assert signature(body, 200, "text/event-stream") is None


def test_transport() -> None:
    prints = set()
    for failure in ("timeout", "connect", "reset", "truncated", "tls", "resolve"):
        found = signature_of(0, None, failure)
        assert found is not None
        assert found.kind == "transport"
        assert found.title.startswith(failure)
        prints.add(found.fingerprint)
    assert len(prints) == 6
    assert signature_of(200, Content(b"fine", "text/plain")) is None


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("user 4711 not found at 10.0.0.3:5432 after 31 ms", "user <n> not found at <address> after <n> ms"),
        ("req-8f3a21 failed", "<n> failed"),
        ("http2 and s3 stay, sha256 does not", "http2 and s3 stay, <n> does not"),
        ("3f2b8c1e-9d4a-4e6f-8b7a-1c2d3e4f5a6b gone", "<uuid> gone"),
        ("at 2026-11-23T04:00:00.123Z or 04:00:01", "at <time> or <time>"),
        ("0xc000b4 and deadbeef00112233", "<hex> and <hex>"),
        ("mail ann.b@example.org!", "mail <email>!"),
        ("db.internal:5432 and [fe80::1]:80", "db.internal:<n> and <address>"),
        ("it can't find \"x y\" in 'z' or `q`", "it can't find <value> in <value> or <value>"),
        ("a\n\t b", "a b"),
    ],
)
def test_normalised(text: str, result: str) -> None:
    assert normalised(text) == result


def test_readable_keeps_words() -> None:
    assert readable("no 'price' in 'order 8812' of user 7") == "no 'price' in <value> of user <n>"


@given(
    st.binary(max_size=200) | st.text('{}[]":, \n\tat(errodatvn)0123.js', max_size=150).map(str.encode),
    st.integers(100, 599),
)
def test_any_bytes_are_survived(data: bytes, status: int) -> None:
    for kind in ("", "application/json", "text/html", "text/event-stream", "application/problem+json"):
        found = signature_of(status, Content(data, kind))
        if found is not None:
            assert len(found.title) <= 160
            assert found.title.isprintable()
            assert len(found.fingerprint) == 16
        assert status < 500 or found is not None


HOSTILE = [
    "\tat " + "a" * 70_000,
    "\n\tat a.b(" * 9000,
    " at x (" + ":1" * 30_000,
    "Traceback (most recent call last)\n" * 2000,
    "Traceback (most recent call last):\n" + '  File "x", line 1, in y\n' * 3000,
    "goroutine 1 [\n" + "a.b(\n\t/x.go:1\n" * 5000,
    "<" * 65_000,
    "<h1" * 20_000,
    "<br" * 20_000 + " at ",
    "&nbsp;at " * 8000,
    "'" * 65_000,
    "1:" * 32_000,
    "a-" * 32_000,
    "[" * 65_000,
    '{"error":' * 8000,
    "event: error\n" * 6000,
    "<script>" * 8000,
    "a.b" * 20_000 + "\n at a(b.js:1:1)",
    "Error: " * 9000 + "\n    at a (b.js:1:1)",
    (": " * 500 + "\n    at a (b.js:1:1)\n") * 60,
    "panic:" * 10_000 + "\ngoroutine 1 [x]:",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
def test_hostile_bodies_cost_little(text: str) -> None:
    for kind in ("text/html", "application/json", "text/event-stream"):
        whole, quarter = Content(text.encode(), kind), Content(text[: len(text) // 4].encode(), kind)
        assert growth(partial(signature_of, 500, whole), partial(signature_of, 500, quarter)) < LINEAR
