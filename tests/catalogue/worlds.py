"""Services as they are: seeded worlds of production P, candidate C, its twin T, and a baseline B.

A world is arrays over its exchanges: when each arrives, at which endpoint and connection, how long every side takes and
what it answers. ``play`` of a subclass says what happens there; its docstring says why that is no fault of the release,
or, where ``fault`` is set, what the fault is. T is a second question to C's process: it shares C's weather.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

SECOND = 1_000_000_000
MS = 1_000_000
#: The shadow is asked that much after production: what the daemon's replay takes on a quiet host.
LAG = 4 * MS
ITEMS = 97
ENDPOINTS = (
    ("/items/", 40), ("/orders/", 20), ("/users/", 12), ("/search", 8), ("/health", 8), ("/cart/", 6),
    ("/reviews/", 3), ("/stock/", 2), ("/promo", 1),
)  # fmt: skip
ITEM, ORDER, USER, SEARCH, HEALTH, CART, REVIEW, STOCK, PROMO = range(9)
EPOCH = 1_790_000_000  # wall clock at the world's beginning (s)

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Template = tuple[int, bytes, bytes]

#: Codes of answers that are none.
RESET, REFUSED = -1, -2


def answer(status: int, content: Any, headers: tuple[tuple[str, str], ...] = ()) -> Template:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return status, ("\r\n".join(lines) + "\r\n\r\n").encode(), body


def item(key: int) -> dict[str, Any]:
    return {"id": key, "price": key * 7 % 1000, "name": f"item {key}", "stock": key % 13, "tags": ["a", "b"]}


class World:
    """See the module's head."""

    modes: ClassVar[tuple[str, ...]] = ("twin", "baseline")
    #: What is wrong with the candidate; "" for identical versions.
    fault: ClassVar[str] = ""
    #: Exchanges (of ``endpoint`` if that is set) within which the fault is to be found, counted from ``since``.
    within: ClassVar[int] = 0
    endpoint: ClassVar[int] = -1
    since: ClassVar[int] = 0
    #: Share of runs that may ever fail, and that must pass by the end of ten minutes at 300/s.
    may_fail: ClassVar[float] = 0.05
    must_pass: ClassVar[float] = 0.8
    #: Modes in which nobody can know by then: what is asked of those is a reason an operator can act on.
    undecidable: ClassVar[tuple[str, ...]] = ()
    connections: ClassVar[int] = 64
    median: ClassVar[float] = 20.0  # ms
    sigma: ClassVar[float] = 0.4  # of the logarithm of a latency, each side's own
    #: Exchanges a run needs if the default is too few.
    least: ClassVar[int] = 0

    def __init__(self, seed: int, mode: str, rate: float = 300.0, seconds: float = 600.0) -> None:
        self.seed, self.mode, self.rate = seed, mode, rate
        random = self.random = np.random.default_rng([seed, sum(map(ord, type(self).__name__))])
        n = self.n = max(int(rate * seconds), self.least)
        self.seconds = n / rate
        self.at: Floats = np.cumsum(random.exponential(1 / rate, n))  # s
        self.sides = "PCT" if mode == "twin" else "PCB"
        shares = np.array([share for _, share in ENDPOINTS], float)
        self.ep = random.choice(len(ENDPOINTS), n, p=shares / shares.sum())
        self.key = random.integers(0, ITEMS, n)
        self.user = random.integers(0, 2000, n)
        self.conn = random.integers(0, self.connections, n)
        self.path = np.full(n, -1)  # another id than ``key`` in the target
        self.write: Mask = np.zeros(n, bool)  # a POST that is not mirrored
        self.written: dict[int, bytes] = {}  # target of a write, by exchange
        self.own_lag: Mask = np.zeros(n, bool)  # the daemon itself did not send it
        self.late: Mask = np.zeros(n, bool)
        self.templates: list[Template] = [answer(200, item(key)) for key in range(ITEMS)]
        self._codes: dict[Any, int] = {}
        self.lat = {s: self.median * np.exp(self.sigma * random.standard_normal(n)) for s in self.sides}  # ms
        self.last = {s: np.zeros(n) for s in self.sides}  # ms from first to last byte
        self.code = {s: self.key.copy() for s in self.sides}
        self.play()

    def play(self) -> None:
        """What happens."""

    @classmethod
    def wanted(cls, mode: str) -> float:
        """Share of runs that must pass."""
        return 0.0 if mode in cls.undecidable else cls.must_pass

    # --- what worlds are made of ----------------------------------------------------------------------------------

    @property
    def processes(self) -> str:
        return "PC" if self.mode == "twin" else "PCB"

    def each(self, make: Callable[[], Any]) -> dict[str, Any]:
        """Something of its own for every process; a twin has its candidate's."""
        made = {process: make() for process in self.processes}
        if "T" in self.sides:
            made["T"] = made["C"]
        return made

    def one_of(self) -> str:
        """The candidate or its reference, by a coin's toss."""
        return ("C", "B" if self.mode == "baseline" else "P")[int(self.random.integers(2))]

    def mine(self, process: str) -> str:
        return "CT" if process == "C" and self.mode == "twin" else process

    def during(self, starts: Any, length: float) -> Mask:
        """Exchanges that arrive within ``length`` s of any of the starts."""
        starts = np.sort(np.atleast_1d(np.asarray(starts, float)))
        if not len(starts):
            return np.zeros(self.n, bool)
        before = np.searchsorted(starts, self.at, side="right") - 1
        return (before >= 0) & (self.at < starts[np.maximum(before, 0)] + length)

    def periodic(self, every: float) -> Floats:
        return np.arange(self.random.uniform(0, every), self.at[-1], every)

    def once(self, length: float) -> float:
        return float(self.random.uniform(0, max(1.0, self.at[-1] - length)))

    def often(self, every: float) -> Floats:
        """At random moments, so often on average."""
        return self.random.uniform(0, self.at[-1], self.random.poisson(self.at[-1] / every))

    def chance(self, share: float) -> Mask:
        return self.random.random(self.n) < share

    def load(self, tau: float, deviation: float) -> Floats:
        """An Ornstein–Uhlenbeck process of log-latency."""
        step = min(tau / 20, 0.5)
        times = np.arange(0, self.at[-1] + 2 * step, step)
        keep = math.exp(-step / tau)
        shocks = (self.random.standard_normal(len(times)) * deviation * math.sqrt(1 - keep * keep)).tolist()
        value = float(self.random.standard_normal()) * deviation
        values = []
        for shock in shocks:
            values.append(value)
            value = keep * value + shock
        return np.interp(self.at, times, values)

    def known(self, name: Any, make: Callable[[], Template]) -> int:
        """The code of a template."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.templates)
            self.templates.append(make())
        return code

    def says(self, side: str, where: Mask, values: Any, make: Callable[[int], Template]) -> None:
        """There the side answers ``make(value)``."""
        indices = np.flatnonzero(where)
        values = np.broadcast_to(np.asarray(values), (self.n,))[indices]
        different, which = np.unique(values, return_inverse=True)
        codes = np.array([self.known((make, int(v)), lambda v=int(v): make(v)) for v in different], int)  # type: ignore[misc]
        if len(codes):
            self.code[side][indices] = codes[which]

    def error(self, side: str, where: Mask, status: int = 503) -> None:
        code = self.known(status, lambda: answer(status, {"error": f"status {status}"}))
        self.code[side][where & (self.code[side] >= 0)] = code

    def when(self, side: str) -> Floats:
        """The moment at which the side answers (s)."""
        return self.at + (0.0 if side == "P" else LAG / SECOND) + self.lat[side] / 1000


WORLDS: dict[str, type[World]] = {}


def world(name: str) -> Callable[[type[World]], type[World]]:
    def take(made: type[World]) -> type[World]:
        WORLDS[name] = made
        return made

    return take


def variant(name: str, base: type[World], text: str, **values: Any) -> None:
    WORLDS[name] = type(name, (base,), {"__doc__": text, **values})


# --- errors that are weather ----------------------------------------------------------------------------------------


@world("independent")
class Independent(World):
    """Two copies of one version, each exchange on its own: nothing happens."""


class Blip(World):
    """Each side answers 503 once, for ``length`` s at a time of its own: a deploy, a failover."""

    length = 2.0

    def play(self) -> None:
        starts = self.each(lambda: self.once(self.length))
        for side in self.sides:
            self.error(side, self.during(starts[side], self.length))


for _name, _length in (("blip_2s", 2.0), ("blip_200ms", 0.2), ("blip_50ms", 0.05)):
    variant(
        _name, Blip, f"Each side answers 503 once for {_length} s, at its own time: one event each.", length=_length
    )


class OneSided(World):
    """One side, by a coin's toss, answers 503 for ``length`` s: it could as well have hit the other."""

    length = 2.0

    def play(self) -> None:
        where = self.during(self.once(self.length), self.length)
        for side in self.mine(self.one_of()):
            self.error(side, where)


