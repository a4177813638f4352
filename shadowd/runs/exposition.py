"""Reads a page of metrics in Prometheus' text format, or OpenMetrics (sans-IO): memory, CPU and requests of a service.

Only the lines of the wanted names are looked into; a page of thousands of other series costs one pass of a regular
expression. Format: prometheus.io/docs/instrumenting/exposition_formats, names: the client libraries' process metrics.
"""

from __future__ import annotations

import math
import re

from shadowd.errors import ShadowdError

MEMORY = "process_resident_memory_bytes"
CPU = "process_cpu_seconds_total"
START = "process_start_time_seconds"

#: Bytes of a page: the largest exporters (Kubernetes' own) give some MB; more is no page of one process.
SIZE_LIMIT = 16 << 20
_SERIES_LIMIT = 10_000  # label sets of one name: Prometheus' own advice is to stay far below

#: A name and a value are two of them: no sample has a thousand labels, and each costs memory until the line is read.
_LABELS = r"\{(?>(?:[^\"}\n]++|\"(?:[^\"\\\n]|\\.)*+\"){0,2000})\}"
_SAMPLE = re.compile(rf"[ \t]*+(?>(?:{_LABELS})?)[ \t]*+(?P<value>[^\s#]+)(?:[ \t]+[^\s#]+)?[ \t]*(?:#.*)?\r?")


class ExpositionError(ShadowdError):
    """A page that is none, or whose wanted lines cannot be understood."""


def parse_untrusted(text: bytes, requests: str | None = None) -> dict[str, float]:
    """What of ``MEMORY`` (bytes), ``CPU`` (seconds), ``START`` (Unix epoch) and ``requests`` the page has, by name.

    Several series of a name are summed over their labels; of ``START`` the earliest counts. ``requests`` is found as
    ``requests_total`` too, and is returned under the name that was asked for. Raises ExpositionError where a wanted
    line is malformed or not finite, where nothing wanted is there, or where the page is too large.
    """
    if len(text) > SIZE_LIMIT:
        raise ExpositionError(f"metrics: a page of {len(text) >> 20} MB", f"at most {SIZE_LIMIT >> 20} MB are read")
    wanted = [MEMORY, CPU, START] + ([requests, f"{requests}_total"] if requests else [])
    names = "|".join(re.escape(name) for name in dict.fromkeys(wanted))
    page = text.decode("utf-8", "replace")
    sums: dict[str, float] = {}
    series = dict.fromkeys(wanted, 0)
    for found in re.finditer(rf"(?m)^[ \t]{{0,8}}({names})(?=[ \t{{])(.*+)$", page):
        name = found.group(1)
        series[name] += 1
        if series[name] > _SERIES_LIMIT:
            raise ExpositionError(f"metrics: more than {_SERIES_LIMIT} series of {name}", "use one with fewer labels")
        value = _value(found.group(2))
        if value is None or (value < 0 and name != requests):
            line = page.count("\n", 0, found.start()) + 1
            raise ExpositionError(f"metrics: line {line}: no valid sample of {name}", "check the metrics page")
        if name not in sums:
            sums[name] = value
        elif name == START:
            sums[name] = min(sums[name], value)
        else:
            sums[name] += value
    if requests and f"{requests}_total" in sums:
        total = sums.pop(f"{requests}_total")
        sums.setdefault(requests, total)
    if not sums:
        raise ExpositionError(f"metrics: no {MEMORY} on the page", "give the URL of a page in Prometheus' text format")
    return sums


def _value(rest: str) -> float | None:
    """The number of what follows a name; None if it is none, or not finite."""
    sample = _SAMPLE.fullmatch(rest)
    if sample is None or "_" in sample.group("value"):  # Python's float takes 1_000
        return None
    try:
        value = float(sample.group("value"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
