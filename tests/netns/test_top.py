"""``shadowctl top`` on a real daemon, by its keys and by what is on the screen, at four widths."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from textual.pilot import Pilot

from shadowd.cli.top.app import TopApp
from shadowd.control.client import Client
from tests.netns.lab import Daemon, HttpClient, Server, check_ledger, running
from tests.netns.shop import answered

pytestmark = pytest.mark.usefixtures("root_user")

LIMIT = 40.0  # seconds until what was done shows


def screen(app: TopApp) -> str:
    """What a person sees."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


async def until(pilot: Pilot[None], *shown: str, gone: str = "") -> str:
    """Wait for patterns on the screen."""
    app = pilot.app
    assert isinstance(app, TopApp)
    deadline = asyncio.get_running_loop().time() + LIMIT
    while True:
        text = screen(app)
        if all(re.search(one, text) for one in shown) and not (gone and re.search(gone, text)):
            return text
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {LIMIT:.0f} s: {shown}, without {gone!r}; the screen:\n{text}")
        await pilot.pause(0.05)


def run(daemon: Daemon, width: int, act: Callable[[Pilot[None]], Awaitable[None]], name: str | None = None) -> None:
    async def main() -> None:
        app = TopApp(Client(daemon.socket, timeout=5), name)
        async with app.run_test(size=(width, 32)) as pilot:
            await act(pilot)
        app.stop_asking()

    asyncio.run(main())


