"""Header values that are written otherwise and mean the same, and those that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.difference import Options
from shadowd.compare.fields import meaning, overlooked
from shadowd.compare.headers import compare_heads


def found(p: str, c: str, **options: object) -> list[tuple[str, str, str]]:
    heads = [f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode() for fields in (p, c)]
    return [d[:3] for d in compare_heads(heads[0], heads[1], Options(**options))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "p", "c"),
    [
        ("Content-Type", "application/json;charset=UTF-8", 'Application/JSON; Charset="utf-8"'),
        ("Content-Type", "text/plain; format=flowed; charset=utf-8", "text/plain;charset=utf-8;format=flowed"),
        ("Content-Type", "multipart/mixed; boundary=aaa", 'multipart/mixed; boundary="b b"'),
        ("Cache-Control", "max-age=60,public", 'Public, max-age="60"'),
        ("Vary", "Accept-Encoding, Origin", "origin,accept-encoding"),
        ("Vary", "A\r\nVary: B", "b, a"),
        ("Allow", "GET, HEAD,PUT", "PUT,GET,HEAD"),
        ("Accept-Ranges", "bytes", "Bytes"),
        ("Access-Control-Allow-Methods", "GET,POST", "POST, GET"),
        ("Access-Control-Allow-Headers", "X-A, X-B", "x-b,x-a"),
        ("Access-Control-Expose-Headers", "A,B", "b, A"),
        ("ETag", 'W/"a"', '"a"'),
        ("Link", "<a>; rel=next, <b>; rel=prev", '<b>;rel="prev",<a>; rel="next"'),
        ("Link", "<a,b>; rel=next; title=x", "<a,b>; title=x; rel=next"),
        ("Content-Disposition", "attachment; filename=a.csv", 'Attachment;filename="a.csv"'),
        ("Strict-Transport-Security", "max-age=60; includeSubDomains", "includeSubdomains;max-age=60"),
        (
            "Content-Security-Policy",
            "img-src x; script-src 'self' 'nonce-abc'",
            "script-src 'nonce-q' 'self';img-src x",
        ),
        ("WWW-Authenticate", 'Digest realm="a", nonce="1"', 'Digest realm="a", nonce="2"'),
        ("X-Anything", "a,b", "a , b"),
    ],
)
def test_the_same(name: str, p: str, c: str) -> None:
    assert found(f"{name}: {p}", f"{name}: {c}") == []


@pytest.mark.parametrize(
    ("name", "p", "c"),
    [
        ("Content-Type", "text/plain; charset=utf-8", "text/plain; charset=latin-1"),
        ("Content-Type", "text/plain; charset=utf-8", "text/plain"),
        ("Content-Type", "multipart/mixed; boundary=a; type=x", "multipart/mixed; boundary=a; type=y"),
        ("Cache-Control", "max-age=60", "max-age=61"), ("Cache-Control", "public", "private"),
        ("Vary", "A, B", "A"), ("Allow", "GET", "get"), ("ETag", '"a"', '"b"'), ("ETag", "a", '"a"'),
        ("Link", "<a>; rel=next, <b>; rel=next", "<b>; rel=next, <a>; rel=next"), ("X-Order", "a, b", "b, a"),
        ("Content-Encoding", "gzip, br", "br, gzip"),
        ("Content-Disposition", "inline; filename=A", "inline; filename=a"),
        ("Content-Security-Policy", "script-src 'self'", "script-src 'self' 'unsafe-inline'"),
        ("WWW-Authenticate", 'Digest realm="a", nonce="1"', 'Digest realm="b", nonce="1"'),
        ("Location", "/a,b", "/a, b"), ("X-Quoted", '"a,b"', '"a, b"'),
    ],
)  # fmt: skip
def test_not_the_same(name: str, p: str, c: str) -> None:
    assert found(f"{name}: {p}", f"{name}: {c}") == [("header", name.lower(), "value")]


@pytest.mark.parametrize(
    "name",
    ["X-Cache", "X-Served-By", "X-Backend", "X-Pod", "X-Hostname", "Server-Timing", "X-Runtime", "X-Request-Id",
     "traceparent", "CF-Ray", "X-Amzn-RequestId", "X-Proxy-Cache-Status", "X-B3-TraceId", "X-Datadog-Trace-Id",
     "X-Kubernetes-Pod-Name", "X-Cache-Hits", "Request-Id", "X-Correlation-ID"],
)  # fmt: skip
def test_which_host_answered_is_compared_where_it_was_asked_for(name: str) -> None:
    assert found(f"{name}: a", f"{name}: b") == []
    assert found(f"{name}: a", "Other: 1") == [("header", "other", "extra")]
    assert found(f"{name}: a", f"{name}: b", also_headers=[name]) == [("header", name.lower(), "value")]
    assert found(f"{name}: a", f"{name}: b", compare_headers=[name]) == [("header", name.lower(), "value")]


@pytest.mark.parametrize(
    "name",
    ["cache-control", "location", "content-type", "content-location", "content-security-policy", "www-authenticate",
     "access-control-allow-origin", "etag", "vary", "link", "expires", "last-modified", "server", "x-powered-by",
     "x-frame-options", "x-content-type-options", "x-ratelimit-limit", "x-total-count", "x-api-version",
     "x-cache-control", "x-user-id", "x-account-id", "x-order-id",
     "retry-after", "allow", "strict-transport-security", "x-csrf-token"],
)  # fmt: skip
def test_what_a_service_says_is_never_overlooked(name: str) -> None:
    assert not overlooked(name)


TOKENS = st.lists(st.sampled_from(["a", "b", "c", "no-store", "x=1"]), min_size=1, max_size=5, unique=True)


@given(TOKENS, st.randoms(use_true_random=False), st.sampled_from(["vary", "cache-control", "allow"]))
def test_sets_in_any_order(tokens: list[str], draw: object, name: str) -> None:
    other = list(tokens)
    draw.shuffle(other)  # type: ignore[attr-defined]
    assert meaning(name, ", ".join(tokens)) == meaning(name, " ,".join(other))
    assert meaning(name, ",".join(tokens)) != meaning(name, ",".join([*other, "new"]))


NAMES = ["content-type", "link", "vary", "etag", "content-security-policy", "content-disposition", "x-other", "allow"]


@given(st.sampled_from(NAMES), st.text('abc",;=<>\\/ W*-', max_size=60) | st.text(max_size=60))
def test_any_value(name: str, value: str) -> None:
    assert meaning(name, value) == meaning(name, value)


# --- cookies ----------------------------------------------------------------------------------------------------------

ADMIN, FRONT = "Set-Cookie: wp=admin; Path=/admin; HttpOnly", "Set-Cookie: wp=front; Path=/"


def test_cookies_of_one_name_and_several_paths() -> None:
    both, turned = f"{ADMIN}\r\n{FRONT}", f"{FRONT}\r\n{ADMIN}"
    assert found(both, turned) == []
    assert found(both, FRONT) == [("cookie", "wp@/admin", "missing")]
    assert found(FRONT, both) == [("cookie", "wp@/admin", "extra")]
    assert found(both, f"{ADMIN}\r\nSet-Cookie: wp=other; Path=/") == [("cookie", "wp@/", "value")]
    assert found(both, f"{ADMIN.replace('; HttpOnly', '')}\r\n{FRONT}") == [
        ("cookie", "wp@/admin; httponly", "missing")
    ]


def test_a_changed_path_is_no_lost_cookie() -> None:
    assert found("Set-Cookie: a=1; Path=/", "Set-Cookie: a=1; Path=/x") == [("cookie", "a; path", "value")]
    assert found("Set-Cookie: a=1; Domain=.shop.example", "Set-Cookie: a=1; Domain=shop.example") == []


def test_a_cookie_that_is_deleted() -> None:
    p, c = (
        "Set-Cookie: a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "Set-Cookie: a=; Expires=Thu, 26 Nov 2026 10:00:00 GMT",
    )
    assert found(p, c) == [("cookie", "a; expires", "value")]
    assert found(c, c.replace("26 Nov", "27 Nov")) == []


COOKIES = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["", "/", "/x"]), st.sampled_from("12")),
    max_size=5, unique_by=lambda cookie: cookie[:2],
)  # fmt: skip


def lines(cookies: list[tuple[str, str, str]]) -> str:
    return "\r\n".join(["X: 1", *(f"Set-Cookie: {n}={v}" + (f"; Path={p}" if p else "") for n, p, v in cookies)])


@given(COOKIES, st.randoms(use_true_random=False))
def test_cookies_in_any_order(cookies: list[tuple[str, str, str]], draw: object) -> None:
    other = list(cookies)
    draw.shuffle(other)  # type: ignore[attr-defined]
    assert found(lines(cookies), lines(other)) == []
    if cookies:
        assert found(lines(cookies), lines(other[1:])) == [
            ("cookie", next(d[1] for d in found(lines(cookies), lines(other[1:]))), "missing")
        ]
