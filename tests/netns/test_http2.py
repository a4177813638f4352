"""HTTP/2 live: what real clients asked real servers is what the shadow is asked, and every request has its line."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.netns.lab import Daemon, free_port, running, wait_for
from tests.netns.test_mirror import listens
from tests.unit.certificates import Certificate

SERVER = """
daemon off; pid %(folder)s/pid; error_log %(folder)s/error; worker_processes 1; user root;
events {}
http {
    log_format line '$request_method $request_uri $server_protocol $status $http_x_id $request_length';
    access_log %(folder)s/log line;
    client_body_temp_path %(folder)s/b; proxy_temp_path %(folder)s/p; fastcgi_temp_path %(folder)s/f;
    uwsgi_temp_path %(folder)s/u; scgi_temp_path %(folder)s/s; keepalive_requests %(requests)d;
    http2_max_concurrent_streams %(streams)d; client_max_body_size 10m;
    server {
        listen %(host)s:%(port)d %(spoken)s; %(tls)s
        default_type application/json;
        location /up { root %(folder)s; dav_methods PUT; create_full_put_path on; }
        location /big { alias %(folder)s/big; }
        %(more)s
        location / { return 200 '{"version": "%(version)s", "path": "$request_uri"}'; }
    }
}
"""


class Nginx:
    """``log``: method, target, version, status and x-id of each request, in the order in which they ended."""

    def __init__(
        self, folder: Path, version: str = "1", http2: bool = True, certificate: Certificate | None = None,
        requests: int = 100_000, streams: int = 128, more: str = "",
        host: str = "127.0.0.1",
    ) -> None:  # fmt: skip
        need(shutil.which("nginx") is not None, "needs nginx")
        folder.mkdir(parents=True)
        self.folder, self.port = folder, free_port()
        (folder / "big").write_bytes(bytes(range(256)) * 400)
        tls = (
            ""
            if certificate is None
            else f"ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};"
        )
        spoken = ("ssl " if certificate is not None else "") + ("http2" if http2 else "")
        given: dict[str, Any] = {"folder": folder, "port": self.port, "spoken": spoken, "tls": tls, "version": version}
        given.update(more=more, host=host)
        (folder / "nginx.conf").write_text(SERVER % {**given, "requests": requests, "streams": streams})
        self._process = subprocess.Popen(
            ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)], stderr=subprocess.DEVNULL
        )
        wait_for("nginx listens", lambda: listens(self.port, host))

    @property
    def log(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "log").read_text().splitlines()]

    @property
    def asked(self) -> Counter[tuple[str, str]]:
        return Counter((line[0], line[1]) for line in self.log)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[..., Nginx]]:
    with ExitStack() as ends:

        def make(name: str, **given: Any) -> Nginx:
            made = Nginx(tmp_path / name, **given)
            ends.callback(made.close)
            return made

        yield make


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "d") as made:
        yield made


def h2load(port: int, requests: int, *words: str) -> None:
    need(shutil.which("h2load") is not None, "needs h2load (nghttp2-client)")
    done = subprocess.run(
        ["h2load", "-n", str(requests), *words, f"http://127.0.0.1:{port}/item"], capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert f"{requests} succeeded" in done.stdout, done.stdout


def nghttp(*words: str) -> None:
    need(shutil.which("nghttp") is not None, "needs nghttp (nghttp2-client)")
    subprocess.run(["nghttp", "-n", *words], check=True, timeout=60)


def curl(*words: str) -> str:
    done = subprocess.run(["curl", "-sS", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("scheme", "version"), [("http", "HTTP/2.0"), ("h2c", "HTTP/2.0"), ("http1", "HTTP/1.1")])
def test_h2load_is_mirrored_and_judged(daemon: Daemon, nginx: Callable[..., Nginx], scheme: str, version: str) -> None:
    """To a shadow that speaks the same, and to one that speaks HTTP/1 alone."""
    production, shadow = nginx("now"), nginx("next", http2=scheme != "http1")
    more = {"to_protocol": "http1"} if scheme == "http1" else {}
    daemon.call(
        "filter.add",
        spec={
            "name": "shop", "ports": [str(production.port)], "twin": 0, "min_span": 1,
            "to": f"{scheme.replace('http1', 'http')}://127.0.0.1:{shadow.port}", **more,
        },
    )  # fmt: skip
    h2load(production.port, 1000, "-c", "5", "-m", "20", "--rps", "200")
    ledger = daemon.settled("shop", lambda found: found["seen"] == 1000)
    assert not ledger["filtered"]
    assert not ledger["lost"]
    assert ledger["targets"][0]["mirrored"] == 1000
    assert shadow.asked == production.asked
    assert {line[2] for line in shadow.log} == {version}
    verdict = wait_for("all are compared", lambda: _compared(daemon, 1000))
    assert verdict["verdict"] != "fail"
    assert daemon.call("diffs", name="shop")["differences"] == []
    view = daemon.call("filter.show", name="shop")
    assert view["targets"][0]["latency_ms"]["shadow"]["p50"] > 0


def _compared(daemon: Daemon, count: int) -> Any:
    found = daemon.call("verdict", name="shop")
    return found if found["compared"] >= count else None


def test_streams_side_by_side_with_bodies(daemon: Daemon, nginx: Callable[..., Nginx], tmp_path: Path) -> None:
    production, shadow = nginx("now"), nginx("next", version="2")
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}", methods="any")
    body = tmp_path / "body"
    body.write_bytes(bytes(range(256)) * 1000)
    url = f"http://127.0.0.1:{production.port}"
    nghttp(*[f"{url}/{('big?', 'item/')[number % 3 > 0]}{number}" for number in range(30)])
    curl("--http2-prior-knowledge", "-T", str(body), f"{url}/up/file")
    ledger = daemon.settled("shop", lambda found: found["seen"] == 31)
    assert ledger["targets"][0]["mirrored"] == 31, str(ledger["targets"])
    assert shadow.asked == production.asked
    assert (shadow.folder / "up" / "file").read_bytes() == body.read_bytes()
    found = wait_for("the difference is seen", lambda: daemon.call("diffs", name="shop")["differences"])
    assert ("body", "$.version") in {(one["where"], one["path"]) for one in found}


def test_a_shadow_that_speaks_http1_alone_is_asked_in_it(daemon: Daemon, nginx: Callable[..., Nginx]) -> None:
    """Nobody said so: it answers the first connection's preface with 400."""
    production, shadow = nginx("now"), nginx("next", http2=False)
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}")
    h2load(production.port, 200, "-c", "4", "-m", "5", "--rps", "100")
    ledger = daemon.settled("shop", lambda found: found["seen"] == 200)
    assert ledger["targets"][0]["mirrored"] == 200, str(ledger["targets"])
    assert Counter({one: count for one, count in shadow.asked.items() if one[0] == "GET"}) == production.asked