variant("one_side_2s", OneSided, "One side by coin toss answers 503 for 2 s: one event.")
variant(
    "one_side_20s", OneSided, "One side by coin toss answers 503 for 20 s: one event.",
    length=20.0, undecidable=World.modes,
)  # fmt: skip


class Periodic(World):
    """Each side answers 503 for ``length`` s every ``every`` s, in its own phase: both are away as long."""

    length, every = 0.1, 60.0

    def play(self) -> None:
        starts = self.each(lambda: self.periodic(self.every))
        for side in self.sides:
            self.error(side, self.during(starts[side], self.length))


for _name, _length, _every in (
    ("periodic_100ms", 0.1, 60.0),
    ("periodic_30ms", 0.03, 20.0),
    ("periodic_1s", 1.0, 100.0),
):
    variant(
        _name, Periodic, f"503 for {_length} s every {_every:.0f} s on each side, own phase: both as long.",
        length=_length, every=_every,
    )  # fmt: skip


@world("common_bursts")
class CommonBursts(World):
    """A database both use is away for 0.3 s every 30 s: both sides fail together."""

    def play(self) -> None:
        away = self.during(np.arange(5, self.at[-1], 30.0), 0.3)
        for side in self.sides:
            self.error(side, away & self.chance(0.98))


@world("own_errors")
class OwnErrors(World):
    """Every version fails 0.5 % of its requests, each on its own."""

    def play(self) -> None:
        for side in self.sides:
            self.error(side, self.chance(0.005))


