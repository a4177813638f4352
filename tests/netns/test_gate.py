"""One door to two real daemons, asked as the examples of docs/gates make Argo Rollouts and Flagger ask; and Prometheus,
asked by the examples' own queries."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shutil
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, need
from tests.netns.lab import Daemon, Server, free_port, running, wait_for
from tests.netns.shop import Made, answered, ask, compared

pytestmark = pytest.mark.usefixtures("root_user")

GATES = ROOT / "docs" / "gates"
EACH = 300
#: What a second of traffic can tell: nothing of latency, and errors and content within some per cent.
MINDED: dict[str, Any] = {
    "critical": ["errors", "content"], "max_error_increase": 0.05, "max_diff_share": 0.05, "twin": 0.5
}  # fmt: skip
CALLERS = "of the callers, of tests"
GIVEN = {"args.filter": "shop", "args.build": "7f9c", "args.token": CALLERS, "variables.filter": "shop"}


def filled(text: str) -> str:
    """A template as Argo and Flagger fill it in."""
    for name, value in GIVEN.items():
        text = text.replace("{{ " + name + " }}", value)
    return text


def secret(folder: Path, **keys: str) -> Path:
    """A mounted Secret as the kubelet lays it: symlinks, mode 0440."""
    inner = folder / "..2026_1"
    inner.mkdir(parents=True)
    for key, value in keys.items():
        (inner / key).write_text(value)
        (inner / key).chmod(0o440)
        (folder / key).symlink_to(f"..data/{key}")
    (folder / "..data").symlink_to(inner.name)
    return folder


def same(number: int) -> dict[str, Any]:
    return {"n": number}


def serving(made: Made) -> Server:
    return Server(answer=lambda number, head, body: answered(made, head))


class Cluster:
    """Two nodes and the gate, by the arguments of kubernetes/gates."""

    def __init__(self, folder: Path, daemons: list[Daemon], doors: list[int], tokens: Path) -> None:
        self.daemons, self.doors, self.tokens = daemons, doors, tokens
        self.servers: list[Server] = []
        self.ports: list[int] = []
        self.port = free_port()
        gate = next(one for one in yaml.safe_load_all((ROOT / "kubernetes/gates/gate.yaml").read_text()))
        words = []
        for word in gate["spec"]["template"]["spec"]["containers"][0]["args"]:
            word = word.replace("/run/secrets/shadowd", str(tokens)).replace("0.0.0.0:9752", f"0.0.0.0:{self.port}")
            words += [f"--nodes=127.0.0.1:{door}" for door in doors] if word.startswith("--nodes") else [word]
        self.log = folder / "gate.log"
        with open(self.log, "wb") as log:
            self.gate = subprocess.Popen([sys.executable, "-m", "shadowd.cli.shadowd", *words], stderr=log, cwd=ROOT)
        wait_for("the gate is ready", lambda: self.ask("GET", "/readyz")[0] == 200, 60)

    def serve(self, candidates: list[Made]) -> None:
        for daemon, made in zip(self.daemons, candidates, strict=True):
            production, shadow = serving(same), serving(made)
            self.servers += [production, shadow]
            self.ports.append(production.port)
            daemon.add("shop", production.port, shadow.url, **MINDED)
        wait_for("the gate knows the filter", lambda: "shop" in self.ask("GET", "/filters", token())[1], 30)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: str = "") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def argo(self, metric: dict[str, Any]) -> tuple[int, Any]:
        """The request of a ``web`` provider, as Argo's controller sends it."""
        web = metric["provider"]["web"]
        headers = {filled(one["key"]): filled(one["value"]) for one in web["headers"]}
        url = filled(web["url"]).removeprefix("{{ args.shadowd }}")
        status, body = self.ask(web.get("method", "GET"), url, headers)
        return status, json.loads(body)

    def flagger(self, hook: dict[str, Any], checksum: str) -> tuple[int, str]:
        """The request of a webhook: the token is the URL's, which Go's client makes Basic of."""
        url = urllib.parse.urlsplit(hook["url"].replace(":TOKEN@", f":{urllib.parse.quote(CALLERS)}@"))
        assert url.password is not None
        pair = base64.b64encode(f"{url.username}:{urllib.parse.unquote(url.password)}".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {pair}"}
        payload = {"name": "shop", "namespace": "shop", "phase": "Progressing", "checksum": checksum, "metadata": {}}
        return self.ask("POST", url.path, headers, json.dumps(payload))

    def traffic(self) -> None:
        for daemon, port in zip(self.daemons, self.ports, strict=True):
            ask(port, EACH)
            compared(daemon, "shop", EACH)

    def clear(self) -> None:
        for daemon in self.daemons:
            daemon.call("filter.rm", name="shop")
        for server in self.servers:
            server.close()
        self.servers, self.ports = [], []

    def close(self) -> None:
        self.gate.send_signal(signal.SIGTERM)
        assert self.gate.wait(20) == 0, self.log.read_text()


def token() -> dict[str, str]:
    return {"Authorization": f"Bearer {CALLERS}"}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    tmp_path = tmp_path_factory.mktemp("gate")
    tokens = secret(tmp_path / "secret", nodes="of the nodes, of tests", callers=CALLERS)
    doors = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        daemons = [
            stack.enter_context(
                running(tmp_path / str(door), f'http = "0.0.0.0:{door}"\nhttp_token_file = "{tokens / "nodes"}"\n')
            )
            for door in doors
        ]
        made = Cluster(tmp_path, daemons, doors, tokens)
        stack.callback(made.close)
        yield made


@pytest.fixture
def cluster(nodes: Cluster) -> Iterator[Cluster]:
    yield nodes
    nodes.clear()


def metrics_of(name: str) -> dict[str, dict[str, Any]]:
    """The metrics of a file's analysis templates, by the template's name."""
    found = [one for one in yaml.safe_load_all((GATES / name).read_text()) if one["kind"] == "AnalysisTemplate"]
    return {one["metadata"]["name"]: one["spec"]["metrics"][0] for one in found}


def hooks_of(canary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {hook["type"]: hook for hook in canary["spec"]["analysis"]["webhooks"]}


def test_argo_is_told_the_verdict_of_both_nodes(cluster: Cluster, tmp_path: Path) -> None:
    argo = metrics_of("argo-rollouts.yaml")
    cluster.serve([same, lambda number: {"n": number + (number % 4 == 1)}])
    assert cluster.ask("GET", "/verdict?filter=shop")[0] == 401, "the door asks for the token"
    status, told = cluster.argo(argo["shadowd-verdict"])
    assert status == 409, "no run of this build has begun"
    status, told = cluster.argo(argo["shadowd-run"])
    assert (status, told["filter"], told["started"], told["nodes"]) == (200, "shop", True, 2)
    assert [daemon.call("verdict", name="shop")["run"]["label"] for daemon in cluster.daemons] == ["7f9c", "7f9c"]
    assert cluster.argo(argo["shadowd-run"])[1]["started"] is False, "a retry goes on with it"
    status, told = cluster.argo(argo["shadowd-verdict"])
    assert (status, told["verdict"], told["compared"]) == (200, "inconclusive", 0)
    cluster.traffic()
    status, told = cluster.argo(argo["shadowd-verdict"])
    assert (status, told["verdict"]) == (200, "fail"), told
    assert sorted(one["verdict"] for one in told["nodes"])[0] == "fail"
    assert told["compared"] == 2 * EACH
    assert asked_of_prometheus(cluster, tmp_path) == {"argo": -1, "flagger": -1}


def test_a_node_that_cannot_be_asked_is_named(cluster: Cluster) -> None:
    """A run does not begin on a part of them without a word."""
    argo = metrics_of("argo-rollouts.yaml")
    cluster.serve([same, same])
    cluster.daemons[0].stop()
    status, told = cluster.argo(argo["shadowd-run"])
    assert status == 409
    assert f"127.0.0.1:{cluster.doors[0]} (" in told["error"]
    status, told = cluster.argo(argo["shadowd-verdict"])
    assert (status, told["verdict"]) == (200, "inconclusive")
    assert "not every node was asked" in told["error"]
    cluster.daemons[0].start()
    wait_for("the run begins on it", lambda: cluster.argo(argo["shadowd-run"])[0] == 200, 30)


def test_flagger_begins_waits_and_rolls_back(cluster: Cluster) -> None:
    canary, _ = yaml.safe_load_all((GATES / "flagger.yaml").read_text())
    hooks = hooks_of(canary)
    cluster.serve([same, same])
    assert cluster.flagger(hooks["pre-rollout"], "5d9b")[0] == 200
    labels = [daemon.call("verdict", name="shop")["run"]["label"] for daemon in cluster.daemons]
    assert labels == ["flagger-5d9b", "flagger-5d9b"]
    status, said = cluster.flagger(hooks["confirm-traffic-increase"], "5d9b")
    assert (status, said) == (412, "inconclusive: no node has compared anything yet\n")
    cluster.traffic()
    assert cluster.flagger(hooks["rollback"], "5d9b")[0] == 412
    status, said = cluster.flagger(hooks["confirm-traffic-increase"], "5d9b")
    verdicts = [daemon.call("verdict", name="shop")["verdict"] for daemon in cluster.daemons]
    assert (status == 200) == (verdicts == ["pass", "pass"]), said
    assert cluster.flagger(hooks["confirm-traffic-increase"], "another")[0] == 412


def asked_of_prometheus(cluster: Cluster, folder: Path) -> dict[str, float]:
    """What a real Prometheus that scrapes both nodes answers to the examples' queries, once it has seen them."""
    need(shutil.which("prometheus") is not None, "needs prometheus")
    port = free_port()
    scrape = {"job_name": "shadowd", "authorization": {"credentials_file": str(cluster.tokens / "nodes")},
              "static_configs": [{"targets": [f"127.0.0.1:{door}" for door in cluster.doors]}]}  # fmt: skip
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]})
    )
    with open(folder / "prometheus.log", "wb") as log:
        server = subprocess.Popen(
            ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"], stdout=log, stderr=log,
        )  # fmt: skip

    def value(query: str) -> float | None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/api/v1/query?" + urllib.parse.urlencode({"query": filled(query)}))
            told = json.loads(connection.getresponse().read())
        except (OSError, ValueError):  # it is starting
            return None
        finally:
            connection.close()
        assert told["status"] == "success", told
        (found,) = told["data"]["result"] or [{"value": [0, "nan"]}]
        return float(found["value"][1])

    argo = metrics_of("argo-prometheus.yaml")["shadowd-verdict-prometheus"]["provider"]["prometheus"]["query"]
    _, template = yaml.safe_load_all((GATES / "flagger.yaml").read_text())
    try:
        assert wait_for("it answers", lambda: value(argo) is not None, 60)
        wait_for("both are scraped", lambda: value("sum(shadowd_run_compared)") == 2 * EACH, 60)
        assert value(argo.replace("{{ args.build }}", "another")) == 0, "another build is nobody's verdict"
        assert value(argo.replace("{{ args.filter }}", "unknown")) == 0
        return {"argo": value(argo) or 0.0, "flagger": value(template["spec"]["query"]) or 0.0}
    finally:
        server.terminate()
        server.wait(20)
