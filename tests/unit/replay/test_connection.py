"""Connection against a shadow on loopback: every way it can fail, TLS, pairing with production's answer, times."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import pytest

from shadowd.exchange.exchange import Response
from shadowd.replay import engine
from shadowd.replay.lane import Lane
from shadowd.replay.leg import Leg
from shadowd.replay.target import ALWAYS_TIMED, MAX_UNWELCOME, SECOND
from tests.unit.certificates import Certificate
from tests.unit.loopback import Mirror, Peer, Shadow, ok

MS = SECOND // 1000


# --- the shadow fails -------------------------------------------------------------------------------------------------


def _part(peer: Peer) -> None:
    peer.send(ok()[:-1])


def _part_of_head(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 2")


def _nothing(peer: Peer) -> None:
    assert peer.paths


def _unread_and_reset(peer: Peer) -> None:
    peer.send(ok()[:-1])
    peer.reset()


FAILURES: list[tuple[Callable[[Peer], None], Callable[[Peer], None], str]] = [
    (_nothing, Peer.close, "reset"),
    (_nothing, Peer.half_close, "reset"),
    (_nothing, Peer.reset, "reset"),
    (_part, Peer.close, "truncated"),
    (_part, Peer.half_close, "truncated"),
    (_part_of_head, Peer.close, "truncated"),
    (lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc"), Peer.close, "truncated"),
    (lambda peer: peer.send(b"SSH-2.0-OpenSSH_9.2\r\n"), _nothing, "malformed"),
    (lambda peer: peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), _nothing, "malformed"),
    (lambda peer: peer.send(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"), _nothing, "malformed"),
    (lambda peer: peer.send(b"\0" * 10_000), _nothing, "malformed"),
]


@pytest.mark.parametrize(("says", "ends", "reason"), FAILURES)
def test_a_failure_has_its_reason_and_the_next_request_a_new_connection(
    mirror: Mirror, shadow: Shadow, says: Callable[[Peer], None], ends: Callable[[Peer], None], reason: str
) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    mirror.ask(lane, 0)
    mirror.ask(lane, 1, after=1)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    says(peer)
    ends(peer)
    mirror.until(lambda: mirror.ledger() == {"in_flight": 1, f"failed {reason}": 1})
    fresh = mirror.peer(shadow, 1)
    mirror.arrives(fresh, 1)
    mirror.answer(fresh, ok())
    assert mirror.ledger() == {"mirrored": 1, f"failed {reason}": 1}


def test_a_reset_in_the_middle_of_an_answer(mirror: Mirror, shadow: Shadow) -> None:
    mirror.ask(Lane(mirror.engine, mirror.target(shadow.port)), 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    _unread_and_reset(peer)
    mirror.until(lambda: "in_flight" not in mirror.ledger())
    assert mirror.ledger() in ({"failed reset": 1}, {"failed truncated": 1})  # the RST may overtake what was said


def test_an_answer_that_ends_with_the_connection_is_whole(mirror: Mirror, shadow: Shadow) -> None:
    mirror.ask(Lane(mirror.engine, mirror.target(shadow.port)), 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    peer.send(b"HTTP/1.0 200 OK\r\n\r\npage")
    mirror.still()
    assert mirror.ledger() == {"in_flight": 1}
    peer.close()
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1})


def test_an_early_answer_counts_and_its_connection_is_not_used_again(mirror: Mirror, shadow: Shadow) -> None:
    """The shadow refuses an upload before it has read it (413) and closes."""
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    mirror.ask(lane, 0, body=b"u" * (8 << 20))
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    mirror.answer(peer, ok(b"no", b"413 Too Large", b"Connection: close\r\n"))
    peer.close()
    mirror.ask(lane, 1, after=1)
    mirror.arrives(mirror.peer(shadow, 1), 1)
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1}


def test_an_answer_nobody_asked_for_ends_the_connection(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    mirror.answer(peer, ok())
    peer.send(ok())  # it must not become the answer to the next request
    mirror.until(lambda: lane.target.connections == 0)
    mirror.ask(lane, 1, after=1)
    mirror.arrives(mirror.peer(shadow, 1), 1)
    assert mirror.ledger() == {"mirrored": 1, "in_flight": 1}


def test_after_an_upgrade_the_connection_is_not_used_again(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    mirror.answer(peer, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n\x81\x05")
    mirror.ask(lane, 1, after=1)
    mirror.arrives(mirror.peer(shadow, 1), 1)
    assert peer.paths == ["0"]


# --- TLS --------------------------------------------------------------------------------------------------------------


def secured(mirror: Mirror, peer: Peer, certificate: Certificate) -> bool:
    """The shadow's side of the handshake; whether it came to its end."""
    sock = certificate.server().wrap_socket(peer.sock, server_side=True, do_handshake_on_connect=False)
    peer.sock = sock
    outcome: list[bool] = []

    def shake() -> bool:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, ConnectionError):
            outcome.append(False)
            return True
        outcome.append(True)
        return True

    mirror.until(shake, "a handshake")
    return outcome[0]


