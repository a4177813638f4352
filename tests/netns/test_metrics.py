"""The metrics page of a real daemon: as promtool judges it, as Prometheus scrapes it, and equal to the ledger."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from shadowd.evidence.latency import LatencySketch
from shadowd.ledger.ledger import FAILED, FILTERED, LOST, SHED
from shadowd.observe.metrics import BUCKETS, histogram
from tests.conftest import ROOT, need
from tests.netns.lab import Daemon, HttpClient, Server, free_port, ok, wait_for

pytestmark = pytest.mark.usefixtures("root_user")
OBSERVABILITY = ROOT / "docs" / "observability"


class Host:
    def __init__(self, daemon: Daemon, production: Server, door: int) -> None:
        self.daemon = daemon
        self.production = production
        self.door = door

    def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.door, timeout=20)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers["content-type"], answer.read().decode()
        finally:
            connection.close()

    def values(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        _, _, page = self.get("/metrics")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(page)
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    door = free_port()
    daemon = Daemon(tmp_path_factory.mktemp("metrics"), f'http = "127.0.0.1:{door}"\n').start()
    production, shadow = Server(), Server(answer=lambda number, head, body: ok(b"another"))
    try:
        daemon.add("shop", production.port, f"http://127.0.0.1:{shadow.port}", f"http://127.0.0.1:{free_port()}")
        client = HttpClient("127.0.0.1", production.port)
        for number in range(60):
            client.get(f"/{number}")
        client.close()
        daemon.settled("shop", lambda ledger: ledger["seen"] >= 60)
        yield Host(daemon, production, door)
    finally:
        daemon.stop()
        production.close()
        shadow.close()


def test_the_page_says_what_the_ledger_says(host: Host) -> None:
    ledger = host.daemon.settled("shop")
    values = host.values()

    def value(name: str, **labels: str) -> float:
        return values[name, frozenset(labels.items())]

    assert value("shadowd_requests_seen_total", filter="shop") == ledger["seen"]
    assert value("shadowd_ledger_balanced", filter="shop") == 1
    for reason in FILTERED:
        expected = ledger["filtered"].get(reason, 0)
        assert value("shadowd_requests_filtered_total", filter="shop", reason=reason) == expected
    for reason in LOST:
        assert value("shadowd_requests_lost_total", filter="shop", reason=reason) == ledger["lost"].get(reason, 0)
    for target in ledger["targets"]:
        place = {"filter": "shop", "target": target["url"], "role": "candidate"}
        assert value("shadowd_requests_mirrored_total", **place) == target["mirrored"]
        for reason in SHED:
            assert value("shadowd_requests_shed_total", **place, reason=reason) == target["shed"].get(reason, 0)
        for reason in FAILED:
            assert value("shadowd_requests_failed_total", **place, reason=reason) == target["failed"].get(reason, 0)
    good = {"filter": "shop", "target": ledger["targets"][0]["url"]}
    timed = {**good, "role": "candidate"}
    for side in ("production", "shadow"):
        count = value("shadowd_time_to_first_byte_seconds_count", **timed, side=side)
        assert 0 < count <= ledger["targets"][0]["mirrored"]
        assert value("shadowd_time_to_first_byte_seconds_bucket", **timed, side=side, le="+Inf") == count
        assert value("shadowd_time_to_first_byte_seconds_sum", **timed, side=side) > 0
    good["label"] = ""  # no run was begun
    states = [value("shadowd_verdict_state", **good, state=state) for state in ("pass", "fail", "inconclusive")]
    assert sorted(states) == [0, 0, 1]
    assert value("shadowd_kernel_bytes_total", kind="matched") == ledger["kernel"]["bytes"]
    assert value("shadowd_kernel_events_total", event="segments") == ledger["kernel"]["segments"]
    assert value("shadowd_ring_bytes") == 16 << 20
    assert value("process_resident_memory_bytes") > 10 << 20


def test_both_formats_are_what_they_say(host: Host) -> None:
    status, kind, page = host.get("/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stderr == ""
    _, kind, page = host.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert page.endswith("# EOF\n")
    assert "shadowd_requests_seen" in {family.name for family in parse_openmetrics(page)}


def test_label_values_are_bounded_by_the_configuration(host: Host) -> None:
    before = len(host.values())
    client = HttpClient("127.0.0.1", host.production.port)
    for number in range(50):
        client.get(f"/another/{number}/path-{number}")
    client.close()
    host.daemon.settled("shop")
    assert len(host.values()) == before


def test_a_real_prometheus_scrapes_it_and_the_rules_hold(host: Host, tmp_path: Path) -> None:
    need(shutil.which("prometheus") is not None, "needs prometheus")
    rules = OBSERVABILITY / "alerts.yaml"
    checked = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "shadowd", "static_configs": [{"targets": [f"127.0.0.1:{host.door}"]}]}],
    }
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={tmp_path / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]  # fmt: skip
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)

    def ask(path: str, **query: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
            return json.loads(connection.getresponse().read())["data"]
        except (OSError, ValueError):  # it is starting
            return None
        finally:
            connection.close()

    def value(query: str) -> float | None:
        found = ask("query", query=query)
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    try:
        wait_for("a scrape", lambda: value('up{job="shadowd"}') == 1, 60)
        wait_for("the samples", lambda: value('shadowd_requests_seen_total{filter="shop"}'), 30)
        assert value("min(shadowd_ledger_balanced)") == 1
        groups = ask("rules")["groups"]
        assert [rule["health"] for group in groups for rule in group["rules"] if rule["health"] == "err"] == []
        # every metric that dashboard and alerts speak of is there
        known = set(ask("label/__name__/values"))
        texts = (OBSERVABILITY / "grafana-dashboard.json").read_text() + rules.read_text()
        wanted = set(re.findall(r"\b(?:shadowd|process)_[a-z_]+\b", texts)) - {"shadowd_"}
        assert wanted <= known, wanted - known
        for panel in json.loads((OBSERVABILITY / "grafana-dashboard.json").read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "1m").replace("$filter", ".*")
                found = ask("query", query=query.replace("$instance", ".*"))
                assert found is not None, target["expr"]
                assert "result" in found
    finally:
        server.terminate()
        server.wait(20)


def test_a_histogram_is_the_sketch_at_other_bounds() -> None:
    sketch = LatencySketch()
    for milliseconds in (1, 4, 6, 6, 30, 700, 20_000):
        sketch.add(milliseconds * 1_000_000)
    buckets, total = histogram(sketch)
    counts = dict(buckets)
    assert [bound for bound, _ in buckets] == [*map(str, BUCKETS), "+Inf"]
    assert (counts["0.005"], counts["0.01"], counts["0.05"], counts["0.75"], counts["10.0"]) == (2, 4, 5, 6, 6)
    assert counts["+Inf"] == 7
    assert total == pytest.approx(20.747, rel=0.016)
