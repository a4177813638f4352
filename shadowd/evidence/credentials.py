"""Credentials in requests, and those that answers hand out or end (sans-IO). Only short hashes leave this module.

Handed out: cookies (``Set-Cookie``), token headers, and, as ``names_token`` tells, members of JSON such as
``access_token``. Carried: cookies, ``Authorization`` without its scheme, ``X-…-Token`` and their like, ``?token=``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b

from shadowd.exchange.exchange import Request, Response

_SET_COOKIE = re.compile(rb"(?im)^set-cookie:[ \t]*([^=;\r\n]{1,128})=([^;\r\n]*)([^\r\n]*)")
_CLEARED = re.compile(rb"(?i);[ \t]*(?:max-age=[ \t]*(?:0|-\d+)\b|expires=[^;]*\b(?:1970|19[0-6]\d|1601|0001)\b)")
_COOKIE = re.compile(rb"(?im)^cookie:[ \t]*([^\r\n]*)")
_TOKEN_HEADER = re.compile(
    rb"(?im)^(authorization|x-[a-z-]{0,40}(?:token|session|api-?key|auth)[a-z-]{0,20}):[ \t]*"
    rb"(?:(?:bearer|token|session|jwt|apikey)[ \t]+)?([^\r\n]{1,4096}+)"
)
_TOKEN_PARAMETER = re.compile(rb"(?i)[?&](?:access_token|token|auth|sid|session(?:_?id)?|api_?key)=([^&#]{6,4096})")
#: Members of an answer that hand out a credential.
_TOKEN_MEMBER = re.compile(r"(?i)(?:token|jwt|session|session_?id|sid|api_?key|bearer|ticket)\Z")
#: A cookie that is short (theme=dark) is a credential only if its name says so; secrets have 64 bits and more (OWASP).
_CREDENTIAL_COOKIE = re.compile(rb"(?i)sess|sid\b|auth|token|jwt|login|user|uid\b|remember|account")
_SECRET = 16
_SELF_CONTAINED = re.compile(rb"eyJ[\w-]+\.[\w-]+\.|(?i:basic|digest|negotiate|aws4-hmac-sha256)[ \t]")
_LEAVES = re.compile(rb"(?i)/(?:[\w-]*(?:log|sign)[_-]?(?:out|off)|revoke)\Z")
_SESSION = re.compile(rb"(?i)/(?:sessions?|tokens?)(?:/[^/]*)?\Z")


def changes(request: Request, response: Response) -> tuple[list[int], list[int]]:
    """(handed out, ended) by the head of ``response``. A cookie that the client has already is not handed out."""
    had = dict(_cookies(request.head))
    given, ended = [], []
    for name, value, attributes in _SET_COOKIE.findall(response.head):
        name, value = name.strip(), value.strip(b' "\t')
        if not value or _CLEARED.search(attributes):
            if name in had:
                ended.append(_hashed_cookie(name, had[name]))
        elif had.get(name) != value and (len(value) >= _SECRET or _CREDENTIAL_COOKIE.search(name)):
            given.append(_hashed_cookie(name, value))
    given += [hashed(value) for _, value in _tokens(response.head)]
    return given, ended


def carried(request: Request) -> list[int]:
    """All that a request may authenticate itself with."""
    head = request.head
    found = [_hashed_cookie(name, value) for name, value in _cookies(head)]
    found += [hashed(value) for _, value in _tokens(head)]
    found += [hashed(value) for value in _TOKEN_PARAMETER.findall(request.target)]
    return found


def opaque(request: Request) -> list[int]:
    """Those that only a store of sessions can tell: no signed token (JWT), no password (Basic), no API key; of cookies
    those that are a session's by their name."""
    found = [
        _hashed_cookie(name, value)
        for name, value in _cookies(request.head)
        if value and _CREDENTIAL_COOKIE.search(name) and not _SELF_CONTAINED.match(value)
    ]
    values = [value for name, value in _tokens(request.head) if b"key" not in name.lower()]
    return found + [hashed(value) for value in values if not _SELF_CONTAINED.match(value)]


def names_token(name: str, value: str) -> bool:
    """Whether a member of an answer hands out a credential."""
    return len(value) >= 6 and _TOKEN_MEMBER.search(name) is not None


def leaves(method: bytes, path: bytes) -> bool:
    """Whether a request ends the session that it belongs to: DELETE /session does, POST /sessions begins one."""
    return _LEAVES.search(path) is not None or (method == b"DELETE" and _SESSION.search(path) is not None)


def hashed(value: bytes) -> int:
    """64 bits: to be found again, not to be read."""
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "big")


def _hashed_cookie(name: bytes, value: bytes) -> int:
    """A long value is a credential under any name: a script may have put the token of an answer into a cookie."""
    return hashed(value) if len(value) >= _SECRET else hashed(name + b"=" + value)


def _tokens(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, value) of headers that bear a token. Blanks behind a value are no part of it (RFC 9110 §5.5)."""
    for name, value in _TOKEN_HEADER.findall(head):
        if stripped := value.strip(b" \t"):
            yield name, stripped


def _cookies(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for header in _COOKIE.findall(head):
        for pair in header.split(b";")[:100]:
            name, separator, value = pair.partition(b"=")
            if separator:
                yield name.strip(), value.strip(b' "\t')
