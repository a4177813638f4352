"""A target that is a selected container, in a network namespace of its own, is production itself too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from shadowd.capture.preflight import find_cgroup2
from shadowd.errors import ShadowdError
from tests.conftest import need
from tests.netns.lab import (
    Daemon,
    HttpClient,
    free_port,
    in_namespace,
    namespaces,
    running,
    sh,
    started,
    veth,
    wait_for,
)
from tests.netns.test_namespaces import serve_in
from tests.netns.test_selection import Service
from tests.service.unprivileged import SERVICE
from tests.service.unprivileged import daemon as service_rights

pytestmark = pytest.mark.usefixtures("root_user")

ID = "5b" * 32
HERE, BOX, SHADOW = "10.88.0.1", "10.88.0.2", "10.88.1.2"
BOX6 = "fd00:88::2"


class Host(NamedTuple):
    """A namespace that is the host's, one that is a container's, whose service is in ``cgroup``, and a shadow's."""

    space: str
    port: int
    cgroup: Path
    service: Service


@pytest.fixture(scope="module")
def slice_() -> Iterator[Path]:
    root = find_cgroup2()
    need(root is not None, "needs a cgroup v2 mount")
    assert root is not None
    made = root / f"shadowdbox{os.getpid()}.slice"
    made.mkdir()
    yield made
    made.rmdir()


@pytest.fixture(scope="module")
def host(slice_: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    port = free_port()
    with namespaces("here", "box", "shadow") as (here, box, shadow):
        veth(here, "h0", f"{HERE}/24", box, "b0", f"{BOX}/24")
        veth(here, "h1", "10.88.1.1/24", shadow, "s0", f"{SHADOW}/24")
        sh("ip", "-n", box, "addr", "add", f"{BOX6}/64", "dev", "b0", "nodad")
        sh("ip", "-n", here, "addr", "add", "fd00:88::1/64", "dev", "h0", "nodad")
        cgroup = slice_ / f"docker-{ID}.scope"
        service = Service(tmp_path_factory.mktemp("service") / "boxed.py", port, cgroup / "nested", box).start()
        other = serve_in(shadow, "0.0.0.0", port)
        try:
            with in_namespace(here):
                wait_for("the container serves", lambda: _answers(BOX, port))
            yield Host(here, port, cgroup, service)
        finally:
            other.close()
            service.stop()
            cgroup.rmdir()


def _answers(address: str, port: int) -> bool:
    try:
        return HttpClient(address, port).get("/ready").endswith(b"fine")
    except (OSError, AssertionError):
        return False


@pytest.fixture(scope="module", params=["root", "service"])
def daemon(host: Host, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """With the service's rights it may enter no namespace."""
    folder = tmp_path_factory.mktemp("daemon")
    made = (
        Daemon(folder / "d", namespace=host.space)
        if request.param == "root"
        else service_rights(folder / "d", *SERVICE, namespace=host.space)
    )
    with started(made) as daemon:
        yield daemon


def add(daemon: Daemon, url: str, **fields: object) -> int:
    """How many filters there were with it; it is gone again."""
    spec = {"name": "boxed", "container": ID[:12], "targets": [{"url": url}], "twin": 0, **fields}
    daemon.call("filter.add", spec=spec)
    there = len(daemon.call("filter.ls"))
    daemon.call("filter.rm", name="boxed")
    return there


@pytest.mark.parametrize("address", [BOX, f"[{BOX6}]", f"[::ffff:{BOX}]"])
@pytest.mark.parametrize("with_ports", [True, False])
def test_the_containers_own_address(daemon: Daemon, host: Host, address: str, with_ports: bool) -> None:
    if "::2" in address and not with_ports:  # who serves IPv4 alone is not production there
        assert add(daemon, f"http://{address}:{host.port}") == 1
        return
    ports = {"ports": [str(host.port)]} if with_ports else {}
    with pytest.raises(ShadowdError, match=r"production itself.*--allow-self"):
        add(daemon, f"http://{address}:{host.port}", **ports)
    assert daemon.call("filter.ls") == []
    assert add(daemon, f"http://{address}:{host.port}", allow_self=True, **ports) == 1


def test_another_port_address_or_direction_is_not(daemon: Daemon, host: Host) -> None:
    assert add(daemon, f"http://{BOX}:{host.port + 1}") == 1
    assert add(daemon, f"http://{BOX}:{host.port}", ports=[str(host.port + 1)]) == 1
    assert add(daemon, f"http://{SHADOW}:{host.port}", ports=[str(host.port)]) == 1
    assert add(daemon, f"http://{HERE}:{host.port}", ports=[str(host.port)]) == 1
    assert add(daemon, f"http://{BOX}:{host.port}", direction="outbound") == 1


def test_a_cgroup_above_the_containers(daemon: Daemon, host: Host, slice_: Path) -> None:
    for above in (slice_, host.cgroup, host.cgroup / "nested"):
        with pytest.raises(ShadowdError, match="production itself"):
            add(daemon, f"http://{BOX}:{host.port}", container=None, cgroup=str(above))


@pytest.mark.parametrize("with_ports", [True, False])
def test_a_container_that_comes_later_at_the_targets_address(daemon: Daemon, host: Host, with_ports: bool) -> None:
    """When the filter was added there was none: it is found out when the container is taken up, or in the first
    connection to it if it did not listen yet by then."""
    host.service.stop()
    host.cgroup.rmdir()
    spec = {"name": "later", "container": ID, "targets": [{"url": f"http://{BOX}:{host.port}"}], "twin": 0}
    daemon.call("filter.add", spec={**spec, "ports": [str(host.port)] if with_ports else []})
    host.service.start()

    def told() -> bool:
        with in_namespace(host.space):
            assert with_ports or _answers(BOX, host.port) is not None
        return "production itself" in " ".join(daemon.call("status")["problems"])

    wait_for("it is told", told)
    (view,) = daemon.call("filter.ls")
    assert view["targets"][0]["addresses"] == []
    daemon.call("filter.rm", name="later")


def test_a_published_port_that_leads_into_the_container(host: Host, tmp_path: Path) -> None:
    """No address shows it: the connection's other end does."""
    need(shutil.which("iptables") is not None, "needs iptables")
    front = free_port()
    rule = ["-p", "tcp", "-d", HERE, "--dport", str(front), "-j", "DNAT", "--to-destination", f"{BOX}:{host.port}"]
    sh("ip", "netns", "exec", host.space, "iptables", "-t", "nat", "-A", "OUTPUT", *rule)
    with running(tmp_path / "d", namespace=host.space) as daemon:
        target = {"url": f"http://{HERE}:{front}"}
        daemon.call("filter.add", spec={"name": "nat", "container": ID, "targets": [target], "twin": 0})
        with in_namespace(host.space):
            client = HttpClient(BOX, host.port)
        client.get("/first")
        wait_for("it is told", lambda: "production itself" in " ".join(daemon.call("status")["problems"]))
        for number in range(5):
            client.get(f"/{number}")
        ledger = daemon.settled("nat", lambda found: found["seen"] == 6)
        assert ledger["targets"][0]["shed"]["itself"] >= 5
        client.close()
