"""A page in a browser that speaks all three, within TLS: HTTP/2, gRPC-web and a WebSocket, through nginx."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shadowd.demo.children import Child
from tests.netns.lab import Daemon, running, wait_for
from tests.netns.talkserver import TalkServer
from tests.netns.test_http2 import Nginx
from tests.netns.test_websocket_demo import BROWSER, OPTIONS
from tests.unit.certificates import Certificate

pytestmark = pytest.mark.usefixtures("root_user")

ITEMS, CALLS, TURNS = 12, 4, 5
PAGE = """<!doctype html><title>all three</title><script>
async function all() {
  await Promise.all([...Array(%(items)d).keys()].map(n => fetch(`/item/${n}`)));
  for (let n = 0; n < %(calls)d; n++) {
    const message = new Uint8Array([0, 0, 0, 0, 2, 8, n]);
    await fetch("/shop.Shop/GetItem", {
      method: "POST", body: message, headers: {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}});
  }
  const socket = new WebSocket(`wss://${location.host}/talk`);
  let n = 0;
  const next = () => n < %(turns)d ? socket.send(JSON.stringify({type: "price", item: `rope ${n++}`})) : socket.close();
  socket.onopen = next;
  socket.onmessage = next;
}
all();
</script>"""
LOCATIONS = """
        location = /page { default_type text/html; root %(folder)s; }
        location /talk { proxy_pass http://127.0.0.1:%(talk)d; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }
        location /shop.Shop/ { proxy_pass http://127.0.0.1:%(calls)d; }
"""


class Calls(ThreadingHTTPServer):
    """gRPC-web over HTTP/1, for nginx: each call is answered with twice its number, and a trailer frame."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Call)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class Call(BaseHTTPRequestHandler):
    server: Calls

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(asked)
        trailers = b"grpc-status: 0\r\n"
        body = b"\0\0\0\0\x02\x08" + bytes([2 * asked[-1]]) + b"\x80" + len(trailers).to_bytes(4, "big") + trailers
        self.send_response(200)
        self.send_header("Content-Type", "application/grpc-web+proto")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Site:
    """nginx before both."""

    def __init__(self, folder: Path, certificate: Certificate, ends: ExitStack) -> None:
        self.talk, self.calls = TalkServer(), Calls()
        ends.callback(self.talk.end)
        ends.callback(self.calls.end)
        more = LOCATIONS % {"folder": folder, "talk": self.talk.port, "calls": self.calls.server_address[1]}
        self.nginx = Nginx(folder, certificate=certificate, more=more)
        ends.callback(self.nginx.close)
        (folder / "page").write_text(PAGE % {"items": ITEMS, "calls": CALLS, "turns": TURNS})


@pytest.fixture
def sites(tmp_path: Path, certificate: Certificate) -> Iterator[Callable[[str], Site]]:
    with ExitStack() as ends:
        yield lambda name: Site(tmp_path / name, certificate, ends)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "d") as made:
        yield made


def test_a_page_that_uses_all_three(
    tmp_path: Path, daemon: Daemon, sites: Callable[[str], Site], certificate: Certificate
) -> None:
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    production, shadow = sites("now"), sites("next")
    keys = tmp_path / "keys"
    daemon.add(
        "site", production.nginx.port, f"https://localhost:{shadow.nginx.port}", tls_keylog=str(keys),
        ca=str(certificate.chain), websocket=True,
    )  # fmt: skip
    command = [
        BROWSER, *OPTIONS, "--ignore-certificate-errors", f"--ssl-key-log-file={keys}",
        f"--user-data-dir={tmp_path / 'profile'}", f"https://127.0.0.1:{production.nginx.port}/page",
    ]  # fmt: skip
    browser = Child("browser", command, tmp_path)
    try:
        wait_for("the talk is over", lambda: production.talk.closes, 60)
    finally:
        browser.stop()
    assert Counter(message for heard in production.talk.log for message, _ in heard).total() == TURNS
    whole = 1 + ITEMS + CALLS + 1 + TURNS
    ledger = daemon.settled("site", lambda found: found["seen"] >= whole, 30)
    target = ledger["targets"][0]
    beside = ledger["seen"] - whole  # a browser asks for /favicon.ico when it likes
    assert beside <= 1, ledger
    assert target["mirrored"] == ledger["seen"] - sum(ledger["filtered"].values()), ledger
    assert not ledger["lost"]
    assert not ledger["filtered"]
    assert shadow.talk.log == production.talk.log
    assert shadow.calls.asked == production.calls.asked
    spoken = {line[1]: line[2] for line in shadow.nginx.log if line[1].startswith("/item")}
    assert len(spoken) == ITEMS
    assert set(spoken.values()) == {"HTTP/2.0"}
    assert daemon.call("diffs", name="site")["differences"] == []
