"""Which fields are judged, and what is said of the others (sans-IO).

==========  ============================================================================================
label       meaning
==========  ============================================================================================
regression  differs more often than between answers of one version, over stretches and connections
undecided   differs, and is not known to be noise
drift       a write, or a session, that the shadow does not know explains it: no evidence
not judged  differs between answers of one version as well
expected    the operator intends it
noise       the operator said so
==========  ============================================================================================
"""

from __future__ import annotations

from typing import Any

from shadowd.evidence.conversing import ALL_PROMPTS
from shadowd.evidence.evidence import ENOUGH_REPEATS, ENOUGH_TRIALS, OVERFLOW, Endpoint, Field, Group
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.outcome import STATUS, STATUS_FAILING, STATUS_UNAUTHORISED
from shadowd.evidence.rules import EXPECTED, NOISE
from shadowd.judge.courses import Course
from shadowd.judge.discordance import judge_field
from shadowd.judge.judgement import Judgement, percent
from shadowd.judge.verdict import ALPHA, decision_alpha, field_alpha
from shadowd.talk.llm import WHERE as LLM

#: A field is called noisy when it differed so often between answers of the same version, and in a larger share than
#: the margin: fewer could be chance, and one that differs less often can still be certified.
NOISY_TIMES = 3
#: Share of the looks from which on a place counts as volatile everywhere: ids and times differ always or nearly.
VOLATILE = 0.5
#: What a model that samples does otherwise by itself: judged by a margin of their own.
_OTHERWISE = {
    (LLM, "refusal"), (LLM, "tool calls"), (LLM, "finish reason"), (LLM, "output items"), (LLM, "model"),
}  # fmt: skip
#: A body that is compared as a whole, because nobody can take it apart: if it is noise, nothing of it is judged.
_WHOLE = ("body", "")
#: Without a baseline a failing status is one blip at both twins: only what lasts in so many exchanges is a field's.
_FAILING_MARGIN = 0.05
#: A status that differs from the first exchange on, in such a share of every stretch, needs no long run: a twentieth of
#: ``--min-span`` and so many exchanges do (failures and rate limits, which come and go, are left out).
_ALWAYS, _ALWAYS_LEAST, _ALWAYS_STRETCHES, _ALWAYS_SPAN = 0.25, 200, 8, 20
#: Share of an endpoint's answers from which on 401 and 403 are no missing session any more.
_NOBODY = 0.95
#: Connections that must all show a field where there are fewer than eight. Of two servers that differ in it, the
#: candidate's connection and that of its second copy (or the baseline's) must each be at the right one: all of four are
#: so in one run of 256.
_FEW = 4
#: Pairs without a difference after which one that appears while production's own answers change is production's.
_SETTLED = 100
#: Of looks at production's past those that must say so.
_NEARLY = 0.9
#: Stretches, the share of pairs that is all of one (the slots of two tallies do not cut it alike), and the share of the
#: differences that must have come in such (two stretches are cut by the beginning and the end).
_PARTS, _ALL, _MOSTLY = 24, 0.75, 0.75
#: Share of the pairs since it began from which on a difference is one of another version.
_OFTEN = 0.05
_RANKS = {"regression": 0, "undecided": 1, "drift": 2, "not judged": 3, "expected": 4, "noise": 5}


