"""Secrets are taken out of whatever is stored or shown (sans-IO).

Each secret becomes ``[redacted:`` + 8 hex digits of HMAC-SHA-256(key, value) + ``]``: equal values stay comparable
(production and shadow sent the same token, or they did not), and without the key nothing can be tried against it.
Four ways lead to a secret: its *place* (a header, a cookie, a command of Redis), its *name* (``shadowd.redact.names``:
in JSON, forms, query strings, XML, tables and text), its *look* (``shadowd.redact.secrets``), and its *echo*: what was
masked by its name is masked where it stands without one. When in doubt a value is redacted: a masked word costs a
reader little, a stored password costs a customer much. ``docs/redaction.md`` says what is found and what is not.

Text is looked through in layers: percent-encoding, character references and backslashes are taken off and the same
rules asked again. A mask is never masked again. All costs are linear in the input: no pattern can be made to backtrack.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote_plus

from shadowd.redact import documents, wires
from shadowd.redact.addresses import DATE, QUERY, acts, given_in, is_word, of_user, segments, signs_in
from shadowd.redact.arguments import called
from shadowd.redact.layers import LAYERED, layers, told_in_events
from shadowd.redact.markup import MARKUP, arguments, columns, marked_up, tables
from shadowd.redact.named import SCHEMES, SIGN, named, speaks, unsigned
from shadowd.redact.names import SecretNames, chosen
from shadowd.redact.patterns import compile_pattern, matches
from shadowd.redact.secrets import MASK, Span, is_token, looks
from shadowd.redact.spans import WORDS, joined, known, parts_of, ungrouped

_COOKIE_ATTRIBUTES = frozenset(
    {"expires", "max-age", "domain", "path", "secure", "httponly", "samesite", "priority", "partitioned"}
)  # RFC 6265 §4.1.2, RFC 6265bis, CHIPS
_URL_HEADERS = frozenset(
    {"referer", "location", "content-location", "origin", "x-original-url", "x-rewrite-url", "x-forwarded-uri",
     "x-original-uri", "x-forwarded-path", "x-request-uri", ":path", "destination", "x-accel-redirect",
     "hx-current-url", "hx-redirect"}
)  # fmt: skip
#: Headers whose long tokens are no secrets: validators, digests and the ids of traces.
_OPEN_HEADERS = frozenset(
    {"etag", "if-none-match", "if-match", "traceparent", "x-request-id", "x-correlation-id", "x-trace-id",
     "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "content-md5", "digest", "content-digest", "repr-digest",
     "x-amzn-trace-id", "cf-ray", "sec-websocket-key", "sec-websocket-accept", "content-security-policy",
     "server-timing", "x-amz-cf-id", "b3"}
)  # fmt: skip

_LINE = re.compile(r"\r\n|\n|\r")
_PART = re.compile(
    r"[;\s]name(?P<coded>\*[0-9]{0,2}\*?)?\s{0,4}=\s{0,4}(?:\"(?P<quoted>[^\"\r\n]{1,256})|'(?P<single>[^'\r\n]{1,256})'"
    r"|(?P<bare>[^\s;\"]{1,256}))",
    re.IGNORECASE,
)
_BLANK_LINE = re.compile(r"\r?\n\r?\n")
_PART_HEAD = 1024  # bytes of a part's header lines after its name: a file name of 255 bytes and a media type fit
_EVENTS = re.compile(
    r"(?:(?:event|id|retry):[^\r\n]{0,400}\r?\n|:[^\r\n]{0,400}\r?\n){0,4}data:"
)  # a stream's first event
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")  # gzip, zstd, zip
_DEPTH = 3  # of texts within texts: an address in a parameter of an address in a JSON string

_ECHO = re.compile(r"[^\s\"'`<>&,;=:()\[\]{}\\|?#/]{6,200}+")
_ECHOES = 4096
_PHRASE = 6  # words: longer values are sentences, whose words are everybody's

_ADDRESS = re.compile(r"(?<=://)[^\s\"'<>?#)]{1,2000}+|(?<![\w/])/[\w.~%@:+-]+/[^\s\"'<>?#)]{1,2000}+")


class Redactor:
    """``key`` makes the hashes. ``names`` and ``patterns`` are the operator's, beside the usual ones: names whose
    values are secret, and RE2 expressions for what is (ValueError for one that is none)."""

    __slots__ = ("_echoes", "_key", "_patterns", "heard", "names", "sealed")

    def __init__(self, key: bytes, names: Sequence[str] = (), patterns: Iterable[str] = ()) -> None:
        self._key = key
        self.names = SecretNames(names)
        self.sealed = SecretNames([*names, "data", "string data"])  # within a Secret of Kubernetes
        self._patterns = [compile_pattern(pattern) for pattern in patterns]
        self._echoes: dict[int, None] = {}  # hashes of values, the oldest first
        self.heard: set[int] | None = None  # while it is a set, hashes of all that is masked go into it

    def mask(self, value: str) -> str:
        """What stands for ``value``. The empty string and what is a mask already stay."""
        if not value or MASK.fullmatch(value):
            return value
        if self.heard is not None:
            words = WORDS.findall(value[:400])
            if len(words) <= _PHRASE:
                self.heard.update(map(hash, words))
                self.heard.update(map(hash, parts_of(words)))
            self.heard.add(hash(value))
        digest = hmac.digest(self._key, value.encode("utf-8", "surrogatepass"), "sha256")
        return f"[redacted:{digest[:4].hex()}]"

    def is_secret(self, name: str) -> bool:
        """Whether a value of that name is redacted."""
        return self.names.secret(name)

    def told(self, value: str) -> str:
        """``mask`` for what was known by its name: from now on it is masked wherever it stands alone."""
        inner = value.strip()
        if 6 <= len(inner) <= 200 and _ECHO.fullmatch(inner) and not DATE.match(inner) and not MASK.search(inner):
            letter = any(c.isalpha() for c in inner)
            if letter and (not inner.replace("-", "").replace("_", "").isalpha() or chosen(inner)):
                if len(self._echoes) >= _ECHOES:
                    del self._echoes[next(iter(self._echoes))]
                self._echoes[hash(inner)] = None
        return self.mask(value)

    # -- text ----------------------------------------------------------------------------------------------------

    def identifier(self, text: str) -> str:
        """The same where an id is expected: what is random and nothing else stays, so that examples can be followed."""
        found = [(start, end, text[start:end]) for start, end in looks(text, tokens=False)]
        if self._patterns:
            found += [(start, end, text[start:end]) for start, end in matches(self._patterns, text)]
        if self._echoes:
            found += self._repeated(text)
        return self._masked(text, found) if found else text

    def text(self, text: str, also: Collection[int] = ()) -> str:
        """Plain text: secrets by name (``password=...``, ``"token": "..."``, ``<secret>...``), by look and by echo;
        ``also``: of what was ``heard`` elsewhere in the same exchange."""
        if len(text) < 4 and not also:
            return text
        found = list(self._spans(text, _DEPTH))
        if self._echoes:
            found += self._repeated(text)
        if also:
            found += known(text, also)
        return self._masked(text, found) if found else text

    def _spans(self, text: str, depth: int) -> Iterator[tuple[int, int, str]]:
        """Start, end, and what the mask is made of."""
        by_name: list[Span] = []
        if SIGN.search(text):
            names = self.sealed if documents.KUBERNETES.search(text) else self.names
            by_name += named(text, names)
            by_name += called(text, names)
        if "<" in text and MARKUP.search(text):
            by_name += marked_up(text, self.names)
            by_name += tables(text, self.names)
            by_name += arguments(text)
        if speaks(text):
            by_name += unsigned(text, self.names)
        if "\n" in text:
            by_name += columns(text, self.names)
        for start, end in by_name:
            value = text[start:end]
            self.told(value)
            yield start, end, value
        if "/" in text:
            for address in _ADDRESS.finditer(text):
                for start, end in segments(address[0], self.names):
                    yield address.start() + start, address.start() + end, address[0][start:end]
                if text[address.end() : address.end() + 1] == "?" and acts(address[0]):
                    query = QUERY.match(text, address.end())
                    for start, end in given_in(text, *query.span()) if query else ():
                        yield start, end, text[start:end]
        for start, end in looks(text):
            yield start, end, text[start:end]
        if self._patterns:
            for start, end in matches(self._patterns, text):
                yield start, end, text[start:end]
        for layer in told_in_events(text) if depth == _DEPTH else ():
            for start, end, value in self._spans(layer.text, 0):
                yield *layer.raw(start, end), value
        if depth and LAYERED.search(text):
            for layer in layers(text):
                for start, end, value in self._spans(layer.text, depth - 1):
                    yield *layer.raw(start, end), value

    def _repeated(self, text: str) -> Iterator[tuple[int, int, str]]:
        for found in _ECHO.finditer(text):
            if hash(found[0]) in self._echoes:
                yield *found.span(), found[0]
            elif hash(trimmed := found[0].rstrip(".!")) in self._echoes:
                yield found.start(), found.start() + len(trimmed), trimmed

    def _masked(self, text: str, found: Sequence[tuple[int, int, str]]) -> str:
        pieces: list[str] = []
        done = 0
        masks = [mask.span() for mask in MASK.finditer(text)] if "[redacted:" in text else []
        for start, end, value in joined(text, found, masks):
            pieces += (text[done:start], self.mask(ungrouped(value)))
            done = end
        return "".join([*pieces, text[done:]])

    # -- heads ---------------------------------------------------------------------------------------------------

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

    def _first_line(self, line: str) -> str:
        if line.startswith("HTTP/"):
            return self.text(line)
        method, space, rest = line.partition(" ")
        target, gap, version = rest.rpartition(" ")
        if not version.startswith("HTTP/"):
            target, gap, version = rest, "", ""
        return method + space + self.url(target) + gap + version

    def url(self, url: str) -> str:
        """A request target or URL: parameters by name, every piece of the path by look and by what stands before it."""
        url, hash_, fragment = url.partition("#")
        path, question, query = url.partition("?")
        if "://" in path:  # the text's rules know addresses with a password
            path = self.text(path)
        path = self._masked(
            path, [(start, end, unquote_plus(path[start:end])) for start, end in segments(path, self.names)]
        )
        path = "/".join(map(self._piece, path.split("/")))
        if query and acts(path):
            given = [(start, end, unquote_plus(query[start:end])) for start, end in given_in(query, 0, len(query))]
            query = self._masked(query, given)
        return path + question + self._pairs(query) + hash_ + self._pairs(fragment)

    def secret_segment(self, parent: str, segment: str) -> bool:
        """Whether a segment of a path is a secret where it stands."""
        if len(segment) < 6 or "{" in segment:
            return False
        path = f"{parent}/{segment}"
        return any(end == len(path) for _, end in segments(path, self.names))

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
        elif key in ("www-authenticate", "proxy-authenticate", "access-control-allow-headers", "vary", "allow"):
            blob = key.endswith("authenticate") and " " in content
            content = self.text(content) if "=" in content or blob else content
        elif self._named(key, content) or key in ("dpop", "authentication-info", "proxy-authentication-info"):
            scheme, space, rest = content.partition(" ")
            known = space and scheme.lower() in SCHEMES
            content = f"{scheme} {self.told(rest.strip())}" if known else self.told(content)
        elif key == "sec-websocket-protocol":  # browsers can send a token in no other field
            content = ",".join(self._protocols(content.split(",")))
        elif key in _URL_HEADERS:
            content = self.url(content)
        else:
            content = self.identifier(content) if key in _OPEN_HEADERS else self.text(content)
        return self._header_name(name) + colon + lead + content

    def _named(self, key: str, content: str) -> bool:
        """Whether a header is secret by its name; ``X-Shop-Access`` and ``X-Fleet-Key`` too."""
        lone = len(content) > 7 and " " not in content
        known = key.endswith("-access") or (key.startswith("x-") and self.names.weak(key))
        return self.names.holds(key, content) or (lone and known)

    def _protocols(self, pieces: list[str]) -> Iterator[str]:
        before = ""
        for piece in pieces:  # ``access_token, …``: its value follows
            name = piece.strip()
            yield piece.replace(name, self.told(name)) if before and self.is_secret(before) else self._protocol(piece)
            before = name

    def _protocol(self, piece: str) -> str:
        name = piece.strip()
        made = len(name) >= 8 and any(c.isdigit() for c in name) and any(c.isalpha() for c in name) and "." not in name
        return piece.replace(name, self.told(name)) if made and not name.startswith("v") else self.text(piece)

    def _header_name(self, name: str) -> str:
        return self._masked(name, [(*span, name[slice(*span)]) for span in looks(name)])

    def _cookie(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        if equals:
            return self._header_name(name) + equals + self.told(value.strip())
        lead = pair[: len(pair) - len(pair.lstrip())]
        return lead + self.told(pair.strip())

    def _attribute(self, attribute: str) -> str:
        name = attribute.partition("=")[0].strip().lower()
        return attribute if name in _COOKIE_ATTRIBUTES else self._cookie(attribute)

    # -- places --------------------------------------------------------------------------------------------------

    def path(self, path: str) -> str:
        """A place (``$.items[*]['api-key']``, a header's name, an endpoint): its words by look, nothing by name."""
        return self._masked(path, [*self._words(path)]) if len(path) > 7 else path

    def _words(self, path: str) -> Iterator[tuple[int, int, str]]:
        for start, end in looks(path):
            yield start, end, path[start:end]
        before = ""
        for found in _STEP.finditer(path) if path.startswith("$") else ():  # $.by_token.…
            group = found.lastindex or 0
            if before and self.is_secret(before) and chosen(found[group]):
                yield *found.span(group), found[group]
            before = found[group]
        if "/" in path:
            for found in _ADDRESS.finditer(path):
                for start, end in segments(found[0], self.names):
                    yield found.start() + start, found.start() + end, found[0][start:end]
        for start, end in matches(self._patterns, path) if self._patterns else ():
            yield start, end, path[start:end]
        if self._echoes:
            yield from self._repeated(path)

    def value(self, path: str, value: str) -> str:
        """What stands at a place: masked whole where a name of the place is secret."""
        if value and any(self.is_secret(name) for name in names_of(path)):
            return self.told(value) if not value.startswith(("{", "[")) else self.mask(value)
        return self.text(value)

    # -- bodies --------------------------------------------------------------------------------------------------

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

    def turn(self, data: bytes, secret: bool = False) -> tuple[bytes, bool]:
        """What one side of a connection said that is no HTTP, and whether the answer to it is secret as a whole;
        ``secret``: this is such an answer."""
        spans = wires.postgres(data, self.names)
        if spans is None:
            spans = wires.mqtt(data)
        if spans is not None:
            text = data.decode("latin-1")
            masked = self._masked(text, [(start, end, text[start:end]) for start, end in spans])
            for start, end in spans:
                self.told(text[start:end])
            text = self.text(masked.encode("latin-1").decode("utf-8", "surrogateescape"))
            return text.encode("utf-8", "surrogateescape"), False
        text = data.decode("utf-8", "surrogateescape")
        found = wires.resp(text, self.names)
        if found is not None:
            spans = found[0] + (wires.replies(text) if secret else [])
            for start, end in spans:
                self.told(text[start:end])
            text = self._masked(text, [(start, end, text[start:end]) for start, end in spans])
            return self.text(text).encode("utf-8", "surrogateescape"), found[1]
        if secret and text[:1] in "+$":
            text = self._masked(text, [(start, end, text[start:end]) for start, end in wires.replies(text)])
        text = self._masked(text, [(start, end, text[start:end]) for start, end in wires.lines(text, self.names)])
        return self._body(text, "").encode("utf-8", "surrogateescape"), False

    def _body(self, text: str, kind: str) -> str:
        if kind == "application/x-www-form-urlencoded":
            return self._pairs(text)
        if not kind and _EVENTS.match(text):
            kind = "text/event-stream"
        if kind.startswith("multipart/"):
            return self.text(self._parts(text))
        if "json" in kind or kind == "text/event-stream" or text.lstrip()[:1] in ("{", "["):
            redacted = documents.redacted(text, self, split="event-stream" in kind or "json" in kind)
            if documents.is_json(text, kind):
                return redacted
            return "".join(piece if whole else self.text(piece) for piece, whole in documents.lines(redacted))
        if wires.resp(text, self.names) is not None:
            return self.turn(text.encode("utf-8", "surrogateescape"))[0].decode("utf-8", "surrogateescape")
        return self.text(text)

    def _pairs(self, text: str) -> str:
        """``name=value&...``, percent-encoded; ``user[password]`` and ``user.password`` are found by their parts."""
        pieces = []
        pairs = text.split("&")
        user, flow = of_user(pairs), signs_in(pairs)
        for pair in pairs:
            name, equals, value = pair.partition("=")
            plain = unquote_plus(name)
            if equals and (
                self.names.holds(plain, unquote_plus(value))
                or (plain in user and not (value.isdigit() or is_word(value)))
            ):
                pieces.append(self._piece(name, pairs=False) + equals + self.told(unquote_plus(value)))
            elif equals and self.names.secret_parameter(plain) and (flow or not is_word(value)):
                pieces.append(name + equals + self.mask(unquote_plus(value)))
            elif equals and is_token(unquote_plus(value)):
                pieces.append(self._piece(name, pairs=False) + equals + self.mask(unquote_plus(value)))
            else:
                pieces.append(self._piece(name, pairs=False) + equals + self._piece(value))
        return "&".join(pieces)

    def _piece(self, piece: str, pairs: bool = True) -> str:
        """A percent-encoded piece: kept as it is spelt unless there is a secret in it."""
        plain = unquote_plus(piece) if "%" in piece or "+" in piece else piece
        if pairs and plain.lstrip()[:1] in ("{", "["):
            redacted = documents.redacted(plain, self)
            redacted = redacted if documents.is_json(plain, "") else self.text(redacted)
        else:
            redacted = self.text(plain)
        if redacted == plain:
            return piece
        return redacted.replace(" ", "%20").replace("&", "%26").replace("#", "%23").replace("\n", "%0A")

    def _parts(self, text: str) -> str:
        """multipart/form-data (RFC 7578): the parts of secret names (``name*=``: RFC 5987)."""
        pieces: list[str] = []
        done = 0
        for found in _PART.finditer(text):
            name = found["quoted"] or found["single"] or found["bare"] or ""
            if found["coded"]:
                name = unquote_plus(name.rpartition("'")[2])
            plain = unquote_plus(name)
            if found.start() < done or not (self.names.secret_parameter(plain) or self.names.weak(plain)):
                continue
            blank = _BLANK_LINE.search(text, found.end(), found.end() + _PART_HEAD)
            if blank is None:
                continue
            end = text.find("\n--", blank.end())
            end = len(text) if end < 0 else end - (text[end - 1] == "\r")
            value = text[blank.end() : end]
            if not (self.names.holds(plain, value) or (self.names.secret_parameter(plain) and not is_word(value))):
                continue
            pieces += (text[done : blank.end()], self.told(value))
            done = max(end, blank.end())
        return "".join([*pieces, text[done:]])

    def every(self, value: Any) -> Any:
        """The same structure with each text as a place: what people are told of a run, keys included."""
        if isinstance(value, str):
            return self.path(value)
        if isinstance(value, dict):
            return {self.every(key): self.every(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.every(item) for item in value]
        return value


_STEP = re.compile(r"\['((?:[^'\\]|\\.)*+)'\]|\[\"((?:[^\"\\]|\\.)*+)\"\]|([^.\[\]$;*\s/]+)")


def names_of(path: str) -> list[str]:
    """The names in a place: ``$.user['api-key'].items[*]`` → user, api-key, items."""
    return [next(filter(None, found.groups()), "") for found in _STEP.finditer(path)]
