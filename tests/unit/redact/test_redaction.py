"""Redaction: no secret survives, JSON stays JSON, equal values stay comparable, and nothing makes it slow."""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.redact.redaction import Redactor
from shadowd.redact.secrets import MASK
from tests.unit.costs import LINEAR, cost, growth

redactor = Redactor(b"a key")
UUID = "550e8400-e29b-41d4-a716-446655440000"


def body(text: str, media_type: str = "text/plain") -> str:
    return redactor.body(text.encode(), media_type).decode()


def luhn(digits: str) -> bool:
    """The oracle: as ISO/IEC 7812-1 says it, from the right."""
    total = 0
    for place, digit in enumerate(digits[::-1]):
        value = int(digit) * (2 if place % 2 else 1)
        total += sum(map(int, str(value)))
    return total % 10 == 0


def with_check_digit(digits: str) -> str:
    return next(digits + last for last in "0123456789" if luhn(digits + last))


# -- strategies ------------------------------------------------------------------------------------------------------

words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)
emails = st.builds("{}.{}@{}.example".format, words, words, words)
cards = st.from_regex(r"\A[4-6][0-9]{14}\Z").map(with_check_digit)
LETTERS = string.ascii_letters + string.digits


def token(seed: int, alphabet: str, length: int) -> str:
    """Random letters, among them three digits at least (without any it could be a name)."""
    dice = random.Random(seed)
    letters = dice.choices(alphabet, k=length)
    for place in range(5, 24, 6):
        letters[place] = dice.choice("234567")
    return "".join(letters)


tokens = st.builds(
    token,
    st.integers(0, 10_000),
    st.sampled_from([LETTERS, "0123456789abcdef", LETTERS + "_-", string.ascii_uppercase + "234567"]),
    st.integers(28, 64),
) | st.builds(token, st.integers(0, 10_000), st.just(LETTERS + "+/"), st.integers(40, 80))
secrets = emails | cards | tokens

scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    scalars | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=25,
)


def shape(document: Any) -> Any:
    """The structure alone; in place of leaves nothing, in place of keys their number (keys may hold secrets too)."""
    if isinstance(document, dict):
        return ["object", *(shape(value) for value in document.values())]
    if isinstance(document, list):
        return ["array", *(shape(value) for value in document)]
    return None


# -- no secret survives ----------------------------------------------------------------------------------------------


@given(
    secrets,
    st.sampled_from(["", "to ", "see <", '"', "x: ", "(", "\u00e9 "]),
    st.sampled_from(["", " now", ">", '"', ")"]),
)
def test_text_keeps_no_secret(secret: str, before: str, after: str) -> None:
    redacted = redactor.text(before + secret + after)
    assert secret not in redacted
    assert MASK.search(redacted)
    assert redacted.startswith(before.strip())
    assert redacted.endswith(after)


@given(documents, secrets, st.sampled_from(["\n", "", "   "]))
def test_json_keeps_no_secret_and_its_shape(document: Any, secret: str, indent: str) -> None:
    raw = json.dumps({"a": document, "deep": [{"note": f"is {secret}"}]}, indent=indent or None)
    redacted = body(raw, "application/json; charset=utf-8")
    assert secret not in redacted
    assert shape(json.loads(redacted)) == shape(json.loads(raw))


@given(
    st.sampled_from(["password", "Access-Token", "client_secret", "userPassword", "card", "API_KEY", "X-Auth-Token"]),
    documents,
    documents,
)
def test_below_a_secret_name_no_string_or_number_survives(name: str, value: Any, other: Any) -> None:
    redacted = json.loads(body(json.dumps({name: value, "other": other}), "application/json"))

    def check(was: Any, became: Any) -> None:
        if isinstance(was, dict):
            assert isinstance(became, dict)
            for left, right in zip(was.values(), became.values(), strict=True):
                check(left, right)
        elif isinstance(was, list):
            for left, right in zip(was, became, strict=True):
                check(left, right)
        elif was is None or isinstance(was, bool) or was == "":
            assert became == was
        elif not (isinstance(was, str) and MASK.fullmatch(was)):
            assert MASK.fullmatch(became)

    check(value, redacted[name])


