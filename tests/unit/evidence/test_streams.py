"""Times of events in streamed answers: read from the pieces, and judged on both sides."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any

import pytest

from shadowd.compare import event_times
from shadowd.compare.event_times import stream_times
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.exchange.exchange import Response
from shadowd.judge.assessment import Assessment
from tests.unit.compare.exchanges import MS, SECOND, examine, request, side

EVENTS = b"text/event-stream"


def streamed(
    times: list[int], kind: bytes = EVENTS, event: bytes = b"data: x\n\n", chunked: bool = True, extra: bytes = b""
) -> Response:
    """An event at each of ``times`` (ns on whatever clock), in a piece of its own."""
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n" + framing + extra + b"\r\n"
    response = Response(200, head, 1000, times[0] - 5)
    body, marks = b"", []
    for time in times:
        body += b"%x\r\n%s\r\n" % (len(event), event) if chunked else event
        marks.append((1000 + len(head) + len(body), time))
    if chunked:
        body += b"0\r\n\r\n"
    response.body, response.body_length, response.end = body, len(body), 1000 + len(head) + len(body)
    marks[-1] = (response.end, times[-1])
    response.marks, response.last_byte = marks, times[-1]
    return response


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(
    ("kind", "event"),
    [
        (EVENTS + b"; charset=utf-8", b"event: tick\ndata: 1\n\n"),
        (b"application/x-ndjson", b'{"n":1}\n'),
        (b"application/grpc", b"\0\0\0\0\2\x08\1"),
        (b"application/grpc-web+proto", b"\1\0\0\0\0"),
    ],
)
def test_each_event_has_the_time_of_its_last_byte(kind: bytes, event: bytes, chunked: bool) -> None:
    found = stream_times(streamed([110, 130, 190], kind, event, chunked), 100)
    assert found is not None
    assert (found.events, found.gaps, found.last) == ([10, 30, 90], [20, 60], 90)


def test_an_event_in_two_pieces_came_with_the_second() -> None:
    response = streamed([110, 130])
    assert response.marks is not None
    offset, _ = response.marks[0]
    response.marks = [(offset - 4, 110), (offset + 1, 120), (response.end, 130)]
    found = stream_times(response, 100)
    assert found is not None
    assert found.events == [20, 30]


def test_messages_of_grpc_are_events_however_they_are_cut() -> None:
    """Two that came together, one in pieces; and the trailers of gRPC-web, which are none."""
    response = streamed([110, 120, 130, 140, 150], b"application/grpc", chunked=False, event=b"")
    begin = 1000 + len(response.head)
    one = b"\0\0\0\0\3abc"
    response.body = one + one + one + b"\x80\0\0\0\2ok"
    response.end = begin + len(response.body)
    response.marks = [(begin + at, 100 + at) for at in (16, 17, 20, 24)] + [(response.end, 150)]
    found = stream_times(response, 100)
    assert found is not None
    assert found.events == [16, 16, 24]
    response.body, response.end = one, begin + len(one)
    response.marks = [(begin + 4, 104), (begin + 8, 108)]
    assert stream_times(response, 100) is None, "a call with one answer is no stream"
    response.body = b"\x42" + one
    assert stream_times(response, 100) is None


def test_a_stream_that_goes_on_has_no_total() -> None:
    response = streamed([110, 130])
    response.open = True
    found = stream_times(response, 100)
    assert found is not None
    assert found.last == -1


def test_what_has_no_times_of_events() -> None:
    assert stream_times(streamed([110], b"application/json"), 0) is None
    assert stream_times(streamed([110], extra=b"Content-Encoding: gzip\r\n"), 0) is None
    untimed = streamed([110])
    untimed.marks = None
    assert stream_times(untimed, 0) is None
    too_long = streamed([110])
    too_long.digest = b"x"
    assert stream_times(too_long, 0) is None


def test_events_beyond_the_limit_keep_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_times, "MAX_EVENTS", 2)
    found = stream_times(streamed([1, 2, 3, 4]), 0)
    assert found is not None
    assert found.events == [1, 4]


def run(late: float = 1.0, apart: float = 1.0, exchanges: int = 1500) -> dict[str, Any]:
    """The whole report's endpoint and verdict; ``late``: of the first event, ``apart``: of the gaps."""
    dice = random.Random(5)
    examiner = Examiner(Settings(baseline=True), Rules())

    def times(base: int, first: float, gap: float) -> list[int]:
        gaps = [int(40 * MS * first * dice.lognormvariate(0, 0.15))]
        gaps += [int(20 * MS * gap * dice.lognormvariate(0, 0.2)) for _ in range(8)]
        return [base + at for at in accumulate(gaps)]

    for number in range(exchanges):
        asked = request("/events", time=SECOND + number * 60 * MS)
        examine(
            examiner, asked, streamed(times(asked.ended, 1, 1)), side(streamed(times(0, late, apart))),
            baseline=side(streamed(times(0, 1, 1))),
        )  # fmt: skip
    assessment = Assessment(examiner, exchanges, exchanges * 0.06)
    return {"verdict": assessment.finish(), "endpoint": assessment.endpoints[0]}


def found(made: dict[str, Any]) -> set[str]:
    return {one["path"].partition(" p")[0] for one in made["verdict"]["findings"]}


def test_a_later_first_event_is_named() -> None:
    assert found(run(late=1.3)) == {"first_event"}


def test_events_further_apart_are_named() -> None:
    made = run(apart=1.3)
    assert "between_events" in found(made)
    assert "first_event" not in found(made)
    view = made["endpoint"]["stream"]
    assert view["streams"] == 1500
    assert view["events"] == {"production": 13_500, "candidate": 13_500}
    gaps = view["between_events_ms"]
    assert gaps["candidate"]["p50"] / gaps["production"]["p50"] == pytest.approx(1.3, rel=0.05)
    assert gaps["candidate"]["p99"] > gaps["candidate"]["p50"]


def test_the_same_pace_passes() -> None:
    made = run()
    assert found(made) == set()
    judged = {one["path"]: one["result"] for one in made["verdict"]["judges"]}
    assert judged["first_event p50"] == judged["between_events p50"] == "pass"


def test_the_sentence_tells_the_point() -> None:
    sentences = [one["sentence"] for one in run(apart=1.5)["verdict"]["findings"]]
    assert any("the time between events is" in sentence for sentence in sentences)
