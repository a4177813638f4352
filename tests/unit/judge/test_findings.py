"""One cause, one finding: what belongs together is one line that names the worst place; what does not stays apart."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shadowd.judge.findings import MOST_REASONS, NAMED, Finding, findings_of, limited, reasons_of
from shadowd.judge.judgement import Judgement, Result

POINTS = [f"{point} p{tail}" for point in ("first_byte", "last_byte") for tail in (50, 90, 99)]
JUDGES = ["errors", "content", "capacity", "latency", "slow", "memory", "restarts", "cpu"]


def failed(judge: str, endpoint: str = "", path: str = "", effect: float = 1.0, **more: Any) -> Judgement:
    result: Result = more.pop("result", "fail")
    where = f" at {endpoint}" if endpoint else ""
    sentence = more.pop("sentence", f"{judge} {path}{where}: {effect:g}")
    return Judgement(
        judge=judge, endpoint=endpoint, path=path, effect=effect, margin=more.pop("margin", 0.1), result=result,
        sentence=sentence, **more,
    )  # fmt: skip


def told(*judgements: Judgement) -> list[Judgement]:
    return [one.worst for one in findings_of(judgements)]


# --- what is one cause ------------------------------------------------------------------------------------------------


def test_only_what_failed_is_a_finding() -> None:
    quiet: list[Result] = ["pass", "inconclusive"]
    assert findings_of([failed("errors", result=result) for result in quiet]) == []
    assert findings_of([]) == []


def test_bytes_quantiles_tail_and_endpoints_of_a_slow_release_are_one() -> None:
    everywhere = [failed("latency", endpoint, path) for endpoint in ("", "/a", "/b", "/c") for path in POINTS]
    (finding,) = findings_of([*everywhere, failed("slow")])
    assert (finding.worst.endpoint, finding.worst.path) == ("", "first_byte p50")
    assert len(finding.others) == len(everywhere)
    assert finding.view()["more"] == len(everywhere)


def test_events_of_a_stream_are_not_its_first_byte() -> None:
    found = told(failed("latency", "GET /s", "first_byte p50"), failed("latency", "GET /s", "event gap p99"),
                 failed("latency", "GET /s", "event gap p50"))  # fmt: skip
    assert [one.path for one in found] == ["first_byte p50", "event gap p50"], "the gap's quantiles are one"


def test_one_field_at_many_endpoints_is_one_and_two_fields_are_two() -> None:
    lost = [failed("content", f"GET /{number}", "header etag", effect=number / 50) for number in range(1, 41)]
    (etag, total) = findings_of([*lost, failed("content", "GET /9", "body $.total", effect=0.5)])
    assert (etag.worst.endpoint, etag.worst.path) == ("GET /40", "header etag")
    assert (total.worst.path, total.others) == ("body $.total", [])
    assert etag.endpoints[:2] == ["GET /39", "GET /38"]
    assert "; and at 39 more endpoints: GET /39, GET /38, GET /37, GET /36, GET /35 …" in etag.sentence


def test_errors_at_an_endpoint_and_in_all_are_one() -> None:
    (finding,) = findings_of([failed("errors", "GET /a", effect=0.2), failed("errors", effect=0.1)])
    assert finding.worst.endpoint == "GET /a", "one endpoint has it: the whole comes of that"
    assert finding.endpoints == []
    many = [failed("errors", f"GET /{name}", effect=0.2) for name in "abc"]
    (finding,) = findings_of([*many, failed("errors", effect=0.1)])
    assert finding.worst.endpoint == "", "most of the traffic has it"
    assert finding.sentence.endswith("; worst at GET /a and 2 more")
    (finding,) = findings_of([failed("errors", effect=0.1), failed("errors", "GET /a", effect=0.2)])
    assert "worst at" not in finding.sentence


def test_conversations_together_stand_for_their_groups() -> None:
    whole = "all prompts"
    found = findings_of(
        [failed("content", whole, "llm refusal"), failed("content", "a", "llm refusal", effect=5)], whole
    )
    assert [one.worst.endpoint for one in found] == [whole]
    assert found[0].endpoints == ["a"]
    apart = findings_of([failed("content", whole, "llm refusal"), failed("content", "a", "llm refusal", effect=5)])
    assert [one.worst.endpoint for one in apart] == ["a"]


# --- which is the worst, and in what order ----------------------------------------------------------------------------


def test_a_median_tells_more_than_a_tail_however_large() -> None:
    for other in (failed("latency", "", "first_byte p99", effect=50.0), failed("slow", effect=50.0)):
        (worst,) = told(other, failed("latency", "", "last_byte p50", effect=0.2))
        assert worst.path == "last_byte p50"
    (worst,) = told(failed("latency", "", "last_byte p50", effect=9.0), failed("latency", "", "first_byte p50"))
    assert worst.path == "first_byte p50", "the last byte follows the first"
    (worst,) = told(failed("slow", effect=0.3), failed("latency", "", "first_byte p99", effect=0.2))
    assert worst.judge == "slow", "of tails the one farthest beyond its margin"


def test_harm_is_in_margins_and_then_by_evidence() -> None:
    near = failed("content", "GET /a", "body $.a", effect=0.5, margin=0.5)
    far = failed("content", "GET /b", "body $.a", effect=0.3, margin=0.001)
    assert told(near, far) == [far]
    sure = failed("content", "GET /c", "body $.a", effect=0.3, margin=0.001, log_e=90.0)
    assert told(near, far, sure) == [sure]


def test_critical_ones_come_first_and_judges_in_their_order() -> None:
    found = told(*(failed(judge, "", "first_byte p50" if judge == "latency" else judge) for judge in reversed(JUDGES)))
    assert [one.judge for one in found] == ["errors", "content", "capacity", "latency", "memory", "restarts", "cpu"]
    assert [one.critical for one in found] == [True] * 6 + [False]
    minor = failed("errors", critical=False)
    assert told(minor, failed("memory"))[-1] is minor


# --- sentences and their number ---------------------------------------------------------------------------------------


def test_a_finding_alone_says_its_own_sentence() -> None:
    alone = failed("memory", sentence="it leaks")
    assert Finding(alone, []).sentence == "it leaks"
    twice = Finding(failed("errors", "GET /a", sentence="it fails"), [failed("errors", "GET /a"), failed("errors", "")])
    assert twice.sentence == "it fails", "the same place, and the whole, are no further endpoints"
    one_more = Finding(failed("errors", "GET /a", sentence="it fails"), [failed("errors", "GET /b")])
    assert one_more.sentence == "it fails; and at 1 more endpoint: GET /b"


def test_a_view_names_a_few_endpoints() -> None:
    others = [failed("content", f"GET /{number}", "header etag") for number in range(20)]
    view = Finding(failed("content", "GET /x", "header etag"), others).view()
    assert len(view["also"]) == NAMED
    assert view["more"] == 20
    assert view["sentence"].count("GET /") == 1 + NAMED


def test_reasons_are_of_critical_findings_and_at_most_six() -> None:
    fields = [failed("content", "GET /a", f"body $.f{number}", effect=1 + number) for number in range(30)]
    reasons = reasons_of(findings_of([*fields, failed("cpu", sentence="dear")]))
    assert len(reasons) == MOST_REASONS == 6
    assert reasons[0].startswith("content body $.f29")
    assert reasons[-1] == "and 25 more, among the judges"
    assert "dear" not in "".join(reasons)
    assert reasons_of(findings_of([failed("cpu")])) == []


@given(st.lists(st.integers(0, 12)))
def test_limited_tells_each_once_or_how_many_more(numbers: list[int]) -> None:
    given_ones = [f"reason {number}" for number in numbers]
    found = limited(given_ones)
    distinct = list(dict.fromkeys(given_ones))
    assert len(found) <= MOST_REASONS
    if len(distinct) <= MOST_REASONS:
        assert found == distinct
    else:
        assert found[:-1] == distinct[: MOST_REASONS - 1]
        assert found[-1] == f"and {len(distinct) - (MOST_REASONS - 1)} more, among the judges"


made = st.builds(
    lambda judge, endpoint, point, effect, result: failed(
        judge, endpoint, point if judge in ("latency", "content") else "", effect, result=result
    ),
    st.sampled_from(JUDGES),
    st.sampled_from(["", "GET /a", "GET /b", "GET /c", "all"]),
    st.sampled_from([*POINTS, "event gap p99", "body $.a", "header etag"]),
    st.floats(0, 10),
    st.sampled_from(["fail", "fail", "pass", "inconclusive"]),
)


@given(st.lists(made, max_size=30), st.sampled_from(["", "all"]))
def test_each_failure_is_in_one_finding(judgements: list[Judgement], whole: str) -> None:
    found = findings_of(judgements, whole)
    inside = [one for finding in found for one in (finding.worst, *finding.others)]
    assert sorted(map(id, inside)) == sorted(id(one) for one in judgements if one.result == "fail")
    assert [one.worst.critical for one in found] == sorted((one.worst.critical for one in found), reverse=True)


# --- what comes of a failure ------------------------------------------------------------------------------------------


def test_a_failure_is_told_once_and_not_as_a_status_or_a_trailer_too() -> None:
    errors = failed("errors", "GET /items/{id}", effect=0.01, margin=0.001)
    paths = ("status failing", "status", "trailer grpc-status", "header grpc-message", "body $")
    look = [failed("content", "GET /items/{id}", path, effect=0.01) for path in paths]
    (finding,) = findings_of([*look, errors])
    assert finding.worst is errors
    assert finding.others == look


def test_what_differs_elsewhere_or_by_itself_is_told_beside_a_failure() -> None:
    errors = failed("errors", "GET /items/{id}", effect=0.01, margin=0.001)
    apart = [failed("content", "GET /orders/{id}", "status"), failed("content", "GET /items/{id}", "body $.price")]
    assert [one.path for one in told(errors, *apart)] == ["", "status", "body $.price"]
    alone = failed("content", "GET /items/{id}", "status failing")
    assert told(alone) == [alone], "where no judge of errors has spoken"


def test_all_of_the_content_fails_by_its_fields() -> None:
    field = failed("content", "GET /orders/{id}", "body $.total")
    assert told(failed("content", effect=0.3), field) == [field]
