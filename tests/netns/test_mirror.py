"""End to end on the real kernel: production's traffic reaches the shadow byte for byte, each request accounted."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shadowd.capture.preflight import find_cgroup2
from tests.conftest import need
from tests.netns.lab import Daemon, HttpClient, Server, check_ledger, free_port, ok, running, sh, wait_for

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


@pytest.fixture
def production() -> Iterator[Server]:
    server = Server(answer=lambda number, head, body: ok(b"production says %d" % len(body)))
    yield server
    server.close()


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def name(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[str]:
    """A filter name of the test's own; the filter is removed afterwards, its ledger checked once more."""
    chosen = request.node.name.replace("_", "-").replace("[", "-").rstrip("]")[:60].lower()
    yield chosen
    for view in daemon.call("filter.ls"):
        check_ledger(daemon.ledger(view["spec"]["name"]))
        daemon.call("filter.rm", name=view["spec"]["name"])
    wait_for("everything is detached without filters", lambda: daemon.call("status")["hooks"] == [])


def listens(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def unmarked(request: bytes) -> bytes:
    """A request as the shadow got it, less what the daemon adds."""
    head, blank, body = request.partition(b"\r\n\r\n")
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"X-Shadowd: ")) + blank + body


def test_requests_arrive_byte_for_byte(daemon: Daemon, production: Server, shadow: Server, name: str) -> None:
    daemon.add(name, production.port, shadow.url, methods="any", preserve_host=True)
    client = HttpClient("127.0.0.1", production.port)
    sent = [
        b"GET /a?x=%20&y HTTP/1.1\r\nHost: prod\r\nX-oDD-cAsE:  spaced  \r\naccept: */*\r\n\r\n",
        b"POST /b HTTP/1.1\r\nHost: prod\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: prod\r\n\r\n5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        b"DELETE /d HTTP/1.1\r\nHost: prod\r\n\r\n",
        b"POST /large HTTP/1.1\r\nHost: prod\r\nContent-Length: 300000\r\n\r\n" + bytes(i % 251 for i in range(300000)),
    ]
    for request in sent:
        client.send(request)
        client.receive()
    client.close()
    ledger = daemon.settled(name, lambda found: found["seen"] == len(sent))
    assert ledger["targets"][0]["mirrored"] == len(sent)
    assert [unmarked(request) for request in shadow.requests] == sent == production.requests


def test_the_urgent_byte_reaches_the_shadow_as_it_reached_production(
    daemon: Daemon, production: Server, shadow: Server, name: str
) -> None:
    """Not at all: the kernel hands it out apart from the stream."""
    daemon.add(name, production.port, shadow.url, methods="any", preserve_host=True)
    client = HttpClient("127.0.0.1", production.port)
    head = b"POST /a HTTP/1.1\r\nHost: prod\r\nContent-Length: 6\r\n\r\n"
    for first, urgent, rest in ((head + b"abc", b"!", b"def"), (b"GET /", b"x!", b"y HTTP/1.1\r\nHost: prod\r\n\r\n")):
        client.send(first)
        wait_for("production has read what came before", lambda: not queued(client))
        client.sock.send(urgent, socket.MSG_OOB)
        client.send(rest)
        client.receive()
    client.get("/after")
    client.close()
    ledger = daemon.settled(name, lambda found: found["seen"] == 3)
    assert ledger["targets"][0]["mirrored"] == 3
    assert [request.split(b" ")[1] for request in production.requests] == [b"/a", b"/xy", b"/after"]
    assert production.requests[0] == head + b"abcdef"
    assert [unmarked(request) for request in shadow.requests] == production.requests


