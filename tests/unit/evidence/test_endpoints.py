"""Names of endpoints: what is folded, what is not, and never too many."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.errors import UsageError
from shadowd.evidence.endpoints import CHILDREN, MEMO, PLACES, ROOT_CHILDREN, Endpoints, raw_name


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/", "/"),
        ("/orders", "/orders"),
        ("/orders/", "/orders/"),
        ("/orders/8812/items?page=2", "/orders/{id}/items"),
        ("/orders/-5", "/orders/{id}"),
        ("/a//b", "/a//b"),
        ("/o/3f2b8c1e-9d4a-4e6f-8b7a-1c2d3e4f5a6b", "/o/{uuid}"),
        ("/o/3F2B8C1E-9D4A-4E6F-8B7A-1C2D3E4F5A6B/x", "/o/{uuid}/x"),
        ("/commit/da39a3ee5e6b4b0d3255bfef95601890afd80709", "/commit/{hash}"),
        ("/c/9f86d081884c7d65", "/c/{hash}"),
        ("/days/2026-11-23", "/days/{date}"),
        ("/days/2026-11-23T04:00:00Z", "/days/{date}"),
        ("/days/2026-11-23T04%3A00%3A00.5+01:00", "/days/{date}"),
        ("/users/ann@example.org", "/users/{email}"),
        ("/users/ann%40example.org", "/users/{email}"),
        ("/t/dGhpcyBpcyBhIHRva2VuIDEyMw", "/t/{token}"),
        ("/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_1", "/t/{token}"),
        ("/u/user-12345", "/u/{id}"),
        ("/u/A1B2C3", "/u/{id}"),
        ("/u/cus_Nf8811", "/u/{id}"),
        ("/invoices/2024-000017.pdf", "/invoices/{id}.pdf"),
        ("/orders/17.json", "/orders/{id}.json"),
        ("/api/v1/orders", "/api/v1/orders"),
        ("/api/v2beta1/orders", "/api/v2beta1/orders"),
        ("/pkg/1.2.3", "/pkg/1.2.3"),
        ("/pkg/v10.20.30-rc.1", "/pkg/v10.20.30-rc.1"),
        ("/oauth2/token", "/oauth2/token"),
        ("/hash/sha256", "/hash/sha256"),
        ("/how-to-build-a-very-long-slug-without-any-number", "/how-to-build-a-very-long-slug-without-any-number"),
        ("/a;jsessionid=AB12?x", "/a"),
        ("/a#frag", "/a"),
        ("http://example.org/orders/1?x=1", "/orders/{id}"),
        ("http://example.org", "/"),
        ("/caf%C3%A9", "/café"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%20b", "/a%20b"),
        ("/a%ff", "/a%ff"),
        ("/%E4%BA%AC%E4%BA%AC/x", "/京京/x"),
        ("/%E4%E5%E6%E7", "/%E4%E5%E6%E7"),
        ("/app.3f2a1b9c8.js", "/{id}.js"),
        ("*", "*"),
    ],
)
def test_folding_by_looks(target: str, name: str) -> None:
    assert Endpoints().name(b"GET", target.encode()) == f"GET {name}"


def test_methods_and_forms() -> None:
    names = Endpoints()
    assert names.name(b"POST", b"/a") == "POST /a"
    assert names.name(b"CONNECT", b"example.org:443") == "CONNECT"
    assert names.name(b"", b"") == "raw"
    assert names.name(b"GET", b"/a\x00\xff b") == "GET /a%00%FF%20b"
    assert len(names.name(b"X" * 1000, b"/" + b"y" * 5000)) <= 200
    assert len(names.name(b"GET", b"/" + b"long-" * 30 + b"/" + b"more-" * 30)) == 200
    assert names.name(b"GET", b"/x" * 40) == "GET " + "/x" * 16 + "/…"


def test_a_place_with_many_names_is_folded() -> None:
    names = Endpoints()
    people = [f"/users/{chr(97 + n % 26)}{chr(97 + n // 26)}son".encode() for n in range(CHILDREN + 5)]
    first = [names.name(b"GET", person) for person in people]
    assert first[:CHILDREN] == [f"GET {person.decode()}" for person in people[:CHILDREN]]
    assert set(first[CHILDREN:]) == {"GET /users/{name}"}
    assert {names.name(b"GET", person) for person in people} == {"GET /users/{name}"}  # the memo too
    assert names.name(b"GET", people[0] + b"/orders/5") == "GET /users/{name}/orders/{id}"
    assert names.name(b"GET", b"/groups/aason") == "GET /groups/aason"


def test_resources_are_not_folded_as_soon() -> None:
    words = [f"{chr(97 + n % 26)}{chr(97 + n // 26)}s" for n in range(ROOT_CHILDREN)]
    for prefix in ("", "/api", "/api/v1"):
        names = Endpoints()
        assert len({names.name(b"GET", f"{prefix}/{word}".encode()) for word in words}) == ROOT_CHILDREN
        assert names.name(b"GET", f"{prefix}/onemore".encode()) == f"GET {prefix}/{{name}}"


def test_never_more_than_the_limit() -> None:
    names = Endpoints(limit=50)
    seen = {names.name(b"GET", f"/{chr(97 + n % 20)}x/{chr(97 + n // 20)}y".encode()) for n in range(300)}
    assert len(seen) == 51
    assert "other" in seen
    assert names.name(b"GET", b"/ax/ay") == "GET /ax/ay"  # those that were there first keep their names


def test_memory_is_bounded_when_paths_are_hostile() -> None:
    names = Endpoints()
    words = [f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}" for n in range(90)]
    seen = set()
    for n in range(15_000):
        seen.add(names.name(b"GET", f"/{words[n % 90]}/{words[n // 90 % 19]}/{words[n // 1710 % 19]}/z".encode()))
        seen.add(names.name(b"M%d" % (n % 50), b"/" + b"q" * (n % 3000)))
    assert len(seen) <= 501
    assert len(names._memo) <= MEMO
    assert sum(map(len, names._children.values())) == names._places <= PLACES


def test_routes_come_first() -> None:
    names = Endpoints(
        ["POST /users/{id}", "/users/me", "/users/{user}", "/files/{path...}", "/static/*", "/v.1/{x}.json"], limit=0
    )
    assert names.name(b"GET", b"/users/me?x") == "GET /users/me"
    assert names.name(b"GET", b"/users/alice") == "GET /users/{user}"
    assert names.name(b"POST", b"/users/me") == "POST /users/{id}"
    assert names.name(b"GET", b"/users/alice/x") == "other"
    assert names.name(b"GET", b"/files/a/b/c") == "GET /files/{path...}"
    assert names.name(b"GET", b"/static/a/b.css") == "GET /static/*"
    assert names.name(b"GET", b"http://h/v.1/report.json") == "GET /v.1/{x}.json"
    assert names.name(b"GET", b"/vx1/report.json") == "other"


@pytest.mark.parametrize(
    "route",
    ["users", "", "get /x", "GET users", "/a/{id", "/a/id}", "/a/{b/c}", "/{{a}}", "GET  POST /x", "/" + "x" * 300],
)
def test_what_is_no_route(route: str) -> None:
    with pytest.raises(UsageError):
        Endpoints([route])


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"*2\r\n$3\r\nget\r\n$1\r\na\r\n", "raw GET"),
        (b"*1\r\n$4\r\nPING\r\n", "raw PING"),
        (b"*3\r\n$9\r\nJSON.MGET\r\n$1\r\na\r\n", "raw JSON.MGET"),
        (b"PING\r\n", "raw PING"),
        (b"set a b\r\n", "raw SET"),
        (b"\x16\x03\x01", "raw"),
        (b"*2\r\n$3\r\nG", "raw"),
        (b"hello", "raw"),
        (b"", "raw"),
    ],
)
def test_redis_commands(body: bytes, name: str) -> None:
    assert raw_name(body) == name


@given(
    st.binary(max_size=10),
    st.binary(max_size=200) | st.text("/%;?#.:@{}-0a", max_size=80).map(lambda text: b"/" + text.encode()),
)
def test_any_bytes_give_a_printable_name(method: bytes, target: bytes) -> None:
    for _ in range(2):
        name = Endpoints(["/a/{b}"]).name(method, target)
        assert 0 < len(name) <= 200
        assert name.isprintable()
    assert raw_name(target).isprintable()


@given(st.sampled_from(["orders", "users", "x"]), st.integers(0, 10**12), st.uuids())
def test_ids_never_make_an_endpoint(word: str, number: int, identity: uuid.UUID) -> None:
    names = Endpoints()
    assert names.name(b"GET", f"/{word}/{number}".encode()) == f"GET /{word}/{{id}}"
    assert names.name(b"GET", f"/{word}/{identity}/x".encode()) == f"GET /{word}/{{uuid}}/x"
