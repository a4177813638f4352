"""Redis through ``raw``: what production's redis is told, a shadow redis is told, in the same order a connection."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, need
from tests.netns.lab import Daemon, check_ledger, free_port, running, sh, wait_for

pytestmark = pytest.mark.usefixtures("root_user")

#: Limits that shed nothing however slow the host is: a raw stream with a turn left out is another stream.
PATIENT = {"max_lag": 600, "timeout": 60, "max_in_flight": 100_000, "max_buffered": 64 << 20}


class Redis:
    """A redis-server of the test's own, nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        folder.mkdir()
        options = ["--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        self._process = subprocess.Popen(
            ["redis-server", *map(str, options), "--enable-debug-command", "yes"], stdout=subprocess.DEVNULL
        )
        wait_for("redis answers", lambda: self._answers())

    def _answers(self) -> bool:
        return "PONG" in sh("redis-cli", "-p", str(self.port), "ping", check=False)

    def ask(self, *words: str) -> str:
        return sh("redis-cli", "-p", str(self.port), *words).strip()

    @property
    def contents(self) -> tuple[str, str]:
        """Number of keys, and redis's own digest over all keys and values."""
        return self.ask("dbsize"), self.ask("debug", "digest")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    need(all(shutil.which(f"redis-{name}") for name in ("server", "cli", "benchmark")), "needs redis")
    with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


@pytest.fixture(autouse=True)
def filters_end(daemon: Daemon) -> Iterator[None]:
    """Each test's filters are removed whatever became of it, their ledgers checked once more."""
    yield
    for view in daemon.call("filter.ls"):
        check_ledger(daemon.ledger(view["name"]))
        daemon.call("filter.rm", name=view["name"])


@pytest.fixture(scope="module")
def pair(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Redis, Redis]]:
    folder = tmp_path_factory.mktemp("redis")
    production, shadow = Redis(folder / "production"), Redis(folder / "shadow")
    yield production, shadow
    production.close()
    shadow.close()


@pytest.fixture
def redis(daemon: Daemon, pair: tuple[Redis, Redis]) -> tuple[Redis, Redis]:
    """Production and shadow, both empty, the filter in between."""
    production, shadow = pair
    for each in pair:
        each.ask("flushall")
        each.ask("config", "resetstat")
    daemon.add("cache", production.port, f"tcp://127.0.0.1:{shadow.port}", protocol="raw", allow_writes=True, **PATIENT)
    return pair


def all_mirrored(daemon: Daemon, least: int) -> None:
    """Nothing was left out: every turn of every connection reached the shadow and was answered."""
    ledger = daemon.settled("cache", lambda found: found["seen"] >= least)
    (target,) = ledger["targets"]
    assert (ledger["lost"], ledger["filtered"], target["shed"], target["failed"]) == ({}, {}, {}, {})
    assert target["mirrored"] == ledger["seen"]


def command(*words: str) -> bytes:
    """RESP, as every redis client sends it."""
    parts = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(parts)


