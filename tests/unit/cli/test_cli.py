"""The command line as a user meets it: real processes against a real control server with a small real handler."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from shadowd import __version__
from shadowd.cli import filters
from shadowd.config import filter as filterspec
from shadowd.config.document import FilterSpec
from shadowd.control.server import serve_control
from shadowd.errors import ShadowdError, UsageError

SETTINGS = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}


class Filters:
    """What a daemon knows, without what it does."""

    def __init__(self) -> None:
        self.specs: dict[str, FilterSpec] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def find(self, name: str) -> FilterSpec:
        if name not in self.specs:
            raise UsageError(f"there is no filter named {name}", "shadowctl filter ls lists them")
        return self.specs[name]

    def view(self, spec: FilterSpec) -> dict[str, Any]:
        state = "following" if spec.follow else "paused" if spec.paused else "active"
        return {
            "spec": spec.to_wire(), "origin": "control", "state": state,
            "words": ["no packets matched this filter yet"], "seen": 12, "mirrored": 10, "bit": 0,
        }  # fmt: skip

    async def handle(self, op: str, args: dict[str, Any]) -> object:
        self.asked.append((op, args))
        match op:
            case "filter.add":
                spec = FilterSpec.from_wire(args["spec"])
                if spec.name in self.specs:
                    raise UsageError(
                        f"there is already a filter named {spec.name}", "change it with shadowctl filter set"
                    )
                self.specs[spec.name] = spec
                return self.view(spec)
            case "filter.set":
                spec = FilterSpec.from_wire({**self.find(args["name"]).to_wire(), **args["changes"]})
                self.specs[spec.name] = spec
                return self.view(spec)
            case "filter.ls":
                return [self.view(spec) for spec in self.specs.values()]
            case "filter.show":
                return self.view(self.find(args["name"]))
            case "filter.rm":
                self.find(args["name"])
                return self.view(self.specs.pop(args["name"]))
            case "filter.pause" | "filter.resume":
                wire = {
                    **self.find(args["name"]).to_wire(),
                    "paused": op == "filter.pause",
                    "follow": args.get("follow", False),
                }
                self.specs[args["name"]] = FilterSpec.from_wire(wire)
                return self.view(self.specs[args["name"]])
            case "status":
                return {
                    "version": "9.9", "pid": 42, "uptime_s": 3725.0, "node": "edge-1", "hooks": ["socket", "tcx:eth0"],
                    "flows": 7, "rate": {"seen_per_s": 12.5}, "problems": ["redis-next does not resolve"],
                    "filters": [self.view(spec) for spec in self.specs.values()],
                    "memory": {"own": 42 << 20, "buffers": 3 << 20, "max": 256 << 20, "comparer_max": 768 << 20},
                }  # fmt: skip
            case "ledger":
                return LEDGER
            case "reload":
                raise ShadowdError("internal", "see the log")
        raise UsageError(f"the daemon does not know the operation {op}")


LEDGER = {
    "filters": [
        {
            "name": "shop", "seen": 20, "in_flight": 1, "filtered": {"method": 3}, "lost": {"gap": 1}, "balanced": True,
            "targets": [{"url": "http://next:80", "mirrored": 13, "shed": {"shadow_lag": 1}, "failed": {"reset": 1},
                         "in_flight": 1}],
        }
    ],
    "kernel": {"records": 100, "bytes": 12345, "ring_full": 0, "balanced": True},
}  # fmt: skip


class Served:
    """A control server in a thread, and shadowctl against it."""

    def __init__(self, path: Path, answers: Filters | None = None) -> None:
        self.path = path
        self.filters = answers or Filters()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,))
        self._thread.start()
        assert self._ready.wait(10)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            await nursery.start(serve_control, self.path, None, self.filters.handle)
            self._ready.set()

    def stop(self) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # it was stopped already
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(10)

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return command("shadowctl", "--socket", str(self.path), *words)


def command(program: str, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **SETTINGS, **settings}
    line = [sys.executable, "-m", f"shadowd.cli.{program}", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment)


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line of an error; nothing on stdout but the object of --json, no traceback."""
    assert done.returncode == code, done.stderr
    if "--json" in done.args:
        assert json.loads(done.stdout)["error"]["exit"] == code
    else:
        assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert " — " in line, "what is wrong — what to do"
    return line.removeprefix("error: ")


