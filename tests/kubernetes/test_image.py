"""The image's files, run as the DaemonSet says: the listed capabilities, a read-only root, namespaces of its own.

No container engine is needed: ``kubernetes/rootfs.sh`` makes the files (the Containerfile runs the same script), and
``container.py`` does what a runtime does. Making them takes half a minute, once for all tests here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest

from shadowd.capture.preflight import find_bcc_python, find_cgroup2
from shadowd.errors import PlatformError
from tests.conftest import ROOT, need
from tests.kubernetes.kustomize import build, one_of
from tests.kubernetes.pod import Pod, base_daemonset, running
from tests.netns.lab import HttpClient, Server, check_ledger, free_port, wait_for

SECCOMP = ROOT / "kubernetes/seccomp-profile/shadowd.json"
BIT = {"DAC_READ_SEARCH": 2, "NET_ADMIN": 12, "SYS_PTRACE": 19, "PERFMON": 38, "BPF": 39}


@pytest.fixture(scope="session")
def root(root_user: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The image's root file system, made from a copy of the sources."""
    need(Path("/usr/bin/dpkg").exists(), "the image is made of Debian's packages: needs a Debian machine")
    python = "/usr/bin/python3"
    done = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True, check=False
    )
    need(done.stdout == b"True\n", "needs Debian's python3 of 3.11 or later")
    need(find_cgroup2() is not None, "needs cgroup v2")
    need(find_library("seccomp") is not None, "needs libseccomp")
    need(shutil.which("unshare") is not None and shutil.which("nsenter") is not None, "needs util-linux")
    folder = tmp_path_factory.mktemp("image")
    source = folder / "source"
    copy_as_the_build_does(source)
    try:
        bcc = find_bcc_python()
    except PlatformError as error:
        need(False, str(error))
    _run("make", "-C", str(source), "bpf-bytecode", f"BCC_PYTHON={bcc}")
    _run(str(source / "kubernetes/rootfs.sh"), str(folder / "root"))
    yield folder / "root"
    shutil.rmtree(folder)


def copy_as_the_build_does(source: Path) -> None:
    """What the Containerfile's first stage copies, and no more: it must be enough."""
    ignored = shutil.ignore_patterns("__pycache__", "*.bytecode")
    copied = re.findall(r"^COPY (?!--)(.+) (/src\S*)$", (ROOT / "kubernetes/Containerfile").read_text(), re.MULTILINE)
    source.mkdir()
    for names, to in copied:
        for name in names.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / Path(to).relative_to("/src"), ignore=ignored)
            else:
                shutil.copy(ROOT / name, source / name)


