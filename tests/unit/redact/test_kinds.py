"""Secrets that neither their own name nor their look tells: by the procedure, the label or the address around them."""

from __future__ import annotations

import pytest

from shadowd.redact.redaction import Redactor

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
