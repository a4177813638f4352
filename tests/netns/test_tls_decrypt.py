"""``--tls decrypt``, live: a stock nginx and a Python server with their certificates, nothing of them is changed.

What the shadow received is what production's log says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shadowd.errors import ShadowdError
from tests.conftest import need
from tests.netns.lab import Daemon, HttpClient, Server, free_port, ok, running, wait_for
from tests.netns.test_mirror import listens
from tests.netns.test_tls import TlsClient, TlsServer, post, told
from tests.unit.certificates import Certificate

VERSIONS = ["TLSv1.2", "TLSv1.3"]


pytestmark = pytest.mark.usefixtures("probed")


class Nginx:
    """Two worker processes, TLS, an access log of request lines."""

    def __init__(
        self, folder: Path, certificate: Certificate, version: str, upstream: int = 0, named: bool = False
    ) -> None:
        need(shutil.which("nginx") is not None, "needs nginx")
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        served = ("return 200 'fine $request_uri';", "")
        if upstream:
            proxy = "proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection '';"
            served = (proxy, f"upstream up {{ server 127.0.0.1:{upstream}; keepalive 4; }}")
        called = " $ssl_server_name" if named else ""
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error; worker_processes 2; user root;\n"
            "events {}\n"
            "http { log_format line '$request%s'; access_log %s/log line; client_body_temp_path %s/body;\n"
            "proxy_temp_path %s/proxy; fastcgi_temp_path %s/f; uwsgi_temp_path %s/u; scgi_temp_path %s/s;\n"
            "server { listen 127.0.0.1:%d ssl; ssl_protocols %s; ssl_certificate %s; ssl_certificate_key %s;\n"
            "location / { %s } } %s }\n"
            % (called, *[folder] * 6, self.port, version, certificate.chain, certificate.key, *served)
        )
        self.process = subprocess.Popen(
            ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)], stderr=subprocess.DEVNULL
        )
        wait_for("nginx listens", lambda: listens(self.port))

    @property
    def requests(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(params=VERSIONS)
def nginx(request: pytest.FixtureRequest, tmp_path: Path, certificate: Certificate) -> Iterator[Nginx]:
    server = Nginx(tmp_path / "nginx", certificate, request.param)
    yield server
    server.close()


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server(answer=lambda number, head, body: ok(b"fine " + head.split(b" ")[1]))
    yield server
    server.close()


def lines(requests: list[bytes]) -> list[str]:
    return sorted(request.split(b"\r\n")[0].decode() for request in requests)


def words(daemon: Daemon, name: str) -> list[str]:
    (found,) = [one for one in daemon.call("filter.ls") if one["name"] == name]
    return list(found["words"])


def test_a_stock_nginx_is_mirrored_and_judged(
    tmp_path: Path, nginx: Nginx, shadow: Server, certificate: Certificate
) -> None:
    context = certificate.client()
    neighbour, other = Server(), Server()
    old = TlsClient(context, nginx.port)
    old.get("/before")
    with running(tmp_path / "d") as daemon:
        daemon.add("plain", neighbour.port, other.url)
        daemon.add("shop", nginx.port, shadow.url, tls="decrypt")
        daemon.add("blind", nginx.port, shadow.url)

        def work(number: int) -> None:
            session = None
            for turn in range(2):  # the second connection resumes
                client = TlsClient(context, nginx.port, session)
                for step in range(5):
                    path = f"/{number}/{turn}/{step}"
                    assert client.get(path).endswith(path.encode())
                session = client.sock.session  # type: ignore[attr-defined]
                client.close()
            plain = HttpClient("127.0.0.1", neighbour.port)
            plain.get(f"/plain/{number}")
            plain.close()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        old.get("/after")
        old.close()
        ledger = daemon.settled("shop", lambda found: found["seen"] == 401)
        assert ledger["lost"] == {"tls_midstream": 1}
        assert ledger["targets"][0]["mirrored"] == 400, ledger
        assert not ledger["filtered"]
        asked = sorted(line for line in nginx.requests if not line.startswith(("GET /before", "GET /after")))
        assert lines(shadow.requests) == asked
        assert daemon.settled("blind", lambda found: found["seen"] >= 80)["filtered"]["encrypted"] >= 80
        assert daemon.settled("plain", lambda found: found["seen"] == 40)["targets"][0]["mirrored"] == 40
        verdict = wait_for("all are compared", lambda: _compared(daemon, 400))
        assert verdict["verdict"] != "fail"
        assert any("TLS is read since" in word and "libssl" in word for word in words(daemon, "shop"))
        assert "secret" not in str(daemon.call("status")).lower().replace("no secret", "")
    neighbour.close()
    other.close()


def test_the_shadow_is_asked_for_whom_production_was_asked_for(tmp_path: Path, certificate: Certificate) -> None:
    """Two nginx with one certificate: by its URL the shadow is an address, for which nobody asks by name."""
    context = certificate.client()
    production = Nginx(tmp_path / "now", certificate, "TLSv1.3")
    shadow = Nginx(tmp_path / "next", certificate, "TLSv1.3", named=True)
    with closing(production), closing(shadow), running(tmp_path / "d") as daemon:
        url = f"https://127.0.0.1:{shadow.port}"
        daemon.add("shop", production.port, url, tls="decrypt", ca=str(certificate.chain))
        client = TlsClient(context, production.port)
        for step in range(5):
            client.get(f"/{step}")
        client.close()
        ledger = daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 5)
        assert ledger["targets"][0]["failed"] == {}
        assert shadow.requests == [f"GET /{step} HTTP/1.1 localhost" for step in range(5)]
        named = {"url": url, "ca": str(certificate.chain), "server_name": "127.0.0.1"}
        daemon.call("filter.set", name="shop", changes={"targets": [named]})
        client = TlsClient(context, production.port)
        client.get("/set")
        client.close()
        daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 6)
        assert shadow.requests[-1] == "GET /set HTTP/1.1 -"


def _compared(daemon: Daemon, count: int) -> Any:
    found = daemon.call("verdict", name="shop")
    return found if found["compared"] >= count else None


def test_bodies_up_and_down_are_whole(tmp_path: Path, certificate: Certificate) -> None:
    """A server whose TLS works on memory alone would do as well: nothing is asked of sockets."""
    answer = bytes(range(256)) * 1000
    log = tmp_path / "keys"
    production = TlsServer(
        certificate.server(), log, answer=lambda number, head, body: ok(answer[: len(body) % 200_000])
    )
    shadow = Server(answer=lambda number, head, body: ok(answer[: len(body) % 200_000]))
    with running(tmp_path / "d") as daemon:
        daemon.add("shop", production.port, shadow.url, tls="decrypt", methods="any")
        client = TlsClient(certificate.client(), production.port)
        for size in (0, 1, 16_384, 5_000_000):
            post(client, f"/{size}", os.urandom(size))
        client.close()
        ledger = daemon.settled("shop", lambda found: found["seen"] == 4)
        assert ledger["targets"][0]["mirrored"] == 4
        assert told(shadow.requests) == told(production.requests)
        assert wait_for("all are compared", lambda: _compared(daemon, 4))["verdict"] != "fail"
    production.close()
    shadow.close()


def test_an_attacher_that_is_killed_is_started_anew(tmp_path: Path, certificate: Certificate, shadow: Server) -> None:
    production = TlsServer(certificate.server(), tmp_path / "keys")
    with running(tmp_path / "d") as daemon:
        daemon.add("shop", production.port, shadow.url, tls="decrypt")
        (attacher,) = _attachers(daemon)
        os.kill(attacher, signal.SIGKILL)
        wait_for("there is a new one", lambda: [one for one in _attachers(daemon) if one != attacher])
        wait_for("its probes are told", lambda: daemon.log.read_text().count("tls is read: name=shop") == 2)
        wait_for("and shown", lambda: any("TLS is read since" in word for word in words(daemon, "shop")))
        client = TlsClient(certificate.client(), production.port)
        client.get("/after")
        client.close()
        daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 1)
        assert told(shadow.requests) == [(b"GET /after HTTP/1.1", b"")]
        daemon.call("filter.rm", name="shop")
        wait_for("it reads no more", lambda: "tls is read no more" in daemon.log.read_text())
        pid = _attachers(daemon)
    wait_for("the attacher ends with the daemon", lambda: not any(Path(f"/proc/{one}").exists() for one in pid))
    production.close()


def _attachers(daemon: Daemon) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if "tlsattacher" in path.read_text():
                stat = path.with_name("stat").read_text().rpartition(") ")[2].split()
                if stat[0] != "Z" and int(stat[1]) == daemon.process.pid:
                    found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_port_that_nobody_serves_and_one_without_tls(tmp_path: Path, shadow: Server) -> None:
    with running(tmp_path / "d") as daemon:
        daemon.add("nobody", free_port(), shadow.url, tls="decrypt")
        wait_for("it is told", lambda: any("nobody serves these ports now" in one for one in words(daemon, "nobody")))
        with pytest.raises(ShadowdError, match="whose they are") as refused:
            daemon.add("out", 443, shadow.url, tls="decrypt", direction="outbound")
        assert len(str(refused.value).splitlines()) == 1


def test_a_service_has_the_rights_for_a_daemon_that_has_not(
    tmp_path: Path, certificate: Certificate, shadow: Server
) -> None:
    production = TlsServer(certificate.server(), tmp_path / "keys")
    door = tmp_path / "attacher.sock"
    command = [sys.executable, "-m", "shadowd.cli.shadowd", "attach-tls", "--socket", str(door)]
    service = subprocess.Popen(command)
    try:
        wait_for("it listens", door.exists)
        with running(tmp_path / "d", f'least_privilege = true\ntls_attacher = "{door}"\n') as daemon:
            daemon.add("shop", production.port, shadow.url, tls="decrypt")
            client = TlsClient(certificate.client(), production.port)
            client.get("/a")
            client.close()
            daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 1)
            assert not _attachers(daemon)
            effective = next(
                line for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines() if "CapEff" in line
            )
            assert int(effective.split()[1], 16) & (1 << 38 | 1 << 39) == 0, "CAP_PERFMON and CAP_BPF are given up"
    finally:
        service.terminate()
        service.wait(10)
    production.close()


def test_the_doctor_names_what_is_plain_behind_tls(tmp_path: Path, certificate: Certificate, shadow: Server) -> None:
    service = Server()
    front = Nginx(tmp_path / "nginx", certificate, "TLSv1.3", service.port)
    try:
        with running(tmp_path / "d") as daemon:
            daemon.add("shop", front.port, shadow.url)
            client = TlsClient(certificate.client(), front.port)
            client.get("/a")
            daemon.settled("shop", lambda found: found["filtered"].get("encrypted"))
            found = {one["code"]: one for one in _doctor(daemon, "shop")}
            assert f"port {front.port} of nginx" in found["tls_terminator"]["what"]
            assert f"--port {service.port} --tls off" in found["tls_terminator"]["remedy"]
            assert "--tls decrypt" in found["filtered_encrypted"]["remedy"]
            daemon.call("filter.set", name="shop", changes={"tls": "decrypt"})
            wait_for("it is told", lambda: any("TLS is read since" in one for one in words(daemon, "shop")))
            found = {one["code"]: one for one in _doctor(daemon, "shop")}
            assert "libssl" in found["tls"]["what"]
            client.close()
    finally:
        front.close()
        service.close()


def _doctor(daemon: Daemon, name: str) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "shadowd.cli.shadowctl", "doctor", "--filter", name, "--json"]
    done = subprocess.run(
        [*command, "--socket", str(daemon.socket)], capture_output=True, text=True, timeout=60, check=False
    )
    return list(json.loads(done.stdout)["findings"])


def test_without_the_rights_it_is_refused_in_one_line(tmp_path: Path, shadow: Server) -> None:
    production = Server()
    with running(tmp_path / "d", "least_privilege = true\n") as daemon:
        with pytest.raises(ShadowdError, match="shadowd-tls") as refused:
            daemon.add("shop", 4433, shadow.url, tls="decrypt")
        assert len(str(refused.value).splitlines()) == 1
        daemon.add("plain", production.port, shadow.url)
        client = HttpClient("127.0.0.1", production.port)
        client.get("/a")
        client.close()
        daemon.settled("plain", lambda found: found["targets"][0]["mirrored"] == 1)
        assert [one["name"] for one in daemon.call("filter.ls")] == ["plain"]
    production.close()
