"""A shadow on loopback whose every byte the test decides, and a mirror in front of it whose clock the test holds.

The sockets are real, the time is not: ``Mirror.now`` moves only when a test says so, so that a time limit of ten
seconds passes at once and none passes by itself.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Self

from shadowd.exchange.exchange import Exchange, Request, Response
from shadowd.policy.policy import Policy
from shadowd.replay.engine import SWEEP, Engine
from shadowd.replay.lane import Lane, Pool
from shadowd.replay.target import SECOND, Target, TargetLimits
from shadowd.worker.filters import Filter

PATIENCE = 30.0  # seconds of real time until something that must happen counts as never happening: a busy machine
MARK = b"X-Shadowd: here/shop\r\n"
_LINE = re.compile(rb"(?:GET|HEAD|POST) /(\S*) HTTP/1.1\r\n")


def get(number: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nHost: p\r\n\r\n" % number


def ok(body: bytes = b"hi", status: bytes = b"200 OK", fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), fields, body)


def until(condition: Callable[[], bool], step: Callable[[], object], what: str = "") -> None:
    """Take steps until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never came true: {what}"
        step()


class Peer:
    """The shadow's end of one connection. ``text``: all it has received."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.text = b""
        self.ended = False  # the mirror's FIN or RST came
        sock.setblocking(False)

    def receive(self) -> bytes:
        """What has come and was not asked for before."""
        before = len(self.text)
        while not self.ended:
            try:
                data = self.sock.recv(1 << 16)
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            except ConnectionError:
                data = b""
            self.text += data
            self.ended = not data
        return self.text[before:]

    def has(self, length: int) -> bool:
        """Whether so many bytes have come in all."""
        self.receive()
        return len(self.text) >= length

    @property
    def paths(self) -> list[str]:
        """Of all requests received so far, without the leading slash."""
        self.receive()
        return [path.decode() for path in _LINE.findall(self.text)]

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """RST: close with nothing left to linger for."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Shadow:
    """A listening socket; the test takes its connections one by one."""

    def __init__(self, backlog: int = 128) -> None:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(backlog)
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self.peers: list[Peer] = []

    def accept_all(self) -> list[Peer]:
        """Every connection so far, in the order they came."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return self.peers
            self.peers.append(Peer(sock))

    def close(self) -> None:
        self.listener.close()
        for peer in self.peers:
            peer.sock.close()


class Mirror:
    """An engine and one filter with its targets; what the daemon does around them is done by hand."""

    def __init__(self, max_buffered: int = 64 << 20, body_limit: int = 1 << 10) -> None:
        self.now = 1000 * SECOND
        self.tls_errors: list[Exception] = []
        self.timed: dict[int, bool] = {}
        self.engine = Engine(
            0, max_buffered, body_limit, lambda _, error: self.tls_errors.append(error), self.timed.__setitem__
        )
        self.filter = Filter("shop", Policy(b"here/shop", methods=None, preserve_host=True))
        self.filters = [self.filter]
        self._shadows: list[Shadow] = []

    def shadow(self, backlog: int = 128) -> Shadow:
        self._shadows.append(Shadow(backlog))
        return self._shadows[-1]

    def target(
        self,
        port: int,
        limits: TargetLimits | None = None,
        tls: ssl.SSLContext | None = None,
        name: str = "localhost",
        scheme: str = "http",
        of: Filter | None = None,
    ) -> Target:
        """One more target, of the first filter unless told otherwise."""
        chosen = of or self.filter
        scheme = scheme if tls is None else "https"
        url = f"{scheme}://localhost:{port}"
        account = chosen.account.add_target(url)
        target = Target(url, scheme, "localhost", port, account, limits or TargetLimits(), tls, name)
        target.addresses = [(socket.AF_INET, ("127.0.0.1", port))]
        chosen.targets.append(target)
        self.engine.targets.append(target)
        return target

    def submit(self, exchange: Exchange, *lanes: Lane | Pool) -> Exchange:
        """One request, seen and not filtered, for one lane of each target."""
        self.filter.account.seen += 1
        for lane in lanes:
            self.engine.submit(exchange, self.filter.policy, lane, self.now)
        return exchange

    def ask(self, lane: Lane | Pool, index: int, after: int = 0, body: bytes = b"") -> Exchange:
        """``GET /<index>``, or POST with a body, which production has answered with 200 at once."""
        exchange = self.exchange(index, after, body)
        exchange.response = Response(200, ok(), 0, self.now)
        exchange.answered = True
        return self.submit(exchange, lane)

    def exchange(self, index: int, after: int = 0, body: bytes = b"") -> Exchange:
        """The same, which production has not answered yet."""
        head = get(index)
        if body:
            head = b"POST /%d HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n" % (index, len(body))
        end = len(head) + len(body)
        method = head.split()[0]
        return Exchange(index, Request(method, b"/%d" % index, head, body, 0, end, self.now, self.now), after)

    def say(self, lane: Lane, index: int, words: bytes, after: int = 0, reply: int | None = None) -> Exchange:
        """A raw turn, which production has answered with ``reply`` bytes; None: it has said nothing yet."""
        request = Request(b"", b"", b"", words, 0, len(words), self.now, self.now)
        exchange = Exchange(index, request, after)
        if reply is not None:
            self.replied(exchange, reply)
        return self.submit(exchange, lane)

    def replied(self, exchange: Exchange, length: int, over: bool = True) -> None:
        """Production has answered ``length`` bytes by now."""
        if exchange.response is None:
            exchange.response = Response(0, b"", 0, self.now)
        exchange.response.body_length = length
        exchange.response.last_byte = self.now
        exchange.answered = over

    # --- time ---------------------------------------------------------------------------------------------------------

    def turn(self, later: int = 0) -> None:
        """One turn of the pump, ``later`` ns after the last."""
        self.now += later
        self.engine.poll()
        self.engine.settle()
        self.engine.dispatch(self.now)
        self.engine.tick(self.now)
        self.engine.examining.go_on(time.monotonic_ns())  # its clock is the real one

    def _wait(self) -> None:
        self.engine.wait(SECOND // 200)
        self.turn()

    def until(self, condition: Callable[[], bool], what: str = "") -> None:
        until(condition, self._wait, what)

    def sweep(self, later: int) -> None:
        """Let ``later`` ns pass, and every time limit that ends with them."""
        self.turn(max(later, SWEEP))

    def still(self) -> None:
        """Long enough for what the engine would send now to arrive."""
        for _ in range(3):
            self._wait()

    # --- what is to be seen -------------------------------------------------------------------------------------------

    def peer(self, shadow: Shadow, number: int = 0) -> Peer:
        """The shadow's ``number``-th connection, as soon as it is there."""
        self.until(lambda: len(shadow.accept_all()) > number, f"connection {number}")
        return shadow.peers[number]

    def arrives(self, peer: Peer, *numbers: int) -> None:
        """Wait until the peer has got exactly these requests since it was accepted."""
        wanted = [str(number) for number in numbers]
        self.until(lambda: len(peer.paths) >= len(wanted), f"requests {wanted} of {peer.paths}")
        assert peer.paths == wanted

    def answer(self, peer: Peer, data: bytes, count: int = 1) -> None:
        """The peer says ``data``; wait until ``count`` more requests are answered."""
        goal = self._mirrored + count
        peer.send(data)
        self.until(lambda: self._mirrored >= goal, f"{goal} answers")

    @property
    def _mirrored(self) -> int:
        return sum(target.mirrored for chosen in self.filters for target in chosen.account.targets)

    def ledger(self, target: int = 0) -> dict[str, int]:
        """What became of the requests at a target; terms that are not 0 only. ``imbalance`` is never among them."""
        account = self.filter.account.targets[target]
        terms = {"mirrored": account.mirrored, "in_flight": account.in_flight, **account.shed}
        terms.update({f"failed {reason}": count for reason, count in account.failed.items()})
        terms["imbalance"] = self.filter.account.imbalance(account)
        return {reason: count for reason, count in terms.items() if count}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """The end of a test that came so far: no request unaccounted for, no byte charged for one that ended."""
        self.engine.close(self.now)
        for shadow in self._shadows:
            shadow.close()
        if kind is None:
            waiting = sum(target.in_flight for chosen in self.filters for target in chosen.account.targets)
            assert all(chosen.account.balanced for chosen in self.filters)
            assert waiting or self.engine.buffered == 0
            assert all(target.connections == 0 for chosen in self.filters for target in chosen.targets)
