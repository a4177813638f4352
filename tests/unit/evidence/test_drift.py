"""Drift: what a write that was not mirrored explains, and what it does not."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.evidence import drift
from shadowd.evidence.drift import Drift, explains, path_of
from shadowd.exchange.exchange import Request
from tests.unit.compare.exchanges import answer, request


def write(method: str, target: str, body: object = None, headers: str = "", kind: str = "application/json") -> Request:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    made = request(target, method, headers=headers + (f"Content-Type: {kind}\r\n" if data else ""))
    made.body = data
    return made


def after(*writes: tuple[Request, object]) -> Drift:
    """Each write, and production's answer to it: a Response, or an object that is answered as JSON."""
    made = Drift()
    for asked, told in writes:
        made.wrote(asked)
        made.told(asked, told if hasattr(told, "status") else answer(told))  # type: ignore[arg-type]
    return made


def test_nothing_is_suspected_before_anything_was_written() -> None:
    assert Drift().suspects(request("/orders/7", headers="Cookie: sid=1\r\n")) == ""


@pytest.mark.parametrize(
    ("method", "target", "suspected", "not_suspected"),
    [
        ("PUT", "/orders/7", ["/orders/7", "/orders/7/", "/orders/7?full=1", "/orders", "/orders/7/items"], ["/items"]),
        ("POST", "/orders", ["/orders?page=2", "http://shop/orders"], ["/orders/8", "/items"]),
        ("POST", "/orders/7/pay", ["/orders/7", "/orders", "/orders/7/pay", "/orders/7/events"], ["/orders/8"]),
        ("PATCH", "/users/alice", ["/users/alice", "/users", "/users/alice/photo"], ["/users/bob"]),
        ("DELETE", "/carts/17/lines/3", ["/carts/17/lines", "/carts/17/lines/3"], ["/carts/18/lines"]),
    ],
)
def test_paths(method: str, target: str, suspected: list[str], not_suspected: list[str]) -> None:
    known = after((write(method, target), {}))
    assert [known.suspects(request(one)) for one in suspected] == ["path"] * len(suspected)
    assert [known.suspects(request(one)) for one in not_suspected] == [""] * len(not_suspected)


def test_the_resource_that_a_write_made_is_told_by_location() -> None:
    known = Drift()
    post = write("POST", "/orders")
    known.wrote(post)
    assert known.suspects(request("/orders/77")) == ""
    known.told(post, answer(b"", 201, {"Location": "http://shop/orders/77?x=1"}))
    assert known.suspects(request("/orders/77")) == "path"
    assert known.suspects(request("/orders/77/lines")) == "path"
    assert known.suspects(request("/invoices?order=77")) == "entity"


@pytest.mark.parametrize(
    ("sent", "answered", "read"),
    [
        (None, {"id": 10417}, "/v2/purchases/10417"),
        (None, {"data": {"order": {"uuid": "5b0e1f1e-0000-4000-8000-000000000001"}}},
         "/track/5b0e1f1e-0000-4000-8000-000000000001"),
        (None, {"customerId": "c-9"}, "/customers/c-9/summary"),
        ({"product_id": 7, "quantity": 2}, {}, "/products/7"),
        ({"lines": [{"item": 31, "qty": 2}, {"item": 32, "qty": 1}]}, {}, "/stock?item=32"),
        (b"user_id=42&role=admin", {}, "/profiles/42"),
    ],
)  # fmt: skip
def test_ids_of_what_was_sent_and_answered(sent: object, answered: object, read: str) -> None:
    kind = "application/x-www-form-urlencoded" if isinstance(sent, bytes) else "application/json"
    assert after((write("POST", "/do", sent, kind=kind), answered)).suspects(request(read)) == "entity"


def test_links_in_an_answer_name_resources() -> None:
    links = {"links": {"self": {"href": "https://shop/orders/A7"}}, "next": "/other"}
    known = after((write("POST", "/do"), answer(links, 201)))
    assert known.suspects(request("/orders/A7")) == known.suspects(request("/orders/A7/lines")) == "path"
    assert known.suspects(request("/other")) == ""


