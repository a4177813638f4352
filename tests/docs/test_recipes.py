"""docs/recipes.md, and README.md's tour: every block is given to a shell as it stands, names and ports replaced,
against services that differ as the page says; what it says comes of it is what came.

One daemon mirrors for all of them. A verdict asks for a second of evidence where the page's asks for a minute.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ROOT, need
from tests.faults.test_redis import Redis
from tests.netns.grpc_shop import schema
from tests.netns.lab import Daemon, HttpClient, Server, free_port, ok, running, wait_for
from tests.netns.shop import JSON
from tests.netns.talkserver import TalkServer, converse
from tests.netns.test_mirror import listens
from tests.netns.test_tls import TlsClient, TlsServer
from tests.unit.certificates import Certificate

from .commands import WHOLE, scripts

pytestmark = pytest.mark.usefixtures("root_user")

SLOW = 0.03  # seconds that the next version takes longer for /search
LIMIT = 120.0  # seconds for a block, on a machine that is busy with something else
#: What every block is given for its minutes.
SOON = {"--to ": "--min-span 1s --warmup off --to "}


BLOCKS = scripts(ROOT / "docs" / "recipes.md")
TOUR = "Five minutes, two terminals"  # of README.md


class Shop:
    """Production that is asked all the time from ``open`` on, and its next version: another total in a seventh of the
    orders, a slow search, and ids of its own in both."""

    def __init__(self) -> None:
        self._ids = itertools.count()
        self.now = Server(answer=lambda number, head, body: self._answer(head, False))
        self.next = Server(answer=lambda number, head, body: self._answer(head, True))
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(4)]
        for thread in self._threads:
            thread.start()

    def _answer(self, head: bytes, changed: bool) -> bytes:
        path = head.split(b" ", 2)[1].decode()
        number = int(re.sub(r"\D", "", path) or 0)
        if path.startswith("/search"):
            time.sleep(SLOW * changed)
            return ok(b'{"hits": []}', headers=JSON)
        total = number * 3 + (changed and number % 7 == 3)
        return ok(json.dumps({"total": total, "requestId": f"r-{next(self._ids)}"}).encode(), headers=JSON)

    def _ask(self, first: int) -> None:
        number = first
        while not self._over.is_set():  # a new connection now and then: some are older than a block's filter
            client = HttpClient("127.0.0.1", self.now.port)
            for _ in range(40):
                number += 4
                client.get(f"/search?q={number % 9}" if number % 3 == 2 else f"/orders/{number % 1000}")
                if self._over.wait(0.02):
                    break
            client.close()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        self.now.close()
        self.next.close()


class Kitchen:
    """Where blocks are given: a folder, a daemon, and ``shadowctl`` on the path."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon, self.folder = daemon, folder
        self.cooked: list[str] = []  # blocks, as they stand in the page
        program = folder / "bin" / "shadowctl"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m shadowd.cli.shadowctl "$@"\n')
        program.chmod(0o755)

    def cook(
        self, block: str, names: Mapping[str, str], socket: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Give a block to bash, which ends at its first error. Each of ``names`` stands in it."""
        self.cooked.append(block)
        for name, own in names.items():
            assert name in block, f"the recipe no longer says {name!r}"
            block = block.replace(name, own)
        environment = {
            **os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "NO_COLOR": "1",
            "SHADOWD_SOCKET": str(socket or self.daemon.socket),
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", block], capture_output=True, text=True, timeout=LIMIT,
            cwd=self.folder, env=environment, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def differing(self, name: str) -> set[tuple[str, str]]:
        return {(one["endpoint"], one["path"]) for one in self.daemon.call("diffs", name=name)["differences"]}

    def finds(self, name: str, endpoint: str, path: str) -> None:
        wait_for(f"{path} differs", lambda: (endpoint, path) in self.differing(name), LIMIT)


@pytest.fixture(scope="module")
def kitchen(root_user: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    folder = tmp_path_factory.mktemp("recipes")
    with running(folder / "daemon", 'node = "edge-1"\n') as daemon:
        yield Kitchen(daemon, folder)


@pytest.fixture(autouse=True)
def filters_end(kitchen: Kitchen) -> Iterator[None]:
    yield
    for view in kitchen.daemon.call("filter.ls"):
        kitchen.daemon.call("filter.rm", name=view["name"])


@pytest.fixture
def shop(kitchen: Kitchen) -> Iterator[Shop]:
    made = Shop()
    yield made
    made.close()


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def usual(shop: Shop) -> dict[str, str]:
    """The shop is open, and this is where."""
    shop.open()
    return {**SOON, "--port 8080": f"--port {shop.now.port}", "http://next:8080": shop.next.url}


def begin(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *words], cwd=ROOT)


# --- the recipes ------------------------------------------------------------------------------------------------------


def one_line(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    (block,) = BLOCKS["Try a release in one line"]
    first, second = scripts(ROOT / "README.md")[TOUR]
    ports = [free_port(), free_port()]
    for name, port in zip(("8080", "8081"), ports, strict=True):
        first = first.replace(name, str(port))
    services = subprocess.Popen(["bash", "-c", first], cwd=kitchen.folder, process_group=0, stdout=subprocess.DEVNULL)
    ends.callback(services.wait, 20)
    ends.callback(os.killpg, services.pid, signal.SIGTERM)
    wait_for("both versions are served", lambda: all(map(listens, ports)), 60)
    done = kitchen.cook(
        block,
        {"sudo ": "", "--port 8080": f"--port {ports[0]}", "next:8080": f"127.0.0.1:{ports[1]}", "5m": "4s", **SOON},
    )
    assert done.returncode in (1, 3), done.stderr  # the guard of a full host may leave little to judge
    assert re.search(r"(FAIL|INCONCLUSIVE)  score \d+ of 100", done.stdout)
    assert "$.hat" in done.stdout
    assert "<html" in (kitchen.folder / "report.html").read_text()
    assert second == "sudo .venv/bin/shadowctl try --port 8080 --to http://127.0.0.1:8081 --for 90s\n", "the same"


def gate(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    (block,) = BLOCKS["Gate a pipeline"]
    done = kitchen.cook(block, usual(shop))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "fail"), done.stderr
    assert done.stderr.strip()


def pull_request(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    (block,) = BLOCKS["Put the report into a pull request"]
    done = kitchen.cook(block, usual(shop))
    assert done.returncode == 0, done.stderr
    assert "not safe: 1" in done.stdout
    comment = (kitchen.folder / "comment.md").read_text()
    assert "Fail" in comment
    assert ".total" in comment
    assert "<html" in (kitchen.folder / "report.html").read_text()


def noise(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    (block,) = BLOCKS["Ignore a noisy field"]
    done = kitchen.cook(block, usual(shop))
    assert done.returncode == 0, done.stderr
    assert "$.requestId" in done.stdout.splitlines()[-1]
    kitchen.finds("shop", "GET /orders/{id}", "$.requestId")
    found = kitchen.daemon.call("diffs", name="shop")["differences"]
    assert {one["label"] for one in found if one["path"] == "$.requestId"} == {"noise"}
    assert kitchen.cook("shadowctl noise rm shop --path '$.requestId'", {}).returncode == 0  # rules outlive filters


def one_path(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    (block,) = BLOCKS["Mirror only reads of one path"]
    asked = Server()
    ends.callback(asked.close)
    done = kitchen.cook(block, {**usual(shop), "http://next:8080": asked.url})
    assert done.returncode == 0, done.stderr

    def look() -> bool:
        client = HttpClient("127.0.0.1", shop.now.port)  # each connection is one draw of the ten
        client.get("/orders/1")
        client.get("/search?q=1")
        client.send(b"POST /orders/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        client.receive()
        client.close()
        return {"path", "method"} <= kitchen.daemon.ledger("orders")["filtered"].keys() and bool(asked.requests)

    wait_for("some of the connections are mirrored", look, LIMIT)
    assert {request.split(b" ")[0] for request in asked.requests} == {b"GET"}
    assert all(request.split(b" ")[1].startswith(b"/orders/") for request in asked.requests)


def slow(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    need(shutil.which("jq") is not None, "needs jq")
    (block,) = BLOCKS["Find a slow endpoint"]
    done = kitchen.cook(block, {**usual(shop), "sleep 60": "sleep 4"})
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    assert {line[0] for line in lines} == {"GET /search", "GET /orders/{id}"}
    assert lines[0][0] == "GET /search"
    assert float(lines[0][2]) >= SLOW * 1000


def grpc(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    (block,) = BLOCKS["gRPC by its schema"]
    (kitchen.folder / "api.binpb").write_bytes(schema())
    ports = [free_port(), free_port()]
    for port, price in zip(ports, ("5", "6"), strict=True):
        process = begin("-m", "tests.netns.grpc_shop", str(port), price, "0")
        ends.callback(process.wait, 20)
        ends.callback(process.terminate)
    wait_for("both listen", lambda: all(map(listens, ports)), 60)
    names = {"--port 50051": f"--port {ports[0]}", "http://next:50051": f"http://127.0.0.1:{ports[1]}"}
    done = kitchen.cook(block, names)
    assert done.returncode == 0, done.stderr
    assert begin("-m", "tests.netns.grpc_shop", "--ask", str(ports[0]), "5").wait(LIMIT) == 0
    kitchen.finds("api", "POST /shop.Shop/GetOrder", "$.items[*].unit_price")
    assert kitchen.daemon.settled("api")["filtered"] == {"method": 5}  # PutOrder, by its name


def websocket(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    (block,) = BLOCKS["WebSockets"]
    now, then = TalkServer(), TalkServer(price=9)
    ends.callback(now.end)
    ends.callback(then.end)
    done = kitchen.cook(block, {"--port 8080": f"--port {now.port}", "http://next:8080": then.url})
    assert done.returncode == 0, done.stderr
    converse(now.port, 3)
    kitchen.finds("talk", "WEBSOCKET /talk price", "$.events[*].price.data.usd")


def tls(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    need(os.uname().machine == "x86_64", "probes are for x86-64")
    (block,) = BLOCKS["A service that speaks TLS"]
    certificate = Certificate(kitchen.folder)
    servers = [TlsServer(certificate.server(), kitchen.folder / f"{name}.keys") for name in ("now", "next")]
    for server in servers:
        ends.callback(server.close)
    names = {
        "--port 443": f"--port {servers[0].port}", "https://next": f"https://localhost:{servers[1].port}",
        "/etc/ssl/ours.pem": str(certificate.chain),
    }  # fmt: skip
    done = kitchen.cook(block, names)
    assert done.returncode == 0, done.stderr

    def look() -> bool:
        with contextlib.closing(TlsClient(certificate.client(), servers[0].port)) as client:
            client.get("/sealed")
        return any(request.startswith(b"GET /sealed ") for request in servers[1].requests)

    wait_for("what was said in TLS is said to the shadow", look, LIMIT)


def prompt(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    (block,) = BLOCKS["Try another prompt"]
    (kitchen.folder / "prompt-v2.txt").write_text("You are brief.")
    answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]})
    now, candidate, same = (Server(answer=lambda number, head, body: ok(answer.encode(), headers=JSON)) for _ in "123")
    for server in (now, candidate, same):
        ends.callback(server.close)
    names = {"--port 8000": f"--port {now.port}", "http://next:8000": candidate.url, "http://same:8000": same.url}
    done = kitchen.cook(block, names)
    assert done.returncode == 0, done.stderr
    messages = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Is it open?"}]
    body = json.dumps({"model": "m", "messages": messages})
    with contextlib.closing(HttpClient("127.0.0.1", now.port)) as client:
        client.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body.encode())
        )
        client.receive()
    wait_for("both are asked", lambda: candidate.requests and same.requests, LIMIT)
    asked = [json.loads(one.requests[0].partition(b"\r\n\r\n")[2])["messages"] for one in (candidate, same)]
    assert asked[0] == [{"role": "system", "content": "You are brief."}, messages[1]]
    assert asked[1] == messages


def redis(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    need(all(shutil.which(f"redis-{name}") for name in ("server", "cli")), "needs redis")
    (block,) = BLOCKS["Redis"]
    pair = [Redis(kitchen.folder / name) for name in ("redis-now", "redis-next")]
    for server in pair:
        ends.callback(server.close)
    names = {"--port 6379": f"--port {pair[0].port}", "tcp://next:6379": f"tcp://127.0.0.1:{pair[1].port}"}
    done = kitchen.cook(block, names)
    assert done.returncode == 0, done.stderr
    assert pair[0].ask("set", "hat", "5") == "OK"
    wait_for("the shadow is told", lambda: pair[1].ask("get", "hat") == "5", LIMIT)


def hosts(kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    each, merge = BLOCKS["One verdict of several hosts"]
    other = ends.enter_context(running(kitchen.folder / "other", 'node = "edge-2"\n'))

    names = usual(shop)

    def mirror(node: str, daemon: Daemon) -> None:
        done = kitchen.cook(each, {**names, "sleep 300": "sleep 4", "$(hostname)": node}, daemon.socket)
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(2) as both:
        list(both.map(mirror, ("edge-1", "edge-2"), (kitchen.daemon, other)))
    done = kitchen.cook(merge, {})
    assert (done.returncode, done.stdout) == (1, "fail\n"), done.stderr


COOKED: dict[str, Callable[[Kitchen, Shop, ExitStack], None]] = {
    "Try a release in one line": one_line,
    "Gate a pipeline": gate,
    "Put the report into a pull request": pull_request,
    "Ignore a noisy field": noise,
    "Mirror only reads of one path": one_path,
    "Find a slow endpoint": slow,
    "gRPC by its schema": grpc,
    "WebSockets": websocket,
    "A service that speaks TLS": tls,
    "Try another prompt": prompt,
    "Redis": redis,
    "One verdict of several hosts": hosts,
}


@pytest.mark.parametrize("title", COOKED)
def test_recipe(title: str, kitchen: Kitchen, shop: Shop, ends: ExitStack) -> None:
    del kitchen.cooked[:]
    COOKED[title](kitchen, shop, ends)
    assert set(BLOCKS[title]) <= set(kitchen.cooked)


def test_every_block_is_cooked() -> None:
    assert list(BLOCKS) == list(COOKED)
    assert set(WHOLE) == {"README.md", "docs/recipes.md"}
    assert list(scripts(ROOT / "README.md")) == [TOUR]


def test_a_recipe_that_changed_is_noticed(kitchen: Kitchen) -> None:
    with pytest.raises(AssertionError, match="no longer says"):
        kitchen.cook("shadowctl status", {"--port 8080": "--port 1"})
    assert kitchen.cook("shadowctl status --no-such\necho on", {}).stdout == ""
