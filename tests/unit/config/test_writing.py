"""A filter as TOML: what was set, and the same filter when it is read again."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.config.document import parse_config
from shadowd.config.filter import FilterSpec
from shadowd.config.writing import filter_toml
from shadowd.errors import UsageError

TEXT = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30).filter(str.isprintable)
WORDS = st.text("abcdefghijklmnop", min_size=1, max_size=8)
SECONDS = st.floats(1, 3600) | st.integers(1, 3600) | st.integers(1, 60).map(lambda n: f"{n}m")
SHARES = st.floats(0.001, 0.5) | st.integers(1, 50).map(lambda n: f"{n}%")
INCREASES = SHARES | st.floats(1.0, 100.0) | st.integers(2, 1000).map(lambda n: f"{n}%")
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "ports": st.lists(st.integers(1, 65535), min_size=1, max_size=5),
    "direction": st.sampled_from(["inbound", "outbound"]),
    "client_cidrs": st.lists(st.sampled_from(["10.0.0.0/8", "2001:db8::/32"]), max_size=2),
    "sample": SHARES,
    "methods": st.sampled_from(["safe", "any", ["GET", "POST"]]),
    "match_path": TEXT.map(lambda text: "^/" + "".join(one for one in text if one not in "\\\\()[]{}*+?|")),
    "match_header": st.lists(WORDS.map(lambda word: f'X-{word}: ^"{word}\\.'), max_size=2),
    "set_header": st.lists(st.tuples(WORDS, TEXT).map(lambda pair: f"X-{pair[0]}: {pair[1].strip()}"), max_size=2),
    "set_json": st.lists(TEXT.map(lambda text: f"$.model={json.dumps(text)}"), max_size=1),
    "preserve_host": st.booleans(),
    "allow_extra": st.booleans(),
    "max_lag": SECONDS,
    "timeout": SECONDS,
    "latency_floor": st.floats(1e-6, 60),
    "max_rps": st.none() | st.floats(0.1, 1e6) | st.integers(1, 1000),
    "max_buffered": st.integers(64 << 10, 64 << 30) | st.integers(1, 64).map(lambda n: f"{n}MB"),
    "max_leak": st.integers(1, 1 << 30),
    "max_slowdown": INCREASES | st.lists(INCREASES, min_size=3, max_size=3),
    "max_cpu": INCREASES,
    "twin": SHARES | st.just(0),
    "min_samples": st.integers(0, 10**6),
    "warmup": st.sampled_from(["auto", "off", "10s"]),
    "critical": st.lists(st.sampled_from(["errors", "content", "cpu"]), min_size=1, max_size=3, unique=True),
    "routes": st.lists(WORDS.map(lambda word: f"/{word}/{{id}}"), max_size=2),
    "refusal": st.none() | WORDS,
    "baseline": st.sampled_from(["https://same:1", "http://[2001:db8::1]:80"]),
    "paused": st.booleans(),
    "no_content": st.booleans(),
}  # fmt: skip


@settings(deadline=None)  # a loaded machine is no failure
@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_what_is_written_is_read_as_the_same_filter(given_: dict[str, Any]) -> None:
    spec = FilterSpec.from_wire({"name": "shop", "ports": [80], "to": ["https://next:8443"], **given_})
    text = filter_toml(spec.to_wire())
    (read,) = parse_config(text, "export.toml").filters
    assert read == spec
    (written,) = tomllib.loads(text)["filters"]
    usual = FilterSpec.from_wire({"name": "shop", "ports": [80], "to": ["https://next:8443"]})
    for key in set(written) - {"name", "ports", "targets"}:
        assert getattr(spec, key) != getattr(usual, key), f"{key} has its default"


def test_it_is_written_as_a_person_does() -> None:
    spec = {"name": "shop", "ports": ["8080", "9000-9010"], "timeout": 30, "max_lag": 0.25, "sample": 0.1,
            "max_buffered": 64 << 20, "max_slowdown": [0.1, 0.2, 3.0], "max_leak": 1000, "tolerance": 1 / 3,
            "allow_extra": True, "to": "https://next", "ca": '/etc/"x".pem'}  # fmt: skip
    lines = filter_toml(FilterSpec.from_wire(spec).to_wire()).splitlines()
    for line in (
        'ports = ["8080", "9000-9010"]', 'timeout = "30s"', 'max_lag = "250ms"', 'sample = "10%"',
        'max_buffered = "64MB"', 'max_slowdown = ["10%", "20%", 3.0]', "max_leak = 1000",
        "tolerance = 0.3333333333333333", "allow_extra = true", "[[filters.targets]]", 'url = "https://next:443"',
        'ca = "/etc/\\"x\\".pem"',
    ):  # fmt: skip
        assert line in lines
    assert not [line for line in lines if line.startswith(("role", "methods", "order"))]


def test_a_secret_is_left_out_and_told() -> None:
    spec = FilterSpec.from_wire({
        "name": "shop", "ports": [80], "to": "http://next", "set_header": ["Authorization: Bearer x", "X-Env: shadow"],
    })  # fmt: skip
    text = filter_toml(spec.to_wire(redact=True))
    assert "Bearer" not in text
    assert '# set_header "Authorization: [redacted]" is secret: write its value here' in text
    (read,) = parse_config(text, "").filters
    assert read.set_header == ("X-Env: shadow",)


def test_what_another_version_sent_is_told() -> None:
    with pytest.raises(UsageError, match="this shadowctl cannot read the filter: frobnicate: unknown key"):
        filter_toml({"name": "shop", "ports": ["80"], "targets": ["http://next"], "frobnicate": 1})