class Line:
    """One connection to production's redis."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._replies = self.sock.makefile("rb")

    def say(self, *commands: bytes) -> list[bytes]:
        """Send commands in one write; their replies, which must be simple lines."""
        self.sock.sendall(b"".join(commands))
        return [self._replies.readline().rstrip() for _ in commands]

    def line(self) -> bytes:
        return self._replies.readline().rstrip()

    def close(self) -> None:
        self._replies.close()
        self.sock.close()


def test_commands_of_several_clients_arrive_in_order(daemon: Daemon, redis: tuple[Redis, Redis]) -> None:
    production, shadow = redis
    errors: list[str] = []

    def talk(client: int) -> None:
        line = Line(production.port)
        for turn in range(60):
            # APPEND is not commutative: another order is another value; turns have 1 to 8 commands
            words = [command("APPEND", f"log{client}", f"<{turn}.{step}>") for step in range(1 + turn % 8)]
            for reply in line.say(*words):
                if not reply.startswith(b":"):
                    errors.append(reply.decode())
        line.close()

    threads = [threading.Thread(target=talk, args=(client,)) for client in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    all_mirrored(daemon, 6 * 60)
    assert production.contents[0] == "6"
    assert shadow.contents == production.contents


def test_transactions_and_large_values(daemon: Daemon, redis: tuple[Redis, Redis]) -> None:
    production, shadow = redis
    line = Line(production.port)
    for number in range(20):
        words = [("MULTI",), ("INCR", "n"), ("APPEND", "order", f"{number},"), ("EXEC",)]
        assert line.say(*(command(*word) for word in words))[-1] == b"*2"
        assert line.line().startswith(b":")
        assert line.line().startswith(b":")
    # the same step by step, each reply awaited; and one transaction that is given up
    for word in (("MULTI",), ("SET", "x", "1"), ("DISCARD",), ("MULTI",), ("RPUSH", "list", "a", "b", "c")):
        assert line.say(command(*word))[0].startswith(b"+")
    assert line.say(command("EXEC")) == [b"*1"]
    assert line.line() == b":3"
    assert line.say(command("SET", "large", "v" * 3_000_000)) == [b"+OK"]
    line.close()
    all_mirrored(daemon, 20 + 6 + 1)
    assert production.ask("get", "n") == "20"
    assert production.ask("exists", "x") == "0"
    wait_for("the last commands are mirrored", lambda: shadow.contents == production.contents)
    all_mirrored(daemon, 1)


@pytest.mark.parametrize("pipeline", [1, 16])
def test_redis_benchmark(daemon: Daemon, redis: tuple[Redis, Redis], pipeline: int) -> None:
    production, shadow = redis
    commands = 2_000 * pipeline
    told = sh(
        "redis-benchmark", "-p", str(production.port), "-c", "8", "-P", str(pipeline), "-n", str(commands), "-r", "500",
        "-t", "set,incr,lpush,hset,get", "-q",
    )  # fmt: skip
    assert "requests per second" in told
    all_mirrored(daemon, 5 * commands // pipeline // 16)
    assert shadow.contents == production.contents
    assert int(production.contents[0]) > 500
    # INFO of the shadow: it executed as many writes as production
    assert executed(shadow) == executed(production)


def executed(server: Redis) -> dict[str, str]:
    """Calls of each writing command since the last reset of the statistics."""
    found = {}
    for line in server.ask("info", "commandstats").splitlines():
        name, _, numbers = line.strip().partition(":")
        if name.removeprefix("cmdstat_") in ("set", "incr", "lpush", "hset"):
            found[name] = numbers.partition(",")[0]
    return found


def test_a_connection_seen_from_the_middle_is_given_up(daemon: Daemon, pair: tuple[Redis, Redis]) -> None:
    production, shadow = pair
    for each in pair:
        each.ask("flushall")
    old = Line(production.port)
    assert old.say(command("SET", "before", "1")) == [b"+OK"]
    daemon.add("cache", production.port, f"tcp://127.0.0.1:{shadow.port}", protocol="raw", allow_writes=True, **PATIENT)
    for number in range(5):
        assert old.say(command("SET", f"old{number}", "1")) == [b"+OK"]
    fresh = Line(production.port)
    assert fresh.say(command("SET", "fresh", "1")) == [b"+OK"]
    ledger = daemon.settled("cache", lambda found: found["targets"][0]["mirrored"] == 1)
    assert ledger["lost"] == {"midstream": 1}
    assert shadow.ask("keys", "*") == "fresh"
    old.close()
    fresh.close()


def test_a_client_that_thinks_long_is_no_timeout(daemon: Daemon, pair: tuple[Redis, Redis]) -> None:
    """Pooled connections idle, blocking commands block: the time limit is for the shadow, not for production."""
    production, shadow = pair
    for each in pair:
        each.ask("flushall")
    url = f"tcp://127.0.0.1:{shadow.port}"
    daemon.add("cache", production.port, url, protocol="raw", allow_writes=True, max_lag=600, timeout=0.5)
    line = Line(production.port)
    assert line.say(command("APPEND", "log", "1")) == [b":1"]
    ledger = daemon.settled("cache", lambda found: found["targets"][0]["mirrored"] == 1)  # the line is still open
    assert ledger["targets"][0]["failed"] == {}
    assert line.say(command("BLPOP", "nothing", "2")) == [b"*-1"]  # four times the time limit, by redis's own clock
    assert line.say(command("APPEND", "log", "2")) == [b":2"]
    ledger = daemon.settled("cache", lambda found: found["seen"] == 3)
    (target,) = ledger["targets"]
    assert (target["mirrored"], target["failed"]) == (3, {})
    assert shadow.ask("get", "log") == "12"
    line.close()


def test_a_raw_connection_with_a_turn_left_out_is_given_up(daemon: Daemon, pair: tuple[Redis, Redis]) -> None:
    """One turn is too large for the target's limit: what follows on that connection would be another conversation."""
    production, shadow = pair
    for each in pair:
        each.ask("flushall")
    url = f"tcp://127.0.0.1:{shadow.port}"
    daemon.add("cache", production.port, url, protocol="raw", allow_writes=True, max_buffered=64 << 10)
    first, second = Line(production.port), Line(production.port)
    assert first.say(command("SET", "a", "1")) == [b"+OK"]
    assert first.say(command("SET", "b", "x" * 100_000)) == [b"+OK"]
    for key in ("c", "d"):
        assert first.say(command("SET", key, "1")) == [b"+OK"]
    assert second.say(command("SET", "e", "1")) == [b"+OK"]
    ledger = daemon.settled("cache", lambda found: found["seen"] == 5)
    (target,) = ledger["targets"]
    assert (target["mirrored"], target["shed"]) == (2, {"target_memory": 3})
    assert sorted(shadow.ask("keys", "*").split()) == ["a", "e"]
    first.close()
    second.close()


def test_raw_needs_allow_writes(daemon: Daemon, pair: tuple[Redis, Redis]) -> None:
    production, shadow = pair
    command_line = [
        sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(daemon.socket), "filter", "add", "forbidden",
        "--port", str(production.port), "--protocol", "raw", "--to", f"tcp://127.0.0.1:{shadow.port}",
    ]  # fmt: skip
    refused = subprocess.run(command_line, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "allow_writes" in line
    assert "--allow-writes" in line
    assert daemon.call("filter.ls") == []
    allowed = subprocess.run([*command_line, "--allow-writes"], capture_output=True, timeout=60, cwd=ROOT, check=False)
    assert allowed.returncode == 0
