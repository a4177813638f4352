"""``shadowctl demo --ai``: a changed prompt tried on real conversations, on loopback.

What ``run`` does for a shop, with a chat service: version 1 twice, as production and as the baseline that tells how
much two answers to one prompt differ by themselves, and version 2 as the candidate. The applications' calls to a third
party, a weather API, go through a filter of their own, in the other direction, against that API's next version.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from shadowd.demo.chat import PLANTED_WEATHER
from shadowd.demo.chat_model import PLANTED
from shadowd.demo.children import Child
from shadowd.demo.run import ATTACH_PAUSE, FILTER, LATENCY_FLOOR, MEMORY_AFTER, Demo

THIRD_PARTY = "weather"  # name of the second filter
TWINS = "25%"  # of the third party's calls asked twice: 13 a second, so that its noise is known within the demo
CONNECTIONS = 24  # at 33 conversations a second of 0.25 s each eight are under way; the others are for bursts
#: Seconds of load after which the verdict must be there: some 2,600 conversations.
DECIDED_AFTER = 80.0
#: Of evidence before anything passes or fails: a rare refusal needs most of the demo anyway.
MIN_SPAN = "35s"  # looks at 35 s, times 1.25: the last one of 90 s is at 85 s


class ChatDemo(Demo):
    """The demo of generated answers."""

    planted = (*PLANTED, PLANTED_WEATHER)
    example = (
        "curl http://127.0.0.1:PORT/v1/chat/completions"
        """ -d '{"messages":[{"role":"user","content":"Is NP-7 under warranty?"}]}'"""
    )
    decided_after = DECIDED_AFTER
    usual = (90.0, 33.0)
    rate_limit = 200.0  # each is served three times by Python, a token at a time
    rated = "conversations per second with --ai"
    noisy = True

    def _services(self) -> dict[str, tuple[str, list[str]]]:
        candidate = "1" if self.identical else "2"
        model = {"production": "1", "shadow": candidate, "baseline": "1"}
        weather = {"weather": "1", "weather-next": candidate}
        return {name: ("shadowd.demo.chat", ["--version", version]) for name, version in model.items()} | {
            name: ("shadowd.demo.chat", ["--weather", "--version", version]) for name, version in weather.items()
        }

    def _add_filters(self, ports: list[int]) -> None:
        production, shadow, baseline, weather, weather_next = ports
        options = ["--methods", "POST", "--baseline", f"http://127.0.0.1:{baseline}"]
        options += ["--memory-after", MEMORY_AFTER, "--latency-floor", LATENCY_FLOOR, "--min-span", MIN_SPAN]
        self._add_filter(FILTER, production, shadow, options)
        options = ["--direction", "outbound", "--twin", TWINS, "--latency-floor", LATENCY_FLOOR, "--min-span", MIN_SPAN]
        self._add_filter(THIRD_PARTY, weather, weather_next, options)
        time.sleep(ATTACH_PAUSE)

    def _start_load(self, ports: list[int], directory: Path) -> Child:
        options = self._load_options(port=ports[0], weather=ports[3], connections=CONNECTIONS)
        return self._start("load", "shadowd.demo.chat_load", options, directory, split=True)

    def _write_report(self) -> dict[str, Any]:
        self._third_party = self._client().call("verdict", name=THIRD_PARTY)
        return super()._write_report()

    def _shown(self, verdict: dict[str, Any]) -> bool:
        """Two equal samplers may stay undecided; only a fail would be wrong."""
        if self.identical:
            return verdict.get("verdict") != "fail" and self._third_party.get("verdict") != "fail"
        return super()._shown(verdict) and super()._shown(self._third_party)

    def _more(self) -> dict[str, Any]:
        return {"third_party": self._third_party}

    def _say_more(self) -> None:
        self.console.print()
        self.say("And the weather API that the applications call, its next version beside it:")
        self.show(self._third_party)
