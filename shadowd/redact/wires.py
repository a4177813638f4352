"""Secrets in protocols that are no HTTP: Redis' (RESP), PostgreSQL's, and those of lines (sans-IO).

A turn is what one side said until the other spoke. What cannot be read as one of these is left to the rules for text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from shadowd.redact.arguments import bound
from shadowd.redact.names import SecretNames
from shadowd.redact.secrets import Span, is_token

# --- RESP (redis.io/docs/reference/protocol-spec) ---------------------------------------------------------------------

_ARRAY = re.compile(r"[*>~%]([0-9]{1,7})\r\n(?=[$*+:_#,(%~=>-])")
_BULK = re.compile(r"[$=]([0-9]{1,9})\r\n")
_SIMPLE = re.compile(r"[+:_#,(-]([^\r\n]*+)\r\n")
_KEYED = frozenset(
    {"set", "setnx", "getset", "append", "setex", "psetex", "setrange", "hset", "hmset", "hsetnx", "lpush", "rpush",
     "lpushx", "rpushx", "linsert", "lset", "sadd", "zadd", "mset", "msetnx", "json.set", "json.mset", "publish",
     "spublish", "xadd", "pfadd", "restore", "getex", "hincrby"}
)  # fmt: skip
_READERS = frozenset(
    {"get", "getdel", "getex", "getset", "getrange", "mget", "hget", "hmget", "hgetall", "hvals", "lrange", "lindex",
     "lpop", "rpop", "smembers", "spop", "srandmember", "zrange", "dump", "json.get", "xrange"}
)  # fmt: skip
_OPTIONS = re.compile(
    r"(?i:NX|XX|GET|KEEPTTL|EX|PX|EXAT|PXAT|CH|INCR|GT|LT|\$|\*|MAXLEN|[0-9]{1,13}|BEFORE|AFTER|\.)\Z"
)


def resp(text: str, names: SecretNames) -> tuple[list[Span], bool] | None:
    """Secrets in commands or replies, and whether the replies to them are secret as a whole; None: it is not RESP."""
    if not (_ARRAY.match(text) or _BULK.match(text)):
        return None
    spans: list[Span] = []
    reply = False
    at = 0
    while at < len(text):
        array = _ARRAY.match(text, at)
        if array is None:
            step = _item(text, at)
            if step is None:
                break
            at = step[1]
            continue
        at = array.end()
        items: list[Span] = []
        for _ in range(int(array[1]) * (2 if text[array.start()] == "%" else 1)):
            inner = _ARRAY.match(text, at)
            if inner is not None:  # its items are looked at as their own command, and neighbours here
                break
            step = _item(text, at)
            if step is None:
                break
            items.append(step[0])
            at = step[1]
        found, secret = _command(text, items, names)
        spans += found
        reply = reply or secret
    return spans, reply


def _item(text: str, at: int) -> tuple[Span, int] | None:
    """Where a bulk string's or a simple one's content is, and where the next item begins; cut off: to the end."""
    if bulk := _BULK.match(text, at):
        start = bulk.end()
        end = start + int(bulk[1])
        if text[end : end + 2] != "\r\n":  # its length is in bytes, or it was cut off
            newline = text.find("\r\n", start)
            size = len(text[start:end].encode("utf-8", "surrogateescape"))
            if size != int(bulk[1]) and newline >= 0:
                end = newline
            elif newline < 0 or newline > end:
                end = min(end, len(text)) if newline < 0 else newline
        return (start, min(end, len(text))), min(end + 2, len(text))
    if simple := _SIMPLE.match(text, at):
        return simple.span(1), simple.end()
    return None


def _command(text: str, items: Sequence[Span], names: SecretNames) -> tuple[list[Span], bool]:
    words = [text[start:end] for start, end in items]
    if not words:
        return [], False
    verb = words[0].lower()
    secret: set[int] = set()
    if verb in ("auth", "pass"):
        secret.update(range(1, len(words)) if len(words) < 3 else range(2, len(words)))
    timed = verb in ("setex", "psetex", "setrange")  # a number stands between key and value
    for place, word in enumerate(words):
        low = word.lower()
        if low in ("auth", "auth2") and place and verb in ("hello", "migrate"):
            secret.update(range(place + 1, min(place + 3, len(words))))
        if verb == "acl" and place > 2 and word[:1] in "><#!":
            secret.add(place)
        if (
            timed < place < len(words) - 1
            and len(word) < 160
            and "\n" not in word
            and names.holds(word, words[place + 1])
        ):
            secret.add(place + 1)
        if place == 0 and len(words) == 2 and names.secret(word) and verb not in ("auth",):
            secret.add(1)
        if place == 0 and len(words) > 2 and len(words) % 2 == 0 and names.secret(word):
            secret.add(1)
    spans: list[Span] = []
    keyed = verb in _KEYED and len(words) > 1
    if keyed and secret_key(words[1], names) and verb not in ("mset", "msetnx", "xadd"):
        first = 3 if timed else 2
        secret.update(place for place in range(first, len(words)) if place == first or not _OPTIONS.match(words[place]))
    if verb in ("mset", "msetnx"):
        secret.update(place + 1 for place in range(1, len(words) - 1, 2) if secret_key(words[place], names))
    if keyed or verb in _READERS:
        for (start, _), word in zip(items[1:2], words[1:2], strict=True):
            spans += _in_key(word, start, names)
    spans += [items[place] for place in sorted(secret)]
    asked = verb in _READERS and any(secret_key(word, names) for word in words[1:])
    return spans, asked or (verb == "config" and any(names.secret(word) for word in words[2:3]))


def secret_key(key: str, names: SecretNames) -> bool:
    """``session:42``, ``user:7:token``."""
    parts = [part for part in re.split(r"[:/|]", key[:256]) if part]
    return any(names.secret(part) or part.lower() in ("sessions", "session") for part in parts)


def _in_key(key: str, at: int, names: SecretNames) -> Iterator[Span]:
    """The part of a key that is itself the secret: ``session:4f9a…``."""
    before = ""
    for found in re.finditer(r"[^:/|]+", key[:512]):
        piece = found[0]
        random = any(c.isdigit() for c in piece) and any(c.isalpha() for c in piece) and len(piece) >= 6
        if (before and (names.secret(before) or before.lower() == "sessions") and random) or is_token(piece):
            yield at + found.start(), at + found.end()
        before = piece


def replies(text: str) -> list[Span]:
    """All that a reply says, where the question was for a secret."""
    spans: list[Span] = []
    at = 0
    while at < len(text):
        if array := _ARRAY.match(text, at):
            at = array.end()
            continue
        step = _item(text, at)
        if step is None:
            break
        (start, end), next_ = step
        if text[at] in "$=+" and end > start and text[start:end] != "OK":
            spans.append((start, end))
        at = max(next_, at + 1)
    return spans


# --- PostgreSQL (documentation, 55.7 message formats) -----------------------------------------------------------------

_TYPES = frozenset(b"RSZTDCENKQPBDEHSXpdcftnsIAVGWv123")


def postgres(data: bytes, names: SecretNames) -> list[tuple[int, int]] | None:
    """Spans of *bytes* that are secret in a turn; None if it is not PostgreSQL's."""
    at = 0
    spans: list[tuple[int, int]] = []
    size = int.from_bytes(data[:4], "big")
    if len(data) >= 8 and data[4:6] == b"\0\3" and 8 <= size <= 10_000:  # StartupMessage, version 3
        end = min(size, len(data))
        spans += _parameters(data, 8, end, names)
        at = end
    secret_columns: set[int] = set()
    statements: dict[bytes, set[int]] = {}  # of this turn, by their names: places of secrets
    messages = 0
    while at + 5 <= len(data):
        kind, length = data[at], int.from_bytes(data[at + 1 : at + 5], "big")
        if kind not in _TYPES or not 4 <= length <= 1 << 28:
            break
        start, end = at + 5, min(at + 1 + length, len(data))
        whole = at + 1 + length <= len(data)
        if kind == ord("p") and (whole or messages or spans):
            spans += _password(data, start, end)
        elif kind == ord("K") and length == 12:
            spans.append((start + 4, end))  # the key that cancels queries
        elif kind == ord("R") and end - start > 4 and data[start + 3] in (5, 11, 12):
            spans.append((start + 4, end))
        elif kind == ord("S") and end > start:
            spans += _parameters(data, start, end, names)
        elif kind == ord("T"):
            secret_columns = _described(data, start, end, names)
        elif kind == ord("P"):
            name, statement = _two(data, start, end)
            statements[name] = set(bound(statement.decode("utf-8", "replace"), names)) if b"$" in statement else set()
        elif kind == ord("B"):
            spans += _bound(data, start, end, statements)
        elif kind == ord("D") and secret_columns:
            spans += _row(data, start, end, secret_columns)
        messages += 1
        at += 1 + length
    if not messages and not at:
        return None
    if messages == 1 and at != len(data) and data[0] not in b"p" and not spans:
        return None
    return spans


