"""The HTTP door over real sockets: what pipelines, browsers and strangers get."""

from __future__ import annotations

import http.client
import json
import math
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from shadowd.errors import ShadowdError, UsageError
from shadowd.observe import entrance as door
from shadowd.observe import http as http_door
from shadowd.observe.http import address_of, serve_http
from shadowd.observe.token import Token
from tests.unit.observe.sample import sample

LIMIT = 20.0


class Filters:
    """What a daemon gives, from a table."""

    def __init__(self, verdicts: dict[str, Any]) -> None:
        self.verdicts = verdicts
        self.labels: dict[str, str] = {}

    def names(self) -> list[str]:
        return list(self.verdicts)

    async def start_run(self, name: str, label: str, restart: bool = False) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if len(label) > 20:
            raise UsageError("the label is not a line of text", "give less")
        if name == "broken":
            raise ShadowdError("the filter broken compares nothing", "give it a candidate")
        started = restart or self.labels.get(name) != label
        self.labels[name] = label
        return {"filter": name, "label": label, "started": started}

    async def verdict(self, name: str, label: str = "") -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        found = self.verdicts[name]
        if label and self.labels.get(name, "") != label:
            judged = self.labels.get(name, "")
            return {"verdict": "inconclusive", "reasons": [f"judges {judged}"], "error": "another", "judged": judged}
        if isinstance(found, Exception):
            raise found
        if found == "stuck":
            await trio.sleep_forever()
        return {"verdict": found, "score": 41, "reasons": [f"because {name}"]}

    async def report(self, name: str) -> dict[str, Any]:
        await self.verdict(name)
        return sample() | {"filter": name, "odd": math.inf}

    async def run(self) -> None:
        await trio.sleep_forever()

    async def overview(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"node": "", "filters": [], "more": 0, "problems": []}

    async def filter(self, name: str) -> dict[str, Any]:
        raise UsageError("live pages have tests of their own", "see test_live_pages.py")

    async def difference(self, name: str, group: str) -> dict[str, Any]:
        return await self.filter(name)

    async def act(self, op: str, args: dict[str, Any]) -> None:
        await self.filter(op)


class Fine:
    """A daemon that is well, unless told otherwise."""

    def __init__(self, dead: str = "", unready: str = "") -> None:
        self._dead, self._unready = dead, unready

    def dead(self) -> str:
        return self._dead

    def unready(self) -> str:
        return self._unready

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        await trio.lowlevel.checkpoint()
        if "broken" in accept:
            raise RuntimeError("secret\ndetail")
        return b"up 1\n", "text/plain; version=0.0.4"


FILTERS = {"good": "pass", "bad": "fail", "open": "inconclusive", "broken": RuntimeError("secret\ndetail")}

Answer = tuple[int, dict[str, str], bytes]


SECRET = "a token of the tests"


def serving(
    test: Callable[[str, int], Awaitable[None]],
    verdicts: dict[str, Any] | None = None,
    address: str = "127.0.0.1:0",
    monitor: Fine | None = None,
) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder, trio.fail_after(LIMIT):
            path = Path(folder) / "http.token"
            path.write_text(SECRET)
            path.chmod(0o640)
            async with trio.open_nursery() as nursery:
                filters = Filters(FILTERS if verdicts is None else verdicts)
                bound = await nursery.start(serve_http, address, filters, monitor or Fine(), Token(path), filters)
                host, port = address_of(bound)
                await test(host, port)
                nursery.cancel_scope.cancel()

    trio.run(main)


def ask(host: str, port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def answers(
    *requests: tuple[str, str], verdicts: dict[str, Any] | None = None, address: str = "127.0.0.1:0", **headers: str
) -> list[Answer]:
    found: list[Answer] = []

    async def test(host: str, port: int) -> None:
        for method, path in requests:
            body = b'{"name": "podinfo", "phase": "Progressing"}' if method == "POST" else None
            found.append(
                await trio.to_thread.run_sync(lambda m=method, p=path, b=body: ask(host, port, m, p, b, **headers))
            )

    serving(test, verdicts, address)
    return found


@pytest.mark.parametrize(("name", "verdict"), [("good", "pass"), ("bad", "fail"), ("open", "inconclusive")])
def test_a_verdict_is_json_with_status_200(name: str, verdict: str) -> None:
    ((status, headers, body),) = answers(("GET", f"/verdict?filter={name}"))
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"verdict": verdict, "score": 41, "reasons": [f"because {name}"]}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?filter=nobody", "there is no filter nobody — filters: good, bad, open, broken"),
        ("", "the parameter filter is missing — filters: good, bad, open, broken"),
        ("?filter=broken", "the verdict of broken failed: RuntimeError — see the daemon's log"),
        ("?filter=%0d%0aX%00", "there is no filter \\u{d}\\nX\\u{0}"),
    ],
)
def test_no_verdict_is_inconclusive_and_still_200(query: str, words: str) -> None:
    ((status, _, body),) = answers(("GET", f"/verdict{query}"))
    told = json.loads(body)
    assert (status, told["verdict"], told["score"]) == (200, "inconclusive", None)
    assert words in told["error"]
    assert told["reasons"] == [told["error"]]
    assert b"secret" not in body


