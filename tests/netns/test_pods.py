"""Filters by namespace, name and labels of pods: real cgroups, a kubelet's folders, a real gRPC server as runtime."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trio

from shadowd.errors import ShadowdError
from shadowd.service.cri import list_pods
from tests.netns.cri import Runtime
from tests.netns.lab import Daemon, Server, free_port, wait_for
from tests.netns.test_selection import Service, add, shadow, slice_, words

__all__ = ["shadow", "slice_"]  # fixtures

ID = f"{os.getpid():08x}" * 8


def uid(number: int) -> str:
    return f"{number:08x}-58a3-4b6e-9c1d-{os.getpid():012x}"  # of this process: the whole tree is looked through


class Node:
    """A daemon, the folders of logs, and the runtime."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "pods"
        self.logs.mkdir()
        self.cri = folder / "cri.sock"
        self.runtime = Runtime(self.cri)
        self.daemon = Daemon(folder / "daemon", f'pod_logs = "{self.logs}"\ncri_socket = "{self.cri}"\n')


class PodService(Service):
    """A pod of one process that listens; ``shop_checkout-1`` and its labels."""

    def __init__(self, node: Node, slice_: Path, tmp_path: Path, number: int, namespace: str, port: int) -> None:
        self.node, self.uid = node, uid(number)
        self.told = (namespace, f"checkout-{number}", self.uid, {"app": "checkout" if number < 5 else "cart"})
        pod = slice_ / f"kubepods-burstable-pod{self.uid.replace('-', '_')}.slice"
        super().__init__(tmp_path / f"{namespace}{number}.py", port, pod / f"cri-containerd-{ID}.scope")

    def start(self, port: int = 0) -> Service:
        namespace, name, uid_, _ = self.told
        (self.node.logs / f"{namespace}_{name}_{uid_}").mkdir()
        self.node.runtime.pods.append(self.told)
        return super().start(port)

    def stop(self) -> None:
        if self.process is not None:
            super().stop()
            assert self.cgroup is not None
            self.cgroup.parent.rmdir()
            self.node.runtime.pods.remove(self.told)  # its folder of logs stays for a while


@pytest.fixture(scope="module")
def node(root_user: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("node"))
    made.daemon.start()
    yield made
    made.daemon.stop()
    made.runtime.stop()


@pytest.mark.parametrize("pod", ["namespace=shop,name=checkout-[1-4]", "namespace=shop,app=checkout"])
def test_what_other_teams_have_is_not_read(node: Node, shadow: Server, slice_: Path, tmp_path: Path, pod: str) -> None:
    """By folders, and by labels; followed as pods come and go."""
    pod = pod.replace("[1-4]", "?")
    ours = PodService(node, slice_, tmp_path, 1, "shop", free_port())
    theirs = PodService(node, slice_, tmp_path, 2, "billing", free_port())
    later = PodService(node, slice_, tmp_path, 3, "shop", free_port())
    try:
        add(node.daemon, "shop", shadow, pod=pod)
        assert "runs on this node now; it is taken up when it does" in words(node.daemon, "shop")
        ours.start()
        theirs.start()
        wait_for("it is selected", lambda: "selected now: pod shop/checkout-1" in words(node.daemon, "shop"))
        theirs.ask()
        ours.ask()
        assert node.daemon.settled("shop", lambda ledger: ledger["seen"] >= 3)["seen"] == 3
        later.start()
        wait_for("the other is, too", lambda: "pods shop/checkout-1, shop/checkout-3" in words(node.daemon, "shop"))
        ours.stop()
        wait_for("it is told", lambda: "selected now: pod shop/checkout-3" in words(node.daemon, "shop"))
        theirs.ask()
        later.ask()
        assert node.daemon.settled("shop", lambda ledger: ledger["seen"] >= 6)["seen"] == 6
        assert {request.split(b" ")[1].split(b"/")[1] for request in shadow.requests} == {b"shop1", b"shop3"}
    finally:
        for service in (ours, theirs, later):
            service.stop()
            for folder in node.logs.iterdir():
                folder.rmdir()
        node.daemon.call("filter.rm", name="shop")


