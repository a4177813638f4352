"""One run of one candidate: its examiner, its slices of time, and the settings that its filter gives it."""

from __future__ import annotations

import time
from collections import deque

from shadowd.compare.difference import Options
from shadowd.config.document import FilterSpec
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.margins import Margins
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from shadowd.ledger.ledger import FilterAccount
from shadowd.replay.target import Target
from shadowd.runs.slices import SLICE, SLICES, Slice
from shadowd.runs.vitals import Source, Vitals, is_local
from shadowd.talk.llm import Price
from shadowd.worker.entry import Entry


class Run:
    """One run of one candidate. ``id`` is the store's, -1 until it knows of it."""

    __slots__ = (
        "_base",
        "_slice_base",
        "assessed_at",
        "assessed_of",
        "assessment",
        "away",
        "began",
        "ended",
        "entry",
        "examiner",
        "id",
        "keep_at",
        "kept_of",
        "key",
        "label",
        "looked_at",
        "looked_of",
        "notes",
        "slices",
        "target",
        "vitals",
    )

    def __init__(self, entry: Entry, target: Target, rules: Rules, label: str, now: float) -> None:
        self.entry = entry
        self.target = target
        self.label = label
        self.id = -1
        self.key = settings_key(entry.spec)
        self.began = now
        self.ended = 0.0
        self.away = 0.0  # seconds since then in which no daemon saw it
        self.keep_at = 0.0
        self.kept_of: object = None  # the activity when its evidence was last kept
        self.notes: list[str] = []  # what a reader of its verdict must know
        self.examiner = Examiner(settings_of(entry.spec), rules)
        self.examiner.settings.options.schema = entry.schema
        self.vitals = _vitals(entry.spec, target)
        self.slices: deque[Slice] = deque([Slice(now)], maxlen=SLICES)
        self.assessment: Assessment | None = None
        self.assessed_at = self.looked_at = 0.0
        self.assessed_of = self.looked_of = (-1, -1, -1, -1)  # the activity then
        self._base = (_eligible(entry.filter.account), target.account.mirrored, entry.filter.account.seen)
        self._slice_base = (0, 0, 0)
        self.examiner.contents.epoch = time.time_ns() - time.monotonic_ns()
        entry.filter.examiners[target] = self.examiner

    @property
    def eligible(self) -> int:
        """Requests of this run that were seen, not filtered, and are not under way."""
        return max(0, _eligible(self.entry.filter.account) - self._base[0] - self.target.account.in_flight)

    @property
    def served(self) -> int:
        """Requests the candidate has answered in this run, second copies too."""
        return self.target.account.mirrored - self._base[1] + self.target.account.twins["answered"]

    @property
    def asked(self) -> int:
        """Requests production was asked in this run."""
        return self.entry.filter.account.seen - self._base[2]

    @property
    def activity(self) -> tuple[int, int, int, int]:
        """Changes whenever anything happened."""
        account = self.target.account
        return self.entry.filter.account.seen, account.in_flight, self.served, self.examiner.compared

    def seconds(self, now: float) -> float:
        """It was watched."""
        return (self.ended or now) - self.began - self.away

    def rebase(self, eligible: int, served: int, asked: int) -> None:
        """Count on from there: a new daemon's ledger begins at nothing."""
        account = self.entry.filter.account
        self._base = (
            _eligible(account) - eligible, self.target.account.mirrored - served, account.seen - asked,
        )  # fmt: skip
        self._slice_base = (self.examiner.compared, self.examiner.worse, self.examiner.differing)

    def roll(self, now: float) -> None:
        """Close the slice of time if it is over."""
        current = self.slices[-1]
        if now - current.time < SLICE:
            return
        self.fill(now)
        self.slices.append(Slice(now))
        examiner = self.examiner
        self._slice_base = (examiner.compared, examiner.worse, examiner.differing)

    def fill(self, now: float) -> None:
        """Bring the last slice up to date."""
        current, examiner = self.slices[-1], self.examiner
        counts = (examiner.compared, examiner.worse, examiner.differing)
        current.exchanges, current.worse, current.differing = (
            count - before for count, before in zip(counts, self._slice_base, strict=True)
        )
        for place, many in examiner.contents.take_places().items():
            current.places[place] = current.places.get(place, 0) + many
        current.seconds = now - current.time
        production, candidate = examiner.take_interval()
        current.production.merge(production)
        current.candidate.merge(candidate)