@world("one_client_of_ten")
class OneClient(World):
    """One client in ten asks for what does not exist: 404 on all sides, and 500 for some of it."""

    def play(self) -> None:
        bad = self.conn % 10 == 3
        for side in self.sides:
            self.error(side, bad, 404)
            self.error(side, bad & (self.key < 10), 500)


@world("rate_limited")
class RateLimited(World):
    """Each side lets 310 requests of 300 a second pass, bursts of 30: second copies take the place of others."""

    undecidable = ("twin",)  # twins do add load: the reason says so

    def play(self) -> None:
        asked_twice = self.chance(0.05)
        for side in self.processes:
            tokens, before = 30.0, 0.0
            limited = np.zeros(self.n, bool)
            extra = asked_twice if side == "C" and self.mode == "twin" else np.zeros(self.n, bool)
            for i, (now, twice) in enumerate(zip(self.at.tolist(), extra.tolist(), strict=True)):
                tokens = min(30.0, tokens + (now - before) * self.rate * 31 / 30)
                before = now
                for _ in range(1 + twice):
                    if tokens < 1:
                        limited[i] = True
                    else:
                        tokens -= 1
            for one in self.mine(side):
                self.error(one, limited, 429)


# --- restarts, and the daemon itself --------------------------------------------------------------------------------


@world("shadow_restarted")
class ShadowRestarted(World):
    """The candidate's process is restarted: connections are refused for 1 s."""

    def play(self) -> None:
        for side in self.mine("C"):
            self.code[side][self.during(self.once(1.0), 1.0)] = REFUSED


@world("production_restarted")
class ProductionRestarted(World):
    """Production is restarted: its connections are reset for 1 s, shadows answer."""

    def play(self) -> None:
        self.code["P"][self.during(self.once(1.0), 1.0)] = RESET


