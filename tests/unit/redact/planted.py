"""A corpus of planted secrets: 300 of them, in the shapes in which services send them.

Every secret is drawn from a seed, so that no test knows its letters; a shape says how it is sent. What the daemon keeps
of an exchange with it must not have it, in any spelling that gives it back (percent-encoding, base64, JSON's escapes).
"""

from __future__ import annotations

import base64
import json
import random
import string
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

ALNUM = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Planted:
    """One exchange that carries a secret. ``raw``: no HTTP, ``request`` and ``response`` are turns."""

    shape: str
    secret: str
    request: bytes
    response: bytes
    raw: bool = False


def luhn(digits: str) -> str:
    """The number with its check digit (ISO/IEC 7812-1)."""
    for last in "0123456789":
        total = 0
        for place, digit in enumerate((digits + last)[::-1]):
            value = int(digit) * (2 if place % 2 else 1)
            total += value - 9 if value > 9 else value
        if total % 10 == 0:
            return digits + last
    raise AssertionError


def iban(dice: random.Random) -> str:
    account = "".join(dice.choices(string.digits, k=18))
    check = 98 - int(account + "131400") % 97  # DE is 13 14
    return f"DE{check:02}{account}"


def word(dice: random.Random, low: int = 8, high: int = 14) -> str:
    """As people choose passwords: letters, with a digit somewhere."""
    letters = dice.choices(string.ascii_lowercase, k=dice.randint(low, high))
    letters[dice.randrange(3, len(letters))] = dice.choice(string.digits)
    return "".join(letters)


def phrase(dice: random.Random) -> str:
    """Letters alone: nothing about it looks like a secret."""
    return "".join(dice.choices("bcdfghjklmnpqrstvwxz", k=10))


def key(dice: random.Random, length: int = 36, alphabet: str = ALNUM) -> str:
    letters = dice.choices(alphabet, k=length)
    letters[3:6] = [dice.choice("23456789"), dice.choice(string.ascii_lowercase), dice.choice("23456789")]
    return "".join(letters)


def hexed(dice: random.Random, length: int = 40) -> str:
    return "".join(dice.choices("0123456789abcdef", k=length - 2)) + "a7"


