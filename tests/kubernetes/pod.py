"""The DaemonSet's container as a process on this machine: the manifest says how, the image's files are what it sees.

Nothing is made up here: mounts, capabilities, arguments and probes are read from kubernetes/base. What differs is where
the host's side of a mount lies, and the ports, because several tests share one machine.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from shadowd.capture.preflight import find_cgroup2
from tests.conftest import ROOT
from tests.netns.lab import free_port, wait_for

BASE = ROOT / "kubernetes" / "base"


def container_of(daemonset: dict[str, Any]) -> dict[str, Any]:
    (container,) = daemonset["spec"]["template"]["spec"]["containers"]
    return dict(container)


def base_daemonset() -> dict[str, Any]:
    return dict(yaml.safe_load((BASE / "daemonset.yaml").read_text()))


class Pod:
    """``filters``: TOML behind the shipped configuration. Start, ask, stop; everything is gone afterwards."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        filters: str,
        daemonset: dict[str, Any] | None = None,
        seccomp: Path | None = None,
    ) -> None:
        self.root, self.folder = root, folder
        self.daemonset = daemonset or base_daemonset()
        self.container = container_of(self.daemonset)
        self._seccomp = seccomp
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        shipped = (BASE / "shadowd.toml").read_text()
        self.ports: dict[int, int] = {}
        for setting in ("http", "monitor"):
            host, _, port = tomllib.loads(shipped)[setting].rpartition(":")
            self.ports[int(port)] = free_port()
            shipped = shipped.replace(f'"{host}:{port}"', f'"{host}:{self.ports[int(port)]}"')
        # two busy cores, which the guard would (rightly) shed for
        self._shipped = f'cpu_guard = "off"\ncpu_max = "10000%"\n{shipped}'
        (folder / "config").mkdir(parents=True)
        (folder / "state").mkdir()
        (folder / "pods").mkdir()
        self._version = 0
        self.configure(filters)

    def configure(self, filters: str) -> None:
        """Write the ConfigMap's volume as the kubelet does: a new folder, and one symbolic link that changes."""
        volume = self.folder / "config"
        self._version += 1
        fresh = volume / f"..2026_{self._version}"
        fresh.mkdir()
        (fresh / "shadowd.toml").write_text(self._shipped + filters)
        (volume / "..data_tmp").symlink_to(fresh.name)
        (volume / "..data_tmp").rename(volume / "..data")
        if self._version == 1:
            (volume / "shadowd.toml").symlink_to("..data/shadowd.toml")

    def _mounts(self) -> list[dict[str, Any]]:
        volumes = {volume["name"]: volume for volume in self.daemonset["spec"]["template"]["spec"]["volumes"]}
        state, logs = self.folder / "state", self.folder / "pods"
        ours = {"/sys/fs/cgroup": find_cgroup2(), "/var/lib/shadowd": state, "/var/log/pods": logs}
        found = []
        for wanted in self.container["volumeMounts"]:
            volume = volumes[wanted["name"]]
            source: Path | None = None
            if "hostPath" in volume:
                source = ours[volume["hostPath"]["path"]]
            elif "configMap" in volume:
                source = self.folder / "config"
            target, readonly = wanted["mountPath"], wanted.get("readOnly", False)
            found.append({"target": target, "source": source and str(source), "readonly": readonly})
        return found

    def start(self, *tracer: str) -> Pod:
        """``tracer``: a command that runs the container, such as strace."""
        pod = self.daemonset["spec"]["template"]["spec"]
        spec = {
            "root": str(self.root),
            "command": ["/usr/bin/shadowd", *self.container["args"]],
            "mounts": self._mounts(),
            "host_pid": pod["hostPID"],
            "capabilities": self.container["securityContext"]["capabilities"]["add"],
            "seccomp": str(self._seccomp) if self._seccomp else None,
        }
        (self.folder / "spec.json").write_text(json.dumps(spec))
        self._cgroup = Path(str(find_cgroup2())) / f"shadowd-test-{os.getpid()}-{self.folder.name}"
        self._cgroup.mkdir(exist_ok=True)
        namespaces = ["--mount", "--cgroup", *([] if pod["hostPID"] else ["--pid"])]
        inner = ["unshare", *namespaces, "--fork", "--kill-child", "--", *tracer, sys.executable,
                 str(Path(__file__).with_name("container.py")), str(self.folder / "spec.json")]  # fmt: skip
        # in a cgroup of its own first: a cgroup namespace begins where the process is
        command = ["sh", "-c", f'echo $$ > {self._cgroup}/cgroup.procs && exec "$@"', "sh", *inner]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("the container is ready", self._ready, 90)
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the container ended with {self.process.returncode}: {self.told()}")
        return self.probe("startupProbe") == 200

    def told(self) -> str:
        return self.log.read_text()[-4000:]

    def probe(self, name: str) -> int:
        """The status that the kubelet would see; 0 if there is no answer."""
        wanted = self.container[name]["httpGet"]
        return self.get(wanted["host"], wanted["port"], wanted["path"])[0]

    def get(self, host: str, port: int, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(host, self.ports[port], timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    @property
    def pid(self) -> int:
        """The daemon's, as the host sees it."""
        assert self.process is not None
        found = self.process.pid  # unshare, a tracer if there is one, the daemon
        while children := Path(f"/proc/{found}/task/{found}/children").read_text().split():
            found = int(children[0])
        return found

    def shadowctl(self, *arguments: str, ends: tuple[int, ...] = (0,)) -> Any:
        """As by ``kubectl exec``; ``ends`` are the exit codes that are no failure."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root"]
        command = [*inside, "/usr/bin/shadowctl", *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in ends, done.stderr + self.told()
        return json.loads(done.stdout)

    def stop(self) -> int:
        """SIGTERM, wait for the grace period, and the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            try:
                self.process.wait(self.daemonset["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] + 30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the container did not end: {self.told()}") from None
        return self.process.returncode

    def remove(self) -> None:
        if self.process is None:
            return
        inside = self._cgroup / "cgroup.procs"
        for pid in inside.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self.process.wait(20)
        wait_for("the container is gone", self._removed)

    def _removed(self) -> bool:
        try:
            self._cgroup.rmdir()
        except OSError:  # what was killed is not reaped yet
            return False
        return True


@contextlib.contextmanager
def running(
    root: Path,
    folder: Path,
    filters: str,
    daemonset: dict[str, Any] | None = None,
    seccomp: Path | None = None,
    *tracer: str,
) -> Iterator[Pod]:
    pod = Pod(root, folder, filters, daemonset, seccomp)
    try:
        yield pod.start(*tracer)
    finally:
        pod.remove()
