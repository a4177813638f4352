"""gRPC live: ``shadowctl demo --grpc`` names each fault that was planted, by status, field, time and memory; a schema
names fields and calls.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from shadowd.errors import UsageError
from tests.conftest import ROOT
from tests.netns.grpc_shop import STREAMED, schema
from tests.netns.lab import Daemon, free_port, running, wait_for
from tests.netns.test_mirror import listens

pytestmark = pytest.mark.usefixtures("root_user")


def test_the_demo_names_what_was_planted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shadowd.cli.shadowctl", "demo", "--grpc", "--json", "--seconds", "40"]
    done = subprocess.run(
        [*command, "--report", str(tmp_path / "report.html")], capture_output=True, text=True, timeout=150, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr + done.stdout[-3000:]
    shown = json.loads(done.stdout)
    account = shown["ledger"]["filters"][0]
    assert account["balanced"]
    assert set(account["filtered"]) == {"method"}  # PutItem, by its name
    assert not account["lost"]
    assert shown["production_errors"] == 0
    assert shown["verdict"]["verdict"] == "fail"
    found = {one["judge"]: one for one in shown["findings"]}
    assert found.keys() <= {"content", "errors", "latency", "memory"}, "nothing but what was planted"
    assert {"content", "errors"} <= found.keys()
    places = {"content": "POST /shop.Shop/GetOrder", "errors": "POST /shop.Shop/GetItem", "memory": ""}
    assert all(one["endpoint"] in (places.get(judge, "POST /shop.Shop/Search"), "") for judge, one in found.items())
    assert "$['2']" in found["content"]["sentence"]
    assert any("UNAVAILABLE" in str(one.get("signature")) for one in shown["findings"])


# --- by a schema ------------------------------------------------------------------------------------------------------

Shop = Callable[[int, float], int]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Starts one with this price, and this pause between a stream's messages; gives its port."""
    with ExitStack() as ends:

        def start(price: int, pause: float) -> int:
            port = free_port()
            words = [sys.executable, "-m", "tests.netns.grpc_shop", str(port), str(price), str(pause)]
            process = subprocess.Popen(words, cwd=ROOT)
            ends.callback(process.wait, 10)
            ends.callback(process.terminate)
            wait_for("the shop listens", lambda: listens(port), 30)
            return port

        yield start


def ask(port: int, count: int) -> None:
    words = [sys.executable, "-m", "tests.netns.grpc_shop", "--ask", str(port), str(count)]
    subprocess.run(words, cwd=ROOT, check=True, timeout=120)


def paths(daemon: Daemon, name: str) -> set[tuple[str, str]]:
    """Of differences, with their endpoints."""
    return {(one["endpoint"], one["path"]) for one in daemon.call("diffs", name=name)["differences"]}


def added(daemon: Daemon, name: str, port: int, shadow: int, descriptors: Path) -> Any:
    return daemon.add(name, port, f"http://127.0.0.1:{shadow}", descriptors=str(descriptors))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_schema_names_fields_and_calls_and_is_read_again(tmp_path: Path, shop: Shop, workers: int) -> None:
    api = tmp_path / "api.binpb"
    api.write_bytes(schema())
    production = shop(5, 0.02)
    with running(tmp_path / "d", f"workers = {workers}\n") as daemon:
        with pytest.raises(UsageError, match=r"nothing\.binpb cannot be read"):
            added(daemon, "bad", production, production, tmp_path / "nothing.binpb")
        (tmp_path / "text").write_text("syntax = 'proto3';")
        with pytest.raises(UsageError, match=r"is no FileDescriptorSet — write it with protoc --include_imports"):
            added(daemon, "bad", production, production, tmp_path / "text")
        added(daemon, "same", production, shop(5, 0.02), api)
        view = added(daemon, "other", production, shop(6, 0.06), api)
        assert any("4 methods, of which 1 declare NO_SIDE_EFFECTS" in words for words in view["words"])
        ask(production, 20)
        for name in ("same", "other"):
            ledger = daemon.settled(name, lambda found: found["seen"] == 80)
            assert ledger["filtered"] == {"method": 20}, "PutOrder alone"
            assert ledger["targets"][0]["mirrored"] == 60
        wait_for("all are compared", lambda: daemon.call("verdict", name="other")["compared"] == 60)
        named = {
            ("POST /shop.Shop/GetOrder", "$.items[*].unit_price"),
            ("POST /shop.Shop/Quote", "$.items[*].unit_price"),
        }
        wait_for("all are named", lambda: named <= paths(daemon, "other"))
        assert paths(daemon, "other") == named | {("POST /shop.Shop/WatchOrder", "$[*].items[*].unit_price")}
        assert paths(daemon, "same") == set()
        assert daemon.call("verdict", name="same")["verdict"] != "fail"
        endpoints = {one["endpoint"]: one for one in daemon.call("report", name="other")["endpoints"]}
        stream = endpoints["POST /shop.Shop/WatchOrder"]["stream"]
        assert stream["events"] == {"production": 20 * STREAMED, "candidate": 20 * STREAMED}
        assert stream["between_events_ms"]["candidate"]["p50"] > stream["between_events_ms"]["production"]["p50"]
        assert endpoints["POST /shop.Shop/GetOrder"].get("stream") is None, "one message is no stream"

        api.write_bytes(b"half a fi")
        problem = wait_for("the broken file is told", lambda: daemon.call("status")["problems"])
        assert any("the schema read before stays" in one for one in problem)
        fresh = tmp_path / "fresh"
        fresh.write_bytes(schema("price"))
        fresh.replace(api)
        wait_for("the new file is read", lambda: not daemon.call("status")["problems"])
        ask(production, 1)
        renamed = ("POST /shop.Shop/GetOrder", "$.items[*].price")
        wait_for("the new name is used", lambda: renamed in paths(daemon, "other"))
        assert paths(daemon, "same") == set()