@world("daemon_late")
class DaemonLate(World):
    """Our host is busy: 0.5 % of the requests are not sent (own_lag), 3 % leave late and take 30 ms more."""

    def play(self) -> None:
        busy = self.during(self.often(30.0), 1.5)
        self.own_lag = busy & self.chance(0.1)
        self.late = busy & self.chance(0.6)
        for side in self.sides[1:]:
            self.lat[side][self.late] += 30


@world("daemon_stopped")
class DaemonStopped(World):
    """SIGSTOP of the daemon for 8 s: nothing is sent meanwhile, what waits then leaves late."""

    def play(self) -> None:
        start = self.once(10.0)
        self.own_lag = self.during(start, 8.0)
        self.late = self.during(start + 8.0, 0.5)
        for side in self.sides[1:]:
            self.lat[side][self.late] += 50


# --- pace that is weather -------------------------------------------------------------------------------------------


@world("gc_pauses")
class Pauses(World):
    """Each process stops for some 250 ms every 15 s on average: who comes then waits till it is over."""

    undecidable = World.modes  # 1.7 % wait: p99 is how long, and that is told by forty pauses

    def play(self) -> None:
        def wait() -> Floats:
            starts = np.sort(self.often(15.0))
            if not len(starts):
                return np.zeros(self.n)
            lengths = self.random.exponential(0.25, len(starts))
            which = np.searchsorted(starts, self.at, side="right") - 1
            left = np.where(which >= 0, (starts + lengths)[np.maximum(which, 0)] - self.at, 0.0)
            return np.maximum(left, 0) * 1000

        waits = self.each(wait)
        for side in self.sides:
            self.lat[side] += waits[side]


@world("cron_5min")
class Cron(World):
    """A job of 20 s each five minutes doubles a side's latency, in its own phase."""

    undecidable = World.modes  # p99 is the job's, and there were two

    def play(self) -> None:
        starts = self.each(lambda: self.periodic(300.0))
        for side in self.sides:
            self.lat[side][self.during(starts[side], 20.0)] *= 2


@world("noisy_neighbour")
class Neighbour(World):
    """A neighbour makes one side, by coin toss, half slower again for 15 s."""

    def play(self) -> None:
        where = self.during(self.once(15.0), 15.0)
        for side in self.mine(self.one_of()):
            self.lat[side][where] *= 1.5


class SlowLoad(World):
    """Each host's load wanders by itself."""

    tau, deviation = 10.0, 0.1

    def play(self) -> None:
        loads = self.each(lambda: np.exp(self.load(self.tau, self.deviation)))
        for side in self.sides:
            self.lat[side] *= loads[side]


for _tau in (10, 30, 60, 300):
    for _sd in (10, 20):
        variant(
            f"load_{_tau}s_{_sd}%", SlowLoad, f"Each host's own load: sd {_sd} %, correlated over {_tau} s.",
            tau=float(_tau), deviation=_sd / 100, may_fail=0.15 if _tau > 30 else 0.05,
            undecidable=World.modes,
        )  # fmt: skip


class ColdStart(World):
    """The candidate was just started: five times slower, and faster by and by."""

    tau = 10.0

    def play(self) -> None:
        for side in self.mine("C"):
            self.lat[side] *= 1 + 4 * np.exp(-self.at / self.tau)


variant("cold_start_10s", ColdStart, "A candidate started a moment ago: 5 times slower, falling with τ = 10 s.")
variant(
    "cold_start_30s", ColdStart, "A candidate started a moment ago: 5 times slower, falling with τ = 30 s.", tau=30.0
)


@world("cold_cache")
class ColdCache(World):
    """Candidate and baseline have an empty cache: X-Cache: MISS and 30 ms the first time, as production had it once."""

    def play(self) -> None:
        for side in self.sides:
            hit = np.zeros(self.n, bool)
            seen: set[tuple[int, int]] = set()
            if side == "P":
                hit[:] = self.random.random(self.n) < 0.995
            else:
                for i, asked in enumerate(zip(self.ep.tolist(), self.key.tolist(), strict=True)):
                    hit[i] = asked in seen
                    seen.add(asked)
            self.lat[side][~hit] += 30
            self.says(side, np.ones(self.n, bool), self.key * 2 + hit, _cached)


