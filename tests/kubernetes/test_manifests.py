"""The manifests: strictly by Kubernetes' own schemas, and in keeping with each other, the image and the daemon."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from shadowd import __version__
from shadowd.capture.programs import LOAD_SECONDS
from shadowd.config.document import load_config
from shadowd.service.cri import SOCKETS
from shadowd.service.daemon import CLOSE_SECONDS, DRAIN_SECONDS
from tests.conftest import ROOT
from tests.kubernetes.kustomize import build, containers, one_of

KUBERNETES = ROOT / "kubernetes"
BUILDS = {path.parent.name: path.parent for path in sorted(KUBERNETES.glob("*/kustomization.yaml"))}
# the oldest that clouds still sell long support for, and the newest that the package knows
RELEASES = ("1.29", kubernetes_validate.latest_version())


@pytest.fixture(scope="module")
def base() -> list[dict[str, Any]]:
    return build(KUBERNETES / "base")


def pod_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(one_of(objects, "DaemonSet")["spec"]["template"]["spec"])


# --- schemas ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDS)
def test_kubectl_builds_the_same(name: str) -> None:
    """What these tests read of kustomize is what kustomize does."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    done = subprocess.run(["kubectl", "kustomize", str(BUILDS[name])], capture_output=True, timeout=60, check=True)
    assert by_name(list(yaml.safe_load_all(done.stdout))) == by_name(build(BUILDS[name]))


def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", BUILDS)
def test_every_object_is_valid_by_the_schema(name: str, release: str) -> None:
    objects = build(BUILDS[name])
    assert objects
    for one in objects:
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            continue  # see test_prometheus_scrapes_every_node
        kubernetes_validate.validate(one, release, strict=True)  # raises, as the next test shows


def test_the_schemas_are_strict(base: list[dict[str, Any]]) -> None:
    """Else the test above would pass for nothing."""
    daemonset = one_of(base, "DaemonSet")
    for path, value in ((("spec", "template", "spec", "hostNetwrok"), True), (("spec", "selector"), "text")):
        wrong = deepcopy(daemonset)
        place = wrong
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


def test_all_of_the_issue_is_there(base: list[dict[str, Any]]) -> None:
    kinds = sorted(one["kind"] for one in base)
    assert kinds == ["ConfigMap", "DaemonSet", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "PriorityClass",
                     "Service", "ServiceAccount"]  # fmt: skip
    files = {path.name for path in (KUBERNETES / "base").glob("*.yaml")} - {"kustomization.yaml"}
    assert len(files) == len(base) - 1, "every file is listed, and the ConfigMap is generated"
    assert set(BUILDS) == {"all-nodes", "base", "gates", "host-processes", "monitoring", "pod-labels",
                           "seccomp-profile", "tls"}  # fmt: skip


# --- what refers to what ----------------------------------------------------------------------------------------------


