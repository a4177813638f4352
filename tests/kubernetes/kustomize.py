"""As much of kustomize as our own files use: resources, a generated ConfigMap, images, JSON patches.

What it does not know it refuses, so that a kustomization cannot say something that the tests did not see.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Objects = list[dict[str, Any]]
KNOWN = {
    "apiVersion", "kind", "namespace", "resources", "configMapGenerator", "generatorOptions", "images", "patches"
}  # fmt: skip


def build(folder: Path) -> Objects:
    """The objects of ``kubectl kustomize FOLDER``."""
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(wanted) <= KNOWN, f"{folder}: this reads no {set(wanted) - KNOWN}"
    found: Objects = []
    for name in wanted["resources"]:
        path = folder / name
        found += build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for generated in wanted.get("configMapGenerator", []):
        assert wanted["generatorOptions"] == {"disableNameSuffixHash": True}
        data = {name: (folder / name).read_text() for name in generated["files"]}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated["name"]}, "data": data})
    found = deepcopy(found)  # YAML's anchors share objects
    if "namespace" in wanted:
        for one in found:
            if one["kind"] not in ("Namespace", "PriorityClass"):
                one["metadata"]["namespace"] = wanted["namespace"]
    for image in wanted.get("images", []):
        for container in containers(found):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    for patch in wanted.get("patches", []):
        (target,) = [one for one in found if _matches(one, patch["target"])]
        for operation in yaml.safe_load(patch["patch"]):
            _apply(target, operation)
    return found


def containers(objects: Objects) -> Objects:
    """Of all DaemonSets."""
    return [
        container
        for one in objects
        if one["kind"] == "DaemonSet"
        for container in one["spec"]["template"]["spec"]["containers"]
    ]


def one_of(objects: Objects, kind: str) -> dict[str, Any]:
    """The only object of its kind."""
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


def _matches(one: dict[str, Any], target: dict[str, str]) -> bool:
    return one["kind"] == target["kind"] and one["metadata"]["name"] == target["name"]


def _apply(target: Any, operation: dict[str, Any]) -> None:
    """One step of a JSON patch (RFC 6902 §4): replace what is there, or add a member or at the end of a list."""
    *way, last = operation["path"].removeprefix("/").split("/")
    for step in way:
        target = target[int(step)] if isinstance(target, list) else target[step]
    if operation["op"] == "add" and last == "-":
        target.append(operation["value"])
    elif operation["op"] == "add" and isinstance(target, dict) and last not in target:
        target[last] = operation["value"]
    elif operation["op"] == "replace":
        assert last in target, f"{operation['path']} is not there"
        target[last] = operation["value"]
    else:
        raise AssertionError(f"an operation of another kind: {operation}")
