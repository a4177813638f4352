"""The attacher without root: with three capabilities it reads the TLS of another user's service, while the daemon that
started it has given all of them up."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shadowd.capture.preflight import CAP_BPF, CAP_PERFMON, kernel_release
from tests.bpf import tls_lab, tls_server
from tests.bpf.tls_lab import Server
from tests.conftest import ROOT, need
from tests.service import unprivileged

pytestmark = pytest.mark.usefixtures("root_user")

#: What the daemon's unit has, and what reading TLS adds.
RIGHTS = (*unprivileged.SERVICE, "sys_ptrace")
OWN_MARK = 0x04000000

DAEMON = """
import json, os, sys, time
from shadowd.capture.programs import load
from shadowd.capture.ring import RingSink
from shadowd.capture.tlsattach import Attacher
from shadowd.errors import ShadowdError
from shadowd.service.privileges import give_up, inheriting

class Sink(RingSink):
    labels = []
    def secret(self, record):
        self.labels.append(record[48:80].rstrip(bytes(1)).decode())

port = int(sys.argv[1])
with inheriting():
    programs = load(1 << 20, int(sys.argv[2]), probes=True)
    try:
        attacher = Attacher(programs)
    except ShadowdError as error:
        print(json.dumps(str(error)), flush=True)
        sys.exit(1)
give_up()
programs.keep_alive(time.monotonic_ns() + 600 * 10**9)
report = attacher.want("shop", ((port, port),), None)
told = {"pid": attacher.pid, "processes": report.processes, "kinds": [one.kind for one in report.libraries],
        "problems": [str(one) for one in report.problems]}
print(json.dumps(told), flush=True)
sys.stdin.readline()
programs.ring.drain(Sink(), 1 << 20)
print(json.dumps(Sink.labels), flush=True)
attacher.close()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    tls_server.certificate(tmp_path)
    with tls_lab.cgroup("rights") as place, tls_lab.server(tmp_path, place) as made:
        yield made


def daemon(port: int, *rights: str) -> subprocess.Popen[str]:
    *python, _, _ = unprivileged.program()
    return subprocess.Popen(
        [*unprivileged.setpriv(*rights), *python, "-c", DAEMON, str(port), str(OWN_MARK)], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_three_capabilities_are_enough(server: Server) -> None:
    need(kernel_release() >= (6, 6), "needs uprobe_multi: before Linux 6.6 it takes CAP_SYS_ADMIN")
    with daemon(server.port, *RIGHTS) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["processes"] == 1
        assert told["kinds"] == ["OpenSSL 3"], told["problems"]
        (held,) = unprivileged.sets(told["pid"])
        expected = 1 << CAP_BPF | 1 << CAP_PERFMON | 1 << unprivileged.NAMES["sys_ptrace"]
        assert held["CapEff"] == held["CapPrm"] == expected
        assert held["CapInh"] == held["CapAmb"] == 0
        assert held["NoNewPrivs"] == 1
        for thread in unprivileged.sets(process.pid):
            assert not thread["CapEff"] & (1 << CAP_BPF | 1 << CAP_PERFMON)
        tls_lab.exchange(server.port, tls_lab.client())
        process.stdin.write("\n")
        process.stdin.flush()
        labels = json.loads(process.stdout.readline())
        assert len(labels) == 5
        assert "SERVER_TRAFFIC_SECRET_0" in labels
    assert process.returncode == 0
    assert not os.path.exists(f"/proc/{told['pid']}")


def test_without_the_right_to_look_into_others(server: Server) -> None:
    """Nothing is read, nothing fails, and it says what is missing."""
    with daemon(server.port, *unprivileged.SERVICE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["kinds"] == []
        (problem,) = told["problems"]
        assert (
            problem == f"process {server.pid}: it may not be looked into: Permission denied — "
            "give the attacher CAP_SYS_PTRACE"
        )
        process.stdin.write("\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == []
