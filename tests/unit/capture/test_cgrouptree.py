"""Names of units, pods and containers in the cgroup trees that runtimes make, each with both of its drivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from shadowd.capture.cgrouptree import container_of, find_container, find_unit, owner

ID = "4bf1e6f8" + "0a" * 28
OTHER = "4bf1e6f9" + "0b" * 28
UID = "9f3a6c1e-2d47-4f0b-8f55-1c0de5a1b2c3"
UNDERSCORED = UID.replace("-", "_")
BURSTABLE = "kubepods.slice/kubepods-burstable.slice"

LAYOUTS = {
    "docker, systemd": (f"system.slice/docker-{ID}.scope", ""),
    "docker, cgroupfs": (f"docker/{ID}", ""),
    "podman, systemd": (f"machine.slice/libpod-{ID}.scope", ""),
    "podman, rootless": (f"user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", ""),
    "podman, cgroupfs": (f"libpod_parent/libpod-{ID}", ""),
    "nerdctl, systemd": (f"system.slice/nerdctl-{ID}.scope", ""),
    "containerd, systemd": (
        f"{BURSTABLE}/kubepods-burstable-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope",
        f"{BURSTABLE}/kubepods-burstable-pod{UNDERSCORED}.slice",
    ),
    "containerd, systemd, guaranteed": (
        f"kubepods.slice/kubepods-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope",
        f"kubepods.slice/kubepods-pod{UNDERSCORED}.slice",
    ),
    "containerd, cgroupfs": (f"kubepods/besteffort/pod{UID}/{ID}", f"kubepods/besteffort/pod{UID}"),
    "CRI-O, systemd": (
        f"{BURSTABLE}/kubepods-burstable-pod{UNDERSCORED}.slice/crio-{ID}.scope",
        f"{BURSTABLE}/kubepods-burstable-pod{UNDERSCORED}.slice",
    ),
    "CRI-O, cgroupfs": (f"kubepods/burstable/pod{UID}/crio-{ID}", f"kubepods/burstable/pod{UID}"),
    "kind, nested": (
        f"system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-kubepods.slice/"
        f"kubelet-kubepods-pod{UNDERSCORED}.slice/cri-containerd-{ID}.scope",
        f"system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-kubepods.slice/"
        f"kubelet-kubepods-pod{UNDERSCORED}.slice",
    ),
}


@pytest.fixture(params=LAYOUTS, ids=lambda name: name.replace(", ", "-"))
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, str]:
    container, pod = LAYOUTS[request.param]
    (tmp_path / container / "inside").mkdir(parents=True)
    for other in ("system.slice/nginx.service", f"system.slice/docker-{'7c' * 32}.scope", "init.scope"):
        (tmp_path / other).mkdir(parents=True, exist_ok=True)
    return tmp_path, container, pod


def test_a_container_is_found_by_its_id_and_the_beginning_of_it(layout: tuple[Path, str, str]) -> None:
    root, container, _ = layout
    for given in (ID, ID[:12], ID[:8], ID.upper()[:12]):
        assert find_container(root, given) == ([container], [ID])
    assert find_container(root, "7d7d7d") == ([], [])


def test_a_pod_is_all_of_its_containers(layout: tuple[Path, str, str]) -> None:
    root, _, pod = layout
    assert find_container(root, f"pod:{UID}")[0] == ([pod] if pod else [])
    assert find_container(root, f"pod:{UID[:-1]}0")[0] == []


def test_whose_a_path_is(layout: tuple[Path, str, str]) -> None:
    _, container, _ = layout
    assert owner(f"/{container}") == ("", ID)
    assert owner(f"{container}/inside") == ("", ID)


def test_monitors_are_no_containers(tmp_path: Path) -> None:
    for name in (f"libpod-conmon-{ID}.scope", f"crio-conmon-{ID}.scope", f"crio-conmon-{ID}"):
        assert container_of(name) == ""
        (tmp_path / name).mkdir()
    assert find_container(tmp_path, ID[:12]) == ([], [])


def test_what_two_ids_begin_with_is_told(tmp_path: Path) -> None:
    for made in (ID, OTHER):
        (tmp_path / f"docker-{made}.scope").mkdir()
    assert find_container(tmp_path, ID[:7])[1] == [ID, OTHER]


def test_units(tmp_path: Path) -> None:
    paths = ("system.slice/checkout.service", "user.slice/user-1000.slice/user@1000.service/app.slice/checkout.service")
    for path in (*paths, "system.slice/checkout.service/worker", "system.slice/checkout2.service"):
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
    assert find_unit(tmp_path, "checkout.service") == sorted(paths)
    assert find_unit(tmp_path, "checkout") == sorted(paths)
    assert find_unit(tmp_path, "system.slice") == ["system.slice"]
    assert find_unit(tmp_path, "check") == []
    assert owner("system.slice/checkout.service/worker") == ("checkout.service", "")
    assert owner("user.slice/user-1000.slice/user@1000.service/app.slice/checkout.service") == ("checkout.service", "")
    assert owner("user.slice/user-1000.slice/session-3.scope") == ("session-3.scope", "")
    assert owner("") == ("", "")