def worked(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextlib.contextmanager
def serving(answers: Filters | None = None) -> Iterator[Served]:
    """A server that answers so, while it runs."""
    with tempfile.TemporaryDirectory() as directory:  # short: a socket's path has at most 107 bytes
        os.chmod(directory, 0o755)
        server = Served(Path(directory) / "control.sock", answers)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as server:
        yield server


@pytest.fixture
def shop(served: Served) -> Served:
    served.filters.specs["shop"] = FilterSpec.from_wire({"name": "shop", "ports": [8080], "to": ["http://next:8080"]})
    return served


# --- what works -------------------------------------------------------------------------------------------------------


def test_the_owners_of_a_service_are_those_of_the_model() -> None:
    assert filters.OWNERS == filterspec.OWNERS


def test_add_takes_every_option(served: Served, tmp_path: Path) -> None:
    options = {
        "--port": "80,8000-8010", "--to": "https://next:1", "--baseline": "https://same:2", "--hook": "tc:veth*",
        "--direction": "outbound", "--client": "10.0.0.0/8", "--server": "2001:db8::/32", "--sample": "10%",
        "--protocol": "http", "--methods": "GET,POST", "--match-path": "^/api/", "--exclude-path": "x",
        "--match-header": "X-Tenant: ^a", "--set-header": "X-Env: shadow", "--remove-header": "Cookie",
        "--set-json": "$.model=next",
        "--proxy-protocol": "forward", "--order": "none", "--max-lag": "2s", "--max-rps": "500", "--timeout": "500ms",
        "--stream-window": "1m", "--price": "aria=1,2", "--citations": "$.ids", "--similarity": "/srv/model",
        "--refusal": "^our policy", "--tls": "decrypt", "--tls-keylog": "keys.log", "--descriptors": "api.binpb",
        "--max-connections": "10", "--max-in-flight": "20", "--max-buffered": "1MB", "--ca": "ca.pem",
        "--client-cert": "/c.pem", "--client-key": "/k.pem", "--server-name": "api.example",
        "--twin": "10%", "--route": "/users/{id}", "--run-key": "X-Version", "--max-error-increase": "0.2%",
        "--max-diff-share": "1%", "--max-slowdown": "5%,10%,20%", "--latency-floor": "2ms", "--max-leak": "0.5KB",
        "--max-cpu": "50%", "--min-coverage": "90%", "--min-samples": "100", "--min-duration": "1m",
        "--min-span": "30s", "--warmup": "10s", "--max-slow-increase": "1%", "--slow-floor": "80ms",
        "--critical": "errors,cpu", "--critical-endpoint": "GET /pay", "--memory-after": "2000",
        "--ignore-header": "ETag", "--compare-header": "X-Cache", "--unordered": "$.tags",
        "--max-decision-increase": "2%", "--max-token-increase": "20%", "--max-token-time-increase": "30%",
        "--max-cost-increase": "40%", "--max-similarity-loss": "6%",
        "--tolerance": "0.1%", "--shadow-metrics": "http://a/metrics", "--production-metrics": "http://b/metrics",
    }  # fmt: skip
    words = [word for option in options.items() for word in option]
    done = served("filter", "add", "shop", *words, "--preserve-host", "--allow-writes", "--allow-self",
                  "--websocket", "--paused", "--follow",
                  "--strict-types", "--allow-extra", "--no-content",
                  "--no-compare", "--json")  # fmt: skip
    tls = {
        "ca": str(Path.cwd() / "ca.pem"),
        "client_cert": "/c.pem",
        "client_key": "/k.pem",
        "server_name": "api.example",
    }
    assert json.loads(worked(done))["spec"] == {
        "tls": "decrypt", "tls_keylog": str(Path.cwd() / "keys.log"),
        "descriptors": str(Path.cwd() / "api.binpb"),
        "name": "shop", "hook": "tc:veth*", "direction": "outbound", "ports": ["80", "8000-8010"],
        "client_cidrs": ["10.0.0.0/8"], "server_cidrs": ["2001:db8::/32"], "cgroup": None, "unit": None,
        "container": None, "pod": None, "process": None, "pid": None, "sample": 0.1,
        "protocol": "http", "methods": ["GET", "POST"], "match_path": "^/api/", "exclude_path": "x",
        "match_header": ["X-Tenant: ^a"], "set_header": ["X-Env: shadow"], "remove_header": ["Cookie"],
        "set_json": ["$.model=next"],
        "preserve_host": True, "allow_writes": True, "allow_self": True, "websocket": True,
        "proxy_protocol": "forward", "order": "none",
        "max_lag": 2.0, "max_rps": 500.0, "max_connections": 10, "max_in_flight": 20, "timeout": 0.5,
        "stream_window": 60.0, "max_buffered": 1 << 20,
        "paused": True, "follow": True, "compare": False, "no_content": True,
            "prices": ["aria=1,2"], "citations": "$.ids",
        "similarity": "/srv/model",
        "refusal": "^our policy",
        "twin": 0.1, "routes": ["/users/{id}"], "run_key": "X-Version",
        "max_error_increase": 0.002, "max_diff_share": 0.01, "max_slowdown": [0.05, 0.1, 0.2], "latency_floor": 0.002,
        "max_leak": 512, "max_cpu": 0.5, "min_coverage": 0.9, "min_samples": 100, "min_duration": 60.0,
            "min_span": 30.0, "warmup": "10s", "max_slow_increase": 0.01, "slow_floor": 0.08,
        "critical": ["errors", "cpu"], "critical_endpoint": ["GET /pay"], "memory_after": 2000,
        "ignore_header": ["ETag"], "compare_header": ["X-Cache"], "unordered": ["$.tags"],
        "max_decision_increase": 0.02, "max_token_increase": 0.2, "max_token_time_increase": 0.3,
        "max_cost_increase": 0.4, "max_similarity_loss": 0.06,
        "tolerance": 0.001, "strict_types": True, "allow_extra": True, "shadow_metrics": "http://a/metrics",
        "production_metrics": "http://b/metrics",
        "targets": [{"url": "https://next:1", "role": "candidate", **tls},
                    {"url": "https://same:2", "role": "baseline", **tls}],
    }  # fmt: skip


def test_add_sends_only_what_was_given(served: Served) -> None:
    told = worked(
        served("filter", "add", "shop", "--port", "80", "--port", "81", "--to", "http://a", "--to", "http://b")
    )
    assert served.filters.asked == [
        ("filter.add", {"spec": {"name": "shop", "ports": ["80", "81"], "to": ["http://a", "http://b"]}}),
        ("filter.probe", {"name": "shop"}),
    ]
    assert told.startswith("added: shop (active, control): socket, ports 80-81 → http://a:80 http://b:80; 12 seen")


def test_set_changes_only_what_was_given(shop: Served) -> None:
    before = shop.filters.specs["shop"].to_wire()
    worked(shop("filter", "set", "shop", "--sample", "50%", "--no-preserve-host"))
    assert shop.filters.asked[-1] == (
        "filter.set",
        {"name": "shop", "changes": {"sample": "50%", "preserve_host": False}},
    )
    assert shop.filters.specs["shop"].to_wire() == {**before, "sample": 0.5}
    worked(shop("filter", "set", "shop", "--client", "10.0.0.0/8", "--max-rps", "5", "--match-path", "x"))
    worked(shop("filter", "set", "shop", "--client", "", "--max-rps", "", "--match-path", "", "--sample", "1"))
    assert shop.filters.specs["shop"].to_wire() == before


def test_pause_resume_show_and_rm(shop: Served) -> None:
    assert "shop (paused, control)" in worked(shop("filter", "pause", "shop"))
    assert shop.filters.specs["shop"].paused
    assert "shop (following, control)" in worked(shop("filter", "pause", "shop", "--follow"))
    assert shop.filters.asked[-1] == ("filter.pause", {"name": "shop", "follow": True})
    assert json.loads(worked(shop("filter", "resume", "shop", "--json")))["state"] == "active"
    shown = worked(shop("filter", "show", "shop"))
    assert "no packets matched this filter yet" in shown
    assert '\nports = ["8080"]\n' in shown
    assert '\nurl = "http://next:8080"\n' in shown
    assert worked(shop("filter", "rm", "shop")) == "filter shop removed\n"
    assert shop.filters.specs == {}


def test_ls(shop: Served) -> None:
    head, row = worked(shop("filter", "ls")).splitlines()
    assert head.split() == ["NAME", "HOOK", "PORTS", "TARGETS", "STATE", "ORIGIN", "SEEN", "MIRRORED"]
    assert row.split() == ["shop", "socket", "8080", "http://next:8080", "active", "control", "12", "10"]
    (view,) = json.loads(worked(shop("filter", "ls", "--json")))
    assert view["spec"]["name"] == "shop"


def test_ls_of_nothing_says_what_to_do(served: Served) -> None:
    assert "shadowctl filter add" in worked(served("filter", "ls"))
    assert json.loads(worked(served("filter", "ls", "--json"))) == []


def test_status(shop: Served) -> None:
    told = worked(shop("status"))
    assert "shadowd 9.9 on edge-1, pid 42, up 1h02m" in told
    assert "hooks: socket, tcx:eth0; flows: 7; 12.5 seen/s" in told
    assert "memory: 42 MB and 3 MB in buffers, of 256 MB; beside it a comparer with 768 MB at most" in told
    assert "problem: redis-next does not resolve" in told
    assert "shop (active, control)" in told
    assert json.loads(worked(shop("status", "--json")))["pid"] == 42


def test_ledger(shop: Served) -> None:
    head, row, *reasons = worked(shop("ledger", "shop")).splitlines()
    assert head.split()[2:] == ["SEEN", "MIRRORED", "FILTERED", "SHED", "LOST", "FAILED", "IN", "FLIGHT", "BALANCED"]
    assert row.split() == ["shop", "http://next:80", "20", "13", "3", "1", "1", "1", "1", "yes"]
    assert "shop: filtered: 3 method" in reasons
    assert "shop: http://next:80 failed: 1 reset" in reasons
    assert reasons[-1] == "kernel: records 100, bytes 12345, balanced yes"
    assert json.loads(worked(shop("ledger", "--json"))) == LEDGER
    assert [args for op, args in shop.filters.asked if op == "ledger"] == [{"name": "shop"}, {}]


def test_the_socket_may_stand_anywhere(shop: Served) -> None:
    path = str(shop.path)
    assert "shop" in worked(command("shadowctl", "filter", "ls", "--socket", path))
    assert "shop" in worked(command("shadowctl", "filter", "ls", SHADOWD_SOCKET=path))
    assert "shop" in worked(command("shadowctl", "--socket", path, "filter", "ls", SHADOWD_SOCKET="/none"))


# --- what does not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--to", "next:80"], "targets[0].url: 'next:80' is not a URL — write it as http://host:port"),
        (["--to", "http://next/api"], "targets[0].url: 'http://next/api' has a path — leave it out"),
        (["--to", "tcp://next:1"], "allow_writes: is needed for raw"),
        (["--port", "99999"], "ports: '99999' is not a port — ports are 1 to 65535"),
        (["--port", "http"], "ports: 'http' is not a port"),
        (["--client", "10.0.0.1/8"], "host bits are set, did you mean 10.0.0.0/8?"),
        (["--sample", "0"], "sample: '0' is not a rate"),
        (["--sample", "110%"], "sample: '110%' is not a rate"),
        (["--protocol", "http2"], "protocol: 'http2' is not known"),
        (["--max-lag", "soon"], "max_lag: 'soon' is not a time"),
        (["--match-path", "("], "match_path: '(' is not a regular expression"),
        (["--set-header", "nocolon"], "set_header: 'nocolon' has no colon"),
        (["--ca", "/x.pem"], "ca: is for https:// targets only"),
        (["--methods", "get"], "did you mean GET?"),
        (["--methods", "PSOT"], "methods: 'PSOT' is no method of HTTP — did you mean POST?"),
        (["--max-slowdown", "20"], "max_slowdown: 20 % or 2000 %? — write 20% or 2000%"),
        (["--max-cpu", "50"], "max_cpu: 50 % or 5000 %? — write 50% or 5000%"),
    ],
)
def test_a_bad_option_is_a_usage_error(served: Served, words: list[str], says: str) -> None:
    good = {"--port": "8080", "--to": "http://next"}
    good.pop(words[0], None)
    done = served("filter", "add", "shop", *words, *(word for option in good.items() for word in option))
    assert says in refused(done, 2)
    assert served.filters.specs == {}, "nothing half-done"


