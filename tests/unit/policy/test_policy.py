"""What is mirrored, and how a head is changed for the shadow; judged by a naive splitter of its own."""

from __future__ import annotations

import hashlib
import hmac
import posixpath
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.config.filter import FilterSpec
from shadowd.errors import UsageError
from shadowd.exchange.exchange import WEBSOCKET, Request, Turn
from shadowd.policy.policy import Policy, loop_value, spelled_out
from shadowd.protocols.http1_reader import ProtocolError, RequestReader

HOST = b"shadow.test:8081"
LOOP = b"node-1/shop"


def requests(wire: bytes) -> list[Request]:
    """What the real reader makes of these bytes: the policy never sees anything else."""
    reader = RequestReader()
    found = list(reader.feed_untrusted(wire, 1))
    assert not reader.pending
    return found


def request(wire: bytes) -> Request:
    [found] = requests(wire)
    return found


def get(*headers: bytes, target: bytes = b"/", method: bytes = b"GET") -> Request:
    return request(b"\r\n".join([method + b" " + target + b" HTTP/1.1", *headers, b"", b""]))


def split(wire: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Request line, header lines (a folded one with its continuation), body. Knows nothing of the policy."""
    head, _, body = wire.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields: list[bytes] = []
    for line in lines:
        if line[:1] in b" \t":
            fields[-1] += b"\r\n" + line
        else:
            fields.append(line)
    return first, fields, body


def named(fields: list[bytes], name: bytes) -> list[bytes]:
    """Values of a header, trimmed."""
    found = [field.partition(b":") for field in fields]
    return [value.strip() for key, _, value in found if key.lower() == name.lower()]


# --- selection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "safe", "listed"),
    [
        (b"GET", "", "method"),
        (b"HEAD", "", "method"),
        (b"OPTIONS", "", "method"),
        (b"TRACE", "method", "method"),
        (b"POST", "method", ""),
        (b"PURGE", "method", ""),
        (b"get", "method", "method"),  # methods are case-sensitive (RFC 9110 §9.1)
    ],
)
def test_methods(method: bytes, safe: str, listed: str) -> None:
    asked = get(b"Host: p", method=method)
    assert Policy(LOOP).refuse(asked) == safe
    assert Policy(LOOP, methods=[b"POST", b"PURGE"]).refuse(asked) == listed
    assert Policy(LOOP, methods=None).refuse(asked) == ""


@pytest.mark.parametrize(
    ("target", "reason"),
    [(b"/api/v1", ""), (b"/apiary", ""), (b"/web", "path"), (b"/api/internal", "path"), (b"/API", "path")],
)
def test_paths(target: bytes, reason: str) -> None:
    policy = Policy(LOOP, match_path="^/api", exclude_path="internal")
    assert policy.refuse(get(b"Host: p", target=target)) == reason


@pytest.mark.parametrize(
    "target",
    [
        b"/admin/users",
        b"http://prod.example/admin",
        b"HTTP://u:p@[::1]:81/admin?x",
        b"/%61dmin",
        b"/%61%64%6D%69%6e/",
        b"//admin",
        b"/./admin",
        b"/a/../admin",
        b"/a/%2e%2e/admin",
        b"/a/..%2fadmin",
        b"/\\admin",
        b"http://prod.example//x/../admin/",
        b"/admin#x",
    ],
)
def test_what_is_excluded_stays_excluded_in_any_spelling(target: bytes) -> None:
    assert Policy(LOOP, exclude_path="^/admin").refuse(get(b"Host: p", target=target)) == "path"


@pytest.mark.parametrize(
    "target", [b"/shop?next=/admin", b"http:///shop/admin", b"/a/admin", b"/adm%69", b"*", b"/a/..b"]
)
def test_what_is_not_excluded_is_mirrored(target: bytes) -> None:
    asked = get(b"Host: p", target=target, method=b"OPTIONS" if target == b"*" else b"GET")
    assert Policy(LOOP, exclude_path="^/admin").refuse(asked) == ""


@pytest.mark.parametrize(
    ("target", "pattern", "reason"),
    [
        (b"http://prod.example/api?x=1", "^/api", ""),
        (b"http://prod.example/api?x=1", "x=1$", ""),
        (b"http://prod.example", "^/$", ""),
        (b"http://prod.example?q", "^/[?]q$", ""),
        (b"http://prod.example/shop", "prod", "path"),
        (b"/api", "^/api$", ""),
    ],
)
def test_an_absolute_target_is_matched_by_path_and_query(target: bytes, pattern: str, reason: str) -> None:
    assert Policy(LOOP, match_path=pattern).refuse(get(b"Host: p", target=target)) == reason


SEGMENTS = st.lists(st.sampled_from([b"a", b"b", b".", b"..", b"", b"%2e", b"%2E.", b"%61", b"c%2Fd"]), max_size=8)


@given(SEGMENTS)
def test_spelled_out_as_the_standard_library_has_it(segments: list[bytes]) -> None:
    path = b"/" + b"/".join(segments)
    whole = posixpath.normpath(b"/" + unquote_to_bytes(path).lstrip(b"/"))
    assert spelled_out(path + b"?%61=..").partition(b"?")[0].rstrip(b"/") == whole.rstrip(b"/")
    assert spelled_out(path + b"?%61=..").endswith(b"?a=..")


@pytest.mark.parametrize("preserve", [False, True])
def test_one_host_reaches_the_shadow(preserve: bool) -> None:
    asked = get(b"A: 1", b"host: p", b"Host:q", b"B: 2", b"HOST: r")
    _, fields, _ = split(Policy(LOOP, preserve_host=preserve).rewrite(asked, HOST))
    assert fields == [b"A: 1", b"host: " + (b"p" if preserve else HOST), b"B: 2", b"X-Shadowd: " + LOOP]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([b"X-Tenant: acme"], ""),
        ([b"x-tenant:acme"], ""),
        ([b"X-TENANT: \t acme corp"], ""),
        ([b"X-Tenant: other", b"X-Tenant: acme"], ""),
        ([b"X-Tenant: a\r\n\tacme"], ""),
        ([b"X-Tenant: other"], "header"),
        ([b"Not-X-Tenant: acme"], "header"),
        ([b"Accept: x\r\n X-Tenant: acme"], "header"),
        ([], "header"),
    ],
)
def test_headers(headers: list[bytes], reason: str) -> None:
    policy = Policy(LOOP, match_headers=[("X-Tenant", "^acme|\tacme")])
    assert policy.refuse(get(b"Host: p", *headers)) == reason


def test_every_header_pattern_must_hold() -> None:
    policy = Policy(LOOP, match_headers=[("A", "1"), ("B", "2")])
    assert policy.refuse(get(b"A: 1", b"B: 2")) == ""
    assert policy.refuse(get(b"A: 1", b"B: 3")) == "header"
    assert policy.refuse(get(b"A: 1")) == "header"


# --- loops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"X-Shadowd", b"x-shadowd", b"X-SHADOWD"])
@pytest.mark.parametrize("value", [b" node-2/cart", b"", b" ;", b"\tanything at all"])
def test_without_a_key_any_mark_is_a_loop(name: bytes, value: bytes) -> None:
    assert Policy(LOOP).refuse(get(b"Host: p", name + b":" + value)) == "loop"


@pytest.mark.parametrize("header", [b"X-Shadowd-Not: 1", b"Accept: X-Shadowd: 1", b"Accept: a\r\n X-Shadowd: 1"])
def test_what_only_looks_like_a_mark_is_none(header: bytes) -> None:
    assert Policy(LOOP).refuse(get(b"Host: p", header)) == ""


KEY = b"shared secret"
SIGNED = loop_value("node-2", "cart", KEY)


def test_a_mark_is_signed_by_hmac_sha256() -> None:
    assert loop_value("n", "f", None) == b"n/f"
    plain, _, signature = SIGNED.partition(b";")
    assert plain == b"node-2/cart"
    assert signature.decode() == hmac.new(KEY, b"node-2/cart", hashlib.sha256).hexdigest()[:32]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([SIGNED], "loop"),
        ([b"  " + SIGNED + b"\t"], "loop"),
        ([b"unsigned", SIGNED], "loop"),
        ([b"node-2/cart"], ""),
        ([SIGNED[:-1]], ""),
        ([SIGNED[:-1] + (b"0" if SIGNED[-1:] != b"0" else b"1")], ""),
        ([b"node-3/cart;" + SIGNED.partition(b";")[2]], ""),
        ([SIGNED.upper()], ""),
        ([loop_value("node-2", "cart", b"another key")], ""),
        ([b";" + hmac.new(KEY, b"", hashlib.sha256).hexdigest()[:32].encode()], ""),
        ([b";"], ""),
        ([b""], ""),
        (["ü;ü".encode()], ""),
    ],
)
def test_with_a_key_only_a_signed_mark_is_a_loop(values: list[bytes], reason: str) -> None:
    asked = get(b"Host: p", *(b"X-Shadowd: " + value for value in values))
    assert Policy(LOOP, KEY).refuse(asked) == reason


def test_what_one_daemon_sends_another_recognises() -> None:
    ours = Policy(loop_value("node-1", "shop", KEY), KEY)
    forged = get(b"Host: p", b"X-Shadowd: forged")
    sent = request(ours.rewrite(forged, HOST))
    assert Policy(loop_value("node-2", "cart", KEY), KEY).refuse(sent) == "loop"
    assert named(split(ours.rewrite(forged, HOST))[1], b"x-shadowd") == [loop_value("node-1", "shop", KEY)]


# --- rewriting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"Host", b"host", b"HOST", b"hOsT"])
@pytest.mark.parametrize("value", [b" prod.example", b"prod.example", b" \t prod.example \t", b"", b" "])
@pytest.mark.parametrize("place", ["only", "first", "middle", "last"])
def test_host_becomes_the_targets(name: bytes, value: bytes, place: str) -> None:
    host = name + b":" + value
    lines = {
        "only": [host],
        "first": [host, b"A: 1", b"B:2"],
        "middle": [b"A: 1", host, b"B:2"],
        "last": [b"A: 1", b"B:2", host],
    }[place]
    first, fields, body = split(Policy(LOOP).rewrite(get(*lines), HOST))
    assert first == b"GET / HTTP/1.1"
    expected = [name + b": " + HOST if line == host else line for line in lines]
    assert fields == [*expected, b"X-Shadowd: " + LOOP]
    assert body == b""


def test_an_absent_host_stays_absent() -> None:
    wire = b"GET / HTTP/1.0\r\nAccept: */*\r\n\r\n"
    assert Policy(LOOP).rewrite(request(wire), HOST) == wire[:-2] + b"X-Shadowd: " + LOOP + b"\r\n\r\n"


@pytest.mark.parametrize("line", [b"X-Host: p", b"Accept: a\r\n Host: p", b"X: \r\n\thost: p", b"Forwarded: host: p"])
def test_what_only_looks_like_host_stays(line: bytes) -> None:
    _, fields, _ = split(Policy(LOOP).rewrite(get(line, b"Host: p"), HOST))
    assert fields == [line, b"Host: " + HOST, b"X-Shadowd: " + LOOP]


def test_host_preserved() -> None:
    wire = b"GET http://prod.example/a HTTP/1.1\r\nhost:prod.example\r\n\r\n"
    sent = Policy(LOOP, preserve_host=True).rewrite(request(wire), HOST)
    assert sent == wire[:-2] + b"X-Shadowd: " + LOOP + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"http://prod.example/a?b=http://prod.example/", b"http://" + HOST + b"/a?b=http://prod.example/"),
        (b"http://prod.example", b"http://" + HOST),
        (b"http://prod.example?q", b"http://" + HOST + b"?q"),
        (b"HTTP://user:pw@prod.example:81/", b"HTTP://" + HOST + b"/"),
        (b"http://[::1]:80/x", b"http://" + HOST + b"/x"),
        (b"/see?http://prod.example/", b"/see?http://prod.example/"),
        (b"*", b"*"),
    ],
)
def test_absolute_form_names_the_target(target: bytes, sent: bytes) -> None:
    method = b"OPTIONS" if target == b"*" else b"GET"
    asked = get(b"Host: prod.example", target=target, method=method)
    first, fields, _ = split(Policy(LOOP).rewrite(asked, HOST))
    assert first == method + b" " + sent + b" HTTP/1.1"
    assert named(fields, b"host") == [HOST]


def test_authority_form_stays() -> None:
    asked = get(b"Host: db:5432", target=b"db:5432", method=b"CONNECT")
    assert split(Policy(LOOP, methods=None).rewrite(asked, HOST))[0] == b"CONNECT db:5432 HTTP/1.1"


def test_headers_are_set_and_removed_in_every_case_and_folded() -> None:
    asked = get(
        b"Cookie: a=1", b"ACCEPT: x", b"Host: p", b"cookie:b\r\n\tfolded", b"X-Env: prod", b"x-env: again", b"Z:"
    )
    policy = Policy(LOOP, set_headers=[("X-Env", "shadow"), ("New", "1")], remove_headers=["COOKIE", "absent"])
    assert split(policy.rewrite(asked, HOST))[1] == [
        b"ACCEPT: x",
        b"Host: " + HOST,
        b"Z:",
        b"X-Shadowd: " + LOOP,
        b"X-Env: shadow",
        b"New: 1",
    ]


def test_host_may_be_set_by_the_operator() -> None:
    _, fields, _ = split(Policy(LOOP, set_headers=[("Host", "other")]).rewrite(get(b"host: p"), HOST))
    assert fields == [b"X-Shadowd: " + LOOP, b"Host: other"]


def test_a_body_is_never_changed() -> None:
    body = b"Host: p\r\nX-Shadowd: 1\r\nCookie: a\r\n\r\nGET / HTTP/1.1\r\nHost: p\r\n\r\n"
    wire = b"POST / HTTP/1.1\r\nContent-Length: %d\r\nHost: p\r\n\r\n" % len(body) + body
    policy = Policy(LOOP, methods=None, remove_headers=["Cookie"])
    assert split(policy.rewrite(request(wire), HOST))[2] == body
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: p\r\n\r\n3;x=y\r\nabc\r\n0\r\nCookie: t\r\n\r\n"
    assert split(policy.rewrite(request(chunked), HOST))[2] == b"3;x=y\r\nabc\r\n0\r\nCookie: t\r\n\r\n"


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\nA: 1\nContent-Length: 0\r\nX-Shadowd: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: 1\rHost: q\r\nHost: p\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : p\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n p\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: p\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Shadowd: a\0b\r\n\r\n",
    ],
)
def test_heads_that_could_be_read_in_two_ways_never_reach_the_policy(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        RequestReader().feed_untrusted(wire, 1)


def test_bare_line_feeds_hide_nothing_from_the_policy() -> None:
    """They are line ends: what the shadow is sent has CRLF, and can be read in one way only."""
    assert Policy(LOOP).refuse(request(b"GET / HTTP/1.1\r\nA: 1\nX-Shadowd: 1\r\n\r\n")) == "loop"
    out = Policy(LOOP, remove_headers=["Cookie"]).rewrite(request(b"GET / HTTP/1.1\nHost: p\nCookie: a\n\n"), HOST)
    first, fields, body = split(out)
    assert (first, body) == (b"GET / HTTP/1.1", b"")
    assert fields == [b"Host: " + HOST, b"X-Shadowd: " + LOOP]


@pytest.mark.parametrize("bad", ["a\r\nX: 1", "a\nX: 1", "a\rX", "a\0"])
def test_the_operators_headers_cannot_carry_a_line_break(bad: str) -> None:
    base = {"name": "shop", "ports": ["80"], "targets": ["http://127.0.0.1:81"]}
    assert FilterSpec.from_wire({**base, "set_header": ["A: b"]}).set_header == ("A: b",)
    for wrong in ({"set_header": [f"A: {bad}"]}, {"set_header": [f"{bad}: 1"]}, {"remove_header": [bad]},
                  {"name": bad}):  # fmt: skip
        with pytest.raises(UsageError):
            FilterSpec.from_wire({**base, **wrong})


# --- property ---------------------------------------------------------------------------------------------------------

TOKEN = st.text("abcdefXYZ-_0123", min_size=1, max_size=8).map(str.encode)
NAMES = st.one_of(TOKEN.map(lambda name: b"N-" + name), st.sampled_from([b"Host", b"hOST", b"X-Shadowd", b"x-shadowd",
    b"Cookie", b"COOKIE", b"X-Env", b"Accept", b"Content-Type"]))  # fmt: skip
PRINTABLE = st.binary(max_size=20).map(lambda raw: bytes(32 + byte % 95 for byte in raw))
SPACE = st.sampled_from([b"", b" ", b"\t", b"  "])
FOLD = st.one_of(st.just(b""), PRINTABLE.map(lambda text: b"\r\n " + b"f" + text))


@st.composite
def header_lines(draw: st.DrawFn) -> bytes:
    name = draw(NAMES)
    fold = b"" if name.lower() == b"host" else draw(FOLD)
    return name + b":" + draw(SPACE) + draw(PRINTABLE) + fold + draw(SPACE)


HEADS = st.tuples(st.lists(header_lines(), max_size=8), st.binary(max_size=40), st.booleans())


@given(HEADS, st.booleans(), st.lists(st.sampled_from(["Cookie", "x-env", "n-a"]), unique=True, max_size=2))
def test_only_the_stated_changes(given_head: tuple[list[bytes], bytes, bool], preserve: bool, gone: list[str]) -> None:
    lines, body, version = given_head
    fields = [*lines, b"Content-Length: %d" % len(body)]
    line = b"PUT /p?q HTTP/1.%d" % version
    wire = b"\r\n".join([line, *fields, b"", b""]) + body
    policy = Policy(LOOP, methods=None, preserve_host=preserve, set_headers=[("X-Env", "shadow")], remove_headers=gone)
    sent = policy.rewrite(request(wire), HOST)
    removed = {b"x-shadowd", b"x-env", *(name.encode().lower() for name in gone)}
    expected, host_seen = [], False
    for field in split(wire)[1]:
        name = field.partition(b":")[0]
        if name.lower() in removed:
            continue
        if name.lower() == b"host":
            if host_seen:
                continue
            host_seen = True
            field = field if preserve else name + b": " + HOST
        expected.append(field)
    assert split(sent) == (line, [*expected, b"X-Shadowd: " + LOOP, b"X-Env: shadow"], body)
    again = request(sent)  # and the real reader still finds one request with the same body
    assert again.body == body


@given(HEADS)
def test_nothing_else_changes_a_byte(given_head: tuple[list[bytes], bytes, bool]) -> None:
    lines, body, _ = given_head
    fields = [line for line in lines if not line.lower().startswith((b"host:", b"x-shadowd:"))]
    wire = b"\r\n".join([b"PUT / HTTP/1.1", *fields, b"Content-Length: %d" % len(body), b"", b""])
    sent = Policy(LOOP, methods=None).rewrite(request(wire + body), HOST)
    assert sent == wire[:-2] + b"X-Shadowd: " + LOOP + b"\r\n\r\n" + body


# --- what is said on a WebSocket --------------------------------------------------------------------------------------


def turn(head: bytes = b"") -> Request:
    lines = b"WEBSOCKET /talk?room=7 HTTP/1.1\r\nHost: shop\r\nOrigin: https://shop\r\n" + head + b"\r\n"
    request = Request(WEBSOCKET, b"/talk?room=7", lines, b"hello", 0, 5, 1, 2)
    request.turn = Turn((), 0)
    return request


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "method"),
        ({"websocket": True}, ""),
        ({"methods": None}, ""),
        ({"methods": [b"GET", WEBSOCKET]}, ""),
        ({"websocket": True, "match_path": "room=8"}, "path"),
        ({"websocket": True, "exclude_path": "^/talk"}, "path"),
        ({"websocket": True, "match_headers": [("Origin", "evil")]}, "header"),
        ({"websocket": True, "match_headers": [("Origin", "shop")]}, ""),
    ],
)
def test_turns_are_chosen_as_requests_are(given: dict[str, Any], reason: str) -> None:
    policy = Policy(b"here/shop", **given)
    assert policy.refuse(turn()) == reason
    assert policy.talks == (reason != "method")


def test_a_turn_of_our_own_is_a_loop() -> None:
    assert Policy(b"here/shop", websocket=True).refuse(turn(b"X-Shadowd: there/shop\r\n")) == "loop"
