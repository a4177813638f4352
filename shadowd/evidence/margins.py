"""What an operator minds: margins, limits, and which judges are critical (sans-IO)."""

from __future__ import annotations

from collections.abc import Iterable

#: Judges whose failure fails the verdict unless the operator says otherwise. CPU is left out: it costs money, not
#: correctness, and replayed connections are not pooled exactly as production's are.
CRITICAL = frozenset({"errors", "content", "latency", "slow", "memory", "capacity", "restarts"})
#: The score's weights, before scaling to the judges present: what a user notices first weighs most.
WEIGHTS = {
    "errors": 30, "content": 30, "latency": 15, "slow": 5, "memory": 10, "capacity": 5, "cpu": 5, "restarts": 5,
}  # fmt: skip


class Margins:
    """What an operator minds: margins, limits and which judges are critical. ValueError for values out of range.

    Shares are 0…1; ``max_slowdown`` is the relative increase of (p50, p90, p99); ``latency_floor`` in ns;
    ``slow_floor`` in ns: an answer is slow beyond twice the reference's p99 and beyond that; ``max_leak`` in bytes per
    request; ``min_duration`` in seconds. Of models' answers: ``max_decision_increase`` is the
    share that is refused, calls tools or ends otherwise, which a model that samples moves by itself; tokens, the time
    per token and cost are relative increases of the median (what changes the bill and the wait noticeably);
    ``max_similarity_loss`` is on a scale of 0…1: a rephrasing prompt moves it by 0.02–0.04, another intention by 0.2.
    """

    __slots__ = (
        "critical",
        "latency_floor",
        "max_cost_increase",
        "max_cpu",
        "max_decision_increase",
        "max_diff_share",
        "max_error_increase",
        "max_leak",
        "max_similarity_loss",
        "max_slow_increase",
        "max_slowdown",
        "max_token_increase",
        "max_token_time_increase",
        "min_coverage",
        "min_duration",
        "min_samples",
        "slow_floor",
    )

    def __init__(
        self,
        *,
        max_error_increase: float = 0.001,
        max_diff_share: float = 0.001,
        max_slowdown: tuple[float, float, float] = (0.10, 0.15, 0.25),
        latency_floor: int = 1_000_000,
        max_leak: float = 256.0,
        max_cpu: float = 0.25,
        min_coverage: float = 0.95,
        min_samples: int = 0,
        min_duration: float = 0,
        critical: Iterable[str] = CRITICAL,
        max_decision_increase: float = 0.01,
        max_token_increase: float = 0.10,
        max_token_time_increase: float = 0.15,
        max_cost_increase: float = 0.10,
        max_similarity_loss: float = 0.05,
        max_slow_increase: float = 0.005,
        slow_floor: int = 50_000_000,
    ) -> None:
        self.max_error_increase = _within("the largest increase of errors", max_error_increase, 0.0, 1.0)
        self.max_diff_share = _within("the largest share of differences", max_diff_share, 0.0, 1.0)
        if len(max_slowdown) != 3:
            raise ValueError(f"the largest slowdown needs three values (p50, p90, p99), not {len(max_slowdown)}")
        p50, p90, p99 = (_within("the largest slowdown", value, 0.0, 1000.0) for value in max_slowdown)
        self.max_slowdown = (p50, p90, p99)
        self.latency_floor = int(_within("the latency floor in ns", latency_floor, 0, 3600e9))
        self.max_leak = _within("the largest leak in bytes per request", max_leak, 0.0, 1e12)
        self.max_cpu = _within("the largest increase of CPU per request", max_cpu, 0.0, 1000.0)
        self.min_coverage = _within("the smallest coverage", min_coverage, 0.0, 1.0)
        self.min_samples = int(_within("the smallest number of samples", min_samples, 0, 1e15))
        self.min_duration = _within("the smallest duration in seconds", min_duration, 0, 1e9)
        self.max_decision_increase = _within("the largest increase of decisions", max_decision_increase, 0.0, 1.0)
        self.max_token_increase = _within("the largest increase of tokens", max_token_increase, 0.0, 1000.0)
        self.max_token_time_increase = _within("the largest increase per token", max_token_time_increase, 0.0, 1000.0)
        self.max_cost_increase = _within("the largest increase of cost", max_cost_increase, 0.0, 1000.0)
        self.max_similarity_loss = _within("the largest loss of similarity", max_similarity_loss, 0.0, 1.0)
        self.max_slow_increase = _within("the largest increase of slow answers", max_slow_increase, 0.0, 1.0)
        self.slow_floor = int(_within("the floor of slow answers in ns", slow_floor, 0, 3600e9))
        self.critical = frozenset(critical)
        unknown = sorted(self.critical - WEIGHTS.keys())
        if unknown:
            raise ValueError(f"there is no judge {unknown[0]!r}, only {', '.join(WEIGHTS)}")


def _within(what: str, value: float, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:  # NaN too
        raise ValueError(f"{what} must be a number from {low:g} to {high:g}, not {value!r}")
    return value
