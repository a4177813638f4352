"""Conversations behind TLS: which filters read what, who comes and goes, and what is accounted."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shadowd.policy.policy import Policy
from shadowd.protocols.detect import HTTP2_PREFACE, tls_start
from shadowd.protocols.hpack import encode
from shadowd.protocols.http2_frames import header_block, settings
from shadowd.replay.target import Target
from shadowd.stream.flow import Flow, FlowSink
from shadowd.tls.keyring import KeyLines, Keyring
from shadowd.tls.opening import TlsOpening
from shadowd.tls.session import PATIENCE, TlsSession
from shadowd.worker.conversation import Conversation, conversation_of
from shadowd.worker.filters import Filter
from tests.unit.certificates import Certificate
from tests.unit.loopback import Shadow, get, ok
from tests.unit.production import ALL, Host, Wire
from tests.unit.tls.handshakes import CLIENT, SERVER, TLS12, TLS13, Contexts, Talk


class TlsHost(Host):
    """As the pump opens flows: those of a filter that decrypts are read through TLS."""

    def __init__(self) -> None:
        super().__init__()
        self.keyring = Keyring()
        self.flows: list[Flow] = []

    def _open(self, key: bytes, time: int, flow: Flow, midstream: bool) -> FlowSink:  # type: ignore[override]
        self.flows.append(flow)
        conversation = Conversation(self, key, flow, midstream, flow.tag)
        if any(chosen.decrypts for chosen in self.filters_of(flow.tag)):
            return TlsOpening(flow, self.keyring, conversation, tls_start, midstream, self.engine.budget)
        return conversation

    @staticmethod
    def conversation(flow: Flow) -> Conversation:
        return conversation_of(flow.sink)

    def tell(self, log: bytes) -> None:
        KeyLines(self.keyring).feed_untrusted(log, self.now)
        self.keyring.settle(self.now, PATIENCE)


@pytest.fixture
def host() -> Iterator[TlsHost]:
    with TlsHost() as built:
        built.filter.keylog = "/somewhere"
        yield built  # type: ignore[misc]


@pytest.fixture
def shadow(host: TlsHost) -> Shadow:
    return host.shadow()


@pytest.fixture
def target(host: TlsHost, shadow: Shadow) -> Target:
    return host.target(shadow.port)


@pytest.fixture
def contexts(tmp_path: Path) -> Callable[..., Contexts]:
    certificate = Certificate(tmp_path)
    return lambda version=TLS13: Contexts(certificate, tmp_path, version)


class Sealed:
    """A production connection over TLS, told to the host as it goes."""

    def __init__(self, host: TlsHost, contexts: Contexts, tag: int = ALL, number: int = 0) -> None:
        self.wire = Wire(host, number, tag)
        self.talk = Talk(contexts)
        self._sent = 0
        self.talk.shake()
        self._pass()

    def _pass(self) -> None:
        for direction, data in self.talk.segments[self._sent :]:
            (self.wire.server if direction else self.wire.client)(data)
        self._sent = len(self.talk.segments)

    def client(self, data: bytes) -> Sealed:
        self.talk.say(CLIENT, data)
        self._pass()
        return self

    def server(self, data: bytes) -> Sealed:
        self.talk.say(SERVER, data)
        self._pass()
        return self


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("late", [False, True])
def test_requests_reach_the_shadow(
    host: TlsHost,
    shadow: Shadow,
    target: Target,
    contexts: Callable[..., Contexts],
    version: ssl.TLSVersion,
    late: bool,
) -> None:
    made = contexts(version)
    sealed = Sealed(host, made)
    if not late:
        host.tell(made.keys())
    for index in range(3):
        sealed.client(get(index)).server(ok())
    if late:
        assert host.terms(host.filter) == {}
        host.tell(made.keys())
    peer = host.peer(shadow)
    for index in range(3):
        host.arrives(peer, *range(index + 1))  # in order, each when its predecessor is answered
        host.answer(peer, ok())
    sealed.wire.close()
    assert peer.paths == ["0", "1", "2"]
    assert host.terms(host.filter) == {"seen": 3}
    assert host.ledger() == {"mirrored": 3}
    assert set(host.discards) == {"tls_framing"}
    told = sum(len(data) for _, data in sealed.talk.segments)
    assert host.discards["tls_framing"] == told - sum(map(len, sealed.talk.said))
    assert not len(host.keyring)


def test_a_neighbour_sees_nothing(
    host: TlsHost, shadow: Shadow, target: Target, contexts: Callable[..., Contexts]
) -> None:
    """A filter that does not decrypt, of the same connection: before, and when it comes later."""
    other, later = (host.add(Filter(name, Policy(b"here/x"))) for name in ("other", "later"))
    made = contexts()
    sealed = Sealed(host, made, tag=0b011)
    host.tell(made.keys())
    sealed.client(get(0)).server(ok())
    sealed.wire.tag = 0b111
    sealed.client(get(1)).server(ok())
    for chosen in (other, later):
        assert host.terms(chosen) == {"seen": 1, "filtered encrypted": 1}
    assert host.terms(host.filter) == {"seen": 2}
    host.arrives(host.peer(shadow), 0)


def test_one_that_decrypts_and_comes_later(
    host: TlsHost, shadow: Shadow, target: Target, contexts: Callable[..., Contexts]
) -> None:
    """To a connection that is read already it joins; one whose handshake is over is lost to it."""
    late = host.add(Filter("late", Policy(b"here/late")))
    late.keylog = "/somewhere"
    plain = host.add(Filter("plain", Policy(b"here/plain")))
    host.target(host.shadow().port, of=late)
    made = contexts()
    read, unread = Sealed(host, made, tag=0b001), Sealed(host, made, tag=0b100, number=1)
    host.tell(made.keys())
    for sealed, tag in ((read, 0b011), (unread, 0b110)):
        sealed.client(get(0)).server(ok())
        sealed.wire.tag = tag
        sealed.client(get(1)).server(ok())
    assert host.terms(host.filter) == {"seen": 2}
    assert host.terms(late) == {"seen": 2, "lost tls_midstream": 1}
    assert (late.older, host.filter.older, plain.older) == (1, 0, 0)
    unread.wire.close()
    assert late.older == 0
    assert host.terms(plain) == {"seen": 1, "filtered encrypted": 1}


def test_what_the_server_refuses_reaches_no_shadow(
    host: TlsHost, shadow: Shadow, target: Target, tmp_path: Path
) -> None:
    """The client has no certificate, and sends a request with its Finished; its keys are told, as Go would."""

    def asking(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        server.verify_mode = ssl.CERT_REQUIRED
        client.keylog_filename, server.keylog_filename = server.keylog_filename, None

    made = Contexts(Certificate(tmp_path), tmp_path, setup=asking)
    talk, wire = Talk(made), Wire(host, 0, ALL)
    for side in (talk.client, talk.server):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
        talk._flush()
    talk.client.do_handshake()
    talk.client.write(get(0))
    talk._flush()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE"):
        talk.server.do_handshake()
    talk._flush()
    host.tell(made.keys())
    for direction, data in talk.segments:
        (wire.server if direction else wire.client)(data)
    wire.close()
    assert host.terms(host.filter) == {"seen": 1, "filtered tls_refused": 1}
    assert host.ledger() == {}
    assert host.discards["tls_refused"] > len(get(0))


def test_no_key(host: TlsHost, shadow: Shadow, target: Target, contexts: Callable[..., Contexts]) -> None:
    made = contexts()
    sealed = Sealed(host, made)
    sealed.client(get(0)).server(ok())
    host.keyring.settle(host.now + PATIENCE, PATIENCE)
    sealed.client(get(1)).server(ok())
    sealed.wire.close()
    assert host.terms(host.filter) == {"seen": 1, "lost tls_no_key": 1}
    assert set(host.discards) == {"tls_framing", "tls_no_key"}
    assert sum(host.discards.values()) == sum(len(data) for _, data in sealed.talk.segments)
    assert host.engine.budget.used == 0


def test_a_filter_that_goes_while_a_connection_waits(
    host: TlsHost, shadow: Shadow, target: Target, contexts: Callable[..., Contexts]
) -> None:
    """What is over and has no key yet is nobody's any more."""
    made = contexts()
    sealed = Sealed(host, made)
    sealed.client(get(0)).server(ok())
    sealed.wire.close()
    (waiter,) = host.keyring.waiting
    assert isinstance(waiter, TlsSession)
    conversation_of(waiter).leave(host.filter, "removed")
    host.tell(made.keys())
    assert host.terms(host.filter) == {}
    assert not list(host.keyring.waiting)
    assert not len(host.keyring)


