"""Two nodes that mirror their part of one release's traffic, and one verdict of both, on the real kernel."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import Daemon, Server, check_ledger, free_port, in_namespace, namespaces, running
from tests.netns.shop import Made, answered, ask, compared

pytestmark = pytest.mark.usefixtures("root_user")

EACH = 300
#: What a second of traffic can tell: nothing of latency, and errors and content within some per cent.
MINDED: dict[str, Any] = {"critical": ["errors", "content"], "max_error_increase": 0.05, "max_diff_share": 0.05}


class Node:
    """A daemon, production and the shadow of one node, each in the node's namespace."""

    def __init__(self, space: str, daemon: Daemon, shadow_port: int) -> None:
        self.space, self.daemon, self.shadow_port = space, daemon, shadow_port
        self.servers: list[Server] = []
        self.port = 0

    def serve(self, made: Made, port: int) -> Server:
        with in_namespace(self.space):
            self.servers.append(Server("127.0.0.1", port, answer=lambda number, head, body: answered(made, head)))
        return self.servers[-1]

    def begin(self, production: Made, candidate: Made, **fields: Any) -> None:
        self.port = free_port()  # its own: hooks see the flows of all namespaces of a host
        self.serve(production, self.port)
        shadow = self.serve(candidate, self.shadow_port)
        self.daemon.add("shop", self.port, shadow.url, **(MINDED | fields))
        self.daemon.call("run.start", name="shop", label="v2")

    def ask(self) -> None:
        with in_namespace(self.space):
            ask(self.port, EACH)

    def export(self, file: Path) -> str:
        compared(self.daemon, "shop", EACH)
        ctl("--socket", str(self.daemon.socket), "evidence", "export", "shop", "-o", str(file))
        return str(file)


def ctl(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "shadowd.cli.shadowctl", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, Daemon]]]:
    with namespaces("a", "b") as spaces, contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("fleet")
        made = [
            (space, running(folder / space, f'node = "edge-{number}"\n', space))
            for number, space in enumerate(spaces, 1)
        ]
        yield [(space, stack.enter_context(daemon)) for space, daemon in made]


@pytest.fixture
def nodes(fleet: list[tuple[str, Daemon]]) -> Iterator[list[Node]]:
    port = free_port()
    made = [Node(space, daemon, port) for space, daemon in fleet]
    yield made
    for node in made:
        check_ledger(node.daemon.ledger("shop"))
        node.daemon.call("filter.rm", name="shop")
        for server in node.servers:
            server.close()


def asked(nodes: list[Node], folder: Path) -> list[str]:
    """All at once; the files."""
    threads = [threading.Thread(target=node.ask) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    return [node.export(folder / f"{number}.evidence") for number, node in enumerate(nodes)]


def test_the_fleets_verdict_names_what_is_wrong(nodes: list[Node], tmp_path: Path) -> None:
    dice = random.Random(1)
    for node in nodes:
        node.begin(
            lambda number: {"n": number, "total": number * 3, "nonce": dice.random()},
            lambda number: {"n": number, "total": number * 3 + (number % 4 == 1), "nonce": dice.random()},
            twin=0.5,
        )
    files = asked(nodes, tmp_path)
    done = ctl("verdict", "--merge", *files, "--json")
    assert done.returncode == 1, done.stdout
    verdict = json.loads(done.stdout)
    assert (verdict["verdict"], verdict["filter"], verdict["run"]["label"]) == ("fail", "shop", "v2")
    assert (verdict["compared"], verdict["coverage"]) == (2 * EACH, 1.0)
    assert sorted(one["node"] for one in verdict["nodes"]) == ["edge-1", "edge-2"]
    (content,) = [found for found in verdict["findings"] if found["judge"] == "content"]
    assert (content["endpoint"], content["kind"]) == ("GET /orders/{id}", "value")
    assert "$.total" in content["path"]
    assert [one["path"] for one in verdict["not_judged"]] == ["$.nonce"]
    alone = ctl("verdict", "--merge", files[0], "--json")
    assert json.loads(alone.stdout)["compared"] == EACH
    twice = ctl("verdict", "--merge", files[0], files[0])
    assert (twice.returncode, "edge-1 is there twice" in twice.stderr) == (2, True)


def test_and_passes_a_release_that_is_the_same(nodes: list[Node], tmp_path: Path) -> None:
    dice = random.Random(2)
    for node in nodes:
        made: Made = lambda number: {"n": number, "nonce": dice.random()}  # noqa: E731
        node.begin(made, made, twin=0.5)
    files = asked(nodes, tmp_path)
    done = ctl("verdict", "--merge", *files, "--gate", "--label", "v2")
    assert (done.returncode, done.stdout) == (0, "pass\n"), done.stderr


def test_nodes_that_are_told_otherwise_are_not_merged(nodes: list[Node], tmp_path: Path) -> None:
    for number, node in enumerate(nodes):
        node.begin(lambda n: {"n": n}, lambda n: {"n": n}, max_error_increase=0.01 * (number + 1))
    done = ctl("verdict", "--merge", *asked(nodes, tmp_path))
    assert done.returncode == 2
    assert "max_error_increase differs: 0.01 and 0.02" in done.stderr
    assert len(done.stderr.splitlines()) == 1