def test_http1_of_production_asks_a_shadow_in_http2(daemon: Daemon, nginx: Callable[..., Nginx]) -> None:
    production, shadow = nginx("now", http2=False), nginx("next")
    daemon.add("shop", production.port, f"h2c://127.0.0.1:{shadow.port}", methods="any")
    url = f"http://127.0.0.1:{production.port}"
    curl(*[f"{url}/item/{number}" for number in range(20)])
    curl("-H", "Transfer-Encoding: chunked", "-d", "in chunks", f"{url}/chunked")
    curl("-d", "with a length", f"{url}/length")
    ledger = daemon.settled("shop", lambda found: found["seen"] == 22)
    assert ledger["targets"][0]["mirrored"] == 22, ledger
    assert shadow.asked == production.asked
    assert {line[2] for line in shadow.log} == {"HTTP/2.0"}


@pytest.mark.parametrize("limit", ["requests", "streams"])
def test_a_shadow_that_says_goodbye_and_one_that_takes_one_at_a_time(
    daemon: Daemon, nginx: Callable[..., Nginx], limit: str
) -> None:
    """GOAWAY every twenty requests; one stream at once."""
    production, shadow = nginx("now"), nginx("next", **{limit: 20 if limit == "requests" else 1})
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}")
    h2load(production.port, 400, "-c", "2", "-m", "10", "--rps", "100")
    ledger = daemon.settled("shop", lambda found: found["seen"] == 400)
    assert ledger["targets"][0]["mirrored"] == 400, ledger
    assert shadow.asked == production.asked


