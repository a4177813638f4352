"""The live pages in a real Chromium, of a real daemon: they grow, their buttons work, and no word of traffic runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.chromium import Chromium
from tests.material import Missing, find, pack
from tests.netns.lab import Daemon, Server, running, wait_for
from tests.netns.shop import Made, ask
from tests.ports import free_port

pytestmark = pytest.mark.usefixtures("root_user")

#: In a value, in a name, and at an address: what would run if one of them were taken for a page's own words.
HARM = "\"'><script>window.taken = 1</script><img src=x onerror='window.taken = 1'><svg onload='window.taken = 1'>"
PATH = "/orders/{}?q=%22%3E%3Cscript%3Ewindow.taken=1%3C/script%3E"


class Shown:
    """A browser at the door of a daemon that mirrors a shop."""

    def __init__(self, browser: Chromium, daemon: Daemon, address: str, production: int) -> None:
        self.browser, self.daemon, self.production = browser, daemon, production
        token = (daemon.folder / "http.token").read_text().strip()
        self.door = f"http://any:{token}@{address}"

    def open(self, path: str, live: bool = True) -> None:
        self.browser.open(self.door + path)
        if live:
            self.browser.until("document.getElementById('link').textContent === 'live'")
            self.browser.run("window.kept = 1")  # as long as the page is not left

    def seen(self, at_least: int) -> None:
        count = "document.querySelector('.counts dd').textContent.split(' ')[0].replace(/\\D/g, '')"
        self.browser.until(f"Number({count}) >= {at_least}")

    def press(self, button: str, within: str = "body") -> None:
        """Click the button of that name."""
        self.browser.run(
            f"[...document.querySelectorAll({json.dumps(f'{within} button')})]"
            f".find(one => one.textContent === {json.dumps(button)}).click()"
        )

    def state(self) -> str:
        return str(self.daemon.call("filter.show", name="shop")["state"])


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("live")
    browser = Chromium(folder)
    address = f"127.0.0.1:{free_port()}"

    def shop(price: float) -> Server:
        fields: Made = lambda number: {"price": price, "said": f"{HARM} {price}", HARM: price, "n": number}  # noqa: E731
        return Server(answer=lambda number, head, body: _answered(fields(number)))

    production, shadow = shop(19.99), shop(20.5)
    try:
        with running(folder / "daemon", f'http = "{address}"\n') as daemon:
            daemon.add("shop", production.port, shadow.url)
            yield Shown(browser, daemon, address, production.port)
    finally:
        browser.close()
        production.close()
        shadow.close()


def _answered(fields: dict[str, Any]) -> bytes:
    body = json.dumps(fields).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_page_grows_while_it_is_looked_at_and_nothing_of_traffic_runs(shown: Shown) -> None:
    browser = shown.browser
    shown.open("/")
    assert browser.run("document.querySelector('.card h2 a').textContent") == "shop"
    ask(shown.production, 30, PATH)
    shown.seen(30)
    shown.open("/filter/shop")
    browser.until("document.querySelectorAll('.difference details').length >= 2")
    opened = browser.run("document.querySelector('.difference details').id")
    browser.run(f"document.getElementById('{opened}').open = true")
    browser.run("document.getElementById('label').focus()")
    browser.call("Input.insertText", text="v2")
    browser.run("window.scrollTo(0, 200)")
    before = browser.run("scrollY")
    ask(shown.production, 30, PATH)
    shown.seen(60)
    assert browser.run("[kept, scrollY, document.activeElement.value]") == [1, before, "v2"]
    assert browser.run(f"document.getElementById('{opened}').open"), "wherever it stands by now"
    assert "20.5" in browser.run("document.querySelector('.pair').textContent")
    assert browser.run("document.body.textContent").count("window.taken = 1") > 2, "it is shown, as text"
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.run("typeof window.taken") == "undefined"
    assert not browser.run("document.querySelectorAll('main script, main img, main [onload], main [onerror]').length")
    assert not browser.errors
    group = browser.run("document.querySelector('.difference .acts a').getAttribute('href')")
    browser.open(shown.door + group)
    assert "20.5" in browser.run("document.querySelector('.pair').textContent")
    assert browser.run("typeof window.taken") == "undefined"
    assert not browser.errors


def test_the_buttons_work_without_leaving_the_page(shown: Shown) -> None:
    browser, daemon = shown.browser, shown.daemon
    ask(shown.production, 30, PATH)
    shown.open("/filter/shop")
    browser.until("[...document.querySelectorAll('.difference')].some(one => /\\$\\.price/.test(one.textContent))")
    place = browser.run(
        "'#' + [...document.querySelectorAll('.difference')].find(one => /\\$\\.price/.test(one.textContent)).id"
    )
    shown.press("Noise", place)
    wait_for("the daemon has the rule", lambda: daemon.call("noise.ls", name="shop")["rules"])
    assert daemon.call("noise.ls", name="shop")["rules"] == [
        {"where": "body", "path": "$.price", "endpoint": "GET /orders/{id}", "change": ""}
    ]
    browser.until("/\\$\\.price/.test(document.querySelector('.rules')?.textContent)")
    shown.press("Take back", ".rules")
    browser.until("!document.querySelector('.rules')")
    assert not daemon.call("noise.ls", name="shop")["rules"]
    shown.press("Pause", ".controls")
    browser.until("/paused/.test(document.querySelector('.controls').textContent)")
    assert shown.state() == "paused"
    shown.press("Resume", ".controls")
    browser.until("!/paused/.test(document.querySelector('.controls').textContent)")
    assert shown.state() == "active"
    browser.run("document.getElementById('label').value = 'v2.3.1'")
    shown.press("Start a run", ".controls")
    browser.until("/v2.3.1/.test(document.querySelector('.facts').textContent)")
    assert daemon.call("verdict", name="shop")["run"]["label"] == "v2.3.1"
    browser.run("document.getElementById('label').value = 'x'.repeat(300)")
    shown.press("Start a run", ".controls")
    browser.until("/not a line of text/.test(document.querySelector('.answer').textContent)")
    assert browser.run("kept") == 1
    told = re.findall(r"by a button of the live page, from 127\.0\.0\.1$", daemon.log.read_text(), re.MULTILINE)
    assert len(told) == 5


def test_without_scripts_all_of_it_works_as_well(shown: Shown) -> None:
    browser = shown.browser
    browser.scripts(False)
    try:
        ask(shown.production, 30, PATH)

        def looked() -> object:
            shown.open("/filter/shop", live=False)  # it stands still
            return browser.run("document.querySelectorAll('.difference').length >= 2")

        wait_for("both differences are shown", looked, 60)
        assert browser.run("getComputedStyle(document.querySelector('header a[href=\"\"]')).display") != "none"
        shown.press("Pause", ".controls")
        browser.until("/paused/.test(document.querySelector('.controls')?.textContent)")
        assert browser.run("location.pathname") == "/filter/shop"
        shown.press("Resume", ".controls")
        browser.until("/Pause/.test(document.querySelector('.controls')?.textContent)")
        assert shown.state() == "active"
    finally:
        browser.scripts(True)


@pytest.fixture(scope="module")
def axe() -> str:
    """Looks for faults of accessibility; of the npm registry, kept in ``build``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("npm_config_fetch_retries", "0")
        try:
            pack("axe", "axe-core@4", "package/axe.min.js")
        except (Missing, OSError) as error:
            pytest.skip(f"no axe-core is here, and none can be fetched: {str(error)[:200]}")
    return find("axe/axe.min.js").read_text()


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1200)])
def test_nobody_is_kept_out(shown: Shown, axe: str, scheme: str, width: int) -> None:
    browser = shown.browser
    browser.prefer(scheme)
    browser.resize(width)
    ask(shown.production, 10, PATH)
    daemon: Callable[..., Any] = shown.daemon.call
    group = wait_for("there is a difference", lambda: daemon("diffs", name="shop")["differences"])[0]["id"]
    for path in ("/", "/filter/shop", f"/filter/shop/difference/{group}"):
        shown.open(path, live="difference" not in path)
        browser.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
        browser.run(f"{axe}; 0")
        assert not faults(browser), path
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than {width}"
    browser.run("document.querySelector('main').append(new Image())")
    assert [fault.partition(":")[0] for fault in faults(browser)] == ["image-alt"], "it finds what there is"


def faults(browser: Chromium) -> list[str]:
    """Those of weight that axe sees in the page."""
    found: list[str] = browser.run(
        "axe.run().then(found => found.violations.filter(one => /serious|critical/.test(one.impact))"
        ".map(one => `${one.id}: ${one.nodes.map(node => node.html).join('  ')}`))"
    )
    return found
