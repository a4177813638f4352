"""A real Chromium for tests, driven by the protocol of its developer tools (no driver besides the browser itself)."""

from __future__ import annotations

import base64
import itertools
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from shadowd.demo.children import Child
from tests.netns.test_websocket_demo import BROWSER, OPTIONS

LIMIT = 60.0  # seconds for anything: a busy machine starts a browser in ten


class Chromium:
    """One browser with one tab. ``errors``: what the page's console said of errors, refusals by its policy too."""

    def __init__(self, folder: Path) -> None:
        if BROWSER is None:
            pytest.skip("no Chromium is installed")
        self.errors: list[str] = []
        self._numbers = itertools.count(1)
        profile = f"--user-data-dir={folder / 'profile'}"
        command = [BROWSER, *OPTIONS, "--remote-debugging-port=0", profile, "about:blank"]
        with ExitStack() as ends:
            self._begin(command, folder, ends)
            self._ends = ends.pop_all()

    def _begin(self, command: list[str], folder: Path, ends: ExitStack) -> None:
        self._process = Child("chromium", command, folder)
        ends.callback(self._process.stop)
        told = folder / "profile" / "DevToolsActivePort"
        end = time.monotonic() + LIMIT
        while not (told.exists() and len(told.read_text().splitlines()) == 2):
            self._process.must_run()
            assert time.monotonic() < end, f"Chromium does not start: {self._process.tail()}"
            time.sleep(0.05)
        port, path = told.read_text().splitlines()
        address = f"ws://127.0.0.1:{port}{path}"
        self._socket = ends.enter_context(connect(address, max_size=None, open_timeout=LIMIT, close_timeout=1))
        self._session = ""
        (tab,) = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=tab["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """One command of the protocol, answered."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        self._socket.send(json.dumps({"id": number, "method": method, "params": given, **session}))
        while True:
            said = json.loads(self._socket.recv(LIMIT))
            if said.get("id") == number:
                assert "error" not in said, f"{method}: {said['error']}"
                return dict(said["result"])
            self._hear(said)

    def _hear(self, said: dict[str, Any]) -> None:
        if said["method"] == "Runtime.exceptionThrown":
            self.errors.append(str(said["params"]["exceptionDetails"]))
        elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
            entry = said["params"]["entry"]
            self.errors.append(f"{entry['text']} {entry.get('url', '')}")
        elif said["method"] == "Page.javascriptDialogOpening":
            self.errors.append("a dialogue was opened")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, url: str) -> None:
        """Load a page; what it loads besides is there as well."""
        told = self.call("Page.navigate", url=url)
        assert "errorText" not in told, told
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def until(self, script: str, limit: float = LIMIT) -> Any:
        """The value of an expression once it is true. A page that is just left has none."""
        end = time.monotonic() + limit
        value = None
        while time.monotonic() < end:
            found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
            value = found["result"].get("value") if "exceptionDetails" not in found else None
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"not within {limit:.0f} s: {script}; last {value!r}; errors {self.errors}")

    def resize(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """``light`` or ``dark``."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def scripts(self, on: bool) -> None:
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def picture(self, path: Path) -> None:
        """The whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self._ends.close()
