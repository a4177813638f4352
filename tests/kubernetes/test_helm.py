"""The Helm chart, rendered by a real helm: with its defaults it is kubernetes/base, with a value it is that overlay."""

from __future__ import annotations

import json
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from shadowd import __version__
from shadowd.config.document import load_config
from tests.conftest import ROOT
from tests.kubernetes.kustomize import Objects, build, one_of
from tests.material import program

CHART = ROOT / "kubernetes" / "helm" / "shadowd"
#: What an overlay of kubernetes/ is called in the chart.
OVERLAYS: dict[str, dict[str, Any]] = {
    "base": {},
    "all-nodes": {"tolerations": [{"operator": "Exists"}]},
    "gates": {"gates": {"enabled": True}},
    "host-processes": {"hostProcesses": True},
    "monitoring": {"podMonitor": True},
    "pod-labels": {"pods": {"runtime": "/run/containerd"}},
    "seccomp-profile": {"seccompProfile": {"type": "Localhost", "localhostProfile": "shadowd.json"}},
    "tls": {"tls": True},
}
EVERYTHING: dict[str, Any] = {
    **{key: value for values in OVERLAYS.values() for key, value in values.items()},
    "serviceMonitor": True, "podLabels": {"team": "platform"}, "podAnnotations": {"a": "b"},
    "affinity": {"nodeAffinity": {}},
    "image": {"repository": "registry.example/shadowd", "tag": "1", "pullSecrets": [{"name": "registry"}]},
    "filters": '[[filters]]\nname = "shop"\nports = ["8080"]\npod = "namespace=shop,app=checkout"\n'
               'targets = [{ url = "http://shop-next.shop.svc:8080" }]\n',
}  # fmt: skip


def helm(folder: Path, values: dict[str, Any], release: str = "shadowd") -> subprocess.CompletedProcess[str]:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return subprocess.run(
        [program("helm"), "template", release, CHART, "--namespace", "shadowd", "--values", file],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def rendered(folder: Path, values: dict[str, Any], release: str = "shadowd") -> Objects:
    done = helm(folder, values, release)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def by_name(objects: Objects) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_is_the_kustomization(overlay: str, tmp_path: Path) -> None:
    chart = by_name(rendered(tmp_path, {**OVERLAYS[overlay], "namespace": {"create": True}}))
    assert chart == by_name(build(ROOT / "kubernetes" / overlay))


def test_every_overlay_is_compared() -> None:
    assert set(OVERLAYS) == {path.parent.name for path in (ROOT / "kubernetes").glob("*/kustomization.yaml")}


def test_all_of_it_at_once_is_valid(tmp_path: Path) -> None:
    """Overlays stand each for itself; the chart has them together."""
    objects = rendered(tmp_path, EVERYTHING, "mirror")
    for one in objects:
        if not one["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    kinds = [one["kind"] for one in objects]
    assert kinds.count("PodMonitor") == kinds.count("ServiceMonitor") == kinds.count("Deployment") == 1
    assert "Namespace" not in kinds, "helm makes it, or it is there"
    daemon = one_of(objects, "DaemonSet")
    assert daemon["metadata"]["name"] == "mirror-shadowd"
    pod = daemon["spec"]["template"]
    assert pod["metadata"]["labels"] == {"app.kubernetes.io/name": "mirror-shadowd", "team": "platform"}
    assert {one["image"] for one in pod["spec"]["containers"]} == {"registry.example/shadowd:1"}
    mounts = {mount["name"] for container in pod["spec"]["containers"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["spec"]["volumes"]}
    gate = one_of(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert "--nodes=mirror-shadowd.shadowd.svc:9750" in gate["args"]
    (tmp_path / "shadowd.toml").write_text(one_of(objects, "ConfigMap")["data"]["shadowd.toml"])
    assert [spec.pod for spec in load_config(tmp_path / "shadowd.toml").filters] == ["namespace=shop,app=checkout"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"filter": ""}, "additional properties 'filter' not allowed"),
        ({"gates": {"missing": -1}}, "minimum"),
        ({"tls": "yes"}, "want boolean"),
        ({"seccompProfile": {"type": "Localhost"}}, "missing property 'localhostProfile'"),
        ({"pods": {"runtime": "containerd"}}, "does not match pattern"),
    ],
)
def test_values_that_cannot_be_are_refused(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    done = helm(tmp_path, wrong)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_chart_is_of_this_version_and_its_values_are_all_described() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]) - {"global"} == set(yaml.safe_load((CHART / "values.yaml").read_text()))


def test_the_configuration_is_the_one_of_base() -> None:
    """Also where there is no helm."""
    values = deepcopy(yaml.safe_load((CHART / "values.yaml").read_text()))
    assert values["config"] == (ROOT / "kubernetes/base/shadowd.toml").read_text()
