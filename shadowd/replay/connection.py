"""One connection to a shadow: a non-blocking socket in the engine's epoll set, drained in batches.

    CONNECTING -> (HANDSHAKE) -> OPEN -> CLOSED

The socket carries our SO_MARK bit from before its SYN, so that the capture program knows it and sends timing records
for it; they are matched by the socket's cookie and turned into stream offsets here. With TLS the offsets are those of
the ciphertext.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shadowd.exchange.exchange import Exchange, Response
from shadowd.protocols.http1_reader import ProtocolError
from shadowd.replay.answers import HttpAnswers, RawAnswers, stream_ends
from shadowd.replay.timing import MAX_MARKS, SegmentTimes

if TYPE_CHECKING:
    from shadowd.replay.engine import Engine
    from shadowd.replay.lane import Lane
    from shadowd.replay.leg import Leg
    from shadowd.replay.target import Address, Target

CONNECTING, HANDSHAKE, OPEN, CLOSED = range(4)
_SO_COOKIE = 57  # asm-generic/socket.h
_SO_MARK = 36
_RECV_BYTES = 1 << 16
_RECV_TURN = 64 << 10  # bytes read from one connection before the others have their turn
#: An answer so much longer than production's, and than this, is not read on: it is a flood, and others wait.
FLOOD, FLOOD_TIMES = 16 << 20, 16
_ENDING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_READABLE = select.EPOLLIN | _ENDING
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Connection:
    """See the module's head. ``owner`` is the lane it serves; None while it idles in the target's pool."""

    __slots__ = (
        "_answers", "_engine", "_http", "_marks", "_out", "_received", "_tls", "_tls_in", "_tls_out", "_written",
        "address", "answered", "connect_deadline", "cookie", "fd", "idle_since", "in_flight", "keep_alive", "owner",
        "server_name", "sock", "state", "target", "times",
    )  # fmt: skip

    def __init__(self, engine: Engine, target: Target, owner: Lane, address: Address, raw: bool, now: int) -> None:
        self._engine = engine
        self.target = target
        self.owner: Lane | None = owner
        self.in_flight: deque[Leg] = deque()
        self.keep_alive, self.answered, self.idle_since = True, 0, 0
        limit = engine.body_limit
        answers = RawAnswers(limit, engine.budget) if raw else HttpAnswers(limit, engine.budget)
        self._answers: HttpAnswers | RawAnswers = answers
        self._http = answers.reader if isinstance(answers, HttpAnswers) else None  # the common case
        self._out = bytearray()
        self._written = 0  # stream bytes handed to the socket or waiting in _out (ciphertext with TLS)
        self._received = 0
        self._marks: deque[tuple[int, int]] = deque()  # TLS: (plaintext offset, ciphertext offset) after each read
        self._tls: ssl.SSLObject | None = None
        self.times: SegmentTimes | None = None  # if its segments are timed
        self.address = address
        self.server_name = target.name_for(owner.server_name)  # asked for, with TLS
        family, sockaddr = address
        self.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.fd = self.sock.fileno()
        try:
            if engine.own_mark:
                self.sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, engine.own_mark)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.cookie = int.from_bytes(self.sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")
        except BaseException:
            self.sock.close()
            raise
        if target.tls is not None:
            self._tls_in, self._tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            context = target.tls_streams or target.tls if owner.http2 else target.tls
            self._tls = context.wrap_bio(self._tls_in, self._tls_out, server_hostname=self.server_name)
        self.state = CONNECTING
        self.connect_deadline = now + target.limits.connect_timeout
        target.connections += 1
        target.connecting += 1
        engine.register(self, _EVENTS)  # before the SYN: it carries the sequence number that times are counted from
        code = self.sock.connect_ex(sockaddr)
        if code not in (0, errno.EINPROGRESS):
            self.close(now)
            raise OSError(code, os.strerror(code))

    # --- events of the epoll set ------------------------------------------------------------------------------------

    def on_event(self, events: int, now: int) -> None:
        if self.state == OPEN:
            if self._out and events & select.EPOLLOUT:
                self._flush(now)
            if events & _READABLE and self.state != CLOSED:
                self._read(now, events & _ENDING)
            return
        if self.state == CONNECTING:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.fail("connect", now)
                return
            if not events & select.EPOLLOUT:
                return
            greets = bool(events & _READABLE)  # bytes or a FIN came with the SYN-ACK: no edge will tell of them again
            if self._tls is not None:
                self.state = HANDSHAKE
                self._handshake(now)
                if greets and self.state == HANDSHAKE:
                    self._read(now, events & _ENDING)
            else:
                self.state = OPEN
                self.target.connecting -= 1
                if greets and isinstance(self._answers, RawAnswers):
                    self._read(now, events & _ENDING)  # before the first turn, whose answer it is not
                    greets = False
                if self.state != CLOSED:
                    self._opened(now)
                if greets and self.state == OPEN:
                    self._read(now, events & _ENDING)
            return
        if events & select.EPOLLOUT and self._out:
            self._flush(now)
        if events & _READABLE and self.state != CLOSED:
            self._read(now, events & _ENDING)

    def _opened(self, now: int) -> None:
        self.target.connected(self.address)
        if self.owner is not None:
            self.owner.opened(self, now)

    def _handshake(self, now: int) -> None:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._write(self._tls_out.read(), now)
            return
        except (ssl.SSLError, ValueError) as error:
            if self.target.refused_name(self.server_name, error):
                self._ask_by_own_name(now)
                return
            self._engine.note_tls_error(self.target, error)
            self.fail("tls", now)
            return
        self._write(self._tls_out.read(), now)
        if self.state != CLOSED:
            self.state = OPEN
            self.target.connecting -= 1
            self._opened(now)

    def _ask_by_own_name(self, now: int) -> None:
        """It has no certificate for the name that production's client asked for: nothing was sent yet."""
        target, owner = self.target, self.owner
        self._engine.note_tls_error(
            target, ConnectionError(f"no certificate for {self.server_name}: it is asked as {target.server_name}")
        )
        self.close(now)
        if owner is not None:
            owner.disconnected([], now)

    def _read(self, now: int, ending: int) -> None:
        taken = 0
        recv = self.sock.recv
        while True:
            try:
                data = recv(_RECV_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.fail("reset", now)
                return
            size = len(data)
            if not size:
                self._ended(now)
                return
            self._received += size
            self._engine.taken += size
            if self._tls is not None:
                self._decrypt(data, now)
            else:
                self._deliver(data, now)
            if size < _RECV_BYTES and not ending:
                return  # drained: a new edge tells of more
            if self.state == CLOSED:
                return
            taken += size
            if taken >= _RECV_TURN:
                self._engine.read_again(self)
                return

    def _decrypt(self, data: bytes, now: int) -> None:
        assert self._tls is not None
        self._tls_in.write(data)
        if self.state == HANDSHAKE:
            self._handshake(now)
            if self.state != OPEN:
                return
        plain = bytearray()
        over = False
        try:
            while piece := self._tls.read(_RECV_BYTES):
                plain += piece
            over = True  # close_notify: read gives nothing, again and again
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._engine.note_tls_error(self.target, error)
            self.fail("tls", now)
            return
        if plain:
            before = self._marks[-1][0] if self._marks else 0
            self._marks.append((before + len(plain), self._received))
            if len(self._marks) > MAX_MARKS:
                self._marks.popleft()
            self._deliver(bytes(plain), now)
        if over and self.state != CLOSED:
            self._ended(now)

    def _deliver(self, data: bytes, now: int) -> None:
        if not self.in_flight:
            self._unasked(data, now)
            return
        http = self._http
        try:
            if http is not None:
                responses = http.feed_untrusted(data, now)
            else:
                responses = self._answers.feed_untrusted(data, now)
        except ProtocolError:
            self._unreadable(data, now)
            return
        if responses:
            spoilt = http is not None and http.error is not None
            if spoilt:
                self.keep_alive = False  # whatever is said here from now on may be the rest of this answer
                if len(responses) == len(self.in_flight):
                    self.target.account.stray += 1
            self._answer(responses, now)
            if spoilt and self.in_flight:
                self._unreadable(data, now)
        elif self._received - self.in_flight[0].received_before > self._answer_limit(self.in_flight[0]):
            self.fail("own_limit" if self._as_long(self.in_flight[0].exchange) else "malformed", now)

    def _answer_limit(self, leg: Leg) -> int:
        """Bytes of its answer that are read: far more than production's, where that is known."""
        most = self.target.answer_limit
        production = leg.exchange.response
        if production is None or not leg.exchange.answered:
            return most
        return min(most, max(FLOOD, FLOOD_TIMES * production.body_length))

    def _unasked(self, data: bytes, now: int) -> None:
        """Bytes that no answer owns: HTTP cannot go on after them, blank lines apart; raw only counts them."""
        answers = self._answers
        if isinstance(answers, RawAnswers):
            answers.feed_untrusted(data, now)
        elif answers.reusable and data.strip(b"\r\n"):
            if data[9:12] != _GOOD_BYE:
                self.target.account.stray += 1
            owner = self.owner
            self.close(now)
            if owner is not None:
                owner.disconnected([], now)

    def _unreadable(self, data: bytes, now: int) -> None:
        """What came for the oldest request in flight is no answer: a broken one, which is the shadow's fault, or bytes
        that follow an earlier answer of this connection (a body after a 204 or for HEAD, more than Content-Length). Of
        those the next request knows nothing: it is asked again elsewhere if that is safe."""
        reader = self._http
        stray = False
        if self.answered and reader is not None:
            begin = reader.boundary - (reader.offset - len(data))
            stray = not self.keep_alive or (begin >= 0 and not data.startswith(b"HTTP/", begin))
        if stray:
            self.target.account.stray += 1
        self.fail("stray" if stray else "malformed", now)

    def _as_long(self, exchange: Exchange) -> bool:
        """Production's answer is as long as the shadow's, as far as is known: then it is only that we read no more."""
        response = exchange.response
        return not exchange.answered or (response is not None and response.body_length > self.target.answer_limit // 2)

    def _answer(self, responses: Sequence[Response], now: int) -> None:
        in_flight = self.in_flight
        for response in responses:
            leg = in_flight.popleft()
            leg.response = response
            self.answered += 1
            if not response.keep_alive or response.status == 101:
                self.keep_alive = False
            self._engine.answered(leg)
        if in_flight:
            in_flight[0].received_before = self._received  # pipelined: the answers before its own are not its own
        owner = self.owner
        if not self.keep_alive and not in_flight:
            self.close(now)
        if owner is not None and (owner.queue or owner.finished or self.state != OPEN):
            owner.answered(self, now)

    def settle_raw(self, now: int) -> None:
        """Raw answers may end by silence or because production's has ended: looked at each turn."""
        responses = self._answers.settle(now)
        if responses:
            self._answer(responses, now)

    def check_deadline(self, now: int) -> None:
        """Answers come in order, so the oldest request is the first that is late."""
        if not self.in_flight or self.in_flight[0].deadline > now:
            return
        leg, timeout = self.in_flight[0], self.target.limits.timeout
        if not self._overdue(leg, now):
            return
        if self._answers.in_time(leg, now, timeout):  # raw: production was silent as long itself
            leg.deadline = min(now + timeout, max(now, stream_ends(leg)))
            return
        window_over = now >= stream_ends(leg)
        response = self._answers.so_far() if window_over else None
        if response is not None:
            self._answer((response,), now)
        if self.in_flight:
            self.fail("timeout", now)

    def _overdue(self, leg: Leg, now: int) -> bool:
        """It is late, and not because we stood still while its answer may have come."""
        stalled = self._engine.stalls.within(leg.sent_at, now)
        if stalled:
            leg.deadline = max(leg.deadline, leg.sent_at + self.target.limits.timeout + stalled)
        return leg.deadline <= now

    def _ended(self, now: int) -> None:
        """The shadow's FIN. Completes a close-delimited answer; what else is in flight was cut off."""
        try:
            responses = self._answers.eof() if self.in_flight else ()
        except ProtocolError:
            self.fail("truncated", now)
            return
        self.keep_alive = False
        if responses:
            self._answer(responses, now)
        if self.state != CLOSED:
            self.fail("truncated" if self._answer_begun() else "reset", now)

    def _answer_begun(self) -> bool:
        return bool(self.in_flight) and self._answers.begun

    # --- sending ----------------------------------------------------------------------------------------------------

    def send(self, leg: Leg, now: int) -> None:
        """Send a whole request; the socket's refusal of a part is ours to finish."""
        http = self._http
        if http is not None:
            http.expect(leg.exchange.request.method)
        else:
            self._answers.sent(leg)
        if self.target.sessions is not None:
            leg.wire = self.target.sessions.replaced(leg.wire)
        self.in_flight.append(leg)
        leg.connection = self
        leg.received_before = self._received
        leg.sent_at = now
        leg.deadline = now + self.target.limits.timeout
        if self._tls is None:
            self._write(leg.wire, now)
        else:
            self._tls.write(leg.wire)
            self._write(self._tls_out.read(), now)
        leg.sent_end = self._written

    def send_preamble(self, data: bytes, now: int) -> None:
        """Bytes ahead of the first request that no answer belongs to."""
        if self._tls is None:
            self._write(data, now)
        else:
            self._tls.write(data)
            self._write(self._tls_out.read(), now)

    def _write(self, data: bytes, now: int) -> None:
        if not data:
            return
        self._written += len(data)
        if self._out:
            self._out += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # the reset shows up as an event too; what was in flight ends there
            self._engine.fail_soon(self)
            return
        if sent < len(data):
            self._out += data[sent:]

    def _flush(self, now: int) -> None:
        while self._out:
            try:
                sent = self.sock.send(memoryview(self._out)[: 1 << 18])
            except BlockingIOError:
                return
            except OSError:
                self.fail("reset", now)
                return
            del self._out[:sent]

    # --- the end ----------------------------------------------------------------------------------------------------

    def fail(self, reason: str, now: int) -> None:
        """Close; what is in flight failed by ``reason``, or is tried again if the shadow closed an idle connection. By
        ``stray`` and ``own_limit`` nothing fails: it is tried again, or shed."""
        if self.state == CLOSED:
            return
        if self.state == HANDSHAKE and reason != "tls":  # it closed, or said nothing in time
            reason = "tls"
            self._engine.note_tls_error(self.target, ConnectionError("it takes connections but no handshake"))
        connecting = self.state in (CONNECTING, HANDSHAKE)
        begun = self._answer_begun()
        legs, self.in_flight = self.in_flight, deque()
        stale = reason in _SHED or (reason == "reset" and self.answered > 0 and not begun)
        owner = self.owner
        self.close(now)
        if connecting:
            self.target.connect_failed(self.address, now)
            if owner is not None:
                owner.connect_failed(reason, now)
            return
        retry = []
        if reason == "own_limit":
            self._engine.shed(legs.popleft(), reason)
        for leg in legs:
            # a race between our request and the server's idle close: RFC 9110 §9.2.2 lets safe requests go again
            if stale and not leg.retried and leg.wire and leg.lane is owner and leg.exchange.request.method in _RETRIED:
                leg.retried = True
                retry.append(leg)
            elif reason in _SHED:
                self._engine.shed(leg, reason)
            else:
                self._engine.failed(leg, reason)
        if owner is not None:
            owner.disconnected(retry, now)

    def close(self, now: int) -> None:
        """Leave the epoll set and close. Legs still in flight are the caller's."""
        if self.state == CLOSED:
            return
        if self.state != OPEN:
            self.target.connecting -= 1
        self.state = CLOSED
        self.target.connections -= 1
        self.target.idle.pop(self, None)
        self._engine.unregister(self)
        self.sock.close()
        self.owner = None

    @property
    def reusable(self) -> bool:
        return (
            self.state == OPEN and self.keep_alive and not self.in_flight and self._answers.reusable and not self._out
        )

    # --- kernel times -----------------------------------------------------------------------------------------------

    def measure(self, leg: Leg) -> None:
        """First and last byte of the answer, ns after the request's last byte left, without the shortest round trip
        (production is measured at its own end of the wire); left unknown if not all was seen."""
        response, times = leg.response, self.times
        if response is None or times is None:
            return
        begin, end = response.begin + 1, response.end
        if self._tls is not None:
            begin, end = self._cipher_offset(begin), self._cipher_offset(end)
        pieces = [] if response.marks is None or self._tls is not None else times.pieces(begin, end)
        response.marks = None  # those of the daemon's own clock
        found = times.between(leg.sent_end, begin, end)
        if found is not None:
            trip = times.round_trip(self.sock)
            if pieces:
                sent = pieces[-1][1] - found[1]
                response.marks = [(offset, max(time - sent - trip, 0)) for offset, time in pieces]
            leg.first_byte = max(found[0] - trip, 0)
            leg.last_byte = max(found[1] - trip, 0)

    def _cipher_offset(self, plain: int) -> int:
        while self._marks and self._marks[0][0] < plain:
            self._marks.popleft()
        return self._marks[0][1] if self._marks else 1 << 62


_RETRIED = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_SHED = frozenset({"own_limit", "stray"})  # of the ledger's
#: Status of a server that ends an idle connection (RFC 9110 §15.5.9): no bytes astray.
_GOOD_BYE = b"408"