class Shop:
    """Production that is asked all the time, and a shadow that gives every fifth order another total."""

    def __init__(self) -> None:
        dice = random.Random(4)
        self.servers = [
            Server(answer=lambda number, head, body: answered(lambda n: {"n": n, "total": n}, head)),
            Server(
                answer=lambda number, head, body: answered(
                    lambda n: {"status": b"500 Oops"} if n % 11 == 7 else {"n": n, "total": n + (n % 5 == 0)}, head
                )
            ),
        ]
        self._numbers = iter(lambda: dice.randrange(1000), -1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._over.wait(0.02):
            client = HttpClient("127.0.0.1", self.servers[0].port)
            for _ in range(10):
                client.get(f"/orders/{next(self._numbers)}")
                if self._over.wait(0.02):
                    break
            client.close()

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        for server in self.servers:
            server.close()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon")) as made:
        made.add("shop", shop.servers[0].port, shop.servers[1].url)
        made.add("quiet", 9, shop.servers[1].url)
        yield made
        check_ledger(made.ledger("shop"))


TITLES = {
    60: "FILTER REQ/S MIRRORED FAILED VERDICT",
    80: "FILTER REQ/S MIRRORED SHED LOST FAILED VERDICT SCORE",
    120: "FILTER TARGET REQ/S MIRRORED SHED LOST FAILED PROD SHADOW VERDICT SCORE",
    200: "FILTER TARGET REQ/S MIRRORED FILTERED SHED LOST FAILED PROD SHADOW PRODUCTION SHADOW VERDICT SCORE",
}


def test_from_filters_to_answers_side_by_side_at_every_width(daemon: Daemon) -> None:
    async def act(pilot: Pilot[None]) -> None:
        for width, titles in TITLES.items():
            await pilot.resize_terminal(width, 32)
            bars = r"production +p50 +[0-9.]+ ms .*[▁▂▃▄▅▆▇█]"
            text = await until(
                pilot, r"shop +(127\S+ +)?[1-9].*(✗ fail|\? undecided)", bars, "quiet", titles.split()[-1]
            )
            assert titles.split() == text.splitlines()[1].split()
            await pilot.press("enter")
            text = await until(pilot, r"body \$\.total +(value +)?[0-9]", "3 exchanges")
            assert max(map(len, text.splitlines())) <= width
            await pilot.press("1")
            await until(pilot, r"GET /orders/\{id\} +[0-9]+ +[0-9]+")
            await pilot.press("3")
            await until(pilot, r"/orders/[0-9]+", r"differs \$\.to")
            await pilot.press("2", "enter")
            text = await until(pilot, "example 1 of", r"│ shadow", "≠")
            assert max(map(len, text.splitlines())) <= width
            await pilot.press("escape", "escape")
            await until(pilot, "quiet", "REQ/S")

    run(daemon, 60, act)


def test_one_exchange_and_its_difference(daemon: Daemon) -> None:
    async def act(pilot: Pilot[None]) -> None:
        await until(pilot, "3 exchanges")
        await pilot.press("slash")
        await until(pilot, "Which exchanges")
        await pilot.press(*"staus=500", "enter")
        await until(pilot, "column 1: there is no field staus", "did you mean status")
        await pilot.press(*(["backspace"] * 9), *"place~total", "enter")
        text = await until(pilot, "where place~total", r"differs \$\.total")
        rows = [line for line in text.splitlines() if "/orders/" in line]
        assert rows
        assert all("differs $.total" in row for row in rows), "no others"
        await pilot.press("enter")
        await until(pilot, "first byte", r"status +200 +200", r"body \$\.total")
        await pilot.press("enter")
        await until(pilot, "example 1 of", r'"total": [0-9]+ +≠ +"total": [0-9]+')
        await pilot.press("right")
        await until(pilot, "example 2 of")
        await pilot.resize_terminal(100, 14)
        await until(pilot, "esc Back")
        await pilot.press("space")
        await until(pilot, r"\n[^\n]+ ≠ ", gone=r"production +│ shadow")

    run(daemon, 100, act, "shop")


def test_pause_and_resume_do_so_once_that_is_confirmed(daemon: Daemon) -> None:
    def state() -> str:
        return str(daemon.call("filter.show", name="shop")["state"])

    async def act(pilot: Pilot[None]) -> None:
        await until(pilot, r"shop .*(✗|\?)")
        await pilot.press("p")
        await until(pilot, r"Pause shop\?")
        await pilot.press("n")
        await until(pilot, gone=r"Pause shop\?")
        assert state() == "active"
        await pilot.press("p")
        await until(pilot, r"Pause shop\?")
        await pilot.press("y")
        await until(pilot, "shop paused")
        assert state() == "paused"
        await pilot.press("r")
        await until(pilot, r"Resume shop\?")
        await pilot.press("enter")
        await until(pilot, gone="shop paused")
        assert state() == "active"
        await pilot.press("question_mark")
        await until(pilot, "call a difference noise")

    run(daemon, 80, act)


def test_a_difference_is_marked_once_that_is_confirmed(daemon: Daemon) -> None:
    def rules(kind: str) -> list[dict[str, Any]]:
        return list(daemon.call(f"{kind}.ls", name="shop")["rules"])

    async def act(pilot: Pilot[None]) -> None:
        await until(pilot, r"body \$\.total +value")
        for kind, key, label in (("noise", "n", "noise"), ("expect", "e", "expected")):
            while "body $.total" not in row(screen_of(pilot)):
                await pilot.press("down")
            await pilot.press(key)
            await until(pilot, "Call this", r"body \$\.total", r"at GET /orders/\{id\}")
            await pilot.press("escape")
            await until(pilot, gone="Call this")
            assert rules(kind) == []
            await pilot.press(key)
            await until(pilot, "Call this")
            await pilot.press("y")
            await until(pilot, rf"{label} +GET /orders/\{{id\}} +body \$\.total", gone="Call this")
            change = "value" if kind == "expect" else ""
            place = {"where": "body", "path": "$.total", "endpoint": "GET /orders/{id}", "change": change}
            assert rules(kind) == [place]
            daemon.call(f"{kind}.rm", name="shop", rule=place)

    def screen_of(pilot: Pilot[None]) -> TopApp:
        assert isinstance(pilot.app, TopApp)
        return pilot.app

    def row(app: TopApp) -> str:
        grid: Any = app.screen.query_one("#differences")
        return " ".join(str(one) for one in grid.get_row_at(grid.cursor_row))

    run(daemon, 120, act, "shop")
