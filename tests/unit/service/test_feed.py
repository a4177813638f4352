"""Exchanges as they end: what is kept while somebody follows, what is told of what is gone, and what is not told."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shadowd.errors import ShadowdError, UsageError
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.ledger.budget import Budget
from shadowd.redact.redaction import Redactor
from shadowd.runs.recording import Recorder
from shadowd.service.feed import FOLLOWED, MAX_BYTES, MAX_ENTRIES, MAX_FOLLOWED, PAGE, Feed
from tests.unit.compare.exchanges import MS, answer, examine, request, side


class Place:
    """A feed of filters with a candidate each; the roster and the runs are what they are asked for here."""

    def __init__(self, *names: str, content: bool = True, limit: int = 0) -> None:
        self.now = 0
        self.runs = {name: self._run(name, content) for name in names or ("shop",)}
        self.budget = Budget(limit)
        current = SimpleNamespace(
            current={(name, run.target.url): run for name, run in self.runs.items()},
            of=lambda name: [run for run in self.runs.values() if run.entry.spec.name == name],
        )
        recorder = Recorder(Redactor(b"k" * 32), "node")
        roster: Any = SimpleNamespace(find=lambda name: name)
        self.feed = Feed(roster, current, recorder, self.budget, lambda: self.now)  # type: ignore[arg-type]
        self._place: dict[str, Any] = {}

    @staticmethod
    def _run(name: str, content: bool) -> Any:
        examiner = Examiner(Settings(twin=0.0, content=content), Rules([{"where": "body", "path": "$.nonce"}]))
        return SimpleNamespace(
            examiner=examiner, assessment=SimpleNamespace(differences=[]), target=SimpleNamespace(url=f"http://{name}"),
            entry=SimpleNamespace(spec=SimpleNamespace(name=name)),
        )  # fmt: skip

    def ask(self, name: str = "shop", **args: Any) -> dict[str, Any]:
        """As a client does, which asks from where it was."""

        async def call() -> dict[str, Any]:
            return await self.feed.follow({"name": name, **self._place, **args})

        found = trio.run(call)
        self._place = {"since": found["next"], "token": found["token"]}
        return found

    def end(
        self, count: int = 1, path: str = "/orders/{}", name: str = "shop", theirs: Any = None, status: int = 200
    ) -> None:
        for number in range(count):
            told = {"n": number}
            examine(
                self.runs[name].examiner, request(path.format(number), time=self.now + MS), answer(told),
                side(answer(told if theirs is None else theirs, status)),
            )  # fmt: skip


def test_nothing_is_kept_of_what_nobody_follows() -> None:
    place = Place("shop", "other")
    place.end(5)
    assert place.runs["shop"].examiner.watch is None
    assert place.ask()["entries"] == []
    assert place.runs["other"].examiner.watch is None
    place.end(2)
    place.end(2, name="other")
    found = place.ask()
    assert [one["path"] for one in found["entries"]] == ["/orders/0", "/orders/1"]
    assert (found["missed"], found["more"], found["broken"]) == (0, False, False)
    place.now = int((FOLLOWED + 1) * 1e9)
    place.end()
    assert place.runs["shop"].examiner.watch is None, "who asks no more is not served"
    assert place.budget.used == 0
    assert place.ask()["broken"], "and is told, if it comes back"


def test_a_run_that_begins_is_followed_and_another_ring_is_known() -> None:
    place = Place()
    place.ask()
    place.runs["shop"] = fresh = Place._run("shop", True)
    place.feed._runs.current["shop", "x"] = fresh
    place.feed.attach()
    place.end()
    found = place.ask()
    assert [one["path"] for one in found["entries"]] == ["/orders/0"]
    assert place.ask(token="of another daemon")["broken"]
    assert place.ask(since=None)["entries"] == []


def test_what_an_exchange_says() -> None:
    place = Place()
    place.ask()
    place.end(theirs={"n": 1})
    place.end(status=500)
    place.end(theirs={"n": 0, "nonce": 4})
    examiner = place.runs["shop"].examiner
    examine(examiner, request("/orders/9", "PUT"), answer({"n": 1}), side(None, failure="timeout"))
    examine(examiner, request("/orders/9"), answer({"n": 1}), side(None, shed="max_rps"))
    wrong, worse, noise, failed, shed = place.ask(values=True)["entries"]
    assert (wrong["differs"], wrong["worse"], wrong["noise"]) == (True, False, False)
    assert wrong["endpoint"] == "GET /orders/{id}"
    (found,) = wrong["differences"]
    assert (found["where"], found["path"], found["production"], found["candidate"]) == ("body", "$.n", "0", "1")
    assert found["label"] == "undecided"
    assert (worse["worse"], worse["status"], worse["shadow"]["status"]) == (True, 200, 500)
    assert (noise["differs"], noise["noise"], noise["differences"][0]["label"]) == (False, True, "noise")
    assert (failed["failed"], failed["worse"], failed["shadow"]["status"]) == ("timeout", True, None)
    assert (shed["shed"], shed["worse"], shed["shadow"]["latency_ms"]) == ("max_rps", False, None)
    listed = {group.name for point in examiner.endpoints.values() for field in point.fields.values()
              for group in field.groups.values()}  # fmt: skip
    assert found["id"] in listed, "the id that diffs lists"


def test_who_is_too_slow_is_told_how_many_are_gone() -> None:
    place = Place()
    place.ask()
    place.end(MAX_ENTRIES + 100)
    seen, missed, more = 0, 0, True
    while more:
        found = place.ask()
        seen, missed, more = seen + len(found["entries"]), missed + found["missed"], found["more"]
        assert len(found["entries"]) <= PAGE
    assert (seen, missed) == (MAX_ENTRIES, 100)


def test_memory_is_bounded_and_charged() -> None:
    place = Place()
    place.ask()
    place.end(9, path="/x?" + "y" * 3000, theirs={f"k{n}" * 40: "v" * 500 for n in range(60)})
    place.end(3000, path="/x/{}?" + "y" * 3000)
    assert MAX_BYTES // 2 < place.budget.used <= MAX_BYTES
    assert place.ask()["missed"] > 0
    small = Place(limit=10_000)
    small.ask()
    small.end(100)
    assert small.budget.used <= 10_000
    assert 0 < small.ask()["missed"] < 100


def test_one_answer_fits_the_control_socket() -> None:
    place = Place()
    place.ask()
    place.end(20, path="/x?" + "y" * 3000, theirs={f"k{n}" * 60: "\u2028" * 500 for n in range(60)})
    place.end(600, path="/{}?" + "y" * 3000)
    found = place.ask(values=True)
    assert len(json.dumps(found)) < 1 << 20
    assert found["more"]
    assert all(len(one["path"]) <= 1001 for one in found["entries"])


def test_secrets_and_what_is_not_to_be_shown_are_not() -> None:
    place = Place()
    place.ask()
    secret = "s3cr3t-hunter2-value"
    place.end(3, path=f"/login?password={secret}", theirs={"n": 0, "password": secret, "note": secret})
    told = json.dumps(place.ask(values=True))
    assert secret not in told
    assert "[redacted:" in told
    measures = Place(content=False)
    measures.ask()
    measures.end(path="/orders/7?who=alice", theirs={"n": 12})
    (entry,) = measures.ask(values=True)["entries"]
    assert (entry["path"], entry["endpoint"], entry["differs"]) == ("", "GET /orders/{id}", True)
    assert set(entry["differences"][0]) == {"id", "where", "path", "kind", "label"}


def test_wrong_questions() -> None:
    place = Place(*(f"f{number}" for number in range(MAX_FOLLOWED + 1)))
    for wrong in ({"name": 7}, {"name": "f0", "since": "x"}, {"name": "f0", "target": "http://none"}):
        with pytest.raises(UsageError):
            _run(place.feed.follow(wrong))
    with pytest.raises(ShadowdError, match="compares nothing"):
        _run(place.feed.follow({"name": "nobody"}))
    for number in range(MAX_FOLLOWED):
        place.ask(f"f{number}")
    with pytest.raises(ShadowdError, match="8 filters are followed already"):
        place.ask(f"f{MAX_FOLLOWED}")
    place.now = int((FOLLOWED + 1) * 1e9)
    assert place.ask(f"f{MAX_FOLLOWED}")["entries"] == [], "those that were left make room"


def _run(call: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await call

    return trio.run(main)
