"""The live pages over real sockets: who is shown what, what streams tell, and which buttons are taken."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trio

from shadowd.errors import ShadowdError, UsageError
from shadowd.observe.http import address_of, serve_http
from shadowd.observe.live import pages, streaming
from shadowd.observe.live.watching import EVERY
from shadowd.observe.token import Token
from tests.control.test_http_door import SECRET, Filters, Fine, ask
from tests.unit.observe.live_sample import gathered, one_difference

LIMIT = 30.0
BEARER = f"Bearer {SECRET}"
FORM = {"Content_Type": "application/x-www-form-urlencoded"}


class Daemon:
    """What live pages are shown; ``seen`` is what changes."""

    def __init__(self) -> None:
        self.seen = 1000
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.looked = 0

    async def run(self) -> None:
        await trio.sleep_forever()

    def names(self) -> list[str]:
        return ["shop", "a/b"]

    async def overview(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"node": "web-1", "filters": [gathered(seen=self.seen)], "more": 0, "problems": ["a problem"]}

    async def filter(self, name: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        self.looked += 1
        if self.seen < 0:
            raise ShadowdError("the store has failed", "look at the disk")
        return gathered(name, seen=self.seen)

    async def difference(self, name: str, group: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if group != "1f3a09bc":
            raise UsageError(f"the filter {name} has no difference {group}", "look again")
        return one_difference()

    async def act(self, op: str, args: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if args.get("label") == "refused":
            raise ShadowdError("the filter compares nothing", "give it a candidate")
        if args.get("rule", {}).get("where") == "nowhere":
            raise UsageError("a rule is a place", "give one")
        self.asked.append((op, args))


class Door:
    """One that is open; calls are made in threads, as by a client elsewhere."""

    def __init__(self, host: str, port: int, daemon: Daemon) -> None:
        self.host, self.port, self.daemon = host, port, daemon

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        return await trio.to_thread.run_sync(lambda: ask(self.host, self.port, method, path, body, **headers))

    async def page(self, path: str) -> str:
        status, _, body = await self.ask("GET", path, Authorization=BEARER)
        assert status == 200, body
        return str(body.decode())

    async def proof(self) -> str:
        found = re.search(r'name="proof" value="([0-9a-f]{64})"', await self.page("/filter/shop"))
        assert found
        return found[1]

    async def press(self, act: str, token: str = BEARER, headers: dict[str, str] | None = None, **form: str) -> Any:
        body = urlencode(form).encode()
        return await self.ask(
            "POST",
            f"/filter/shop/{act}",
            body,
            **FORM,
            **({"Authorization": token} if token else {}),
            **(headers or {}),
        )

    @contextmanager
    def stream(self, path: str, **headers: str) -> Iterator[Reading]:
        with socket.create_connection((self.host, self.port), 10) as one:
            given = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{given}\r\n".encode())
            yield Reading(one)


class Reading:
    """A stream of events as a browser reads it (chunks are taken apart by what is looked for)."""

    def __init__(self, one: socket.socket) -> None:
        self.socket = one
        self.text = ""

    def until(self, wanted: str) -> str:
        """What came up to there."""
        while wanted not in self.text:
            piece = self.socket.recv(65536)
            assert piece, f"the stream ended before {wanted!r}: {self.text[-500:]}"
            # a part may be cut by a chunk's head; what is waited for here is shorter than any
            self.text += piece.decode("utf-8", "replace")
        return self.text


def serving(test: Callable[[Door], Awaitable[None]]) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder, trio.fail_after(LIMIT):
            path = Path(folder) / "http.token"
            path.write_text(SECRET)
            path.chmod(0o640)
            daemon = Daemon()
            async with trio.open_nursery() as nursery:
                serve = lambda **more: serve_http(  # noqa: E731
                    "127.0.0.1:0", Filters({"shop": "pass"}), Fine(), Token(path), daemon, **more
                )
                bound = await nursery.start(serve)
                await test(Door(*address_of(bound), daemon))
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_the_overview_is_open_and_what_traffic_said_is_not() -> None:
    async def test(door: Door) -> None:
        status, headers, body = await door.ask("GET", "/")
        page = body.decode()
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert 'href="/filter/shop"' in page
        assert "1,000" in page
        assert "a problem" in page
        assert "GET /orders/{id}" not in page, "no content"
        for path in ("/filter/shop", "/filter/shop/difference/1f3a09bc", "/live?filter=shop", "/filter/nobody"):
            status, headers, body = await door.ask("GET", path)
            assert status == 401, path
            assert headers["www-authenticate"].startswith("Basic ")
            assert b"orders" not in body
        assert (await door.ask("GET", "/filter/nobody", Authorization=BEARER))[0] == 404
        assert (await door.ask("GET", "/filter/shop/difference/nothing", Authorization=BEARER))[0] == 404
        assert "GET /orders/{id}" in await door.page("/filter/shop")
        assert "20.00" in await door.page("/filter/shop/difference/1f3a09bc")

    serving(test)


def test_a_page_may_run_the_door_s_own_script_and_nothing_else() -> None:
    async def test(door: Door) -> None:
        for path in ("/", "/filter/shop", "/filter/shop/difference/1f3a09bc"):
            _, headers, body = await door.ask("GET", path, Authorization=BEARER)
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
            assert policy["script-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["cache-control"] == "no-store"
            assert re.findall(rb"<script[^>]*>", body) == [b'<script src="/live.js" defer>']
        for path, kind in (("/live.js", "text/javascript"), ("/live.css", "text/css")):
            status, headers, body = await door.ask("GET", path)
            assert (status, headers["content-type"].partition(";")[0]) == (200, kind)
            assert len(body) > 1000
        _, headers, _ = await door.ask("GET", "/report/shop", Authorization=BEARER)
        assert "script-src" not in headers["content-security-policy"], "the report has none"

    serving(test)


def test_a_stream_tells_what_changed_and_that_alone() -> None:
    async def test(door: Door) -> None:
        live = re.search(r'data-live="([^"]+)"', await door.page("/filter/shop"))
        assert live
        path = live[1].replace("&amp;", "&")

        def read() -> None:
            with door.stream(path, Authorization=BEARER) as reading:
                head = reading.until("retry: ")
                assert head.startswith("HTTP/1.1 200")
                assert "text/event-stream" in head
                assert "data: " not in head, "the page has all of that"
                door.daemon.seen = 2_222
                told = reading.until("\nid: ")
                assert '"id": "verdict"' in told
                assert '"id": "ledger"' in told
                assert "2,222" in told
                assert '"id": "latency"' not in told, "it is what it was"
                assert '"id": "differences"' not in told
                last = reading.until("\nid: ")
                found = re.search(r"\nid: ([0-9a-f.]+)", last)
                assert found
            # who comes back is told what it missed, and who comes from another daemon all of it
            with door.stream("/live?filter=shop", Authorization=BEARER, Last_Event_ID="0000.7") as reading:
                assert '"id": "latency"' in reading.until("\nid: ")

        await trio.to_thread.run_sync(read)

    serving(test)


def test_who_reads_nothing_and_who_is_gone_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT", 0.05)

    async def test(door: Door) -> None:
        def answer() -> str:
            """The head of one more stream, and the sentence if it is refused."""
            with door.stream("/live?filter=shop", Authorization=BEARER) as reading:
                head = reading.until("\r\n\r\n")
                return head if head.startswith("HTTP/1.1 200") else reading.until("as it is now")

        with ExitStack() as deaf:
            for _ in range(pages.MAX_STREAMS):
                reading = deaf.enter_context(door.stream("/live?filter=shop", Authorization=BEARER))
                reading.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await trio.to_thread.run_sync(reading.until, "retry")  # it has its place; nothing more is read
            told = await trio.to_thread.run_sync(answer)
            assert told.startswith("HTTP/1.1 503")
            assert "16 live pages are open already" in told
            looked, before = door.daemon.looked, trio.current_time()
            for path in ("/", "/healthz", "/verdict?filter=shop"):
                assert (await door.ask("GET", path))[0] == 200
            door.daemon.seen += 1
            while door.daemon.looked < looked + 2:
                await trio.sleep(0.05)
            most = 2 + (trio.current_time() - before) / EVERY
            assert door.daemon.looked - looked <= most, "one page is made for all of them"
        while not (await trio.to_thread.run_sync(answer)).startswith("HTTP/1.1 200"):
            await trio.sleep(0.05)  # until it is seen that they went; ``serving`` ends it

    serving(test)


def test_a_page_that_cannot_be_made_says_so_and_stays() -> None:
    async def test(door: Door) -> None:
        await door.page("/filter/shop")

        def read() -> None:
            with door.stream("/live?filter=shop", Authorization=BEARER) as reading:
                reading.until("\nid: ")
                door.daemon.seen = -1
                assert "the store has failed" in reading.until("stands still")[-400:] + reading.until("the store has")

        await trio.to_thread.run_sync(read)
        status, _, body = await door.ask("GET", "/filter/shop", Authorization=BEARER)
        assert (status, body) == (500, "the store has failed — look at the disk\n".encode())

    serving(test)


# --- buttons ----------------------------------------------------------------------------------------------------------


def test_the_buttons_do_what_shadowctl_does_and_lead_back(caplog: pytest.LogCaptureFixture) -> None:
    async def test(door: Door) -> None:
        proof = await door.proof()
        rule = {"where": "body", "path": "$.a", "endpoint": "GET /a"}
        presses: list[tuple[str, dict[str, Any]]] = [
            ("noise", rule),
            ("expect", rule),
            ("noise-rm", rule),
            ("run", {"label": "v3"}),
        ]
        for act, form in (*presses, ("pause", {}), ("resume", {})):
            status, headers, _ = await door.press(act, proof=proof, **form)
            assert (status, headers["location"]) == (303, "/filter/shop"), act
        wanted = {"name": "shop", "rule": {**rule, "change": ""}}
        assert door.daemon.asked == [
            ("noise.add", wanted), ("expect.add", wanted), ("noise.rm", wanted),
            ("run.start", {"name": "shop", "label": "v3", "restart": True}),
            ("filter.pause", {"name": "shop"}), ("filter.resume", {"name": "shop"}),
        ]  # fmt: skip

    serving(test)
    told = [record.getMessage() for record in caplog.records if "button" in record.getMessage()]
    assert len(told) == 6
    assert told[0] == (
        "http: filter shop: body $.a at GET /a called noise, by a button of the live page, from 127.0.0.1"
    )


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"token": ""}, 401, "give the token"),
        ({"token": "Bearer wrong"}, 401, "give the token"),
        ({"proof": ""}, 403, "not written by this door"),
        ({"proof": "0" * 64}, 403, "not written by this door"),
        ({"headers": {"Origin": "http://evil.example"}}, 403, "another origin"),
        ({"headers": {"Origin": "null"}}, 403, "another origin"),
        ({"headers": {"Sec_Fetch_Site": "cross-site"}}, 403, "another origin"),
        ({"act": "remove"}, 400, "no such button"),
        ({"where": "nowhere", "act": "noise"}, 400, "a rule is a place"),
        ({"label": "refused", "act": "run"}, 409, "compares nothing"),
    ],
)
def test_what_no_button_of_ours_sent_is_refused(given: dict[str, Any], status: int, words: str) -> None:
    async def test(door: Door) -> None:
        form = {"proof": await door.proof(), **given}
        found, headers, body = await door.press(form.pop("act", "pause"), **form)
        assert (found, headers["content-type"]) == (status, "text/plain; charset=utf-8")
        assert words in body.decode()
        assert body.decode().count("\n") == 1
        assert not door.daemon.asked

    serving(test)


def test_a_button_s_form_is_bounded() -> None:
    async def test(door: Door) -> None:
        proof = await door.proof()
        assert (await door.press("pause", proof=proof, x="y" * 70_000))[0] == 413
        status, _, body = await door.ask("POST", "/filter/shop/pause", b"\xff", **FORM, Authorization=BEARER)
        assert (status, b"no form" in body) == (400, True)
        assert not door.daemon.asked

    serving(test)
