"""TLS by key log, live: what the shadow received is what production read, and every connection is accounted."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowd.errors import ShadowdError
from tests.netns.lab import HttpClient, Server, free_port, ok, running, wait_for
from tests.unit.certificates import Certificate

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class TlsServer(Server):
    """The same behind TLS; ``log`` is its key log."""

    def __init__(self, context: ssl.SSLContext, log: Path, **given: Any) -> None:
        self.log = log
        self._context = context
        super().__init__(**given)

    def _serve(self, connection: Any) -> None:
        try:
            sealed = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
            return
        super()._serve(sealed)


class TlsClient(HttpClient):
    def __init__(self, context: ssl.SSLContext, port: int, session: ssl.SSLSession | None = None) -> None:
        super().__init__("127.0.0.1", port)
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost", session=session)


@pytest.fixture
def serve(certificate: Certificate, tmp_path: Path) -> Iterator[Callable[..., TlsServer]]:
    made: list[TlsServer] = []

    def go(version: str = "1.3", **given: Any) -> TlsServer:
        context = certificate.server()
        context.minimum_version = context.maximum_version = VERSIONS[version]
        log = tmp_path / f"keys-{len(made)}"
        context.keylog_filename = str(log)
        made.append(TlsServer(context, log, **given))
        return made[-1]

    yield go
    for server in made:
        server.close()


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def told(requests: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Request line and body of each, in no order."""
    found = []
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        found.append((head.split(b"\r\n")[0], body))
    return sorted(found)


def post(client: HttpClient, path: str, body: bytes) -> bytes:
    client.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))
    return client.receive()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_shadow_got_is_what_production_read(
    tmp_path: Path, certificate: Certificate, serve: Callable[..., TlsServer], shadow: Server, version: str
) -> None:
    answer = bytes(range(256)) * 400
    production = serve(version, answer=lambda number, head, body: ok(answer[: len(body) % 70_000]))
    context = certificate.client()
    with running(tmp_path / "d") as daemon:
        daemon.add("shop", production.port, shadow.url, tls_keylog=str(production.log), methods="any")
        session = None
        for number in range(3):  # the later ones resume
            client = TlsClient(context, production.port, session)
            for size in (0, 1, 300, 20_000, 70_000):
                post(client, f"/{number}/{size}", os.urandom(size))
            session = client.sock.session  # type: ignore[attr-defined]
            client.close()
        ledger = daemon.settled("shop", lambda found: found["seen"] == 15)
        assert ledger["targets"][0]["mirrored"] == 15
        assert not ledger["lost"]
        assert not ledger["filtered"]
        assert told(shadow.requests) == told(production.requests)
        discarded = daemon.call("status")["pump"]["discarded"] if daemon.call("status")["workers"] == [] else {}
        assert set(discarded) <= {"tls_framing"}


@pytest.mark.parametrize("version", VERSIONS)
def test_forty_connections_at_once(
    tmp_path: Path, certificate: Certificate, serve: Callable[..., TlsServer], shadow: Server, version: str
) -> None:
    production = serve(version)
    neighbour, other = Server(), Server()
    context = certificate.client()
    with running(tmp_path / "d") as daemon:
        daemon.add("shop", production.port, shadow.url, tls_keylog=str(production.log), methods="any")
        daemon.add("plain", neighbour.port, other.url)

        def work(number: int) -> None:
            client = TlsClient(context, production.port)
            for turn in range(10):
                assert post(client, f"/{number}/{turn}", os.urandom(turn * 700)).endswith(b"fine")
            client.close()
            other_client = HttpClient("127.0.0.1", neighbour.port)
            other_client.get(f"/plain/{number}")
            other_client.close()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        ledger = daemon.settled("shop", lambda found: found["seen"] == 400)
        assert ledger["targets"][0]["mirrored"] == 400, ledger
        assert told(shadow.requests) == told(production.requests)
        plain = daemon.settled("plain", lambda found: found["seen"] == 40)
        assert plain["targets"][0]["mirrored"] == 40
        assert told(other.requests) == told(neighbour.requests)
    neighbour.close()
    other.close()