def test_a_proxy_header_stands_before_tls(
    host: TlsHost, shadow: Shadow, target: Target, contexts: Callable[..., Contexts]
) -> None:
    header = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 80\r\n"
    made = contexts()
    talk = Talk(made).shake().say(CLIENT, get(0)).say(SERVER, ok()).say(CLIENT, get(1))
    host.tell(made.keys())
    wire = Wire(host)
    wire.client(header[:10], header[10:])
    for direction, data in talk.segments:
        (wire.server if direction else wire.client)(data)
    assert host.conversation(host.flows[0]).client == ("192.0.2.7", 40000)
    assert host.terms(host.filter) == {"seen": 2}
    assert host.discards["proxy_header"] == len(header)


def test_http2_inside_is_read(host: TlsHost, target: Target, contexts: Callable[..., Contexts]) -> None:
    made = contexts()
    sealed = Sealed(host, made)
    host.tell(made.keys())
    headers = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/inside"), (b":authority", b"shop")]
    opening = HTTP2_PREFACE + settings({}) + header_block(1, encode(headers), end=True)
    sealed.client(opening).server(settings({}) + header_block(1, encode([(b":status", b"204")]), end=True))
    assert host.terms(host.filter)["seen"] == 1


def test_raw_is_raw_of_the_plaintext(host: TlsHost, contexts: Callable[..., Contexts]) -> None:
    """Another protocol behind TLS: what the client said goes to a tcp:// target."""
    chosen = host.add(Filter("raw", Policy(b"here/raw"), protocol="raw", allow_writes=True))
    chosen.keylog = "/somewhere"
    shadow = host.shadow()
    host.target(shadow.port, scheme="tcp", of=chosen)
    made = contexts()
    sealed = Sealed(host, made, tag=0b10)
    host.tell(made.keys())
    sealed.client(b"SET a 1\r\n").server(b"+OK\r\n")
    peer = host.peer(shadow)
    host.until(lambda: peer.receive() is not None and peer.text == b"SET a 1\r\n")
    assert host.terms(chosen) == {"seen": 1}