class FieldJudge:
    """Of one examiner at one moment: ``pool`` first, then ``judge`` for each field, then ``finish``."""

    def __init__(self, examiner: Examiner) -> None:
        self._examiner = examiner
        self._pooled: dict[tuple[str, str], tuple[int, int]] = {}  # noise of a place over all endpoints
        self.uncertain = 0.0  # differing answers in fields that are not known to be noise
        self.failing = 0.0  # and in those that fail by themselves
        self.beyond: dict[tuple[str, str, str], float] = {}  # by endpoint and place: the share that no noise explains
        self.moved = 0  # differences in fields that production changed in mid-run
        self.moving: dict[tuple[str, str], list[str]] = {}  # where they still differ: a place, and its endpoints
        self.sessions = 0  # 401 and 403 of the candidate that a missing session may explain
        self.unjudged: list[str] = []  # endpoints of whose bodies nothing is judged
        self.differences: list[dict[str, Any]] = []

    def pool(self) -> None:
        for endpoint in self._examiner.endpoints.values():
            for place, field in endpoint.fields.items():
                noisy, looked = field.noise(endpoint)
                pooled = self._pooled.get(place, (0, 0))
                self._pooled[place] = (pooled[0] + noisy, pooled[1] + looked)

    def judge(self, endpoint: Endpoint, field: Field) -> tuple[Judgement | None, bool]:
        """The judgement that counts, if any; and whether more is to be asked twice here."""
        examiner = self._examiner
        baseline = examiner.settings.baseline
        place = (field.where, field.path)
        margin = self._margin(place, baseline)
        groups = sorted(field.groups.values(), key=lambda group: -group.count)
        kind = groups[0].kind if groups else "value"
        label = examiner.rules.label(endpoint.name, field.where, field.path, kind)
        noisy, looked = field.noise(endpoint)
        judged = None
        if not label and examiner.settings.mode != "none" and place != OVERFLOW:
            judged = self._judged(endpoint, field, kind, margin, baseline)
        counted: Judgement | None = None
        undecided = False
        if label == NOISE:
            shown = "noise"
        elif label == EXPECTED:
            shown = "expected"
        elif self._of_sessions(endpoint, field):
            shown = "drift"
            self.sessions += field.differed
        elif not baseline and _production_moved(endpoint, field, self._examiner.latest):
            shown = "drift"
            self.moved += field.differed
            if _lasts(endpoint, field, examiner.latest):
                self.moving.setdefault(place, []).append(endpoint.name)
        elif judged is not None and judged.result == "fail":
            shown, counted = "regression", judged
            self.failing += self._beyond(endpoint, field, noisy, looked)
        elif noisy >= NOISY_TIMES and noisy > margin * looked:
            shown = "not judged"
            if place == _WHOLE:
                self.unjudged.append(endpoint.name)
        elif self._volatile_elsewhere(field, noisy, looked):
            shown = "not judged"
            noisy, looked = self._pooled[place]
        elif field.drifted and field.drifted >= field.differed - 1:
            shown = "drift"
        else:
            shown = "undecided"
            own = judged is not None and judged.result == "pass" and field.where == LLM  # passes by a margin of its own
            if not own:
                self.uncertain += self._beyond(endpoint, field, noisy, looked)
            if judged is not None and field.differed > field.drifted:
                counted = judged
            undecided = judged is not None and judged.result != "pass" and field.differed > field.drifted
        for group in groups:
            self.differences.append(self._view(endpoint, field, group, shown, judged, noisy, looked))
        return counted, undecided and not baseline

    def finish(self) -> None:
        self.differences.sort(
            key=lambda found: (_RANKS[found["label"]], found["where"] != "status", -found["count"], found["id"])
        )

    def _margin(self, place: tuple[str, str], baseline: bool) -> float:
        margins = self._examiner.settings.margins
        if place in _OTHERWISE:
            return max(margins.max_diff_share, margins.max_decision_increase)
        if place == STATUS_FAILING and not baseline:
            return max(margins.max_diff_share, _FAILING_MARGIN)
        return margins.max_diff_share

    def _judged(self, endpoint: Endpoint, field: Field, kind: str, margin: float, baseline: bool) -> Judgement:
        examiner = self._examiner
        below = -1.0 if baseline else -0.5
        total = endpoint.denominator(field)
        began = max(examiner.evidence_began, field.began)
        values = ((1.0, field.positive), (below, field.negative))
        alpha = self._alpha(endpoint, field)
        course: Course | None = Course(values, total, began, examiner.latest, examiner.clock.least, _FEW)
        if self._differs_always(endpoint, field) and _on_all_connections(endpoint):
            course = None  # the bets are enough
        return judge_field(
            endpoint.name, field.where, field.path, kind, field.positive.count, field.negative.count,
            total.count - field.since_trials, values=(1.0, below), margin=margin, alpha=alpha,
            alpha_pass=ALPHA, course=course,
        )  # fmt: skip

    @staticmethod
    def _alpha(endpoint: Endpoint, field: Field) -> float:
        """Of the field's order; decisions of all conversations together are known beforehand."""
        if endpoint.name == ALL_PROMPTS and (field.where, field.path) in _OTHERWISE:
            return decision_alpha(len(_OTHERWISE))
        return field_alpha(field.order)

    def _differs_always(self, endpoint: Endpoint, field: Field) -> bool:
        """A status (of answers) that is another all the time since the evidence began."""
        examiner = self._examiner
        began = examiner.evidence_began
        span = examiner.latest - began
        if (field.where, field.path) != STATUS or field.negative.count or field.differing.count < _ALWAYS_LEAST:
            return False
        if field.differed < _ALWAYS * endpoint.pairs or span * _ALWAYS_SPAN < examiner.clock.least:
            return False
        parts = _ALWAYS_STRETCHES
        differing = field.differing.slots.cut(began, examiner.latest, parts)
        there = endpoint.outcomes.total.slots.cut(began, examiner.latest, parts)
        met = [some >= _ALWAYS * many for some, many in zip(differing, there, strict=True) if many]
        return all(met) and 2 * len(met) > parts

    def _of_sessions(self, endpoint: Endpoint, field: Field) -> bool:
        """Only the candidate does not know who asks, and not always: a login that was not mirrored explains that."""
        if (field.where, field.path) != STATUS_UNAUTHORISED or self._examiner.settings.baseline:
            return False
        return field.differed < _NOBODY * endpoint.pairs

    def _beyond(self, endpoint: Endpoint, field: Field, noisy: int, looked: int) -> float:
        """The exchanges that are counted at this field and that noise does not explain."""
        place = (field.where, field.path)
        if place == STATUS_FAILING or not field.differed:  # what fails is the errors' to say
            return 0.0
        share = min(1.0, self._excess(endpoint, field, noisy, looked) / field.differed)
        self.beyond[endpoint.name, *place] = share
        return field.led * share

    def _excess(self, endpoint: Endpoint, field: Field, noisy: int, looked: int) -> int:
        """How many of the field's differences noise does not explain: a flap of 0.1 % must not block a pass."""
        if self._examiner.settings.baseline:
            return max(0, field.positive.count - field.negative.count)
        differed = field.differed - field.drifted
        if noisy < NOISY_TIMES:
            return differed
        return max(0, differed - round(noisy / looked * (endpoint.pairs - field.since_pairs)))

    def _volatile_elsewhere(self, field: Field, noisy: int, looked: int) -> bool:
        """A request id is one at every endpoint: where few were asked twice, the others tell."""
        pooled, pooled_looks = self._pooled.get((field.where, field.path), (0, 0))
        here = noisy > 0 and noisy >= VOLATILE * looked
        unknown = looked < ENOUGH_TRIALS  # here: where enough was asked, what holds elsewhere says nothing
        return pooled >= NOISY_TIMES and (here or (unknown and pooled >= VOLATILE * pooled_looks))

    def _view(
        self, endpoint: Endpoint, field: Field, group: Group, label: str, judged: Judgement | None, noisy: int,
        looked: int,
    ) -> dict[str, Any]:  # fmt: skip
        sentence = judged.sentence if judged is not None and label in ("regression", "undecided") else ""
        if label == "not judged":
            sentence = f"differs in {percent(noisy / looked)} of the looks at answers of one version"
            if field.repeats >= 10 * NOISY_TIMES and not field.repeats_differed:
                sentence += f", but in none of {field.repeats:,} repeated answers of production: look at it"
        return {
            "id": group.name,
            "endpoint": endpoint.name,
            "where": field.where,
            "path": field.path,
            "kind": group.kind,
            "count": group.count,
            "share": group.count / endpoint.pairs if endpoint.pairs else None,
            "noise_share": noisy / looked if looked else None,
            "label": label,
            "production": group.production,
            "candidate": group.candidate,
            "first": group.first,
            "last": group.last,
            "sentence": sentence,
        }


