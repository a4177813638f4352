"""A verdict for people: the word and the reasons, then a row for each threshold, then what is to be known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shadowd.cli.glyphs import fitting
from shadowd.cli.output import mappings, number, plain, strings
from shadowd.cli.terminal import styled
from shadowd.cli.terminal import width as terminal_width
from shadowd.observe.figures import beyond_noise, count, interval, milliseconds, plural, quantity, seconds

_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
_HEADS = ("threshold", "measured", "interval", "allowed")
_LEAST_NAME = 24  # columns of a threshold's name on the narrowest terminal


def show_verdict(view: Mapping[str, Any]) -> None:
    """All of it, on stdout."""
    word = str(view.get("verdict", "?"))
    print(styled(fitting(f"{_MARKS.get(word, '?')} {word.upper()}"), _COLOURS.get(word, ""), "bold"), end="")
    coverage = view.get("coverage")
    shown = f", {coverage:.1%} of what was to be compared" if isinstance(coverage, float) else ""
    _say(f"  score {view.get('score', '?')} of 100; {number(view, 'compared'):,} exchanges{shown}")
    run = view.get("run") if isinstance(view.get("run"), Mapping) else {}
    label = f", run {plain(run['label'])}" if run and run.get("label") else ""
    where = f"{plain(view.get('filter', '?'))} → {plain(view.get('target', '?'))}"
    _say(f"{where}{label}; noise from: {view.get('mode', '?')}")
    nodes = [str(one.get("node")) for one in mappings(view.get("nodes"))]
    if nodes:
        more = f" and {len(nodes) - 10} more" if len(nodes) > 10 else ""
        _say(f"of {len(nodes)} runs, on {plain(', '.join(nodes[:10]))}{more}")
    _show_reasons(view)
    _show_thresholds(view)
    differing = view.get("differing")
    if isinstance(differing, Mapping) and number(differing, "noise"):
        beyond, noise = number(differing, "beyond_noise"), number(differing, "noise")
        _say(f"{beyond:,} answers differ beyond noise, {noise:,} in noise alone")
    noisy = mappings(view.get("not_judged"))
    if noisy:
        places = ", ".join(f"{one.get('endpoint')} {one.get('where')} {one.get('path')}".strip() for one in noisy[:5])
        more = " …" * (len(noisy) > 5)
        _say(f"not judged, because they differ between answers of one version: {plain(places)}{more}")
    drift = view.get("drift")
    if isinstance(drift, Mapping) and drift.get("exchanges"):
        _say(f"state drift suspected in {drift['exchanges']:,} exchanges (writes that were not mirrored)")
    for limit in strings(view.get("limits")):
        print(styled(fitting(f"note: {plain(limit)}"), "dim"))


def show_report(data: Mapping[str, Any]) -> None:
    """A report on a terminal: the verdict, what differs, the errors, and what became of the requests."""
    from shadowd.cli.diffs import list_differences  # not at the top: tables of rich are slow to import
    from shadowd.cli.output import print_table
    from shadowd.observe.sections import ledger, ranked

    verdict = data.get("verdict")
    show_verdict(verdict if isinstance(verdict, Mapping) else {})
    name = plain(data.get("filter") or "the filter")
    differences = ranked(mappings(data.get("differences")))
    print()
    list_differences(name, {"differences": differences, "signatures": data.get("signatures")})
    endpoints = [_endpoint(one) for one in mappings(data.get("endpoints"))]
    if endpoints:
        print()
        heads = ("ENDPOINT", "EXCHANGES", "WORSE", "DIFFERING", "IN NOISE", "P50 → SHADOW", "P99 → SHADOW")
        print_table(heads, endpoints)
    account = ledger(data)
    for target in account["targets"] if account else []:
        print()
        print_table(
            (f"REQUESTS {target['url']}".rstrip(), "COUNT", "SHARE"),
            [("  " * (row["kind"] == "sub") + row["name"], row["count"], row["share"]) for row in target["rows"]],
        )
    _say(f"\nas a page: shadowctl report {name} --html FILE; for a pull request: --markdown FILE")


def _endpoint(one: Mapping[str, Any]) -> tuple[object, ...]:
    pairs = (
        f"{milliseconds(one.get(f'production_{q}_ms'))} → {milliseconds(one.get(f'candidate_{q}_ms'))}"
        for q in ("p50", "p99")
    )
    noise = int(number(one, "differing_noise"))
    return one.get("endpoint"), number(one, "exchanges"), number(one, "worse"), beyond_noise(one), noise, *pairs


def _show_reasons(view: Mapping[str, Any]) -> None:
    """Each once, with the new error that is behind it."""
    findings = [found for found in mappings(view.get("findings")) if found.get("sentence")]
    signed = {str(one["sentence"]): one["signature"] for one in findings if isinstance(one.get("signature"), Mapping)}
    told = view.get("verdict") == "fail"  # by the reasons, which say how many more there are
    others = [str(one["sentence"]) for one in findings if not (told and one.get("critical"))]
    for sentence in dict.fromkeys([*strings(view.get("reasons")), *others]):
        _say(f"  - {plain(sentence)}")
        if sentence in signed:
            signature = signed[sentence]
            _say(f"    new error: {plain(signature.get('title'))} ({plural(signature.get('count'), 'time')})")


def _show_thresholds(view: Mapping[str, Any]) -> None:
    rows = mappings(view.get("thresholds"))
    if not rows:
        return
    cells = [_HEADS, *(_threshold(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    columns = terminal_width()
    if columns is not None:
        room = columns - 4 - sum(widths[1:]) - 2 * len(widths[1:])
        widths[0] = min(widths[0], max(_LEAST_NAME, room))
    _say("")
    heads = "  ".join(head.rjust(width) for head, width in zip(_HEADS[1:], widths[1:], strict=True))
    print(styled(f"    {_HEADS[0].ljust(widths[0])}  {heads}", "dim"))
    for row, (name, *numbers) in zip(rows, cells[1:], strict=True):
        result = str(row.get("result"))
        print(styled(fitting(f"  {_MARKS.get(result, '?')} "), _COLOURS.get(result, "")), end="")
        aligned = (cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))
        _say(f"{_short(name, widths[0]).ljust(widths[0])}  {'  '.join(aligned)}")
    told = {(row.get("judge"), row.get("endpoint"), row.get("path"), row.get("kind")) for row in rows}
    others = [
        str(one.get("result"))
        for one in mappings(view.get("judges"))
        if (one.get("judge"), one.get("endpoint"), one.get("path"), one.get("kind")) not in told
    ]
    if others:
        kinds = (f"{others.count(result)} {mark}" for result, mark in _MARKS.items() if result in others)
        _say(f"    and {len(others):,} of single endpoints, in --json: {', '.join(kinds)}")
    _say("")


def _threshold(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Name, measured, interval and margin."""
    unit = str(row.get("unit") or "")
    name = plain(row.get("name"))
    name += f"  {plain(row['endpoint'])}" if row.get("endpoint") else ""
    name += " (does not fail the verdict)" if row.get("critical") is False else ""
    signed = unit in ("share", "ratio", "bytes/request") and row.get("bound") == "most"
    ends: Sequence[object] = row["interval"] if isinstance(row.get("interval"), list) else ()
    low, high = ends if len(ends) == 2 else (None, None)
    span = interval(low, high, unit) if (low, high) != (None, None) else ""
    bound = f"{'≥' if row.get('bound') == 'least' else '≤'} {_amount(row.get('margin'), unit)}"
    return name, _amount(row.get("measured"), unit, signed), span, bound


def _amount(value: object, unit: str, signed: bool = False) -> str:
    if unit == "s":
        return seconds(value)
    return count(value) if unit == "exchanges" else quantity(value, unit, signed=signed)


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _say(text: str) -> None:
    print(fitting(text))