def _cached(value: int) -> Template:
    return answer(200, item(value // 2), (("X-Cache", "HIT" if value % 2 else "MISS"),))


@world("timers_10ms")
class Timers(World):
    """The service wakes by a timer of 10 ms: every latency is a multiple of that."""

    def play(self) -> None:
        for side in self.sides:
            self.lat[side] = np.maximum(1, np.ceil(self.lat[side] / 10)) * 10


@world("slow_clients")
class SlowClients(World):
    """One client in eight reads slowly: at production alone the last byte is 80 ms late."""

    def play(self) -> None:
        self.last["P"][self.conn % 8 == 1] = 80.0


# --- state ----------------------------------------------------------------------------------------------------------


@world("post_then_get")
class PostThenGet(World):
    """2 % of the requests create an order, which is not mirrored; it is read back: 404 at every shadow."""

    def play(self) -> None:
        self.write = self.chance(0.02)
        made = np.cumsum(self.write)
        back = self.chance(0.04) & (made > 0) & ~self.write
        which = 10_000 + np.maximum(1, made - self.random.integers(0, 5, self.n))
        self.ep[back], self.path[back] = ORDER, which[back]
        for side in self.sides:
            self.code[side][~back] = self.key[~back]
        self.says("P", back, which, _order)
        for side in self.sides[1:]:
            self.error(side, back, 404)
        for i in np.flatnonzero(self.write).tolist():
            self.written[i] = b"/orders"
        self.says("P", self.write, 10_000 + made, _created)


def _order(value: int) -> Template:
    return answer(200, {"id": value, "state": "paid"})


def _created(value: int) -> Template:
    return answer(201, {"id": value}, (("Location", f"/orders/{value}"),))


@world("login_not_mirrored")
class Logins(World):
    """Logins are writes: sessions begun since the run began are unknown at every shadow, which answers 401."""

    def play(self) -> None:
        self.write = self.chance(0.005)
        for i in np.flatnonzero(self.write).tolist():
            self.written[i] = b"/login"
        self.says("P", self.write, self.user, _session)
        begun = self.random.uniform(0, 3.3 * self.at[-1], 2000)
        for side in self.sides[1:]:
            self.error(side, (self.ep == CART) & (begun[self.user] < self.at), 401)


def _session(value: int) -> Template:
    return answer(200, {"user": value}, (("Set-Cookie", f"session=s{value}; Path=/"),))


@world("write_elsewhere")
class WriteElsewhere(World):
    """An order lowers the stock that production tells elsewhere: the shadows do not know of it."""

    def play(self) -> None:
        self.write = self.chance(0.01)
        for i in np.flatnonzero(self.write).tolist():
            self.written[i] = b"/stock/%d/take" % self.key[i]
        taken = np.zeros(self.n, int)
        by_key = [0] * ITEMS
        for i, (key, write) in enumerate(zip(self.key.tolist(), self.write.tolist(), strict=True)):
            by_key[key] += write
            taken[i] = by_key[key]
        self.says("P", self.write, 0, _taken)
        told = (self.ep == STOCK) & ~self.write
        for side in self.sides:
            self.says(side, told, self.key * 100_000 + (taken if side == "P" else 0), _stock)


def _taken(value: int) -> Template:
    return answer(204, b"")


def _stock(value: int) -> Template:
    return answer(200, {"id": value // 100_000, "left": 50_000 - value % 100_000})


@world("replica_lag")
class ReplicaLag(World):
    """Shadows read a replica 100 ms behind; two prices a second change."""

    def play(self) -> None:
        changes = [np.sort(self.often(ITEMS / 2)) for _ in range(ITEMS)]
        priced = self.ep <= ORDER
        for side in self.sides:
            seen = self.when(side) - (0.0 if side == "P" else 0.1)
            versions = np.zeros(self.n, int)
            for key in range(ITEMS):
                mine = self.key == key
                versions[mine] = np.searchsorted(changes[key], seen[mine])
            self.says(side, priced, self.key * 100_000 + versions, _stock)


# --- content that varies by itself ----------------------------------------------------------------------------------


class Pods(World):
    """Two pods behind each side, chosen by connection, differ in a field. A second copy has connections of its own."""

    def play(self) -> None:
        for side in self.sides:
            pods = self.random.integers(0, 2, self.connections)
            self.says(side, self.ep == USER, self.key * 2 + pods[self.conn], _of_pod)


def _of_pod(value: int) -> Template:
    return answer(200, {"id": value // 2, "zone": "ab"[value % 2]})


variant(
    "pods_4",
    Pods,
    "Two pods behind 4 connections differ in a field: too few to say anything.",
    connections=4,
    undecidable=World.modes,
)
variant("pods_40", Pods, "Two pods behind 40 connections differ in a field.", connections=40)


@world("whole_seconds")
class WholeSeconds(World):
    """Expires and generated_at tell the second of the answer, and shadows answer some ms later."""

    def play(self) -> None:
        for side in self.sides:
            seconds = EPOCH + self.when(side).astype(int)
            self.says(side, self.ep == USER, seconds, _generated)
            self.says(side, self.ep == HEALTH, seconds, _expires)


def _generated(value: int) -> Template:
    return answer(200, {"ok": True, "generated_at": value})


def _expires(value: int) -> Template:
    return answer(200, {"ok": True}, (("Expires", formatdate(value + 3600, usegmt=True)),))


@world("ids_as_keys")
class IdsAsKeys(World):
    """A map keyed by random ids: each answer has paths that never were."""

    def play(self) -> None:
        for side in self.sides:
            self.says(side, self.ep == REVIEW, self.random.integers(0, 1 << 50, self.n), _sessions)


def _sessions(value: int) -> Template:
    return answer(200, {"sessions": {f"{value ^ (j * 0x9E3779B97F4A7):016x}": {"n": 1} for j in range(3)}})


@world("flaps")
class Flaps(World):
    """Fields that flip by themselves in 0.05, 0.2, 1 and 2 % of the answers, and a request id."""

    def play(self) -> None:
        for side in self.sides:
            for where, share in ((ITEM, 0.0005), (ORDER, 0.002), (USER, 0.01), (CART, 0.02)):
                self.says(side, self.ep == where, self.key * 2 + self.chance(share), _flapping)
            self.says(side, self.ep == SEARCH, self.random.integers(0, 1 << 50, self.n), _with_id)


def _flapping(value: int) -> Template:
    return answer(200, {"id": value // 2, "near": bool(value % 2)})


def _with_id(value: int) -> Template:
    return answer(200, {"hits": [1, 2], "request": f"{value:x}"})


@world("user_flags")
class UserFlags(World):
    """A flag is on for half the users: the same at every side, for it hangs on the user."""

    def play(self) -> None:
        for side in self.sides:
            self.says(side, self.ep == USER, self.key * 2 + self.user % 2, _flapping)


@world("retries")
class Retries(World):
    """Clients ask again after an error of production: 1 % of the requests come twice, both as good."""

    def play(self) -> None:
        again = np.flatnonzero(self.chance(0.01))
        again = again[again > 0]
        for array in (self.ep, self.key, self.user, self.conn):
            array[again] = array[again - 1]
        for side in self.sides:
            self.code[side] = self.key.copy()
        failed = np.zeros(self.n, bool)
        failed[again - 1] = True
        self.error("P", failed & self.chance(0.1))
        for side in self.sides[1:]:
            self.error(side, failed & self.chance(0.1))


class BlueGreen(World):
    """Production is of another colour, same version, from a third of the run on: X-Colour tells, the shadows stay."""

    undecidable = ("twin",)  # without a run key it is another answer of production
    back = True

    def play(self) -> None:
        third = self.at[-1] / 3
        for side in self.sides:
            green = self.during(third, third if self.back else 3 * third)
            self.says(side, np.ones(self.n, bool), self.key * 2 + (green if side == "P" else 0), _coloured)


variant(
    "blue_green", BlueGreen, "Production is of another colour, same version, for a third of the run: X-Colour tells."
)
variant("blue_green_stays", BlueGreen, "Production is of another colour from a third of the run on.", back=False)


def _coloured(value: int) -> Template:
    return answer(200, item(value // 2), (("X-Colour", ("blue", "green")[value % 2]),))


@world("served_by")
class ServedBy(World):
    """Each host tells its name in a header."""

    modes = ("baseline",)

    def play(self) -> None:
        for side in self.sides:
            self.says(side, np.ones(self.n, bool), self.key * 8 + "PCTB".index(side), _served_by)


def _served_by(value: int) -> Template:
    return answer(200, item(value // 8), (("X-Served-By", ("prod-7", "next-1", "next-1", "base-1")[value % 8]),))


# --- faults: power --------------------------------------------------------------------------------------------------


class Fault(World):
    modes = ("baseline",)
    may_fail, must_pass = 1.0, 0.0


class Errors(Fault):
    """The candidate answers 500 to a share more than production's version."""

    share, own = 0.005, 0.0

    def play(self) -> None:
        for side in self.sides:
            self.error(side, self.chance(self.own + (self.share if side in "CT" else 0.0)), 500)


variant("errors_0.5", Errors, "0.5 points of errors more.", fault="+0.5 points of errors", within=20_000)
variant(
    "errors_0.5_on_0.5",
    Errors,
    "The same on 0.5 % own errors.",
    fault="+0.5 on 0.5 % own errors",
    within=40_000,
    own=0.005,
)
variant("errors_0.2", Errors, "0.2 points of errors more.", fault="+0.2 points of errors", within=60_000, share=0.002)


@world("errors_late")
class LateErrors(Fault):
    """1 % of errors, which begin after 180,000 clean exchanges."""

    fault, within, since, least = "1 % errors after 180,000 clean", 30_000, 180_000, 214_000

    def play(self) -> None:
        self.error("C", self.chance(0.01) & (np.arange(self.n) >= self.since), 500)


@world("field_1%")
class OneField(Fault):
    """At one endpoint 1 % of the candidate's answers lack a price."""

    fault, within, endpoint = "1 % of a field", 4_000, USER

    def play(self) -> None:
        self.says("C", (self.ep == USER) & self.chance(0.01), self.key, _unpriced)


def _unpriced(value: int) -> Template:
    return answer(200, {name: told for name, told in item(value).items() if name != "price"})


class Slower(Fault):
    factor = 1.12

    def play(self) -> None:
        self.lat["C"] *= self.factor


variant("slower_12%", Slower, "12 % slower at every quantile; the margin is 10 %.", fault="12 % slower", within=100_000)
variant("slower_15%", Slower, "15 % slower at every quantile.", fault="15 % slower", within=20_000, factor=1.15)


@world("tail_200ms")
class Tail(Fault):
    """1 % of the candidate's answers take 200 ms more: p99 lies on the edge and cannot see it."""

    fault, within = "+200 ms on 1 %", 60_000

    def play(self) -> None:
        self.lat["C"][self.chance(0.01)] += 200


@world("open_door")
class OpenDoor(Fault):
    """One endpoint is forbidden, and the candidate lets everybody in: 403 → 200."""

    modes = ("twin", "baseline")
    fault, within, endpoint = "403 → 200", 500, STOCK

    def play(self) -> None:
        for side in "PB":
            if side in self.sides:
                self.error(side, self.ep == STOCK, 403)


class Header(Fault):
    """The candidate leaves a header out at one endpoint."""

    modes = ("twin", "baseline")
    lost = "Set-Cookie"
    endpoint = CART
    within = 4_000

    def play(self) -> None:
        for side in self.sides:
            make = type(self).without if side in "CT" else type(self).with_it
            self.says(side, self.ep == CART, self.key, make)

    @staticmethod
    def without(value: int) -> Template:
        return answer(200, item(value))

    @staticmethod
    def with_it(value: int) -> Template:
        return answer(200, item(value), (("Set-Cookie", f"basket=b{value}; Path=/"),))


variant("lost_cookie", Header, "A cookie is not set any more.", fault="lost cookie")
variant(
    "lost_header", Header, "A security header is not sent any more.", fault="header dropped",
    with_it=staticmethod(lambda value: answer(200, item(value), (("X-Frame-Options", "DENY"),))),
)  # fmt: skip
