"""The comparison on the real kernel: live traffic in, verdicts, findings, noise, runs and the store out."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from tests.netns.lab import Daemon, HttpClient, Server, check_ledger, ok, running, wait_for
from tests.netns.shop import JSON, Made, ask, compared

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), "max_body = 4096\n") as started:
        yield started


@pytest.fixture
def name(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[str]:
    chosen = request.node.name.replace("_", "-").replace("[", "-").rstrip("]")[:60].lower()
    yield chosen
    for view in daemon.call("filter.ls"):
        check_ledger(daemon.ledger(view["spec"]["name"]))
        daemon.call("filter.rm", name=view["spec"]["name"])


def labels(daemon: Daemon, name: str) -> dict[str, str]:
    return {one["path"]: one["label"] for one in daemon.call("diffs", name=name)["differences"]}


def test_a_wrong_field_is_named_and_a_nonce_is_not(
    daemon: Daemon, servers: Callable[[Made], Server], name: str
) -> None:
    dice = random.Random(1)
    production = servers(lambda number: {"n": number, "total": number * 3, "nonce": dice.random()})
    shadow = servers(lambda number: {"n": number, "total": number * 3 + (number % 4 == 1), "nonce": dice.random()})
    daemon.add(name, production.port, shadow.url, twin=0.5)
    ask(production.port, 500)  # seven connections: every fourth request is wrong on each of them
    verdict = compared(daemon, name, 500)
    assert verdict["verdict"] == "fail"
    (content,) = [found for found in verdict["findings"] if found["judge"] == "content"]
    assert (content["endpoint"], content["kind"]) == ("GET /orders/{id}", "value")
    assert "$.total" in content["path"]
    assert labels(daemon, name) == {"$.total": "regression", "$.nonce": "not judged"}
    assert [one["path"] for one in daemon.call("noise.ls", name=name)["learned"]] == ["$.nonce"]
    ledger = daemon.settled(name, lambda found: found["seen"] == 500)
    twins = ledger["targets"][0]["twins"]
    assert (ledger["targets"][0]["mirrored"], twins["in_flight"]) == (500, 0)
    assert 150 < twins["answered"] < 350, "twins are outside the identity, and counted"
    group = next(one["id"] for one in daemon.call("diffs", name=name)["differences"] if one["path"] == "$.total")
    shown = daemon.call("diff", name=name, id=group)
    assert '"total"' in shown["examples"][0]["production"]["body"]


def test_a_baseline_sees_a_fault_that_strikes_at_random(
    daemon: Daemon, servers: Callable[[Made], Server], name: str
) -> None:
    dice = random.Random(2)
    production, baseline = servers(lambda number: {"n": number}), servers(lambda number: {"n": number})
    # of so many that each of the seven connections meets some: fewer than a quarter of the others' share would be a pod
    shadow = servers(lambda number: {"n": number if dice.random() > 0.2 else -1})
    targets = [{"url": shadow.url}, {"url": baseline.url, "role": "baseline"}]
    spec = {"name": name, "ports": [str(production.port)], "targets": targets, "min_span": 1}
    daemon.call("filter.add", spec=spec)
    ask(production.port, 600)
    verdict = compared(daemon, name, 600)
    assert verdict["mode"] == "baseline"
    assert labels(daemon, name) == {"$.n": "regression"}
    assert len(baseline.requests) == len(shadow.requests) == 600, "nobody is asked twice"


def test_errors_have_a_signature_and_so_has_a_dead_shadow(
    daemon: Daemon, servers: Callable[[Made], Server], name: str
) -> None:
    production = servers(lambda number: {"n": number})
    shadow = servers(lambda number: {"status": b"500 Oops"} if number % 10 == 0 else {"n": number})
    daemon.add(name, production.port, shadow.url)
    ask(production.port, 400)
    verdict = compared(daemon, name, 400)
    (errors,) = [found for found in verdict["findings"] if found["judge"] == "errors"]
    assert "stock lookup failed" in errors["signature"]["title"]
    shadow.close()
    ask(production.port, 100)
    daemon.settled(name, lambda found: found["seen"] == 500)
    verdict = compared(daemon, name, 401)
    refused = [one["title"] for one in daemon.call("report", name=name)["signatures"]]
    assert any("refused" in title for title in refused), refused
    assert verdict["coverage"] <= 1


def test_the_same_content_framed_and_coded_otherwise_is_equal(daemon: Daemon, name: str) -> None:
    body = json.dumps({"items": list(range(200)), "b": 1}).encode()
    shuffled = gzip.compress(json.dumps({"b": 1.0, "items": list(range(200))}).encode())
    chunked = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (shuffled[:50], shuffled[50:]))
        + b"0\r\n\r\n"
    )
    production = Server(answer=lambda number, head, sent: ok(body, headers=JSON))
    shadow = Server(answer=lambda number, head, sent: chunked)
    daemon.add(name, production.port, shadow.url, ignore_header=["Content-Encoding"])
    ask(production.port, 30)
    compared(daemon, name, 30)
    assert daemon.call("diffs", name=name)["differences"] == []
    production.close()
    shadow.close()


def test_a_body_beyond_the_limit_is_compared_by_digest(daemon: Daemon, name: str) -> None:
    production = Server(answer=lambda number, head, sent: ok(b"x" * 20_000))
    shadow = Server(
        answer=lambda number, head, sent: ok(b"x" * (19_999 + (b"/same" in head)) + b"y" * (b"/same" not in head))
    )
    daemon.add(name, production.port, shadow.url)
    ask(production.port, 20, "/same/{}")
    compared(daemon, name, 20)
    assert daemon.call("diffs", name=name)["differences"] == []
    ask(production.port, 20, "/other/{}")
    compared(daemon, name, 40)
    (found,) = daemon.call("diffs", name=name)["differences"]
    assert (found["where"], found["kind"], found["count"]) == ("body", "digest", 20)
    production.close()
    shadow.close()


def test_a_filtered_write_makes_later_differences_drift(
    daemon: Daemon, servers: Callable[[Made], Server], name: str
) -> None:
    state = {"written": 0}
    production = servers(lambda number: {"n": number, "written": state["written"]})
    shadow = servers(lambda number: {"n": number, "written": 0})
    daemon.add(name, production.port, shadow.url, twin=0.5)
    client = HttpClient("127.0.0.1", production.port)
    client.send(b"PUT /orders/7 HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\n\r\nhi")
    client.receive()
    state["written"] = 1
    for _ in range(60):
        client.get("/orders/7")
    verdict = compared(daemon, name, 60)
    assert labels(daemon, name) == {"$.written": "drift"}
    assert verdict["drift"]["exchanges"] == 60
    assert verdict["verdict"] == "inconclusive"
    assert not [request for request in shadow.requests if request.startswith(b"PUT")]


def test_rules_take_effect_survive_a_restart_and_are_taken_back(
    daemon: Daemon, servers: Callable[[Made], Server], name: str
) -> None:
    production = servers(lambda number: {"n": number})
    shadow = servers(lambda number: {"n": number, "currency": "EUR"})
    daemon.add(name, production.port, shadow.url)
    rule = {"where": "body", "path": "$.currency", "change": "extra"}
    wait_for("the run is stored", lambda: daemon.call("run.ls", name=name))
    daemon.call("expect.add", name=name, rule=rule)
    os.kill(daemon.pid, signal.SIGKILL)
    assert daemon.process is not None
    daemon.process.wait(20)
    daemon.client.close()
    daemon.start()
    wait_for("the rules are read", lambda: daemon.call("expect.ls", name=name)["rules"])
    ask(production.port, 50)
    compared(daemon, name, 50)
    assert labels(daemon, name) == {"$.currency": "expected"}
    daemon.call("expect.rm", name=name, rule=rule)
    assert labels(daemon, name) == {"$.currency": "undecided"}
    runs = daemon.call("run.ls", name=name)
    assert [run["reason"] for run in runs][-1] == "daemon ended"


def test_runs_begin_anew_and_end_by_their_key(daemon: Daemon, servers: Callable[[Made], Server], name: str) -> None:
    production = servers(lambda number: {"n": number})
    version = {"now": b"1"}
    shadow = Server(answer=lambda number, head, body: ok(b"{}", headers=b"X-Version: " + version["now"] + b"\r\n"))
    daemon.add(name, production.port, shadow.url, run_key="X-Version")
    ask(production.port, 20)
    compared(daemon, name, 20)
    daemon.call("run.start", name=name, label="v2.3.1")
    verdict = daemon.call("verdict", name=name)
    assert (verdict["compared"], verdict["run"]["label"]) == (0, "v2.3.1")
    ask(production.port, 20)
    compared(daemon, name, 20)
    version["now"] = b"2"
    ask(production.port, 20)
    wait_for("another run begins", lambda: daemon.call("verdict", name=name)["run"]["label"] == "")
    shadow.close()


def test_what_is_stored_is_redacted(daemon: Daemon, servers: Callable[[Made], Server], name: str) -> None:
    production = servers(lambda number: {"n": number, "password": "hunter2-of-production"})
    shadow = servers(lambda number: {"n": -1, "password": "hunter2-of-shadow"})
    daemon.add(name, production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    for number in range(10):
        client.get(
            f"/orders/{number}", "Authorization: Bearer abcdefghijklmnopqrstuvwxyz012345\r\nCookie: sid=s3cr3tsid\r\n"
        )
    compared(daemon, name, 10)
    path = daemon.folder / "state" / "shadowd.db"

    def stored() -> int:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
            return int(store.execute("SELECT count(*) FROM examples").fetchone()[0])

    wait_for("examples are stored", stored)
    groups = daemon.call("diffs", name=name)["differences"]
    shown = json.dumps([daemon.call("diff", name=name, id=group["id"]) for group in groups] + groups)
    for secret in ("hunter2", "abcdefghijklmnop", "s3cr3tsid"):
        assert secret not in shown
    assert "[redacted:" in shown
    assert path.stat().st_mode & 0o077 == 0


def test_without_content_measures_alone_are_kept(daemon: Daemon, servers: Callable[[Made], Server], name: str) -> None:
    """Neither what people wrote nor what they were answered is stored or shown; what differs is found all the same."""
    production = servers(lambda number: {"n": number, "patient": "Marigold Featherstone"})
    shadow = servers(lambda number: {"n": number, "patient": "Barnaby Quillfeather"})
    daemon.add(name, production.port, shadow.url, methods="any", no_content=True)
    client = HttpClient("127.0.0.1", production.port)
    for number in range(10):
        client.get(f"/orders/{number}", "X-Ward: Thistledown\r\n")
    report = compared(daemon, name, 10)
    path = daemon.folder / "state" / "shadowd.db"

    def stored() -> int:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
            return int(
                store.execute("SELECT count(*) FROM groups WHERE run = (SELECT max(run) FROM groups)").fetchone()[0]
            )

    groups = daemon.call("diffs", name=name)["differences"]
    assert [(one["path"], one["count"]) for one in groups] == [("$.patient", 10)]
    wait_for("the group is stored", stored)
    shown = json.dumps([daemon.call("diff", name=name, id=group["id"]) for group in groups] + groups)
    shown += json.dumps(daemon.call("report", name=name)) + json.dumps(report)
    files = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())
    for word in ("Marigold", "Barnaby", "Thistledown"):
        assert word not in shown
        assert word.encode() not in files