def test_the_page_that_is_shown_after_a_write_is_not_what_was_written() -> None:
    """Else a login would excuse whatever is wrong with the page behind it."""
    for told in (answer(b"", 302, {"Location": "/dashboard"}), answer({"url": "/dashboard"})):
        assert after((write("POST", "/login"), told)).suspects(request("/dashboard")) == ""
    known = after((write("POST", "/orders"), answer(b"", 303, {"Location": "/orders/4711/thanks"})))
    assert known.suspects(request("/orders/4711")) == "path"


def test_the_ids_that_an_answer_shows_count_where_it_is_one_object() -> None:
    """PUT /users/5 changes the author's name in every post of theirs."""
    known = after((write("PUT", "/users/5", {"name": "Ann"}), {}))
    post, other = ({"title": "t", "author": {"id": number, "name": "x"}} for number in (5, 6))
    name = [("body", "$.author.name")]
    assert known.suspects(request("/posts/a"), name, "p", answer(post)) == "entity"
    assert known.suspects(request("/posts/b"), name, "p", answer({"author_id": 5})) == "entity"
    assert known.suspects(request("/posts/c"), name, "p", answer(other)) == ""
    assert known.suspects(request("/posts"), name, "l", answer([post])) == ""
    assert known.suspects(request("/posts"), name, "m", answer({"posts": [post]})) == ""
    title = [("body", "$.title")]
    for number in range(4):  # of everybody's posts: no matter who wrote them
        known.suspects(request("/posts/d"), title, "p", answer(other if number < 2 else post))
    assert known.suspects(request("/posts/a"), title, "p", answer(post)) == ""


def test_small_numbers_of_a_page_or_an_amount_are_nobodys_id() -> None:
    known = after((write("POST", "/do", {"quantity": 2, "price": 3}), {"id": 5, "count": 6}))
    assert known.suspects(request("/list?page=5&limit=5")) == ""
    assert known.suspects(request("/products/5")) == "entity"
    assert known.suspects(request("/products/2")) == known.suspects(request("/products/6")) == ""


def test_an_id_explains_only_what_differs_with_written_ids_alone() -> None:
    """A fault of the release strikes whatever was written; the consequences of a write do not."""
    known = after(*((write("PUT", f"/users/{number}"), {}) for number in range(20)))
    faults = [known.suspects(request(f"/orders/{number % 40}"), [("body", "$.total")]) for number in range(400)]
    assert set(faults[40:]) == {""}
    told = [known.suspects(request(f"/orders/{number % 20}"), [("body", "$.name")]) for number in range(400)]
    assert set(told) == {"entity"}
    # another field of the same endpoint that is wrong everywhere does not hide what the write explains
    both = [("body", "$.total"), ("body", "$.name")]
    assert known.suspects(request("/orders/3"), both) == "entity"
    assert known.suspects(request("/orders/30"), both) == ""


def test_a_seeded_service_with_a_store_of_its_own_for_the_shadow() -> None:
    """Oracle: two stores, one of which gets no writes. Every read that differs is explained; a fault is not."""
    draw = random.Random(11)
    production = dict.fromkeys(range(1, 200), 0)
    shadow = dict(production)
    known = Drift()
    following = 10_000
    explained = differing = blamed = faulty = 0
    for _ in range(20_000):
        number = draw.choice(list(production)) if draw.random() < 0.3 else draw.randrange(1, 200)
        chance = draw.random()
        if chance < 0.02:
            following += 1
            production[following] = 0
            asked = write("POST", "/orders", {"sku": "x"})
            known.wrote(asked)
            known.told(asked, answer({"id": following}, 201))
        elif chance < 0.04 and number in production:
            production[number] += 1
            known.wrote(write("PUT", f"/orders/{number}", {"n": 1}))
        elif chance < 0.05 and number > 200:
            del production[number]
            known.wrote(write("DELETE", f"/orders/{number}"))
        else:
            target = draw.choice(("/orders/{}", "/orders/{}/lines", "/shipments?order={}"))
            statuses = [200 if number in store else 404 for store in (production, shadow)]
            asked = request(target.format(number))
            if statuses[0] != statuses[1]:
                differing += 1
                explained += explains(known.suspects(asked, ["status"], target), *statuses)
            elif production.get(number) != shadow.get(number):
                differing += 1
                explained += bool(known.suspects(asked, [("body", "$.n")], target))
            elif draw.random() < 0.05:  # and the candidate is wrong in one answer of twenty
                faulty += 1
                blamed += bool(known.suspects(asked, [("body", "$.fault")], target))
    assert differing > 2000
    assert explained == differing
    assert faulty > 300
    assert blamed < 0.1 * faulty


