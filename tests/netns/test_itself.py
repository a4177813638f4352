"""A target that is production itself is refused, however it is named or reached, unless that is meant."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shadowd.errors import ShadowdError
from tests.conftest import need
from tests.netns.lab import (
    Daemon,
    HttpClient,
    Server,
    free_port,
    in_namespace,
    namespaces,
    running,
    sh,
    wait_for,
)  # fmt: skip
from tests.netns.test_namespaces import redirect, serve_in

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


def own_addresses() -> list[str]:
    """Of this host, by whatever interface."""
    found = [
        "127.0.0.1", "127.0.0.9", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", socket.gethostname(),
        "[::]", "[::ffff:0.0.0.0]", "[::ffff:7f00:1]", "LOCALHOST", "localhost.", "ip6-localhost", "0x7f.1",
    ]  # fmt: skip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            found.append(probe.getsockname()[0])
        except OSError:  # no route: no other interface
            pass
    return [host for host in found if resolves(host)]


def resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host.strip("[]"), 80)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", own_addresses())
def test_an_address_of_this_host_with_productions_port(daemon: Daemon, host: str) -> None:
    port = free_port()
    spec = {"name": "same", "ports": [f"{port - 1}-{port + 1}"], "targets": [{"url": f"http://{host}:{port}"}]}
    with pytest.raises(ShadowdError, match=r"production itself.*--allow-self"):
        daemon.call("filter.add", spec=spec)
    assert daemon.call("filter.ls") == []
    daemon.call("filter.add", spec={**spec, "allow_self": True})
    daemon.call("filter.rm", name="same")


def test_other_ports_and_other_hosts_are_none_of_it(daemon: Daemon) -> None:
    port = free_port()
    for url in (f"http://127.0.0.1:{port + 1}", f"http://192.0.2.1:{port}"):
        view = daemon.call("filter.add", spec={"name": "other", "ports": [str(port)], "targets": [{"url": url}]})
        assert (view["state"], view["spec"]["targets"][0]["url"]) == ("active", url)
        assert "production itself" not in " ".join(daemon.call("status")["problems"])
        daemon.call("filter.rm", name="other")


def test_a_change_that_leads_there_is_refused(daemon: Daemon) -> None:
    port = free_port()
    daemon.call("filter.add", spec={"name": "set", "ports": [str(port)], "targets": [{"url": "http://127.0.0.1:9"}]})
    with pytest.raises(ShadowdError, match="production itself"):
        daemon.call("filter.set", name="set", changes={"targets": [{"url": f"http://127.0.0.1:{port}"}]})
    with pytest.raises(ShadowdError, match="production itself"):
        daemon.call("filter.set", name="set", changes={"ports": ["9"]})
    (view,) = daemon.call("filter.ls")
    assert view["spec"]["targets"][0]["url"] == "http://127.0.0.1:9"
    daemon.call("filter.rm", name="set")


def test_a_reload_that_leads_there_changes_nothing(tmp_path: Path) -> None:
    production, shadow = Server(), Server()
    text = '[[filters]]\nname = "one"\ntwin = 0\nports = {}\nto = "{}"\n'
    with running(tmp_path, text.format(production.port, shadow.url)) as started:
        started.config.write_text(started.config.read_text().replace(shadow.url, f"http://127.0.0.1:{production.port}"))
        with pytest.raises(ShadowdError, match="production itself"):
            started.call("reload")
        HttpClient("127.0.0.1", production.port).get("/1")
        ledger = started.settled("one", lambda found: found["seen"] == 1)
        assert ledger["targets"][0]["mirrored"] == len(shadow.requests) == 1
    for server in (production, shadow):
        server.close()


def test_of_a_configuration_only_that_filter_is_left_out(tmp_path: Path) -> None:
    """A start is no time to refuse everything: the other filters mirror, and ``status`` says what is wrong."""
    production, shadow = Server(), Server()
    text = '[[filters]]\nname = "{}"\ntwin = 0\nports = {}\nto = "{}"\n'
    itself, shadowed = f"http://127.0.0.1:{production.port}", shadow.url
    config = text.format("bad", production.port, itself) + text.format("good", production.port, shadowed)
    with running(tmp_path, config) as started:
        assert [view["spec"]["name"] for view in started.call("filter.ls")] == ["good"]
        (problem,) = [one for one in started.call("status")["problems"] if "production itself" in one]
        assert "filter bad" in problem
        HttpClient("127.0.0.1", production.port).get("/1")
        started.settled("good", lambda found: found["seen"] == 1)
        assert len(production.requests) == len(shadow.requests) == 1
        started.config.write_text(started.config.read_text().replace(itself, f"{shadowed}/"))
        started.call("reload")
        assert {view["spec"]["name"] for view in started.call("filter.ls")} == {"bad", "good"}
        assert "production itself" not in " ".join(started.call("status")["problems"])
    for server in (production, shadow):
        server.close()


def test_requests_that_come_back_to_production_are_told(daemon: Daemon) -> None:
    """A way there that no address shows: a proxy in the place of the shadow."""
    production = Server()

    def passed_on(number: int, head: bytes, body: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", production.port)) as onward:
            onward.sendall(head + body)
            return onward.recv(65536)

    shadow = Server(answer=passed_on)
    daemon.add("proxied", production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    for number in range(25):
        client.get(f"/{number}")
    daemon.settled("proxied", lambda found: found["seen"] == 50)
    (problem,) = [one for one in daemon.call("status")["problems"] if "came back" in one]
    assert problem.startswith("25 replayed requests of proxied came back to production")
    daemon.call("filter.rm", name="proxied")
    for server in (production, shadow):
        server.close()


def test_what_nat_leads_there_is_found_by_its_first_connections(tmp_path: Path) -> None:
    """REDIRECT makes production's address of another one: a few reads are doubled, then no more."""
    need(shutil.which("iptables") is not None, "needs iptables")
    port, front = free_port(), free_port()
    with namespaces("host") as (space,):
        redirect(space, "OUTPUT", front, port)
        sh("ip", "netns", "exec", space, "ip", "link", "set", "lo", "up")
        production = serve_in(space, "127.0.0.1", port)
        with running(tmp_path / "d", namespace=space) as started:
            started.add("nat", port, f"http://127.0.0.1:{front}")
            with in_namespace(space):
                client = HttpClient("127.0.0.1", port)
            client.get("/first")
            wait_for("it is told", lambda: "production itself" in " ".join(started.call("status")["problems"]))
            ledger = started.settled("nat", lambda found: found["seen"] == 1)
            doubled = len(production.requests)
            for number in range(20):
                client.get(f"/{number}")
            ledger = started.settled("nat", lambda found: found["seen"] == 21)
            assert ledger["targets"][0]["shed"] == {"itself": 20}
            assert len(production.requests) == doubled + 20
        production.close()
