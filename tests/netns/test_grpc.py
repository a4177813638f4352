"""gRPC live: ``shadowctl demo --grpc`` names each fault that was planted, by status, field, time and memory; a schema
names fields and calls; dialogues are held with the shadow as they were with production."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from shadowd.errors import UsageError
from tests.conftest import ROOT
from tests.netns.grpc_shop import STREAMED, schema
from tests.netns.lab import Daemon, Server, free_port, running, wait_for
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
        events = stream["events"]
        # of calls that our own lateness did not touch: on a full host those are not timed
        assert events["production"] == events["candidate"] <= 20 * STREAMED, events
        assert events["candidate"] > 0
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


# --- dialogues --------------------------------------------------------------------------------------------------------


class Chat:
    """A server whose replies tell what it had heard and said by then: ``arrivals`` has, for each dialogue, how many
    replies were sent when each question came, and when the client's end did."""

    def __init__(self, drops: int = 0) -> None:
        self.arrivals: list[list[int]] = []
        self.limits: list[float | None] = []
        self._drops = drops  # the question that is never answered
        handler = grpc.stream_stream_rpc_method_handler(self._talk)
        self._server = grpc.server(ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("chat.Chat", {"Watch": handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _talk(self, questions: Iterator[bytes], context: Any) -> Iterator[bytes]:
        come: queue.Queue[bytes | None] = queue.Queue()
        seen: list[int] = []
        sent = 0

        def hear() -> None:
            with contextlib.suppress(Exception):  # the client may cancel
                for question in questions:
                    seen.append(sent)
                    come.put(question)
            seen.append(sent)
            come.put(None)

        self.arrivals.append(seen)
        self.limits.append(context.time_remaining())
        threading.Thread(target=hear, daemon=True).start()
        while (question := come.get()) is not None:
            time.sleep(0.02)  # what is not paced is here by now
            if len(seen) != self._drops:
                sent += 1
                yield b"\x08%c\x10%c\x1a%c%b" % (len(seen), sent, len(question), question)
        yield b"\x08%c" % len(seen)

    def close(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "d") as made:
        yield made


@pytest.fixture
def chat() -> Iterator[Callable[..., Chat]]:
    with contextlib.ExitStack() as ends:

        def make(**given: int) -> Chat:
            made = Chat(**given)
            ends.callback(made.close)
            return made

        yield make


def converse(port: int, questions: int, cancel: int = 0) -> None:
    """Ask, wait for the reply, ask again; and end behind the last reply."""
    replies: queue.Queue[bytes] = queue.Queue()

    def ask() -> Iterator[bytes]:
        for number in range(questions):
            yield b"question %d" % number
            replies.get()

    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.stream_stream("/chat.Chat/Watch")(ask(), timeout=50)
        with pytest.raises(grpc.RpcError) if cancel else contextlib.nullcontext():
            for number, reply in enumerate(call, 1):
                if number == cancel:
                    call.cancel()
                replies.put(reply)
        assert call.code() == (grpc.StatusCode.CANCELLED if cancel else grpc.StatusCode.OK)


QUESTIONS = 5
PACED = [0, 1, 2, 3, 4, 5]


def test_a_dialogue_is_held_with_the_shadow_as_it_was_with_production(
    daemon: Daemon, chat: Callable[..., Chat]
) -> None:
    production, shadow = chat(), chat()
    daemon.add("chat", production.port, f"http://127.0.0.1:{shadow.port}", twin=0.5)
    for _ in range(10):
        converse(production.port, QUESTIONS)
    ledger = daemon.settled("chat", lambda found: found["seen"] == 10)
    assert ledger["targets"][0]["mirrored"] == 10, ledger
    assert production.arrivals == [PACED] * 10, "the client waits for each reply"
    assert len(shadow.arrivals) >= 10
    assert {tuple(one) for one in shadow.arrivals} == {tuple(PACED)}
    # gRPC's library rounds its 50 s up to what it can say in few digits
    assert all(left is not None and 40 < left < 51 for left in shadow.limits), shadow.limits
    wait_for("all are compared", lambda: daemon.call("verdict", name="chat")["compared"] == 10)
    assert daemon.call("diffs", name="chat")["differences"] == []


def test_a_reply_that_the_shadow_drops_is_found_and_nothing_hangs(daemon: Daemon, chat: Callable[..., Chat]) -> None:
    production, shadow = chat(), chat(drops=3)
    daemon.add("chat", production.port, f"http://127.0.0.1:{shadow.port}", timeout=3)
    converse(production.port, QUESTIONS)
    ledger = daemon.settled("chat", lambda found: found["seen"] == 1)
    assert ledger["targets"][0]["mirrored"] == 1, ledger
    assert shadow.arrivals == [[0, 1, 2, 2, 3, 4]]
    found = wait_for("the difference is seen", lambda: daemon.call("diffs", name="chat")["differences"])
    assert ("body", "$") in {(one["where"], one["path"]) for one in found}


def test_dialogues_that_are_cancelled_or_cannot_be_held(daemon: Daemon, chat: Callable[..., Chat]) -> None:
    production = chat()
    shadow = Server()
    try:
        daemon.add("chat", production.port, f"http://127.0.0.1:{shadow.port}", to_protocol="http1")
        converse(production.port, QUESTIONS, cancel=2)
        converse(production.port, QUESTIONS)
        ledger = daemon.settled("chat", lambda found: found["seen"] == 2)
        assert ledger["filtered"] == {"cancelled": 1}
        assert ledger["targets"][0]["shed"] == {"interactive": 1}
        assert not shadow.connections
    finally:
        shadow.close()