def test_keys_of_the_client_and_a_large_upload_through_a_fifo(
    tmp_path: Path, certificate: Certificate, serve: Callable[..., TlsServer], shadow: Server
) -> None:
    """Another program writes into a pipe what the client's key log has; with several workers into a file."""
    production = serve()
    context = certificate.client()
    log = tmp_path / "client"
    context.keylog_filename = str(log)
    with running(tmp_path / "d") as daemon:
        several = bool(daemon.call("status")["workers"])
        pipe = tmp_path / "pipe"
        if not several:
            os.mkfifo(pipe)
        path = log if several else pipe
        daemon.add("shop", production.port, shadow.url, tls_keylog=str(path), methods="any")
        client = TlsClient(context, production.port)
        if not several:
            with pipe.open("ab") as file:
                file.write(log.read_bytes())
        body = os.urandom(5_000_000)
        post(client, "/upload", body)
        daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 1)
        assert told(shadow.requests) == [(b"POST /upload HTTP/1.1", body)]
        client.close()


def test_what_cannot_be_read_is_counted_once_a_connection(
    tmp_path: Path, certificate: Certificate, serve: Callable[..., TlsServer], shadow: Server
) -> None:
    production, silent, cbc = serve(), serve(), serve("1.2")
    cbc._context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    silent._context.keylog_filename = str(tmp_path / "elsewhere")
    silent.log.write_bytes(b"# nothing\n")
    context = certificate.client()
    old = TlsClient(context, production.port)
    old.get("/before")
    with running(tmp_path / "d") as daemon:
        daemon.add("shop", production.port, shadow.url, tls_keylog=str(production.log))
        daemon.add("silent", silent.port, shadow.url, tls_keylog=str(silent.log))
        daemon.add("cbc", cbc.port, shadow.url, tls_keylog=str(cbc.log))
        daemon.add("other", production.port, shadow.url)
        for number in range(3):
            old.get(f"/old/{number}")
        for port in (silent.port, cbc.port):
            client = TlsClient(context, port)
            for _ in range(2):
                client.get("/")
            client.close()
        client = TlsClient(context, production.port)
        client.get("/new")
        client.close()
        shop = daemon.settled("shop", lambda found: found["seen"] == 2)
        assert shop["lost"] == {"tls_midstream": 1}
        assert shop["targets"][0]["mirrored"] == 1
        assert daemon.settled("silent", lambda found: found["seen"])["lost"] == {"tls_no_key": 1}
        assert daemon.settled("cbc", lambda found: found["seen"])["filtered"] == {"tls_suite": 1}
        assert daemon.settled("other", lambda found: found["seen"] == 2)["filtered"] == {"encrypted": 2}
        assert told(shadow.requests) == [(b"GET /new HTTP/1.1", b"")]
        words = {one["name"]: one["words"] for one in daemon.call("filter.ls")}
        assert any("no secret in time" in word for word in words["silent"])
        assert any("were older than this filter" in word for word in words["shop"])
        still = "1 TLS connections that are older than this filter are still open"
        assert still in words["shop"]
        old.close()
        wait_for("it is over", lambda: still not in daemon.call("filter.show", name="shop")["words"])


def test_plain_http_on_a_filter_that_decrypts(tmp_path: Path, shadow: Server) -> None:
    """Its port speaks TLS to some and plain HTTP to others."""
    production = Server()
    log = tmp_path / "keys"
    with running(tmp_path / "d") as daemon:
        daemon.add("shop", production.port, shadow.url, tls_keylog=str(log))
        client = HttpClient("127.0.0.1", production.port)
        for number in range(5):
            client.get(f"/{number}")
        ledger = daemon.settled("shop", lambda found: found["seen"] == 5)
        assert ledger["targets"][0]["mirrored"] == 5
        told_of = f"tls_keylog: {log} is not there yet"
        wait_for("it is told", lambda: any(told_of in one for one in daemon.call("status")["problems"]))
        client.close()
    production.close()


def test_bad_key_logs_are_one_line_and_leave_others_alone(tmp_path: Path, shadow: Server) -> None:
    production = Server()
    binary = tmp_path / "binary"
    binary.write_bytes(os.urandom(5000) + b"\n")
    with running(tmp_path / "d") as daemon:
        daemon.add("plain", production.port, shadow.url)
        for path, words in (
            (binary, "is no key log"), (tmp_path, "neither a file nor a FIFO"), (Path("/dev/zero"), "neither a file"),
        ):  # fmt: skip
            with pytest.raises(ShadowdError, match=words) as refused:
                daemon.add("bad", 4433, shadow.url, tls_keylog=str(path))
            assert len(str(refused.value).splitlines()) == 1
        client = HttpClient("127.0.0.1", production.port)
        client.get("/a")
        daemon.settled("plain", lambda found: found["targets"][0]["mirrored"] == 1)
        client.close()
        assert [one["name"] for one in daemon.call("filter.ls")] == ["plain"]
    production.close()


