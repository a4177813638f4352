"""``shadowctl status``, ``ledger`` and ``reload``: how the daemon is doing, and the account of every request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from shadowd.cli.filters import NO_FILTERS, summary
from shadowd.cli.output import AsJson, Socket, counts, daemon_at, mappings, number, print_json, strings
from shadowd.cli.terminal import table_lines, width
from shadowd.cli.watching import Watch, show


def status(ctx: typer.Context, as_json: AsJson = False, watch: Watch = None, socket: Socket = None) -> None:
    """Show how the daemon is doing, and in words what happens to each filter's traffic.

    \b
    Examples:
      shadowctl status
      shadowctl status --watch
      shadowctl status --json
    """
    client = daemon_at(ctx, socket)
    show(lambda: client.call("status"), _status, as_json, watch)


def _status(found: object) -> list[str]:
    table: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    uptime = _time(number(table, "uptime_s"))
    told = {key: table.get(key, "?") for key in ("version", "code", "node", "pid")}
    lines = [f"shadowd {told['version']} on {told['node']}, pid {told['pid']}, up {uptime}, {told['code']}"]
    hooks = ", ".join(strings(table.get("hooks"))) or "none attached"
    rates = [f"{number(table, 'rate', key):g} {word}/s" for key, word in _RATES if key in (table.get("rate") or {})]
    lines.append(f"hooks: {hooks}; flows: {number(table, 'flows')}{''.join(f'; {rate}' for rate in rates)}")
    memory = table.get("memory")
    if isinstance(memory, Mapping):
        own, held, most, beside = (int(number(memory, key)) >> 20 for key in ("own", "buffers", "max", "comparer_max"))
        comparer = f"beside it a comparer with {beside} MB at most"
        lines.append(f"memory: {own} MB and {held} MB in buffers, of {most} MB; {comparer}")
    lines += [_worker(worker) for worker in mappings(table.get("workers"))]
    lines += [f"problem: {problem}" for problem in strings(table.get("problems"))]
    filters = [summary(view) for view in mappings(table.get("filters"))]
    return lines + ("\n".join(filters).splitlines() or [NO_FILTERS])


def _worker(told: Mapping[str, Any]) -> str:
    """Its share of the requests, how far behind it is, and what it takes."""
    restarts = number(told, "restarts")
    anew = f"; started anew {restarts} time{'s' * (restarts != 1)}" if restarts else ""
    pid = f"pid {told['pid']}" if told.get("pid") else "is being started"
    return (
        f"worker {number(told, 'number')}: {pid}, {number(told, 'share'):.0%} of the requests, "
        f"{number(told, 'flows')} flows, lag {number(told, 'lag_ms'):g} ms, "
        f"{number(told, 'ring_backlog') / 1024:.0f} KB in its ring, {number(told, 'memory') / (1 << 20):.0f} MB{anew}"
    )


_RATES = (("seen_per_s", "seen"), ("mirrored_per_s", "mirrored"))


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def ledger(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this filter.")] = None,
    as_json: AsJson = False,
    watch: Watch = None,
    socket: Socket = None,
) -> None:
    """Account for every request: seen = filtered + lost + mirrored + shed + failed + in flight, target by target.

    \b
    Examples:
      shadowctl ledger
      shadowctl ledger shop --watch 5
      shadowctl ledger shop --json
    """
    client = daemon_at(ctx, socket)
    show(lambda: client.call("ledger", **({} if name is None else {"name": name})), _ledger, as_json, watch)


def _ledger(found: object) -> list[str]:
    table: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    rows: list[tuple[object, ...]] = []
    reasons = []
    for account in mappings(table.get("filters")):
        filtered, lost = total(account.get("filtered")), total(account.get("lost"))
        balanced = {True: "yes", False: "NO"}.get(account.get("balanced", ""), "?")
        told = [("filtered", account.get("filtered")), ("lost", account.get("lost"))]
        for target in mappings(account.get("targets")) or [{}]:
            shed, failed = total(target.get("shed")), total(target.get("failed"))
            rows.append(
                (account.get("name", "?"), target.get("url", "-"), number(account, "seen"), number(target, "mirrored"),
                 filtered, shed, lost, failed, number(target, "in_flight"), balanced)
            )  # fmt: skip
            url = target.get("url", "")
            told += [(f"{url} shed", target.get("shed")), (f"{url} failed", target.get("failed"))]
        reasons += [f"{account.get('name', '?')}: {what}: {counts(why)}" for what, why in told if total(why)]
    lines = (
        table_lines(_LEDGER, rows, width(), spare=_LEDGER_SPARE) if rows else ["no filters, so nothing to account for"]
    )
    lines += reasons
    kernel = table.get("kernel")
    if isinstance(kernel, Mapping):
        lines.append("kernel: " + ", ".join(f"{key} {_word(value)}" for key, value in kernel.items() if _word(value)))
    return lines


_LEDGER = ("NAME", "TARGET", "SEEN", "MIRRORED", "FILTERED", "SHED", "LOST", "FAILED", "IN FLIGHT", "BALANCED")
_LEDGER_SPARE = ("IN FLIGHT", "BALANCED", "FILTERED", "TARGET")


def _word(value: object) -> str:
    """A kernel figure for people; nothing for what did not happen."""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, Mapping):
        return f"({counts(value)})" if value else ""
    return str(value) if value else ""


def total(reasons: object) -> int:
    """Of a map of reasons."""
    return sum(count for count in reasons.values() if isinstance(count, int)) if isinstance(reasons, Mapping) else 0


def reload(ctx: typer.Context, as_json: AsJson = False, socket: Socket = None) -> None:
    """Read the configuration file again; one that is wrong changes nothing.

    \b
    Examples:
      shadowctl reload
      shadowd check-config /etc/shadowd/shadowd.toml && shadowctl reload
    """
    result = daemon_at(ctx, socket).call("reload")
    if as_json:
        print_json(result)
        return
    told = [f"{number(result, key)} {key}" for key in ("added", "changed", "removed")]
    note = result.get("note") if isinstance(result, Mapping) else ""
    print(f"configuration reloaded: {', '.join(told)}{f'; {note}' if note else ''}")
