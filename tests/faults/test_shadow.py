"""The shadow fails in every way it can: production sees nothing, each request is accounted for by its own reason."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.faults.traffic import echo, production_under_load
from tests.netns.lab import (
    Daemon,
    HttpClient,
    Server,
    check_ledger,
    free_port,
    in_namespace,
    namespaces,
    ok,
    one_worker,
    running,
    sh,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


@pytest.fixture
def production() -> Iterator[Server]:
    server = Server(answer=echo)
    yield server
    server.close()


@pytest.fixture
def name(daemon: Daemon) -> Iterator[str]:
    """A filter's name; whatever is there at the end is checked once more and removed."""
    yield "victim"
    for view in daemon.call("filter.ls"):
        check_ledger(daemon.ledger(view["name"]))
        daemon.call("filter.rm", name=view["name"])


def ask(port: int, count: int, connections: int = 1) -> None:
    """``count`` requests to production over each of so many connections, one after the other; all are well answered."""
    clients = [HttpClient("127.0.0.1", port) for _ in range(connections)]
    for number in range(count):
        for index, client in enumerate(clients):
            path = f"/{index}/{number}"
            assert client.get(path).endswith(path.encode())
    for client in clients:
        client.close()


class Listener:
    """A shadow that behaves as ``conduct(connection, number)`` does, each connection in a thread of its own."""

    def __init__(self, conduct: Callable[[socket.socket, int], None]) -> None:
        self._conduct = conduct
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._run, args=(connection, self.connections), daemon=True).start()

    def _run(self, connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            self._conduct(connection, number)

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def listener(conduct: Callable[[socket.socket, int], None]) -> Iterator[Listener]:
    shadow = Listener(conduct)
    try:
        yield shadow
    finally:
        shadow.close()


def read_request(connection: socket.socket) -> bytes:
    """One request without a body; OSError at the end of the stream."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = connection.recv(65536)
        if not more:
            raise OSError("over")
        data += more
    return data


def target(ledger: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = ledger["targets"][index]
    return found


# --- down and up again ------------------------------------------------------------------------------------------------


def test_down_trips_the_breaker_and_recovers(daemon: Daemon, name: str) -> None:
    port = free_port()
    with production_under_load() as (production, traffic):
        daemon.add(name, production.port, f"http://127.0.0.1:{port}")

        def tripped() -> bool:
            found = target(daemon.ledger(name))
            return found["failed"].get("connect", 0) >= 5 and found["shed"].get("circuit_open", 0) >= 20

        wait_for("connecting fails, then the breaker is open", tripped)
        assert target(daemon.ledger(name))["mirrored"] == 0
        words = " ".join(daemon.call("filter.show", name=name)["words"])
        assert "failed" in words
        assert "connect" in words
        traffic.more(30)
        shadow = Server(port=port)
        wait_for("it is found to be up again", lambda: target(daemon.ledger(name))["mirrored"] >= 30)
        failed = target(daemon.ledger(name))["failed"]
        traffic.more(60)
        assert target(daemon.ledger(name))["failed"] == failed
    ledger = daemon.settled(name)
    assert target(ledger)["mirrored"] == len(shadow.requests)
    shadow.close()


def test_goes_down_under_load(daemon: Daemon, name: str) -> None:
    """The shadow's process dies: its listener and every open connection with it."""
    shadow = Server()
    with production_under_load() as (production, traffic):
        daemon.add(name, production.port, shadow.url)
        wait_for("it is mirrored", lambda: target(daemon.ledger(name))["mirrored"] >= 30)
        shadow.close()
        wait_for("it is found to be down", lambda: target(daemon.ledger(name))["shed"].get("circuit_open", 0) >= 10)
        traffic.more(30)
    found = target(daemon.settled(name))
    assert found["failed"].get("connect", 0) >= 5
    assert set(found["failed"]) <= {"connect", "reset", "truncated"}


def test_black_hole(daemon: Daemon, name: str) -> None:
    """An address whose packets vanish: nothing is refused, nothing is answered."""
    need(shutil.which("iptables") is not None, "needs iptables")
    with namespaces("hole") as (space,):
        left = f"{space}h"[-15:]
        sh("ip", "link", "add", left, "type", "veth", "peer", "name", "s0", "netns", space)
        try:
            sh("ip", "addr", "add", "10.76.0.1/24", "dev", left)
            sh("ip", "link", "set", left, "up")
            sh("ip", "-n", space, "addr", "add", "10.76.0.2/24", "dev", "s0")
            sh("ip", "-n", space, "link", "set", "s0", "up")
            sh("ip", "netns", "exec", space, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "81", "-j", "DROP")
            with in_namespace(space):
                shadow = Server("10.76.0.2", 80)
            with production_under_load() as (production, traffic):
                daemon.add(name, production.port, "http://10.76.0.2:81", "http://10.76.0.2:80", timeout=1)
                wait_for("connecting runs out of time", lambda: target(daemon.ledger(name))["failed"].get("connect"))
                # the neighbour in the same filter is not held up
                assert target(daemon.ledger(name), 1)["mirrored"] >= 30
                # now the open connections of the neighbour fall silent too
                sh("ip", "netns", "exec", space, "iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP")
                wait_for("answers run out of time", lambda: target(daemon.ledger(name), 1)["failed"].get("timeout"))
                traffic.more(30)
            ledger = daemon.settled(name)
            assert target(ledger)["mirrored"] == 0
            assert set(target(ledger)["failed"]) == {"connect"}
            assert target(ledger, 1)["failed"]["timeout"] >= 1
            shadow.close()
        finally:
            sh("ip", "link", "del", left, check=False)


def test_a_name_that_does_not_resolve(daemon: Daemon, name: str, production: Server) -> None:
    neighbour = Server()
    daemon.add(name, production.port, "http://no-such-host.invalid:80", neighbour.url)
    wait_for("the name was looked up", lambda: daemon.call("filter.show", name=name)["targets"][0]["problem"])
    ask(production.port, 5)
    ledger = daemon.settled(name, lambda found: found["seen"] == 5)
    assert target(ledger)["failed"] == {"resolve": 5}
    assert target(ledger, 1)["mirrored"] == 5
    assert "no-such-host.invalid does not resolve" in " ".join(daemon.call("status")["problems"])
    neighbour.close()


# --- answers that are none --------------------------------------------------------------------------------------------


def reset(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close_at_once(connection: socket.socket, number: int) -> None:
    read_request(connection)


def close_in_the_middle(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")


def close_in_a_chunk(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\nand")


def garbage(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"\x16\x03\x01 no HTTP at all \x00\xff" * 20)
    connection.recv(1)


def endless_head(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    for _ in range(1024):
        connection.sendall(b"a" * 65536)  # 64 MB of one header, unless somebody has enough of it


def two_lengths(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello!!")
    connection.recv(1)


@pytest.mark.parametrize(
    ("conduct", "reason"),
    [
        (reset, "reset"),
        (close_at_once, "reset"),
        (close_in_the_middle, "truncated"),
        (close_in_a_chunk, "truncated"),
        (garbage, "malformed"),
        (endless_head, "malformed"),
        (two_lengths, "malformed"),
    ],
)
def test_no_answer_fails_by_its_reason(
    daemon: Daemon, name: str, production: Server, conduct: Callable[[socket.socket, int], None], reason: str
) -> None:
    neighbour = Server()
    with listener(conduct) as shadow:
        daemon.add(name, production.port, shadow.url, neighbour.url)
        ask(production.port, 4, connections=2)
        ledger = daemon.settled(name, lambda found: found["seen"] == 8)
        assert target(ledger)["failed"] == {reason: 8}
        assert target(ledger)["shed"] == {}
        assert target(ledger, 1)["mirrored"] == 8
    neighbour.close()


@pytest.mark.parametrize("extra", [b"HTTP/1.1 500 Smuggled\r\nContent-Length: 0\r\n\r\n", b"x" * 1_000_000])
def test_much_more_than_asked(daemon: Daemon, name: str, production: Server, extra: bytes) -> None:
    """What follows an answer is not the next request's answer."""

    def generous(connection: socket.socket, number: int) -> None:
        while True:
            path = read_request(connection).split(b" ")[1]
            connection.sendall(ok(path) + extra)

    with listener(generous) as shadow:
        daemon.add(name, production.port, shadow.url)
        ask(production.port, 5)
        ledger = daemon.settled(name, lambda found: found["seen"] == 5)
        found = target(ledger)
        assert found["shed"] == {}
        assert set(found["failed"]) <= {"malformed", "reset"}
        # the extra answer was paired with no request of production's: that one would be another status
        assert daemon.call("filter.show", name=name)["targets"][0]["status_differences"] == 0
        assert shadow.connections >= 2  # a connection that went wrong is not used again


@pytest.mark.parametrize("unread", [False, True], ids=["fin", "rst"])
def test_idle_connections_closed_by_the_shadow_are_replaced(
    daemon: Daemon, name: str, production: Server, unread: bool
) -> None:
    """The race between our next request and the shadow's close of an idle connection: the request goes again."""
    answered = []

    def one_each(connection: socket.socket, number: int) -> None:
        answered.append(read_request(connection))
        connection.sendall(ok(b"one"))
        if unread:
            connection.recv(1)  # the rest stays unread: closing resets
        else:
            read_request(connection)

    with listener(one_each) as shadow:
        daemon.add(name, production.port, shadow.url)
        ask(production.port, 10)
        ledger = daemon.settled(name, lambda found: found["seen"] == 10)
        assert target(ledger)["mirrored"] == 10
        assert [request.split(b" ")[1] for request in answered] == [b"/0/%d" % number for number in range(10)]
        assert shadow.connections == 10


def test_a_request_with_side_effects_does_not_go_twice(daemon: Daemon, name: str) -> None:
    """The same race with POST: nobody knows whether the shadow acted, so it is failed and not sent again."""
    posts = []

    def one_each(connection: socket.socket, number: int) -> None:
        posts.append(read_request(connection))
        connection.sendall(ok(b"one"))
        posts.append(read_request(connection))

    production = Server(answer=echo)
    with listener(one_each) as shadow:
        daemon.add(name, production.port, shadow.url, methods="any")
        client = HttpClient("127.0.0.1", production.port)
        for number in range(4):
            client.send(f"POST /{number} HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\n\r\n".encode())
            client.receive()
        ledger = daemon.settled(name, lambda found: found["seen"] == 4)
        assert (target(ledger)["mirrored"], target(ledger)["failed"]) == (2, {"reset": 2})
        assert [request.split(b" ")[1] for request in posts] == [b"/0", b"/1", b"/2", b"/3"]
    production.close()


# --- slow -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stuck() -> Iterator[Server]:
    """A shadow that answers nothing until ``release`` is set, which the fixture does at the end."""
    release = threading.Event()
    server = Server(answer=lambda number, head, body: (release.wait(60), ok(b"late"))[1])
    server.release = release  # type: ignore[attr-defined]
    yield server
    release.set()
    server.close()


def test_never_answering_fails_by_timeout(daemon: Daemon, name: str, production: Server, stuck: Server) -> None:
    daemon.add(name, production.port, stuck.url, timeout=0.2, max_lag=60)
    ask(production.port, 2, connections=3)
    ledger = daemon.settled(name, lambda found: found["seen"] == 6)
    assert target(ledger)["failed"] == {"timeout": 6}


def test_lagging_sheds_whole_requests(daemon: Daemon, name: str, stuck: Server) -> None:
    """One slow shadow, one quick one: the slow connection sheds by lag, the quick target has everything."""
    quick = Server()
    with production_under_load() as (production, traffic):
        daemon.add(name, production.port, stuck.url, quick.url, order="connection", max_lag=3, timeout=60)
        wait_for("the slow one sheds", lambda: target(daemon.ledger(name))["shed"].get("shadow_lag", 0) >= 30)
        assert target(daemon.ledger(name))["mirrored"] == 0
        count = target(daemon.ledger(name), 1)["mirrored"]
        traffic.more(60)
        wait_for("the quick one goes on", lambda: target(daemon.ledger(name), 1)["mirrored"] >= count + 30)
        stuck.release.set()  # type: ignore[attr-defined]
        wait_for("the slow one goes on when it can", lambda: target(daemon.ledger(name))["mirrored"] >= 30)
    ledger = daemon.settled(name)
    assert set(target(ledger)["shed"]) == {"shadow_lag"}
    assert target(ledger, 1)["mirrored"] == ledger["seen"] - sum(ledger["lost"].values())
    assert all(request.count(b"GET ") == 1 for request in stuck.requests)
    quick.close()


# --- limits -----------------------------------------------------------------------------------------------------------


def test_max_rps(daemon: Daemon, name: str, production: Server) -> None:
    shadow = Server()
    daemon.add(name, production.port, shadow.url, max_rps=1)
    ask(production.port, 30)
    ledger = daemon.settled(name, lambda found: found["seen"] == 30)
    found = target(ledger)
    assert found["mirrored"] == len(shadow.requests) >= 1
    assert found["shed"] == {"max_rps": 30 - found["mirrored"]}
    assert found["shed"]["max_rps"] >= 1
    shadow.close()


def unanswered(daemon: Daemon, name: str, seen: int, left: int) -> dict[str, Any]:
    """The target's account once so many requests were seen and no more than ``left`` are in flight (until the target's
    address is known more may wait); those stay so."""

    def look() -> dict[str, Any] | None:
        ledger = daemon.ledger(name)
        check_ledger(ledger)
        return target(ledger) if ledger["seen"] == seen and target(ledger)["in_flight"] <= left else None

    found: dict[str, Any] = wait_for(f"{seen} requests are seen, {left} in flight", look)
    return found


@one_worker
def test_max_in_flight(daemon: Daemon, name: str, production: Server, stuck: Server) -> None:
    daemon.add(name, production.port, stuck.url, max_in_flight=3, max_lag=60, timeout=60)
    ask(production.port, 5, connections=2)
    found = unanswered(daemon, name, 10, 3)
    assert (found["in_flight"], found["shed"]) == (3, {"max_in_flight": 7})
    stuck.release.set()  # type: ignore[attr-defined]
    assert target(daemon.settled(name))["mirrored"] == 3


@one_worker
def test_max_connections(daemon: Daemon, name: str, production: Server, stuck: Server) -> None:
    daemon.add(name, production.port, stuck.url, max_connections=2, max_lag=60, timeout=60)
    clients = [HttpClient("127.0.0.1", production.port) for _ in range(5)]
    for client in clients:
        client.get("/")
    found = unanswered(daemon, name, 5, 2)
    assert (found["in_flight"], found["shed"]) == (2, {"max_connections": 3})
    assert stuck.connections <= 2
    stuck.release.set()  # type: ignore[attr-defined]
    assert target(daemon.settled(name))["mirrored"] == 2


@one_worker
def test_max_buffered(daemon: Daemon, name: str, production: Server, stuck: Server) -> None:
    """Bytes of requests queued or sent: two of 30 KB fit below 64 KB."""
    daemon.add(name, production.port, stuck.url, methods="any", max_buffered=64 << 10, max_lag=60, timeout=60)
    client = HttpClient("127.0.0.1", production.port)
    for number in range(6):
        client.send(f"POST /{number} HTTP/1.1\r\nHost: p\r\nContent-Length: 30000\r\n\r\n".encode() + b"x" * 30000)
        client.receive()
    found = unanswered(daemon, name, 6, 2)
    assert (found["in_flight"], found["shed"]) == (2, {"target_memory": 4})
    stuck.release.set()  # type: ignore[attr-defined]
    assert target(daemon.settled(name))["mirrored"] == 2


# --- https ------------------------------------------------------------------------------------------------------------


class TlsServer(Server):
    """HTTPS; what fails in the handshake is told by an alert and never served."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _serve(self, connection: socket.socket) -> None:
        self._open.discard(connection)
        wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            wrapped.do_handshake()
        except OSError:
            with wrapped, contextlib.suppress(OSError):  # closing at once would reset, and take our alert with it
                wrapped.shutdown(socket.SHUT_WR)
                while wrapped.recv(65536):
                    pass
            return
        super()._serve(wrapped)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and server.pem, client.pem signed by it, each with its .key; made by the openssl command."""
    need(shutil.which("openssl") is not None, "needs openssl")
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def file(name: str) -> str:
        return str(folder / name)

    sh(
        "openssl", "req", "-x509", *key, "-keyout", file("ca.key"), "-out", file("ca.pem"), "-days", "2", "-subj",
        "/CN=test CA", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        (folder / f"{name}.ext").write_text(
            f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\nauthorityKeyIdentifier=keyid\n"
            "subjectKeyIdentifier=hash\nbasicConstraints=CA:FALSE\n"
        )
        sh("openssl", "req", *key, "-keyout", file(f"{name}.key"), "-out", file(f"{name}.csr"), "-subj", f"/CN={name}")
        sh(
            "openssl", "x509", "-req", "-in", file(f"{name}.csr"), "-CA", file("ca.pem"), "-CAkey", file("ca.key"),
            "-CAcreateserial", "-days", "2", "-extfile", file(f"{name}.ext"), "-out", file(f"{name}.pem"),
        )  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("demands_client", "options", "works"),
    [
        (False, {}, False),
        (False, {"ca": "ca.pem"}, True),
        (False, {"ca": "ca.pem", "server_name": "other.example"}, False),
        (False, {"insecure": True}, True),
        (True, {"ca": "ca.pem"}, False),
        (True, {"ca": "ca.pem", "client_cert": "client.pem", "client_key": "client.key"}, True),
    ],
    ids=["unverified", "ca", "wrong-name", "insecure", "client-certificate-missing", "client-certificate"],
)
def test_https(
    daemon: Daemon,
    name: str,
    production: Server,
    certificates: Path,
    demands_client: bool,
    options: dict[str, str | bool],
    works: bool,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    if demands_client:
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    shadow = TlsServer(context)
    places = {
        key: str(certificates / value) if isinstance(value, str) and key != "server_name" else value
        for key, value in options.items()
    }
    spec = {"name": name, "ports": [str(production.port)], "targets": [{"url": shadow.url, **places}], "twin": 0}
    spec["order"] = "connection"  # a slow handshake would spread the others
    daemon.call("filter.add", spec=spec)
    ask(production.port, 4)
    ledger = daemon.settled(name, lambda found: found["seen"] == 4)
    problems = " ".join(daemon.call("status")["problems"])
    if works:
        assert target(ledger)["mirrored"] == 4
        assert [request.split(b" ")[1] for request in shadow.requests] == [b"/0/%d" % number for number in range(4)]
        assert shadow.connections == 1
    else:
        assert target(ledger)["failed"] == {"tls": 4}
        assert shadow.requests == []
        assert f"TLS to {shadow.url} failed" in problems
    shadow.close()


def test_latency_of_production_is_not_the_shadows(daemon: Daemon, name: str, production: Server) -> None:
    """A shadow that takes half a second for each answer: production's clients do not wait for it."""
    shadow = Server(answer=lambda number, head, body: (time.sleep(0.5), ok(b"slow"))[1])
    daemon.add(name, production.port, shadow.url, order="connection", max_lag=0.5)
    ask(production.port, 200)
    # had production waited for the shadow, each of its 200 answers would have found the shadow's behind it
    assert len(shadow.requests) < 100
    ledger = daemon.settled(name, lambda found: found["seen"] == 200)
    assert target(ledger)["mirrored"] + target(ledger)["shed"].get("shadow_lag", 0) == 200
    shadow.close()