def test_a_rotated_key_log(
    tmp_path: Path, certificate: Certificate, serve: Callable[..., TlsServer], shadow: Server
) -> None:
    production = serve()
    context = certificate.client()
    with running(tmp_path / "d") as daemon:
        daemon.add("shop", production.port, shadow.url, tls_keylog=str(production.log))
        for number in range(3):
            client = TlsClient(context, production.port)
            client.get(f"/{number}")
            client.close()
            daemon.settled("shop", lambda found, number=number: found["seen"] == number + 1)
            production.log.rename(tmp_path / f"old-{number}")
            production._context.keylog_filename = str(production.log)
        wait_for("all are mirrored", lambda: len(shadow.requests) == 3)
        assert told(shadow.requests) == told(production.requests)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


NODE = """
const fs = require('fs'), https = require('https');
const [chain, key, version, log] = process.argv.slice(1);
const options = {cert: fs.readFileSync(chain), key: fs.readFileSync(key), minVersion: version, maxVersion: version};
const server = https.createServer(options, (request, response) => {
  const parts = [];
  request.on('data', part => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    fs.appendFileSync(log, JSON.stringify([request.method + ' ' + request.url, body.toString('base64')]) + '\\n');
    response.end('x'.repeat(body.length % 40000));
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("version", VERSIONS)
def test_node_writes_its_key_log_by_itself(
    tmp_path: Path, certificate: Certificate, shadow: Server, version: str
) -> None:
    """A service that nobody changed but for an option: node links OpenSSL statically."""
    keys, log = tmp_path / "keys", tmp_path / "log"
    command = ["node", f"--tls-keylog={keys}", "-e", NODE, str(certificate.chain), str(certificate.key)]
    node = subprocess.Popen([*command, f"TLSv{version}", str(log)], stdout=subprocess.PIPE)
    try:
        assert node.stdout is not None
        port = int(node.stdout.readline())
        context = certificate.client()
        with running(tmp_path / "d") as daemon:
            daemon.add("shop", port, shadow.url, tls_keylog=str(keys), methods="any")
            for number in range(3):
                client = TlsClient(context, port)
                for size in (0, 5, 17_000, 100_000):
                    post(client, f"/{number}/{size}", os.urandom(size))
                client.close()
            ledger = daemon.settled("shop", lambda found: found["seen"] == 12)
            assert ledger["targets"][0]["mirrored"] == 12, ledger
        read = [json.loads(line) for line in log.read_text().splitlines()]
        assert told(shadow.requests) == sorted(
            (f"{line} HTTP/1.1".encode(), base64.b64decode(body)) for line, body in read
        )
    finally:
        node.kill()
        node.communicate()


@pytest.mark.skipif(not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()), reason="needs nginx")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("version", VERSIONS)
def test_nginx_by_the_key_log_of_its_client(
    tmp_path: Path, certificate: Certificate, shadow: Server, version: str
) -> None:
    """Nothing of production is changed: curl tells the secrets (SSLKEYLOGFILE)."""
    port, keys = free_port(), tmp_path / "keys"
    (tmp_path / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {tmp_path}/pid; error_log {tmp_path}/error.log; user root;
events {{}}
http {{ log_format lines '$request'; access_log {tmp_path}/access.log lines;
  server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};
    ssl_protocols TLSv{version}; location / {{ return 200 fine; }} }} }}
""")
    nginx = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(tmp_path / "nginx.conf")])
    try:
        wait_for("nginx listens", lambda: listens(port))
        with running(tmp_path / "d") as daemon:
            daemon.add("shop", port, shadow.url, tls_keylog=str(keys))
            for number in range(3):  # each on a connection of its own, of ten requests
                urls = [f"https://localhost:{port}/{number}/{turn}" for turn in range(10)]
                subprocess.run(
                    ["curl", "-sf", "--http1.1", "--cacert", str(certificate.chain), *urls, *["-o", "/dev/null"] * 10],
                    env={**os.environ, "SSLKEYLOGFILE": str(keys)}, check=True, timeout=30,
                )  # fmt: skip
            ledger = daemon.settled("shop", lambda found: found["seen"] == 30)
            assert ledger["targets"][0]["mirrored"] == 30, ledger
        read = (tmp_path / "access.log").read_bytes().splitlines()
        assert [line for line, _ in told(shadow.requests)] == sorted(read)
    finally:
        nginx.terminate()
        nginx.wait(10)