def test_the_daemons_own_error_reaches_the_client() -> None:
    refused = ShadowdError("the run has ended", "start another")
    ((_, _, body),) = answers(("GET", "/verdict?filter=a"), verdicts={"a": refused})
    assert json.loads(body)["error"] == "the run has ended — start another"


def test_the_only_filter_need_not_be_named() -> None:
    ((_, _, body),) = answers(("GET", "/verdict"), verdicts={"only": "fail"})
    assert json.loads(body)["verdict"] == "fail"


def test_a_verdict_that_never_comes_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_door, "ANSWER_SECONDS", 0.05)
    ((status, _, body),) = answers(("GET", "/verdict"), verdicts={"a": "stuck"})
    assert (status, json.loads(body)["verdict"]) == (200, "inconclusive")
    assert "took longer" in json.loads(body)["error"]


def test_flagger_goes_on_only_with_a_pass_and_rolls_back_only_with_a_fail() -> None:
    names = ("good", "bad", "open", "broken", "nobody")
    gates = answers(*(("POST", f"/flagger/{name}") for name in names))
    assert [status for status, *_ in gates] == [200, 412, 412, 412, 412]
    assert gates[1][2] == b"fail: because bad\n"
    rollbacks = answers(*(("POST", f"/flagger/{name}/rollback") for name in names))
    assert [status for status, *_ in rollbacks] == [412, 200, 412, 412, 412]


def test_the_report_is_a_page_that_may_load_nothing() -> None:
    (page, data, missing, missing_json, broken) = answers(
        ("GET", "/report/bad"),
        ("GET", "/report/bad.json"),
        ("GET", "/report/%3Cb%3E"),
        ("GET", "/report/nobody.json"),
        ("GET", "/report/broken"),
        Authorization=f"Bearer {SECRET}",
    )
    assert page[0] == 200
    assert page[1]["content-type"] == "text/html; charset=utf-8"
    assert page[1]["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert page[1]["x-content-type-options"] == "nosniff"
    assert page[2].startswith(b"<!DOCTYPE html>")
    assert json.loads(data[2])["filter"] == "bad"
    assert json.loads(data[2])["odd"] is None  # JSON has no infinity
    assert (missing[0], missing[1]["content-type"]) == (404, "text/plain; charset=utf-8")
    assert missing_json[0] == 404
    assert "no filter nobody" in json.loads(missing_json[2])["error"]
    assert broken[0] == 500
    assert b"secret" not in broken[2]


def test_head_has_no_body_and_other_methods_are_refused() -> None:
    (head, put, options, trace, post) = answers(
        ("HEAD", "/verdict?filter=good"), ("PUT", "/verdict"), ("OPTIONS", "/"), ("TRACE", "/"), ("POST", "/verdict")
    )
    assert (head[0], head[2]) == (200, b"")
    assert [one[0] for one in (put, options, trace, post)] == [405] * 4
    assert put[1]["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9750", "127.0.0.1", "127.0.0.1:1", "[::1]:9750", "LOCALHOST."]
)
def test_names_of_the_loopback_address_are_served(host: str) -> None:
    assert answers(("GET", "/healthz"), Host=host)[0][0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9750", "127.0.0.1.evil.example", "localhost:x", "", "::2"]
)
def test_other_names_are_not_served_at_the_loopback_address(host: str) -> None:
    """DNS rebinding: a page of evil.example, whose name now means 127.0.0.1, must not read the report."""
    status, _, body = answers(("GET", "/report/bad"), Host=host)[0]
    assert status in (400, 421)
    assert b"<html" not in body


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {SECRET}", 200),
        (f"bearer  {SECRET}", 200),
        ("Basic " + b64encode(f"anybody:{SECRET}".encode()).decode(), 200),
        ("", 401), ("Bearer", 401), (f"Bearer {SECRET}x", 401), (f"Bearer {SECRET[:-1]}", 401), (SECRET, 401),
        ("Basic " + b64encode(SECRET.encode()).decode(), 401), ("Basic ?", 401), ("Bearer \xe9", 401),
    ],
)  # fmt: skip
def test_reports_ask_for_the_token_and_verdicts_do_not(given: str, status: int) -> None:
    asked = ("/report/bad", "/report/bad.json", "/report/nobody", "/verdict?filter=bad", "/", "/metrics", "/readyz")
    page, data, missing, *others = answers(*(("GET", path) for path in asked), Authorization=given)
    assert (page[0], data[0]) == (status, status)
    assert missing[0] == (404 if status == 200 else 401)
    assert [one[0] for one in others] == [200] * 4
    if status == 401:
        assert page[1]["www-authenticate"].startswith("Basic ")
        assert "Authorization: Bearer $(cat " in json.loads(data[2])["error"]


