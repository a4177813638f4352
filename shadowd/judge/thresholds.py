"""A row for each threshold of a verdict, whatever came of it: what was measured, how sure that is, and what is allowed
(sans-IO).

Judges of all traffic together stand first, in the judges' order, then what failed at single endpoints, then what a run
needs before it can pass. What single endpoints passed or left open is among the verdict's ``judges``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from shadowd.evidence.conversing import ALL_PROMPTS
from shadowd.evidence.margins import WEIGHTS, Margins
from shadowd.judge.judgement import Judgement, Result, finite
from shadowd.judge.verdict import MAX_DRIFT

#: Rows of single endpoints, and of all conversations with models: a page; the verdict's ``judges`` has all of them.
MOST_ROWS = 40
_QUANTILE = re.compile(r" p(\d+)\Z")
#: The settings of a filter that say what is allowed.
_SETTINGS = {
    "errors": "max_error_increase", "capacity": "max_error_increase", "content": "max_diff_share",
    "latency": "max_slowdown", "slow": "max_slow_increase", "memory": "max_leak", "cpu": "max_cpu",
}  # fmt: skip


def thresholds(
    judgements: Sequence[Judgement], margins: Margins, *, coverage: float, samples: int, seconds: float, drift: float
) -> list[dict[str, Any]]:
    """Rows with ``threshold`` (a setting of the filter), ``name``, ``result``, ``measured``, ``interval``, ``margin``,
    ``unit``, ``bound`` (the margin is the "most" or the "least" allowed), and whose it is."""

    def order(one: Judgement) -> tuple[bool, int]:
        return one.endpoint != "", list(WEIGHTS).index(one.judge)

    whole = sorted((one for one in judgements if one.endpoint in ("", ALL_PROMPTS)), key=order)
    apart = [one for one in judgements if one.endpoint not in ("", ALL_PROMPTS) and one.result == "fail"]
    apart.sort(key=lambda one: (not one.critical, *order(one), one.endpoint, -one.log_e))
    rows = [_row(one) for one in whole[:MOST_ROWS] + apart[:MOST_ROWS]]
    if drift:
        rows.append(_limit("", "state drift", "pass" if drift <= MAX_DRIFT else "inconclusive", drift, MAX_DRIFT))
    for setting, measured, least, unit in (
        ("min_coverage", coverage, margins.min_coverage, "share"),
        ("min_samples", samples, margins.min_samples, "exchanges"),
        ("min_duration", seconds, margins.min_duration, "s"),
    ):
        if least:
            met: Result = "pass" if measured >= least else "inconclusive"
            rows.append(_limit(setting, setting.removeprefix("min_"), met, measured, least, "least", unit))
    return rows


def _row(one: Judgement) -> dict[str, Any]:
    return {
        "threshold": _SETTINGS.get(one.judge, ""),
        "name": " ".join(filter(None, (one.judge, _said(one.path)))),
        "judge": one.judge,
        "endpoint": one.endpoint,
        "path": one.path,
        "kind": one.kind,
        "result": one.result,
        "measured": finite(one.effect),
        "interval": [finite(one.low), finite(one.high)],
        "margin": finite(one.margin),
        "bound": "most",
        "unit": one.unit,
        "samples": one.samples,
        "critical": one.critical,
        "required": one.required,
    }


def _said(path: str) -> str:
    """``first byte p99`` of ``first_byte p99``; places in answers stay as they are."""
    return path.replace("_", " ") if _QUANTILE.search(path) else path


def _limit(
    threshold: str, name: str, result: Result, measured: float, margin: float, bound: str = "most", unit: str = "share"
) -> dict[str, Any]:
    """Of what a pass needs besides the judges."""
    return {
        **_row(Judgement(judge="", path=name, result=result, effect=measured, margin=margin, unit=unit, required=True)),
        "threshold": threshold,
        "path": "",
        "bound": bound,
        "samples": None,
        "critical": True,
    }