@pytest.mark.parametrize(
    ("asked", "reads"),
    [
        (write("POST", "/graphql", {"query": "query Cart($id: ID!) { cart(id: $id) { id } }", "id": 4711}), True),
        (write("POST", "/graphql", {"query": "mutation Pay($id: ID!) { pay(id: $id) { id } }", "id": 4711}), False),
        (write("POST", "/rpc", {"jsonrpc": "2.0", "method": "orders.get", "params": {"id": 4711}}), True),
        (write("POST", "/rpc", {"jsonrpc": "2.0", "method": "orders.getaway", "params": {"id": 4711}}), False),
        (write("POST", "/rpc", [{"jsonrpc": "2.0", "method": "a.get", "params": {"id": 4711}}]), False),
        (write("POST", "/mcp", {"jsonrpc": "2.0", "method": "tools/list", "params": {"id": 4711}}), True),
        (write("POST", "/", {"Id": 4711}, "X-Amz-Target: DynamoDB_20120810.GetItem\r\n"), True),
        (write("POST", "/", {"Id": 4711}, "X-Amz-Target: DynamoDB_20120810.PutItem\r\n"), False),
        (write("POST", "/items/_search", {"query": {"id": 4711}}), True),
        (write("POST", "/shop.Carts/GetCart", {"id": 4711}), True),
        (write("POST", "/shop.Carts/GetterMade", {"id": 4711}), False),
        (write("POST", "/orders", {"id": 4711}), False),
        (write("PUT", "/search", {"id": 4711}), False),
    ],
)
def test_what_is_posted_in_order_to_read_is_no_write(asked: Request, reads: bool) -> None:
    known = after((asked, {"data": {"cart": {"id": 4712}}}))
    assert known.suspects(request("/bills/4711"), ["a"], "x") == ("" if reads else "entity")
    assert known.suspects(request("/carts/4712"), ["b"], "x") == ("" if reads else "entity")


LOGIN = write("POST", "/login", {"name": "ann", "password": "x"})


@pytest.mark.parametrize(
    ("told", "carried"),
    [
        (answer(b"", 204, {"Set-Cookie": "sid=s17; HttpOnly; Path=/"}), "Cookie: theme=dark; sid=s17\r\n"),
        (answer(b"", 302, {"Set-Cookie": 'x="0123456789abcdef0123"; Secure'}), "cookie: x=0123456789abcdef0123\r\n"),
        (answer({"access_token": "eyJhbGciOi.x.y", "expires_in": 3600}), "Authorization: Bearer eyJhbGciOi.x.y\r\n"),
        (answer({"data": {"sessionToken": "tok-12345"}}), "X-Session-Token: tok-12345\r\n"),
        (answer({"token": "0123456789abcdef0123"}), "Cookie: anything=0123456789abcdef0123\r\n"),
        (answer(b"", 200, {"X-Auth-Token": "gAAAAAB"}), "X-Auth-Token: gAAAAAB\r\n"),
    ],
)
def test_sessions_that_only_production_knows(told: object, carried: str) -> None:
    known = after((LOGIN, told))
    assert known.suspects(request("/me", headers=carried)) == "session"
    for other in ("", "Cookie: theme=dark\r\n", "Cookie: sid=s18\r\n", "Authorization: Bearer other\r\n"):
        assert known.suspects(request("/me", headers=other)) == ""


