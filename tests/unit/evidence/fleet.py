"""Worlds for the merging of evidence: the same exchanges seen by one examiner, and dealt out to several by connection.

Everything that two sides do is drawn beforehand, each side's on its own; what happens to a side in time (a blip of
503s, a pause, a load that wanders, a restart) happens to all of its connections, as it does to real ones.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from shadowd.evidence.conditions import conditions_of
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.gathering import gather
from shadowd.evidence.margins import Margins
from shadowd.evidence.merging import EMPTY, merge
from shadowd.evidence.rules import Rules
from shadowd.evidence.trial import Side
from shadowd.exchange.exchange import Response
from shadowd.judge.assessment import Assessment
from shadowd.judge.merged import assess_untrusted
from tests.unit.compare.exchanges import MS, SECOND, answer, examine, request, side

#: Seconds before anything is said; the runs are that short, so that they are many.
LEAST = 6.0
BEGIN = 1_000 * SECOND
#: Wide enough for 4,000 exchanges to pass.
WIDE = Margins(max_error_increase=0.02, max_diff_share=0.02, max_slowdown=(0.3, 0.4, 0.6), max_slow_increase=0.02)


class World(NamedTuple):
    """What happens. Rates and lengths in seconds; ``slower``, ``wrong``, ``failing``: of the candidate alone."""

    rate: float = 160.0
    seconds: float = 28.0
    connections: int = 24
    spread: float = 0.4  # of log-latencies
    wander: float = 0.0  # sd of each side's own load, which wanders with ``memory`` seconds
    memory: float = 3.0
    blips: float = 0.0  # of 503s, on each side at its own times: so many a minute
    blip: float = 0.3
    pauses: float = 0.0  # likewise: nothing is answered for so long
    pause: float = 0.2
    restarts: int = 0  # of the candidate
    noise: float = 0.05  # of answers: those with a field that is another in each
    baseline: bool = False
    twin: float = 0.1
    slower: float = 1.0
    wrong: float = 0.0
    failing: float = 0.0


#: Two copies of one release, as services are.
SAME: Mapping[str, World] = {
    "independent": World(),
    "blips": World(blips=12.0),
    "pauses": World(pauses=20.0),
    "loads that wander": World(wander=0.15),
    "a restart": World(restarts=1),
    "a baseline": World(baseline=True, blips=6.0),
    "few connections": World(connections=5, pauses=10.0),
}
_FINE = answer({"id": 7, "total": 3})
_WRONG = answer({"id": 7, "total": 4})
_DOWN = answer({"error": "no backend"}, 503)


class Sides:
    """What one side does over time."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        end = world.seconds
        self.blips = _times(dice, world.blips, end, world.blip)
        self.pauses = _times(dice, world.pauses, end, world.pause)
        self._load, self._at = dice.gauss(0, 1), 0.0

    def took(self, at: float) -> int:
        """ns until the answer to what is asked then."""
        world = self.world
        if world.wander:
            kept = math.exp((self._at - at) / world.memory)
            self._load = self._load * kept + self.dice.gauss(0, 1) * math.sqrt(1 - kept * kept)
            self._at = at
        took = 20 * MS * math.exp(world.spread * self.dice.gauss(0, 1) + world.wander * self._load)
        late = next((end - at for begin, end in self.pauses if begin <= at < end), 0.0)
        return int(took + late * SECOND)

    def is_down(self, at: float) -> bool:
        return any(begin <= at < end for begin, end in self.blips)


def _times(dice: random.Random, a_minute: float, seconds: float, length: float) -> list[tuple[float, float]]:
    found, at = [], 0.0
    while a_minute:
        at += dice.expovariate(a_minute / 60)
        if at > seconds:
            break
        found.append((at, at + length))
    return found


def exchanges(world: World, seed: int) -> Iterator[dict[str, Any]]:
    """Each as ``examine`` takes it."""
    dice = random.Random(seed)
    production, candidate, third = (Sides(world, random.Random(f"{seed}/{one}")) for one in "PCB")
    away = [(at, at + 0.8) for at in sorted(dice.uniform(2, world.seconds - 2) for _ in range(world.restarts))]
    at = 0.0
    while True:
        at += dice.expovariate(world.rate)
        if at >= world.seconds:
            return
        time = BEGIN + int(at * SECOND)
        here = any(begin <= at < end for begin, end in away)
        fate = dice.random()
        theirs = candidate.is_down(at) or fate < world.failing
        wrong = world.failing <= fate < world.failing + world.wrong
        sides = {"candidate": _side(world, candidate, at, theirs, wrong, slower=world.slower)}
        if here:
            sides["candidate"] = side(None, failure="connect")
        if world.baseline:
            sides["baseline"] = _side(world, third, at, third.is_down(at))
        elif dice.random() < world.twin and not here:
            sides["twin"] = _side(world, candidate, at, theirs, wrong)
        took = production.took(at)
        answered = _copy(world, production, _DOWN if production.is_down(at) else _FINE, time + took)
        asked = request(f"/orders/{dice.randrange(10**6)}" if dice.random() < 0.7 else "/cart", time=time)
        yield {"asked": asked, "production": answered, "connection": dice.randrange(world.connections), **sides}


