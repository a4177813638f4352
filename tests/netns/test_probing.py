"""A target that cannot be mirrored to is told when the filter is added: real servers, a real daemon, shadowctl."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.netns.lab import Daemon, Server, free_port, running, wait_for
from tests.unit.certificates import Certificate

pytestmark = pytest.mark.usefixtures("root_user")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


@pytest.fixture(autouse=True)
def _clean(daemon: Daemon) -> Iterator[None]:
    yield
    for view in daemon.call("filter.ls"):
        daemon.call("filter.rm", name=view["spec"]["name"])


@pytest.fixture
def listening() -> Iterator[Callable[..., int]]:
    """Gives the port of a server that does ``with each connection`` what it is told."""
    with ExitStack() as ends:

        def start(serve: Callable[[socket.socket], object], ports: tuple[int, ...] = (0,)) -> int:
            listener = _first_free(ports)
            ends.callback(listener.close)
            threading.Thread(target=_accept, args=(listener, serve), daemon=True).start()
            return int(listener.getsockname()[1])

        yield start


def _first_free(ports: tuple[int, ...]) -> socket.socket:
    for port in ports:
        try:
            return socket.create_server(("", port))
        except OSError:
            continue
    pytest.skip(f"ports {ports} are all taken")


def _accept(listener: socket.socket, serve: Callable[[socket.socket], object]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, serve), daemon=True).start()


def _serve(connection: socket.socket, serve: Callable[[socket.socket], object]) -> None:
    with connection:
        try:
            serve(connection)
        except OSError:  # the other end has seen enough
            pass


def until_closed(connection: socket.socket) -> None:
    while connection.recv(1024):
        pass


def tls(certificate: Certificate, *protocols: str) -> Callable[[socket.socket], None]:
    context = certificate.server()
    context.set_alpn_protocols(list(protocols))

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(1)

    return serve


def shadowctl(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.socket), *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, cwd=ROOT)


def added(daemon: Daemon, *words: str) -> list[tuple[str, str]]:
    """(problem, hint) of each target of a filter that is added; what people are told is the same."""
    daemon_port = str(free_port())
    done = shadowctl(daemon, "filter", "add", "shop", "--port", daemon_port, *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    targets: list[dict[str, Any]] = json.loads(done.stdout)["targets"]
    told = shadowctl(daemon, "filter", "set", "shop", *words)
    assert told.returncode == 0
    lines = [line.removeprefix("warning: ") for line in told.stderr.splitlines()]
    assert lines == [f"{one['url']}: {one['problem']} — {one['hint']}" for one in targets if one["problem"]]
    assert [view["spec"]["name"] for view in daemon.call("filter.ls")] == ["shop"], "it is added all the same"
    return [(one["problem"], one["hint"]) for one in targets]


def test_a_server_of_http_is_fit_and_is_sent_nothing(daemon: Daemon) -> None:
    shadow = Server()
    try:
        assert added(daemon, "--to", shadow.url, "--baseline", shadow.url) == [("", ""), ("", "")]
        assert shadow.connections > 0
        assert shadow.requests == []
    finally:
        shadow.close()


def test_nobody_there_and_no_such_name(daemon: Daemon) -> None:
    words = ["--to", f"http://127.0.0.1:{free_port()}", "--to", "http://no-such-host.invalid:80"]
    refused, unknown = added(daemon, *words)
    assert refused == ("the connection is refused", "is it running, at this address and port?")
    assert unknown[0].startswith("no-such-host.invalid does not resolve")


def test_who_speaks_first_or_not_at_all_is_no_server_of_http(daemon: Daemon, listening: Callable[..., int]) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH\r\n\x1b[2J")
        until_closed(connection)

    ssh = listening(greet)
    closing = listening(lambda connection: None)
    found = added(daemon, "--to", f"http://127.0.0.1:{ssh}", "--to", f"http://127.0.0.1:{closing}")
    assert found[0][0] == "it speaks first, and says 'SSH-2.0-OpenSSH...[2J': that is not HTTP"
    assert found[1][0] == "it closes connections at once"
    assert added_again(daemon, f"tcp://127.0.0.1:{ssh}") == [""], "raw replay is for whatever it is"


def added_again(daemon: Daemon, url: str) -> list[str]:
    done = shadowctl(daemon, "filter", "add", "raw", "--port", "1", "--protocol", "raw", "--allow-writes", "--to", url,
                     "--json")  # fmt: skip
    return [one["problem"] for one in json.loads(done.stdout)["targets"]]


def test_https_that_is_none_and_certificates(
    daemon: Daemon, listening: Callable[..., int], certificate: Certificate
) -> None:
    port, only_1 = listening(tls(certificate, "h2", "http/1.1")), listening(tls(certificate, "http/1.1"))
    plain = listening(lambda connection: (connection.recv(1024), connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")))
    trusted = ["--ca", str(certificate.chain)]
    assert added(daemon, "--to", f"https://127.0.0.1:{port}", *trusted) == [("", "")]
    daemon.call("filter.rm", name="shop")
    ((problem, hint),) = added(daemon, "--to", f"https://127.0.0.1:{port}")
    assert problem.startswith("its certificate is not trusted: self")
    assert hint.startswith("shadowctl filter set shop --ca FILE")
    daemon.call("filter.rm", name="shop")
    found = added(daemon, "--to", f"https://127.0.0.1:{plain}", "--to", f"h2://127.0.0.1:{only_1}", *trusted)
    assert found == [
        ("it does not speak TLS", f"shadowctl filter set shop --to http://127.0.0.1:{plain}"),
        ("it agrees to no HTTP/2", f"shadowctl filter set shop --to https://127.0.0.1:{only_1}"),
    ]


def test_a_certificate_for_another_name(
    daemon: Daemon, listening: Callable[..., int], certificate: Certificate
) -> None:
    """It may be for the name that production is asked by, and that the shadow is asked by then."""
    port = listening(tls(certificate, "http/1.1"))
    ((problem, hint),) = added(daemon, "--to", f"https://127.0.0.2:{port}", "--ca", str(certificate.chain))
    assert problem.startswith("its certificate is not for 127.0.0.2, but it may be for the names")
    assert hint == "if it is not: shadowctl filter set shop --server-name HOST"
    words = ["--server-name", "localhost"]
    assert shadowctl(daemon, "filter", "set", "shop", *words).stderr == ""


def test_http_at_a_port_of_tls(daemon: Daemon, listening: Callable[..., int], certificate: Certificate) -> None:
    port = listening(tls(certificate, "http/1.1"), (8443, 9443, 6443))
    assert added(daemon, "--to", f"http://127.0.0.1:{port}") == [
        ("it speaks TLS", f"shadowctl filter set shop --to https://127.0.0.1:{port}")
    ]


def test_one_that_never_answers_holds_nobody_up(daemon: Daemon, listening: Callable[..., int]) -> None:
    silent = listening(until_closed)
    found = added(daemon, "--to", f"https://127.0.0.1:{silent}")
    assert found == [("nothing answers within 2 s", "is it running, at this address and port?")]


def test_the_doctor_says_the_same(daemon: Daemon) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    daemon.add("shop", free_port(), url)
    found = json.loads(shadowctl(daemon, "doctor", "--filter", "shop", "--json").stdout)["findings"]
    assert [one["what"] for one in found if one["code"] == "target"] == [f"{url}: the connection is refused"]


def test_a_reload_without_a_file_leaves_no_problem(tmp_path: Path) -> None:
    alone = Daemon(tmp_path / "d")
    line = [sys.executable, "-m", "shadowd.cli.shadowd", "run", "--socket", str(alone.socket), "--http", "",
            "--state-dir", str(tmp_path / "state"), "--cpu-guard", "off", "--cpu-max", "10000%"]  # fmt: skip
    with open(alone.log, "wb") as log:
        alone.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
    try:
        wait_for("the daemon is ready", alone._ready, 60)
        done = shadowctl(alone, "reload")
        assert done.returncode == 2
        assert "runs without a configuration file — start it with shadowd run --config FILE" in done.stderr
        assert alone.call("status")["problems"] == []
    finally:
        alone.process.terminate()
        alone.process.wait(30)
