"""Memory, CPU and version of both sides from their metrics pages, read over real sockets."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from shadowd.runs import vitals
from shadowd.runs.vitals import Source, Vitals, is_local


class Page:
    """A metrics page that can be changed; ``url`` once it is served."""

    def __init__(self) -> None:
        self.memory, self.cpu, self.started, self.version = 50e6, 1.0, 100.0, "1"
        self.status = b"200 OK"
        self.url = ""

    def text(self) -> bytes:
        return (
            f'app_build_info{{version="{self.version}"}} 1\nprocess_resident_memory_bytes {self.memory}\n'
            f"process_cpu_seconds_total {self.cpu}\nprocess_start_time_seconds {self.started}\n"
        ).encode()

    async def answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            body = self.text()
            await stream.send_all(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(body), body))

    async def serve(self, nursery: trio.Nursery) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/metrics"
        nursery.start_soon(partial(trio.serve_listeners, self.answer, listeners))


def nowhere() -> None:
    return None


@pytest.fixture(autouse=True)
def _each_look_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "PAGE_EVERY", 0.0)


def look_at(work: object) -> None:
    async def test() -> None:
        shadow, production = Page(), Page()
        async with trio.open_nursery() as nursery:
            await shadow.serve(nursery)
            await production.serve(nursery)
            sources = [Source(page.url, nowhere, "app_build_info") for page in (shadow, production)]
            await work(shadow, production, Vitals(*sources, first_look=2_000))  # type: ignore[operator]
            nursery.cancel_scope.cancel()

    trio.run(test)


def test_a_leak_is_told_from_a_page() -> None:
    async def work(shadow: Page, production: Page, seen: Vitals) -> None:
        for served in range(0, 4_200, 50):
            shadow.memory = 50e6 + 1_024 * served
            await seen.look(served, served)
        (memory, *others) = seen.judgements(256.0, 0.25, 0.005, 0.002)
        assert (memory.judge, memory.result) == ("memory", "fail")
        assert 900 < memory.effect < 1_150
        assert all(other.judge == "cpu" for other in others)
        view = seen.view()
        assert view is not None
        assert view["points"][-1][1] > view["points"][0][1]

    look_at(work)


def test_a_restart_is_a_finding_and_begins_anew() -> None:
    async def work(shadow: Page, production: Page, seen: Vitals) -> None:
        for served in range(0, 1_000, 100):
            await seen.look(served, served)
        shadow.started += 500
        await seen.look(1_000, 1_000)
        assert "restarted" in seen.changed
        found = seen.judgements(256.0, 0.25, 0.005, 0.002)
        assert any(one.judge == "restarts" for one in found)
        assert not seen.another_version

    look_at(work)


def test_another_version_is_seen_in_the_metric_of_the_run_key() -> None:
    async def work(shadow: Page, production: Page, seen: Vitals) -> None:
        await seen.look(1, 1)
        assert seen.another_version == ""
        production.version = "2"
        await seen.look(2, 2)
        assert seen.another_version == "production changed its version"

    look_at(work)


def test_a_page_that_cannot_be_read_is_no_judgement_and_says_why() -> None:
    async def work(shadow: Page, production: Page, seen: Vitals) -> None:
        shadow.status = b"503 No"
        await seen.look(1, 1)
        assert seen.judgements(256.0, 0.25, 0.005, 0.002) == []
        assert seen.view() is None
        assert "status 503" in seen._shadow.problem

    look_at(work)


def test_only_addresses_of_this_host_are_local() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.1")  # TEST-NET-1 of RFC 5737
