"""``shadowctl demo``: the main job on real input in half a minute, on loopback.

Starts version 1 of a small shop as production and version 2 as its shadow, the daemon, and a load on version 1; adds a
filter with the very command a user would type; shows the daemon's own figures until the time is over; then stops the
load, waits until nothing is in flight, and ends everything it started, in whatever way it is left.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from shadowd.control.client import Client
from shadowd.demo.children import Child, Interrupts, explained
from shadowd.demo.shop import PLANTED
from shadowd.demo.table import Sample, live_table, plain_line, summary
from shadowd.errors import ShadowdError, UsageError

FILTER = "demo"
#: Load a processor from which a host is busy, and how much longer is waited then.
BUSY = 1.0
BUSY_PATIENCE = 4.0
START_LIMIT = 10.0  # seconds for a service to listen: Python on a busy machine takes one
READY_LIMIT = 30.0  # seconds for the daemon: compiling the programs takes 0.3 s, on a small machine ten times that
ATTACH_PAUSE = 0.3  # seconds after the filter is in, so that the first connections' SYN is seen too
DRAIN_LIMIT = 15.0  # seconds until nothing is in flight: longer than the replay's timeout of 10 s
LOAD_LIMIT = 10.0  # seconds for the load to get its last answers, each limited to 5 s
REFRESH = 0.5  # seconds between two tables
LINE_EACH = 2.0  # seconds between two lines without a terminal
#: Seconds of load after which the verdict must be there; a pass takes 5,500 to 7,500 exchanges without a failure.
DECIDED_AFTER = 25.0
#: Seconds that two equal versions are watched longer if need be.
LONGER = 90.0
#: Requests after which the shadow's memory is first judged: the demo's load reaches 8,000 in its 30 s.
MEMORY_AFTER = "2000"
#: Load, services and daemon share this machine's cores: what is slower by less is the machine, not the version.
LATENCY_FLOOR = "10ms"
#: Of evidence before anything passes or fails: the demo lasts half a minute, and its weather is short.
MIN_SPAN = "10s"
DEFAULT_HTTP = "127.0.0.1:9750"
CONNECTIONS = 8  # of the load: several flows at once, and few enough to follow


class Demo:
    """One run. ``say`` prints for a person and is silent with ``--json``. What another demo does otherwise is below."""

    planted: tuple[str, ...] = PLANTED
    example = "curl http://127.0.0.1:PORT/orders/10"
    decided_after: float = DECIDED_AFTER
    usual = (30.0, 500.0)  # seconds, and what of a second
    rate_limit = 5000.0
    rated = "requests per second: the services are Python"
    noisy = False  # nothing is asked twice, or it says something else each time: a baseline is always there
    service = "shadowd.demo.service"  # the module that is run
    load = "shadowd.demo.load"
    options: tuple[str, ...] = ()  # of the filter

    def __init__(
        self, seconds: float, rate: float, as_json: bool, keep: bool, identical: bool, baseline: bool, report: Path,
        show: Callable[[dict[str, Any]], None], console: Console,
    ) -> None:  # fmt: skip
        self.show = show  # prints a verdict for people
        self.identical = identical
        self.baseline = baseline
        self.report = report
        self.seconds = seconds
        self.rate = rate
        self.as_json = as_json
        self.keep = keep
        self.console = console
        self._ends = ExitStack()
        self._children: list[Child] = []
        self._told = False
        self._patience = 1.0  # times the limits below

    @classmethod
    def check(cls) -> None:
        """What it needs besides; raises ShadowdError."""

    def say(self, text: str) -> None:
        self.console.print(escape(text))

    def run(self) -> int:
        """0 if the ledger balances, production saw no error and something was mirrored; 1 otherwise."""
        interrupts = Interrupts()
        with interrupts.caught(), self._ends, ExitStack() as first:
            first.callback(interrupts.hold)
            directory = Path(tempfile.mkdtemp(prefix="shadowd-demo-"))
            self._ends.callback(shutil.rmtree, directory, ignore_errors=True)
            self._socket = directory / "control.sock"
            try:
                last, ledger, verdict = self._play(directory)
            except ShadowdError as error:
                daemon = next((child for child in self._children if child.name == "shadowd"), None)
                raise explained(error, daemon) from None
        return self._report(last, ledger, verdict)

    def _play(self, directory: Path) -> tuple[Sample, dict[str, Any], dict[str, Any]]:
        """The last sample, the ledger and the verdict."""
        self._say_busy()
        ports = self._start_services(directory)
        self._start_daemon(directory)
        self._add_filters(ports)
        load = self._start_load(ports, directory)
        self._watch(load)
        load.stop(LOAD_LIMIT * self._patience)
        last = self._drain(load)
        ledger = self._client().call("ledger")
        verdict = self._write_report()
        self._stay(ports)
        return last, ledger, verdict

    def _say_busy(self) -> None:
        """Others' work on this host does not stop the demo: the guard is off in it, and it waits longer for all."""
        load, processors = os.getloadavg()[0], os.cpu_count() or 1
        if load >= BUSY * processors:
            self._patience = BUSY_PATIENCE
            self.say(
                f"this host is busy (load {load:.1f} on {processors} processors): everything starts later, and "
                "latencies tell more of the host than of the versions; the guard, which would shed mirroring now, is "
                "off in the demo"
            )

    def _start(self, name: str, module: str, options: list[str], directory: Path, split: bool = False) -> Child:
        child = Child.python(name, module, options, directory, directory / f"{name}.out" if split else None)
        self._children.append(child)
        self._ends.callback(child.stop)  # the newest is ended first: load, daemon, shadow, production
        return child

    def _load_options(self, **more: float) -> list[str]:
        # Longer than we watch: the load ends when it is told to, not by itself a moment before the last table.
        options = {"rate": self.rate, "seconds": self.seconds + LONGER + 60, **more}
        return [word for name, value in options.items() for word in (f"--{name}", str(value))]

    def _start_load(self, ports: list[int], directory: Path) -> Child:
        options = self._load_options(port=ports[0], connections=CONNECTIONS)
        return self._start("load", self.load, options, directory, split=True)

    def _services(self) -> dict[str, tuple[str, list[str]]]:
        """Name of each service → the module that it runs, and its options."""
        versions = {"production": "1", "shadow": "1" if self.identical else "2"}
        if self.baseline:
            versions["baseline"] = "1"
        return {name: (self.service, ["--version", version]) for name, version in versions.items()}

    def _start_services(self, directory: Path) -> list[int]:
        """Ports of production, the shadow and the others in their order; the kernel chooses them."""
        wanted = self._services()
        services = [
            self._start(name, module, ["--port", "0", *options], directory)
            for name, (module, options) in wanted.items()
        ]
        ports = [
            int(service.wait_line("listening on 127.0.0.1:", START_LIMIT * self._patience)) for service in services
        ]
        for (name, (_, options)), port in zip(wanted.items(), ports, strict=True):
            version = options[options.index("--version") + 1]
            self.say(f"{name} (v{version}) listens on 127.0.0.1:{port}")
        return ports

    def _client(self) -> Client:
        return Client(str(self._socket))

    def _start_daemon(self, directory: Path) -> None:
        # without --keep nobody could look at the page before it is gone
        http = DEFAULT_HTTP if self.keep else ""
        options = ["run", "--socket", str(self._socket), "--state-dir", str(directory / "state"), "--http", http]
        # load, services and daemon share this host, which is busy by design
        options += ["--cpu-guard", "off", "--cpu-max", "10000%"]
        daemon = self._start("shadowd", "shadowd.cli.shadowd", options, directory)
        deadline = time.monotonic() + READY_LIMIT * self._patience
        while True:
            daemon.must_run()
            try:
                self._client().call("status")
            except ShadowdError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                break
        self.say(f"the daemon is ready: shadowd run --socket {self._socket}")

    def _add_filters(self, ports: list[int]) -> None:
        production, shadow, *baseline = ports
        words = [*self.options, "--memory-after", MEMORY_AFTER, "--latency-floor", LATENCY_FLOOR]
        words += ["--min-span", MIN_SPAN]
        if baseline:
            words = ["--baseline", f"http://127.0.0.1:{baseline[0]}", *words]
        self._add_filter(FILTER, production, shadow, words)
        time.sleep(ATTACH_PAUSE)

    def _add_filter(self, name: str, production: int, shadow: int, options: list[str]) -> None:
        """Add one as a user would, and show the command."""
        words = ["filter", "add", name, "--port", str(production), "--to", f"http://127.0.0.1:{shadow}"]
        words += [*options, "--socket", str(self._socket)]
        self.console.print(f"[bold]$ shadowctl {escape(' '.join(words))}[/]")
        command = [sys.executable, "-m", "shadowd.cli.shadowctl", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=READY_LIMIT * self._patience)
        if done.returncode:
            raise ShadowdError(
                f"the filter was not added: {(done.stderr or done.stdout).strip()}", "see the daemon's log"
            )
        if done.stdout.strip():
            self.say(done.stdout.strip())

    def _sample(self, load: Child, begun: float, before: Sample | None) -> Sample:
        for child in self._children:
            if child is not load:
                child.must_run()
        client = self._client()
        views = [_view(client.call(operation)) for operation in ("ledger", "status")]
        lines = load.lines()
        told: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return Sample(views[0], views[1], told, time.monotonic() - begun, before)

    def _watch(self, load: Child) -> Sample:
        """Show the figures until the time is over."""
        self._begun = begun = time.monotonic()
        sample = self._sample(load, begun, None)
        plain = not self.console.is_terminal
        next_line = LINE_EACH
        with ExitStack() as screen:
            live = None
            if not plain and not self.as_json:
                live = screen.enter_context(Live(live_table(sample), console=self.console, auto_refresh=False))
            while (left := begun + self.seconds - time.monotonic()) > 0 or self._undecided(-left):
                time.sleep(min(REFRESH, left) if left > 0 else REFRESH)
                load.must_run()
                sample = self._sample(load, begun, sample)
                if live is not None:
                    live.update(live_table(sample), refresh=True)
                elif sample.seconds >= next_line:
                    self.say(plain_line(sample))
                    next_line += LINE_EACH
        return sample

    def _undecided(self, over: float) -> bool:
        """Two equal versions: on a noisy machine a pass takes longer, and looking again costs no certainty."""
        if not self.identical or self.seconds < self.decided_after or over > LONGER:
            return False
        if self._client().call("verdict", name=FILTER)["verdict"] != "inconclusive":
            return False
        if not self._told:
            self._told = True
            self.say(f"not decided yet: going on for {LONGER:.0f} s at most")
        return True

    def _drain(self, load: Child) -> Sample:
        """Wait until every request has come to its end; the last sample."""
        deadline = time.monotonic() + DRAIN_LIMIT * self._patience
        while True:
            sample = self._sample(load, self._begun, None)
            # The last answers may still lie in the ring: two equal looks, with nothing in flight, are the end.
            time.sleep(0.2)
            again = self._sample(load, self._begun, None)
            if (not again.in_flight and again.seen == sample.seen) or time.monotonic() > deadline:
                return again

    def _stay(self, ports: list[int]) -> None:
        """``--keep``: leave all but the load running until Ctrl-C."""
        if not self.keep:
            return
        self.say(f"everything is kept running until Ctrl-C; try: {self.example.replace('PORT', str(ports[0]))}")
        self.say(f"and: shadowctl ledger --socket {self._socket}")
        try:
            while all(child.running for child in self._children if child.name != "load"):
                time.sleep(REFRESH)
        except KeyboardInterrupt:
            return

    def _report(self, last: Sample, ledger: dict[str, Any], verdict: dict[str, Any]) -> int:
        good = last.balanced and not last.production_errors and last.mirrored > 0
        good = good and bool(last.load.get("done")) and last.in_flight == 0
        good = good and self._shown(verdict)
        if self.as_json:
            answer = {
                "ledger": ledger,
                "production_errors": last.production_errors,
                "production_requests": last.load.get("sent", 0),
                "latency_ms": last.latency,
                "status_differences": last.differences,
                "seconds": round(last.seconds, 3),
                "verdict": verdict,
                "findings": verdict.get("findings", []),
                "report": str(self.report),
                **self._more(),
            }
            print(json.dumps(answer))
            return 0 if good else 1
        self.console.print()
        for line in summary(last):
            self.say(line)
        if not last.load.get("done"):
            self.say("The load did not end in time: its counts are incomplete.")
        self.console.print()
        self.show(verdict)
        self._say_more()
        self.console.print()
        if self.identical:
            self.say("Both services are version 1: a verdict of fail would be wrong.")
        else:
            self.say("v2 is wrong on purpose: " + "; ".join(self.planted) + ".")
        self.say(f"The report, to look at in a browser: {self.report}")
        return 0 if good else 1

    def _shown(self, verdict: dict[str, Any]) -> bool:
        """Whether the verdict is the one this demonstration is made to show; a short one may stay undecided."""
        word = verdict.get("verdict")
        expected = "pass" if self.identical else "fail"
        return word == expected or (self.seconds < self.decided_after and word == "inconclusive")

    def _more(self) -> dict[str, Any]:
        """What ``--json`` shows besides."""
        return {}

    def _say_more(self) -> None:
        """What a person is told after the verdict."""

    def _write_report(self) -> dict[str, Any]:
        """The verdict; the HTML is written beside."""
        from shadowd.observe.report import render_html

        data: dict[str, Any] = self._client().call("report", name=FILTER)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with open(os.open(self.report, flags, 0o600), "w", encoding="utf-8") as file:  # its owner's alone
                file.write(render_html(data))
        except OSError as error:
            raise ShadowdError(
                f"the report {self.report} cannot be written: {error.strerror}", "name another file with --report"
            ) from None
        verdict: dict[str, Any] = data["verdict"]
        return verdict


