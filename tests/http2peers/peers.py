"""Starts them, each as a process of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import material
from tests.netns.lab import free_port, wait_for
from tests.netns.test_mirror import listens
from tests.unit.certificates import Certificate

HERE = Path(__file__).parent


class Serving:
    """``asked``: lines of what it was asked, each with how often."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.upstream = 0  # of a proxy: whom it asks
        self.log = log

    @property
    def asked(self) -> Counter[str]:
        return Counter(self.log.read_text().splitlines()) if self.log.exists() else Counter()


@contextlib.contextmanager
def running(port: int, *command: str | Path) -> Iterator[None]:
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL)
    try:
        wait_for(f"{command[0]} listens", lambda: listens(port))
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def node() -> str:
    return str(material.program("node"))


@contextlib.contextmanager
def node_server(folder: Path, certificate: Certificate | None = None) -> Iterator[Serving]:
    folder.mkdir(exist_ok=True)
    port, log = free_port(), folder / "log"
    secured = [certificate.chain, certificate.key] if certificate is not None else []
    with running(port, node(), HERE / "server.js", str(port), log, *secured):
        yield Serving(port, log)


@contextlib.contextmanager
def envoy(folder: Path) -> Iterator[Serving]:
    """In front of a server of node's, which writes down; clear text on both sides."""
    program = material.find("_bin/envoy")
    extension = "type.googleapis.com/envoy.extensions"
    with node_server(folder) as upstream:
        port = free_port()
        (folder / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": {extension}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          http_filters:
          - {{name: router, typed_config: {{"@type": {extension}.filters.http.router.v3.Router}}}}
          route_config:
            virtual_hosts:
            - {{name: a, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: up, timeout: 0s}}}}]}}
  clusters:
  - name: up
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {extension}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream.port}}}}}}}
""")
        with running(
            port, program, "-c", folder / "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "2", "-l", "error"
        ):
            made = Serving(port, folder / "log")
            made.upstream = upstream.port
            yield made


def asks(*command: str | Path, **environment: str) -> None:
    """A client, until it has had all its answers."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=90, check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def node_client(url: str, count: int, certificate: Certificate | None = None, keys: Path | None = None) -> None:
    logged = [f"--tls-keylog={keys}"] if keys is not None else []
    trusted = [certificate.chain] if certificate is not None else []
    asks(node(), *logged, HERE / "client.js", url, str(count), *trusted)


def curl(url: str, count: int, certificate: Certificate | None = None, keys: Path | None = None) -> None:
    """Over TLS side by side on one connection. In clear text each alone: curl 7.88 breaks its second request there."""
    if certificate is None:
        for number in range(count):
            asks("curl", "-sS", "--fail", "--http2-prior-knowledge", "-o", "/dev/null", f"{url}/item/{number}")
        return
    words = [word for number in range(count) for word in ("-o", "/dev/null", f"{url}/item/{number}")]
    secured: list[str | Path] = ["--http2", "--parallel", "--cacert", certificate.chain]
    asks("curl", "-sS", "--fail", *secured, *words, SSLKEYLOGFILE=str(keys))


def nghttp(url: str, count: int, certificate: Certificate | None = None, keys: Path | None = None) -> None:
    if shutil.which("nghttp") is None:
        pytest.skip("needs nghttp (nghttp2-client)")
    assert certificate is None
    assert keys is None
    asks("nghttp", "-n", *[f"{url}/item/{number}" for number in range(count)])


def go_client(url: str, count: int, certificate: Certificate | None = None, keys: Path | None = None) -> None:
    """net/http has HTTP/2 over TLS alone."""
    assert certificate is not None
    asks(material.find("goclient"), url, str(count), certificate.chain, str(keys))