def test_a_verdict_without_the_token_has_no_words_of_errors() -> None:
    signature = {"fingerprint": "1f", "title": "500 no such user bob", "count": 3}
    found = {"verdict": "fail", "score": 1, "reasons": ["r"], "findings": [{"judge": "errors", "signature": signature}]}

    class Worded(Filters):
        async def verdict(self, name: str, label: str = "") -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return found

    told: list[str] = []

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            token = Token(Path(folder) / "t")
            token.prepare(0)
            async with trio.open_nursery() as nursery:
                bound = await nursery.start(serve_http, "127.0.0.1:0", Worded({"a": 1}), Fine(), token)
                host, port = address_of(bound)
                for given in ("", f"Bearer {token.path.read_text().strip()}"):
                    answer = await trio.to_thread.run_sync(
                        lambda g=given: ask(host, port, "GET", "/verdict?filter=a", Authorization=g)
                    )
                    told.append(answer[2].decode())
                nursery.cancel_scope.cancel()

    trio.run(main)
    assert "bob" not in told[0]
    assert "1f" in told[0]
    assert "no such user bob" in told[1]


def test_where_it_is_open_to_the_network_all_but_health_asks_for_the_token() -> None:
    async def test(host: str, port: int) -> None:
        def status(path: str, **headers: str) -> int:
            return ask("127.0.0.1", port, "GET", path, None, Host="shadow.internal", **headers)[0]

        def look() -> None:
            assert [status(path) for path in ("/healthz", "/readyz")] == [200, 200]
            closed = ("/", "/metrics", "/verdict?filter=good", "/report/good", "/nothing")
            assert [status(path) for path in closed] == [401] * 5
            assert [status(path, Authorization=f"Bearer {SECRET}") for path in closed] == [200] * 4 + [404]

        await trio.to_thread.run_sync(look)

    serving(test, address="0.0.0.0:0")


@pytest.mark.parametrize("named", [False, None])
def test_it_is_not_opened_to_the_network_without_a_token_file(named: bool | None) -> None:
    token = None if named is None else Token(Path("/run/t"), named)
    with pytest.raises(ShadowdError, match=r"open to the network, .* http_token_file .* or listen on 127.0.0.1"):
        trio.run(serve_http, "0.0.0.0:0", Filters({}), Fine(), token)


def test_the_token_s_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "http.token"
    token = Token(path)
    token.prepare(path.parent.parent.stat().st_gid)
    first = path.read_text().strip()
    assert (path.stat().st_mode & 0o777, len(first)) == (0o640, 64)
    assert token.admits(f"Bearer {first}")
    Token(path).prepare(0)  # it stays
    assert path.read_text().strip() == first
    path.write_text("another token of ours\n")
    assert not token.admits(f"Bearer {first}")
    assert token.admits("Bearer another token of ours")
    path.unlink()
    assert not token.admits("Bearer another token of ours")
    for content, mode, why in (("short", 0o640, "holds no token"), ("x" * 20, 0o644, "others may read"),
                               ("x" * 20, 0o660, "others may read or write")):  # fmt: skip
        path.write_text(content)
        path.chmod(mode)
        with pytest.raises(ShadowdError, match=why):
            Token(path).prepare(0)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ShadowdError, match="is a symlink and no file"):
        Token(path, named=False).prepare(0)
    with pytest.raises(ShadowdError, match="/dev/zero is a device and no file"):
        Token(path).prepare(0)  # the operator's may lie behind a symlink: in a mounted Secret every file does


