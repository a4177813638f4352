"""The control server with real sockets: who may speak, what is refused, and that one bad client harms no other."""

from __future__ import annotations

import logging
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from shadowd.control import server
from shadowd.control.client import Client
from shadowd.control.server import serve_control
from shadowd.control.wire import REPLY_LIMIT, REQUEST_LIMIT, FrameDecoder, Request, encode
from shadowd.errors import ShadowdError, UsageError

LIMIT = 20.0  # seconds that a test may take: a hang is a failure


async def handler(op: str, args: dict[str, Any]) -> object:
    match op:
        case "echo":
            return args
        case "usage":
            raise UsageError("a is wrong", "do b")
        case "crash":
            raise RuntimeError("secret\ndetail")
        case "large":
            return "x" * (REPLY_LIMIT + 1)
        case "bulk":
            return "x" * (REPLY_LIMIT - 1000)
        case "odd":
            return object()
    return None


@pytest.fixture
def path() -> Iterator[Path]:
    """In a directory that other users may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory) / "control.sock"


def serving(path: Path, test: Callable[[], Awaitable[None]], group: str | None = None) -> None:
    """Run ``test`` while ``path`` is served."""

    async def main() -> None:
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_control, path, group, handler)
                await test()
                nursery.cancel_scope.cancel()

    trio.run(main)


async def call(path: Path, op: str, **args: Any) -> Any:
    """A client of its own, in a thread, as shadowctl is one in a process."""
    return await trio.to_thread.run_sync(lambda: Client(path, timeout=10).call(op, **args))


async def raw(path: Path, data: bytes) -> list[dict[str, Any]]:
    """Send bytes, and read replies until the server closes."""
    replies: list[dict[str, Any]] = []
    decoder = FrameDecoder(REPLY_LIMIT)
    async with await trio.open_unix_socket(str(path)) as stream:
        try:
            await stream.send_all(data)
        except trio.BrokenResourceError:
            pass  # closed on us already; what it said is still to be read
        while True:
            try:
                received = await stream.receive_some(65536)
            except trio.BrokenResourceError:
                return replies
            if not received:
                return replies
            replies += decoder.feed_untrusted(bytes(received))


def test_a_call_comes_back(path: Path) -> None:
    async def test() -> None:
        args = {"a": [1, 2.5, None, True, "ü"], "b": {"c": "d" * 100_000}}
        assert await call(path, "echo", **args) == args

    serving(path, test)


def test_one_connection_serves_many_calls(path: Path) -> None:
    def talk() -> None:
        with Client(path) as client:
            assert [client.call("echo", n=n) for n in range(50)] == [{"n": n} for n in range(50)]
            with pytest.raises(UsageError, match="a is wrong — do b"):
                client.call("usage")
            assert client.call("echo", after="error") == {"after": "error"}

    serving(path, lambda: trio.to_thread.run_sync(talk))


def test_requests_sent_ahead_are_answered_in_order(path: Path) -> None:
    async def test() -> None:
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(b"".join(Request("echo", {"n": n}, n).frame() for n in range(1, 500)))
            decoder = FrameDecoder(REPLY_LIMIT)
            numbers: list[int] = []
            while len(numbers) < 499:
                numbers += [reply["id"] for reply in decoder.feed_untrusted(bytes(await stream.receive_some(4096)))]
            assert numbers == list(range(1, 500))

    serving(path, test)


def test_a_request_may_come_byte_by_byte(path: Path) -> None:
    async def test() -> None:
        async with await trio.open_unix_socket(str(path)) as stream:
            for byte in Request("echo", {"a": 1}, 3).frame():
                await stream.send_all(bytes([byte]))
            (reply,) = FrameDecoder().feed_untrusted(bytes(await stream.receive_some(4096)))
            assert reply == {"v": 1, "id": 3, "ok": True, "result": {"a": 1}}

    serving(path, test)


def test_the_socket_is_private_and_goes_with_the_server(path: Path) -> None:
    async def test() -> None:
        there = os.lstat(path)
        assert stat.S_ISSOCK(there.st_mode)
        assert there.st_mode & 0o777 == 0o660
        assert there.st_gid == os.getegid()

    serving(path, test)
    assert not path.exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "malformed request: a frame of"),
        ((REQUEST_LIMIT + 1).to_bytes(4, "big") + b"x" * 300_000, "over the limit"),
        (b"\x00\x00\x00\x01\xc1", "malformed request: not msgpack"),
        (b"\x00\x00\x00\x01\x90", "the frame is not a map"),
        (encode({"v": 1}), "a request is a map of v, id, op and args"),
        (encode({"v": 9, "id": 1, "op": "echo", "args": {}}), "the client speaks control protocol 9, this daemon 1"),
        (encode({}), "the client speaks control protocol of no version, this daemon 1"),
    ],
    ids=["http", "too large", "garbage", "list", "no op", "version", "empty"],
)
def test_nonsense_closes_that_client_only(path: Path, data: bytes, says: str) -> None:
    async def test() -> None:
        def talk() -> None:
            with Client(path) as other:
                assert other.call("echo", n=1) == {"n": 1}
                (reply,) = trio.from_thread.run(raw, path, data)
                assert reply["ok"] is False
                assert says in reply["error"]["problem"]
                assert other.call("echo", n=2) == {"n": 2}

        await trio.to_thread.run_sync(talk)

    serving(path, test)


def test_what_the_handler_refuses_keeps_kind_and_exit_code(path: Path) -> None:
    async def test() -> None:
        with pytest.raises(UsageError) as raised:
            await call(path, "usage")
        assert (raised.value.problem, raised.value.remedy, raised.value.exit_code) == ("a is wrong", "do b", 2)

    serving(path, test)


def test_a_fault_of_the_daemon_is_told_once_and_survived(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        with caplog.at_level(logging.WARNING):
            with pytest.raises(ShadowdError, match="the daemon failed to do crash: RuntimeError — see its log"):
                await call(path, "crash")
            for op in ("large", "odd"):
                with pytest.raises(ShadowdError, match="the answer cannot be sent"):
                    await call(path, op)
        assert await call(path, "echo", a=1) == {"a": 1}

    serving(path, test)
    crashes = [record.getMessage() for record in caplog.records if "crash" in record.getMessage()]
    assert len(crashes) == 1
    assert "RuntimeError: secret detail at test_server.py:" in crashes[0]
    assert "\n" not in crashes[0]
    assert not any(record.exc_info for record in caplog.records)


def test_a_crash_ends_that_connection(path: Path) -> None:
    async def test() -> None:
        replies = await raw(path, Request("crash", {}, 1).frame() + Request("echo", {}, 2).frame())
        assert [reply["id"] for reply in replies] == [1], "the second request is not looked at"

    serving(path, test)


def test_silent_clients_are_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)

    async def test() -> None:
        begun = trio.current_time()
        assert await raw(path, b"") == []
        assert await raw(path, Request("echo", {}, 1).frame()[:-1]) == [], "half a request is silence too"
        assert 0.4 <= trio.current_time() - begun < 10

    serving(path, test)


def test_the_client_connects_again_after_it_was_closed_for_silence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)

    async def test() -> None:
        with Client(path) as client:
            for number in range(2):
                assert await trio.to_thread.run_sync(lambda n=number: client.call("echo", a=n)) == {"a": number}
                await trio.sleep(0.6)

    serving(path, test)


def test_a_client_that_does_not_read_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WRITE_SECONDS", 0.3)

    async def test() -> None:
        async with await trio.open_unix_socket(str(path)) as deaf:
            await deaf.send_all(Request("bulk", {}, 1).frame())
            await trio.sleep(0.1)
            assert await call(path, "echo", a=1) == {"a": 1}, "the others do not wait for it"
            await trio.sleep(0.5)
            received = bytearray()
            with pytest.raises((EOFError, trio.BrokenResourceError)):  # noqa: PT012
                while data := await deaf.receive_some(1 << 20):
                    received += data
                raise EOFError
            assert len(received) < REPLY_LIMIT - 1000, "the rest was given up"

    serving(path, test)


def test_clients_are_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CLIENTS", 4)

    async def test() -> None:
        streams = []
        for number in range(4):
            stream = await trio.open_unix_socket(str(path))
            await stream.send_all(Request("echo", {}, number).frame())
            await stream.receive_some(4096)
            streams.append(stream)
        with pytest.raises(ShadowdError, match="4 clients are connected — try again later"):
            await call(path, "echo")
        await streams.pop().aclose()
        await trio.sleep(0.1)
        assert await call(path, "echo", a=1) == {"a": 1}
        for stream in streams:
            await stream.aclose()

    serving(path, test)


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(path: Path) -> None:
    async def test() -> None:
        with pytest.raises(ShadowdError, match=rf"another shadowd is running \(pid {os.getpid()}\)"):
            await serve_control(path, None, handler)
        Path(f"{path}.lock").unlink()  # as a cleaner of /run may: the socket itself still tells
        with pytest.raises(ShadowdError, match=rf"another shadowd is running \(pid {os.getpid()}\)"):
            await serve_control(path, None, handler)
        assert await call(path, "echo", a=1) == {"a": 1}

    serving(path, test)


def test_a_stale_socket_is_replaced(path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    assert path.is_socket()

    async def test() -> None:
        assert await call(path, "echo", a=1) == {"a": 1}

    serving(path, test)


@pytest.mark.parametrize(
    ("name", "group", "says"),
    [
        ("file", None, "exists and is not a socket"),
        ("s" * 120, None, "is too long for a socket"),
        ("new", "no-such-group", "there is no group no-such-group — create it: groupadd"),
        ("file/below", None, "cannot be made: "),
    ],
)
def test_what_cannot_be_made_is_told(path: Path, name: str, group: str | None, says: str) -> None:
    (path.parent / "file").write_text("kept")

    async def main() -> None:
        with trio.fail_after(LIMIT):
            await serve_control(path.parent / name, group, handler)

    with pytest.raises(ShadowdError, match=says):
        trio.run(main)
    assert (path.parent / "file").read_text() == "kept"


AS_OTHER = """
import os, sys
from shadowd.control.client import Client
from shadowd.errors import ShadowdError
os.setgroups([int(group) for group in sys.argv[2].split(",") if group])
os.setgid(65534)
os.setuid(65534)
try:
    print(Client(sys.argv[1]).call("echo", a=1))
except ShadowdError as error:
    print(error)
"""


async def as_other(path: Path, groups: str = "") -> str:
    """What a process of uid 65534 with these supplementary groups is told."""
    command = [sys.executable, "-c", AS_OTHER, str(path), groups]
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT)
    return done.stdout.decode().strip()


@pytest.mark.usefixtures("root_user")
def test_other_users_are_let_in_by_group_only(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        assert os.stat(path).st_gid == 61234
        refused = await as_other(path)
        assert refused.startswith(f"permission denied: {path} — run it with sudo, or join the group shadowd")
        assert await as_other(path, "61233,61234") == "{'a': 1}"
        # whoever gets past the file's mode is still asked who he is
        os.chmod(path, 0o666)
        refused = await as_other(path, "61233")
        assert refused == "permission denied for uid 65534 — run it with sudo, or join the group 61234"

    with caplog.at_level(logging.WARNING):
        serving(path, test, "61234")
    assert [record.getMessage()[:31] for record in caplog.records] == ["control: refused uid 65534 (pid"]
