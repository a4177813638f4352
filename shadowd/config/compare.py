"""How a filter's answers are compared and judged, as the operator writes it: part of ``FilterSpec``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from shadowd.config.fields import (
    MAX_PATTERN,
    Strict,
    absolute_path,
    boolean,
    duration,
    escaped,
    fault,
    header_name,
    integer,
    optional,
    shown,
    size,
    text,
    texts,
)
from shadowd.config.patterns import tried
from shadowd.exchange.patterns import PatternError
from shadowd.talk.citations import steps_of

#: The judges, as they stand in verdicts.
JUDGES = ("errors", "content", "latency", "slow", "memory", "cpu", "capacity", "restarts")
_PRICE = re.compile(r"[^=,\s]{1,100}=\d{1,9}(?:\.\d{1,9})?,\d{1,9}(?:\.\d{1,9})?")
_ROUTE = re.compile(r"(?:[A-Z]+ )?/[^\s?#]*")


def share(low: float, high: float) -> Any:
    """A parser of a share: ``0.001`` or ``"0.1%"``; the bounds belong to it."""

    def parse(value: object) -> float:
        number = value
        if isinstance(value, str):
            percent = value.strip().endswith("%")
            try:
                number = float(value.strip().removesuffix("%")) / (100 if percent else 1)
            except ValueError:
                number = None
        if not isinstance(number, (int, float)) or isinstance(number, bool) or number != number:
            raise fault(f"{shown(value)} is not a share", "give a number such as 0.001, or a percentage such as 0.1%")
        if not low <= number <= high:
            raise fault(f"{shown(value)} is out of range", f"give {low * 100:g}% to {high * 100:g}%")
        return float(number)

    return parse


def _ask_percent(value: object) -> None:
    """Margins above 1 mean something, and are hardly what a person means who writes ``20``. The normal form is a float,
    and goes through."""
    written = value.strip() if isinstance(value, str) else str(value) if type(value) is int else ""
    if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", written) and (number := float(written)) > 1:
        raise fault(f"{number:g} % or {number * 100:g} %?", f"write {number:g}% or {number * 100:g}%")


def _increase(low: float, high: float) -> Any:
    """A share that may be above 1, told by its percent sign then."""
    parse = share(low, high)

    def checked(value: object) -> float:
        _ask_percent(value)
        found: float = parse(value)
        return found

    return checked


def _slowdowns(value: object) -> tuple[float, ...]:
    """Median, p90 and p99; one value is for all three."""
    given = value.split(",") if isinstance(value, str) else value
    items = list(given) if isinstance(given, (list, tuple)) else [given]
    if len(items) not in (1, 3):
        raise fault(f"{shown(value)} has {len(items)} values", "give one, or three: median, p90 and p99 as 10%,15%,25%")
    for item in items:
        _ask_percent(item)
    parse = share(0.001, 100)  # under 0.1 % no amount of traffic decides; a hundredfold slowdown is no release
    parsed = [parse(item) for item in items]
    return tuple(parsed * 3 if len(parsed) == 1 else parsed)


def _routes(value: object) -> tuple[str, ...]:
    routes = tuple(texts(value))
    for route in routes:
        if not _ROUTE.fullmatch(route):
            raise fault(f"{shown(route)} is not a route", "such as /users/{id} or 'GET /users/{id}'")
    return routes


def _judges(value: object) -> tuple[str, ...]:
    names = tuple(part.strip() for item in texts(value) for part in item.split(","))
    for name in names:
        if name not in JUDGES:
            raise fault(f"{shown(name)} is not a judge", f"one of {', '.join(JUDGES)}")
    return names


def _headers(value: object) -> tuple[str, ...]:
    return tuple(header_name(name) for name in texts(value))


def _paths(value: object) -> tuple[str, ...]:
    paths = tuple(texts(value))
    for path in paths:
        if path != "*" and not path.startswith("$"):
            raise fault(f"{shown(path)} is not a JSON path", "such as $.items[*].tags, or * for all")
    return paths


def _prices(value: object) -> tuple[str, ...]:
    given = tuple(texts(value))
    for one in given:
        if not _PRICE.fullmatch(one):
            raise fault(f"{shown(one)} is not a price", "such as 'gpt-4o=2.5,10': input and output, per million tokens")
    return given


def _citations(value: object) -> str:
    path = text(value)
    try:
        steps_of(path)
    except ValueError as error:
        raise fault(f"{shown(path)} is not a JSON path: {error}", "such as $.sources[*].id") from None
    return path


def _refusal(value: object) -> str:
    own = text(value)
    if len(own) > MAX_PATTERN:
        raise fault(f"{shown(own)} is longer than {MAX_PATTERN} characters", "name the openings alone")
    try:
        tried(own.encode(), ignore_case=True, utf8=True)
    except (PatternError, UnicodeEncodeError) as error:
        raise fault(
            f"{shown(own)} is not a regular expression: {escaped(str(error))}", "such as '^our policy'"
        ) from None
    return own


def _leak(value: object) -> int:
    """Bytes a request; fractions of a unit are usual here: ``0.25KB``."""
    found = (
        re.fullmatch(r"([0-9]{0,6}\.[0-9]{1,6})\s*([kKmM])i?[bB]?", value.strip()) if isinstance(value, str) else None
    )
    if found:
        value = round(float(found[1]) * (1 << {"k": 10, "m": 20}[found[2].lower()]))
    return size(1, 1 << 30)(value)


def _warmup(value: object) -> str:
    """``auto``, ``off`` or a duration, kept as it was written."""
    if value in ("auto", "off"):
        return str(value)
    seconds = duration(0.001, 3600)(value)
    return f"{seconds:g}s"


def _url(value: object) -> str:
    url = text(value)
    if not re.fullmatch(r"http://[^\s/?#@]+(?:/[^\s#]*)?", url):
        raise fault(f"{shown(url)} is not a metrics address", "such as http://127.0.0.1:9100/metrics")
    return url


class CompareFields(Strict):
    """The fields of a filter that say how its candidates are judged; ``shadowctl filter add --help`` explains each."""

    compare: Annotated[bool, BeforeValidator(boolean)] = True
    prices: Annotated[tuple[str, ...], BeforeValidator(_prices)] = ()
    citations: Annotated[str | None, BeforeValidator(optional(_citations))] = None
    refusal: Annotated[str | None, BeforeValidator(optional(_refusal))] = None
    similarity: Annotated[str | None, BeforeValidator(optional(absolute_path))] = None
    descriptors: Annotated[str | None, BeforeValidator(optional(absolute_path))] = None
    no_content: Annotated[bool, BeforeValidator(boolean)] = False
    twin: Annotated[float, BeforeValidator(share(0, 0.5))] = 0.05
    routes: Annotated[tuple[str, ...], BeforeValidator(_routes)] = ()
    run_key: Annotated[str | None, BeforeValidator(optional(lambda value: header_name(text(value))))] = None
    max_error_increase: Annotated[float, BeforeValidator(share(1e-5, 1))] = 0.001
    max_diff_share: Annotated[float, BeforeValidator(share(1e-5, 1))] = 0.001
    max_slowdown: Annotated[tuple[float, ...], BeforeValidator(_slowdowns)] = (0.10, 0.15, 0.25)
    # under 1 µs there is no latency to speak of; over a minute nothing is ever slow
    latency_floor: Annotated[float, BeforeValidator(duration(1e-6, 60))] = 0.001
    max_slow_increase: Annotated[float, BeforeValidator(share(1e-5, 1))] = 0.005
    slow_floor: Annotated[float, BeforeValidator(duration(1e-6, 600))] = 0.05
    max_decision_increase: Annotated[float, BeforeValidator(share(1e-5, 1))] = 0.01
    max_token_increase: Annotated[float, BeforeValidator(_increase(0.001, 100))] = 0.10
    max_token_time_increase: Annotated[float, BeforeValidator(_increase(0.001, 100))] = 0.15
    max_cost_increase: Annotated[float, BeforeValidator(_increase(0.001, 100))] = 0.10
    max_similarity_loss: Annotated[float, BeforeValidator(share(0.001, 1))] = 0.05
    max_leak: Annotated[int, BeforeValidator(_leak)] = 256
    max_cpu: Annotated[float, BeforeValidator(_increase(0.001, 100))] = 0.25
    min_coverage: Annotated[float, BeforeValidator(share(0, 1))] = 0.95
    min_samples: Annotated[int, BeforeValidator(integer(0, 10**9))] = 0
    # under a second no stretch of the run says anything; over a day nobody waits
    min_span: Annotated[float, BeforeValidator(duration(1, 86400))] = 60.0
    warmup: Annotated[str, BeforeValidator(_warmup)] = "auto"
    min_duration: Annotated[float, BeforeValidator(duration(0, 30 * 86400))] = 0.0
    critical: Annotated[tuple[str, ...], BeforeValidator(_judges)] = tuple(name for name in JUDGES if name != "cpu")
    critical_endpoint: Annotated[tuple[str, ...], BeforeValidator(lambda value: tuple(texts(value)))] = ()
    memory_after: Annotated[int, BeforeValidator(integer(100, 10**9))] = 10_000
    ignore_header: Annotated[tuple[str, ...], BeforeValidator(_headers)] = ()
    compare_header: Annotated[tuple[str, ...], BeforeValidator(_headers)] = ()
    unordered: Annotated[tuple[str, ...], BeforeValidator(_paths)] = ()
    tolerance: Annotated[float, BeforeValidator(share(0, 1))] = 0.0
    allow_extra: Annotated[bool, BeforeValidator(boolean)] = False
    strict_types: Annotated[bool, BeforeValidator(boolean)] = False
    shadow_metrics: Annotated[str | None, BeforeValidator(optional(_url))] = None
    production_metrics: Annotated[str | None, BeforeValidator(optional(_url))] = None