_SETTINGS = (
    "twin", "routes", "run_key", "max_error_increase", "max_diff_share", "max_slowdown", "latency_floor", "max_leak",
    "max_cpu", "min_coverage", "min_samples", "min_span", "warmup", "max_slow_increase", "slow_floor", "min_duration",
    "critical", "memory_after", "ignore_header", "compare_header", "unordered", "tolerance", "strict_types",
    "allow_extra", "shadow_metrics", "production_metrics", "critical_endpoint",
    "prices", "citations", "no_content", "similarity", "refusal", "max_decision_increase", "max_token_increase",
    "max_token_time_increase", "max_cost_increase", "max_similarity_loss", "descriptors",
)  # fmt: skip


def settings_key(spec: FilterSpec) -> tuple[object, ...]:
    """Equal for two specifications that compare alike."""
    return (*(getattr(spec, name) for name in _SETTINGS), _has_baseline(spec))


def _has_baseline(spec: FilterSpec) -> bool:
    return any(target.role == "baseline" for target in spec.targets)


def settings_of(spec: FilterSpec) -> Settings:
    """The comparison that a filter asks for."""
    p50, p90, p99 = spec.max_slowdown
    return Settings(
        Options(
            allow_extra=spec.allow_extra,
            json_types_strict=spec.strict_types,
            unordered=spec.unordered,
            tolerance=spec.tolerance,
            ignore_headers=spec.ignore_header,
            also_headers=spec.compare_header,
        ),
        Margins(
            max_error_increase=spec.max_error_increase,
            max_diff_share=spec.max_diff_share,
            max_slowdown=(p50, p90, p99),
            latency_floor=round(spec.latency_floor * 1e9),
            max_slow_increase=spec.max_slow_increase,
            slow_floor=round(spec.slow_floor * 1e9),
            max_leak=spec.max_leak,
            max_cpu=spec.max_cpu,
            min_coverage=spec.min_coverage,
            min_samples=spec.min_samples,
            min_duration=spec.min_duration,
            critical=spec.critical,
            max_decision_increase=spec.max_decision_increase,
            max_token_increase=spec.max_token_increase,
            max_token_time_increase=spec.max_token_time_increase,
            max_cost_increase=spec.max_cost_increase,
            max_similarity_loss=spec.max_similarity_loss,
        ),
        routes=spec.routes,
        twin=0.0 if _has_baseline(spec) else spec.twin,
        baseline=_has_baseline(spec),
        run_key=spec.run_key or "",
        content=not spec.no_content,
        prices=[_price(one) for one in spec.prices],
        citations=spec.citations or "",
        similarity=spec.similarity or "",
        refusal=spec.refusal or "",
        first_look=spec.memory_after,
        min_span=spec.min_span,
        warmup=_warmup(spec.warmup),
        preserve_host=spec.preserve_host,
        critical_endpoints=spec.critical_endpoint,
    )


def _warmup(given: str) -> float | None:
    """Seconds; None while the latency falls."""
    return None if given == "auto" else 0.0 if given == "off" else float(given.removesuffix("s"))


def _price(given: str) -> Price:
    model, _, amounts = given.rpartition("=")
    paid, earned = amounts.split(",")
    return Price(model, float(paid), float(earned))


def _eligible(account: FilterAccount) -> int:
    return account.seen - sum(account.filtered.values())


def _vitals(spec: FilterSpec, target: Target) -> Vitals:
    """The shadow's process if it runs here, production's by the filter's first port."""

    def shadow() -> tuple[int, str | None] | None:
        here = [address[1][0] for address in target.addresses if is_local(address[1][0])]
        return (target.port, here[0]) if here else None

    def production() -> tuple[int, str | None] | None:
        return (spec.ports[0][0], None) if spec.ports and spec.direction == "inbound" else None

    key = spec.run_key
    sources = Source(spec.shadow_metrics, shadow, key), Source(spec.production_metrics, production, key)
    return Vitals(*sources, spec.memory_after)