def test_requests_that_no_longer_parse_without_the_urgent_byte_are_lost(
    daemon: Daemon, shadow: Server, name: str
) -> None:
    """Production reads urgent data in line, which nobody else can see; the shadow is not sent anything mangled."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        daemon.add(name, listener.getsockname()[1], shadow.url)
        client = HttpClient("127.0.0.1", listener.getsockname()[1])
        connection, _ = listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        with connection:
            for first, urgent, rest in (
                (b"GET /a HTTP/1.1\r\nHost", b":", b" prod\r\n\r\n"),
                (b"GET /b HTTP/1.1\r\nHost: prod\r\n\r\n", b"", b""),
            ):
                client.send(first)
                if urgent:
                    client.sock.send(urgent, socket.MSG_OOB)
                    client.send(rest)
                read = b""
                while not read.endswith(b"\r\n\r\n"):
                    read += connection.recv(65536)
                assert read == first + urgent + rest
                connection.sendall(ok(b"fine"))
                client.receive()
            client.close()
    ledger = daemon.settled(name, lambda found: found["seen"] == 2)
    assert ledger["lost"] == {"urgent": 1}
    assert ledger["targets"][0]["mirrored"] == 1
    assert [request.split(b" ")[1] for request in shadow.requests] == [b"/b"]


def test_what_production_reads_is_mirrored_in_its_strict_form(daemon: Daemon, shadow: Server, name: str) -> None:
    """On one connection: loose requests that production answers, one that can be read in two ways, and what is excluded
    in another form."""
    asked = [
        b"GET /lf HTTP/1.1\nHost: prod\nHost: other\n\n",
        b"GET /control HTTP/1.1\r\nHost: prod\r\nCookie: a=\x01b\r\n\r\n",
        b"POST /both HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET http://prod/admin/x HTTP/1.1\r\nHost: prod\r\n\r\n",
        b"GET /%61dmin HTTP/1.1\r\nHost: prod\r\n\r\n",
        b"POST /chunks HTTP/1.1\r\nHost: prod\r\nTransfer-Encoding: chunked\r\n\r\n2 ; a = b\r\nhi\r\n0  \r\n\r\n",
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        daemon.add(name, listener.getsockname()[1], shadow.url, methods="any", exclude_path="^/admin")
        client = HttpClient("127.0.0.1", listener.getsockname()[1])
        connection, _ = listener.accept()
        with connection:
            for request in asked:
                client.send(request)
                read = b""
                while len(read) < len(request):
                    read += connection.recv(65536)
                connection.sendall(ok(b"fine"))
                client.receive()
            client.close()
    ledger = daemon.settled(name, lambda found: found["seen"] == len(asked))
    assert ledger["filtered"] == {"unparsable": 1, "path": 2}
    assert ledger["targets"][0]["mirrored"] == 3
    lf, control, chunks = (unmarked(request) for request in shadow.requests)
    host = b"Host: 127.0.0.1:%d\r\n" % shadow.port
    assert lf == b"GET /lf HTTP/1.1\r\n" + host + b"\r\n"
    assert control == b"GET /control HTTP/1.1\r\n" + host + b"Cookie: a=\x01b\r\n\r\n"
    assert chunks.endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n")


def queued(client: HttpClient) -> int:
    """Bytes that the other end's kernel has not acknowledged (SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(client.sock, termios.TIOCOUTQ, bytes(4)), "little")


def test_host_is_the_targets_and_the_mark_is_added(
    daemon: Daemon, production: Server, shadow: Server, name: str
) -> None:
    daemon.add(name, production.port, shadow.url, set_header=["X-Env: shadow"], remove_header=["Authorization"])
    client = HttpClient("127.0.0.1", production.port)
    client.get("/", "Authorization: Bearer s3cret\r\nX-Env: prod\r\n")
    daemon.settled(name, lambda found: found["targets"][0]["mirrored"] == 1)
    (request,) = shadow.requests
    assert f"\r\nHost: 127.0.0.1:{shadow.port}\r\n".encode() in request
    assert f"/{name}\r\n".encode() in request.split(b"X-Shadowd: ")[1]
    assert b"s3cret" not in request
    assert request.count(b"X-Env:") == 1
    assert b"X-Env: shadow\r\n" in request
    assert b"X-Shadowd" not in production.requests[0]