def _view(answer: dict[str, Any]) -> dict[str, Any]:
    """The demo's filter in an answer of ``ledger`` or ``status``; ShadowdError if it is not there."""
    for entry in answer.get("filters", []):
        if entry.get("name") == FILTER:
            view: dict[str, Any] = entry
            return view
    raise ShadowdError(f"the daemon does not know the filter {FILTER!r} any more", "see the daemon's log")


def report_file() -> Path:
    """A name that nobody else has."""
    descriptor, name = tempfile.mkstemp(prefix="shadowd-demo-", suffix=".html")
    os.close(descriptor)
    return Path(name)


def run_demo(
    kind: type[Demo] = Demo,
    seconds: float | None = None,
    rate: float | None = None,
    as_json: bool = False,
    keep: bool = False,
    identical: bool = False,
    baseline: bool = False,
    report: Path | None = None,
    *,
    show: Callable[[dict[str, Any]], None],
    console: Console,
) -> int:
    """Run a demo and return its exit code; ShadowdError if it cannot start or breaks off. 130 after Ctrl-C.

    ``show`` prints a verdict; ``console`` is silent with ``as_json``.
    """
    seconds, rate = kind.usual[0] if seconds is None else seconds, kind.usual[1] if rate is None else rate
    if not 1 <= rate <= kind.rate_limit:
        raise UsageError(f"--rate {rate:g} is out of range", f"give 1 to {kind.rate_limit:.0f} {kind.rated}")
    if not 1 <= seconds <= 3600:
        raise UsageError(f"--seconds {seconds:g} is out of range", "give 1 to 3600")
    kind.check()
    if os.geteuid() != 0:
        raise ShadowdError(
            "the demo loads a program into the kernel and needs root", f"run: sudo {shlex.join(sys.argv)}"
        )
    demo = kind(seconds, rate, as_json, keep, identical, baseline or kind.noisy, report or report_file(), show, console)
    try:
        return demo.run()
    except KeyboardInterrupt:
        print("interrupted; everything was ended and cleaned up", file=sys.stderr)
        return 130
