"""The same version on both sides, a hundred times: what varies by itself must name nothing, and must not stop a pass.

Each run is 20,000 exchanges of a service whose answers carry random ids, timestamps, shuffled keys, nonces and rare
failures, through the real examiner, looked at again and again as ``verdict --wait`` does.
"""

from __future__ import annotations

import random

from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.exchange.exchange import Response
from shadowd.judge.assessment import Assessment
from tests.unit.compare.exchanges import MS, answer, examine, request, side

RUNS = 100
EXCHANGES = 20_000
LOOKS = (500, 1_000, 2_000, 4_000, 7_000, 10_000, 14_000, 20_000)
RATE = 1_000 * MS // 120


STEADY = [answer({"id": number, "price": number * 7 % 1000}) for number in range(97)]
FAILED = answer({"error": "no connection to the database"}, 500)


def served(dice: random.Random, number: int, path: str) -> Response:
    """One answer of the version: the same data, and everything that a second asking changes."""
    if dice.random() < 0.0002:
        return fresh(FAILED)
    if path != "/orders/":
        return fresh(STEADY[number % 97])
    fields = [
        ("id", number),
        ("price", number * 7 % 1000),
        ("time", dice.random()),
        ("nonce", f"{dice.getrandbits(96):024x}"),
        ("cached", dice.random() < 0.03),
    ]
    dice.shuffle(fields)
    return answer(dict(fields), headers={"X-Request-Id": f"{dice.getrandbits(64):016x}"})


def fresh(known: Response) -> Response:
    made = Response(known.status, known.head, 0, 0)
    made.body, made.body_length, made.end = known.body, known.body_length, known.end
    return made


def one_run(seed: int) -> tuple[bool, str]:
    """Whether any look named something, and the last verdict."""
    dice = random.Random(seed)
    examiner = Examiner(Settings(twin=0.05), Rules())
    load, named, verdict = 1.0, False, ""
    for number in range(1, EXCHANGES + 1):
        path = dice.choices(("/items/", "/orders/", "/search?q=", "/health"), (70, 12, 3, 15))[0]
        asked = request(path if path == "/health" else path + str(number % 997), time=number * RATE)
        production, twin = served(dice, number, path), None
        candidate = side(served(dice, number, path))
        load += 0.02 * (1 - load) + dice.gauss(0, 0.02)  # both sides share the host's weather
        slow = (4 if path == "/search?q=" else 1) * max(load, 0.2) * MS
        production.first_byte = production.last_byte = asked.ended + int(slow * dice.lognormvariate(0, 0.25))
        candidate.first_byte = candidate.last_byte = int(slow * dice.lognormvariate(0, 0.25))
        if examiner.wants_twin(asked, dice.random()):
            twin = side(served(dice, number, path))
        examine(examiner, asked, production, candidate, twin=twin)
        if number in LOOKS:
            found = Assessment(examiner, examiner.compared, number * RATE / 1e9).finish()
            named |= bool(found["findings"])
            verdict = found["verdict"]
    return named, verdict


def test_a_hundred_releases_that_changed_nothing() -> None:
    runs = [one_run(seed) for seed in range(RUNS)]
    assert sum(1 for named, _ in runs if not named) >= 95
    assert sum(1 for _, verdict in runs if verdict == "pass") >= 80, "the catalogue's bound"
