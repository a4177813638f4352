"""Pairs that cannot be compared because the request carried production's validator."""

from __future__ import annotations

import pytest

from shadowd.compare.answers import compare_answers
from shadowd.compare.conditional import VALIDATOR, not_comparable
from shadowd.compare.context import Context
from shadowd.compare.difference import Options
from shadowd.exchange.exchange import Response

OLD, NEW = 'ETag: "a"', 'ETag: "b"'
OLD_DATE, NEW_DATE = (f"Last-Modified: {day} Nov 2026 10:00:00 GMT" for day in ("Thu, 26", "Fri, 27"))


def answer(status: int, *fields: str) -> Response:
    return Response(status, "\r\n".join((f"HTTP/1.1 {status} X", *fields, "", "")).encode(), 0, 0)


def asked(*fields: str) -> bytes:
    return "\r\n".join(("GET /s.css HTTP/1.1", "Host: shop", *fields, "", "")).encode()


CASES = [
    (304, OLD, 200, NEW, asked('If-None-Match: "a"'), True),
    (304, OLD, 200, OLD, asked('If-None-Match: "a"'), False),  # it forgot to look
    (304, OLD, 200, 'ETag: W/"a"', asked('If-None-Match: "x", "a"'), False),
    (304, OLD, 200, NEW, asked("If-None-Match: *"), False),
    (304, OLD, 200, "X: 1", asked('If-None-Match: "a"'), True),
    (304, OLD_DATE, 200, NEW_DATE, asked("If-Modified-Since: Thu, 26 Nov 2026 10:00:00 GMT"), True),
    (304, OLD_DATE, 200, OLD_DATE, asked("If-Modified-Since: Thu, 26 Nov 2026 10:00:00 GMT"), False),
    (304, OLD, 200, NEW, asked(), False),
    (304, OLD, 500, NEW, asked('If-None-Match: "a"'), False),
    (304, OLD, 404, NEW, asked('If-None-Match: "a"'), False),
    (304, OLD, 200, NEW, b"", True),
    (304, OLD, 200, OLD, b"", False),
    (206, OLD, 200, NEW, asked("Range: bytes=0-9", 'If-Range: "a"'), True),
    (206, OLD, 200, OLD, asked("Range: bytes=0-9", 'If-Range: "a"'), False),
    (206, OLD_DATE, 200, NEW_DATE, asked("Range: bytes=0-9", "If-Range: Thu, 26 Nov 2026 10:00:00 GMT"), True),
    (206, OLD, 200, NEW, asked("Range: bytes=0-9"), False),  # ranges are lost
    (206, OLD, 204, NEW, asked("Range: bytes=0-9", 'If-Range: "a"'), False),
    (416, OLD, 206, NEW, asked("Range: bytes=900-"), True),
    (416, OLD, 200, NEW, asked(), False),
    (412, OLD, 200, NEW, asked('If-Match: "b"'), True),
    (412, OLD, 204, NEW, asked("If-Unmodified-Since: Thu, 26 Nov 2026 10:00:00 GMT"), True),
    (412, OLD, 200, NEW, asked(), False),
    (200, OLD, 500, NEW, asked('If-None-Match: "a"'), False),
]


@pytest.mark.parametrize(("status", "fields", "other", "others", "request_head", "expected"), CASES)
def test_either_way_round(
    status: int, fields: str, other: int, others: str, request_head: bytes, expected: bool
) -> None:
    p, c = answer(status, fields), answer(other, others)
    context = Context(request_head)
    for ours, theirs in ((p, c), (c, p)):
        assert not_comparable(ours, theirs, request_head) == (VALIDATOR if expected else "")
        found = [d.where for d in compare_answers(ours, theirs, Options(), context)]
        assert found == ([] if expected else ["status"])


def test_equal_statuses_are_comparable() -> None:
    p, c = answer(304, OLD), answer(304, NEW)
    assert not_comparable(p, c, asked('If-None-Match: "a"')) == ""
    assert [d.path for d in compare_answers(p, c, Options(), Context(asked('If-None-Match: "a"')))] == ["etag"]