def test_names_lead_somewhere(base: list[dict[str, Any]]) -> None:
    pod = pod_of(base)
    (container,) = containers(base)
    labels = one_of(base, "DaemonSet")["spec"]["template"]["metadata"]["labels"]
    assert pod["serviceAccountName"] == one_of(base, "ServiceAccount")["metadata"]["name"]
    assert pod["priorityClassName"] == one_of(base, "PriorityClass")["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert volumes["config"]["configMap"]["name"] == one_of(base, "ConfigMap")["metadata"]["name"]
    (port,) = container["ports"]
    service = one_of(base, "Service")["spec"]
    assert service["clusterIP"] == "None"
    assert [one["targetPort"] for one in service["ports"]] == [port["name"]]
    (rule,) = one_of(base, "NetworkPolicy")["spec"]["ingress"]
    assert [one["port"] for one in rule["ports"]] == [port["name"]]
    selectors = [
        one_of(base, "DaemonSet")["spec"]["selector"]["matchLabels"],
        service["selector"],
        one_of(base, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        one_of(base, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    namespaced = [one for one in base if one["kind"] not in ("Namespace", "PriorityClass")]
    assert {one["metadata"]["namespace"] for one in namespaced} == {one_of(base, "Namespace")["metadata"]["name"]}


def test_the_configuration_is_one_that_the_daemon_takes(base: list[dict[str, Any]], tmp_path: Path) -> None:
    (container,) = containers(base)
    ((name, document),) = one_of(base, "ConfigMap")["data"].items()
    assert container["args"] == ["run", "--config", f"/etc/shadowd/{name}"]
    (tmp_path / name).write_text(document)
    config = load_config(tmp_path / name)
    assert (config.loader, config.reload_on_change, config.least_privilege) == ("prebuilt", True, True)
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/etc/shadowd"]["readOnly"]
    assert not mounts[str(config.state_dir)].get("readOnly")
    assert not mounts[str(Path(config.socket).parent)].get("readOnly")
    assert config.monitor == f"0.0.0.0:{container['ports'][0]['containerPort']}"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert f"{asked['host']}:{asked['port']}" == config.http, "probes ask the node's loopback"
    assert config.http.startswith("127.0.0.1:"), "verdicts and reports are not for the network"


def test_the_example_filter_is_one_too(base: list[dict[str, Any]], tmp_path: Path) -> None:
    document = one_of(base, "ConfigMap")["data"]["shadowd.toml"]
    plain = re.sub(r"^# ", "", document[document.index("# [[filters]]") :], flags=re.MULTILINE)
    assert set(tomllib.loads(plain)["filters"][0]) == {"name", "ports", "pod", "targets"}
    (tmp_path / "f.toml").write_text(plain)
    assert [spec.name for spec in load_config(tmp_path / "f.toml").filters] == ["shop"]


def test_time_limits_fit_the_daemons_own(base: list[dict[str, Any]]) -> None:
    (container,) = containers(base)
    assert pod_of(base)["terminationGracePeriodSeconds"] > DRAIN_SECONDS + CLOSE_SECONDS
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] > LOAD_SECONDS


def test_the_image_is_of_this_version(base: list[dict[str, Any]]) -> None:
    (container,) = containers(base)
    assert container["image"] == f"shadowd:{__version__}"
    assert f"-t {container['image']} " in (KUBERNETES / "Containerfile").read_text()


def test_a_budget_that_forbids_no_eviction(base: list[dict[str, Any]]) -> None:
    spec = one_of(base, "PodDisruptionBudget")["spec"]
    assert spec["minAvailable"] == 0
    assert "maxUnavailable" not in spec


# --- privilege --------------------------------------------------------------------------------------------------------


def test_no_more_privilege_than_said(base: list[dict[str, Any]]) -> None:
    pod = pod_of(base)
    (container,) = containers(base)
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["BPF", "PERFMON", "NET_ADMIN"]}
    assert not security["privileged"]
    assert not security["allowPrivilegeEscalation"]
    assert security["readOnlyRootFilesystem"]
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (pod["hostNetwork"], pod["hostPID"], pod.get("hostIPC", False)) == (True, False, False)
    assert not pod["automountServiceAccountToken"]
    assert not one_of(base, "ServiceAccount")["automountServiceAccountToken"]
    readonly = {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    host = {volume["hostPath"]["path"]: readonly[volume["name"]] for volume in pod["volumes"] if "hostPath" in volume}
    assert host == {"/sys/fs/cgroup": True, "/var/log/pods": True, "/var/lib/shadowd": False}
    assert {"cpu", "memory"} == set(container["resources"]["requests"]) == set(container["resources"]["limits"])


def test_the_overlays_change_what_they_say_and_nothing_else(base: list[dict[str, Any]]) -> None:
    processes, profile = build(BUILDS["host-processes"]), build(BUILDS["seccomp-profile"])
    wanted = deepcopy(base)
    pod = one_of(wanted, "DaemonSet")["spec"]["template"]["spec"]
    pod["hostPID"] = True
    pod["containers"][0]["securityContext"]["capabilities"]["add"] += ["SYS_PTRACE", "DAC_READ_SEARCH"]
    assert processes == wanted
    wanted = deepcopy(base)
    (container,) = containers(wanted)
    container["securityContext"]["seccompProfile"] = {"type": "Localhost", "localhostProfile": "shadowd.json"}
    assert profile == wanted
    assert (BUILDS["seccomp-profile"] / "shadowd.json").is_file()
    wanted = deepcopy(base)
    spec = one_of(wanted, "DaemonSet")["spec"]["template"]["spec"]
    spec["volumes"].append({"name": "runtime", "hostPath": {"path": "/run/containerd", "type": "Directory"}})
    mount = {"name": "runtime", "mountPath": "/run/containerd", "readOnly": True}
    spec["containers"][0]["volumeMounts"].append(mount)
    assert build(BUILDS["pod-labels"]) == wanted
    assert any(Path(path).is_relative_to("/run/containerd") for path in SOCKETS), "the daemon looks there"


def test_reading_tls_leaves_the_daemons_rights_as_they_are(base: list[dict[str, Any]]) -> None:
    pod = pod_of(build(BUILDS["tls"]))
    assert pod["hostPID"]
    daemon, attacher = pod["containers"]
    (before,) = containers(base)
    shared = {"name": "tls", "mountPath": "/run/shadowd-tls"}
    assert daemon == {**before, "volumeMounts": [*before["volumeMounts"], shared]}
    assert shared in attacher["volumeMounts"]
    assert attacher["image"] == before["image"]
    assert attacher["args"] == ["attach-tls", "--socket", "/run/shadowd-tls/attacher.sock"]
    rights = attacher["securityContext"]
    assert sorted(rights["capabilities"]["add"]) == ["BPF", "DAC_READ_SEARCH", "PERFMON", "SYS_PTRACE"]
    assert rights["capabilities"]["drop"] == ["ALL"]
    assert rights["readOnlyRootFilesystem"]
    assert not rights["privileged"]


def test_the_gate_opens_the_nodes_doors_with_a_token_and_has_no_rights(base: list[dict[str, Any]]) -> None:
    gates = build(BUILDS["gates"])
    daemon = one_of(gates, "DaemonSet")
    wanted = deepcopy(one_of(base, "DaemonSet"))
    spec = wanted["spec"]["template"]["spec"]
    spec["containers"][0]["args"] += ["--http=0.0.0.0:9750", "--http-token-file=/run/secrets/shadowd/nodes"]
    spec["containers"][0]["ports"].append({"name": "door", "containerPort": 9750, "protocol": "TCP"})
    mount = {"name": "token", "mountPath": "/run/secrets/shadowd", "readOnly": True}
    spec["containers"][0]["volumeMounts"].append(mount)
    items = [{"key": "nodes", "path": "nodes"}]
    secret = {"secretName": "shadowd-gate", "defaultMode": 0o440, "items": items}
    spec["volumes"].append({"name": "token", "secret": secret})
    assert daemon == wanted, "the daemon does not know the callers' token"
    pod = one_of(gates, "Deployment")["spec"]["template"]["spec"]
    (gate,) = pod["containers"]
    assert gate["image"] == containers(base)[0]["image"]
    assert gate["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert "hostNetwork" not in pod
    services = {one["metadata"]["name"]: one["spec"] for one in gates if one["kind"] == "Service"}
    assert (
        services["shadowd-gate"]["selector"].items()
        <= one_of(gates, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    )
    assert "--nodes=shadowd.shadowd.svc:9750" in gate["args"]
    assert services["shadowd"]["clusterIP"] == "None", "its name leads to every node"
    assert {one["port"] for one in services["shadowd-gate"]["ports"]} == {gate["ports"][0]["containerPort"]} == {9752}
    policies = {one["metadata"]["name"]: one["spec"] for one in gates if one["kind"] == "NetworkPolicy"}
    opened = policies["shadowd"]["ingress"][1]
    assert opened["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "shadowd-gate"}}}]
    assert [one["port"] for one in opened["ports"]] == ["door"]


def test_prometheus_scrapes_every_node(base: list[dict[str, Any]]) -> None:
    """The fields by the operator's API (monitoring.coreos.com/v1); the job is the one that queries name."""
    pods = one_of(build(BUILDS["monitoring"]), "PodMonitor")
    services = yaml.safe_load((BUILDS["monitoring"] / "servicemonitor.yaml").read_text())
    labels = one_of(base, "DaemonSet")["spec"]["template"]["metadata"]["labels"]
    for monitor, endpoints, labelled in (
        (pods, "podMetricsEndpoints", labels),
        (services, "endpoints", one_of(base, "Service")["metadata"]["labels"]),
    ):
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        spec = monitor["spec"]
        assert set(spec) == {"jobLabel", "selector", endpoints}
        assert labelled[spec["jobLabel"]] == "shadowd"
        assert spec["selector"]["matchLabels"].items() <= labelled.items()
        (endpoint,) = spec[endpoints]
        assert endpoint["port"] == containers(base)[0]["ports"][0]["name"]
    for path in (ROOT / "docs").glob("*/*.yaml"):
        assert set(re.findall(r'job="(.*?)"', path.read_text())) <= {"shadowd"}


def test_every_node_is_every_node(base: list[dict[str, Any]]) -> None:
    wanted = deepcopy(base)
    one_of(wanted, "DaemonSet")["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    assert build(BUILDS["all-nodes"]) == wanted


def test_the_seccomp_profile_lets_little_through() -> None:
    profile = json.loads((BUILDS["seccomp-profile"] / "shadowd.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    names = [name for rule in profile["syscalls"] for name in rule["names"]]
    assert len(names) == len(set(names))
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ALLOW"}
    assert "bpf" in names
    escape = {"mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "ptrace", "process_vm_readv",
              "init_module", "finit_module", "kexec_load", "keyctl", "add_key", "perf_event_open", "userfaultfd",
              "io_uring_setup", "open_by_handle_at", "setuid", "setgid", "reboot", "mknod", "mknodat"}  # fmt: skip
    assert not escape & set(names)


def test_the_image_is_built_from_packages_alone() -> None:
    document = (KUBERNETES / "Containerfile").read_text()
    lines = [line for line in document.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM docker.io/library/debian:bookworm-slim AS build",
        "FROM scratch",
    ]
    final = lines[lines.index("FROM scratch") + 1 :]
    assert [line for line in final if line.startswith(("COPY", "ADD", "RUN"))] == ["COPY --from=build /image /"]
    assert not re.search(r"\b(curl|wget|ADD|git clone)\b", document)
    assert "kubernetes/rootfs.sh /image" in document