def test_a_runtime_in_trouble_is_one_line_and_nobody_elses(node: Node, shadow: Server, tmp_path: Path) -> None:
    """A filter that needs it says so and waits; another goes on mirroring."""
    steady = Service(tmp_path / "steady.py", free_port()).start()
    released = threading.Event()
    try:
        node.daemon.add("steady", steady.port, shadow.url)
        node.runtime.fails = lambda context: bool(released.wait(20))
        add(node.daemon, "labelled", shadow, pod="namespace=shop,app=nothing")
        told = wait_for("it is said", lambda: node.daemon.call("status")["problems"])
        assert told == [
            f"the container runtime at {node.cri} does not list its pods: no answer within 2 s — see its log"
        ]
        steady.ask(20)
        assert node.daemon.settled("steady", lambda ledger: ledger["seen"] >= 20)["targets"][0]["mirrored"] == 20
        released.set()
        node.runtime.fails = None
        wait_for("it is over", lambda: not node.daemon.call("status")["problems"])
        node.daemon.call("filter.rm", name="labelled")
        asked = len(node.runtime.asked)
        wait_for("nobody asks for what nobody wants", lambda: len(node.runtime.asked) <= asked + 1, 10)
    finally:
        released.set()
        node.runtime.fails = None
        steady.stop()
        for name in ("steady", "labelled"):
            if name in {one["name"] for one in node.daemon.call("filter.ls")}:
                node.daemon.call("filter.rm", name=name)


# --- what the runtime says, alone -------------------------------------------------------------------------------------


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(tmp_path / "cri.sock")
    yield made
    made.stop()


def test_a_full_node_is_listed(runtime: Runtime) -> None:
    """Many frames, large windows, labels of every form; only what is ready is asked for."""
    labels = {"app": "a", "empty": "", "app.kubernetes.io/part-of": "shop"}
    runtime.pods = [("shop", f"checkout-{number}", uid(number), labels) for number in range(500)]
    found = trio.run(list_pods, str(runtime.path))
    assert [(pod.namespace, pod.name, pod.uid, dict(pod.labels)) for pod in found] == runtime.pods
    (asked,) = runtime.asked
    assert asked.filter.HasField("state")
    assert asked.filter.state.state == 0


def refused(path: Path) -> str:
    with pytest.raises(ShadowdError) as told:
        trio.run(list_pods, str(path))
    assert told.value.problem.startswith(f"the container runtime at {path} does not list its pods: ")
    assert "\n" not in str(told.value)
    return told.value.problem.partition("pods: ")[2]


def test_what_is_no_list_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    runtime.fails = lambda context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown\x1b service")
    assert refused(runtime.path).startswith("grpc-status 12 unknown")
    runtime.fails = None
    runtime.annotation = "x" * 50_000
    runtime.pods = [("shop", f"checkout-{number}", uid(number), {}) for number in range(400)]
    assert refused(runtime.path) == "the answer has more than 16 MB"
    assert refused(tmp_path / "none") == "No such file or directory"


SPOKEN = {"nothing": b"", "http": b"HTTP/1.1 400 Bad Request\r\n\r\n", "zeros": bytes(64), "noise": os.urandom(4096)}


@pytest.mark.parametrize("answer", SPOKEN.values(), ids=list(SPOKEN))
def test_what_speaks_no_grpc_is_refused(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        served = threading.Thread(target=serve)
        served.start()
        assert refused(path)
        served.join(10)


def test_without_a_socket_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shadowd.service.cri.SOCKETS", ("/nowhere/containerd.sock",))
    with pytest.raises(ShadowdError, match=r"its socket is not here — mount it \(kubernetes/pod-labels\)"):
        trio.run(list_pods)
