"""The examples of docs/gates: that they parse, ask for what exists, and read verdicts as shadowd gives them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from shadowd.cli.shadowctl import app
from shadowd.errors import ShadowdError

GATES = Path(__file__).parents[3] / "docs" / "gates"


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((GATES / name).read_text()))


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


def commands(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.strip().startswith("shadowctl "):
            yield shlex.split(line.partition(" || ")[0].strip(), comments=True)[1:]


def shown() -> list[tuple[str, list[str]]]:
    """Every command that the examples and the page show, with the file it is in."""
    found: list[tuple[str, list[str]]] = []
    for path in sorted(GATES.glob("*.y*ml")):
        for text in strings(documents(path.name)):
            found += [(path.name, command) for command in commands(text)]
    page = (GATES / "README.md").read_text()
    inline = "\n".join(text for text in re.findall(r"`(shadowctl [^`]+)`", page))
    return found + [("README.md", command) for command in commands(page + "\n" + inline)]


def told(words: list[str]) -> str:
    """What the command line says where no daemon runs: it gets so far only if the command is a whole one."""
    result = CliRunner().invoke(app, words, env={"SHADOWD_SOCKET": "/nowhere/shadowd.sock"})
    return str(result.exception) if isinstance(result.exception, ShadowdError) else f"exit {result.exit_code}"


def test_every_file_is_found() -> None:
    names = {path.name for path in GATES.iterdir()}
    assert names == {"argo-prometheus.yaml", "argo-rollouts.yaml", "ask.sh", "flagger.yaml", "github-actions.yml",
                     "gitlab-ci.yml", "README.md"}  # fmt: skip
    page = (GATES / "README.md").read_text()
    assert all(f"]({name})" in page for name in names - {"README.md"})


def test_commands_exist_with_their_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = shown()
    assert {name for name, _ in found} == {"github-actions.yml", "gitlab-ci.yml", "README.md"}
    assert len(found) >= 12
    for _, words in found:
        placed = [word.replace("$RUNNER_TEMP", str(tmp_path)).replace("NAME", "shop") for word in words]
        assert told(placed).startswith("no daemon answers: /nowhere/shadowd.sock"), words


@pytest.mark.parametrize(
    "words",
    ["verdict", "verdict shop --html x", "report shop --html", "judge shop", "run stop shop", "verdict shop --wait"],
)
def test_the_check_of_commands_can_fail(words: str) -> None:
    assert told(words.split()) == "exit 2"


def used_by(node: Any) -> set[str]:
    """Arguments that a template's texts name."""
    return {name for text in strings(node) for name in re.findall(r"{{ args\.(\w+) }}", text)}


def gate_address() -> str:
    """As kubernetes/gates has it."""
    found = list(yaml.safe_load_all((GATES.parents[1] / "kubernetes/gates/gate.yaml").read_text()))
    (service,) = [one for one in found if one["kind"] == "Service"]
    place = service["metadata"]
    return f"http://{place['name']}.{place['namespace']}.svc:{service['spec']['ports'][0]['port']}"


def test_argo_asks_the_gate_with_the_callers_token() -> None:
    for template in documents("argo-rollouts.yaml")[:2]:
        given = {arg["name"]: arg for arg in template["spec"]["args"]}
        assert given["shadowd"]["value"] == gate_address()
        assert given["token"]["valueFrom"] == {"secretKeyRef": {"name": "shadowd-gate", "key": "callers"}}
        (metric,) = template["spec"]["metrics"]
        headers = {one["key"]: one["value"] for one in metric["provider"]["web"]["headers"]}
        assert headers["Authorization"] == "Bearer {{ args.token }}"


def test_argo_and_flagger_ask_prometheus_for_all_nodes() -> None:
    """What the queries answer is asked of a real one in tests/netns/test_gate.py."""
    (template,) = documents("argo-prometheus.yaml")
    (metric,) = template["spec"]["metrics"]
    assert (metric["successCondition"], metric["failureCondition"]) == ("result[0] == 1", "result[0] == -1")
    assert used_by(metric["provider"]) == {arg["name"] for arg in template["spec"]["args"]}
    canary, found = documents("flagger.yaml")
    assert (found["apiVersion"], found["kind"]) == ("flagger.app/v1beta1", "MetricTemplate")
    assert found["spec"]["provider"]["type"] == "prometheus"
    (used,) = canary["spec"]["analysis"]["metrics"]
    assert used["templateRef"] == {"name": found["metadata"]["name"]}
    assert found["metadata"]["namespace"] == canary["metadata"]["namespace"]
    assert used["thresholdRange"] == {"min": 0}
    assert set(re.findall(r"{{ variables\.(\w+) }}", found["spec"]["query"])) == set(used["templateVariables"])


