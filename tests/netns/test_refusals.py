"""What the daemon refuses leaves everything as it was, and what it says stays true: on the real kernel."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shadowd.capture.preflight import find_cgroup2
from shadowd.errors import ShadowdError, UsageError
from tests.conftest import need
from tests.netns.lab import Daemon, HttpClient, Server, running, sh, wait_for

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


@pytest.fixture(autouse=True)
def _clean(daemon: Daemon) -> Iterator[None]:
    yield
    for view in daemon.call("filter.ls"):
        if view["origin"] == "control":
            daemon.call("filter.rm", name=view["spec"]["name"])


@pytest.fixture
def production() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def shadow() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    root = find_cgroup2()
    need(root is not None, "needs a cgroup v2 mount")
    assert root is not None
    made = root / f"shadowd-test-refusals-{os.getpid()}"
    made.mkdir()
    yield made
    if made.is_dir():
        made.rmdir()


def shown(daemon: Daemon, name: str) -> tuple[object, ...]:
    """A filter's settings, and the bit that it has in the kernel: a new one means that it was applied anew."""
    view = daemon.call("filter.show", name=name)
    return view["spec"], view["state"], view["bit"]


REFUSED = [
    {"to": "https://127.0.0.1:1", "ca": "/nonexistent.pem"},
    {"cgroup": "no/such/cgroup"},
    {"client_cidrs": [f"10.{i}.0.0/24" for i in range(256)]},
]


