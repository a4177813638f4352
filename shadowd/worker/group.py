"""The filters of one production connection that share a codec: requests to their policies, accounts and targets."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Protocol

from shadowd.evidence.trial import Side, Trial
from shadowd.exchange.exchange import Exchange, Request
from shadowd.protocols.base import Codec, CodecSink, FlowView
from shadowd.protocols.http1 import Http1Codec
from shadowd.protocols.http2 import Http2Codec
from shadowd.protocols.websocket import WebSocketCodec
from shadowd.protocols.websocket_handshake import asks_websocket
from shadowd.replay.engine import Engine
from shadowd.replay.lane import Lane, Pool
from shadowd.replay.leg import Leg
from shadowd.replay.target import Target
from shadowd.replay.websocket import WebSocketLane
from shadowd.worker.filters import Filter


class Surroundings(Protocol):
    """What a conversation needs of the daemon."""

    engine: Engine
    now: int

    def filters_of(self, bitmap: int) -> list[Filter]: ...

    def discarded(self, reason: str, length: int) -> None: ...


class Participant:
    """A filter in a flow, with a lane for each of its targets, and another for the WebSocket that it may turn into."""

    __slots__ = ("_past", "filter", "lanes", "talks", "twins")

    def __init__(self, chosen: Filter) -> None:
        self.filter = chosen
        self.lanes: list[Lane | Pool] = []
        self.talks: list[Lane | Pool] = []
        self.twins: dict[Target, Lane | Pool] = {}  # for second copies, by candidate
        self._past: list[Lane | Pool] = []  # get nothing more, and something is under way there

    @property
    def own_lanes(self) -> list[Lane]:
        """All lanes that this connection alone uses."""
        every = (*self.lanes, *self.talks, *self.twins.values(), *self._past)
        return [lane for lane in every if isinstance(lane, Lane)]

    def end_talks(self, now: int) -> None:
        """Nothing more is said there."""
        talks, self.talks = self.talks, []
        self._finish(talks, now)

    def end_lanes(self, now: int) -> None:
        """What comes is of another protocol."""
        lanes, self.lanes, self.twins = [*self.lanes, *self.twins.values()], [], {}
        self._finish(lanes, now)

    def _finish(self, lanes: list[Lane | Pool], now: int) -> None:
        for lane in lanes:
            if isinstance(lane, Lane):
                lane.finish(now)
        self._past = [lane for lane in (*self._past, *lanes) if isinstance(lane, Lane) and lane.busy]


class Group:
    """The filters of a flow that share a codec: its ``CodecSink``."""

    __slots__ = (
        "_draw",
        "_flow",
        "_on_fault",
        "_outer",
        "_preamble",
        "_raw",
        "_streams",
        "codec",
        "http",
        "participants",
    )

    def __init__(
        self, outer: Surroundings, make: Callable[[CodecSink], Codec], raw: bool, preamble: bytes, draw: int,
        on_fault: Callable[[Exception], None], flow: FlowView,
    ) -> None:  # fmt: skip
        self._outer = outer
        self._on_fault = on_fault
        self._flow = flow
        self._draw = draw  # the connection's place among 65,536: while some are spared, the lowest are
        self._raw = raw
        self._preamble = preamble
        self.participants: list[Participant] = []
        self.codec = make(self)
        self._streams = isinstance(self.codec, Http2Codec)
        self.http = self.codec if isinstance(self.codec, Http1Codec) else None  # the common case

    def request(self, exchange: Exchange) -> None:
        exchange.connection = self._draw
        engine = self._outer.engine
        for participant in self.participants:
            chosen = participant.filter
            account = chosen.account
            account.seen += 1
            reason = "" if self._raw else chosen.policy.refuse(exchange.request)
            if reason:
                account.filtered[reason] += 1
                if reason == "method" and chosen.examiners:
                    exchange.writes += tuple(chosen.examiners.values())
                    for examiner in chosen.examiners.values():
                        engine.examining.note_write(examiner, exchange.request)
                continue
            lanes = participant.lanes
            if exchange.request.upgrade or exchange.request.turn is not None:
                lanes = self._lanes_of_talk(participant, exchange)
            elif len(lanes) != len(chosen.targets) or not lanes:
                self._match_lanes(participant, exchange)
            if self._draw < engine.spared:
                self._spare(lanes)
                continue
            now = self._outer.now
            if chosen.examiners:
                sides = [engine.submit(exchange, chosen.policy, to, now) for to in lanes]
                self._compare(participant, exchange, sides, lanes)
            else:
                for lane in lanes:
                    engine.submit(exchange, chosen.policy, lane, now)

    def _spare(self, lanes: list[Lane | Pool]) -> None:
        """The guard wants less: this connection's requests are shed as long as it does."""
        for lane in lanes:
            lane.target.account.shed["pressure"] += 1
            if lane.raw:  # what follows depends on the turn that is left out
                lane.given_up = lane.given_up or "pressure"

    def _lanes_of_talk(self, participant: Participant, exchange: Exchange) -> list[Lane | Pool]:
        """For a WebSocket's handshake, or a turn that follows it; of another upgrade those that any request has."""
        chosen, request = participant.filter, exchange.request
        if request.turn is None:
            if not chosen.policy.talks or not begins_talk(request):
                self._match_lanes(participant, exchange)
                return participant.lanes
            participant.end_talks(self._outer.now)  # one that was refused
        kept = {lane.target: lane for lane in participant.talks}
        participant.talks = [kept.get(target) or self._talk(chosen, target) for target in chosen.targets]
        if request.turn is not None:  # a target, or filter, that was added meanwhile: half a conversation is none
            for lane in participant.talks:
                if lane.target not in kept:
                    lane.given_up = "before_target"
        return participant.talks

    def _talk(self, chosen: Filter, target: Target) -> WebSocketLane:
        return chosen.websocket(target, self._outer.engine, self._preamble, self._flow.server_name)

    def _compare(
        self, participant: Participant, exchange: Exchange, sides: list[Side], lanes: list[Lane | Pool]
    ) -> None:
        """Open a trial for each candidate, and now and then send it the request a second time."""
        chosen = participant.filter
        baseline = None
        if len(sides) > 1:
            found = [side for side, lane in zip(sides, lanes, strict=True) if lane.target.role == "baseline"]
            baseline = found[0] if found else None
        trials = []
        for side, lane in zip(sides, lanes, strict=True):
            examiner = chosen.examiners.get(lane.target)
            if examiner is None:
                continue
            trial = Trial(examiner, exchange, side, baseline)
            trials.append(trial)
            examining = self._outer.engine.examining
            once = baseline is not None or side.shed or begins_talk(exchange.request)
            if not once and examining.wants_twin(examiner, exchange.request, random()):
                trial.twin = self._send_twin(participant, lane.target, exchange)
                _await(trial, trial.twin)
            _await(trial, side)
            if baseline is not None:
                _await(trial, baseline)
        exchange.trials += tuple(trials)  # with those of other filters; they wait for production's answer

    def _send_twin(self, participant: Participant, target: Target, exchange: Exchange) -> Side:
        """On a connection of its own, so that both copies are asked at the same moment."""
        lane = participant.twins.get(target)
        if lane is None:
            lane = participant.twins[target] = self._lane(participant.filter, target)
        return self._outer.engine.submit(exchange, participant.filter.policy, lane, self._outer.now, twin=True)

    def deliver(self, direction: int, data: bytes, time: int) -> None:
        http = self.http
        try:
            if http is not None:
                if direction:
                    http.server_data(data, time)
                else:
                    http.client_data(data, time)
            elif direction:
                self.codec.server_data(data, time)
            else:
                self.codec.client_data(data, time)
        except Exception as error:
            self._on_fault(error)

    def _match_lanes(self, participant: Participant, exchange: Exchange) -> None:
        """One lane for each target the filter has now."""
        chosen = participant.filter
        kept = {lane.target: lane for lane in participant.lanes}
        participant.lanes[:] = [kept.get(target) or self._lane(chosen, target) for target in chosen.targets]
        if self._raw and exchange.index:  # a target that was added meanwhile: half a conversation is none
            for lane in participant.lanes:
                if lane.target not in kept:
                    lane.given_up = "before_target"

    def _lane(self, chosen: Filter, target: Target) -> Lane | Pool:
        return chosen.lane(target, self._outer.engine, self._raw, self._preamble, self._flow.server_name, self._streams)

    def response(self, exchange: Exchange) -> None:
        exchange.answered = True
        if exchange.trials or exchange.early is not None:
            self._outer.engine.primary_known(exchange)
        for examiner in exchange.writes:
            self._outer.engine.examining.note_written(examiner, exchange)

    def filtered(self, reason: str) -> None:
        for participant in self.participants:
            participant.filter.account.filter_out(reason)

    def lost(self, reason: str) -> None:
        for participant in self.participants:
            participant.filter.account.lose(reason)

    def discarded(self, reason: str, length: int) -> None:
        self._outer.discarded(reason, length)

    def switched(self, codec: Codec) -> None:
        self.codec = codec
        self.http = None
        if isinstance(codec, Http2Codec):
            self._streams = True
            for participant in self.participants:
                participant.end_lanes(self._outer.now)
        elif isinstance(codec, WebSocketCodec) and not any(one.filter.policy.talks for one in self.participants):
            codec.body_limit = 0  # its turns are counted: nobody compares what is said

    def end(self, now: int) -> None:
        """Nothing more of the connection is read."""
        try:
            self.codec.closed(now)
        except Exception as error:
            self._outer.engine.examining.note_fault(error)
        self.finish(now)

    def finish(self, now: int) -> None:
        for participant in self.participants:
            for lane in participant.own_lanes:
                lane.finish(now)

    def leave(self, chosen: Filter, reason: str, now: int) -> None:
        for participant in self.participants:
            if participant.filter is chosen:
                for lane in participant.own_lanes:
                    lane.abandon(reason, now)
        self.participants = [p for p in self.participants if p.filter is not chosen]

    def leave_target(self, chosen: Filter, target: Target, now: int) -> None:
        for participant in self.participants:
            if participant.filter is chosen:
                for lane in participant.own_lanes:
                    if lane.target is target:
                        lane.abandon("removed", now)
                participant.twins.pop(target, None)
                participant.lanes = [lane for lane in participant.lanes if lane.target is not target]
                participant.talks = [lane for lane in participant.talks if lane.target is not target]


def begins_talk(request: Request) -> bool:
    """It asks for a WebSocket."""
    return request.upgrade and asks_websocket(request.head)


def _await(trial: Trial, side: Side) -> None:
    """The trial is complete when this side is over too."""
    if isinstance(side, Leg) and not side.done:
        side.trials += (trial,)
        trial.pending += 1