@given(st.integers(0, 200), secrets)
def test_json_that_was_cut_off_keeps_no_secret(cut: int, secret: str) -> None:
    raw = json.dumps({"list": [1.5, {"password": secret, "ok": True}], "again": {"session": {"is": secret}}, "n": 1})
    assert secret not in body(raw[: len(raw) - cut], "application/json")
    assert secret not in body("x" + raw, "application/json")


@given(documents)
def test_json_without_secrets_is_byte_for_byte_the_same(document: Any) -> None:
    harmless = json.dumps(document)
    if MASK.search(redacted := body(harmless, "application/json")):
        assert redacted != harmless  # the draw looked like a secret
    else:
        assert redacted == harmless


def test_spelling_order_and_duplicate_names_stay() -> None:
    raw = '{ "n" : 1.0e+2,\t"n":100 , "big":123456789012345678901234567890.5, "password":"x", "u":"\\u00e9" }'
    assert body(raw, "application/json") == raw.replace('"x"', f'"{redactor.mask("x")}"')


@pytest.mark.parametrize(
    ("media_type", "raw"),
    [
        ("application/x-ndjson", '{"token":"hunter2"}\n{"token":"hunter2"}\n'),
        ("text/event-stream", 'event: x\ndata: {"secret": {"a": ["hunter2"]}}\n\n'),
        ("application/x-www-form-urlencoded", "user=bob&user%5Bpassword%5D=hunter2&x=1"),
        ("application/x-www-form-urlencoded", "payload=%7B%22password%22%3A%22hunter2%22%7D"),
        ("application/json", '{"payload": "{\\"password\\": \\"hunter2\\"}"}'),
        (
            "multipart/form-data; boundary=b",
            '--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter2\r\n--b--',
        ),
        ("text/xml", "<a:login><a:password type='x'>hunter2</a:password></a:login>"),
        ("text/plain", "url: https://h/x?a=1&token=hunter2"),
        ("text/plain", "password: hunter2"),
        ("text/plain", "token: hunter2"),
        ("text/plain", "PASSWORD='hunter2'"),
        ("text/plain", "Authorization: Basic hunter2"),
        ("text/plain", "connect to postgres://app:hunter2@db/shop failed"),
        ("text/html", '[{"pwd":"hunter2"}]'),
        ("", '{"db_password":"hunter2"'),
        ("application/json", '{"password": hunter2}'),
        ("text/plain", "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----"),
        ("application/octet-stream", "\x00\x01 password=hunter2"),
    ],
)
def test_named_secrets_in_every_kind_of_body(media_type: str, raw: str) -> None:
    redacted = body(raw, media_type)
    assert "hunter2" not in redacted
    assert MASK.search(redacted)