def _parameters(data: bytes, start: int, end: int, names: SecretNames) -> Iterator[tuple[int, int]]:
    """``name\\0value\\0`` …"""
    while start < end:
        name_end = data.find(b"\0", start, end)
        if name_end <= start:
            return
        value_end = data.find(b"\0", name_end + 1, end)
        value_end = end if value_end < 0 else value_end
        if names.secret(data[start:name_end].decode("latin-1")):
            yield name_end + 1, value_end
        start = value_end + 1


def _password(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """PasswordMessage, SASLInitialResponse (the mechanism's name stays), SASLResponse."""
    if data.startswith(b"SCRAM-", start):
        zero = data.find(b"\0", start, end)
        start = end if zero < 0 else zero + 5
    stop = end - 1 if data[end - 1 : end] == b"\0" else end
    if stop > start:
        yield start, stop


def _described(data: bytes, start: int, end: int, names: SecretNames) -> set[int]:
    secret: set[int] = set()
    count = int.from_bytes(data[start : start + 2], "big")
    at = start + 2
    for place in range(min(count, 1664)):  # columns of a table at most
        zero = data.find(b"\0", at, end)
        if zero < 0:
            break
        if names.secret(data[at:zero].decode("utf-8", "replace")):
            secret.add(place)
        at = zero + 19
    return secret


def _row(data: bytes, start: int, end: int, secret: set[int]) -> Iterator[tuple[int, int]]:
    count = int.from_bytes(data[start : start + 2], "big")
    at = start + 2
    for place in range(min(count, 1664)):
        if at + 4 > end:
            return
        length = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        if length > 0:
            if place in secret:
                yield at, min(at + length, end)
            at += length


def _two(data: bytes, start: int, end: int) -> tuple[bytes, bytes]:
    """The two strings that Parse and Bind begin with."""
    first, _, rest = data[start:end].partition(b"\0")
    return first, rest.partition(b"\0")[0]


def _bound(data: bytes, start: int, end: int, statements: dict[bytes, set[int]]) -> Iterator[tuple[int, int]]:
    """Bind: the values of parameters that the statement puts at a secret's place."""
    portal, name = _two(data, start, end)
    secret = statements.get(name)
    if not secret:
        return
    at = start + len(portal) + len(name) + 2
    at += 2 + 2 * int.from_bytes(data[at : at + 2], "big")
    yield from _row(data, at, end, secret)


# --- others -----------------------------------------------------------------------------------------------------------

_INLINE = re.compile(
    r"(?im)^(?:auth|hello [23] auth)[ \t]+([^\r\n]+)|^(?:pass|login[ \t]+\S+)[ \t]+([^\r\n]+)"
    r"|^config[ \t]+set[ \t]+\S{0,64}(?:pass|auth)[ \t]+([^\r\n]+)"
)
# Inline commands of Redis, and memcached's (doc/protocol.txt): the value is on the line, or on the next.
_KEY_LINE = re.compile(
    r"(?im)^(?:set|add|replace|prepend|append|cas|VALUE) (?P<name>\S{1,250}+)(?: [0-9]{1,20}){2,4}(?: noreply)?\r\n"
    r"(?P<below>[^\r\n]{1,2000}+)"
    r"|^(?:set|setnx|getset|append|setex|psetex|hset|hmset|lpush|rpush|sadd|publish)[ \t]+(?P<key>\S{1,250}+)[ \t]+"
    r"(?P<value>[^\r\n]{1,2000}+)"
)
_LITERALS = re.compile(
    r"(?im)^\S{1,32} LOGIN (?:\{[0-9]{1,4}\+?\}\r\n)?\S{1,128} \{[0-9]{1,4}\+?\}\r\n([^\r\n]{1,400}+)"
)
_LONE = re.compile(r"[A-Za-z0-9+/]{8,400}={0,2}\r?\n?\Z")
_PLAIN = re.compile(r"\0[\x21-\x7e]{1,128}\0([\x21-\x7e]{1,128})")  # RFC 4616, in AMQP, Kafka, XMPP


def lines(text: str, names: SecretNames) -> Iterator[Span]:
    """Commands in lower case, values of keys that say that they are secret, an answer to a server's question in base64,
    and SASL PLAIN."""
    for found in _KEY_LINE.finditer(text):
        if secret_key(found["name"] or found["key"], names):
            yield found.span("below" if found["name"] else "value")
    yield from (found.span(1) for found in _LITERALS.finditer(text))  # RFC 9051 §4.3
    for found in _INLINE.finditer(text):
        yield next(found.span(n) for n in (1, 2, 3) if found[n] is not None)
    if _LONE.match(text) and len(text.strip()) % 4 == 0 and _is_base64(text.strip()):
        yield 0, len(text.strip())
    for found in _PLAIN.finditer(text):
        yield found.span(1)


def _is_base64(text: str) -> bool:
    return text.endswith("=") or (any(c.isdigit() for c in text) and any(c.isupper() for c in text))


def mqtt(data: bytes) -> list[tuple[int, int]] | None:
    """The password of a CONNECT (MQTT 3.1.1 §3.1, 5.0 §3.1); None if it is none."""
    if data[:1] != b"\x10" or not any(name in data[:16] for name in (b"\0\x04MQTT", b"\0\x06MQIsdp")):
        return None
    at = data.index(b"M") + (4 if b"MQTT" in data[:16] else 6)
    if at + 4 > len(data):
        return []
    version, flags = data[at], data[at + 1]
    at += 4
    if version == 5 and at < len(data):
        at += 1 + data[at]
    fields: list[tuple[int, int]] = []
    for _ in range(1 + (2 if flags & 4 else 0) + bool(flags & 0x80) + bool(flags & 0x40)):
        if at + 2 > len(data):
            break
        length = int.from_bytes(data[at : at + 2], "big")
        fields.append((at + 2, min(at + 2 + length, len(data))))
        at += 2 + length
    return fields[-1:] if flags & 0x40 else []