def test_argo_reads_all_three_verdicts() -> None:
    _, template, rollout = documents("argo-rollouts.yaml")
    assert (template["apiVersion"], template["kind"]) == ("argoproj.io/v1alpha1", "AnalysisTemplate")
    (metric,) = template["spec"]["metrics"]
    assert metric["successCondition"] == 'result.verdict == "pass"'
    assert metric["failureCondition"] == 'result.verdict == "fail"'
    assert metric["failureLimit"] == 0
    assert metric["inconclusiveLimit"] * int(metric["interval"].removesuffix("s")) == 600
    web = metric["provider"]["web"]
    assert web["url"].endswith("/verdict?filter={{ args.filter }}&label={{ args.build }}")
    assert "jsonPath" not in web  # the result is then the whole object
    assert used_by(web) == {arg["name"] for arg in template["spec"]["args"]}
    first, step = [step["analysis"] for step in rollout["spec"]["strategy"]["canary"]["steps"] if "analysis" in step]
    assert step["templates"] == [{"templateName": template["metadata"]["name"]}]
    assert {arg["name"] for arg in step["args"]} == {"filter", "build"}
    assert step["args"] == first["args"], "both speak of one build"


def test_argo_begins_a_run_before_it_asks_and_before_any_user() -> None:
    begin, _, rollout = documents("argo-rollouts.yaml")
    (metric,) = begin["spec"]["metrics"]
    web = metric["provider"]["web"]
    assert (web["method"], metric["count"]) == ("POST", 1)
    assert web["url"].endswith("/run/{{ args.filter }}?label={{ args.build }}")
    assert [header["key"] for header in web["headers"]] == ["Authorization", "X-Shadowd"]
    assert used_by(web) == {arg["name"] for arg in begin["spec"]["args"]}
    steps = rollout["spec"]["strategy"]["canary"]["steps"]
    assert [next(iter(step)) for step in steps[:4]] == ["setCanaryScale", "analysis", "analysis", "setWeight"]
    assert steps[1]["analysis"]["templates"] == [{"templateName": begin["metadata"]["name"]}]


def test_flagger_begins_a_run_asks_before_any_user_and_rolls_back() -> None:
    canary, _ = documents("flagger.yaml")
    assert (canary["apiVersion"], canary["kind"]) == ("flagger.app/v1beta1", "Canary")
    hooks = {hook["type"]: hook["url"] for hook in canary["spec"]["analysis"]["webhooks"]}
    gate = hooks["confirm-traffic-increase"]
    assert gate == gate_address().replace("//", "//any:TOKEN@") + "/flagger/shop"
    assert (hooks["pre-rollout"], hooks["rollback"]) == (f"{gate}/start", f"{gate}/rollback")


def test_pipelines_report_also_when_the_gate_is_shut() -> None:
    (workflow,) = documents("github-actions.yml")
    assert True in workflow  # YAML 1.1 reads the key `on` as true, and so does everybody who checks with PyYAML
    steps = workflow["jobs"]["verdict"]["steps"]
    gate = next(index for index, step in enumerate(steps) if "--gate" in step.get("run", ""))
    assert all(step["if"].startswith("${{ !cancelled() && ") for step in steps[gate + 1 :])
    for outcome, reported in (("pass", True), ("fail", True), ("inconclusive", True), ("not-asked", False)):
        assert (f'"{outcome}"' in steps[gate + 1]["if"]) == reported, "where nobody answers there is no report either"
    (pipeline,) = documents("gitlab-ci.yml")
    job = pipeline["shadow verdict"]
    assert job["stage"] in pipeline["stages"]
    assert job["allow_failure"] == {"exit_codes": 3}
    assert any("--gate" in line for line in job["script"])
    assert any("report shop" in line for line in job["after_script"])
    assert job["artifacts"]["when"] == "always"
