"""What is known of the daemon, and how it is said in cells (no I/O, no Textual).

Everything comes from the daemon's answers and is untrusted: texts are made harmless here, and shapes are not relied on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.text import Text

from shadowd.cli.output import mappings, number, plain, strings
from shadowd.cli.status import total
from shadowd.cli.top.asking import FOLLOW, Answer, Question
from shadowd.cli.where import Where
from shadowd.demo.table import milliseconds

KEPT = 300  # exchanges on the page of a filter: some screens
MOMENTS = 60  # scores of a target that are remembered
COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "regression": "red", "undecided": "yellow",
           "drift": "bright_black", "not judged": "bright_black", "noise": "bright_black", "expected": "green",
           "paused": "yellow", "following": "yellow"}  # fmt: skip
MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
_BARS = "▁▂▃▄▅▆▇█"

Key = tuple[str, str]  # a filter, and a target's URL


class Cell(NamedTuple):
    """A column: its title, width, and the width of the screen from which on it is there."""

    title: str
    width: int
    since: int
    right: bool = False


class Picture:
    """See the module's head. ``take`` puts an answer in its place."""

    def __init__(self) -> None:
        self.filters: list[Mapping[str, Any]] = []  # of ``status``
        self.accounts: dict[str, Mapping[str, Any]] = {}  # of ``ledger``
        self.reports: dict[Key, Mapping[str, Any]] = {}
        self.scores: dict[Key, deque[float]] = {}
        self.differences: dict[str, Mapping[str, Any]] = {}  # of ``diffs``
        self.exchanges: deque[tuple[int, Mapping[str, Any]]] = deque(maxlen=KEPT)  # numbered as they came
        self._came = 0
        self.of: dict[str, str] = {}  # whose exchanges these are
        self.missed = 0
        self.rates: dict[str, float] = {}
        self.standing: Mapping[str, Any] = {}
        self.away = ""
        self._seen: dict[str, tuple[float, float]] = {}

    def take(self, answer: Answer, now: float | None = None) -> None:
        op, args, result = answer.question.op, answer.question.args, answer.result
        if answer.error:
            self.away = answer.error if op in ("status", "ledger") else self.away
            return
        self.away = ""
        if op == "status" and isinstance(result, Mapping):
            self.standing, self.filters = result, mappings(result.get("filters"))
        elif op == "ledger" and isinstance(result, Mapping):
            self._take_accounts(mappings(result.get("filters")), time.monotonic() if now is None else now)
        elif op == "report" and isinstance(result, Mapping):
            key = str(args.get("name")), str(args.get("target"))
            self.reports[key] = result
            self.scores.setdefault(key, deque(maxlen=MOMENTS)).append(float(number(result, "verdict", "score")))
        elif op == "diffs" and isinstance(result, Mapping):
            self.differences[str(args.get("name"))] = result
        elif op == FOLLOW and args == self.of:
            for exchange in mappings(result):  # the daemon's own numbers begin anew when it does
                self._came += 1
                self.exchanges.append((self._came, exchange))
            self.missed += answer.missed

    def _take_accounts(self, accounts: list[Mapping[str, Any]], now: float) -> None:
        self.accounts = {str(account.get("name")): account for account in accounts}
        for name, account in self.accounts.items():
            seen = float(number(account, "seen"))
            before, when = self._seen.get(name, (seen, now))
            if now > when:
                self.rates[name] = max(0.0, seen - before) / (now - when)
            self._seen[name] = seen, now
        for name in [name for name in self._seen if name not in self.accounts]:
            del self._seen[name]

    def follow(self, key: Key) -> None:
        """The exchanges of that filter, and target, are wanted from now on."""
        wanted = args_of(key)
        if wanted != self.of:
            self.of, self.missed = wanted, 0
            self.exchanges.clear()

    # --- what there is ------------------------------------------------------------------------------------------------

    def keys(self) -> list[Key]:
        """Filters and their targets in the daemon's order; a filter without one has "" for it."""
        return [
            (str(name), str(target.get("url", "")))
            for view in self.filters
            if (name := view.get("name"))
            for target in mappings(view.get("targets")) or [{}]
        ]

    def candidates(self) -> list[Key]:
        """Those that are judged."""
        return [
            (str(view.get("name")), str(target.get("url")))
            for view in self.filters
            if _compares(view)
            for target in mappings(view.get("targets"))
            if target.get("role") == "candidate"
        ]

    def view(self, name: str) -> Mapping[str, Any]:
        return next((view for view in self.filters if view.get("name") == name), {})

    def state(self, name: str) -> str:
        return str(self.view(name).get("state", ""))

    def target(self, key: Key) -> Mapping[str, Any]:
        """Its account."""
        listed = mappings(self.accounts.get(key[0], {}).get("targets"))
        return next((target for target in listed if target.get("url") == key[1]), {})

    def latency(self, key: Key) -> Mapping[str, Any]:
        listed = mappings(self.view(key[0]).get("targets"))
        found = next((target.get("latency_ms") for target in listed if target.get("url") == key[1]), None)
        return found if isinstance(found, Mapping) else {}

    def verdict(self, key: Key) -> Mapping[str, Any]:
        found = self.reports.get(key, {}).get("verdict")
        return found if isinstance(found, Mapping) else {}

    def worst(self, name: str) -> Key:
        """The filter's candidate that is judged the worst."""
        known = [key for key in self.candidates() if key[0] == name]
        ranks = {"fail": 0, "inconclusive": 1, "pass": 2}
        return min(
            known or [(name, "")],
            key=lambda key: (ranks.get(str(self.verdict(key).get("verdict")), 3), number(self.verdict(key), "score")),
        )

    def chosen(self, where: Where | None) -> list[tuple[int, Mapping[str, Any]]]:
        return [one for one in self.exchanges if where is None or where(one[1])]

    def findings(self, key: Key) -> list[str]:
        return [plain(one["sentence"]) for one in mappings(self.verdict(key).get("findings")) if one.get("sentence")]

    def drawn(self, key: Key, side: str, width: int) -> str:
        """Medians of ten seconds each as bars; both sides have one scale."""
        points = mappings(self.reports.get(key, {}).get("latency", {}).get("over_time"))[-width:]
        medians = {
            name: [value if isinstance(value := (point.get(told) or {}).get("p50_ms"), int | float) else None
                   for point in points]
            for name, told in (("production", "production"), ("shadow", "candidate"))
        }  # fmt: skip
        known = [value for values in medians.values() for value in values if value is not None]
        return spark(medians[side], width, max(known, default=None))


