"""Planted secrets through a running daemon: of 300 and more, 97 % are in nothing that leaves it.

Store (each table and blob, its log, the evidence that outlives the daemon), answers of the control socket, reports,
both doors, metrics, log: all of it is gathered and searched, in every spelling that gives a secret back.
"""

from __future__ import annotations

import json
import random
import socket
import sqlite3
import threading
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Daemon, HttpClient, Server, free_port, ok, running, wait_for
from tests.unit.redact.planted import shapes, spellings

pytestmark = pytest.mark.usefixtures("root_user")

RAW = ("redis", "postgres", "smtp", "pop3", "imap", "mqtt")
ROOTS = 60  # paths below one filter: more names of one place would be folded into {name}


class Case:
    """A shape with a secret for either side; ``failing``: the shadow answers with a 500."""

    def __init__(self, number: int, shape: str, failing: bool) -> None:
        maker, exchange = shapes()[shape]
        self.number, self.shape = number, shape
        self.secret = maker(random.Random(f"{shape} {failing} production"))
        self.other = maker(random.Random(f"{shape} {failing} shadow"))
        self.raw = shape.startswith(RAW)
        request, self.production = exchange(self.secret)
        self.shadow = exchange(self.other)[1]
        self.request = request
        if self.raw:
            self.shadow = self.shadow if self.shadow != self.production else b"-ERR no\r\n"
            return
        head, _, body = request.partition(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        line = line.replace(b" /", b" /p%d/" % (number % ROOTS), 1)
        self.request = line + b"\r\nX-Case: %d\r\n" % number + rest + b"\r\n\r\n" + body
        if failing:
            self.shadow = self.shadow.replace(b" 200 OK", b" 500 Oh").replace(b" 302 Found", b" 500 Oh")
        self.shadow = self.shadow.replace(b"\r\n", b"\r\nX-Build: 2\r\n", 1)


class Lines:
    """A server without HTTP: each connection is asked once, and answered with what belongs to the question."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while asked := connection.recv(65536):
                connection.sendall(self._answers.get(asked, b"-ERR unknown\r\n"))

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def cases() -> list[Case]:
    names = [(shape, failing) for failing in (False, True) for shape in shapes()]
    made = [Case(number, shape, failing) for number, (shape, failing) in enumerate(names)]
    return list({case.request: case for case in made}.values())  # a question without a secret has one answer


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    config = f'http = "127.0.0.1:{free_port()}"\nredact_names = ["vault"]\nredact_patterns = ["CK-[0-9]{{6}}"]\n'
    with running(tmp_path / "daemon", config) as started:
        yield started


def test_97_of_100_planted_secrets_leave_the_daemon_nowhere(daemon: Daemon, cases: list[Case]) -> None:
    daemon.call("status")
    web = [case for case in cases if not case.raw]
    groups = [web[at : at + ROOTS] for at in range(0, len(web), ROOTS)]
    servers = []
    for number, group in enumerate(groups):
        known = {case.number: case for case in group}
        production = Server(answer=lambda _, head, body, k=known: k[case_of(head)].production)  # type: ignore[misc]
        shadow = Server(answer=lambda _, head, body, k=known: k[case_of(head)].shadow)  # type: ignore[misc]
        servers += [production, shadow]
        daemon.add(f"web{number}", production.port, shadow.url, methods="any")
        client = HttpClient("127.0.0.1", production.port)
        for case in group:
            client.send(case.request)
            client.receive()
    raw = [case for case in cases if case.raw]
    ask_lines(daemon, raw, servers)
    gathered = gather(daemon)
    assert gathered.count("[redacted:") > 300
    secrets = [(case.shape, secret) for case in cases for secret in dict.fromkeys((case.secret, case.other))]
    sent = [(shape, secret) for shape, secret in secrets if any(carries(case, secret) for case in cases)]
    assert len(sent) >= 300
    left = Counter(shape for shape, secret in sent if any(spelling in gathered for spelling in spellings(secret)))
    assert sum(left.values()) <= len(sent) * 0.03, left
    for server in servers:
        server.close()


def case_of(head: bytes) -> int:
    return int(head.split(b"X-Case: ", 1)[1].split(b"\r\n", 1)[0])


def carries(case: Case, secret: str) -> bool:
    bytes_ = (case.request + case.production + case.shadow).decode("latin-1")
    return secret in (case.secret, case.other) and any(part in bytes_ for part in (*spellings(secret), secret[:4]))


def ask_lines(daemon: Daemon, raw: list[Case], servers: list[Server]) -> None:
    production = Lines({case.request: case.production for case in raw})
    shadow = Lines({case.request: case.shadow for case in raw})
    servers += [production, shadow]  # type: ignore[list-item]
    url = f"tcp://127.0.0.1:{shadow.port}"
    daemon.add("lines", production.port, url, protocol="raw", allow_writes=True)
    for case in raw:
        with socket.create_connection(("127.0.0.1", production.port), 10) as client:
            client.sendall(case.request)
            assert client.recv(65536) == case.production
        time.sleep(0.01)


def gather(daemon: Daemon) -> str:
    """Everything that leaves the daemon, as text."""
    names = [view["spec"]["name"] for view in daemon.call("filter.ls")]
    for name in names:
        daemon.settled(name, lambda ledger: ledger["seen"] > 0)
        wait_for(f"{name} is compared", lambda n=name: daemon.call("verdict", name=n)["compared"] > 10)
    said: list[object] = [daemon.call("status"), daemon.call("ledger")]
    for name in names:
        found = daemon.call("diffs", name=name)
        said += [found, daemon.call("verdict", name=name), daemon.call("report", name=name)]
        said += [daemon.call("noise.ls", name=name), daemon.call("run.ls", name=name)]
        groups = [one["id"] for one in found["differences"]] + [one["fingerprint"] for one in found["signatures"]]
        said += [daemon.call("diff", name=name, id=group) for group in groups[::7]]  # the others are in the store
    pieces = [json.dumps(said, ensure_ascii=False)]
    token = (daemon.folder / "http.token").read_text().strip()
    base = next(line for line in daemon.config.read_text().splitlines() if line.startswith("http ="))
    base = "http://" + base.split('"')[1]
    for path in ["/", "/metrics", *(f"/{kind}{name}" for kind in ("verdict?filter=", "report/") for name in names),
                 *(f"/report/{name}.json" for name in names)]:  # fmt: skip
        request = urllib.request.Request(base + path, headers={"Authorization": f"Bearer {token}"})
        pieces.append(urllib.request.urlopen(request, timeout=20).read().decode())
    pieces += files(daemon)
    pieces.append(daemon.stop())
    pieces += [*files(daemon), *stored(daemon)]
    return "\n".join(dict.fromkeys(pieces))


def files(daemon: Daemon) -> list[str]:
    """All of the state directory as it is, the store's log among them."""
    paths = [path for path in (daemon.folder / "state").iterdir() if path.name != "redaction.key"]
    return [path.read_bytes().decode("latin-1") for path in paths]


def stored(daemon: Daemon) -> list[str]:
    """What the store's rows and blobs hold."""
    folder = daemon.folder / "state"
    pieces = []
    with sqlite3.connect(f"file:{folder / 'shadowd.db'}?mode=ro", uri=True) as store:
        tables = [row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in store.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, bytes):
                        try:
                            value = zlib.decompress(value).decode("utf-8", "surrogateescape")
                        except zlib.error:
                            value = value.decode("latin-1")
                    pieces.append(str(value))
    return [piece.encode("utf-8", "replace").decode() for piece in pieces]


def test_the_operator_s_names_and_patterns_count(daemon: Daemon) -> None:
    production = Server(answer=lambda *_: ok(b'{"vaultNo":"quite plain","n":"see CK-123456","x":1}'))
    shadow = Server(answer=lambda *_: ok(b'{"vaultNo":"just words","n":"see CK-654321","x":2}'))
    daemon.add("own", production.port, shadow.url)
    client = HttpClient("127.0.0.1", production.port)
    for _ in range(20):
        client.get("/a")
    gathered = gather(daemon)
    for secret in ("quite plain", "just words", "CK-123456", "CK-654321"):
        assert secret not in gathered
    assert "see [redacted:" in gathered
    production.close()
    shadow.close()