def test_requests_and_answers_over_tls(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port, tls=certificate.client()))
    mirror.ask(lane, 0)
    mirror.ask(lane, 1, after=1)
    peer = mirror.peer(shadow)
    assert secured(mirror, peer, certificate)
    mirror.arrives(peer, 0)
    mirror.answer(peer, ok(b"z" * 100_000))
    mirror.arrives(peer, 0, 1)
    mirror.answer(peer, ok())
    lane.finish(mirror.now)
    following = Lane(mirror.engine, lane.target)
    mirror.ask(following, 2)
    mirror.arrives(peer, 0, 1, 2)
    assert mirror.ledger() == {"mirrored": 2, "in_flight": 1}
    assert len(shadow.accept_all()) == 1


def asked_names(certificate: Certificate, peer: Peer, mirror: Mirror) -> list[str | None]:
    """What the shadow was asked for in one handshake, which it answers for localhost."""
    names: list[str | None] = []
    context = certificate.server()
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    sock = peer.sock = context.wrap_socket(peer.sock, server_side=True, do_handshake_on_connect=False)

    def shake() -> bool:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, ConnectionError):
            return True
        return True

    mirror.until(shake, "a handshake")
    return names


def test_production_s_server_name_is_kept(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    """The certificate must be for the name that production's client asked for."""
    target = mirror.target(shadow.port, tls=certificate.client(), name="10.1.2.3")
    lane = Lane(mirror.engine, target, server_name="localhost")
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    assert asked_names(certificate, peer, mirror) == ["localhost"]
    mirror.arrives(peer, 0)
    mirror.answer(peer, ok())
    assert mirror.ledger() == {"mirrored": 1}


def test_a_shadow_without_a_certificate_for_that_name_is_asked_by_its_own(
    mirror: Mirror, shadow: Shadow, certificate: Certificate
) -> None:
    target = mirror.target(shadow.port, tls=certificate.client())
    lane = Lane(mirror.engine, target, server_name="shop.example")
    mirror.ask(lane, 0)
    first = mirror.peer(shadow)
    assert asked_names(certificate, first, mirror) == ["shop.example"]
    second = mirror.peer(shadow, 1)
    assert asked_names(certificate, second, mirror) == ["localhost"]
    assert first.paths == []
    mirror.arrives(second, 0)
    mirror.answer(second, ok())
    following = Lane(mirror.engine, target, server_name="shop.example")
    mirror.ask(following, 1)
    assert asked_names(certificate, mirror.peer(shadow, 2), mirror) == ["localhost"]
    assert target.unwelcome == {"shop.example"}
    assert [str(error) for error in mirror.tls_errors] == ["no certificate for shop.example: it is asked as localhost"]


def test_the_operator_s_word_for_its_name_rules(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    target = mirror.target(shadow.port, tls=certificate.client(), name="other.example")
    target.call("localhost", "other.example")
    mirror.ask(Lane(mirror.engine, target, server_name="shop.example"), 0)
    assert asked_names(certificate, mirror.peer(shadow), mirror) == ["localhost"]


def test_a_connection_is_shared_by_those_who_ask_for_the_same_name(
    mirror: Mirror, shadow: Shadow, certificate: Certificate
) -> None:
    context = certificate.client()
    context.check_hostname = False
    target = mirror.target(shadow.port, tls=context)
    for number, name in enumerate(["one.example", "two.example", "one.example", ""]):
        lane = Lane(mirror.engine, target, server_name=name)
        mirror.ask(lane, number)
        if name != "one.example" or not number:
            peer = mirror.peer(shadow, len(shadow.peers))
            assert asked_names(certificate, peer, mirror) == [name or "localhost"]
        peer = shadow.peers[0] if name == "one.example" else peer
        mirror.until(lambda peer=peer, number=number: str(number) in peer.paths)  # type: ignore[misc]
        mirror.answer(peer, ok())
        lane.finish(mirror.now)
    assert len(shadow.accept_all()) == 3


def test_too_many_names_end_the_asking(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    target = mirror.target(shadow.port, tls=certificate.client())
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.reason = 62, "CERTIFICATE_VERIFY_FAILED"
    for number in range(1000):
        assert target.refused_name(f"{number}.example", error)
    assert len(target.unwelcome) == MAX_UNWELCOME
    assert target.name_for("new.example") == "localhost"


@pytest.mark.parametrize(("trusting", "name"), [(False, "localhost"), (True, "shadow.example")])
def test_a_certificate_that_proves_nothing(
    mirror: Mirror, shadow: Shadow, certificate: Certificate, trusting: bool, name: str
) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port, tls=certificate.client(trusting), name=name))
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    secured(mirror, peer, certificate)
    mirror.until(lambda: mirror.ledger() == {"failed tls": 1})
    assert peer.paths == []  # nothing of production's was said to a stranger
    assert isinstance(mirror.tls_errors[0], ssl.SSLCertVerificationError)


def test_a_shadow_that_speaks_no_tls(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port, tls=certificate.client()))
    mirror.ask(lane, 0)
    mirror.peer(shadow).send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    mirror.until(lambda: mirror.ledger() == {"failed tls": 1})
    assert len(mirror.tls_errors) == 1


