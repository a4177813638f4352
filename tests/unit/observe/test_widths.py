"""In a real browser nothing of the report is cut, at no width: neither beyond the page nor out of its cell."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shadowd.observe.report import render_html
from tests.unit.observe.sample import judge, sample

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--dump-dom", "--virtual-time-budget=20000",
)  # fmt: skip
WIDTHS = [360, 400, 600, 720, 860, 940, 1000, 1200, 1600]
#: Frames have widths that no window of a browser has. What is wider than its box, or ends beyond the frame, is told.
LOOK = """
<script>
onload = () => {
  const faults = [];
  let looked = 0;
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, width = frame.clientWidth;
    for (const details of page.querySelectorAll("details")) details.open = true;
    for (const one of page.body.querySelectorAll("*")) {
      const box = one.getBoundingClientRect();
      if (!box.width || one.closest("thead") && width <= 940) continue;
      looked++;
      const beyond = Math.max(box.right - width, -box.left);
      const inside = one.clientWidth && !one.closest("svg") ? one.scrollWidth - one.clientWidth : 0;
      if (beyond > 1 || inside > 1)
        faults.push([width, one.tagName, String(one.className.baseVal ?? one.className), one.textContent.slice(0, 60)]);
    }
  }
  document.body.innerHTML = "";
  document.body.dataset.found = JSON.stringify({faults: faults.slice(0, 20), looked});
};
</script>
"""


def hard(data: dict[str, Any]) -> dict[str, Any]:
    """With names and numbers as large as they come."""
    name = "GET /" + "averylongsegmentwithoutanybreak" * 4
    worst = {"count": 4_000_000, "p50": 123_456.7, "p90": 222_222.2, "p99": 345_678.9}
    pair = {"production": worst, "candidate": {**worst, "p50": 234_567.8}}
    data["endpoints"].append(
        {
            "endpoint": name, "exchanges": 12_345_678, "worse": 1_234_567, "differing": 2_345_678,
            "differing_beyond_noise": 1_234_567, "differing_noise": 1_111_111,
            "production_p50_ms": 55_123.4, "candidate_p50_ms": 58_123.4, "production_p99_ms": 59_123.4,
            "candidate_p99_ms": 0.0012,
            "stream": {
                "streams": 1_234_567, "events": {"production": 123_456_789, "candidate": 123_456_780},
                "first_event_ms": pair, "between_events_ms": pair, "total_ms": pair,
            },
        }
    )  # fmt: skip
    data["verdict"]["judges"].append(
        judge("latency", "fail", endpoint=name, path="first_byte p50", effect=123.4, interval=[99.9, 234.5],
              unit="ratio", samples=12_345_678, sentence=name * 2)
    )  # fmt: skip
    data["verdict"]["reasons"].append(name * 3)
    data["differences"][0] |= {"endpoint": name, "path": "$." + "x" * 200, "production": "y" * 300, "count": 12_345_678}
    data["signatures"][0] |= {"title": "z" * 300, "endpoints": [name] * 5}
    return data


@pytest.mark.parametrize("data", [sample(), hard(sample())], ids=["usual", "hard"])
def test_nothing_overflows_at_any_width(tmp_path: Path, data: dict[str, Any]) -> None:
    if BROWSER is None:
        pytest.skip("no Chromium is installed: whether the report fits its page is not looked at")
    page = html.escape(render_html(data))
    frames = "".join(
        f'<iframe style="border:0;width:{width}px;height:800px" srcdoc="{page}"></iframe>' for width in WIDTHS
    )
    written = tmp_path / "frames.html"
    written.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}{LOOK}</body>")
    command = [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", written.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    told = re.search(r'data-found="([^"]*)"', shown.stdout)
    assert told, shown.stderr[-2000:]
    found = json.loads(html.unescape(told[1]))
    assert found["looked"] > 500 * len(WIDTHS), "the frames were not there when they were looked at"
    assert found["faults"] == []