@pytest.mark.parametrize(
    ("scheme", "spoken", "http2", "version"),
    [
        ("https", "auto", True, "HTTP/2.0"), ("https", "auto", False, "HTTP/1.1"), ("h2", "auto", True, "HTTP/2.0"),
        ("https", "http1", True, "HTTP/1.1"), ("https", "http2", True, "HTTP/2.0"), ("h2", "auto", False, ""),
    ],
)  # fmt: skip
def test_over_tls_both_agree_on_what_they_speak(
    daemon: Daemon, nginx: Callable[..., Nginx], certificate: Certificate, tmp_path: Path, scheme: str, spoken: str,
    http2: bool, version: str,
) -> None:  # fmt: skip
    """ALPN of production is h2. The shadow's is asked for, and HTTP/1 taken where that is all it has, unless somebody
    has said that it must be HTTP/2."""
    production = nginx("now", certificate=certificate)
    shadow = nginx("next", certificate=certificate, http2=http2)
    keys = tmp_path / "keys"
    url = f"{scheme}://localhost:{shadow.port}"
    daemon.add("shop", production.port, url, tls_keylog=str(keys), ca=str(certificate.chain), to_protocol=spoken)
    asked = f"https://localhost:{production.port}"
    urls = [word for number in range(40) for word in ("-o", "/dev/null", f"{asked}/item/{number}")]
    done = subprocess.run(
        ["curl", "-sS", "--http2", "--cacert", str(certificate.chain), "--parallel", *urls], capture_output=True,
        env={"SSLKEYLOGFILE": str(keys), "PATH": "/usr/bin:/bin"}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ledger = daemon.settled("shop", lambda found: found["seen"] == 40)
    if not version:
        target = ledger["targets"][0]
        assert set(target["failed"]) == {"tls"}
        assert target["failed"]["tls"] + target["shed"].get("circuit_open", 0) == 40
        return
    assert ledger["targets"][0]["mirrored"] == 40, ledger
    assert shadow.asked == production.asked
    assert {line[2] for line in shadow.log} == {version}


def test_a_connection_that_is_older_than_the_filter_is_counted_and_not_guessed(
    daemon: Daemon, nginx: Callable[..., Nginx]
) -> None:
    need(shutil.which("h2load") is not None, "needs h2load (nghttp2-client)")
    production, shadow = nginx("now"), nginx("next")
    command = ["h2load", "-n", "60", "-c", "1", "-m", "1", "--rps", "20", f"http://127.0.0.1:{production.port}/old"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    wait_for("it is under way", lambda: (production.folder / "log").exists() and len(production.log) > 3)
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}")
    out, _ = process.communicate(timeout=60)
    assert "60 succeeded" in out
    h2load(production.port, 20, "-c", "1")
    ledger = daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 20)
    assert ledger["lost"] == {"midstream": 1}
    assert {line[1] for line in shadow.log} == {"/item"}


def test_many_connections_at_once(daemon: Daemon, nginx: Callable[..., Nginx]) -> None:
    production, shadow = nginx("now"), nginx("next")
    daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}")
    url = f"http://127.0.0.1:{production.port}"
    words = [("-H", f"x-id: {number}", *[f"{url}/{number}/{turn}" for turn in range(5)]) for number in range(40)]
    threads = [threading.Thread(target=nghttp, args=one) for one in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 200)
    assert shadow.asked == production.asked
    assert all(re.fullmatch(rf"/{line[4]}/[0-4]", line[1]) for line in shadow.log)
