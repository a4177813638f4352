"""Secrets are taken out of whatever is stored or shown (sans-IO).

Each secret becomes ``[redacted:`` + 8 hex digits of HMAC-SHA-256(key, value) + ``]``: equal values stay comparable
(production and shadow sent the same token, or they did not), and without the key nothing can be tried against it.
Three ways lead to a secret: its *place* (a header, a cookie), its *name* (``password``, ``token`` ...: in JSON, forms,
query strings, XML and ``name=value`` text), and its *look* (``shadowd.store.secrets``). When in doubt a value is
redacted: a masked word costs a reader little, a stored password costs a customer much.

JSON is rewritten token by token and not parsed and printed again, so that spelling, order, duplicate keys and white
space stay as they were sent, and a body that was cut off or is malformed is redacted by the same rules. A mask is
never masked again. All costs are linear in the input: no pattern can be made to backtrack.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable
from urllib.parse import unquote_plus

from shadowd.store.secrets import MASK, redact_looks

#: Names whose values are secret. Case, ``-`` and ``_`` are ignored.
DEFAULT_KEYS = (
    "password", "passwd", "pwd", "pass", "passphrase", "passcode", "pin", "otp", "token", "access_token",
    "refresh_token", "id_token", "csrf", "jwt", "bearer", "secret", "client_secret", "private_key", "api_key",
    "apikey", "access_key", "secret_key", "signature", "card", "credit_card", "debit_card", "card_number", "pan",
    "cvv", "cvc", "ssn", "iban", "account_number", "authorization", "session", "session_id", "sid", "cookie",
    "credential", "credentials",
)  # fmt: skip

#: A listed name of at least so many letters is also found at the end of a longer one (``userPassword``,
#: ``X-Auth-Token``); shorter ones are not: ``card`` would be found in ``discard``.
SUFFIX_LETTERS = 5

#: Names that are also ordinary words: ``unexpected token: end`` holds no secret, ``token: a81f22`` does.
_WORDS = frozenset({"token", "session", "card", "authorization", "secret", "signature", "cookie", "pin", "bearer"})

_SCHEMES = frozenset(
    {"basic", "bearer", "digest", "negotiate", "ntlm", "token", "apikey", "aws4-hmac-sha256", "hoba", "mutual", "dpop"}
)
_COOKIE_ATTRIBUTES = frozenset(
    {"expires", "max-age", "domain", "path", "secure", "httponly", "samesite", "priority", "partitioned"}
)  # RFC 6265 §4.1.2, RFC 6265bis, CHIPS
_URL_HEADERS = frozenset({"referer", "location", "content-location"})

_LINE = re.compile(r"\r\n|\n|\r")
_TOKEN = re.compile(r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?|-?[0-9][0-9.eE+-]*+|[{}\[\],]')
_COLON = re.compile(r"\s*+:")
_NAME = r"[A-Za-z_][\w.-]{0,63}"  # longer names are not in any list
_NAMED = re.compile(
    rf"(?<![\w.-])(?P<name>{_NAME})(?P<quote>\\{{0,7}}[\"']?)[ \t]{{0,8}}(?P<by>=>|[=:])\s{{0,8}}"
    rf"|<(?:[A-Za-z_][\w.-]{{0,63}}:)?(?P<tag>{_NAME})(?:\s[^<>]{{0,256}})?>"
)
_SIGN = re.compile(r"[=:>]")  # no value has a name in a text without one
_QUOTED = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\'[^\'\\]*+(?:\\.[^\'\\]*+)*+\'?', re.DOTALL)
_ESCAPED_QUOTE = re.compile(r"\\{1,7}[\"']")
_BARE = re.compile(r"[^\s&\"'<>(){}\[\]\\]++")
_BLANK = re.compile(r"[ \t]{1,8}")
_TAGGED = re.compile(r"[^<]*+")
_PART_NAME = re.compile(r"[;\s]name=\"?([^\";\r\n]{1,64})")
_BLANK_LINE = re.compile(r"\r?\n\r?\n")
_PART_HEAD = 1024  # bytes of a part's header lines after its name: a file name of 255 bytes and a media type fit
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")  # gzip, zstd, zip


class Redactor:
    """``key`` makes the hashes; ``json_keys`` are the secret names, in the place of ``DEFAULT_KEYS``."""

    __slots__ = ("_key", "_names", "_suffixes")

    def __init__(self, key: bytes, json_keys: Iterable[str] = DEFAULT_KEYS) -> None:
        self._key = key
        self._names = frozenset(_plain(name) for name in json_keys) - {"", "redacted"}
        self._suffixes = tuple(sorted(name for name in self._names if len(name) >= SUFFIX_LETTERS))

    def mask(self, value: str) -> str:
        """What stands for ``value``. The empty string and what is a mask already stay."""
        if not value or MASK.fullmatch(value):
            return value
        digest = hmac.digest(self._key, value.encode("utf-8", "surrogatepass"), "sha256")
        return f"[redacted:{digest[:4].hex()}]"

    def text(self, text: str) -> str:
        """Plain text: secrets by name (``password=...``, ``"token": "..."``, ``<secret>...``) and by look."""
        return redact_looks(self._by_name(text) if _SIGN.search(text) else text, self.mask)

    def head(self, head: bytes) -> bytes:
        """A request's or response's head, from the first line to the blank line; line ends stay as they are."""
        text = head.decode("utf-8", "surrogateescape")
        lines: list[list[str]] = []  # [content, line end], folded lines joined (RFC 9112 §5.2)
        at = 0
        for found in [*_LINE.finditer(text), None]:
            content, end = (text[at:], "") if found is None else (text[at : found.start()], found.group())
            if content[:1] in (" ", "\t") and len(lines) > 1:
                lines[-1][0] += lines[-1][1] + content
                lines[-1][1] = end
            else:
                lines.append([content, end])
            at = len(text) if found is None else found.end()
        lines[0][0] = self._first_line(lines[0][0])
        for line in lines[1:]:
            line[0] = self._field(line[0])
        return "".join(content + end for content, end in lines).encode("utf-8", "surrogateescape")

    def body(self, data: bytes, media_type: str) -> bytes:
        """A body after its codings were undone; ``media_type`` with or without parameters, "" if unknown.

        JSON stays JSON: same structure, secret strings and numbers become strings. What is still compressed cannot be
        looked into and is masked as a whole.
        """
        if data.startswith(_COMPRESSED):
            return self.mask(data.decode("latin-1")).encode()
        kind = media_type.partition(";")[0].strip().lower()
        charset = json.detect_encoding(data)  # by mark, or by the zero bytes of the first letters (RFC 4627 §3)
        text, back = data.decode("utf-8", "surrogateescape"), ("utf-8", "surrogateescape")
        if "utf-8" not in charset and data.count(0) * 4 >= len(data):  # and not a binary body that begins like it
            text, back = data.decode(charset, "replace"), (charset, "surrogatepass")
        redacted = self._body(text, kind)
        return data if redacted == text else redacted.encode(*back)

    def is_secret(self, name: str) -> bool:
        """Whether a value of that name is redacted."""
        plain = _plain(name)
        return plain in self._names or plain.endswith(self._suffixes)

    # -- heads ---------------------------------------------------------------------------------------------------

    def _first_line(self, line: str) -> str:
        if line.startswith("HTTP/"):
            return self.text(line)
        method, space, rest = line.partition(" ")
        target, gap, version = rest.rpartition(" ")
        if not version.startswith("HTTP/"):
            target, gap, version = rest, "", ""
        return method + space + self._url(target) + gap + version

    def _url(self, url: str) -> str:
        """A request target or URL: parameters by name, every piece of the path by look."""
        url, hash_, fragment = url.partition("#")
        path, question, query = url.partition("?")
        if "://" in path:  # the text's rules know addresses with a password
            path = self.text(path)
        path = "/".join(map(self._piece, path.split("/")))
        return path + question + self._pairs(query) + hash_ + self._pairs(fragment)

    def _field(self, line: str) -> str:
        name, colon, value = line.partition(":")
        if not colon:
            return self.text(line)
        key = name.strip().lower()
        content = value.strip(" \t\r\n")
        lead = value[: len(value) - len(value.lstrip(" \t\r\n"))]
        if key == "cookie":
            content = ";".join(map(self._cookie, content.split(";")))
        elif key == "set-cookie":
            first, *attributes = content.split(";")
            content = ";".join([self._cookie(first), *map(self._attribute, attributes)])
        elif self.is_secret(key) or key in ("authorization", "proxy-authorization", "x-api-key"):
            scheme, space, rest = content.partition(" ")
            known = space and scheme.lower() in _SCHEMES
            content = f"{scheme} {self.mask(rest.strip())}" if known else self.mask(content)
        elif key in _URL_HEADERS:
            content = self._url(content)
        else:
            content = self.text(content)
        return name + colon + lead + content

    def _cookie(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        if equals:
            return name + equals + self.mask(value.strip())
        lead = pair[: len(pair) - len(pair.lstrip())]
        return lead + self.mask(pair.strip())

    def _attribute(self, attribute: str) -> str:
        name = attribute.partition("=")[0].strip().lower()
        return attribute if name in _COOKIE_ATTRIBUTES else self._cookie(attribute)

    # -- bodies --------------------------------------------------------------------------------------------------

    def _body(self, text: str, kind: str) -> str:
        if kind == "application/x-www-form-urlencoded":
            return self._pairs(text)
        if kind.startswith("multipart/"):
            return self.text(self._parts(text))
        if "json" in kind or kind == "text/event-stream" or text.lstrip()[:1] in ("{", "["):
            redacted = self._json(text)
            return redacted if _is_json(text, kind) else self.text(redacted)
        return self.text(text)

    def _pairs(self, text: str) -> str:
        """``name=value&...``, percent-encoded; ``user[password]`` and ``user.password`` are found by their parts."""
        pieces = []
        for pair in text.split("&"):
            name, equals, value = pair.partition("=")
            parts = re.split(r"[\[\].]", unquote_plus(name))
            if equals and any(map(self.is_secret, parts)):
                pieces.append(name + equals + self.mask(unquote_plus(value)))
            else:
                pieces.append(self._piece(name) + equals + self._piece(value))
        return "&".join(pieces)

    def _piece(self, piece: str) -> str:
        """A percent-encoded piece: kept as it is spelt unless there is a secret in it."""
        plain = unquote_plus(piece) if "%" in piece else piece
        redacted = self.text(plain)
        if redacted == plain:
            return piece
        return redacted.replace(" ", "%20").replace("&", "%26").replace("#", "%23").replace("\n", "%0A")

    def _parts(self, text: str) -> str:
        """multipart/form-data (RFC 7578): the parts of secret names."""
        pieces: list[str] = []
        done = 0
        for found in _PART_NAME.finditer(text):
            if found.start() < done or not self.is_secret(found.group(1)):
                continue
            blank = _BLANK_LINE.search(text, found.end(), found.end() + _PART_HEAD)
            if blank is None:
                continue
            end = text.find("\n--", blank.end())
            end = len(text) if end < 0 else end - (text[end - 1] == "\r")
            pieces += (text[done : blank.end()], self.mask(text[blank.end() : end]))
            done = max(end, blank.end())
        return "".join([*pieces, text[done:]])

    def _json(self, text: str) -> str:
        """JSON, documents in a row, or what was meant to be JSON. Below a secret name every string and number goes."""
        pieces: list[str] = []
        done = 0
        names: dict[str, tuple[bool, str]] = {}  # of this body: they repeat in every element of a list
        secret, named = [False], False  # of the containers around; of the name just read
        for found in _TOKEN.finditer(text):
            token = found.group()
            if token in ("{", "["):
                secret.append(secret[-1] or named)
                named = False
                continue
            if token in ("}", "]", ","):
                if token != "," and len(secret) > 1:
                    secret.pop()
                named = False
                continue
            if token[0] == '"':
                value = _decoded(token)
                if _COLON.match(text, found.end()):
                    if value not in names:
                        names[value] = self.is_secret(value), self.text(value)
                    named, redacted = names[value]
                else:
                    redacted = self.mask(value) if secret[-1] or named else self.text(value)
                    named = False
                if redacted == value:
                    continue
                closed = len(token) > 1 and token[-1] == '"'
                new = json.dumps(redacted) if closed else json.dumps(redacted)[:-1]
            else:
                card = len(token) > 12 and token.lstrip("-").isdigit()  # no fraction is a card number
                redacted = self.mask(token) if secret[-1] or named else self.text(token) if card else token
                named = False
                if redacted == token:
                    continue
                new = json.dumps(redacted)
            pieces += (text[done : found.start()], new)
            done = found.end()
        return "".join([*pieces, text[done:]])

    # -- text ----------------------------------------------------------------------------------------------------

    def _by_name(self, text: str) -> str:
        pieces: list[str] = []
        done = 0
        for found in _NAMED.finditer(text):
            name = found.group("name") or found.group("tag")
            if found.start() < done or not self.is_secret(name.rpartition(".")[2]):
                continue
            start, end = self._value_at(text, found)
            if end > start and not MASK.match(text, start):
                pieces += (text[done:start], self.mask(text[start:end]))
                done = end
        return "".join([*pieces, text[done:]]) if pieces else text

    def _value_at(self, text: str, found: re.Match[str]) -> tuple[int, int]:
        """Where the value of a named secret begins and ends in ``text``; nothing: (0, 0)."""
        at = found.end()
        if found.group("tag"):
            value = _TAGGED.match(text, at)
            assert value is not None  # it may be empty
            return value.span()
        if escaped := _ESCAPED_QUOTE.match(text, at):  # JSON inside a JSON string
            end = text.find(escaped.group(), escaped.end())
            return escaped.end(), len(text) if end < 0 else end
        if quoted := _QUOTED.match(text, at):
            closed = quoted.end() - at > 1 and text[quoted.end() - 1] == text[at]
            return at + 1, quoted.end() - closed
        bare = _BARE.match(text, at)
        if bare and bare.group().lower() in _SCHEMES and (blank := _BLANK.match(text, bare.end())):
            at = blank.end()  # Authorization: Basic dXNl...
            bare = _BARE.match(text, at)
        elif bare and found.group("by") == ":" and not found.group("quote"):
            word = _plain(found.group("name")) in _WORDS
            if word and not any("0" <= letter <= "9" for letter in bare.group()):
                return 0, 0
        return (at, at + len(bare.group().rstrip(",;."))) if bare else (0, 0)


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").replace(" ", "").lower()


def _decoded(token: str) -> str:
    """What a JSON string says; as it stands if it is cut off or malformed."""
    closed = len(token) > 1 and token[-1] == '"'
    raw = token[1:-1] if closed else token[1:]
    if "\\" not in raw:
        return raw
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        return raw


def _is_json(text: str, kind: str) -> bool:
    """Whether it is one whole document, or lines of them: then what it holds was looked at string by string."""
    lines = text.splitlines() if any(word in kind for word in ("ndjson", "jsonl", "json-seq")) else [text]
    try:
        for line in lines:
            if document := line.strip("\ufeff\x1e \t\r\n"):
                json.loads(document, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> str:
    raise ValueError(name)