def test_plain_http_of_a_filter_that_decrypts(host: TlsHost, shadow: Shadow, target: Target) -> None:
    wire = Wire(host)
    wire.client(get(0)[:3], get(0)[3:]).server(ok()).client(get(1)).server(ok())
    assert isinstance(host.flows[0].sink, Conversation)
    assert host.terms(host.filter) == {"seen": 2}
    assert host.discards == {}


def test_a_lost_answer_costs_one_exchange(
    host: TlsHost, shadow: Shadow, target: Target, contexts: Callable[..., Contexts]
) -> None:
    """Behind a gap in a record the next request is known again, at the first idle point."""
    made = contexts()
    sealed = Sealed(host, made)
    host.tell(made.keys())
    sealed.client(get(0)).server(ok())
    sealed.talk.say(CLIENT, get(1)).say(SERVER, ok(b"x" * 5000))
    (_, asked), (_, answered) = sealed.talk.segments[sealed._sent :]
    sealed._sent += 2
    sealed.wire.client(asked).server(answered[:1000]).server(answered[1000:3000], lost=True).server(answered[3000:])
    sealed.client(get(2)).server(ok()).client(get(3)).server(ok())
    assert host.terms(host.filter) == {"seen": 4}
    assert host.discards["gap"] >= len(answered) - 2000
    sealed.talk.say(CLIENT, get(4))
    (_, asked) = sealed.talk.segments[sealed._sent]
    sealed._sent += 1
    sealed.wire.client(asked, lost=True)
    sealed.server(ok()).client(get(5)).server(ok()).client(get(6)).server(ok())
    assert host.terms(host.filter)["lost gap"] == 1
    assert host.terms(host.filter)["seen"] >= 6


def test_a_fault_of_ours_ends_one_connection(host: TlsHost, target: Target, contexts: Callable[..., Contexts]) -> None:
    made = contexts()
    sealed = Sealed(host, made)
    host.tell(made.keys())
    session = host.flows[0].sink
    assert isinstance(session, TlsSession)
    conversation_of(session).give_up(ValueError("a fault"))
    session.refuse("fault", told=True)
    sealed.client(get(0)).server(ok())
    assert host.terms(host.filter) == {"seen": 1, "lost fault": 1}
    assert host.discards["fault"] > 0