def test_a_shadow_that_hangs_up_in_the_handshake(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port, tls=certificate.client()))
    mirror.ask(lane, 0)
    mirror.peer(shadow).close()
    mirror.until(lambda: "in_flight" not in mirror.ledger())
    assert sum(mirror.ledger().values()) == 1
    assert lane.target.connections == 0


@pytest.mark.parametrize("polite", [False, True])
def test_a_tls_answer_that_is_cut_off(mirror: Mirror, shadow: Shadow, certificate: Certificate, polite: bool) -> None:
    """With a close_notify or without one (RFC 8446 §6.1)."""
    lane = Lane(mirror.engine, mirror.target(shadow.port, tls=certificate.client()))
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    assert secured(mirror, peer, certificate)
    mirror.arrives(peer, 0)
    peer.send(ok()[:-1])
    if polite:
        with pytest.raises(ssl.SSLWantReadError):
            peer.sock.unwrap()  # type: ignore[attr-defined]
    peer.close()
    mirror.until(lambda: mirror.ledger() == {"failed truncated": 1})
    assert mirror.tls_errors == []


def test_a_close_notify_ends_an_answer_before_any_fin(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port, tls=certificate.client()))
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    assert secured(mirror, peer, certificate)
    mirror.arrives(peer, 0)
    peer.send(b"HTTP/1.0 200 OK\r\n\r\npage")
    with pytest.raises(ssl.SSLWantReadError):
        peer.sock.unwrap()  # type: ignore[attr-defined]
    mirror.until(lambda: mirror.ledger() == {"mirrored": 1})
    assert lane.target.connections == 0


