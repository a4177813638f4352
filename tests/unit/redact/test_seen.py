"""Secrets as real systems send them, and bodies that have none."""

from __future__ import annotations

import base64
import json
import random
import re
from collections import Counter

import pytest

from shadowd.redact.redaction import Redactor
from shadowd.redact.secrets import MASK
from shadowd.runs.recording import Recorder
from tests.unit.redact import seen_in_exchanges, seen_in_requests, seen_in_services, seen_in_systems, seen_in_traffic
from tests.unit.redact.ordinary import bodies
from tests.unit.redact.ordinary_services import CLASSES
from tests.unit.redact.planted import Planted, spellings
from tests.unit.redact.seen_in_systems import Case
from tests.unit.redact.test_planted import example_of, values

SETS = seen_in_systems.SETS | seen_in_services.SETS | seen_in_requests.SETS | seen_in_traffic.SETS
SETS |= seen_in_exchanges.SETS
_ENCODED = re.compile(r"[A-Za-z0-9+/]{12,}")


def exchange(case: Case) -> Planted:
    text = case.text.encode()
    if case.place == "turn":
        return Planted("", "", text, b"+OK\r\n", raw=True)
    target = text if case.place == "target" else b"/a"
    field = text + b"\r\n" if case.place == "head" else b""
    sent = text if case.place == "sent" else b""
    request = b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Type: %b\r\n\r\n" % (target, field, case.kind.encode()) + sent
    field = text + b"\r\n" if case.place == "answer" else b""
    body = text if case.place == "body" else b""
    return Planted(
        "", "", request, b"HTTP/1.1 200 OK\r\n%bContent-Type: %b\r\n\r\n" % (field, case.kind.encode()) + body
    )


def read(shown: object) -> str:
    """All that a reader gets out of it, with what is in base64."""
    text = json.dumps(shown, ensure_ascii=False) + json.dumps(shown)
    inner = []
    for run in _ENCODED.findall(text):
        for start in range(4):
            whole = run[start : len(run) - ((len(run) - start) % 4 == 1)]
            inner.append(base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1"))
    return text + "\n".join(inner)


def left(case: Case, redactor: Redactor) -> list[str]:
    text = read(shown := Recorder(redactor, "node").example(example_of(exchange(case))))
    plain = re.sub(r"\\+[nrt]", " ", json.dumps(shown))
    return [
        secret
        for secret in case.secrets
        if any(spelling in text for spelling in spellings(secret))
        or (len(secret) < 6 and re.search(rf"(?<![A-Za-z0-9]){secret}(?![A-Za-z0-9])", plain))
    ]


@pytest.mark.parametrize("name", sorted(SETS))
def test_what_systems_send_is_gone(name: str) -> None:
    count = sum(len(case.secrets) for case in SETS[name])
    assert count >= 100
    missed = [(case.text[:200], secrets) for case in SETS[name] if (secrets := left(case, Redactor(b"k" * 32)))]
    assert sum(len(secrets) for _, secrets in missed) <= count * 3 // 100, missed


def test_the_secrets_are_where_the_sets_say() -> None:
    """Without redaction each is found: the test above can fail."""

    class Open(Redactor):
        __slots__ = ()

        def mask(self, value: str) -> str:
            return value

    for name in SETS:
        for case in SETS[name]:
            assert left(case, Open(b"k" * 32)) == list(case.secrets), case.text


def test_ordinary_bodies_stay_as_they_are() -> None:
    redactor = Redactor(b"k" * 32)
    seen, masked = Counter[str](), Counter[str]()
    for kind, text in bodies():
        seen[kind] += values(text)
        masked[kind] += len(MASK.findall(redactor.body(text.encode(), kind).decode()))
    assert seen.total() > 10_000
    assert masked.total() < seen.total() / 100
    assert masked["application/json"] < seen["application/json"] / 500


def test_bodies_of_services_stay_as_they_are() -> None:
    """Each of some sixty classes counts as much as the other."""
    assert len(CLASSES) >= 60
    shares = {}
    for of in CLASSES:
        seen = masked = 0
        for number in range(6):
            kind, text = of(random.Random(f"{of.__name__} {number}"))
            seen += values(text)
            masked += len(MASK.findall(Redactor(b"k" * 32).body(text.encode(), kind).decode()))
        shares[of.__name__] = masked / seen
    assert sum(shares.values()) < len(shares) / 100, sorted(shares.items(), key=lambda one: -one[1])[:9]