def test_only_safe_methods_by_default(daemon: Daemon, production: Server, shadow: Server, name: str) -> None:
    daemon.add(name, production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    client.send(b"POST /pay HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\n\r\nok")
    client.receive()
    client.get("/read")
    ledger = daemon.settled(name, lambda found: found["seen"] == 2)
    assert ledger["filtered"] == {"method": 1}
    assert [request.split(b" ")[0] for request in shadow.requests] == [b"GET"]


def test_existing_keep_alive_connection_is_picked_up(
    daemon: Daemon, production: Server, shadow: Server, name: str
) -> None:
    client = HttpClient("127.0.0.1", production.port)
    client.get("/before")
    daemon.add(name, production.port, shadow.url)
    for number in range(5):
        client.get(f"/after/{number}")
    ledger = daemon.settled(name, lambda found: found["targets"][0]["mirrored"] >= 4)
    # the first request on a connection seen from the middle has no provable start: it is counted, not guessed
    assert ledger["lost"] == {"midstream": 1}
    assert [request.split(b" ")[1] for request in shadow.requests] == [b"/after/%d" % n for n in range(1, 5)]


def test_two_filters_two_targets_one_flow(daemon: Daemon, production: Server, shadow: Server, name: str) -> None:
    other, third = Server(), Server()
    daemon.add(name, production.port, shadow.url, other.url)
    daemon.add(f"{name}-2"[-60:], production.port, third.url, match_path="^/only")
    client = HttpClient("127.0.0.1", production.port)
    client.get("/only")
    client.get("/else")
    first = daemon.settled(name, lambda found: found["seen"] == 2)
    second = daemon.settled(f"{name}-2"[-60:], lambda found: found["seen"] == 2)
    assert [target["mirrored"] for target in first["targets"]] == [2, 2]
    assert second["filtered"] == {"path": 1}
    assert (len(shadow.requests), len(other.requests), len(third.requests)) == (2, 2, 1)
    # one copy in the kernel, whoever shares it: production's bytes both ways, once
    assert first["kernel"]["duplicate"] == 0
    other.close()
    third.close()


def test_filter_removed_in_the_middle_of_a_flow(daemon: Daemon, production: Server, shadow: Server, name: str) -> None:
    kept = f"{name}-kept"[-60:]
    daemon.add(name, production.port, shadow.url)
    daemon.add(kept, production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    client.get("/1")
    daemon.settled(name, lambda found: found["targets"][0]["mirrored"] == 1)
    daemon.call("filter.rm", name=name)
    client.get("/2")
    ledger = daemon.settled(kept, lambda found: found["targets"][0]["mirrored"] == 2)
    assert ledger["lost"] == {}
    assert sorted(request.split(b" ")[1] for request in shadow.requests) == [b"/1", b"/1", b"/2"]


def test_pause_and_resume(daemon: Daemon, production: Server, shadow: Server, name: str) -> None:
    daemon.add(name, production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    client.get("/1")
    daemon.settled(name, lambda found: found["targets"][0]["mirrored"] == 1)
    daemon.call("filter.pause", name=name)
    client.get("/2")
    time.sleep(0.1)
    assert daemon.ledger(name)["seen"] == 1
    daemon.call("filter.resume", name=name)
    fresh = HttpClient("127.0.0.1", production.port)
    fresh.get("/3")
    daemon.settled(name, lambda found: found["targets"][0]["mirrored"] == 2)
    assert [request.split(b" ")[1] for request in shadow.requests] == [b"/1", b"/3"]


def test_shadow_on_the_same_port_of_another_address_is_no_loop(daemon: Daemon, name: str) -> None:
    production = Server("127.0.0.1")
    shadow = Server("127.0.0.2", production.port)
    daemon.add(name, production.port, shadow.url, allow_self=True)
    client = HttpClient("127.0.0.1", production.port)
    for number in range(20):
        client.get(f"/{number}")
    ledger = daemon.settled(name, lambda found: found["seen"] == 20)
    time.sleep(0.2)  # a loop would feed itself now
    ledger = daemon.settled(name)
    assert (ledger["seen"], ledger["targets"][0]["mirrored"], len(shadow.requests)) == (20, 20, 20)
    assert ledger["kernel"]["own"] > 0
    production.close()
    shadow.close()


def test_a_request_that_was_replayed_already_is_not_mirrored_again(
    daemon: Daemon, production: Server, shadow: Server, name: str
) -> None:
    daemon.add(name, production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    client.get("/", "X-Shadowd: elsewhere/f\r\n")
    assert daemon.settled(name, lambda found: found["seen"] == 1)["filtered"] == {"loop": 1}


def test_ipv6(daemon: Daemon, name: str) -> None:
    production, shadow = Server("::1"), Server("::1")
    daemon.add(name, production.port, shadow.url, client_cidrs=["::1/128"])
    HttpClient("::1", production.port).get("/six")
    daemon.settled(name, lambda found: found["targets"][0]["mirrored"] == 1)
    assert b"Host: [::1]:" in shadow.requests[0]
    production.close()
    shadow.close()


def test_outbound_calls_of_this_host(daemon: Daemon, production: Server, shadow: Server, name: str) -> None:
    daemon.add(name, production.port, shadow.url, direction="outbound")
    HttpClient("127.0.0.1", production.port).get("/third-party")
    ledger = daemon.settled(name, lambda found: found["targets"][0]["mirrored"] == 1)
    assert ledger["seen"] == 1


def test_pipelined_requests(daemon: Daemon, production: Server, shadow: Server, name: str) -> None:
    daemon.add(name, production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    for batch in range(10):
        client.send(b"".join(b"GET /%d/%d HTTP/1.1\r\nHost: p\r\n\r\n" % (batch, n) for n in range(4)))
        for _ in range(4):
            client.receive()
    ledger = daemon.settled(name, lambda found: found["seen"] == 40)
    assert ledger["targets"][0]["mirrored"] == 40
    assert [r.split(b" ")[1] for r in shadow.requests] == [b"/%d/%d" % (b, n) for b in range(10) for n in range(4)]


def test_super_packets_of_a_large_answer(daemon: Daemon, shadow: Server, name: str) -> None:
    body = bytes(i % 253 for i in range(5_000_000))
    production = Server(answer=lambda number, head, sent: ok(body))
    daemon.add(name, production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    assert client.get("/big").endswith(body)
    ledger = daemon.settled(name, lambda found: found["seen"] == 1)
    target = ledger["targets"][0]
    assert (target["mirrored"], target["uncomparable"], ledger["kernel"]["gap_bytes"]) == (1, 0, 0)
    production.close()


def test_encrypted_and_foreign_protocols_are_named(daemon: Daemon, shadow: Server, name: str) -> None:
    port = free_port()
    listener = socket.create_server(("127.0.0.1", port))

    def swallow() -> None:
        for _ in range(3):
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.close()

    threading.Thread(target=swallow, daemon=True).start()
    daemon.add(name, port, shadow.url)
    hello = b"\x16\x03\x01\x00\x10\x01\x00\x00\x0c\x03\x03" + bytes(10)
    for opening in (hello, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), b"\x00\x00\x00\x08\x04\xd2\x16\x2f"):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(opening)
            client.recv(10)
    ledger = daemon.settled(name, lambda found: found["seen"] == 3)
    assert ledger["filtered"] == {"encrypted": 1, "unparsable": 1, "not_http": 1}
    words = " ".join(daemon.call("filter.show", name=name)["words"])
    assert "TLS" in words
    listener.close()


def test_curl_and_nginx(daemon: Daemon, shadow: Server, name: str, tmp_path: Path) -> None:
    need(shutil.which("nginx") is not None and shutil.which("curl") is not None, "needs nginx and curl")
    port = free_port()
    (tmp_path / "page").write_bytes(b"x" * 3000)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {tmp_path}/pid; error_log stderr; user root;\n"
        f"events {{}} http {{ access_log off; client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path}; "
        f"fastcgi_temp_path {tmp_path}; uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};\n"
        f"server {{ listen 127.0.0.1:{port}; root {tmp_path}; gzip on; gzip_min_length 10; gzip_types *; }} }}\n"
    )
    nginx = subprocess.Popen(
        ["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], stderr=subprocess.DEVNULL
    )
    try:
        wait_for("nginx listens", lambda: listens(port))
        daemon.add(name, port, shadow.url)
        url = f"http://127.0.0.1:{port}"
        sh("curl", "-sS", f"{url}/page", f"{url}/page?2", "-o", "/dev/null", "-o", "/dev/null")
        sh("curl", "-sS", "-I", f"{url}/page")
        sh("curl", "-sS", "--compressed", "-o", "/dev/null", f"{url}/page?gzip")
        sh("curl", "-sS", "-0", "-o", "/dev/null", f"{url}/page?http10")
        sh("curl", "-sS", "-o", "/dev/null", f"{url}/missing")
        ledger = daemon.settled(name, lambda found: found["seen"] == 6)
        assert ledger["targets"][0]["mirrored"] == 6
        assert ledger["targets"][0]["uncomparable"] == 0
    finally:
        nginx.terminate()
        nginx.wait(10)


def test_selection_by_cgroup(daemon: Daemon, shadow: Server, name: str, tmp_path: Path) -> None:
    root = find_cgroup2()
    need(root is not None, "needs a cgroup v2 mount")
    assert root is not None
    inside = root / f"shadowd-test-{os.getpid()}"
    inside.mkdir()
    serve = "import http.server as h, sys\nh.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
    # a socket belongs to the cgroup that its maker was in, so the process moves before it listens
    move = f"import os\nopen({str(inside / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    ports = [free_port(), free_port()]
    processes = []
    try:
        for port, program in zip(ports, (move + serve, serve), strict=True):
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", program, str(port)],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=tmp_path,
                )
            )
        for port in ports:
            wait_for("the server listens", lambda port=port: listens(port))
        daemon.add(name, f"{min(ports)}-{max(ports)}", shadow.url, cgroup=str(inside.relative_to(root)))
        for _ in range(3):
            for port in ports:
                sh("curl", "-sS", "-o", "/dev/null", f"http://127.0.0.1:{port}/")
        ledger = daemon.settled(name, lambda found: found["seen"] == 3)
        assert {unmarked(r).split(b"Host: ")[0] for r in shadow.requests} == {b"GET / HTTP/1.1\r\n"}
        time.sleep(0.2)
        assert daemon.settled(name)["seen"] == ledger["seen"] == 3
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
        wait_for("the cgroup is empty", lambda: not (inside / "cgroup.procs").read_text())
        inside.rmdir()


def test_other_filters_miss_nothing_while_rules_change(
    daemon: Daemon, production: Server, shadow: Server, name: str
) -> None:
    """Filters come, change and go thirty times while one of them carries load: that one loses not a byte."""
    daemon.add(name, production.port, shadow.url)
    total, errors = 600, []

    def drive() -> None:
        client = HttpClient("127.0.0.1", production.port)
        try:
            for number in range(total):
                client.get(f"/{number}")
        except (OSError, AssertionError) as error:
            errors.append(error)

    driver = threading.Thread(target=drive)
    driver.start()
    for number in range(10):
        other = f"other-{number}"
        daemon.add(other, f"{production.port},{number + 1}", shadow.url, client_cidrs=["10.0.0.0/8"], sample=0.5)
        daemon.call("filter.set", name=other, changes={"client_cidrs": ["127.0.0.0/8"], "sample": 1.0})
        daemon.call("filter.rm", name=other)
    driver.join(60)
    assert errors == []
    ledger = daemon.settled(name, lambda found: found["seen"] == total)
    assert (ledger["lost"], ledger["targets"][0]["mirrored"]) == ({}, total)
    assert ledger["kernel"]["gap_bytes"] == 0


def test_the_compiler_does_not_stay_in_the_daemon(daemon: Daemon) -> None:
    mapped = Path(f"/proc/{daemon.pid}/maps").read_text()
    assert "libbcc" not in mapped
    assert "LLVM" not in mapped
    anonymous = next(line for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines() if "RssAnon" in line)
    assert int(anonymous.split()[1]) < 64 << 10, anonymous  # kB: the budget of a worker


def test_multipath_tcp_is_counted_not_guessed(daemon: Daemon, shadow: Server, name: str) -> None:
    try:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)  # IPPROTO_MPTCP
    except OSError:
        need(False, "needs a kernel with MPTCP")
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    daemon.add(name, port, shadow.url)
    with listener, socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as client:
        client.connect(("127.0.0.1", port))
        served, _ = listener.accept()
        with served:
            client.sendall(b"GET / HTTP/1.1\r\nHost: p\r\n\r\n")
            served.recv(1000)
            served.sendall(ok(b"fine"))
            client.recv(1000)
    assert daemon.settled(name, lambda found: found["seen"] == 1)["filtered"] == {"mptcp": 1}
    assert shadow.requests == []


def test_latencies_come_from_the_kernels_clock(daemon: Daemon, production: Server, shadow: Server, name: str) -> None:
    shadow.answer = lambda number, head, body: (time.sleep(0.05), ok(b"slow"))[1]
    daemon.add(name, production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    for _ in range(10):
        client.get("/")
    daemon.settled(name, lambda found: found["targets"][0]["mirrored"] == 10)
    (target,) = wait_for(
        "latencies of every pair",
        lambda: [t for t in daemon.call("filter.show", name=name)["targets"] if t["latency_ms"]["shadow"]["p50"]],
    )
    # the shadow sleeps 50 ms, which no load can shorten (the sketch may be 1.6 % off); production does not
    assert target["latency_ms"]["shadow"]["p50"] >= 49
    assert target["latency_ms"]["production"]["p50"] < target["latency_ms"]["shadow"]["p50"]
