"""``--tls decrypt`` of the servers that people run: what reached the shadow is what each server wrote down.

Those that are not part of a test machine are fetched by ``make tls-material``; without it they are skipped.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import Daemon, Server, running, wait_for
from tests.netns.test_mirror import unmarked
from tests.netns.test_tls import TlsClient, post
from tests.tlsservers import recording, servers
from tests.tlsservers.servers import Start, TlsProgram, serving
from tests.unit.certificates import Certificate

VERSIONS = ["1.2", "1.3"]
CLIENTS = 40
#: Bytes of a body: none, one, what fills a record of 16 KB and one more, several records.
SIZES = (0, 1, 16_384, 16_385, 50_000)
UPLOAD = 5_000_000


pytestmark = pytest.mark.usefixtures("probed")


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server(answer=lambda number, head, body: recording.answer(head, body))
    yield server
    server.close()


def asked(path: str, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: shop.example\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def check(answered: bytes, path: str, body: bytes) -> None:
    said = answered.partition(b"\r\n\r\n")[2]
    assert said == recording.answer(b"POST %b " % path.encode(), body).partition(b"\r\n\r\n")[2]


def session(client: TlsClient) -> ssl.SSLSession:
    return client.sock.session  # type: ignore[attr-defined, no-any-return]


def ask(port: int, context: ssl.SSLContext, number: int, resumes: bool, errors: list[str]) -> None:
    """A connection with pipelined requests, then one that resumes it, or one more."""
    try:
        client = TlsClient(context, port)
        bodies = {f"/{number}/{size}": os.urandom(size) for size in SIZES}
        client.send(b"".join(asked(path, body) for path, body in bodies.items()))
        for path, body in bodies.items():
            check(client.receive(), path, body)
        before = session(client)
        client.close()
        client = TlsClient(context, port, before if resumes else None)
        if client.sock.session_reused != resumes:  # type: ignore[attr-defined]
            errors.append(f"{number}: resumed or not")
        for turn in range(2):
            body = os.urandom(turn * 300)
            check(post(client, f"/again/{number}/{turn}", body), f"/again/{number}/{turn}", body)
        client.close()
    except (OSError, AssertionError) as error:
        errors.append(repr(error))


def drip(port: int, context: ssl.SSLContext) -> None:
    """A record for each byte."""
    client = TlsClient(context, port)
    for byte in asked("/drip", b"drop by drop"):
        client.send(bytes([byte]))
    check(client.receive(), "/drip", b"drop by drop")
    client.close()


def work(port: int, context: ssl.SSLContext, resumes: bool) -> int:
    """All of it; returns the number of requests."""
    errors: list[str] = []
    given = [(port, context, number, resumes, errors) for number in range(CLIENTS)]
    threads = [threading.Thread(target=ask, args=one) for one in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    drip(port, context)
    return CLIENTS * (len(SIZES) + 2) + 1


def upload(daemon: Daemon, port: int, context: ssl.SSLContext) -> int:
    """5 MB on a connection that is read already: a key log may be late by more than what is kept for it (1 MB)."""
    before = daemon.ledger("shop")["seen"]
    client, body = TlsClient(context, port), os.urandom(UPLOAD)
    check(post(client, "/first", b""), "/first", b"")
    daemon.settled("shop", lambda found: found["seen"] == before + 1)
    check(post(client, "/upload", body), "/upload", body)
    client.close()
    return 2


def worked(
    daemon: Daemon, made: TlsProgram, shadow: Server, context: ssl.SSLContext, resumes: bool = True, **fields: Any
) -> tuple[int, dict[str, Any]]:
    """All of it is asked and mirrored: the number of requests, and the ledger then."""
    daemon.add("shop", made.port, shadow.url, methods="any", max_lag=600, **fields)
    count = work(made.port, context, resumes)
    daemon.settled("shop", lambda found: found["seen"] == count, 60)
    count += upload(daemon, made.port, context)
    ledger = daemon.settled("shop", lambda found: found["seen"] == count, 60)
    return count, ledger


def is_mirrored(daemon: Daemon, made: TlsProgram, shadow: Server, count: int, ledger: dict[str, Any]) -> bool:
    """What the server wrote down is what the shadow got, and nothing of the flow is anywhere else."""
    assert ledger["targets"][0]["mirrored"] == count, ledger
    assert (ledger["lost"], ledger["filtered"]) == ({}, {})
    status = daemon.call("status")
    assert set(status["pump"]["discarded"] if not status["workers"] else {}) <= {"tls_framing"}
    return len(made.requests) == count and sorted(map(recording.recorded, shadow.requests)) == made.requests


def same(daemon: Daemon, count: int) -> None:
    """All are compared, and differ in what the servers' programs say of themselves at most."""
    wait_for("all are compared", lambda: daemon.call("verdict", name="shop")["compared"] >= count, 60)
    differences = daemon.call("diffs", name="shop")["differences"]
    assert {one["where"] for one in differences} <= {"header"}, differences