def test_a_preference_in_a_cookie_is_no_session_and_nor_is_one_that_the_client_had() -> None:
    preference = answer(b"", 200, {"Set-Cookie": "theme=dark; Path=/"})
    known = after((write("POST", "/settings"), preference))
    assert known.suspects(request("/me", headers="Cookie: theme=dark\r\n")) == ""
    again = write("POST", "/cart", headers="Cookie: sid=s17\r\n")
    known = after((again, answer(b"", 200, {"Set-Cookie": "sid=s17; Max-Age=3600"})))
    assert known.suspects(request("/me", headers="Cookie: sid=s17\r\n")) == ""


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (write("POST", "/any", headers="Cookie: sid=s17\r\n"), {"Set-Cookie": "sid=; Max-Age=0"}),
        (write("POST", "/any", headers="Cookie: sid=s17\r\n"),
         {"Set-Cookie": "sid=gone; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/"}),
        (write("POST", "/auth/logout", headers="Cookie: sid=s17\r\n"), {}),
        (write("DELETE", "/api/session", headers="Cookie: sid=s17\r\n"), {}),
    ],
)  # fmt: skip
def test_a_session_that_ended_at_production(asked: Request, told: dict[str, str]) -> None:
    known = after((LOGIN, answer(b"", 204, {"Set-Cookie": "sid=s17"})), (asked, answer(b"", 204, told)))
    why = known.suspects(request("/me", headers="Cookie: sid=s17\r\n"))
    assert why == "logout"
    assert explains(why, 401, 200)
    assert not explains(why, 200, 401)
    assert known.suspects(request("/me", headers="Cookie: sid=s18\r\n")) == ""


def test_secrets_are_not_kept() -> None:
    known = after((LOGIN, answer({"token": "very-secret-token"}, 200, {"Set-Cookie": "sid=another-secret-value"})))
    kept = repr([getattr(known, name) for name in Drift.__slots__])
    assert "secret" not in kept
    assert known.suspects(request("/me", headers="Authorization: Bearer very-secret-token\r\n")) == "session"


STATUSES = [200, 204, 302, 304, 400, 401, 403, 404, 409, 410, 412, 419, 422, 429, 500, 503]


def test_what_a_reason_explains() -> None:
    for production in STATUSES:
        for candidate in STATUSES:
            assert not explains("", production, candidate)
            for why in ("path", "entity", "session", "logout"):
                explained = explains(why, production, candidate)
                if (
                    candidate >= 500
                    or production >= 500
                    or candidate in (400, 422, 429)
                    or production in (400, 422, 429)
                ):
                    assert not explained
                if production in (401, 403) and candidate < 400:  # the worst there is
                    assert explained == (why == "logout")
            if production < 400 and candidate in (401, 403, 404, 409, 410):
                assert all(explains(why, production, candidate) for why in ("path", "entity", "session"))
    assert explains("path", 404, 200)  # deleted in production
    assert not explains("session", 404, 200)
    assert explains("session", 200, 302)  # to the login
    assert not explains("session", 302, 200)


@given(st.lists(st.binary(max_size=60), max_size=20), st.binary(max_size=200))
def test_hostile_targets_heads_and_bodies_do_no_harm(targets: list[bytes], noise: bytes) -> None:
    known = Drift()
    for target in targets:
        asked = Request(b"PUT", target, b"PUT x\r\nCookie: " + noise + b"\r\n\r\n", noise, 0, 0, 0, 0)
        known.wrote(asked)
        known.told(asked, answer(noise, 200, {"Set-Cookie": noise.decode("latin-1"), "Location": "//"}))
        assert known.suspects(asked) in ("path", "session", "entity", "logout")
        assert len(path_of(target)) <= drift.MAX_PATH


def test_memory_is_bounded_and_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_WRITTEN", "MAX_ENTITIES", "MAX_CREDENTIALS", "MAX_PLACES"):
        monkeypatch.setattr(drift, name, 50)
    known = Drift()
    for number in range(1000, 2000):
        asked = write("PUT", f"/a{number}/{number}", {"k_id": number})
        known.wrote(asked)
        known.told(asked, answer({"id": number, "token": f"token-{number}"}, 200, {"Set-Cookie": f"sid={number}"}))
        known.suspects(request(f"/x{number}/y"), [("body", str(number))])
    assert {len(getattr(known, name)) for name in Drift.__slots__ if name != "_ended"} == {50}
    assert known.suspects(request("/a1999/1999")) == "path"
    assert known.suspects(request("/a1000/1000")) == ""
    assert known.suspects(request("/me", headers="Cookie: sid=1000\r\n")) == ""
    assert known.suspects(request("/me", headers="Cookie: sid=1999\r\n")) == "session"
