"""Whatever production, the capture and the shadows do: the ledger balances, everything ends, nothing is invented.

Random connections go through flow table, conversations and engine to real sockets on loopback. The oracles are plain:
what the clients wrote, and what the shadows received.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from shadowd.policy.policy import Policy
from shadowd.replay.answers import RAW_QUIET
from shadowd.replay.target import SECOND, TargetLimits
from shadowd.worker.filters import Filter
from tests.ports import refusing_port
from tests.unit.loopback import Peer, Shadow, ok
from tests.unit.production import Host, Wire

CONNECTIONS = 3
MARK = re.compile(rb"X-Shadowd: here/[a-z]+\r\n")
LINE = re.compile(rb"[A-Z]+ /(\d+)-(\d+) HTTP/1.1\r\n")
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"  # right for any method, HEAD too
OUTCOMES = ["ok"] * 4 + ["error", "last", "cut", "reset", "silent", "nonsense", "unasked"]


class Fickle(Shadow):
    """Answers each request, or each piece of a raw flow, by the next outcome of its list, again and again."""

    def __init__(self, outcomes: Sequence[str]) -> None:
        super().__init__()
        self._outcomes = outcomes
        self._next = 0
        self._served: dict[Peer, int] = {}

    def step(self) -> None:
        for peer in self.accept_all():
            if peer.sock.fileno() < 0:
                continue
            peer.receive()
            asked = len(MARK.findall(peer.text)) or len(peer.text)
            while self._served.get(peer, 0) < asked and peer.sock.fileno() >= 0:
                self._served[peer] = asked if not MARK.search(peer.text) else self._served.get(peer, 0) + 1
                self._next += 1
                try:
                    self._answer(peer, self._outcomes[self._next % len(self._outcomes)])
                except OSError:  # the mirror has closed it meanwhile
                    peer.close()

    def _answer(self, peer: Peer, outcome: str) -> None:
        if outcome in ("ok", "unasked"):
            peer.send(EMPTY * (1 + (outcome == "unasked")))
        elif outcome == "error":
            peer.send(ok(b"oops", b"500 Oops"))
        elif outcome == "nonsense":
            peer.send(b"\0\1\2 what?\r\n\r\n")
        elif outcome == "last":
            peer.send(ok(fields=b"Connection: close\r\n"))
            peer.close()
        elif outcome == "cut":
            peer.send(ok()[:-1])
            peer.close()
        elif outcome == "reset":
            peer.reset()


class Client:
    """Writes requests no two of which are alike."""

    def __init__(self, host: Host, number: int, midstream: bool) -> None:
        self.number = number
        self.wire = Wire(host, number, midstream=midstream, isn=0xFFFFFF80)
        self.sent: list[bytes] = []
        self.over = False

    def ask(self, kind: str, cut: int, lost: int) -> None:
        name = b"/%d-%d HTTP/1.1\r\nHost: p\r\n" % (self.number, len(self.sent))
        text = {
            "get": b"GET " + name + b"\r\n",
            "head": b"HEAD " + name + b"\r\n",
            "post": b"POST " + name + b"Content-Length: 300\r\n\r\n" + b"GET /9-9 HTTP/1.1\r\n\r\n".ljust(300, b"b"),
            "chunked": b"PUT " + name + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
            "nonsense": b"GET" + name + b"\r\n",
        }[kind]
        self.sent.append(text)
        cut %= len(text)
        for bit, piece in ((1, text[:cut]), (2, text[cut:])):
            if piece:
                self.wire.client(piece, lost=bool(lost & bit))


CONNECTION = st.integers(0, CONNECTIONS - 1)
LOSS = st.sampled_from([0] * 8 + [1, 2, 3])
COMMON = st.one_of(
    st.tuples(
        st.just("ask"),
        CONNECTION,
        st.sampled_from(["get", "get", "head", "post", "chunked"]),
        st.integers(0, 400),
        LOSS,
    ),
    st.tuples(st.just("ask"), CONNECTION, st.just("get"), st.just(0), st.just(0)),
    st.tuples(st.just("reply"), CONNECTION, st.integers(1, 3), LOSS),
    st.tuples(st.just("reply"), CONNECTION, st.just(1), st.just(0)),
    st.tuples(st.just("serve"), st.integers(1, 3)),
)
RARE = st.one_of(
    st.tuples(st.just("ask"), CONNECTION, st.just("nonsense"), st.just(0), st.just(0)),
    st.tuples(st.just("retag"), CONNECTION, st.integers(0, 7)),
    st.tuples(st.sampled_from(["close", "reset", "half"]), CONNECTION),
    st.tuples(st.just("open"), CONNECTION, st.booleans()),
    st.tuples(st.just("pass"), st.integers(1, 11 * SECOND)),
    st.tuples(st.sampled_from(["remove"] + ["pass"] * 4), st.integers(0, 2)),
    st.tuples(st.just("lose target")),
)
OPERATION = st.integers(0, 9).flatmap(lambda dice: COMMON if dice else RARE)


class Scene:
    """Three filters: any method to a fickle and a dead target, a pool of safe methods, raw."""

    def __init__(self, host: Host, outcomes: Sequence[str]) -> None:
        self.host = host
        self.shadows = [Fickle(outcomes), Fickle(outcomes[::-1]), Fickle(outcomes[1:] or outcomes)]
        self.http, self.pooled, self.raw = self.shadows
        tight = TargetLimits(max_connections=2, max_in_flight=5, max_lag=SECOND, timeout=2 * SECOND)
        host.target(self.http.port)
        host.target(refusing_port())
        pool = host.add(Filter("pool", Policy(b"here/pool", preserve_host=True), order="none"))
        host.target(self.pooled.port, tight, of=pool)
        raw = host.add(Filter("raw", Policy(b"here/raw"), protocol="raw", allow_writes=True))
        host.target(self.raw.port, TargetLimits(timeout=3 * SECOND), scheme="tcp", of=raw)
        self.clients: list[Client] = []
        self.all: list[Client] = []
        for _ in range(CONNECTIONS):
            self.clients.append(self._client(midstream=False))

    def _client(self, midstream: bool) -> Client:
        self.all.append(Client(self.host, len(self.all), midstream))
        return self.all[-1]

    def serve(self) -> None:
        self.host.turn()
        for shadow in self.shadows:
            shadow.step()
        self.host.turn()

    def do(self, name: str, *details: object) -> None:
        host = self.host
        numbers = [detail for detail in details if isinstance(detail, int)]
        client = self.clients[numbers[0] % CONNECTIONS] if numbers else self.clients[0]
        if name == "ask" and not client.over:
            client.ask(str(details[1]), numbers[1], numbers[2])
        elif name == "reply" and not client.wire.over:
            client.wire.server(*[ok()] * numbers[1], lost=bool(numbers[2] & 1))
        elif name == "retag":
            client.wire.retag(numbers[1])
        elif name in ("close", "reset", "half") and not client.over:
            client.over = True
            {"close": Wire.close, "reset": Wire.reset, "half": Wire.client_fin}[name](client.wire)
        elif name == "open":
            self.clients[numbers[0]] = self._client(bool(details[1]))
        elif name == "pass":
            host.sweep(numbers[0])
            host.table.expire(host.now)
        elif name == "remove":
            host.leave(host.filters[numbers[0]])
        elif name == "lose target" and len(host.filter.targets) > 1:
            host.leave_target(host.filter, host.filter.targets[-1])
        elif name == "serve":
            for _ in range(numbers[0]):
                self.serve()

    def end(self) -> None:
        """Production closes everything; the shadows answer for a while and then no more."""
        self.host.table.close_all(self.host.now)
        for _ in range(10):
            self.serve()
        for _ in range(4):
            self.host.sweep(11 * SECOND)
            self.serve()

    def close(self) -> None:
        for shadow in self.shadows:
            shadow.close()


def check_requests(peer: Peer, clients: list[Client]) -> int:
    """What an HTTP shadow received on a connection is whole requests of production's, each client's in order, marked,
    and at most the beginning of one more. Returns how many."""
    rest, found = peer.text, 0
    last: dict[int, int] = {}
    while rest:
        line = LINE.match(rest)
        if line is None:
            assert any(text.startswith(rest) for client in clients for text in client.sent)
            break
        number, index = int(line[1]), int(line[2])
        assert last.get(number, -1) < index
        last[number] = index
        mark = MARK.search(rest)
        sent = clients[number].sent[index]
        if mark is None:
            head, _, _ = sent.partition(b"\r\n\r\n")
            assert (head + b"\r\nX-Shadowd: here/").startswith(rest[: len(head) + 18])
            break
        plain = rest[: mark.start()] + rest[mark.end() :]
        if not plain.startswith(sent):
            assert sent.startswith(plain)
            break
        rest = plain[len(sent) :]
        found += 1
    return found


SPLICE = [("ask", 0, "post", 200, 2), ("ask", 0, "post", 0, 0), ("reply", 0, 1, 0), ("serve", 3)]


@settings(max_examples=150, deadline=None)
@example(["ok"], SPLICE)  # the next request would fill the hole
@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=8), st.lists(OPERATION, min_size=20, max_size=60))
def test_the_ledger_balances_and_no_request_is_invented(
    outcomes: list[str], operations: list[tuple[object, ...]]
) -> None:
    with Host() as host:
        scene = Scene(host, outcomes)
        try:
            for name, *details in operations:
                scene.do(str(name), *details)
                assert all(chosen.account.balanced for chosen in host.filters)
            scene.end()
            for chosen in host.filters:
                assert chosen.account.balanced
                assert chosen.account.in_flight == 0
            assert host.engine.buffered == host.engine.waiting == host.engine.in_flight == 0
            for shadow, chosen in ((scene.http, host.filter), (scene.pooled, host.filters[1])):
                whole = sum(check_requests(peer, scene.all) for peer in shadow.accept_all())
                assert whole >= chosen.targets[0].account.mirrored
                event(f"{chosen.name} mirrored {min(chosen.targets[0].account.mirrored, 3)}")
            for peer in scene.raw.accept_all():
                assert any(client.wire.text[0].startswith(peer.text) for client in scene.all)
        finally:
            scene.close()


@pytest.mark.parametrize("count", [1, 40])
def test_without_faults_everything_is_mirrored(count: int) -> None:
    """The same scene can succeed: all that was asked is seen, sent, and answered."""
    with Host() as host:
        scene = Scene(host, ["ok"])
        for index in range(count):
            for number in range(CONNECTIONS):
                scene.do("ask", number, ("get", "head", "post", "chunked")[index % 4], 30, 0)
                scene.do("reply", number, 1, 0)
                scene.do("serve", 2)
            scene.do("pass", 2 * RAW_QUIET)  # the shadow's raw answers are shorter than production's
        scene.end()
        total = count * CONNECTIONS
        assert host.ledger(0) == {"mirrored": total}
        assert host.terms(host.filter) == {"seen": total}
        safe = sum(index % 4 < 2 for index in range(count)) * CONNECTIONS
        assert host.filters[1].account.targets[0].mirrored == safe
        assert sum(check_requests(peer, scene.all) for peer in scene.http.accept_all()) == total
        assert [peer.text for peer in scene.raw.accept_all()] == [client.wire.text[0] for client in scene.all]
        scene.close()
