"""Probes on the programs that people run: what their libraries tell is what the client's key log has."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shadowd.capture import tlslibs
from shadowd.capture.programs import Programs
from shadowd.capture.tlsattach import Attacher
from tests.bpf import tls_lab
from tests.bpf.test_tlsprobes import attacher, certified, folder, programs, ready
from tests.bpf.tls_lab import client, connect, drained, key_log, randoms
from tests.conftest import ROOT, need
from tests.material import find, program
from tests.netns.lab import wait_for
from tests.ports import free_port

__all__ = ["attacher", "certified", "folder", "programs", "ready"]  # fixtures


def nginx(folder: Path, port: int) -> list[str]:
    need(shutil.which("nginx") is not None, "needs nginx")
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process on; worker_processes 2; pid {folder}/pid; error_log {folder}/log;\n"
        "events {} http { access_log off;\n"
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/certificate;"
        f" ssl_certificate_key {folder}/key;"
        " location / { return 200 hello; } } }\n"
    )
    return ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]


def node(folder: Path, port: int, program: Path) -> list[str]:
    (folder / "server.js").write_text(
        "const fs = require('fs');\nrequire('https').createServer({"
        f"key: fs.readFileSync('{folder}/key'), cert: fs.readFileSync('{folder}/certificate')}}, "
        f"(q, r) => r.end('hello')).listen({port}, '127.0.0.1');\n"
    )
    return [str(program), str(folder / "server.js")]


def node_16(folder: Path, port: int) -> list[str]:
    return node(folder, port, find("node-16/node"))


def node_20(folder: Path, port: int) -> list[str]:
    return node(folder, port, program("node"))


def node_24(folder: Path, port: int) -> list[str]:
    return node(folder, port, find("node-24/node"))


def go_1_19(folder: Path, port: int) -> list[str]:
    return [str(find("gosrv-stripped")), str(port), str(folder / "certificate"), str(folder / "key")]


def go_1_19_pie(folder: Path, port: int) -> list[str]:
    return [str(find("gosrv-pie")), str(port), str(folder / "certificate"), str(folder / "key")]


def go_1_26(folder: Path, port: int) -> list[str]:
    keys = [f"--certfile={folder}/certificate", f"--keyfile={folder}/key"]
    return [str(find("esbuild/esbuild")), f"--serve=127.0.0.1:{port}", f"--servedir={folder}", *keys]


def gnutls(folder: Path, port: int) -> list[str]:
    keys = ["--x509keyfile", str(folder / "key"), "--x509certfile", str(folder / "certificate")]
    return [str(program("gnutls-serv")), "--http", "--port", str(port), *keys]


def envoy(folder: Path, port: int) -> list[str]:
    (folder / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_params: {{tls_maximum_protocol_version: TLSv1_3}}
            tls_certificates:
            - certificate_chain: {{filename: {folder}/certificate}}
              private_key: {{filename: {folder}/key}}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: a, domains: ["*"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}
""")
    return [str(find("_bin/envoy")), "-c", str(folder / "envoy.yaml"), "--use-dynamic-base-id", "-l", "error"]


def openssl_3_5(folder: Path, port: int) -> list[str]:
    """Python, with the libraries of psycopg2-binary: OpenSSL 3.5, built with other flags than the distribution's."""
    for name in ("libssl", "libcrypto"):
        (folder / f"{name}.so.3").symlink_to(find(f"{name}-*.so.3"))
    own = find("libssl-*.so.3").parent
    python = [sys.executable, "-m", "tests.bpf.tls_server", str(port), str(folder)]
    return ["env", f"LD_LIBRARY_PATH={folder}:{own}", *python]


def grpc(folder: Path, port: int) -> list[str]:
    packages = find("cygrpc.cpython-3*-x86_64-linux-gnu.so").parents[2]
    (folder / "server.py").write_text(
        "import grpc, concurrent.futures as f\n"
        f"read = lambda name: open('{folder}/' + name, 'rb').read()\n"
        "server = grpc.server(f.ThreadPoolExecutor(2))\n"
        "keys = grpc.ssl_server_credentials([(read('key'), read('certificate'))])\n"
        f"server.add_secure_port('127.0.0.1:{port}', keys)\n"
        "server.start()\nserver.wait_for_termination()\n"
    )
    return ["env", f"PYTHONPATH={packages}", sys.executable, str(folder / "server.py")]


SERVERS: dict[str, tuple[Callable[[Path, int], list[str]], str]] = {
    "nginx": (nginx, tlslibs.OPENSSL),
    "OpenSSL 3.5": (openssl_3_5, tlslibs.OPENSSL),
    "node 16": (node_16, tlslibs.OPENSSL_1_1),
    "node 20": (node_20, tlslibs.OPENSSL),
    "node 24": (node_24, tlslibs.OPENSSL),
    "Envoy": (envoy, tlslibs.BORINGSSL),
    "grpcio": (grpc, tlslibs.BORINGSSL),
    "Go 1.19": (go_1_19, tlslibs.GO),
    "Go 1.19 PIE": (go_1_19_pie, tlslibs.GO),
    "Go 1.26": (go_1_26, tlslibs.GO),
    "gnutls-serv": (gnutls, tlslibs.GNUTLS),
}


HTTP_1 = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"  # and empty SETTINGS


@contextlib.contextmanager
def running(command: list[str], place: Path, port: int) -> Iterator[None]:
    script = f'echo $$ > "{place}/cgroup.procs"; exec "$@"'
    with open(place / "cgroup.procs") as _, subprocess.Popen(
        ["sh", "-c", script, "sh", *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_for("it listens", lambda: _connects(port) or process.poll() is not None)
            assert process.poll() is None, f"{command[0]} ended with {process.poll()}"
            yield
        finally:
            process.terminate()  # nginx takes its workers along
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", port))


@pytest.mark.parametrize("tls12", [False, True], ids=["TLS 1.3", "TLS 1.2"])
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_read(ready: Programs, attacher: Attacher, folder: Path, name: str, tls12: bool) -> None:
    command, kind = SERVERS[name]
    port = free_port()
    with tls_lab.cgroup("program") as place, running(command(folder, port), place, port):
        report = attacher.want("shop", ((port, port),), None)
        assert kind in {library.kind for library in report.libraries}
        drained(ready.ring)
        for _ in range(20):
            context = client(folder / "client.keys", tls12)  # a new one each time: no ticket is used
            if name == "grpcio":
                context.set_alpn_protocols(["h2"])
            with connect(port, context) as connection:
                connection.sendall(HTTP_2 if name == "grpcio" else HTTP_1)
                assert connection.recv(100).startswith((b"HTTP/1.1 ", b"HTTP/1.0 ", b"GET /", b"\0\0"))  # or an echo
        wait_for("all has been told", lambda: ready.counters()["secrets"] > 0)
    told = drained(ready.ring)
    logged = key_log(folder / "client.keys")
    found = told.lines(randoms(logged))
    assert len(randoms(logged)) == 20
    # Go does not tell the exporter's secret, OpenSSL's client does
    wanted = {line for line in logged if kind != tlslibs.GO or line[0] != b"EXPORTER_SECRET"}
    assert {line for line in found if line[0] != b"EARLY_EXPORTER_SECRET"} == wanted
