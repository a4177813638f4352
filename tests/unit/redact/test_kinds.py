"""Secrets that neither their own name nor their look tells: by the procedure, the label or the address around them."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from shadowd.redact.redaction import Redactor
from tests.unit.redact.planted import message

PLANTED = [
    ("application/json", '{"method":"user.login","params":["eva","SECRET"],"id":3}'),
    ("text/xml", "<methodCall><methodName>app.login</methodName><params><param><value><string>SECRET</string></value>"),
    ("text/xml", "<b:Body><n:authenticate><n:arg0>eva</n:arg0><n:arg1>SECRET</n:arg1></n:authenticate></b:Body>"),
    ("text/plain", 'variable "db_pw" {\n  type = string\n  default = "SECRET"\n}\n'),
    ("text/yaml", 'command: ["cache", "--requirepass", "SECRET"]\n'),
    ("application/json", '{"Name":"/shop/db","Type":"SecureString","Value":"SECRET"}'),
    ("application/json", '{"lease_id":"","lease_duration":60,"data":{"db":"SECRET"}}'),
    ("application/json", '{"link":"https://x.example/auth/magic?t=SECRET"}'),
    ("text/plain", "git clone https://SECRET@git.example/a.git"),
]
MESSAGES = [
    "Use OTP 550217 to log in", "Ihr Bestätigungscode lautet 550217", "Votre code de vérification est 550217",
    "Tu código de acceso es 550217", "cvv 550",
    "seed: " + "ahead brave color dinner early focus gate hello ivory jungle king lamp",
]  # fmt: skip
ORDINARY = [
    "postcode 550217", "barcode 550217", "error code 550217", '{"method":"orders.list","params":["eva","a81x77"]}',
    '{"type":"hidden","value":"a81x77"}', "https://x.example/items?t=a81x77", 'locals "eu" { default = "a81x77" }',
    "we went home early that day since nothing more could ever have been done there, alas",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), PLANTED)
def test_what_is_around_tells(kind: str, body: str) -> None:
    secret = "k7-Qr2x9b"
    assert secret not in Redactor(b"k" * 32).body(body.replace("SECRET", secret).encode(), kind).decode()


@pytest.mark.parametrize("text", MESSAGES)
def test_codes_in_messages(text: str) -> None:
    assert "[redacted:" in Redactor(b"k" * 32).text(text)


@pytest.mark.parametrize("text", ORDINARY)
def test_what_looks_like_it_stays(text: str) -> None:
    kind = "application/json" if text[0] == "{" else "text/plain"
    assert Redactor(b"k" * 32).body(text.encode(), kind).decode() == text


@pytest.mark.parametrize(
    "cut", ['{"a":1,"note":"password=SECRET', '{"a":1,"note":"password=SECRET\\"', '["token: SECRET']
)
def test_a_string_that_is_cut_off(cut: str) -> None:
    body = cut.replace("SECRET", "k7-Qr2x9b").encode()
    assert b"Qr2x" not in Redactor(b"k" * 32).body(body, "application/json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("link_key", "a81x77b2"), ("doorCode", "5502"), ("card_hash", "x7c9d2e1"), ("answer", "fluffy"),
        ("wifi.key", "a81x77b2"), ("email_verification.code", "a81x77b2"), ("code", "550217"),
        ("vault_db_root", "a81x77b2"),
    ],
)  # fmt: skip
def test_weak_names_tell_with_their_value(name: str, value: str) -> None:
    *around, name = name.split(".")
    body = {name: value} if not around else {around[0]: {name: value}}
    told = Redactor(b"k" * 32).body(json.dumps(body).encode(), "application/json").decode()
    assert value not in told or len(value) < 6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cache_key", "a81x77b2"), ("link_key", "item-17"), ("country_code", "DE"), ("error_code", "E1042x7"),
        ("routing_key", "orders.created.v2"), ("key", "a81x77b2"), ("code", "E17b2x"), ("answer", "Yes"),
        ("answer", "It leaves in two to three working days."), ("status.code", "a81x77b2"), ("commit_hash", "a81x77b2"),
        ("event", "OrderItemV2Created"), ("kind", "S3BucketEC2Type"), ("embed", "youtube:dQw4w9WgXcQ"),
    ],
)  # fmt: skip
def test_weak_names_with_another_value_stay(name: str, value: str) -> None:
    *around, name = name.split(".")
    body = json.dumps({name: value} if not around else {around[0]: {name: value}}).encode()
    assert Redactor(b"k" * 32).body(body, "application/json") == body


def test_rows_by_their_headings() -> None:
    redactor = Redactor(b"k" * 32)
    told = redactor.body(
        b'{"columns":["id","pin","n"],"rows":[[1,"correct",7],[2,4711,"x"]]}', "application/json"
    ).decode()
    expected = (
        f'{{"columns":["id","pin","n"],"rows":[[1,"{redactor.mask("correct")}",7],[2,"{redactor.mask("4711")}","x"]]}}'
    )
    assert told == expected


@pytest.mark.parametrize(
    "text", ["password=hunterxy", '{"user":"bob","token":"correct"}', "postgres://bob:hunterxy@db/x"]
)
def test_a_text_in_base64_is_masked_whole(text: str) -> None:
    coded = base64.b64encode(text.encode()).decode()
    redactor = Redactor(b"k" * 32)
    assert redactor.text(f"a {coded} b") == f"a {redactor.mask(coded)} b" or coded not in redactor.text(f"a {coded} b")
    assert coded not in redactor.body(json.dumps({"blob": coded}).encode(), "application/json").decode()


@pytest.mark.parametrize(
    "text",
    [
        "authentication uses a shared key stored elsewhere\n", "the password was changed for user eva77 by admin\n",
        "token refreshed for user1234 from 10.0.0.4:51234 in 12ms\n",
        "password hashed with pbkdf2_sha256 and base64url\n",
        "connect(host, port, timeout)\n",
        "dbPassword is required\n", "user password changed by admin77 of team4x\n",
        "/forgot-password-step2x\n",
        "the bypass-v2x1 of compass-rose42\n", "ssh -p 2222 host1.example\n", "sent code to user1234\n",
        "pages that are identified by search2 come first\n", "pass the key, then lock the door\n",
        "10.0.0.4 admin logged in\n",
        "echo done | tee log\n", "http GET https://x.example/a\n", "zip -r a.zip folder\n",
        "token: see RFC6750 and oauth2client\n",
    ],
)  # fmt: skip
def test_sentences_near_it_stay(text: str) -> None:
    assert Redactor(b"k" * 32).text(text) == text


BESIDE = [
    ("application/json", '{"sql":"UPDATE u SET n = $1, pin = $2 WHERE id = $3","params":["eva","SECRET",7]}'),
    ("application/json", '{"statement":"INSERT INTO u (name, password) VALUES (?, ?)","bindings":["eva","SECRET"]}'),
    ("text/plain", "SQL [update u set n = ?, pwd = ?], params [eva, SECRET, 7]"),
    ("text/plain", "could not reach eva:SECRET@db.example"),
    ("text/plain", 'duplicate entry \'SECRET\' for key \'users.api_token\''),
    ("text/csv", 'a,b\n1,"{""token"":""SECRET""}"\n'),
    ("application/json", '{"by_token":{"SECRET":{"id":1}}}'),
    ("application/json", '{"recovery":["SECRET","b7x-Kk2"]}'),
    ("text/plain", "recovery codes: a81-x77 SECRET"),
    ("text/plain", "SELECT pgp_sym_decrypt(c, 'SECRET')"),
    ("text/event-stream", "data: The\n\ndata:  password\n\ndata:  is SECRET\n\n"),
    ("", "data: The password\n\ndata: is\n\ndata: SECRET\n\n"),
    ("text/event-stream", 'data: {"t":"{\\"dsn\\":\\"pg://a:"}\n\ndata: {"t":"SECRET"}\n\ndata: {"t":"@db\\"}"}\n\n'),
    ("text/plain", "invalid token xkcdvbnm"), ("text/plain", "invalid token SECRET"),
]  # fmt: skip
PLAIN = [
    ("application/json", '{"sql":"SELECT * FROM o WHERE status = ? AND land = ?","params":["open","DE"]}'),
    ("text/plain", "image nginx:1.25@sha256:abcd1234 pulled, args [--port, 80]"),
    ("text/plain", "duplicate entry 'eva17x' for key 'users.name'"),
    ("application/json", '{"recovery":["full"],"verification":"pending","x":[{"field":"n","from":"a1b2c3","to":"b"}]}'),
    ("text/event-stream", "data: The\n\ndata:  key\n\ndata:  to success\n\n"),
    ("text/plain", "the token Rechtschreibung is a word; decrypt(data, 'utf8')"),
    ("application/json", '{"sessions":{"active":3,"user17":{"n":1}}}'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), BESIDE)
def test_what_is_beside_tells(kind: str, body: str) -> None:
    told = Redactor(b"k" * 32).body(body.replace("SECRET", "k7-Qr2x9b").encode(), kind).decode()
    assert "Qr2x" not in told
    assert "[redacted:" in told


@pytest.mark.parametrize(("kind", "body"), PLAIN)
def test_what_is_beside_other_things_stays(kind: str, body: str) -> None:
    assert Redactor(b"k" * 32).body(body.encode(), kind).decode() == body


@pytest.mark.parametrize(
    "path", ["/s/aB3dE5gH", "/reset/a81d9f2", "/i/Ab3dE5gH", "/api/tokens/a1b2c3d4e5", "/orders/17"]
)
def test_what_is_kept_of_paths_is_judged_as_targets_are(path: str) -> None:
    redactor = Redactor(b"k" * 32)
    parent, _, segment = path.rpartition("/")
    assert redactor.secret_segment("GET " + parent, segment) == (redactor.url(path) != path)


@pytest.mark.parametrize("value", ["X.", "-pX", "eva/X@db", "a+b+X", '"X"', "x [X]", "/in?t=X"])
def test_a_difference_has_no_part_of_what_was_masked(value: str) -> None:
    """A value of a difference is a piece of a text, without what told of the secret in it."""
    redactor = Redactor(b"k" * 32)
    redactor.heard = heard = set[int]()
    redactor.text("password: batterystaple\npostgres://eva:correcthorse@db/x")
    redactor.heard = None
    for secret in ("batterystaple", "correcthorse"):
        assert secret not in redactor.text(value.replace("X", secret), heard)
    assert redactor.text(value.replace("X", "harmless"), heard) == value.replace("X", "harmless")


def test_keys_below_a_secret_name_are_in_no_place() -> None:
    redactor = Redactor(b"k" * 32)
    assert "k7-Qr2x9b" not in redactor.path("$.by_token['k7-Qr2x9b'].id")
    assert "a7Qr2x9b" not in redactor.path("$.by_token.a7Qr2x9b")
    assert redactor.path("$.orders.a7Qr2x9b") == "$.orders.a7Qr2x9b"


@pytest.mark.parametrize(
    "statement",
    ["UPDATE u SET name = $1, password = $2 WHERE id = 3", "INSERT INTO u (name, password) VALUES ($1, $2)"],
)
@pytest.mark.parametrize("name", ["", "s1"])
def test_parameters_of_prepared_statements(statement: str, name: str) -> None:
    """Parse and Bind of one turn (PostgreSQL, 55.7)."""
    values = b"".join(struct.pack("!I", len(value)) + value for value in (b"eva", b"correcthorse"))
    bind = f"\0{name}\0".encode() + struct.pack("!HHH", 1, 0, 2) + values + struct.pack("!H", 0)
    parse = f"{name}\0{statement}\0".encode() + struct.pack("!H", 0)
    told, _ = Redactor(b"k" * 32).turn(message(b"P", parse) + message(b"B", bind) + message(b"S", b""))
    assert b"correct" not in told
    assert statement.encode() in told
    assert b"eva" in told