def _production_moved(endpoint: Endpoint, field: Field, latest: int) -> bool:
    """Whether production's own answers changed there when the difference began, and the candidate's did not: another
    version, or another half of a blue-green pair, is in production since."""
    if field.negative.count:
        return False
    if field.moved + field.stayed >= ENOUGH_REPEATS:
        return field.moved >= _NEARLY * (field.moved + field.stayed)
    if field.turned >= ENOUGH_REPEATS and _all_or_none(endpoint, field, latest):
        return True
    return field.repeats_differed >= ENOUGH_REPEATS and field.since_pairs >= _SETTLED


def _lasts(endpoint: Endpoint, field: Field, latest: int) -> bool:
    """Whether it differs up to now, or nearly, and not just now and then: a replica lags behind, too."""
    if field.differed < _OFTEN * (endpoint.pairs - field.since_pairs):
        return False
    last = max((group.last for group in field.groups.values()), default=field.began)
    return (latest - last) * 16 < latest - field.began


def _all_or_none(endpoint: Endpoint, field: Field, latest: int) -> bool:
    """Whether nearly all of its differences came while nearly every pair differed in it."""
    differing = field.differing.slots.cut(field.began, latest, _PARTS)
    there = endpoint.outcomes.total.slots.cut(field.began, latest, _PARTS)
    whole = sum(some for some, many in zip(differing, there, strict=True) if some >= _ALL * many)
    return whole >= _MOSTLY * sum(differing)


def _on_all_connections(endpoint: Endpoint) -> bool:
    """Whether the status differs, in one way or another, on each connection: else it may be one server of several."""
    shares = []
    for group, answered in enumerate(endpoint.outcomes.total.by_group):
        if answered:
            fields = (endpoint.fields.get(place) for place in (STATUS, STATUS_FAILING))
            shares.append(sum(one.differing.by_group[group] for one in fields if one is not None) / answered)
    return not shares or min(shares) >= _ALWAYS / 2