def test_a_broken_tls_record(mirror: Mirror, shadow: Shadow, certificate: Certificate) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port, tls=certificate.client()))
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    assert secured(mirror, peer, certificate)
    mirror.arrives(peer, 0)
    with socket.socket(fileno=peer.sock.detach()) as bare:
        bare.send(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
        mirror.until(lambda: mirror.ledger() == {"failed tls": 1})
    assert len(mirror.tls_errors) == 1


# --- pairing and times ------------------------------------------------------------------------------------------------


def test_both_answers_are_compared_whichever_comes_first(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    exchange = mirror.submit(mirror.exchange(0), lane)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    mirror.answer(peer, ok(status=b"500 Oops"))
    mirror.turn()
    assert lane.target.status_differences == 0
    assert exchange.early is not None
    assert [leg.response.status for leg in exchange.early] == [500]
    exchange.response, exchange.answered = Response(200, ok(), 0, mirror.now), True
    mirror.engine.primary_known(exchange)
    assert lane.target.status_differences == 1
    for index, status in ((1, b"404 No"), (2, b"200 OK")):
        mirror.ask(lane, index)
        mirror.answer(peer, ok(status=status))
        mirror.turn()
    assert lane.target.status_differences == 2


def test_what_cannot_be_compared_is_mirrored_and_counted(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    exchange = mirror.exchange(0)
    exchange.answered = exchange.uncomparable = True
    mirror.submit(exchange, lane)
    mirror.answer(mirror.peer(shadow), ok(status=b"500 Oops"))
    mirror.turn()
    assert mirror.ledger() == {"mirrored": 1}
    assert (lane.target.account.uncomparable, lane.target.status_differences) == (1, 0)


@pytest.mark.parametrize("first", [7, 0xFFFFFFF0])  # the numbers wrap around in the middle of the request
def test_latency_is_what_the_kernel_saw(mirror: Mirror, shadow: Shadow, first: int) -> None:
    """From the request's last byte to the answer's first, however late the daemon looks."""
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    mirror.ask(lane, 0)
    peer = mirror.peer(shadow)
    mirror.arrives(peer, 0)
    ((cookie, wanted),) = mirror.timed.items()
    assert wanted
    sent, answer, other = len(peer.text), ok(b"x" * 50), 0xFFFFFFFF

    def record(direction: int, seq: int, length: int, flags: int, at: int) -> None:
        mirror.engine.timing(cookie, direction, seq & 0xFFFFFFFF, length, flags, at)

    record(0, first, 0, 2, 1 * MS)
    record(1, other, 0, 18, 2 * MS)
    record(0, first + 1, 10, 16, 3 * MS)
    record(0, first + 11, sent - 10, 16, 4 * MS)  # its last byte
    record(0, first + 1, sent, 16, 9 * MS)  # a retransmission is no second departure
    record(1, other + 1, 5, 16, 24 * MS)  # the answer's first byte, 20 ms later
    record(1, other + 6, len(answer) - 5, 16, 54 * MS)
    mirror.now += 5 * SECOND
    mirror.answer(peer, answer)
    mirror.turn()
    assert lane.target.shadow_latency.count == 1
    assert lane.target.shadow_latency.quantile(0.5) == pytest.approx(20 * MS, rel=0.05)
    lane.abandon("removed", mirror.now)
    mirror.turn()
    mirror.turn()
    assert mirror.timed == {cookie: False}


def test_without_times_there_is_no_latency(mirror: Mirror, shadow: Shadow) -> None:
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    mirror.ask(lane, 0)
    mirror.answer(mirror.peer(shadow), ok())
    mirror.turn()
    mirror.engine.timing(12345, 0, 1, 1, 16, 1)  # of nobody's socket
    assert (lane.target.shadow_latency.count, mirror.ledger()) == (0, {"mirrored": 1})


def test_an_answer_that_was_not_timed_tells_no_times(mirror: Mirror, shadow: Shadow) -> None:
    """When its pieces came is known by the daemon's own clock alone, and not since the request was sent."""
    target = mirror.target(shadow.port)
    target.busy, target.timed = True, ALWAYS_TIMED
    lane = Lane(mirror.engine, target)
    mirror.filter.account.seen += 1
    leg = mirror.engine.submit(mirror.exchange(0), mirror.filter.policy, lane, mirror.now)
    body = b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer = mirror.peer(shadow)
    peer.send(head + body[:14])
    mirror.turn()
    mirror.answer(peer, body[14:])
    assert isinstance(leg, Leg)
    assert leg.connection is not None
    assert leg.connection.times is None
    assert leg.response is not None
    mirror.turn()
    assert mirror.ledger() == {"mirrored": 1}
    assert leg.response.body == body
    assert leg.response.marks is None


@pytest.mark.parametrize(
    ("connections", "twins", "timed", "beyond"),
    [(16, 0, 16, 12), (32, 0, 32, 24), (32, 9, 32, 28), (3, 0, 3, 0), (200, 9, 100, 75), (200, 9, 20, 0)],
)
def test_under_load_a_quarter_of_the_first_copies_is_timed(
    mirror: Mirror, shadow: Shadow, connections: int, twins: int, timed: int, beyond: int
) -> None:
    """Second copies have half of the connections; four are timed always."""
    target = mirror.target(shadow.port)
    target.connections, target.timed = connections, timed
    target.account.twins["answered"] = twins
    assert target.timed_beyond_share == beyond
    assert target.ration_times(SECOND) == 0, "while traffic is light all are timed"
    target.account.mirrored += 2_001
    mirror.filter.account.seen += 2_001
    assert target.ration_times(2 * SECOND) == beyond
    target.connections = 0


def test_a_round_that_ends_with_its_last_event_hides_no_new_connection(
    mirror: Mirror, shadow: Shadow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next connection gets the descriptor of the one that was closed in that round; edges are told once."""
    monkeypatch.setattr(engine, "DISPATCH", 1)
    lane = Lane(mirror.engine, mirror.target(shadow.port))
    descriptors = []
    for index in range(4):
        mirror.ask(lane, index)
        peer = mirror.peer(shadow, index)
        mirror.arrives(peer, index)
        assert lane.connection is not None
        descriptors.append(lane.connection.fd)
        mirror.answer(peer, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
    assert len(set(descriptors)) == 1, "the descriptor is used again"
    assert mirror.ledger() == {"mirrored": 4}