PROGRAMS: dict[str, Start] = {
    "nginx": servers.nginx,
    "asyncio": servers.asyncio,
    "OpenSSL 3.5": servers.openssl_3_5,
    "node 16 (OpenSSL 1.1.1)": servers.node_16,
    "node 20": servers.node_20,
    "node 24": servers.node_24,
    "Envoy": servers.envoy,
    "Go": servers.go,
    "Go PIE": servers.go_pie,
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_server_is_mirrored_and_judged(
    tmp_path: Path, certificate: Certificate, shadow: Server, name: str, version: str
) -> None:
    made = TlsProgram(tmp_path / "server", certificate, version)
    resumes = not name.startswith("Go") or version == "1.3"  # what Go does instead is the next test's
    with serving(PROGRAMS[name], made), running(tmp_path / "d") as daemon:
        count, ledger = worked(daemon, made, shadow, certificate.client(), resumes, tls="decrypt")
        assert is_mirrored(daemon, made, shadow, count, ledger)
        same(daemon, count)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("name", ["nginx", "node 20", "Envoy", "Go"])
def test_http_2_inside(tmp_path: Path, certificate: Certificate, shadow: Server, name: str) -> None:
    """As curl and the server agree on (ALPN): ten streams side by side, on each of three connections."""
    made, body = TlsProgram(tmp_path / "server", certificate, "1.3"), tmp_path / "body"
    body.write_bytes(os.urandom(30_000))
    with serving(PROGRAMS[name], made), running(tmp_path / "d") as daemon:
        daemon.add("shop", made.port, shadow.url, methods="any", tls="decrypt", to_protocol="http1", max_lag=600)
        curl = ["curl", "-sSf", "--http2", "--parallel", "--parallel-max", "10", "--cacert", str(certificate.chain)]
        curl += ["--data-binary", f"@{body}", "-o", "/dev/null", "-w", "%{http_version}\\n"]
        for number in range(3):
            url = f"https://localhost:{made.port}/{number}/[1-20]"
            said = subprocess.run([*curl, url], check=True, timeout=60, capture_output=True, text=True)
            assert said.stdout.split() == ["2"] * 20
        ledger = daemon.settled("shop", lambda found: found["seen"] == 60)
        assert ledger["targets"][0]["mirrored"] == 60, ledger
        assert sorted(map(recording.recorded, shadow.requests)) == made.requests
        assert len(made.requests) == 60
        # curl resets a stream whose Content-Length it has, before its end: that answer is not known whole
        same(daemon, 60 - ledger["targets"][0]["uncomparable"])


def test_go_does_not_tell_of_what_it_resumes_by_tls_1_2(
    tmp_path: Path, certificate: Certificate, shadow: Server
) -> None:
    """Neither a probe nor Go's own key log has that secret: such a connection is counted, and nothing is made up."""
    made, context = TlsProgram(tmp_path / "server", certificate, "1.2"), certificate.client()
    with serving(servers.go, made), running(tmp_path / "d") as daemon:
        daemon.add("shop", made.port, shadow.url, methods="any", tls="decrypt")
        errors: list[str] = []
        for number in range(3):
            ask(made.port, context, number, True, errors)
        assert errors == []
        ledger = daemon.settled("shop", lambda found: found["seen"] == 3 * len(SIZES) + 3)
        assert ledger["lost"] == {"tls_no_key": 3}
        first = [line for line in made.requests if "/again/" not in line]
        assert sorted(map(recording.recorded, shadow.requests)) == first
        assert len(first) == 3 * len(SIZES)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["Go", "Envoy"])
def test_whom_the_server_refuses_is_not_mirrored(
    tmp_path: Path, certificate: Certificate, shadow: Server, name: str, version: str
) -> None:
    """Go and BoringSSL tell their keys before they have looked at the client's certificate."""
    (tmp_path / "stranger").mkdir()
    stranger = Certificate(tmp_path / "stranger")
    made = TlsProgram(tmp_path / "server", certificate, version)
    made.clients = certificate.chain
    with serving(PROGRAMS[name], made), running(tmp_path / "d") as daemon:
        daemon.add("shop", made.port, shadow.url, methods="any", tls="decrypt", max_lag=600)
        for number in range(6):
            context, known = certificate.client(), number % 2 == 0
            whose = certificate if known else stranger
            context.load_cert_chain(whose.chain, whose.key)
            try:
                client = TlsClient(context, made.port)
                post(client, f"/{number}", b"of a stranger" * number)
            except (OSError, AssertionError):
                assert not known
            else:
                client.close()

        def all_is_told(found: dict[str, Any]) -> bool:  # in TLS 1.2 nothing is sent before the server has looked
            return found["targets"][0]["mirrored"] >= 3 and (version == "1.2" or "tls_refused" in found["filtered"])

        ledger = daemon.settled("shop", all_is_told)
        assert ledger["targets"][0]["mirrored"] == len(made.requests) == 3, ledger
        assert sorted(map(recording.recorded, shadow.requests)) == made.requests
        assert set(ledger["filtered"]) <= {"tls_refused"}
        assert not ledger["lost"]