def test_a_large_body_is_refused_whether_its_size_is_told_or_not() -> None:
    async def test(host: str, port: int) -> None:
        told = await trio.to_thread.run_sync(lambda: ask(host, port, "POST", "/flagger/good", b"x" * 70_000))
        assert told[0] == 413

        def chunked() -> int:
            connection = http.client.HTTPConnection(host, port, timeout=10)
            parts = iter([b"x" * 30_000] * 3)
            connection.request("POST", "/flagger/good", parts, encode_chunked=True)
            status = connection.getresponse().status
            connection.close()
            return status

        assert await trio.to_thread.run_sync(chunked) == 413

    serving(test)


def test_a_large_head_is_refused() -> None:
    async def test(host: str, port: int) -> None:
        answer = await trio.to_thread.run_sync(lambda: ask(host, port, "GET", "/healthz", X_Padding="x" * 40_000))
        assert answer[0] == 431

    serving(test)


def test_too_many_requests_are_told_and_health_is_answered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_CONNECTIONS", 3)

    async def test(host: str, port: int) -> None:
        held = [await trio.open_tcp_stream(host, port) for _ in range(3)]
        for stream in held:  # kept alive: each has its place
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        for path, status in (("/verdict", 503), ("/healthz", 200), ("/readyz?x=1", 503), ("/", 503)):
            assert (await trio.to_thread.run_sync(lambda p=path: ask(host, port, "GET", p)))[0] == status
        for stream in held:
            await stream.aclose()
        status = 503
        while status != 200:  # until their places are free again; ``serving`` ends it
            status = (await trio.to_thread.run_sync(lambda: ask(host, port, "GET", "/verdict?filter=good")))[0]

    serving(test, monitor=Fine(unready="a filter is not attached"))


def test_ten_thousand_slow_connections_leave_health_answering() -> None:
    """As many as descriptors allow, in rounds: each round is more than the door holds."""

    async def test(host: str, port: int) -> None:
        def flood() -> list[int]:
            told = []
            for _ in range(20):
                held = [socket.create_connection((host, port), 10) for _ in range(500)]
                for number, one in enumerate(held):
                    if number % 2:
                        one.sendall(b"GET / HTTP/1.1\r\nHost: loc")
                told.append(ask(host, port, "GET", "/healthz")[0])
                for one in held:
                    one.close()
            return told

        assert await trio.to_thread.run_sync(flood) == [200] * 20

    serving(test)


