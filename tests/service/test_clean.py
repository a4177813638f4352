"""``shadowd clean``: what a killed daemon left on an interface goes, what is another's stays, again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shadowd.capture import attach
from shadowd.capture.attach import InterfaceHook, list_interfaces
from tests.conftest import ROOT
from tests.netns.lab import Daemon, in_namespace, namespaces, running, sh
from tests.service.unprivileged import program, setpriv

pytestmark = pytest.mark.usefixtures("root_user")


def clean(namespace: str, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    by = program() if prefix else (sys.executable, "-m", "shadowd.cli.shadowd")
    command = ["nsenter", f"--net=/run/netns/{namespace}", *prefix, *by, "clean", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def leave_classifiers(loaded: Any, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a daemon on a kernel without TCX that was killed: both sides of v1, and a neighbour's classifier."""

    def refused(program: int, ifindex: int, egress: bool) -> int:
        raise OSError(95, "not supported")

    sh("ip", "-n", namespace, "link", "add", "v1", "type", "veth", "peer", "name", "v2")
    with in_namespace(namespace):
        with monkeypatch.context() as patched:
            patched.setattr(attach.bpf, "link_tcx", refused)
            (interface,) = list_interfaces("v1")
            assert InterfaceHook(loaded, interface).kind == "clsact"
        from pyroute2 import IPRoute

        with IPRoute() as route:
            route.tc(
                "add-filter", "bpf", interface.index, 1, fd=loaded.descriptors["tc_ingress"], name="others",
                parent=attach.CLSACT_INGRESS, prio=7, protocol=3, classid=1, direct_action=True,
            )  # fmt: skip


def test_ours_go_and_others_stay(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with namespaces("clean") as (namespace,):
        leave_classifiers(loaded, namespace, monkeypatch)
        nowhere = f"/run/shadowd-test-{os.getpid()}/s"
        nobody = clean(namespace, "--socket", nowhere, prefix=setpriv())
        assert (nobody.returncode, len(nobody.stderr.splitlines())) == (1, 1)
        assert "Operation not permitted — run as root or with CAP_NET_ADMIN" in nobody.stderr
        # the unit's user, after the daemon's death
        done = clean(namespace, "--socket", nowhere, "--json", prefix=setpriv("net_admin"))
        assert (done.returncode, json.loads(done.stdout)) == (0, {"removed": 2}), done.stderr
        left = sh("tc", "-n", namespace, "filter", "show", "dev", "v1", "ingress")
        assert "others" in left
        assert "shadowd" not in left
        again = clean(namespace, "--socket", nowhere)
        assert (again.returncode, again.stdout) == (0, "nothing was left behind\n")


def test_a_running_daemon_is_left_alone(tmp_path: Path) -> None:
    with namespaces("clean") as (namespace,):
        with running(tmp_path / "d", namespace=namespace) as daemon:
            refused = clean(namespace, "--socket", str(daemon.socket))
            assert refused.returncode == 1
            assert f"error: a shadowd is running (pid {daemon.pid}" in refused.stderr
        assert clean(namespace, "--socket", str(daemon.socket)).returncode == 0
        killed = Daemon(tmp_path / "k", namespace=namespace).start()
        killed.stop(9)
        assert clean(namespace, "--socket", str(killed.socket)).returncode == 0, "its lock died with it"
