"""HTTP/1 on one flow: requests out of one stream, responses out of the other, paired by order (sans-IO).

The client's and the server's direction each have a state:

==========  ============================================  ===================================================
client      what its bytes do                             leaves it
==========  ============================================  ===================================================
``CUT``     are cut into requests                         unparsable, gap → SEEK; upgrade request → HOLD
``SEEK``    are discarded, the place is lost (gap,        an idle point → PROBE
            unparsable, or first seen in the middle)
``PROBE``   may begin a request; kept until a head is     whole valid head → CUT; else → SEEK, the third time
            whole                                         → DONE (not if it was unparsable: it is HTTP); server
                                                          speaks before → SEEK
``HOLD``    wait for the answer to an upgrade request     101, CONNECT 2xx → DONE (``switching``); another → CUT
``DONE``    are discarded: given up, or upgraded          never
==========  ============================================  ===================================================

==========  ============================================  ===================================================
server      what its bytes do                             leaves it
==========  ============================================  ===================================================
``CUT``     are cut into responses, each for the oldest   gap, unparsable, unsolicited → SEEK, what was
            request without one                           outstanding is uncomparable; upgrade, EOF → DONE
``SEEK``    are discarded; requests are uncomparable      a request that begins at an idle point → CUT
``DONE``    are discarded                                 never
==========  ============================================  ===================================================

A request that cannot be parsed is one that somebody's server may have answered: its answer is waited for, each further
answer before the next idle point counts one more ``unparsable`` request, and there the flow goes on.

A response may come before its request is whole (100 Continue, a refused upload): *early*, it waits for the request.

Every byte fed is in an exchange, was told to ``sink.discarded``, or is pending. Reasons: ``gap``, ``midstream``,
``truncated``, ``too_large``, ``unparsable``, ``upgraded``, ``unsolicited`` (nobody asked for it), ``interim`` (1xx),
``blank`` (empty lines), ``pipeline`` (too many), ``open`` (a stream's rest), ``urgent`` (a byte was taken out).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import cast

from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.ledger.budget import UNBOUNDED, Budget
from shadowd.protocols.base import CodecSink, FlowView
from shadowd.protocols.http1_reader import MAX_BODY, MAX_HEAD, OversizedRequest, ProtocolError, RequestReader
from shadowd.protocols.http1_response import ResponseReader
from shadowd.protocols.switching import goes_on_in_http2, hand_over, successor
from shadowd.protocols.withheld import Withheld

CUT, SEEK, PROBE, HOLD, DONE = range(5)

#: Idle points at which a lost codec tries; a flow that speaks HTTP shows a request at the first or second.
MAX_PROBES = 3
_UNPARSABLE = ("unparsable", "urgent")
#: Requests without a response on one connection. Servers read a few ahead (nginx: one); this is memory's bound only.
MAX_OUTSTANDING = 1024

#: The slot of a request that is not whole yet, but whose response has begun.
_EARLY = "early"


class Http1Codec:
    """A ``Codec``. ``midstream``: the flow was first seen in its middle; ``body_limit``: bytes kept of a response body;
    ``max_head``, ``max_body``: a request above is ``lost("too_large")``; ``start``: offsets of the first bytes."""

    __slots__ = (
        "_after", "_body_limit", "_budget", "_client", "_client_offset", "_continued", "_counted", "_early",
        "_early_response", "_ends", "_flow", "_index", "_max_body", "_max_head", "_partial_after", "_probes",
        "_reason", "_server", "_server_offset", "_server_reason", "_sink", "_slots", "_urgent", "_withheld",
        "requests", "responses",
    )  # fmt: skip

    def __init__(
        self, sink: CodecSink, flow: FlowView, midstream: bool = False, body_limit: int = 0, max_head: int = MAX_HEAD,
        max_body: int = MAX_BODY, start: tuple[int, int] = (0, 0), budget: Budget = UNBOUNDED,
    ) -> None:  # fmt: skip
        self._sink, self._flow = sink, flow
        self._body_limit = body_limit
        self._max_head, self._max_body = max_head, max_body
        self._budget = budget
        self._withheld = Withheld(budget)
        self.requests = RequestReader(start[0], max_head, max_body, budget)
        self.responses = ResponseReader(body_limit, start[1], budget=budget)
        self._client = self._server = SEEK if midstream else CUT
        self._reason = self._server_reason = "midstream"  # why bytes are discarded in SEEK and DONE
        self._counted = False  # the requests that SEEK skips have been counted as lost
        self._continued = False  # the server's latest words were 100 Continue: what follows is a body
        self._probes = self._index = 0
        self._urgent = ""
        self._slots: deque[Exchange | str] = deque()  # requests without a response; a reason if not an exchange
        self._early, self._early_response = False, cast(Response | None, None)
        self._ends: deque[int] = deque()  # of responses that the client has not acknowledged yet
        self._after = self._partial_after = 0  # how many it has; had, when the partial request's first byte was sent
        self._client_offset, self._server_offset = start

    @property
    def client_pending(self) -> int:
        """Client bytes in no exchange yet and not discarded."""
        return self._withheld.size + (self.requests.partial_bytes if self._client in (CUT, PROBE) else 0)

    @property
    def server_pending(self) -> int:
        """Server bytes that are in no exchange yet and not discarded."""
        early = self._early_response
        partial = self.responses.partial_bytes if self._server == CUT else 0
        return partial + (early.end - early.begin if early is not None else 0)

    # --- the client's direction ---------------------------------------------------------------------------------------

    def client_data(self, data: bytes, time: int) -> None:
        self._client_offset += len(data)
        ends = self._ends
        if ends:
            acked = self._flow.client_acked
            while ends and ends[0] <= acked:
                ends.popleft()
                self._after += 1
        if self._client == CUT and self._server == CUT:
            self._cut(data, time, self._after)
        else:
            self._client_bytes(data, time, self._after)

    def _client_bytes(self, data: bytes, time: int, after: int) -> None:
        state = self._client
        if state == CUT:
            if self._server == SEEK and self._flow.idle_point and not self.requests.pending:
                self._resynchronise()
                after = self._after
            self._cut(data, time, after)
        elif state == SEEK:
            self._seek(data, time)
        elif state == PROBE:
            self._probe(data, time)
        elif state == HOLD:
            self._hold(data, time, after)
        else:
            self._sink.discarded(self._reason, len(data))

    def _cut(self, data: bytes, time: int, after: int) -> None:
        requests = self.requests
        if requests.offset == requests.boundary:
            self._partial_after = after
        try:
            done = requests.feed_untrusted(data, time)
        except ProtocolError:
            done = ()
        self._take_requests(done, time, after)

    def _take_requests(self, done: Sequence[Request], time: int, after: int) -> None:
        requests = self.requests
        for request in done:
            self._request(request, self._partial_after)
            self._partial_after = after
        if requests.skipped:
            self._count_blank(requests)
        if requests.error is not None:
            self._unparsable()
        elif done and done[-1].upgrade:
            self._ask_upgrade(requests.trailing, time, after)

    def _request(self, request: Request, after: int) -> None:
        index = self._index
        self._index = index + 1
        sink = self._sink
        slot: Exchange | str
        if isinstance(request, OversizedRequest):
            slot = request.reason
            sink.lost(slot)
            sink.discarded(slot, request.size)
        else:
            slot = Exchange(index, request, after, self)
            sink.request(slot)
        if self._early:
            self._settle_early(slot)
        elif self._server == CUT:
            self._slots.append(slot)
            self.responses.expect(request.method)
            if len(self._slots) > MAX_OUTSTANDING:
                self._lose_responses("pipeline")
        else:
            self._give_up_on(slot)

    def _count_blank(self, reader: RequestReader | ResponseReader) -> None:
        if reader.skipped:
            self._sink.discarded("blank", reader.skipped)
            reader.skipped = 0

    def _drop_partial(self, reason: str) -> None:
        """The request that has begun will never be whole."""
        if self.requests.partial_bytes:
            self._sink.discarded(reason, self.requests.partial_bytes)
        if self._early:
            self._settle_early(reason)

    def _settle_early(self, slot: Exchange | str) -> None:
        self._early = False
        response, self._early_response = self._early_response, None
        if response is not None:
            self._pair(slot, response)
        else:
            self._slots[-1] = slot

    def _unparsable(self) -> None:
        """A request whose end nobody can be sure of; its method tells whether its answer has a body."""
        reason = self._count_unparsable()
        answered = self._early
        self._drop_partial(reason)
        self._lose_client(reason, counted=True)
        if not answered:
            self._expect_unknown(self.requests.failed_method)

    def _count_unparsable(self) -> str:
        if self._urgent:  # it may be our reading that is wrong
            self._sink.lost("urgent")
            return "urgent"
        self._sink.filtered("unparsable")
        return "unparsable"

    def _expect_unknown(self, method: bytes) -> None:
        if self._server == CUT:
            self._slots.append(self._reason)
            self.responses.expect(method)

    def urgent(self, direction: int) -> None:
        self._urgent = "urgent"

    # --- a lost place -------------------------------------------------------------------------------------------------

    def _seek(self, data: bytes, time: int) -> None:
        at_rest = self._server != CUT or not (self._slots or self.responses.pending)
        if at_rest and not self._continued and self._flow.idle_point:
            begin = self._client_offset - len(data)
            self.requests = RequestReader(begin, self._max_head, self._max_body, self._budget)
            self._client = PROBE
            self._probe(data, time)
        else:
            self._skip(len(data))

    def _skip(self, length: int) -> None:
        if not self._counted:
            self._counted = True
            self._sink.lost(self._reason)
        self._sink.discarded(self._reason, length)

    def _probe(self, data: bytes, time: int) -> None:
        requests, done = self.requests, cast("Sequence[Request]", ())
        try:
            done = requests.feed_untrusted(data, time)
        except ProtocolError:
            pass
        self._count_blank(requests)
        if done or requests.head_complete:
            self._client = CUT
            self._probes = 0
            self._resynchronise()
            self._partial_after = self._after
            self._take_requests(done, time, self._after)
        elif requests.error is not None:
            self._probe_failed()

    def _probe_failed(self) -> None:
        requests = self.requests
        if self._reason in _UNPARSABLE:
            self._unparsable()
            return
        self._probes += 1
        self._client = DONE if self._probes >= MAX_PROBES else SEEK
        if requests.partial_bytes:
            self._skip(requests.partial_bytes)

    def _lose_client(self, reason: str, counted: bool) -> None:
        self._client, self._reason, self._counted, self._continued = SEEK, reason, counted, False

    def _resynchronise(self) -> None:
        """An idle point: the client has received an answer to everything it asked so far."""
        self._ends.clear()
        self._after = self._index
        if self._server != DONE:
            self._server = CUT
            self.responses = ResponseReader(self._body_limit, self._server_offset, budget=self._budget)

    def client_gap(self, length: int, time: int) -> None:
        self._client_offset += length
        state = self._client
        if state == DONE and self._reason not in ("gap", "midstream"):
            return
        self._sink.lost("gap")
        if state == DONE:
            return
        if state in (CUT, PROBE):
            self._drop_partial("gap")
        self._drop_held("gap")
        self._lose_client("gap", counted=True)

    def client_eof(self, time: int) -> None:
        state = self._client
        if state == HOLD:
            self._withheld.eof = True
            return
        if state == CUT:
            if self.requests.pending:
                self._sink.lost("truncated")
                self._drop_partial("truncated")
            self._reason = "unsolicited"
        elif state == PROBE:
            self._probe_failed()
        self._client = DONE

    # --- upgrades -----------------------------------------------------------------------------------------------------

    def _ask_upgrade(self, rest: bytes, time: int, after: int) -> None:
        if self._server != CUT:
            self._undecided(len(rest))
        elif self._slots:
            self._client = HOLD
            if rest:
                self._hold(rest, time, after)
        else:  # it was refused before the request was whole
            self.requests.resume()
            if rest:
                self._cut(rest, time, after)

    def _hold(self, data: bytes, time: int, after: int) -> None:
        reason = self._withheld.add(data, time, after)
        if reason:
            self._sink.lost(reason)
            self._drop_held(reason)
            self._client = DONE
            self._reason = reason

    def _drop_held(self, reason: str) -> None:
        if size := self._withheld.drop():
            self._sink.discarded(reason, size)

    def _undecided(self, length: int) -> None:
        """The answer to an upgrade request is unknown: what the client sent since may be anything."""
        self._lose_client("gap", counted=False)
        if length:
            self._skip(length)
        self._withheld.take()

    def _release(self) -> None:
        """The upgrade was refused: what was held is HTTP."""
        held = self._withheld.take()
        self._client = CUT
        self.requests.resume()
        for data, time, after in held:
            if self._client == CUT:
                self._cut(data, time, after)
            else:
                self._client_bytes(data, time, after)
        if self._withheld.eof and self._client != HOLD:
            self.client_eof(0)

    def _upgraded(self, asked: Exchange | str, answer: Response) -> None:
        asked = asked if self._client == HOLD else ""  # else something of what its client said since is missing
        self._give_up_on(*self._slots)
        self._slots.clear()
        if self._client in (CUT, PROBE):
            self._drop_partial("upgraded")
        self._client = self._server = DONE
        self._reason = self._server_reason = "upgraded"
        sink, responses = self._sink, self.responses
        codec = successor(sink, self._flow, asked, answer, self._index, self._body_limit, self._budget)
        if codec is not None:
            hand_over(sink, codec, self._withheld, responses.trailing, responses.latest)
        else:
            self._drop_held("upgraded")
            if responses.trailing:
                sink.discarded("upgraded", len(responses.trailing))

    # --- the server's direction ---------------------------------------------------------------------------------------

    def server_data(self, data: bytes, time: int) -> None:
        self._server_offset += len(data)
        client = self._client
        if client != CUT:
            if client == PROBE:
                self._probe_failed()  # it answers what is not a request yet
            self._continued = data.startswith((b"HTTP/1.1 100", b"HTTP/1.0 100"))
        if self._server != CUT:
            self._sink.discarded(self._server_reason, len(data))
            return
        requests = self.requests
        if client == CUT and requests.offset != requests.boundary and not self._early:
            self._expect_early()
        elif client == SEEK and self._reason in _UNPARSABLE and not self._slots:
            self._count_unparsable()  # more answers than requests were seen
            self._expect_unknown(b"")
        responses = self.responses
        try:
            done = responses.feed_untrusted(data, time)
        except ProtocolError:
            done = ()
        if done or responses.offset == responses.boundary or responses.error is not None or responses.interim_bytes:
            self._take_responses(done)

    def _take_responses(self, done: Sequence[Response]) -> None:
        responses = self.responses
        slot: Exchange | str = ""
        for response in done:
            self._ends.append(response.end)
            self._pair(slot := self._slots.popleft(), response)
        if responses.interim_bytes:
            self._sink.discarded("interim", responses.interim_bytes)
            responses.interim_bytes = 0
        self._count_blank(responses)
        if responses.error is not None:
            reason = responses.error.reason
            if reason != "unsolicited":
                self._lose_responses((self._urgent or "unparsable") if reason != "truncated" else reason)
            else:
                self._lose_responses(self._reason if self._client in (SEEK, DONE) else reason)
        elif responses.upgraded:
            self._upgraded(slot, done[-1])
        elif self._client == HOLD and not self._slots:
            self._release()

    def _expect_early(self) -> None:
        """The server speaks while a request is partial. A head that is not whole can only be answered by an error."""
        method = self.requests.partial_method
        if method or not self._slots:
            self._early = True
            self._slots.append(_EARLY)
            self.responses.expect(method)

    def _pair(self, slot: Exchange | str, response: Response) -> None:
        promise = response.status == 101 and self._client == HOLD and goes_on_in_http2(slot, response)
        if isinstance(slot, Exchange) and not promise:
            slot.response = response
            self._sink.response(slot)
        elif slot is _EARLY:
            self._early_response = response
        else:
            self._sink.discarded(slot if isinstance(slot, str) else "interim", response.end - response.begin)

    def close_book(self, exchange: Exchange) -> None:
        """Take what has come of a streamed response that goes on; the rest is discarded."""
        if self._slots and self._slots[0] is exchange and (response := self.responses.take_so_far()) is not None:
            self._slots[0] = "open"
            self._pair(exchange, response)

    def _give_up_on(self, *slots: Exchange | str) -> None:
        for slot in slots:
            if isinstance(slot, Exchange):
                slot.uncomparable = True
                self._sink.response(slot)

    def _lose_responses(self, reason: str) -> None:
        """Which response belongs to which request is no longer known."""
        if self.responses.partial_bytes:
            self._sink.discarded(reason, self.responses.partial_bytes)
        self._server = SEEK
        self._server_reason = reason
        slots, self._slots = self._slots, deque()
        if self._early_response is None:
            self._early = False
        self._give_up_on(*slots)
        if self._client == HOLD:
            self._undecided(self._withheld.size)

    def server_gap(self, length: int, time: int) -> None:
        self._server_offset += length
        if self._server == CUT:
            self._lose_responses("gap")

    def server_eof(self, time: int) -> None:
        if self._server == CUT:
            try:
                done = self.responses.eof()
            except ProtocolError:
                done = ()
            self._take_responses(done)
            for slot in self._slots:
                if isinstance(slot, Exchange):  # production's own failure, unlike a reset or an end we only assume
                    slot.failure = "truncated" if self.responses.partial_bytes else "reset"
        self._end_server()
        if self._client == HOLD:
            self._release()

    def _end_server(self) -> None:
        if self._server == CUT:
            client, self._client = self._client, DONE  # nothing is undecided: no 101 will come
            self._lose_responses("truncated")
            self._client = client
        self._server = DONE

    def closed(self, time: int) -> None:
        if self._client == HOLD:
            if self._withheld.size:
                self._sink.lost("truncated")
                self._drop_held("truncated")
            self._client = DONE
            self._reason = "truncated"
        elif self._client != DONE:
            self.client_eof(time)
        self._end_server()
        self.requests.release()
        self.responses.release()
