"""Starts each server, as a process of its own, with what it writes down in the form of ``recording.py``."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import material
from tests.conftest import ROOT
from tests.netns.lab import Server, free_port, wait_for
from tests.netns.test_mirror import listens
from tests.tlsservers import recording
from tests.unit.certificates import Certificate

HERE = Path(__file__).parent


class TlsProgram:
    """``log``: a line of each request; ``keys``: its key log, if it was asked for one."""

    def __init__(self, folder: Path, certificate: Certificate, version: str, key_log: bool = False) -> None:
        folder.mkdir()
        self.folder, self.certificate, self.version = folder, certificate, version
        self.port, self.log = free_port(), folder / "log"
        self.keys = folder / "keys" if key_log else None
        self.upstream: Server | None = None  # who writes down for a proxy
        self.directives = ""  # more of them, for nginx
        self.clients: Path | None = None  # whose certificates clients need

    @property
    def given(self) -> list[str]:
        """The words that our own servers are started with."""
        return [str(self.port), str(self.certificate.chain), str(self.certificate.key), str(self.log), self.version]

    @property
    def requests(self) -> list[str]:
        if self.upstream is not None:
            return sorted(map(recording.recorded, self.upstream.requests))
        return sorted(self.log.read_text().splitlines()) if self.log.exists() else []


def node(made: TlsProgram, program: Path) -> list[str]:
    logged = [f"--tls-keylog={made.keys}"] if made.keys else []
    return [str(program), *logged, str(HERE / "server.js"), *made.given]


def node_16(made: TlsProgram) -> list[str]:
    return node(made, material.find("node-16/node"))


def node_20(made: TlsProgram) -> list[str]:
    return node(made, material.program("node") if made.keys is None else material.find("node-20/node"))


def node_24(made: TlsProgram) -> list[str]:
    return node(made, material.find("node-24/node"))


def asyncio(made: TlsProgram) -> list[str]:
    return [sys.executable, "-m", "tests.tlsservers.recording", *made.given]


def forking(made: TlsProgram) -> list[str]:
    return [sys.executable, "-m", "tests.tlsservers.forking", *made.given]


def openssl_3_5(made: TlsProgram) -> list[str]:
    """Python with the libraries of psycopg2-binary."""
    own = material.find("libssl-*.so.3").parent
    for name in ("libssl", "libcrypto"):
        (made.folder / f"{name}.so.3").symlink_to(material.find(f"{name}-*.so.3"))
    return ["env", f"LD_LIBRARY_PATH={made.folder}:{own}", *asyncio(made)]


def go(made: TlsProgram, name: str = "gosrv-stripped") -> list[str]:
    return [str(material.find(name)), *made.given, *([str(made.clients)] if made.clients else [])]


def go_pie(made: TlsProgram) -> list[str]:
    return go(made, "gosrv-pie")


def nginx(made: TlsProgram) -> list[str]:
    made.upstream = Server(answer=lambda number, head, body: recording.answer(head, body))
    folder = made.folder
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error; worker_processes 2; user root;\n"
        f"events {{}}\nhttp {{ access_log off; client_max_body_size 0;\n{places}"
        f"upstream up {{ server 127.0.0.1:{made.upstream.port}; keepalive 8; }}\n"
        f"server {{ listen 127.0.0.1:{made.port} ssl http2 backlog=512; ssl_protocols TLSv{made.version};\n"
        f"ssl_certificate {made.certificate.chain}; ssl_certificate_key {made.certificate.key}; {made.directives}\n"
        "location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ''; } } }\n"
    )
    return [
        str(material.program("nginx")),
        "-c",
        str(folder / "nginx.conf"),
        "-p",
        str(folder),
        "-e",
        str(folder / "error"),
    ]


def envoy(made: TlsProgram) -> list[str]:
    made.upstream = Server(answer=lambda number, head, body: recording.answer(head, body))
    version = f"TLSv{made.version.replace('.', '_')}"
    logged = f"key_log: {{path: {made.keys}}}" if made.keys else ""
    clients = f"validation_context: {{trusted_ca: {{filename: {made.clients}}}}}" if made.clients else ""
    extension = "type.googleapis.com/envoy.extensions"
    manager = f"{extension}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    (made.folder / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {made.port}}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": {extension}.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: {str(made.clients is not None).lower()}
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{tls_minimum_protocol_version: {version}, tls_maximum_protocol_version: {version}}}
            tls_certificates:
            - certificate_chain: {{filename: {made.certificate.chain}}}
              private_key: {{filename: {made.certificate.key}}}
            {logged}
            {clients}
      filters:
      - name: http
        typed_config:
          "@type": {manager}
          stat_prefix: s
          http_filters:
          - {{name: router, typed_config: {{"@type": {extension}.filters.http.router.v3.Router}}}}
          route_config:
            virtual_hosts:
            - {{name: a, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: up, timeout: 0s}}}}]}}
  clusters:
  - name: up
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {made.upstream.port}}}}}}}
""")
    options = ["--use-dynamic-base-id", "--concurrency", "2", "-l", "error"]
    if made.keys:
        options += ["--file-flush-interval-msec", "100"]  # else it writes its key log every ten seconds
    return [str(material.find("_bin/envoy")), "-c", str(made.folder / "envoy.yaml"), *options]


def grpcio(made: TlsProgram) -> list[str]:
    packages = material.find("cygrpc.cpython-3*-x86_64-linux-gnu.so").parents[2]
    return ["env", f"PYTHONPATH={packages}", sys.executable, str(HERE / "grpc_server.py"), *made.given[:4]]


def gnutls(made: TlsProgram) -> list[str]:
    """Writes nothing down: its answer says the fields that it was sent."""
    keys = ["--x509certfile", str(made.certificate.chain), "--x509keyfile", str(made.certificate.key)]
    chosen = f"NORMAL:-VERS-ALL:+VERS-TLS{made.version}"
    return [str(material.program("gnutls-serv")), "--http", "--port", str(made.port), "--priority", chosen, *keys]


Start = Callable[[TlsProgram], list[str]]


@contextlib.contextmanager
def serving(start: Start, made: TlsProgram) -> Iterator[TlsProgram]:
    command = start(made)
    with open(made.folder / "said", "wb") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        wait_for("it listens", lambda: listens(made.port) or process.poll() is not None)
        assert process.poll() is None, (made.folder / "said").read_text()[-2000:]
        yield made
    finally:
        process.terminate()  # nginx takes its workers along
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        if made.upstream is not None:
            made.upstream.close()