def test_several_faults_are_a_line_each(served: Served) -> None:
    done = served("filter", "add", "shop", "--port", "x", "--sample", "7", "--to", "y")
    assert done.returncode == 2
    assert [line.split(":")[:2] for line in done.stderr.splitlines()] == [
        ["error", " ports"], ["error", " sample"], ["error", " targets[0].url"],
    ]  # fmt: skip


def test_a_name_in_use_and_a_name_not_known(shop: Served) -> None:
    done = shop("filter", "add", "shop", "--port", "1", "--to", "http://x")
    assert "there is already a filter named shop" in refused(done, 2)
    for words in (["show"], ["rm"], ["pause"], ["resume"], ["set", "--sample", "1"]):
        assert "there is no filter named bogus" in refused(shop("filter", *words, "bogus"), 2)
    assert "nothing to change" in refused(shop("filter", "set", "shop"), 2)
    assert list(shop.filters.specs) == ["shop"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["filter", "add"], "Missing argument 'NAME' — see `shadowctl filter add --help`"),
        (["filter", "ls", "--bogus"], "--bogus — see `shadowctl filter ls --help`"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["filter"], "Missing command — see `shadowctl filter --help`"),
        ([], "Missing command — see `shadowctl --help`"),
        (["filter", "add", "x", "--port"], "--port"),
    ],
)
def test_usage_errors(words: list[str], says: str) -> None:
    assert says in refused(command("shadowctl", *words), 2)


