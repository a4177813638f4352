"""What stands in a secret's place and is none stays; what is only near to that does not."""

from __future__ import annotations

import json

import pytest

from shadowd.redact.redaction import Redactor

JSON = "application/json"
STAYS = [
    # said to people
    (JSON, '{"password":"Password","passwordConfirm":"Confirm password","pin":"The PIN is wrong."}'),
    (JSON, '{"errors":{"password":["is too short (minimum is 8 characters)","can\'t be blank"]}}'),
    ("text/xml", '<string name="password_hint">Enter your password</string>'),
    # kept elsewhere
    ("application/yaml", "env:\n  DB_PASSWORD: ${DB_PASSWORD}\n  TOKEN: ${{ secrets.NPM_TOKEN }}\n"),
    ("application/yaml", "environment:\n  DB_PASSWORD_FILE: /run/secrets/db_password\n"),
    ("text/plain", "  + password = (known after apply)\n"),
    ("text/plain", "SELECT id FROM users WHERE reset_token = $1 AND api_key = ?;\n"),
    ("text/plain", "usage: tool [--password PASSWORD] [--token TOKEN]\n"),
    # an expression of a program
    ("text/x-python", "token = create_token(user.id, secret=settings.SECRET_KEY)\nlogin(password=password)\n"),
    ("application/javascript", "const token = await getToken({ email, password });\n"),
    # settings below a topic, and what describes a value
    ("application/yaml", "auth:\n  provider: oidc\n  roles:\n    - admin\n  session:\n    timeout: 30m\n"),
    (JSON, '{"auth":{"enabled":true,"provider":"oidc","roles":["admin"]},"session":{"timeout":1800}}'),
    (JSON, '{"properties":{"password":{"type":"string","format":"password","description":"Of the account"}}}'),
    (JSON, '{"card":{"brand":"visa","checks":{"cvc_check":"pass"},"exp_month":8,"last4":"4242"}}'),
    # ids, digests, names of files
    (JSON, '{"customer":"cus_9s6XKzkNRiz8i3","subnet":"subnet-0718a47c87521c329","ref":"5hZ37tMaxUXQjfu1A3Vz"}'),
    (JSON, '{"id":"4iV5W9uYEdYUVa79Axb7Rh","uri":"music:track:4iV5W9uYEdYUVa79Axb7Rh"}'),
    (JSON, '{"integrity":"sha512-5Ean6pyw4mUS8eMGL28lPjDDSzS31eOOIcfjefF6CDVrjQP4ZwLi/AuWuF2ePtlaN+6vJ67Qd"}'),
    ("text/plain", "commit 856852ad2afa50d0451b8b9caad22d852b87cbdb trace=66e53d3ea56fe217b21d77fd5b9dc548\n"),
    ("text/css", "a { src: url(/fonts/inter.ef4c2bdc5892968b69ee.woff2); --token-color: #7e4004; }"),
    ("text/html", '<link href="/assets/app-e70545a9913712b6c2a45a76d857c9c264401d47ed7eae59860fe0d9f16bdbf2.css">'),
    ("text/csv", "code,name,title\nDE,secret,Germany\nFR,pack,France\n"),
]
GOES = [
    (JSON, '{"password":"SECRET correct horse"}'),
    (JSON, '{"password":"Bearer SECRET"}'),
    (JSON, '{"auth":{"provider":"oidc","basic":"SECRET"}}'),
    (JSON, '{"session":{"timeout":1800,"id":"SECRET"}}'),
    (JSON, '{"password":{"type":"string","default":"SECRET"}}'),
    (JSON, '{"card":{"brand":"visa","last4":"4242","cvc":"SECRET"}}'),
    (JSON, '{"x":"key_k7Qr2xSECRET9bZ4tLm81"}'),
    ("application/yaml", "auth:\n  provider: oidc\n  password: SECRET\n  roles:\n    - admin\n"),
    ("application/yaml", "env:\n  DB_PASSWORD: ${x}SECRET\n"),
    ("text/x-python", 'token = create_token("SECRET")\n'),
    ("text/plain", "run --csrf-token SECRET\n"),
    # tables
    ("text/html", "<table><tr><th>User</th><th>Password</th></tr><tr><td>eva</td><td>SECRET</td></tr></table>"),
    (JSON, '{"values":[["Service","User","Password"],["Mail","eva","SECRET"]]}'),
    (JSON, '{"schema":{"fields":[{"name":"id"},{"name":"api_key"}]},"rows":[{"f":[{"v":"1"},{"v":"SECRET"}]}]}'),
    (
        JSON,
        '{"Rows":[{"Data":[{"VarCharValue":"id"},{"VarCharValue":"pin"}]},'
        '{"Data":[{"VarCharValue":"1"},{"VarCharValue":"SECRET"}]}]}',
    ),
    ("text/csv", "id,csrf,x\n1,SECRET,2\n"),
    ("text/plain", "-[ RECORD 1 ]---+-----\nid         | 1\napi_secret | SECRET\n"),
    # who signs in with what
    ("text/plain", "Test account: eva@firm.example / SECRET\n"),
    ("text/plain", "Log in to the router with admin / SECRET\n"),
    ("text/plain", 'req.SetBasicAuth("eva", "SECRET")\n'),
    ("text/plain", 'mutation { changePassword(old: "a", new: "SECRET") { ok } }\n'),
    ("text/plain", "    set psksecret SECRET\n"),
    ("text/plain", "connect scott/SECRET@ORCL\n"),
]


@pytest.mark.parametrize(("kind", "body"), STAYS)
def test_what_is_none_stays(kind: str, body: str) -> None:
    assert Redactor(b"k" * 32).body(body.encode(), kind).decode() == body


@pytest.mark.parametrize(("kind", "body"), GOES)
def test_what_is_near_to_that_goes(kind: str, body: str) -> None:
    assert b"k7-Qr2x" not in Redactor(b"k" * 32).body(body.replace("SECRET", "k7-Qr2x9").encode(), kind)


@pytest.mark.parametrize("digits", ["239750", "4711"])
def test_the_value_of_a_set_may_be_a_number(digits: str) -> None:
    for command in (["SETEX", "otp:eva", "300", digits], ["SET", "otp:eva", digits, "EX", "300"]):
        sent = f"*{len(command)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in command)
        told, _ = Redactor(b"k" * 32).turn(sent.encode())
        assert digits.encode() not in told
        assert b"\r\n300\r\n" in told


def test_an_id_that_is_masked_elsewhere_is_no_excuse() -> None:
    secret = "4iV5W9uYEdYUVa79Axb7Rh"
    redactor = Redactor(b"k" * 32)
    redactor.body(json.dumps({"token": secret}).encode(), JSON)
    told = redactor.body(json.dumps({"id": secret, "uri": f"/x/{secret}"}).encode(), JSON)
    assert secret.encode() not in told


@pytest.mark.parametrize("header", ["X-Shop-Access", "X-Fleet-Key", "X-Door-Code"])
def test_headers_whose_last_word_tells(header: str) -> None:
    assert b"tzlglbvfmzl7k" not in Redactor(b"k" * 32).head(
        f"GET / HTTP/1.1\r\n{header}: tzlglbvfmzl7k\r\n\r\n".encode()
    )


def test_headers_of_caches_stay() -> None:
    head = b"GET / HTTP/1.1\r\nX-Cache-Key: tzlglbvfmzl7k\r\nX-Access-Level: tzlglbvfmzl7k\r\n\r\n"
    assert Redactor(b"k" * 32).head(head) == head