def _run(*command: str) -> None:
    # without what setup.py compiles, which would take a minute
    environment = os.environ | {"SHADOWD_PURE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


@contextlib.contextmanager
def services() -> Iterator[tuple[Server, Server]]:
    production, shadow = Server(), Server()
    try:
        yield production, shadow
    finally:
        production.close()
        shadow.close()


def filter_of(name: str, production: Server, shadow: Server) -> str:
    head = f'\n[[filters]]\nname = "{name}"\nports = ["{production.port}"]\n'
    return f'{head}targets = [{{url = "{shadow.url}"}}]\ntwin = 0\n'


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def mask(*names: str) -> int:
    return sum(1 << BIT[name] for name in names)


# --- the files --------------------------------------------------------------------------------------------------------


def test_nothing_is_in_it_but_what_runs(root: Path) -> None:
    files = [str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()]
    assert len(files) > 1000
    banned = re.compile(r"bin/(?!python3|shadow(d|ctl)$)|(^|/)(bcc(?!ache)|libbcc|libLLVM|libclang|libbpf)[^/]*$")
    assert [name for name in files if banned.search(name)] == [], "no shell, no tools, no compiler"
    packages = {path.name.partition("-")[0] for path in (root / "usr/lib/shadowd").glob("*.dist-info")}
    assert "shadowd" in packages
    assert not packages & {"pip", "setuptools", "pytest", "mypy", "hypothesis", "kubernetes_validate"}
    assert (root / "usr/lib/shadowd/shadowd/bpf/shadowd.bytecode").is_file()
    assert not list(root.rglob("*.bpf.c"))
    privileged = [str(path) for path in root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o6000]
    assert privileged == [], "no setuid and no setgid file"
    assert sum(path.lstat().st_size for path in root.rglob("*")) < 150 << 20, "about 110 MB"


def test_every_library_finds_what_it_needs(root: Path) -> None:
    libraries = [path for path in root.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    assert len(libraries) > 50
    linker = next(path for path in (root / "usr/lib64", root / "usr/lib") for path in path.glob("ld-linux-*.so.*"))
    inside = "/" + str(linker.relative_to(root))
    for library in libraries:
        done = subprocess.run(
            ["chroot", str(root), inside, "--list", "/" + str(library.relative_to(root))],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "not found" not in done.stdout + done.stderr, f"{library}: {done.stdout}{done.stderr}"


def test_the_gate_runs_without_any_right(root: Path, tmp_path: Path) -> None:
    """As the Deployment of kubernetes/gates has it: as nobody, and process 1 of its namespace ends by SIGTERM."""
    door, node = free_port(), free_port()
    secrets = root / "tmp" / "secrets"
    secrets.mkdir()
    for name in ("nodes", "callers"):
        (secrets / name).write_text(f"of the {name}, of tests")
        (secrets / name).chmod(0o440)
        shutil.chown(secrets / name, group="nogroup")
    gate = one_of(build(ROOT / "kubernetes/gates"), "Deployment")["spec"]["template"]["spec"]
    user = gate["securityContext"]["runAsUser"]
    words = [
        word.replace("/run/secrets/shadowd", "/tmp/secrets").replace("0.0.0.0:9752", f"127.0.0.1:{door}")
        .replace("shadowd.shadowd.svc:9750", f"127.0.0.1:{node}") for word in gate["containers"][0]["args"]
    ]  # fmt: skip
    inside = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "chroot",
        f"--userspec={user}:{user}",
        "--groups=",
        str(root),
    ]
    log = tmp_path / "log"
    with open(log, "wb") as told:
        process = subprocess.Popen([*inside, "/usr/bin/shadowd", *words], stderr=told)

    def probed(name: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", door, timeout=10)
        try:
            connection.request("GET", gate["containers"][0][name]["httpGet"]["path"])
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    try:
        assert wait_for("it answers", lambda: probed("livenessProbe"), 60) == 200, log.read_text()
        assert probed("readinessProbe") == 503, "no node answers"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert "CapEff:\t0000000000000000" in Path(f"/proc/{child}/status").read_text()
        os.kill(int(child), signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(secrets)


def test_both_commands_start(root: Path) -> None:
    for command in ("shadowd", "shadowctl"):
        done = subprocess.run(
            ["chroot", str(root), f"/usr/bin/{command}", "--version"], capture_output=True, check=False
        )
        assert (done.returncode, done.stdout.split()[:1]) == (0, [command.encode()]), done.stderr


# --- the container ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seccomp", [None, SECCOMP], ids=["no profile", "our profile"])
def test_live_traffic_is_mirrored_with_the_listed_capabilities_alone(
    root: Path, tmp_path: Path, seccomp: Path | None
) -> None:
    """Production and shadow are outside: the hook is at the root of the host's cgroups, not at the container's."""
    with (
        services() as (production, shadow),
        services() as (other, other_shadow),
        running(root, tmp_path / "pod", filter_of("shop", production, shadow), seccomp=seccomp) as pod,
    ):
        status = pod.shadowctl("status")
        assert status["problems"] == []
        assert status["hooks"] == ["socket"]
        held = status_of(pod.pid)
        assert int(held["CapEff"], 16) == int(held["CapPrm"], 16) == mask("NET_ADMIN"), "what loading needed is gone"
        assert int(held["CapBnd"], 16) | mask("BPF", "PERFMON", "NET_ADMIN") == mask("BPF", "PERFMON", "NET_ADMIN")
        assert (held["NoNewPrivs"], held["Uid"].split()[0]) == ("1", "0")
        assert held["Seccomp"] == ("2" if seccomp else "0")
        assert held["NSpid"].split()[-1] == "1"

        client = HttpClient(production.host, production.port)
        for number in range(20):
            assert client.get(f"/item/{number}").endswith(b"fine")
        ledger = settled(pod, "shop", 20)
        assert ledger["targets"][0]["mirrored"] == 20
        assert sorted(_paths(shadow)) == sorted(_paths(production))

        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert pod.probe(probe) == 200
        assert pod.get("127.0.0.1", 9751, "/readyz") == (200, "ok\n")
        assert pod.get("127.0.0.1", 9751, "/verdict?filter=shop")[0] == 404
        assert pod.get("127.0.0.1", 9750, "/verdict?filter=shop")[0] == 200

        # a changed ConfigMap is taken up by the running daemon
        before = pod.pid
        pod.configure(filter_of("shop", production, shadow) + filter_of("other", other, other_shadow))
        wait_for("both filters are there", lambda: len(pod.shadowctl("filter", "ls")) == 2)
        second = HttpClient(other.host, other.port)
        second.get("/second")
        assert settled(pod, "other", 1)["targets"][0]["mirrored"] == 1
        assert pod.pid == before
        # and one with a fault is not
        pod.configure("\n[[filters]]\nname = 7\n")
        wait_for("it is refused", lambda: b"reload refused" in pod.log.read_bytes())
        assert len(pod.shadowctl("filter", "ls")) == 2
        client.close()
        second.close()

        written = list((tmp_path / "pod" / "state").iterdir())
        assert written, "runs are stored on the node"
        assert pod.stop() == 0
        assert "Traceback" not in pod.told()


def settled(pod: Pod, name: str, seen: int) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = pod.shadowctl("ledger", name)
        ledger = {**found["filters"][0], "kernel": found["kernel"]}
        check_ledger(ledger)
        return ledger if ledger["seen"] == seen and not ledger["in_flight"] else None

    return dict(wait_for(f"{seen} requests of {name} are accounted for", look, 60))


def _paths(server: Server) -> list[bytes]:
    return [request.split(b" ")[1] for request in server.requests]


def test_the_root_is_read_only(root: Path, tmp_path: Path) -> None:
    with (
        services() as (production, shadow),
        running(root, tmp_path / "pod", filter_of("shop", production, shadow)) as pod,
    ):
        for place, writable in {"/usr/lib/shadowd": False, "/etc/shadowd": False, "/sys/fs/cgroup": False,
                                "/var/lib/shadowd": True, "/run/shadowd": True, "/tmp": True}.items():  # fmt: skip
            options = _mount_options(pod.pid, place)
            assert ("rw" in options) == writable, f"{place}: {options}"
        assert pod.stop() == 0


def _mount_options(pid: int, path: str) -> list[str]:
    """Of the mount that a path in the container lies on; of several at one place the last is seen."""
    inside = f"/proc/{pid}/root"
    root = os.readlink(inside)
    best: tuple[int, list[str]] = (-1, [])
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        place, options = line.split()[4:6]
        place = place.removeprefix(root) or "/"
        if (path == place or path.startswith(place.rstrip("/") + "/")) and len(place) >= best[0]:
            best = len(place), options.split(",")
    return best[1]


@pytest.mark.parametrize("name", ["base", "host-processes"])
def test_the_overlay_alone_sees_the_nodes_processes(root: Path, tmp_path: Path, name: str) -> None:
    daemonset = one_of(build(ROOT / "kubernetes" / name), "DaemonSet")
    all_of_them = name == "host-processes"
    with (
        services() as (production, shadow),
        running(root, tmp_path / "pod", filter_of("shop", production, shadow), daemonset) as pod,
    ):
        more = ("SYS_PTRACE", "DAC_READ_SEARCH") if all_of_them else ()
        assert int(status_of(pod.pid)["CapEff"], 16) == mask("NET_ADMIN", *more)
        ours = os.readlink(f"/proc/{pod.pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
        assert ours == all_of_them
        client = HttpClient(production.host, production.port)
        client.get("/")
        settled(pod, "shop", 1)
        client.close()

        def memory_is_judged() -> bool:
            """This process is the shadow's: it is found by its listening socket."""
            judges = pod.shadowctl("verdict", "shop", ends=(0, 1, 3))["judges"]
            return any(judge["judge"] == "memory" for judge in judges)

        if all_of_them:
            wait_for("the shadow's memory is judged", memory_is_judged)
        else:
            assert not memory_is_judged()
        assert pod.stop() == 0


@pytest.mark.parametrize("missing", ["BPF", "NET_ADMIN"])
def test_a_missing_capability_is_one_line(root: Path, tmp_path: Path, missing: str) -> None:
    daemonset = deepcopy(base_daemonset())
    added = daemonset["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilities"]["add"]
    added.remove(missing)
    pod = Pod(root, tmp_path / "pod", "", daemonset)
    try:
        with pytest.raises(AssertionError, match="the container ended with 1"):
            pod.start()
        assert f"CAP_{missing} is missing" in pod.told()
        assert "Traceback" not in pod.told()
    finally:
        pod.remove()


def test_a_profile_that_forbids_bpf_is_one_line(root: Path, tmp_path: Path) -> None:
    """What an older runtime's default does to a container without CAP_SYS_ADMIN."""
    profile = json.loads(SECCOMP.read_text())
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name != "bpf"]
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    pod = Pod(root, tmp_path / "pod", "", seccomp=tmp_path / "profile.json")
    try:
        with pytest.raises(AssertionError, match="the container ended with 1"):
            pod.start()
        told = pod.told()
        assert re.search(r"the kernel refuses the map \w+: Operation not permitted", told), told
        assert "no seccomp profile forbids bpf(2)" in told
        assert "Traceback" not in told
    finally:
        pod.remove()


def test_the_interpreter_of_the_tests_is_not_the_images(root: Path) -> None:
    """Else what is missing in the image would be found outside of it."""
    done = subprocess.run(
        ["chroot", str(root), "/usr/bin/python3", "-I", "-c", "import sys; print(sys.prefix, *sys.path)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert sys.prefix not in done.stdout
    assert str(ROOT) not in done.stdout
