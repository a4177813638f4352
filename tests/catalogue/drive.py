"""One run of a world through the real ``Examiner`` and ``Assessment``, default settings, as an operator sees it."""

from __future__ import annotations

import time

from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.evidence.trial import Side, Trial
from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.judge.assessment import Assessment

from .worlds import ENDPOINTS, MS, REFUSED, SECOND, World

#: Seconds of the world between two looks.
EVERY = 10.0
START = 1_000 * SECOND


class Outcome:
    """What came of a run. ``failed`` and ``passed``: exchanges (of ``World.endpoint`` if set) at the first of each."""

    def __init__(self, world: World) -> None:
        self.name = type(world).__name__
        self.mode, self.seed, self.n = world.mode, world.seed, world.n
        self.failed: int | None = None
        self.failed_at = 0.0
        self.failed_for: list[str] = []
        self.passed: int | None = None
        self.last = ""
        self.reasons: list[str] = []
        self.found_within = False
        self.false_alarm = False  # failed before its fault began
        self.fields: list[tuple[int, int, int]] = []  # raw, noise, total of each field: Diffy's numbers
        self.cpu = 0.0


def drive(world: World, stop: bool = False, every: float = EVERY) -> Outcome:
    """Looks every ``every`` s of the world. ``stop``: at the first fail."""
    began = time.process_time()
    baseline = world.mode == "baseline"
    examiner = Examiner(Settings(baseline=baseline, twin=0.0 if baseline else 0.05), Rules())
    outcome = Outcome(world)
    third = world.sides[2]
    times = (START + world.at * SECOND).astype(int).tolist()
    first = {side: (world.lat[side] * MS).astype(int).tolist() for side in world.sides}
    last = {side: ((world.lat[side] + world.last[side]) * MS).astype(int).tolist() for side in world.sides}
    codes = {side: world.code[side].tolist() for side in world.sides}
    p_first, c_first, t_first = first["P"], first["C"], first[third]
    p_last, c_last, t_last = last["P"], last["C"], last[third]
    p_code, c_code, t_code = codes["P"], codes["C"], codes[third]
    keys = [path if path >= 0 else key for path, key in zip(world.path.tolist(), world.key.tolist(), strict=True)]
    endpoints, connections, users = world.ep.tolist(), world.conn.tolist(), world.user.tolist()
    writes, lags, lates = world.write.tolist(), world.own_lag.tolist(), world.late.tolist()
    draws = world.random.random(world.n).tolist()
    names = [name.encode() for name, _ in ENDPOINTS]
    shared: dict[int, Response] = {}
    heads: dict[tuple[int, int, int], tuple[bytes, bytes]] = {}
    here = 0  # exchanges at the fault's endpoint
    eligible = 0
    due = START + round(every * SECOND)
    bound = world.since + world.within  # a look there tells whether the fault was found in time
    looked = False

    def response_of(code: int) -> Response:
        made = shared.get(code)
        if made is None:
            status, head, body = world.templates[code]
            made = shared[code] = Response(status, head, 0, 0)
            made.body, made.body_length, made.end = body, len(body), len(head) + len(body)
        return made

    def answered(code: int, first_byte: int, last_byte: int, late: bool) -> Side:
        side = Side()
        if code < 0:
            side.failure = "connect" if code == REFUSED else "reset"
            return side
        side.response = response_of(code)
        side.first_byte, side.last_byte, side.late = first_byte, last_byte, late
        return side

    for i in range(world.n):
        now = times[i]
        code = p_code[i]
        if writes[i]:
            target, method = world.written[i], b"POST"
            head = b"POST %b HTTP/1.1\r\nHost: s\r\n\r\n" % target
        else:
            method = b"GET"
            asked = (endpoints[i], keys[i], users[i] % 50)
            known = heads.get(asked)
            if known is None:
                name = names[asked[0]]
                target = name + str(asked[1]).encode() if name.endswith(b"/") else name + b"?q=%d" % asked[1]
                known = heads[asked] = target, b"GET %b HTTP/1.1\r\nHost: s\r\nX-User: %d\r\n\r\n" % (target, asked[2])
            target, head = known
        request = Request(method, target, head, b"", 0, len(head), now, now)
        exchange = Exchange(i, request, 0)
        exchange.connection = connections[i]
        exchange.answered = True
        if code < 0:
            exchange.failure = "reset"
        else:
            status, answer_head, body = world.templates[code]
            exchange.response = response = Response(status, answer_head, 0, now + p_first[i])
            response.body, response.body_length = body, len(body)
            response.end = len(answer_head) + len(body)
            response.last_byte = now + p_last[i]
        if writes[i]:
            examiner.note_write(request)
            examiner.note_written(exchange)
            continue
        eligible += 1
        here += endpoints[i] == world.endpoint
        if lags[i]:
            trial = Trial(examiner, exchange, Side("own_lag"), Side("own_lag") if baseline else None)
        else:
            late = lates[i]
            side = answered(c_code[i], c_first[i], c_last[i], late)
            trial = Trial(examiner, exchange, side, None)
            if baseline:
                trial.baseline = answered(t_code[i], t_first[i], t_last[i], late)
            elif examiner.wants_twin(request, draws[i]):
                trial.twin = answered(t_code[i], t_first[i], t_last[i], late)
        examiner.examine(trial)
        at_bound = world.fault and (here if world.endpoint >= 0 else i + 1) == bound and not looked
        if now >= due or at_bound or i == world.n - 1:
            looked = looked or bool(at_bound)
            if now >= due:
                due += round(every * SECOND)
            verdict = Assessment(examiner, eligible, (now - START) / SECOND).finish()
            outcome.last, outcome.reasons = verdict["verdict"], verdict["reasons"]
            where = here if world.endpoint >= 0 else i + 1
            if outcome.last == "pass" and outcome.passed is None:
                outcome.passed = where
            if outcome.last == "fail" and outcome.failed is None:
                outcome.failed, outcome.failed_at = where, (now - START) / SECOND
                outcome.failed_for = verdict["reasons"][:3] or [one["sentence"] for one in verdict["findings"][:3]]
                outcome.false_alarm = where <= world.since
                if stop:
                    break
    if world.fault and outcome.failed is not None and not outcome.false_alarm:
        outcome.found_within = outcome.failed - world.since <= world.within
    for endpoint in examiner.endpoints.values():
        for field in endpoint.fields.values():
            raw, noise = field.positive.count + field.both, field.negative.count + field.both
            outcome.fields.append((raw, noise, endpoint.total))
    outcome.cpu = time.process_time() - began
    return outcome