def test_a_failure_of_the_daemon_exits_1(served: Served) -> None:
    assert refused(served("reload"), 1) == "internal — see the log"
    assert refused(served("reload", "--json"), 1) == "internal — see the log"


def test_an_unreachable_daemon(tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    told = refused(command("shadowctl", "--socket", str(path), "status"), 1)
    assert (
        told == f"no daemon answers: {path} does not exist — start the daemon: systemctl start shadowd, or shadowd run"
    )
    path.write_text("not a socket")
    assert "no daemon answers" in refused(command("shadowctl", "status", SHADOWD_SOCKET=str(path)), 1)
    assert "AF_UNIX path too long" in refused(command("shadowctl", "status", "--socket", "/" + "x" * 200), 2)


LET_IN = 'run it with sudo, or join the group shadowd, once the daemon\'s configuration has socket_group = "shadowd"'
AS_NOBODY = """
import os, sys
from shadowd.cli.shadowctl import main
sys.argv = ["shadowctl", "--socket", "/nonexistent", "status"]
try:
    main()  # loads what a command needs: this interpreter may lie where nobody cannot read
except SystemExit:
    pass
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.argv = ["shadowctl", "--socket", os.environ["SOCKET_PATH"], "status"]
main()
"""


@pytest.mark.usefixtures("root_user")
def test_a_socket_that_others_may_not_use(served: Served) -> None:
    environment = {**os.environ, **SETTINGS, "SOCKET_PATH": str(served.path)}
    line = [sys.executable, "-c", AS_NOBODY]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [f"error: permission denied: {served.path} — {LET_IN}"]
    assert served.filters.asked == []


def test_a_reader_that_goes_away_and_a_full_disk(shop: Served) -> None:
    line = f'"{sys.executable}" -m shadowd.cli.shadowctl --socket "{shop.path}" filter ls'
    for end in ("| true", "| head -c 1"):
        done = subprocess.run(["bash", "-c", f"{line} {end}"], capture_output=True, text=True, timeout=30)
        assert done.stderr == ""
    done = subprocess.run(["bash", "-c", f"{line} --json > /dev/full"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == "error: input or output failed: No space left on device\n"


def test_an_interrupt_is_quiet(served: Served) -> None:
    code = (
        # a suite that runs in the background inherits an ignored SIGINT
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from shadowd.control.client import Client\nfrom shadowd.cli.shadowctl import main\n"
        "Client.call = lambda *a, **k: signal.raise_signal(signal.SIGINT)\nsys.argv = ['shadowctl', 'status']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


# --- help, version, the daemon's own command --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        *(["filter", name] for name in ("add", "set", "ls", "show", "rm", "pause", "resume")),
        *([name] for name in ("status", "ledger", "reload", "demo")),
        ["pcap", "streams"],
    ],
    ids=" ".join,
)
def test_every_command_has_help_with_examples_and_json(words: list[str]) -> None:
    told = worked(command("shadowctl", *words, "--help"))
    assert "--json" in told
    assert "Examples:" in told
    assert f"shadowctl {' '.join(words)}" in told.partition("Examples:")[2]


def test_versions() -> None:
    assert worked(command("shadowctl", "--version")) == f"shadowctl {__version__}\n"
    assert worked(command("shadowd", "--version")) == f"shadowd {__version__}\n"


def test_check_config(tmp_path: Path) -> None:
    path = tmp_path / "shadowd.toml"
    path.write_text('[[filters]]\nname = "shop"\nports = [80]\ntargets = ["http://next"]\n')
    assert worked(command("shadowd", "check-config", str(path))) == f"{path}: ok, 1 filter: shop\n"
    assert json.loads(worked(command("shadowd", "check-config", str(path), "--json"))) == {
        "file": str(path), "ok": True, "filters": ["shop"], "warnings": [],
    }  # fmt: skip
    path.write_text('sokcet = "/x"\nring_bytes = 5\n')
    done = command("shadowd", "check-config", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"error: {path}: ring_bytes: '5' is out of range — give 1 MB to 256 MB",
        f"error: {path}: sokcet: unknown key — did you mean socket?",
    ]
    done = command("shadowd", "check-config", str(path), "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout) == {
        "file": str(path), "ok": False,
        "errors": [f"{path}: ring_bytes: '5' is out of range — give 1 MB to 256 MB",
                   f"{path}: sokcet: unknown key — did you mean socket?"],
    }  # fmt: skip
    assert "No such file" in refused(command("shadowd", "check-config", "/nonexistent.toml"), 1)


def test_run_checks_its_options_first(tmp_path: Path) -> None:
    path = tmp_path / "shadowd.toml"
    path.write_text("node = 5\n")
    assert f"{path}: node: '5'" in refused(command("shadowd", "run", "--config", str(path)), 2)
    assert "log_format: 'xml' is not known" in refused(command("shadowd", "run", "--log-format", "xml"), 2)
    assert "No such file" in refused(command("shadowd", "run", "--config", "/nonexistent.toml"), 1)


def test_errors_from_inside_nurseries_are_told_plainly() -> None:
    code = """
import sys
import typer
from shadowd.cli.output import run
from shadowd.errors import PlatformError, UsageError
app = typer.Typer()
@app.command()
def fail(how: str) -> None:
    both = [PlatformError("no kernel", "upgrade"), ExceptionGroup("", [UsageError("bad", "better")])]
    if how == "group":
        raise ExceptionGroup("", both)
    raise BaseExceptionGroup("", [KeyboardInterrupt()]) if how == "key" else ValueError("odd\\nvalue")
run(app, "x")
"""
    run = [sys.executable, "-c", code]
    group = subprocess.run([*run, "group"], capture_output=True, text=True, timeout=30)
    assert (group.returncode, group.stderr) == (2, "error: no kernel — upgrade\nerror: bad — better\n")
    key = subprocess.run([*run, "key"], capture_output=True, text=True, timeout=30)
    assert (key.returncode, key.stderr) == (130, "")
    odd = subprocess.run([*run, "odd"], capture_output=True, text=True, timeout=30)
    assert odd.returncode == 1
    assert odd.stderr.startswith("error: internal error: ValueError: odd value at ")
    assert len(odd.stderr.splitlines()) == 1
