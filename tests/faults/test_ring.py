"""The ring overflows: the daemon stands still under load for longer than its ring lasts, and is not taken for dead."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.netns.lab import Daemon, HttpClient, Server, ok, running, wait_for
from tests.netns.test_mirror import unmarked

pytestmark = pytest.mark.usefixtures("root_user")

RING = 1 << 20
BODY = 12_000  # bytes at most: several segments to one request are usual, so that holes fall into requests too


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), f"ring_bytes = {RING}\ndead_man_seconds = 60\n") as started:
        yield started


class Uploads:
    """Clients that send requests no two of which are alike, in two writes each, and check every answer."""

    def __init__(self, port: int, clients: int, connect: Callable[[], HttpClient] | None = None) -> None:
        self.errors: list[str] = []
        self.answered = [0] * clients
        self._over = threading.Event()
        self._connect = connect or (lambda: HttpClient("127.0.0.1", port))
        self._threads = [threading.Thread(target=self._upload, args=(n,), daemon=True) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def _upload(self, index: int) -> None:
        dice = random.Random(index)
        try:
            client = self._connect()
            while not self._over.wait(0.001):
                number = self.answered[index]
                body = dice.randbytes(dice.randrange(1, BODY))
                head = f"POST /{index}/{number} HTTP/1.1\r\nHost: p\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                cut = len(head) + len(body) // 2
                client.send((head + body)[:cut])
                client.send((head + body)[cut:])
                if not client.receive().endswith(b"%d" % len(body)):
                    self.errors.append("a wrong answer")
                self.answered[index] += 1
            client.close()
        except (OSError, AssertionError) as error:
            self.errors.append(repr(error))

    def more(self, count: int) -> None:
        target = sum(self.answered) + count
        wait_for(f"{count} more answers", lambda: sum(self.answered) >= target or self.errors, 60)
        assert self.errors == []

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        assert self.errors == []


def test_a_full_ring_is_counted_and_nothing_is_spliced(daemon: Daemon) -> None:
    shadow, production = Server(), Server(answer=lambda number, head, body: ok(b"%d" % len(body)))
    daemon.add("full", production.port, shadow.url, methods="any", preserve_host=True, max_lag=3600, timeout=60)
    uploads = Uploads(production.port, 4)
    uploads.more(40)
    for _ in range(2):  # a flow that had one hole has another
        before = daemon.ledger("full")
        daemon.halt()
        uploads.more(3 * RING // (BODY // 2))  # three times what the ring holds
        daemon.go_on()
        after = wait_for(
            "requests behind the hole are mirrored",
            lambda before=before: _later(daemon.ledger("full"), before["targets"][0]["mirrored"] + 100),
        )
        assert after["kernel"]["ring_full"] > before["kernel"]["ring_full"]
        uploads.more(40)
    uploads.stop()
    ledger = daemon.settled("full")
    kernel = ledger["kernel"]
    assert kernel["lost"]["ring_full"] == kernel["ring_full_bytes"] > RING
    assert ledger["lost"]["gap"] >= 4  # each connection lost a part of its stream, and says so
    assert kernel["dead"] == 0
    missed = ledger["missed"]  # the filter's own share of it
    assert 0 < missed["lost"] < missed["matched"]
    assert missed["not_looked_at"] == 0
    assert 0.5 < missed["requests"] / len(production.requests) < 2, "about what production was asked"
    (view,) = [one for one in daemon.call("status")["filters"] if one["spec"]["name"] == "full"]
    assert "never reached this daemon" in view["words"][0]
    assert "raise ring_bytes" in view["words"][0]
    # whatever reached the shadow is one whole request of production's, unchanged, and no request came twice
    sent, replayed = Counter(production.requests), Counter(unmarked(request) for request in shadow.requests)
    assert max(sent.values()) == 1
    assert replayed <= sent
    assert len(shadow.requests) == ledger["targets"][0]["mirrored"]
    assert 0 < len(shadow.requests) < len(production.requests)
    production.close()
    shadow.close()


def test_connections_that_were_never_seen_are_their_filters_loss(daemon: Daemon) -> None:
    """Short ones, all of which open while nobody reads: what found no room is told by the kernel's count of SYNs. A
    filter beside it has lost nothing."""
    shadow, production, other = Server(), Server(), Server()
    daemon.add("short", production.port, shadow.url)
    daemon.add("beside", other.port, shadow.url)
    HttpClient("127.0.0.1", other.port).get("/beside")
    ask_once(production.port, 20)
    daemon.settled("short", lambda found: found["seen"] == 20)
    daemon.halt()
    ask_once(production.port, 4_000)
    daemon.go_on()
    ledger = daemon.settled("short", lambda found: found["lost"].get("ring_full"))
    asked = 4_020
    assert ledger["lost"]["ring_full"] > 500
    assert 0.9 * asked < ledger["seen"] < 1.1 * asked, "nearly all are accounted for: each was one request"
    assert ledger["missed"]["lost"] > 500
    beside = daemon.settled("beside")
    assert (beside["seen"], beside["lost"], beside.get("missed")) == (1, {}, None)
    for server in (production, other, shadow):
        server.close()


def ask_once(port: int, count: int) -> None:
    """So many connections of one request each."""
    for number in range(count):
        client = HttpClient("127.0.0.1", port)
        client.get(f"/{number}?{'x' * 600}")
        client.close()


def _later(ledger: dict[str, object], least: int) -> dict[str, object] | None:
    targets = ledger["targets"]
    assert isinstance(targets, list)
    return ledger if targets[0]["mirrored"] >= least else None
