"""Short connections: production's client opens a new one for each request, and the shadow's ports do not run out.

60,000 of them in 40 s: more than twice the 28,000 ephemeral ports there are, which a replayer that also connects anew
for each request (or binds before it connects) uses up. 1,500 a second, because production, shadow, client and daemon
share the cores here: at 2,500 a second on two slow ones the daemon did not keep up and the ring overflowed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.servers import Nginx, make_files
from tests.conftest import ROOT, need
from tests.netns.lab import Daemon, running

pytestmark = pytest.mark.usefixtures("root_user")

CONNECTIONS = 60_000
RATE = 1_500  # a second: offered, not demanded; what production cannot take at once waits


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bench's client, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    need(compiler is not None, "needs a C compiler")
    assert compiler is not None
    program = tmp_path_factory.mktemp("load") / "load"
    subprocess.run([compiler, "-O2", "-o", program, ROOT / "bench" / "load.c"], check=True, timeout=60)
    return program


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nginx, Nginx]]:
    need(shutil.which("nginx") is not None, "needs nginx")
    folder = tmp_path_factory.mktemp("nginx")
    pages = make_files(folder)
    production, shadow = Nginx("production", folder, pages), Nginx("shadow", folder, pages)
    yield production, shadow
    production.child.stop()
    shadow.child.stop()


def test_sixty_thousand_short_connections(load: Path, servers: tuple[Nginx, Nginx], tmp_path: Path) -> None:
    production, shadow = servers
    # a ring and a patience for a host that is busy otherwise: what is tried here are connections and ports
    with running(tmp_path / "d", 'ring_bytes = "128MB"\ndead_man_seconds = "30s"\n') as daemon:
        # a slow host may fall behind: then requests wait, and only max_connections sheds
        daemon.add("short", production.port, f"http://127.0.0.1:{shadow.port}", max_lag=120, max_in_flight=CONNECTIONS)
        done = subprocess.run(
            [
                load, "--short", "--port", str(production.port), "--rate", str(RATE),
                "--seconds", str(CONNECTIONS / RATE), "--path", "/ok.txt",
            ],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        told = json.loads(done.stdout)
        assert (told["completed"], told["failed"], told["bad_status"]) == (CONNECTIONS, 0, 0), told
        daemon.client.close()  # the daemon let go of a client that said nothing meanwhile
        check_all_arrived(daemon, shadow)


def check_all_arrived(daemon: Daemon, shadow: Nginx) -> None:
    ledger = daemon.settled("short", lambda found: found["seen"] >= CONNECTIONS, 180)
    (target,) = ledger["targets"]
    assert ledger["seen"] == CONNECTIONS
    assert (ledger["lost"], ledger["filtered"], target["failed"]) == ({}, {}, {})
    assert target["mirrored"] + sum(target["shed"].values()) == CONNECTIONS
    assert shadow.requests() == target["mirrored"] >= CONNECTIONS // 2
    assert ledger["kernel"]["ring_full"] == 0
    # the shadow's connections are used again: far fewer than there are ports
    assert daemon.call("filter.show", name="short")["targets"][0]["connections"] <= 1024
