"""Requests that carry production's validators (sans-IO).

A client that was given an ETag by production asks with it: the shadow, whose file has another mtime, answers 200 where
production answers 304. Neither is wrong. So such a pair is *not comparable*, unless the validator is the other side's
too: who answers 200 with the very ETag that was asked for has forgotten to look.
"""

from __future__ import annotations

from shadowd.compare.alike import http_time
from shadowd.compare.headers import Headers
from shadowd.exchange.exchange import Response

VALIDATOR = "validator"
_NOT_MODIFIED, _PARTIAL, _FAILED, _RANGE = 304, 206, 412, 416


def not_comparable(production: Response, candidate: Response, request_head: bytes) -> str:
    """Why two answers cannot be compared: ``validator``, or "" if they can. ``request_head``: b"" if it is not known;
    a 304 is then still the answer to a conditional request (RFC 9110 §15.4.5)."""
    p, c = production.status, candidate.status
    if p == c or p < 200 or c < 200:
        return ""
    special, other = (production, candidate) if p > c else (candidate, production)
    status = special.status
    if status not in _SPECIAL or not 200 <= other.status < 300:
        return ""
    if status == _PARTIAL and other.status != 200:
        return ""
    asked = Headers(request_head)
    theirs = Headers(other.head)
    if status == _NOT_MODIFIED:
        return _not_modified(asked, Headers(special.head), theirs, bool(request_head))
    if status == _PARTIAL:
        validator = asked.first("if-range")
        return VALIDATOR if validator and not _is(validator, theirs) else ""
    if status == _RANGE:
        return VALIDATOR if asked.first("range") else ""
    named = asked.all("if-match") or asked.all("if-none-match")
    return VALIDATOR if named or asked.first("if-unmodified-since") else ""


_SPECIAL = frozenset({_NOT_MODIFIED, _PARTIAL, _FAILED, _RANGE})


def _not_modified(asked: Headers, special: Headers, other: Headers, known: bool) -> str:
    """A 304 against a 2xx: whether the validator that made the one is the other's too."""
    tags = asked.all("if-none-match")
    since = asked.first("if-modified-since")
    if tags:  # then If-Modified-Since is ignored (RFC 9110 §13.1.3)
        listed = [tag.strip() for value in tags for tag in value.split(",")]
        own = other.first("etag").removeprefix("W/")
        forgot = "*" in listed or (own and own in {tag.removeprefix("W/") for tag in listed})
        return "" if forgot else VALIDATOR
    if since:
        modified, wanted = http_time(other.first("last-modified")), http_time(since)
        return "" if modified and wanted and modified <= wanted else VALIDATOR
    if known:
        return ""  # nobody asked whether it was modified
    tag = special.first("etag").removeprefix("W/")
    return "" if tag and tag == other.first("etag").removeprefix("W/") else VALIDATOR


def _is(validator: str, answer: Headers) -> bool:
    """Whether a validator is that of the answer: a strong ETag, or a date (RFC 9110 §13.1.5)."""
    validator = validator.strip()
    if validator.startswith(('"', "W/")):
        return validator == answer.first("etag")
    return bool(validator) and http_time(validator) == http_time(answer.first("last-modified"))