@pytest.mark.parametrize(
    "secret",
    [
        "bob+news@mail.example.org",
        "4111 1111 1111 1111",
        "3782-822463-10005",
        "4111111111111111",
        "6011000990139424",
        "Bearer abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "5d41402abc4b2a76b9719d911017c592",
    ],
)
def test_looks_of_secrets(secret: str) -> None:
    redacted = redactor.text(f"12 of {secret}, twice")
    assert re.fullmatch(r"12 of (bearer )?\[redacted:[0-9a-f]{8}\], twice", redacted, re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    [
        f"order-{UUID} was not found",
        "507f1f77bcf86cd799439011",
        "at com.example.OrderService2.handleRequest(OrderService2.java:12)",
        "/usr/lib/python3.11/site-packages/starlette/middleware/errors2.py",
        "SyntaxError: Unexpected token: end of input",
        "1700000000000 and 1700000000000000000 and 4111111111111112",
        "0.4111111111111111",
        "customer-account-number-0000123456789",
        "2026-11-23T10:00:00.000Z",
        "the discard pile: empty; completion_tokens: 12",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redactor.text(text) == text


@given(st.lists(st.integers(0, 99999), min_size=1, max_size=8), st.sampled_from([" ", "-"]))
def test_a_card_is_found_wherever_it_stands_among_digits(noise: list[int], separator: str) -> None:
    card = "4111 1111 1111 1111".replace(" ", separator)
    assert card not in redactor.text(separator.join([*map(str, noise), card]))


# -- heads -----------------------------------------------------------------------------------------------------------


def test_request_head() -> None:
    mask = redactor.mask
    head = (
        "POST /reset/bob%40x.example;jsessionid=77?token=abc&page=2 HTTP/1.1\r\nHost: shop\r\n"
        "authorization : Bearer abc\r\nCookie: sid=abc; theme=dark\r\nX-Api-Key: k\r\n"
        "Proxy-Authorization: raw value\r\nX-Auth-Token: one\r\n two\r\n"
        "Referer: https://u:p@h/x?secret=abc#token=abc\r\nAccept: */*\r\n\r\n"
    )
    assert redactor.head(head.encode()).decode() == (
        f"POST /reset/{mask('bob@x.example')};jsessionid={mask('77')}?token={mask('abc')}&page=2 HTTP/1.1\r\n"
        f"Host: shop\r\nauthorization : Bearer {mask('abc')}\r\nCookie: sid={mask('abc')}; theme={mask('dark')}\r\n"
        f"X-Api-Key: {mask('k')}\r\nProxy-Authorization: {mask('raw value')}\r\n"
        f"X-Auth-Token: {mask('one' + chr(13) + chr(10) + ' two')}\r\n"
        f"Referer: https://u:{mask('p')}@h/x?secret={mask('abc')}#token={mask('abc')}\r\nAccept: */*\r\n\r\n"
    )


def test_response_head_keeps_names_and_attributes_of_cookies() -> None:
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=abc; Path=/; HttpOnly; x=abc\r\nContent-Length: 3\r\n\r\n"
    mask = redactor.mask("abc").encode()
    assert redactor.head(head) == head.replace(b"abc", mask)


@given(st.text("abcXYZ0189+/=._-", min_size=1, max_size=40))
def test_a_credential_is_the_same_mask_in_head_json_form_and_query(value: str) -> None:
    mask = redactor.mask(value)
    assert redactor.head(f"GET / HTTP/1.1\r\nX-Api-Key: {value}\r\n\r\n".encode()).count(mask.encode()) == 1
    assert json.loads(body(json.dumps({"api_key": value}), "application/json"))["api_key"] == mask
    quoted = "".join(f"%{ord(letter):02x}" for letter in value)
    assert body(f"api_key={quoted}", "application/x-www-form-urlencoded") == f"api_key={mask}"
    assert Redactor(b"another key").mask(value) != mask


# -- anything at all -------------------------------------------------------------------------------------------------

MEDIA_TYPES = ["", "application/json", "application/x-www-form-urlencoded", "multipart/form-data", "text/event-stream"]


@given(st.binary(max_size=300), st.sampled_from(MEDIA_TYPES))
def test_random_bytes_do_no_harm(data: bytes, media_type: str) -> None:
    redacted = redactor.body(data, media_type)
    assert isinstance(redacted, bytes)
    assert isinstance(redactor.head(data), bytes)
    if redacted != data:  # something was found, and only that changed
        assert b"[redacted:" in redacted


@given(
    st.text(st.sampled_from('{}[]",:\\ \n=<>@&;-.0123456789abcpasswordtoken'), max_size=120),
    st.sampled_from(MEDIA_TYPES),
)
def test_a_mask_is_never_masked_again(text: str, media_type: str) -> None:
    once = body(text, media_type)
    twice = body(once, media_type)
    assert [mask for mask in MASK.findall(once) if mask not in twice] == []


def test_utf16_json_is_looked_into() -> None:
    raw = '{"password":"hunter2","n":1}'
    for charset in ("utf-16", "utf-16-le", "utf-32"):
        redacted = redactor.body(raw.encode(charset), "application/json").decode(charset)
        assert json.loads(redacted) == {"password": redactor.mask("hunter2"), "n": 1}


def test_what_is_still_compressed_is_masked_whole() -> None:
    assert MASK.fullmatch(redactor.body(b"\x1f\x8b\x08password=x", "text/plain").decode())


ADVERSARIES = {
    "letters": "a" * 100_000, "at": "a@" * 50_000, "dots": "a." * 50_000, "jwt": "-eyJ" * 25_000,
    "digits": "1" * 100_000, "spaced digits": "1-" * 50_000, "cards": "4111 " * 20_000, "tags": "<a " * 33_000,
    "names": "password=" * 11_000, "escaped": 'password:\\"' * 9_000, "quotes": '"' * 100_000,
    "backslashes": "\\" * 100_000, "addresses": "://a:" * 20_000, "pem": "-----BEGIN PRIVATE KEY-----" * 3_700,
    "bearer": "bearer " * 14_000, "base64": "A1b/" * 25_000, "open": "[" * 100_000, "nested": '{"a":' * 20_000,
    "parts": '; name="password"' * 6_000, "blanks": " " * 100_000, "underscores": "a_1" * 33_000, "and": "a=&" * 33_000,
}  # fmt: skip


ADVERSARIES |= {
    name: (unit * (30_000 // len(unit) + 1))[:30_000]
    for name, unit in {
        "inserts": "INTO t (password) VALUES (", "sentences": "password is ", "of": "password for a ",
        "held": "password={",
        "held again": "={token ", "in a row": "set session:", "held in a row": " : [session ",
        "without a blank": ":Secret",
        "blocks": "password: |\n", "below": "password:\n  a:\n", "elements": "<password></x>", "cdata": "<![CDATA[",
        "columns": "password,a\n", "resp": "*9999\r\n$4\r\nAUTH\r\n", "split": 'data: {"text":"pass"}\n\n',
        "masks": "password=[redacted:12345678] ", "layers": "%25", "references": "&amp;", "ibans": "DE89 3704 ",
        "assigned": 'password "a" ', "assigned in a row": "password = password ", "typed": "a: b: c: ",
        "added": "password ?= ", "said": "dbPassword is ", "notes": "login: a / b1 ", "grouped": "setup key: aaaa ",
        "named columns": '{"fields":[{"name":"pin"},', "nested columns": '{"a":{"fields":["pin"]},"rows":[["b"]],"c":',
        "pairs of people": "id/pw ", "pairs of people at length": "id/pw a/bcdef1 ", "for somebody": "password for a:",
        "credentials": "credentials: a:b1 ", "attempts": "login(a, 'b', ", "cells": "password,a,",
        "near": "password abcdefg1h ", "near without a blank": "tokenx1y2z3k4", "near in a row": "secret a1b2c3d",
        "connecting": "connect(a, b, ", "connecting in a row": 'login("a", "b", ', "made": 'password = new X("',
        "leaders": "password.....", "two cells": "password;a\n", "echoes": "echo a | b ", "programs": "openssl -k ",
        "snmp": "snmpwalk -A a -X b ", "hosts": "[a.b]:1 c:defg\n", "maps": "a.b.c:10 d:efgh\n", "pppd": "a * bcde *\n",
        "routers": "authentication bgp key ", "texts in base64": "cGFzc3dvcmQ9aHVudGVyMg== ",
        "base64 of itself": "YWFh" * 9,
        "weak": "door_code=1234&", "weak in a row": "door_code=", "answers": '{"answer":"a b"},',
        "headings": '{"columns":["password"],"rows":[["a"],', "rows": '{"fields":["a","pin"],"values":["b","c"]}',
        "given": "pin = ? params [a, ", "given in a row": "pin=? args(", "bound": '{"s":"pin=?","params":["a"]},',
        "statements": "(pin, a) VALUES (?", "users": "a:b1", "users at hosts": "a:b12345@", "tuples": '{pin,"a',
        "words in events": "a\n\ndata: ", "events": "data: pin\n\n", "doubled": '""pin"":""a"",',
        "literals": "a LOGIN {1}\r\n", "recovery codes": "recovery codes: a1b-c2d ", "third": "('a', 'pin', 'b",
        "entries": "entry 'a' for key 'pin", "crypts": "crypt(a, 'b', ", "logins": "login 'a', 'b", "unread": "bcdfg",
        "privacy": "auth sha a priv aes b ", "keys below": '{"token":{"bcdfghjk":',
        "options": "mysql a -p", "calls": 'setPassword("a', "segments": "/reset/a1b2c3d4", "escapes": "\\u005c",
    }.items()
}  # fmt: skip


ORDINARY = json.dumps([{"id": n, "mail": "bob@x.example", "tags": ["x", "y"]} for n in range(1700)])[:100_000]


def ways(text: str) -> dict[str, Callable[[], object]]:
    """Every way into the redactor that a text of strangers may take."""
    head = b"GET /" + text.encode() + b" HTTP/1.1\r\nX: " + text.encode() + b"\r\n\r\n"
    bodies = {media: partial(redactor.body, text.encode(), media) for media in MEDIA_TYPES[1:]}
    return {"text": partial(redactor.text, text), "head": partial(redactor.head, head), **bodies}


@cache
def ordinary(way: str) -> float:
    return cost(ways(ORDINARY)[way])


@pytest.mark.parametrize("name", ADVERSARIES)
def test_cost_is_linear(name: str) -> None:
    text = ADVERSARIES[name]
    quarter = ways(text[: len(text) // 4])
    for way, whole in ways(text).items():
        assert growth(whole, quarter[way]) < LINEAR, way
        assert cost(whole) < 30 * ordinary(way), "what a text of that length that is nobody's attack costs"


# -- the operator's own ------------------------------------------------------------------------------------------------


def test_names_and_patterns_of_the_operator() -> None:
    own = Redactor(b"a key", ["vault no"], ["CK-[0-9]{6}", "ticket ([a-z]+)"])
    assert own.text("vaultNo=plain") == f"vaultNo={own.mask('plain')}"
    assert own.body(b'{"x":"CK-123456 ","vault_no":[1]}', "application/json").decode() == (
        f'{{"x":"{own.mask("CK-123456")} ","vault_no":["{own.mask("1")}"]}}'
    )
    assert own.text("ticket abc, ticket 1") == f"ticket {own.mask('abc')}, ticket 1"
    assert own.text("\udc80 CK-123456") == f"\udc80 {own.mask('CK-123456')}"


@pytest.mark.parametrize("pattern", ["(a)\\1", "a(?=b)", "(", "", "a*", "[z-a]"])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        Redactor(b"a key", [], [pattern])


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(a+)+$", "(.*.*.*)*x", "(a?){50}a{50}", "([a-z]+)*1"])
def test_any_pattern_is_linear(pattern: str) -> None:
    own = Redactor(b"a key", [], [f"y{pattern}"])
    assert growth(partial(own.text, "y" + "a" * 65_536), partial(own.text, "y" + "a" * 16_384)) < LINEAR


@pytest.mark.parametrize(
    "pattern", ["x.{300}(a|b){300}", "(" + "|".join(f"k{n}[a-z]+" for n in range(150)) + ")"], ids=["counted", "many"]
)
def test_a_pattern_that_would_be_simulated_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="steps"):
        Redactor(b"a key", [], [pattern])


def test_a_pattern_that_reads_on_after_every_letter() -> None:
    own = Redactor(b"a key", [], ["q.*z|q"])
    assert "q" not in own.text("q" * 65_536)
    assert growth(partial(own.text, "q" * 65_536), partial(own.text, "q" * 16_384)) < LINEAR


def test_a_group_in_a_long_match_is_masked_with_what_is_around_it() -> None:
    own = Redactor(b"a key", [], ["<(.*)>"])
    assert own.text(f"a <{'bc ' * 30}> d") == f"a <{own.mask('bc ' * 30)}> d"
    assert own.text(f"a <{'bc ' * 300}> d") == f"a {own.mask('<' + 'bc ' * 300 + '>')} d"
    assert own.text("é <ü> ö") == f"é <{own.mask('ü')}> ö"


# -- what names a value in the ways of one program ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "jdbc:oracle:thin:bob/hunterxy@db:1521:x",
        "ENV SECRET_KEY hunterxy\n",
        "setenv DB_PASSWORD 'hunterxy'\n",
        "    proxy_set_header X-Api-Key hunterxy;\n",
        "Incorrect API key provided: hunterxy7.",
        "userPassword:: hunterxy\n",
        "WIFI:T:WPA;S:net;P:hunterxy;;",
        "username bob privilege 15 password 0 hunterxy\n",
        "enable secret 5 hunterxy\n",
        "snmp-server community hunterxy RO\n",
        "tacacs-server host a key 7 hunterxy\n",
        "addauth digest bob:hunterxy\n",
        'GRANT ALL ON x TO bob IDENTIFIED BY "hunterxy"',
        "The password of bob has been set to hunterxy\n",
        "PRIVMSG NickServ :IDENTIFY bob hunterxy\r\n",
    ],
)
def test_ways_of_one_program(text: str) -> None:
    redactor = Redactor(b"a key")
    assert "hunterxy" not in redactor.text(text)
    assert "hunterxy" not in redactor.turn(text.encode())[0].decode()


@pytest.mark.parametrize(
    "text",
    [
        "G-692234 is your Google verification code.",
        "692 234 is the login code",
        "4711 ist dein Code: PIN",
        "Dein Code lautet 692411",
    ],
)
def test_a_code_before_what_it_is(text: str) -> None:
    assert not re.search(r"692|4711", Redactor(b"a key").text(text))


@pytest.mark.parametrize("text", [
    "Token::Validator is a class, Secret::Config too", "the password 5 times", "Is the code provided?",
    "The key given here", "password used by: everyone else", "2024 is the year", "42 is the answer",
    "ENV PATH /usr/bin\n",
    "a community of 17 people", "enable password authentication\n", "SET name bob\r\n", "bob/alice@example",
])  # fmt: skip
def test_what_is_none_of_it(text: str) -> None:
    assert Redactor(b"a key").text(text).replace("alice@example", "") == text.replace("alice@example", "")
    if "SET" in text:
        assert Redactor(b"a key").turn(text.encode())[0].decode() == text


@pytest.mark.parametrize("turn", [
    "SET user:1:password hunterxy\r\n", "set session:1 0 60 8\r\nhunterxy\r\n",
    "VALUE session:1 0 8\r\nhunterxy\r\nEND\r\n",
])  # fmt: skip
def test_lines_of_stores_of_keys(turn: str) -> None:
    assert "hunterxy" not in Redactor(b"a key").turn(turn.encode())[0].decode()


def test_what_other_members_say_of_a_member() -> None:
    redactor = Redactor(b"a key")
    key = json.loads(
        redactor.body(b'{"k":"hunterxy","kty":"oct","kid":"one","alg":"A128KW","n":"abc"}', "application/json")
    )
    assert key == {"k": redactor.mask("hunterxy"), "kty": "oct", "kid": "one", "alg": "A128KW", "n": "abc"}
    assert redactor.body(b'{"k":"hunterxy","d":"plain"}', "application/json") == b'{"k":"hunterxy","d":"plain"}'
    asked = {"query": "mutation($p: String!, $n: String) { login(name: $n, password: $p) { id } }",
             "variables": {"p": "hunterxy", "n": "bob"}}  # fmt: skip
    assert json.loads(redactor.body(json.dumps(asked).encode(), "application/json"))["variables"] == {
        "p": redactor.mask("hunterxy"), "n": "bob",
    }  # fmt: skip


def test_a_token_among_the_protocols_of_a_websocket() -> None:
    head = b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: chat, access_token, hunterxy\r\n\r\n"
    redacted = Redactor(b"a key").head(head)
    assert b"hunterxy" not in redacted
    assert b": chat, access_token, [" in redacted
