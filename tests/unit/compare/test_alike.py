"""Values that say the same though they differ: the time of their own answer, and our own Host."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.compare.alike import Alike
from shadowd.compare.answers import compare_answers
from shadowd.compare.context import Context
from shadowd.compare.difference import Options
from shadowd.exchange.exchange import Response

S = 10**9
NOW = 1_795_688_366
CONTEXT = Context(b"", NOW * S, NOW * S + S, b"shop.example", b"127.0.0.1:9000")
OWN = "127.0.0.1:9000"


def answer(body: str, *fields: str, kind: str = "application/json") -> Response:
    head = "\r\n".join(("HTTP/1.1 200 OK", f"Content-Type: {kind}", *fields, "", "")).encode()
    response = Response(200, head, 0, 0)
    response.body = body.encode()
    response.body_length = len(response.body)
    return response


def found(p: Response, c: Response, context: Context | None = CONTEXT) -> set[tuple[str, str, str]]:
    return {d[:3] for d in compare_answers(p, c, Options(), context)}


FORMS = [
    "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.250Z", "%Y-%m-%dT%H:%M:%S+00:00",
    "%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S UTC %Y", "%a %b %d %H:%M:%S %Y", "%Y%m%dT%H%M%SZ", "%s",
    "%s123", "%s123456", "%s123456789", "%s.5",
]  # fmt: skip


def clock(form: str, seconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime(form.replace("%s", str(seconds)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("application/json", '{{"at": "{}", "price": 1}}'), ("text/plain", "made {} here\nprice 1"),
        ("text/html", "<p>made {}</p><p>1</p>"), ("application/xml", "<r><at>{}</at></r>"),
        ("text/event-stream", 'data: {{"at": "{}"}}\n\n'), ("application/x-www-form-urlencoded", "at={}&price=1"),
    ],
)  # fmt: skip
def test_clocks_everywhere(form: str, kind: str, text: str) -> None:
    p, c = (answer(text.format(clock(form, NOW + k)), kind=kind) for k in (0, 1))
    assert found(p, c) == set()
    assert found(p, c, None)
    for far in (4, -4, 3600):  # from its own answer
        assert found(p, answer(text.format(clock(form, NOW + 1 + far)), kind=kind))


@pytest.mark.parametrize("value", [NOW, NOW * 1000, NOW * 10**6, NOW * 10**9, NOW + 0.5])
def test_numbers_that_are_clocks(value: float) -> None:
    scale = 10 ** (len(str(int(value))) - 10)
    p, c = answer(f'{{"at": {value}}}'), answer(f'{{"at": {value + scale}}}')
    assert found(p, c) == set()
    assert found(p, answer(f'{{"at": {value + 9 * scale}}}')) == {("body", "$.at", "value")}


def test_an_ordinary_number_is_none() -> None:
    assert found(answer('{"price": 1764150000}'), answer('{"price": 1764150001}')) == {("body", "$.price", "value")}
    assert found(answer(f'{{"price": {NOW}}}'), answer('{"price": 7}')) == {("body", "$.price", "value")}


def test_another_form_is_a_difference() -> None:
    zulu, offset, whole = (clock(form, NOW) for form in (FORMS[0], FORMS[3], FORMS[2]))
    assert found(answer(f'{{"at": "{zulu}"}}'), answer(f'{{"at": "{offset}"}}')) == {("body", "$.at", "value")}
    assert found(answer(f'{{"at": "{zulu}"}}'), answer(f'{{"at": "{whole}"}}')) == {("body", "$.at", "value")}
    assert found(answer(f'{{"at": {NOW}}}'), answer(f'{{"at": {NOW * 1000}}}')) == {("body", "$.at", "value")}
    assert found(answer(f'{{"at": "{NOW}"}}'), answer(f'{{"at": {NOW}}}')) == {("body", "$.at", "type")}


def test_a_price_beside_a_clock_is_found() -> None:
    p, c = answer(f"at {NOW} price 5", kind="text/plain"), answer(f"at {NOW + 1} price 6", kind="text/plain")
    assert found(p, c) == {("body", "line[1].word[4]", "value")}


def test_times_by_the_answers_own_dates() -> None:
    dates = [f"Date: {clock(FORMS[4], NOW + k)}" for k in (0, 1)]
    p, c = answer(f'{{"at": {NOW}}}', dates[0]), answer(f'{{"at": {NOW + 1}}}', dates[1])
    assert found(p, c, None) == set()
    assert found(p, answer(f'{{"at": {NOW + 1}}}'), None) == {("body", "$.at", "value")}


def test_times_near_1970_are_none() -> None:
    early = Context(b"", 2 * S, 3 * S)
    assert found(answer("[2]"), answer("[3]"), early) == {("body", "$[*]", "value")}
    assert found(answer("[1000]"), answer("[1001]"), Context(b"", 1000 * S, 1001 * S)) == set()


def test_dates_in_heads_count_from_their_own_answer() -> None:
    for name in ("Expires", "Last-Modified"):
        p, c = (answer("{}", f"{name}: {clock(FORMS[4], NOW + 3600 + k)}") for k in (0, 1))
        assert found(p, c) == set()
        assert found(p, c, None) == {("header", name.lower(), "value")}
        late = answer("{}", f"{name}: {clock(FORMS[4], NOW + 7200)}")
        assert found(p, late) == {("header", name.lower(), "value")}
    options = Options()
    for k in range(3):  # the memo of heads keeps no such judgement
        p, c = (answer("{}", f"Expires: {clock(FORMS[4], NOW + 3600 + k + n)}") for n in (0, 1))
        assert compare_answers(p, c, options, CONTEXT) == ()
        assert compare_answers(p, c, options, CONTEXT._replace(candidate_time=(NOW + 60) * S))


def test_countdowns() -> None:
    def control(p: str, c: str, context: Context | None = CONTEXT) -> bool:
        return bool(found(answer("{}", f"Cache-Control: {p}"), answer("{}", f"Cache-Control: {c}"), context))

    assert not control("public, max-age=57", "max-age=56,public")
    assert not control("max-age=57, s-maxage=9", "s-maxage=8, max-age=56")
    assert control("public, max-age=57", "max-age=54, public")
    assert control("public, max-age=57", "max-age=56, private")
    assert control("max-age=1", "max-age=0")
    assert control("max-age=57", "max-age=56", None)
    assert not control("max-age=57", "max-age=40", CONTEXT._replace(candidate_time=(NOW + 17) * S))
    cookies = [answer("{}", f"Set-Cookie: a=1; Max-Age={n}") for n in (60, 59, 5)]
    assert found(cookies[0], cookies[1]) == set()
    assert found(cookies[0], cookies[2]) == {("cookie", "a; max-age", "value")}


# --- the authority ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "http://{}/login",
        "//{}/login?next=http://{}/x",
        "see http://{}/.",
        "{}",
        "http://{}",
        "http%3A//{}/",
        "http://u@{}/",
    ],
)
def test_our_own_host_is_no_difference(text: str) -> None:
    ours, theirs = (text.replace("{}", name) for name in ("shop.example", OWN))
    assert found(answer("{}", f"Location: {ours}"), answer("{}", f"Location: {theirs}")) == set()
    assert found(answer(f'{{"u": "{ours}"}}'), answer(f'{{"u": "{theirs}"}}')) == set()
    escaped = theirs.replace("/", "\\/")
    assert found(answer(f'{{"u": "{ours}"}}'), answer(f'{{"u": "{escaped}"}}')) == set()
    assert found(answer(f"a {ours} b", kind="text/plain"), answer(f"a {theirs} b", kind="text/plain")) == set()
    assert (
        found(answer(f'<a href="{ours}">', kind="text/html"), answer(f'<a href="{theirs}">', kind="text/html")) == set()
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("http://shop.example/login", f"http://{OWN}/logout"), ("http://api.shop.example/", f"http://{OWN}/"),
        ("http://shop.example.org/", f"http://{OWN}/"), ("http://shop.example:81/", f"http://{OWN}/"),
        ("http://myshop.example/", f"http://{OWN}/"), ("https://shop.example/", f"http://{OWN}/"),
        ("http://shop.example/", "http://127.0.0.1:9001/"), ("http://other.example/", f"http://{OWN}/"),
    ],
)  # fmt: skip
def test_other_hosts_ports_paths_and_schemes_are(ours: str, theirs: str) -> None:
    p, c = answer("{}", f"Location: {ours}"), answer("{}", f"Location: {theirs}")
    assert found(p, c) == {("header", "location", "value")}
    (difference,) = compare_answers(p, c, Options(), CONTEXT)
    assert ("--preserve-host" in difference.candidate) == (OWN in theirs)


def test_the_scheme_says_nothing_where_the_target_has_another() -> None:
    p, c = answer("{}", "Location: https://shop.example/a"), answer("{}", f"Location: http://{OWN}/a")
    assert found(p, c, CONTEXT._replace(other_scheme=True)) == set()
    away = answer("{}", "Location: http://elsewhere.example/a")
    assert found(p, away, CONTEXT._replace(other_scheme=True)) == {("header", "location", "value")}


def test_a_preserved_host_is_compared_as_it_is() -> None:
    same = CONTEXT._replace(candidate_authority=b"")
    p, c = answer("{}", "Location: http://shop.example/a"), answer("{}", f"Location: http://{OWN}/a")
    assert found(p, c, same) == {("header", "location", "value")}


def test_cookies_of_our_host() -> None:
    p, c = answer("{}", "Set-Cookie: a=1; Domain=shop.example"), answer("{}", "Set-Cookie: a=1; Domain=127.0.0.1")
    assert found(p, c) == set()


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_texts(p: str, c: str) -> None:
    alike = Alike(CONTEXT, b"", b"")
    assert alike.texts(p, p)
    assert isinstance(alike.texts(p, c), bool)
    alike.numbers(p, c)
    alike.countdown(p, c)
    alike.offsets(p, c)