def _compares(view: Mapping[str, Any]) -> bool:
    spec = view.get("spec")
    return bool(spec.get("compare", True)) if isinstance(spec, Mapping) else True


def args_of(key: Key) -> dict[str, str]:
    """How a question names them; without a target all of the filter's are meant."""
    return {"name": key[0]} | ({"target": key[1]} if key[1] else {})


class Plan:
    """What is asked next, by the screen in front. ``focus``: whose page it is, nobody's for all of them."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._turn = -1
        self._judged = 0
        self.focus: Key = ("", "")

    def next(self) -> Question:
        self._turn += 1
        name = self.focus[0]
        if name and self._turn % 2:
            return Question(FOLLOW, args_of(self.focus))
        asked: Sequence[Callable[[], Question]] = (
            lambda: Question("status", {}), lambda: Question("ledger", {}), self._report,
            lambda: Question("diffs", {"name": name}) if name else self._report(),
        )  # fmt: skip
        return asked[(self._turn // 2 if name else self._turn) % len(asked)]()

    def _report(self) -> Question:
        known = [key for key in self._picture.candidates() if self.focus[0] in ("", key[0])]
        known = [key for key in known if self.focus[1] in ("", key[1])]
        if not known:
            return Question("ledger", {})
        self._judged += 1
        name, url = known[self._judged % len(known)]
        return Question("report", {"name": name, "target": url})


# --- in cells ---------------------------------------------------------------------------------------------------------


def columns(cells: Iterable[Cell], width: int) -> list[Cell]:
    """Those that the width has room for; the first one without a width takes what is left."""
    shown = [cell for cell in cells if width >= cell.since]
    left = width - sum(cell.width + 2 for cell in shown) - 2
    return [cell if cell.width else cell._replace(width=max(8, left)) for cell in shown]


def cell(text: object, column: Cell, style: str = "") -> Text:
    shown = plain(text)
    if len(shown) > column.width:
        shown = shown[: column.width - 1] + "…"
    return Text(shown, style=style, justify="right" if column.right else "left", no_wrap=True)


def spark(values: Sequence[float | None], width: int, highest: float | None = None) -> str:
    """The latest of them as bars; the highest is the tallest, or ``highest``."""
    latest = list(values)[-width:]
    known = [value for value in latest if value is not None]
    most = max([*known, highest or 0.0], default=0.0)
    bars = (" " if value is None else _BARS[min(7, int(value / most * 7.999)) if most > 0 else 0] for value in latest)
    return "".join(bars)


def count(value: float) -> str:
    """In six characters at most."""
    for limit, shift, unit in ((99_999, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M"), (1e12, 1e9, "G")):
        if value <= limit - shift / 2:
            shown = value / shift
            return f"{shown:.{0 if not unit or shown >= 99.95 else 1}f}{unit}"
    return "many"


def verdict_text(verdict: Mapping[str, Any], short: bool = False) -> tuple[str, str]:
    """``✗ fail 12``, and its colour."""
    word = str(verdict.get("verdict", ""))
    if not word:
        return "-", "bright_black"
    told = "undecided" if word == "inconclusive" and short else word
    return f"{MARKS.get(word, '?')} {plain(told)}", COLOURS.get(word, "")


def latency_line(picture: Picture, key: Key, side: str, width: int) -> Text:
    """``shadow      p50 0.40 ms  p99 3.20 ms  ▁▂▁▃``."""
    points = picture.latency(key).get(side) or {}
    told = f" p50 {milliseconds(points.get('p50')):>9}  p99 {milliseconds(points.get('p99')):>9}  "
    return Text.assemble((f"{side:<11}", "bold"), told, (picture.drawn(key, side, width), "cyan"))


def standing_line(picture: Picture) -> str:
    """The daemon in one line."""
    known = picture.standing
    if not known:
        return "asking the daemon …"
    seconds = int(number(known, "uptime_s"))
    rate = sum(picture.rates.values())
    problems = strings(known.get("problems"))
    return plain(
        f"shadowd {known.get('version')} on {known.get('node')}  up {seconds // 3600}h{seconds // 60 % 60:02}m  "
        f"{rate:,.0f} requests/s" + (f"  {len(problems)} problem{'s' * (len(problems) != 1)}: {problems[0]}"
                                     if problems else "")
    )  # fmt: skip


def sums(account: Mapping[str, Any], *words: str) -> int:
    return sum(total(account.get(word)) for word in words)