@pytest.mark.parametrize("changes", REFUSED, ids=["certificate", "cgroup", "networks"])
def test_a_refused_change_changes_nothing(
    daemon: Daemon, production: Server, shadow: Server, changes: dict[str, object]
) -> None:
    """Above all not the methods: a write must not reach the shadow because something else was wrong."""
    daemon.add("shop", production.port, shadow.url)
    if "client_cidrs" in changes:  # 16 filters of 256 networks fill the kernel's table of 4096, with ::/0
        for index in range(15):
            networks = [f"172.{index}.{i}.0/24" for i in range(256)]
            daemon.add(f"wide-{index}", 1, shadow.url, client_cidrs=networks)
    before = shown(daemon, "shop")
    with pytest.raises(ShadowdError, match="—"):
        daemon.call("filter.set", name="shop", changes={"methods": "any", "match_path": "^/no", **changes})
    assert shown(daemon, "shop") == before
    client = HttpClient("127.0.0.1", production.port)
    client.send(b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
    client.receive()
    client.get("/items")
    client.close()
    ledger = daemon.settled("shop", lambda found: found["seen"] == 2)
    assert ledger["filtered"] == {"method": 1}
    assert ledger["targets"][0]["mirrored"] == 1
    assert [request[:4] for request in shadow.requests] == [b"GET "]


def test_a_cgroup_that_is_gone_hinders_no_other_filter(
    daemon: Daemon, production: Server, shadow: Server, cgroup: Path
) -> None:
    daemon.call("filter.add", spec={"name": "unit", "cgroup": cgroup.name, "to": shadow.url})
    cgroup.rmdir()  # its service stopped
    daemon.add("shop", production.port, shadow.url)
    daemon.call("filter.set", name="shop", changes={"sample": "50%"})
    daemon.call("filter.set", name="shop", changes={"sample": 1})
    client = HttpClient("127.0.0.1", production.port)
    client.get("/items")
    client.close()
    daemon.settled("shop", lambda found: found["targets"][0]["mirrored"] == 1)
    daemon.call("filter.pause", name="unit")
    daemon.call("filter.resume", name="unit")
    daemon.call("filter.rm", name="shop")
    assert [view["spec"]["name"] for view in daemon.call("filter.ls")] == ["unit"]
    daemon.call("filter.rm", name="unit")
    wait_for("everything is detached without filters", lambda: daemon.call("status")["hooks"] == [])


def test_a_reload_that_cannot_run_here_changes_nothing(tmp_path: Path, production: Server, shadow: Server) -> None:
    """A file may be well and yet ask for what this host has not."""
    first = f'[[filters]]\nname = "one"\nports = {production.port}\nto = "{shadow.url}"\n'
    with running(tmp_path, first) as daemon:
        before = shown(daemon, "one")
        daemon.config.write_text(
            f'http = ""\n[[filters]]\nname = "two"\nports = 1\nto = "{shadow.url}"\n'
            '[[filters]]\nname = "three"\nports = 1\nto = "https://a"\nca = "/nonexistent.pem"\n'
        )
        with pytest.raises(UsageError, match="certificate"):
            daemon.call("reload")
        assert shown(daemon, "one") == before
        assert len(daemon.call("filter.ls")) == 1


def test_a_reload_says_which_settings_wait_for_a_start(tmp_path: Path) -> None:
    """Those of the command line go before the file and have not changed."""
    with running(tmp_path) as daemon:
        before = daemon.config.read_text()
        assert daemon.call("reload")["note"] == ""
        daemon.config.write_text(before + '\nnode = "other"\nloop_key = "0123456789abcdef"\nsocket = "/run/x.sock"\n')
        assert daemon.call("reload")["note"] == "node, loop_key take effect at the next start"


def test_a_targets_problem_goes_with_it(daemon: Daemon) -> None:
    def told() -> bool:
        return any("no.such.host.invalid" in problem for problem in daemon.call("status")["problems"])

    daemon.add("shop", 1, "http://no.such.host.invalid")
    wait_for("the name is told", told)
    daemon.call("filter.rm", name="shop")
    assert not told()


def test_what_cannot_be_stored_is_undone_or_told(daemon: Daemon, shadow: Server) -> None:
    daemon.add("shop", 1, shadow.url)
    blocked = daemon.folder / "state" / "filters.json.new"  # the temporary file's place is taken
    blocked.mkdir()
    try:
        with pytest.raises(ShadowdError, match="nothing was changed"):
            daemon.add("other", 2, shadow.url)
        with pytest.raises(ShadowdError, match="nothing was changed"):
            daemon.call("filter.set", name="shop", changes={"sample": 0.5})
        assert [(view["spec"]["name"], view["spec"]["sample"]) for view in daemon.call("filter.ls")] == [("shop", 1)]
        with pytest.raises(ShadowdError, match="done, but"):
            daemon.call("filter.pause", name="shop")  # whoever stops something wants it stopped
        assert [view["state"] for view in daemon.call("filter.ls")] == ["paused"]
        assert any("next start" in problem for problem in daemon.call("status")["problems"])
    finally:
        blocked.rmdir()
    daemon.call("filter.set", name="shop", changes={"sample": 0.5})
    assert daemon.call("status")["problems"] == []


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({"where": "body", "path": "requestId"}, "no place"),
        ({"where": "body", "path": "$.items[0].id"}, r"\[\*\]"),
        ({"where": "body", "path": ""}, "a rule is a place"),
        ({"where": "nowhere", "path": "$"}, "a rule is a place"),
        ({"where": "turn", "path": "lines"}, "no place"),
    ],
)
def test_a_rule_that_nothing_can_meet_is_refused(daemon: Daemon, shadow: Server, place: object, told: str) -> None:
    daemon.add("shop", 1, shadow.url)
    with pytest.raises(UsageError, match=told):
        daemon.call("noise.add", name="shop", rule=place)
    assert daemon.call("noise.ls", name="shop")["rules"] == []


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--turn", "*"], {"where": "turn", "path": "*"}),
        (["--path", "line"], {"where": "body", "path": "line"}),
        (["--path", "$.a[*].b"], {"where": "body", "path": "$.a[*].b"}),
    ],
)
def test_places_of_every_kind_of_answer(daemon: Daemon, shadow: Server, words: list[str], rule: dict[str, str]) -> None:
    daemon.add("shop", 1, shadow.url)
    control = [sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.socket)]
    sh(*control, "expect", "add", "shop", *words)
    assert [{key: one[key] for key in rule} for one in daemon.call("expect.ls", name="shop")["rules"]] == [rule]
    sh(*control, "expect", "rm", "shop", *words)
    assert daemon.call("expect.ls", name="shop")["rules"] == []