def _side(world: World, of: Sides, at: float, down: bool, wrong: bool = False, slower: float = 1.0) -> Side:
    took = int(of.took(at) * slower)
    return side(_copy(world, of, _DOWN if down else _WRONG if wrong else _FINE, took), took=took)


def _copy(world: World, of: Sides, like: Response, time: int) -> Response:
    made = Response(like.status, like.head, 0, time)
    made.body = like.body
    if like is not _DOWN and of.dice.random() < world.noise:
        made.body = like.body[:-1] + b', "nonce": %d}' % of.dice.randrange(10**9)
    made.body_length, made.end, made.last_byte = len(made.body), len(made.head) + len(made.body), time
    return made


def settings(world: World, **more: Any) -> Settings:
    given: dict[str, Any] = {
        "min_span": LEAST,
        "baseline": world.baseline,
        "twin": 0.0 if world.baseline else world.twin,
    }
    return Settings(**(given | more))


def dealt(world: World, seed: int, nodes: int, bad: World | None = None) -> tuple[Examiner, list[Examiner]]:
    """One examiner that saw all, and ``nodes`` that saw theirs, each numbering its connections anew. ``bad``: what
    happens at the first node instead."""
    told = settings(world)
    one, several = Examiner(told, Rules()), [Examiner(told, Rules()) for _ in range(nodes)]
    places = list(range(world.connections))
    random.Random(f"{seed}/deal").shuffle(places)
    streams = itertools.tee(exchanges(world, seed)) if bad is None else (exchanges(world, seed), exchanges(bad, seed))
    for given, otherwise in zip(*streams, strict=True):
        node, connection = places[given["connection"]] % nodes, places[given["connection"]] // nodes
        here = otherwise if not node else given
        examine(one, **here)
        examine(several[node], **{**here, "connection": connection})
    return one, several


def value_of(examiner: Examiner, node: str = "n1", **changed: Any) -> Mapping[str, Any]:
    """As a daemon would export it."""
    told = {"name": "shop", "target": "http://shop-next:8080", "label": "v2"} | changed
    part = {
        "node": node, "began": 1.0, "seconds": (examiner.latest - examiner.began) / SECOND,
        "eligible": examiner.compared + sum(examiner.shed.values()), "notes": (), "unseen": "", "memory": None,
        "production": None, "cpu": None,
    }  # fmt: skip
    return gather(examiner, conditions_of(examiner.settings, examiner.rules, **told), {node: part})


def merged(examiners: list[Examiner], order: list[int] | None = None) -> Mapping[str, Any]:
    values = [value_of(one, f"n{number}") for number, one in enumerate(examiners)]
    whole = EMPTY
    for number in order or range(len(values)):
        whole = merge(whole, values[number])
    return whole


def verdicts(
    world: World, seed: int, nodes: int, minded: Sequence[Margins] = (Margins(),)
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(of one examiner, of several merged), by each of the margins."""
    one, several = dealt(world, seed, nodes)
    value, found = merged(several), []
    for margins in minded:
        one.settings.margins = margins
        found.append((_verdict(one), assess_untrusted(with_margins(value, margins)).verdict))
    return found


def _verdict(one: Examiner) -> dict[str, Any]:
    return Assessment(one, one.compared + sum(one.shed.values()), (one.latest - one.began) / SECOND).finish()


def with_margins(value: Mapping[str, Any], margins: Margins) -> Mapping[str, Any]:
    """Counted the same, minded otherwise."""
    told = {name: getattr(margins, name) for name in Margins.__slots__}
    told["critical"], told["max_slowdown"] = sorted(margins.critical), list(margins.max_slowdown)
    conditions = value["conditions"]
    return {**value, "conditions": {**conditions, "settings": {**conditions["settings"], **told}}}