LOGGING: dict[str, Start] = {
    "node 16 (OpenSSL 1.1.1)": servers.node_16,
    "node 20": servers.node_20,
    "node 24": servers.node_24,
    "Envoy": servers.envoy,
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", LOGGING)
def test_a_server_by_its_own_key_log(
    tmp_path: Path, certificate: Certificate, shadow: Server, name: str, version: str
) -> None:
    made = TlsProgram(tmp_path / "server", certificate, version, key_log=True)
    with serving(LOGGING[name], made), running(tmp_path / "d") as daemon:
        count, ledger = worked(daemon, made, shadow, certificate.client(), tls_keylog=str(made.keys))
        assert is_mirrored(daemon, made, shadow, count, ledger)
        same(daemon, count)


def until_its_end(client: TlsClient) -> str:
    parts = []
    while part := client.sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts).decode()


@pytest.mark.parametrize("version", VERSIONS)
def test_gnutls(tmp_path: Path, certificate: Certificate, shadow: Server, version: str) -> None:
    """Its server answers with the fields that it was sent, and closes. Every second connection resumes the one before;
    of that GnuTLS, like Go, tells nothing in TLS 1.2."""
    made, context = TlsProgram(tmp_path / "server", certificate, version), certificate.client()
    with serving(servers.gnutls, made), running(tmp_path / "d") as daemon:
        daemon.add("shop", made.port, shadow.url, tls="decrypt", preserve_host=True)
        before, told = None, []
        for number in range(20):
            client = TlsClient(context, made.port, before)
            resumed = before is not None
            assert client.sock.session_reused == resumed  # type: ignore[attr-defined]
            padding = b"x" * 150 * number
            client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\nX-Number: %d %b\r\n\r\n" % (number, number, padding))
            answered = until_its_end(client).partition("<PRE>")[2].partition("</PRE>")[0]
            assert f"X-Number: {number}" in answered
            if version == "1.3" or not resumed:
                told.append(answered.strip().splitlines())
            before = session(client) if number % 2 == 0 else None
            client.close()
        ledger = daemon.settled("shop", lambda found: found["seen"] == 20)
        assert ledger["targets"][0]["mirrored"] == len(told), ledger
        assert ledger["lost"] == ({} if version == "1.3" else {"tls_no_key": 10})
        asked = [unmarked(request).decode().strip().split("\r\n")[1:] for request in shadow.requests]
        assert sorted(asked) == sorted(told)


def test_grpc_is_mirrored(tmp_path: Path, certificate: Certificate, shadow: Server) -> None:
    """Its library is statically linked and stripped; a wrong plaintext would not begin as HTTP/2 does."""
    made = TlsProgram(tmp_path / "server", certificate, "1.3")
    with serving(servers.grpcio, made), running(tmp_path / "d") as daemon:
        daemon.add("shop", made.port, shadow.url, methods="any", tls="decrypt", to_protocol="http1")
        for _ in range(3):
            subprocess.run([*servers.grpcio(made), "call", "20"], check=True, timeout=60, capture_output=True)
        assert len(made.requests) == 60
        ledger = daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 60)
        assert not ledger["filtered"]
        assert not ledger["lost"]
        assert len(shadow.requests) == 60
        assert all(b"application/grpc" in request for request in shadow.requests)


def test_grpc_and_its_next_release(tmp_path: Path, certificate: Certificate) -> None:
    """Both behind TLS: each writes the same calls down, and their answers are the same."""
    made = TlsProgram(tmp_path / "server", certificate, "1.3")
    following = TlsProgram(tmp_path / "next", certificate, "1.3")
    with serving(servers.grpcio, made), serving(servers.grpcio, following), running(tmp_path / "d") as daemon:
        url = f"https://localhost:{following.port}"
        daemon.add("shop", made.port, url, methods="any", tls="decrypt", ca=str(certificate.chain), max_lag=600)
        for _ in range(3):
            subprocess.run([*servers.grpcio(made), "call", "20"], check=True, timeout=60, capture_output=True)
        ledger = daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 60)
        assert not ledger["filtered"]
        assert not ledger["lost"]
        assert following.requests == made.requests
        assert len(made.requests) == 60
        same(daemon, 60)