def test_of_a_burst_of_silent_connections_only_the_newest_cost_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody of the others would be let in, and a health check that waits among them is."""
    begun: list[int] = []
    original = door.Entrance._let_in

    async def counted(self: door.Entrance, stream: trio.SocketStream) -> None:
        begun.append(1)
        await original(self, stream)

    monkeypatch.setattr(door.Entrance, "_let_in", counted)
    count = door._BATCH

    async def test(host: str, port: int) -> None:
        checking = socket.create_connection((host, port), 10)  # these come while the door has no turn
        checking.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        held = [socket.create_connection((host, port), 10) for _ in range(count - 1)]
        checking.settimeout(10)
        assert (await trio.to_thread.run_sync(checking.recv, 100)).startswith(b"HTTP/1.1 200 ")
        assert len(begun) == door.LOBBY + 1
        for one in (*held, checking):
            one.close()

    serving(test)


def test_a_silent_connection_and_one_that_drips_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "IDLE_SECONDS", 1.0)

    async def test(host: str, port: int) -> None:
        silent = await trio.open_tcp_stream(host, port)
        drip = await trio.open_tcp_stream(host, port)
        await drip.send_all(b"GET / HTT")
        with trio.fail_after(5):
            assert await silent.receive_some() == b""
            assert await drip.receive_some() == b""
        await silent.aclose()
        await drip.aclose()

    serving(test)


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\x00" * 500, b"GET / HTTP/1.1\r\n\r\n"]
)
def test_junk_ends_its_own_connection_only(junk: bytes) -> None:
    async def test(host: str, port: int) -> None:
        stream = await trio.open_tcp_stream(host, port)
        await stream.send_all(junk)
        said = await stream.receive_some()
        assert said == b"" or said.startswith(b"HTTP/1.1 400")
        await stream.aclose()
        reset = socket.create_connection((host, port))
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        reset.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reset.close()
        assert (await trio.to_thread.run_sync(lambda: ask(host, port, "GET", "/healthz")))[0] == 200

    serving(test)


def test_a_client_that_does_not_read_cannot_hold_up_the_end() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            bound = await nursery.start(serve_http, "127.0.0.1:0", Filters(FILTERS), Fine())
            host, port = address_of(bound)
            deaf = socket.create_connection((host, port))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(b"GET /report/bad HTTP/1.1\r\nHost: localhost\r\n\r\n" * 60)
            await trio.sleep(0.3)
            nursery.cancel_scope.cancel()
        deaf.close()

    started = time.monotonic()
    trio.run(main)
    assert time.monotonic() - started < 8


@pytest.mark.parametrize("address", ["", "9750", ":9750", "localhost:", "localhost:x", "a:70000", "::1:9750", "h:١"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="no address to listen on — give HOST:PORT"):
        address_of(address)


def test_addresses() -> None:
    assert address_of("127.0.0.1:9750") == ("127.0.0.1", 9750)
    assert address_of("[::1]:0") == ("::1", 0)
    assert address_of("web-1.internal:80") == ("web-1.internal", 80)


def test_an_address_in_use_is_one_line_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ShadowdError) as caught:
            trio.run(serve_http, f"127.0.0.1:{port}", Filters({}), Fine())
    assert str(caught.value) == (
        f"127.0.0.1:{port} cannot be bound: Address already in use — "
        "choose another address in the configuration or with --http, or '' for none"
    )


def test_a_name_that_does_not_resolve_is_one_line() -> None:
    with pytest.raises(ShadowdError, match="cannot be bound: "):
        trio.run(serve_http, "no-such-host.invalid:9750", Filters({}), Fine())


def test_the_page_alone_needs_no_server() -> None:
    """The command line and the daemon's start-up must not pay for the door's packages."""
    script = (
        "import sys, shadowd.observe.report, shadowd.observe.markdown\n"
        "print([name for name in ('starlette', 'hypercorn', 'trio', 'socket') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_the_metrics_page_and_one_that_fails() -> None:
    good, bad = answers(("GET", "/metrics")), answers(("GET", "/metrics"), Accept="broken")
    assert good[0][0] == 200
    assert (good[0][1]["content-type"], good[0][2]) == ("text/plain; version=0.0.4", b"up 1\n")
    assert bad[0][0] == 500
    assert b"secret" not in bad[0][2]


def test_a_verdict_belongs_to_a_build() -> None:
    found = answers(
        ("POST", "/run/good?label=v2"), ("POST", "/run/good?label=v2"), ("GET", "/verdict?filter=good&label=v2"),
        ("GET", "/verdict?filter=good&label=v3"), ("POST", "/run/good?label=v2&restart=true"),
        ("POST", "/run/nope?label=v2"), ("POST", "/run/good?label=" + "x" * 50), ("POST", "/run/broken?label=v2"),
        X_Shadowd="run",
    )  # fmt: skip
    assert [status for status, _, _ in found] == [200, 200, 200, 409, 200, 404, 400, 409]
    told = [json.loads(body) for _, _, body in found]
    assert [told[index]["started"] for index in (0, 1, 4)] == [True, False, True], "pipelines try again"
    assert (told[2]["verdict"], told[3]["verdict"], told[3]["judged"]) == ("pass", "inconclusive", "v2")
    assert all("error" in told[index] for index in (3, 5, 6, 7))


@pytest.mark.parametrize("path", ["/run/good?label=v2", "/flagger/good/start"])
@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_no_web_page_can_begin_a_run(path: str, kind: str) -> None:
    """Those are the types that a page may send to anybody without asking."""
    ((status, _, body),) = answers(("POST", path), **({"Content_Type": kind} if kind else {}))
    assert status == 403
    assert "X-Shadowd" in json.loads(body)["error"]


def webhooks(*calls: tuple[str, dict[str, Any]]) -> list[int]:
    found: list[int] = []

    async def test(host: str, port: int) -> None:
        for path, payload in calls:
            body = json.dumps(payload).encode()
            told = await trio.to_thread.run_sync(
                lambda p=path, b=body: ask(host, port, "POST", p, b, Content_Type="application/json")
            )
            found.append(told[0])

    serving(test)
    return found


def test_flagger_is_told_of_its_own_rollout_alone() -> None:
    first, second = {"name": "shop", "checksum": "aaa"}, {"name": "shop", "checksum": "bbb"}
    named = {"metadata": {"label": "v9"}}
    assert webhooks(
        ("/flagger/good", first), ("/flagger/good/start", first), ("/flagger/good", first), ("/flagger/good", second),
        ("/flagger/good/start", second), ("/flagger/good", second), ("/flagger/good", first), ("/flagger/good", named),
        ("/flagger/good/start", named), ("/flagger/good", named), ("/flagger/good", first),
    ) == [200, 200, 200, 412, 200, 200, 412, 412, 200, 200, 200]  # fmt: skip