def based(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def jwt(dice: random.Random) -> str:
    def part(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    return f"{part(json.dumps({'alg': 'HS256'}))}.{part(json.dumps({'sub': word(dice)}))}.{key(dice, 43)}"


def pem(dice: random.Random) -> str:
    return "\n".join(key(dice, 64, ALNUM + "+/") for _ in range(4))


Maker = Callable[[random.Random], str]
Body = Callable[[str], str]


def answer(kind: str, body: Body, head: str = "") -> Callable[[str], tuple[bytes, bytes]]:
    """The secret is in the response's body."""

    def made(secret: str) -> tuple[bytes, bytes]:
        content = body(secret).encode()
        request = f"GET /orders/17 HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n{head}\r\n".encode()
        response = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
        )
        return request, response

    return made


def asked(kind: str, body: Body) -> Callable[[str], tuple[bytes, bytes]]:
    """The secret is in the request's body."""

    def made(secret: str) -> tuple[bytes, bytes]:
        content = body(secret).encode()
        head = f"POST /login HTTP/1.1\r\nHost: shop\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + content, b"HTTP/1.1 204 No Content\r\n\r\n"

    return made


def target(text: Body) -> Callable[[str], tuple[bytes, bytes]]:
    def made(secret: str) -> tuple[bytes, bytes]:
        request = f"GET {text(secret)} HTTP/1.1\r\nHost: shop\r\n\r\n".encode()
        return request, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    return made


def header(text: Body, of_response: bool = False) -> Callable[[str], tuple[bytes, bytes]]:
    def made(secret: str) -> tuple[bytes, bytes]:
        line = text(secret)
        request = f"GET /a HTTP/1.1\r\nHost: shop\r\n{'' if of_response else line + chr(13) + chr(10)}\r\n"
        response = f"HTTP/1.1 302 Found\r\n{line + chr(13) + chr(10) if of_response else ''}Content-Length: 0\r\n\r\n"
        return request.encode(), response.encode()

    return made


def bulk(*words: str) -> bytes:
    pieces = [f"*{len(words)}\r\n".encode()]
    pieces += [f"${len(word.encode())}\r\n{word}\r\n".encode() for word in words]
    return b"".join(pieces)


def redis(
    ask: Callable[[str], bytes], reply: Callable[[str], bytes] = lambda _: b"+OK\r\n"
) -> Callable[[str], tuple[bytes, bytes]]:
    return lambda secret: (ask(secret), reply(secret))


def one(value: str) -> bytes:
    return f"${len(value.encode())}\r\n{value}\r\n".encode()


def message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!I", len(content) + 4) + content


def described(*names: str) -> bytes:
    columns = b"".join(name.encode() + b"\0" + struct.pack("!IHIHIH", 0, 0, 25, 65535, 0, 0) for name in names)
    return message(b"T", struct.pack("!H", len(names)) + columns)


def row(*values: str) -> bytes:
    cells = b"".join(struct.pack("!I", len(value)) + value.encode() for value in values)
    return message(b"D", struct.pack("!H", len(values)) + cells)


def events(*data: object, name: str = "") -> str:
    head = f"event: {name}\n" if name else ""
    return "".join(f"{head}data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in data)


def split_up(before: str, secret: str, after: str, size: int = 4) -> list[str]:
    whole = before + secret + after
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _json(**members: object) -> str:
    return json.dumps({"id": 17, "user": {"name": "Bob", "roles": ["admin"]}, **members})


def shapes() -> dict[str, tuple[Maker, Callable[[str], tuple[bytes, bytes]]]]:
    """By name: how the secret is drawn, and the exchange that carries it."""
    js = "application/json"
    form = "application/x-www-form-urlencoded"
    xml = "application/xml"
    text = "text/plain; charset=utf-8"
    multi = "multipart/form-data; boundary=XX"
    cards: Maker = lambda dice: luhn("4" + "".join(dice.choices(string.digits, k=14)))  # noqa: E731
    return {
        # names in JSON
        "json password": (phrase, answer(js, lambda s: _json(password=s))),
        "json camel": (phrase, answer(js, lambda s: _json(newPassword2=s))),
        "json constant": (phrase, answer(js, lambda s: _json(env={"DB_PASS": s}))),
        "json header name": (phrase, answer(js, lambda s: _json(headers={"X-Api-Key": s}))),
        "json plural list": (phrase, answer(js, lambda s: _json(passwords=["none", s]))),
        "json nested below": (phrase, answer(js, lambda s: _json(credentials={"primary": {"left": [s]}}))),
        "json access key id": (phrase, answer(js, lambda s: _json(accessKeyId=s))),
        "json name and value": (word, answer(js, lambda s: _json(env=[{"name": "DB_PASSWORD", "value": s}]))),
        "json value and name": (word, answer(js, lambda s: _json(env=[{"value": s, "name": "API_TOKEN"}]))),
        "json pair": (word, answer(js, lambda s: _json(headers=[["authorization", f"Bearer {s}"]]))),
        "json in a string": (phrase, answer(js, lambda s: _json(payload=json.dumps({"client_secret": s})))),
        "json in a string twice": (
            phrase, answer(js, lambda s: _json(payload=json.dumps({"inner": json.dumps({"passwd": s})}))),
        ),
        "json unicode escapes": (phrase, answer(js, lambda s: '{"p\\u0061ssword": "' + s + '"}')),
        "json raw newline": (word, answer(js, lambda s: '{"note": "a\nb", "password": "' + s[:4] + "\n" + s + '"}')),
        "json cut off": (phrase, answer(js, lambda s: '{"items": [{"id": 1, "refresh_token": "' + s)),
        "json repr": (phrase, answer(text, lambda s: "params={'user': 'bob', 'password': '" + s + "'}")),
        "json loose": (phrase, answer(text, lambda s: 'options = {user: "bob", secretKey: "' + s + '"}')),
        "json pin number": (lambda d: str(d.randint(10**7, 10**8)), answer(js, lambda s: '{"pin": ' + s + "}")),
        "json url": (word, answer(js, lambda s: _json(link=f"https://shop/x?page=2&token={s}#top"))),
        "json error text": (word, answer(js, lambda s: _json(error={"message": f"login failed: password={s}"}))),
        "json lines": (phrase, answer("application/x-ndjson", lambda s: '{"a":1}\n{"apiKey":"' + s + '"}\n')),
        "json german": (phrase, answer(js, lambda s: _json(Kennwort=s))),
        "json accents": (phrase, answer(js, lambda s: _json(contraseña=s))),
        # forms and queries
        "form password": (phrase, asked(form, lambda s: f"user=bob&password={s}&go=1")),
        "form bracket": (phrase, asked(form, lambda s: f"user%5Bpassword%5D={s}")),
        "form encoded name": (phrase, asked(form, lambda s: f"p%61ss={s}")),
        "form json": (phrase, asked(form, lambda s: "payload=" + quote(json.dumps({"secret": s})))),
        "query token": (word, target(lambda s: f"/a?access_token={s}&page=1")),
        "query code": (word, target(lambda s: f"/callback?code={s}&page=1")),
        "query state": (lambda d: key(d, 18), target(lambda s: f"/callback?page=1&state={s}")),
        "query sig": (lambda d: key(d, 18), target(lambda s: f"/blob/a.png?sv=2024-01-01&sig={s}")),
        "query key": (lambda d: key(d, 18), target(lambda s: f"/maps?key={s}&q=tea")),
        "query auth": (word, target(lambda s: f"/feed?auth={s}")),
        "query nested url": (word, target(lambda s: "/go?to=" + quote(f"https://h/x?token={s}", safe=""))),
        "query random": (lambda d: key(d, 22), target(lambda s: f"/d?x={s}")),
        "path token": (lambda d: key(d, 22), target(lambda s: f"/files/{s}/view")),
        "path reset": (lambda d: word(d, 10, 12), target(lambda s: f"/account/reset/{s}9q")),
        "path matrix": (word, target(lambda s: f"/cart;jsessionid={s}?page=1")),
        "absolute user": (word, target(lambda s: f"http://bob:{s}@shop/x")),
        # headers
        "bearer": (lambda d: key(d, 20), header(lambda s: f"Authorization: Bearer {s}")),
        "basic": (
            lambda d: based(f"bob:{word(d)}"), header(lambda s: f"Authorization: Basic {s}"),
        ),
        "digest": (lambda d: hexed(d, 32), header(lambda s: f'Authorization: Digest username="bob", response="{s}"')),
        "api key header": (word, header(lambda s: f"X-Api-Key: {s}")),
        "vendor header": (word, header(lambda s: f"X-Shop-Access-Token: {s}")),
        "cookie": (word, header(lambda s: f"Cookie: theme=dark; sid={s}")),
        "set-cookie": (word, header(lambda s: f"Set-Cookie: sid={s}; Path=/; HttpOnly", True)),
        "location": (word, header(lambda s: f"Location: https://shop/cb#id_token={s}&x=1", True)),
        "location code": (word, header(lambda s: f"Location: /cb?code={s}", True)),
        "referer": (word, header(lambda s: f"Referer: https://shop/reset?token={s}")),
        "link header": (word, header(lambda s: f'Link: <https://shop/x?api_key={s}>; rel="next"', True)),
        "refresh header": (word, header(lambda s: f"Refresh: 3; url=/login?session_id={s}", True)),
        "www header": (lambda d: key(d, 32), header(lambda s: f"X-Debug: session {s}", True)),
        "header name": (lambda d: "ghp_" + key(d, 36), header(lambda s: f"X-{s}: 1")),
        # markup
        "xml element": (phrase, answer(xml, lambda s: f"<a><user>bob</user><password>{s}</password></a>")),
        "xml namespace": (phrase, answer(xml, lambda s: f"<w:Sec><w:Password Type='t'>{s}</w:Password></w:Sec>")),
        "xml attribute": (phrase, answer(xml, lambda s: f'<user name="bob" password="{s}"/>')),
        "xml cdata": (phrase, answer(xml, lambda s: f"<api-key><![CDATA[{s}]]></api-key>")),
        "xml nested": (phrase, answer(xml, lambda s: f"<token>\n <v>{s}</v>\n</token>")),
        "xml add": (phrase, answer(xml, lambda s: f'<appSettings><add key="DbPassword" value="{s}"/></appSettings>')),
        "xml rpc": (
            phrase,
            answer(xml, lambda s: f"<member><name>password</name><value><string>{s}</string></value></member>"),
        ),
        "plist": (phrase, answer(xml, lambda s: f"<dict><key>authToken</key><string>{s}</string></dict>")),
        "html hidden": (word, answer("text/html", lambda s: f'<input type="hidden" name="csrf_token" value="{s}">')),
        "html hidden turned": (word, answer("text/html", lambda s: f"<input value='{s}' name='authenticity_token'>")),
        "html meta": (word, answer("text/html", lambda s: f'<meta name="csrf-token" content="{s}">')),
        "html link": (word, answer("text/html", lambda s: f'<a href="/reset?page=1&amp;token={s}">reset</a>')),
        "html data": (word, answer("text/html", lambda s: f'<div data-api-key="{s}">x</div>')),
        "html entities": (word, answer("text/html", lambda s: f"<p>{{&quot;password&quot;:&quot;{s}&quot;}}</p>")),
        "html script": (word, answer("text/html", lambda s: f"<script>var csrfToken = '{s}';</script>")),
        # parts, blocks, columns
        "multipart": (
            phrase,
            asked(multi, lambda s: f'--XX\r\nContent-Disposition: form-data; name="password"\r\n\r\n{s}\r\n--XX--\r\n'),
        ),
        "multipart star": (
            phrase,
            asked(
                multi,
                lambda s: f"--XX\r\nContent-Disposition: form-data; name*=UTF-8''pass%77ord\r\n\r\n{s}\r\n--XX--\r\n",
            ),
        ),
        "yaml": (phrase, answer("application/yaml", lambda s: f"user: bob\npassword: {s}\nport: 1\n")),
        "yaml block": (phrase, answer("application/yaml", lambda s: f"a: 1\nclient_secret: |\n  {s}\nport: 1\n")),
        "yaml nested": (phrase, answer("application/yaml", lambda s: f"credentials:\n  left: {s}\nport: 1\n")),
        "yaml list": (phrase, answer("application/yaml", lambda s: f"tokens:\n  - {s}\nport: 1\n")),
        "ini": (phrase, answer(text, lambda s: f"[db]\nhost = h\npassword = {s}\n")),
        "dotenv": (phrase, answer(text, lambda s: f"HOST=h\nexport STRIPE_SECRET_KEY={s}\n")),
        "properties": (phrase, answer(text, lambda s: f"spring.datasource.password={s}\n")),
        "csv": (phrase, answer("text/csv", lambda s: f"name,password,age\nann,x,3\nbob,{s},4\n")),
        "tsv": (phrase, answer("text/tab-separated-values", lambda s: f"id\tapi_key\n1\t{s}\n")),
        "psql table": (phrase, answer(text, lambda s: f" name | password \n------+----------\n bob  | {s}\n")),
        # sentences and commands
        "sentence": (word, answer(text, lambda s: f"Welcome! Your password is {s}. Change it soon.")),
        "one-time code": (
            lambda d: str(d.randint(10**6, 10**7)), answer(text, lambda s: f"Your verification code is {s}")
        ),
        "command": (phrase, answer(text, lambda s: f"mysql --user root --password {s} shop")),
        "curl user": (phrase, answer(text, lambda s: f"curl -u bob:{s} https://h/")),
        "sql": (word, answer(text, lambda s: f"ALTER USER bob WITH PASSWORD '{s}';")),
        "connection string": (word, answer(text, lambda s: f"Server=db;User Id=sa;Password={s};Encrypt=true")),
        "address": (word, answer(text, lambda s: f"cannot connect to amqp://app:{s}@mq:5672/")),
        "log of a header": (phrase, answer(text, lambda s: f"2026-01-01 12:00 > Cookie: sid={s}; theme=dark\nnext")),
        "stack trace": (word, answer(text, lambda s: f'  File "a.py"\n    login("bob", password="{s}")\nError')),
        "netrc": (phrase, answer(text, lambda s: f"machine h login bob password {s}")),
        # looks
        "card": (cards, answer(js, lambda s: _json(note=f"paid by {s}"))),
        "card grouped": (cards, answer(text, lambda s: f"card {s[:4]} {s[4:8]} {s[8:12]} {s[12:]} is valid")),
        "iban": (iban, answer(js, lambda s: _json(to=s))),
        "jwt": (jwt, answer(text, lambda s: f"got {s} back")),
        "pem": (
            pem,
            answer(text, lambda s: f"-----BEGIN RSA PRIVATE KEY-----\n{s}\n-----END RSA PRIVATE KEY-----\n"),
        ),
        "pem in json": (
            pem, answer(js, lambda s: _json(k=f"-----BEGIN PRIVATE KEY-----\n{s}\n-----END PRIVATE KEY-----\n"))
        ),
        "aws": (lambda d: "AKIA" + key(d, 16, string.ascii_uppercase).upper(), answer(text, lambda s: f"id {s} used")),
        "github": (lambda d: "ghp_" + key(d, 36), answer(js, lambda s: _json(x=s))),
        "slack": (lambda d: f"xoxb-{d.randint(10**11, 10**12)}-{key(d, 24)}", answer(js, lambda s: _json(x=s))),
        "slack hook": (
            lambda d: f"T{key(d, 8).upper()}/B{key(d, 8).upper()}/{key(d, 24)}",
            answer(js, lambda s: _json(x=f"https://hooks.slack.com/services/{s}")),
        ),
        "stripe": (lambda d: "sk_live_" + key(d, 24), answer(js, lambda s: _json(x=s))),
        "google": (lambda d: "AIza" + key(d, 35), answer(js, lambda s: _json(x=s))),
        "sendgrid": (lambda d: f"SG.{key(d, 22)}.{key(d, 43)}", answer(js, lambda s: _json(x=s))),
        "npm": (lambda d: "npm_" + key(d, 36), answer(text, lambda s: f"//registry/:_authToken={s}")),
        "telegram": (lambda d: f"{d.randint(10**8, 10**9)}:AA{key(d, 33)}", answer(text, lambda s: f"bot {s} up")),
        "openai": (lambda d: "sk-proj-" + key(d, 48), answer(js, lambda s: _json(x=f"Incorrect API key: {s}"))),
        "hash of a password": (lambda d: "$2b$12$" + key(d, 53), answer(js, lambda s: _json(x=s))),
        "hex": (hexed, answer(js, lambda s: _json(x=s))),
        "azure": (
            lambda d: base64.b64encode(d.randbytes(64)).decode(),
            answer(text, lambda s: f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={s};EndpointSuffix=x"),
        ),
        # keys, not only values
        "key of a member": (lambda d: "ghp_" + key(d, 36), answer(js, lambda s: _json(sessions={s: {"age": 3}}))),
        "name of a parameter": (lambda d: "glpat-" + key(d, 24), target(lambda s: f"/a?{s}=1")),
        # events
        "sse": (phrase, answer("text/event-stream", lambda s: events({"user": "bob", "token": s}))),
        "sse split text": (
            word,
            answer(
                "text/event-stream",
                lambda s: events(
                    *({"choices": [{"delta": {"content": p}}]} for p in split_up("password is ", s, ".")), "[DONE]"
                ),
            ),
        ),
        "sse split arguments": (
            phrase,
            answer(
                "text/event-stream",
                lambda s: events(
                    *(
                        {"type": "content_block_delta", "delta": {"partial_json": p}}
                        for p in split_up('{"user": "bob", "password": "', s, '"}', 3)
                    )
                ),
            ),
        ),
        "sse split key": (
            lambda d: "ghp_" + key(d, 36),
            answer("text/event-stream", lambda s: events(*({"text": p} for p in split_up("use ", s, " now", 6)))),
        ),
        # no HTTP
        "redis auth": (phrase, redis(lambda s: bulk("AUTH", s))),
        "redis auth user": (phrase, redis(lambda s: bulk("AUTH", "bob", s))),
        "redis hello": (phrase, redis(lambda s: bulk("HELLO", "3", "AUTH", "default", s))),
        "redis acl": (phrase, redis(lambda s: bulk("ACL", "SETUSER", "bob", "on", f">{s}", "~*", "+@all"))),
        "redis config": (phrase, redis(lambda s: bulk("CONFIG", "SET", "requirepass", s))),
        "redis config reply": (
            phrase, redis(lambda _: bulk("CONFIG", "GET", "requirepass"), lambda s: bulk("requirepass", s))
        ),
        "redis set": (phrase, redis(lambda s: bulk("SET", "user:7:token", s, "EX", "60"))),
        "redis hset": (phrase, redis(lambda s: bulk("HSET", "user:7", "name", "bob", "password", s))),
        "redis get": (phrase, redis(lambda _: bulk("GET", "user:7:password"), one)),
        "redis hgetall": (phrase, redis(lambda _: bulk("HGETALL", "user:7"), lambda s: bulk("n", "b", "secret", s))),
        "redis session key": (lambda d: key(d, 20), redis(lambda s: bulk("GET", f"session:{s}"))),
        "redis inline": (phrase, redis(lambda s: f"AUTH {s}\r\n".encode())),
        "postgres password": (phrase, redis(lambda s: message(b"p", s.encode() + b"\0"))),
        "postgres start": (
            phrase,
            redis(
                lambda s: (lambda c: struct.pack("!I", len(c) + 8) + struct.pack("!I", 196608) + c)(
                    f"user\0bob\0password\0{s}\0\0".encode()
                )
            ),
        ),
        "postgres row": (
            phrase,
            redis(
                lambda _: message(b"Q", b"SELECT name, password FROM users\0"),
                lambda s: described("name", "password") + row("bob", s) + message(b"C", b"SELECT 1\0"),
            ),
        ),
        "smtp plain": (
            lambda d: based(f"\0bob\0{word(d)}"), redis(lambda s: f"AUTH PLAIN {s}\r\n".encode())
        ),
        "smtp answer": (
            lambda d: based(word(d, 12, 12)), redis(lambda s: f"{s}\r\n".encode())
        ),
        "pop3": (phrase, redis(lambda s: f"PASS {s}\r\n".encode(), lambda _: b"+OK\r\n")),
        "imap": (phrase, redis(lambda s: f"a1 LOGIN bob {s}\r\n".encode())),
        "mqtt": (
            phrase,
            redis(
                lambda s: (lambda c: b"\x10" + bytes([len(c)]) + c)(
                    b"\0\x04MQTT\x04\xc2\0\x3c\0\x02id\0\x03bob" + struct.pack("!H", len(s)) + s.encode()
                )
            ),
        ),
    }  # fmt: skip


def corpus(count: int = 300) -> Iterator[Planted]:
    """``count`` exchanges over all shapes, each with a secret of its own."""
    known = shapes()
    names = list(known)
    for number in range(count):
        shape = names[number % len(names)]
        maker, exchange = known[shape]
        secret = maker(random.Random(f"{shape} {number}"))
        request, response = exchange(secret)
        raw = shape.startswith(("redis", "postgres", "smtp", "pop3", "imap", "mqtt"))
        yield Planted(shape, secret, request, response, raw)


def spellings(secret: str) -> set[str]:
    """All that gives the secret back at a look."""
    lines = secret.split("\n")
    found = {line for line in lines if len(line) > 5}
    found |= {quote(line, safe="") for line in found} | {json.dumps(line)[1:-1] for line in found}
    found |= {base64.b64encode(secret.encode()).decode().rstrip("=")}
    if secret.isdigit() and len(secret) == 16:
        found |= {f"{secret[:4]} {secret[4:8]} {secret[8:12]} {secret[12:]}"}
    return found
