"""Which fields are judged: each label of the table, the early status, and what differs between connections.

Every request is another one, so that production never repeats itself; what it repeats is ``contents.py``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shadowd.evidence.evidence import ENOUGH_TRIALS
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.margins import Margins
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from shadowd.judge.fieldwork import _ALWAYS_LEAST, _ALWAYS_SPAN, _FEW, _NOBODY, NOISY_TIMES
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side

SPAN = 2.0  # seconds: the least evidence, unless a test says otherwise
PACE = 10 * MS
CONNECTIONS = 16
TOTAL, STATUS = ("body", "$.total"), ("status", "")


class Book:
    """A run of exchanges one PACE apart, over CONNECTIONS in turn; a body that is not said is ``{"total": 1}``."""

    def __init__(self, rules: Rules | None = None, connections: int = CONNECTIONS, **settings: Any) -> None:
        self.examiner = Examiner(Settings(warmup=0.0, **{"min_span": SPAN, "twin": 0.5, **settings}), rules or Rules())
        self.connections = connections
        self.number = 0
        self._times = 0

    def asked(
        self,
        many: int,
        ours: object = None,
        theirs: object = None,
        third: object = None,
        *,
        status: tuple[int, int, int] = (200, 200, 200),
        path: str = "/orders",
        pace: int = PACE,
        headers: str = "",
    ) -> Book:
        """``third``: "none", or the twin's or baseline's body (the candidate's, unless it is said); ``status`` of
        production, candidate, third. Bodies may be functions of the number."""
        for _ in range(many):
            self.number += 1
            self._times += pace
            bodies = [self._body(ours), self._body(theirs)]
            bodies.append(bodies[1] if third is None else self._body(third))
            production, candidate, other = (answer(body, code) for body, code in zip(bodies, status, strict=True))
            thirds: dict[str, Any] = {}
            if third != "none":
                thirds["baseline" if self.examiner.settings.baseline else "twin"] = side(other)
            examine(
                self.examiner, request(f"{path}/{self.number}", time=SECOND + self._times, headers=headers),
                production, side(candidate), connection=self.number % self.connections, **thirds,
            )  # fmt: skip
        return self

    def _body(self, told: object) -> object:
        if callable(told):
            told = told(self.number)
        return {"total": 1} if told is None or told == "none" else told

    def assessed(self) -> Assessment:
        assessment = Assessment(self.examiner, self.examiner.compared, self._times / SECOND)
        assessment.finish()
        return assessment

    def one(self, place: tuple[str, str] = TOTAL) -> dict[str, Any]:
        """The only group of differences at a place."""
        (found,) = [one for one in self.assessed().differences if (one["where"], one["path"]) == place]
        return found

    def label(self, place: tuple[str, str] = TOTAL) -> str:
        return str(self.one(place)["label"])


def in_turn(many: int) -> Callable[[int], object]:
    """Another value for each of ``many`` exchanges in turn."""
    return lambda number: {"total": number % many}


WRONG = {"total": 2}


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "third"), [({}, None), ({"twin": 0.0, "baseline": True}, {"total": 1})])
def test_regression_differs_where_two_of_one_version_agree(settings: dict[str, Any], third: object) -> None:
    book = Book(**settings).asked(400, theirs=WRONG, third=third)
    found = book.one()
    assert (found["label"], found["count"], found["noise_share"]) == ("regression", 400, 0.0)
    assert (found["production"], found["candidate"]) == ("1", "2")
    assert "body $.total has another value in 100 % of 399 exchanges" in found["sentence"]
    assert book.assessed().verdict["verdict"] == "fail"


def test_undecided_before_the_least_span_whatever_the_counts() -> None:
    book = Book(min_span=60.0).asked(3000, theirs=WRONG)
    found = book.one()
    assert found["label"] == "undecided"
    assert (
        "nothing passes or fails before 60 s of evidence (shadowctl filter set NAME --min-span TIME); 30 s so far"
        in found["sentence"]
    )
    assert book.assessed().verdict["verdict"] == "inconclusive"
    assert book.asked(3001, theirs=WRONG).label() == "regression"


def test_undecided_where_nobody_was_asked_a_second_time() -> None:
    book = Book(twin=0.0).asked(400, theirs=WRONG, third="none")
    found = book.one()
    assert (found["label"], found["sentence"], found["noise_share"]) == ("undecided", "", None)
    assert book.assessed()._fields.uncertain == 400, "and no pass is possible"


def test_not_judged_where_two_of_one_version_differ_often() -> None:
    book = Book().asked(30).asked(400, ours=in_turn(3), theirs=in_turn(5), third=in_turn(7))
    found = book.one()
    assert found["label"] == "not judged"
    assert "of the looks at answers of one version" in found["sentence"]
    assert found["noise_share"] > 0.5
    assert [one["path"] for one in book.assessed().verdict["not_judged"]] == ["$.total"]


def test_twice_is_no_noise_and_three_times_is() -> None:
    """The first exchange makes the hypothesis, and is no evidence."""
    book = Book().asked(1, theirs=WRONG, third={"total": 1})
    for times in range(1, NOISY_TIMES + 1):
        book.asked(1, theirs=WRONG, third={"total": 1}).asked(19)
        assert book.label() == ("not judged" if times >= NOISY_TIMES else "undecided")


def test_noise_within_the_margin_leaves_a_field_judged() -> None:
    book = Book(twin=0.0, baseline=True).asked(1, theirs=WRONG, third={"total": 1})
    for _ in range(NOISY_TIMES):
        book.asked(1, third=WRONG).asked(1500)
    assert book.one()["noise_share"] < book.examiner.settings.margins.max_diff_share
    assert book.label() == "undecided"


def test_what_is_volatile_at_other_endpoints_is_not_judged_where_few_were_asked() -> None:
    book = Book().asked(60, ours=in_turn(3), theirs=in_turn(5), third=in_turn(7), path="/often")
    book.asked(4, theirs=WRONG, third="none", path="/seldom")
    labels = {one["endpoint"]: one["label"] for one in book.assessed().differences}
    assert labels == {"GET /often/{id}": "not judged", "GET /seldom/{id}": "not judged"}
    enough = Book(min_span=60.0).asked(60, ours=in_turn(3), theirs=in_turn(5), third=in_turn(7), path="/often")
    enough.asked(ENOUGH_TRIALS + 1, theirs=WRONG, path="/seldom")
    labels = {one["endpoint"]: one["label"] for one in enough.assessed().differences}
    assert labels["GET /seldom/{id}"] == "undecided", "where enough were asked, what holds elsewhere says nothing"
    book.asked(300, theirs=WRONG, path="/seldom")
    labels = {one["endpoint"]: one["label"] for one in book.assessed().differences}
    assert labels["GET /seldom/{id}"] == "regression"


def test_a_body_that_nobody_can_take_apart_is_named_when_it_is_noise() -> None:
    def blob(kind: int) -> Callable[[int], object]:
        return lambda number: b"\0\xff" + bytes([kind, number % 251, number // 251])

    book = Book().asked(300, ours=blob(1), theirs=blob(2), third=blob(3), path="/blob")
    assert book.label(("body", "")) == "not judged"
    assert book.assessed()._fields.unjudged == ["GET /blob/{id}"]


def test_drift_after_a_write_that_was_not_mirrored() -> None:
    book = Book(routes=["/orders/{id}"])
    book.examiner.note_write(request("/orders/7", "PUT"))
    for _ in range(40):
        book.number = 6
        book.asked(1, theirs=WRONG)
    assert book.label() == "drift"
    assert book.assessed().verdict["drift"]["exchanges"] == 40
    (endpoint,) = book.examiner.endpoints.values()
    assert (endpoint.fields[TOTAL].drifted, endpoint.fields[TOTAL].differing.count) == (40, 0), "no evidence"


def test_drift_that_explains_only_half_leaves_a_field_undecided() -> None:
    book = Book(routes=["/orders/{id}"], min_span=60.0)
    book.examiner.note_write(request("/orders/7", "PUT"))
    for number in range(40):
        book.number = 6 if number % 2 else 1000 + number
        book.asked(1, theirs=WRONG)
    assert book.label() == "undecided"


def test_a_session_that_the_candidate_may_not_know_is_drift_unless_it_knows_nobody() -> None:
    headers = "Cookie: sid=0123456789abcdef0123456789abcdef{}\r\n"

    def run(refused: int, others: int) -> Book:
        book = Book(min_span=60.0)
        for number in range(refused):
            book.asked(1, status=(200, 401, 401), headers=headers.format(number))
        return book.asked(others)

    few = run(100, 100)
    assert few.label(("status", "unauthorised")) == "drift"
    assert any("401 or 403 at the candidate alone" in limit for limit in few.assessed().verdict["limits"])
    everybody = run(100, round(100 / _NOBODY) - 100)
    assert everybody.label(("status", "unauthorised")) != "drift"
    assert not any("401 or 403" in limit for limit in everybody.assessed().verdict["limits"])


def test_the_operators_word_is_the_last() -> None:
    rule = {"where": "body", "path": "$.total", "endpoint": "", "change": ""}
    for rules, label in ((Rules([rule]), "noise"), (Rules((), [rule]), "expected")):
        book = Book(rules).asked(400, theirs=WRONG)
        assert book.label() == label
        assert book.assessed().verdict["findings"] == []
    other_change = Rules((), [{**rule, "change": "missing"}])
    assert Book(other_change).asked(400, theirs=WRONG).label() == "regression"


def test_the_list_is_by_label_and_the_status_first() -> None:
    rules = Rules([{"where": "body", "path": "$.quiet", "endpoint": "", "change": ""}])
    book = Book(rules).asked(300, {"a": 1, "quiet": 1}, {"a": 2, "quiet": 2}, status=(200, 200, 200), path="/a")
    book.asked(250, status=(403, 200, 200), path="/b")
    book.asked(1, {"late": 1}, {"late": 2}, "none", path="/c")
    shown = [(one["label"], one["where"], one["path"]) for one in book.assessed().differences]
    assert shown == [
        ("regression", "status", ""), ("regression", "body", "$.a"), ("undecided", "body", "$.late"),
        ("noise", "body", "$.quiet"),
    ]  # fmt: skip


# --- what a pass may not be blocked by --------------------------------------------------------------------------------


def test_a_flap_as_frequent_at_both_versions_does_not_block_a_pass() -> None:
    book = Book()
    for _ in range(20):  # 1 % at the candidate, and as often between its own two answers
        book.asked(99).asked(1, theirs=WRONG, third={"total": 1})
    fields = book.assessed()._fields
    assert book.label() == "not judged"
    assert fields.uncertain == 0
    steady = Book(min_span=600.0)
    for _ in range(20):
        steady.asked(99).asked(1, theirs=WRONG)
    assert steady.label() == "undecided"
    assert steady.assessed()._fields.uncertain == 20


def test_what_noise_does_not_explain_is_uncertain() -> None:
    book = Book(min_span=60.0, margins=Margins(max_diff_share=0.05)).asked(1, theirs=WRONG)
    for _ in range(5):
        book.asked(1, theirs=WRONG, third={"total": 1}).asked(39)
    assert book.label() == "undecided", "as noisy as the margin allows"
    assert book.assessed()._fields.uncertain == 1
    book.asked(10, theirs=WRONG)
    assert book.assessed()._fields.uncertain == 11


def test_while_a_field_is_undecided_its_endpoint_is_asked_twice_more_often() -> None:
    book = Book(twin=0.05, min_span=60.0).asked(50, theirs=WRONG, path="/needy").asked(50, path="/calm")
    draw = 0.2  # beyond the share that all have
    book.assessed()
    wants = {path: book.examiner.wants_twin(request(f"{path}/1"), draw) for path in ("/needy", "/calm")}
    assert wants == {"/needy": True, "/calm": False}
    assert not book.examiner.wants_twin(request("/needy/1", "POST"), 0.0)
    baseline = Book(twin=0.0, baseline=True, min_span=60.0).asked(50, theirs=WRONG, third={"total": 1})
    baseline.assessed()
    assert not baseline.examiner.wants_twin(request("/orders/1"), 0.0), "nobody is asked twice beside a baseline"


# --- the early status -------------------------------------------------------------------------------------------------

EARLY = 60.0 / _ALWAYS_SPAN  # seconds of sixty
OPEN = (403, 200, 200)  # what was forbidden is served


def early(many: int, seconds: float = EARLY, **told: Any) -> Book:
    """So many in so many seconds."""
    made = {"min_span": 60.0, **told.pop("settings", {})}
    return Book(**made).asked(many, status=told.pop("status", OPEN), pace=round(seconds * SECOND / (many - 1)), **told)


def test_a_status_that_is_another_from_the_first_exchange_on_fails_early() -> None:
    book = early(_ALWAYS_LEAST + 1)
    assert book.label(STATUS) == "regression"
    verdict = book.assessed().verdict
    assert (verdict["verdict"], verdict["findings"][0]["path"]) == ("fail", "status")


BARELY_NOT: dict[str, Callable[[], Book]] = {
    "one too few: the first makes the hypothesis": lambda: early(_ALWAYS_LEAST),
    "too early": lambda: early(_ALWAYS_LEAST + 1, EARLY * 0.98),
    "nobody was asked a second time": lambda: early(_ALWAYS_LEAST + 1, third="none", settings={"twin": 0.0}),
    "a second answer of its own was another": lambda: early(4 * _ALWAYS_LEAST, 2 * EARLY).asked(
        1, status=(403, 200, 403)
    ),
}


@pytest.mark.parametrize("why", BARELY_NOT)
def test_the_early_rule_takes_no_less(why: str) -> None:
    book = BARELY_NOT[why]()
    assert book.label(STATUS) == "undecided"
    assert book.assessed().verdict["verdict"] != "fail"


def test_a_status_that_changes_in_mid_run_waits() -> None:
    book = Book(min_span=60.0).asked(300, status=(403, 403, 403)).asked(300, status=OPEN)
    assert book.label(STATUS) == "undecided"


def test_failures_and_rate_limits_come_and_go_and_are_no_early_status() -> None:
    for code in (503, 429):
        book = early(4 * _ALWAYS_LEAST, 2 * EARLY, status=(200, code, code))
        assert book.label(("status", "failing")) == "undecided"
        assert book.assessed().verdict["verdict"] != "fail"


def test_a_seldom_other_status_is_no_early_one() -> None:
    book = Book(min_span=60.0)
    for _ in range(300):
        book.asked(1, status=OPEN).asked(5, status=(403, 403, 403))
    assert book.label(STATUS) == "undecided"


def test_one_server_of_several_is_no_early_status() -> None:
    book = Book(min_span=60.0)
    for _ in range(800):
        good = book.number % book.connections == 3  # one connection of sixteen leads elsewhere
        book.asked(1, status=(403, 403, 403) if good else OPEN)
    assert book.label(STATUS) == "undecided"


# --- few connections --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("connections", "label"), [(1, "undecided"), (_FEW - 1, "undecided"), (_FEW, "regression")])
def test_fewer_connections_than_that_may_all_lead_to_one_server(connections: int, label: str) -> None:
    book = Book(connections=connections).asked(400, theirs=WRONG)
    assert book.label() == label
    if label == "undecided":
        assert "it may be one of several servers behind them" in book.one()["sentence"]


def test_a_field_of_one_connection_in_sixteen_is_not_the_release() -> None:
    book = Book()
    for _ in range(800):
        book.asked(1, theirs=WRONG if book.number % book.connections == 3 else None)
    found = book.one()
    assert found["label"] == "undecided"
    assert book.assessed().verdict["verdict"] != "fail"
