"""Planted secrets through everything that is kept and shown of an exchange: 97 % and more are gone, and little else."""

from __future__ import annotations

import functools
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shadowd.demo import shop
from shadowd.redact.redaction import Redactor
from shadowd.redact.secrets import MASK
from shadowd.runs.recording import Recorder
from tests.unit.redact.planted import Planted, corpus, hexed, key, shapes, spellings

SSE = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "sse"


def example_of(planted: Planted) -> Any:
    """As the examiner keeps it, the same answer on both sides."""
    example = type("Kept", (), {})()
    example.group, example.endpoint, example.time = "0123456789abcdef", "GET /a", 1
    example.production_failure = example.failure = ""
    example.values = ("", "")
    if planted.raw:
        example.request = (b"", b"", b"", planted.request)
        example.production = example.candidate = (0, b"", planted.response)
        return example
    head, _, body = planted.request.partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
    example.request = (method, target, head + b"\r\n\r\n", body)
    head, _, body = planted.response.partition(b"\r\n\r\n")
    example.production = example.candidate = (200, head + b"\r\n\r\n", body)
    return example


def leaked(planted: Planted, recorder: Recorder) -> bool:
    shown = recorder.example(example_of(planted))
    texts = json.dumps(shown, ensure_ascii=False) + json.dumps(shown)
    return any(spelling in texts for spelling in spellings(planted.secret))


def test_97_of_100_planted_secrets_are_gone_from_examples() -> None:
    assert len(shapes()) >= 60
    everything = list(corpus(300))
    assert len(everything) == 300
    left = Counter(one.shape for one in everything if leaked(one, Recorder(Redactor(b"k" * 32), "node")))
    assert sum(left.values()) <= 9, left  # 3 %


def test_the_corpus_has_its_secrets_where_it_says() -> None:
    """Without redaction each is found: the test above can fail."""

    class Open(Redactor):
        __slots__ = ()

        def mask(self, value: str) -> str:
            return value

    found = [leaked(one, Recorder(Open(b"k" * 32), "node")) for one in corpus(300)]
    assert sum(found) >= 285  # parts of a stream show theirs in pieces


def values(text: str) -> int:
    return len(re.findall(r"[^\s<>\"'=&;,:{}()\[\]]+", text))


def test_the_answers_of_the_demo_stay_as_they_are() -> None:
    redactor = Redactor(b"k" * 32)
    seen = masked = 0
    served = shop.Shop(1)
    targets = [f"/{kind}{n}" for n in range(1, 100) for kind in ("items/", "orders/", "items?page=", "search?q=bolt")]
    for target in [*targets, "/stream", "/report", "/health", "/nothing"]:
        reply = served.answer(shop.Request("GET", target, "HTTP/1.1", {}, b""))
        body = reply.body + b"".join(reply.parts)
        redacted = redactor.body(body, reply.content_type).decode()
        seen += values(body.decode())
        masked += len(MASK.findall(redacted))
    assert seen > 1000
    assert masked < seen / 100


@pytest.mark.skipif(not SSE.is_dir(), reason="the reference traffic is not beside this clone")
def test_recorded_answers_of_models_stay_as_they_are() -> None:
    redactor = Redactor(b"k" * 32)
    seen = masked = 0
    for file in sorted(SSE.glob("*.sse")):
        raw = file.read_bytes()
        redacted = redactor.body(raw, "text/event-stream").decode(errors="replace")
        seen += values(raw.decode(errors="replace"))
        masked += len(MASK.findall(redacted))
    assert seen > 10_000
    assert masked < seen / 100


# -- an oracle: the rules of detect-secrets ----------------------------------------------------------------------------

TOKENS = {
    "artifactory": lambda d: "AKC" + key(d, 40),
    "aws": lambda d: "ASIA" + key(d, 16).upper(),
    "discord": lambda d: f"M{key(d, 23)}.{key(d, 6)}.{key(d, 27)}",
    "github": lambda d: "ghs_" + key(d, 36),
    "gitlab": lambda d: d.choice(["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "GR1348941"]) + key(d, 40),
    "mailchimp": lambda d: hexed(d, 32) + "-us12",
    "openai": lambda d: f"sk-{key(d, 20)}T3BlbkFJ{key(d, 20)}",
    "pypi": lambda d: "pypi-AgEIcHlwaS5vcmc" + key(d, 80),
    "sendgrid": lambda d: f"SG.{key(d, 22)}.{key(d, 43)}",
    "slack": lambda d: f"xoxp-{d.randint(10**9, 10**10)}-{d.randint(10**9, 10**10)}-{hexed(d, 24)}",
    "square": lambda d: "sq0csp-" + key(d, 43),
    "stripe": lambda d: "rk_live_" + key(d, 24),
    "telegram": lambda d: f"{d.randint(10**8, 10**9)}:AAF{key(d, 32)}",
    "twilio": lambda d: d.choice(["AC", "SK"]) + hexed(d, 32),
}


@pytest.mark.parametrize("maker", TOKENS)
@pytest.mark.parametrize("place", ["a {} b", '"{}"', "/x/{}/y", "error: {}.", "<p>{}</p>", "a%20{}%22", "[{}]"])
def test_tokens_of_makers_are_found_wherever_they_stand(maker: str, place: str) -> None:
    for number in range(20):
        token = TOKENS[maker](random.Random(f"{maker} {place} {number}"))
        redacted = Redactor(b"k" * 32).text(place.format(token))
        assert token not in redacted
        assert not found_by_detect_secrets(redacted)


def found_by_detect_secrets(text: str) -> set[str]:
    """What its rules for tokens see; those for words around (``password = …``) see masks too."""
    return {one for plugin in plugins() for one in plugin.analyze_string(text) if not MASK.search(one)}


@functools.cache
def plugins() -> list[Any]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    names = get_mapping_from_secret_type_to_class()
    words = (
        "Public IP (ipv4)",
        "Secret Keyword",
        "Base64 High Entropy String",
        "Hex High Entropy String",
        "Private Key",
    )
    return [names[name]() for name in names if name not in words]


def test_what_detect_secrets_finds_in_the_corpus_is_gone() -> None:
    seen = 0
    for planted in corpus(270):
        text = (planted.request + planted.response).decode("latin-1")
        found = {one for one in found_by_detect_secrets(text) if len(one) > 7}
        shown = json.dumps(Recorder(Redactor(b"k" * 32), "node").example(example_of(planted)), ensure_ascii=False)
        seen += len(found)
        assert not [one for one in found if one in shown], planted.shape
    assert seen > 20
