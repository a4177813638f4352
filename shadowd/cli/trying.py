"""``shadowctl try``: mirror a service for a while without a daemon that is installed, and say what came of it.

Starts a daemon for itself in a directory that goes away with it, adds the filter, shows the figures as they move, and
ends with the verdict and what was found; then everything is ended, in whatever way it is left.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shadowd.cli.diffs import list_differences
from shadowd.cli.files import check_writable, write_text
from shadowd.cli.filteroptions import filter_options
from shadowd.cli.filters import given_options, probed, summary, unfit
from shadowd.cli.output import AsJson, mappings, number, plain, print_json, strings
from shadowd.cli.progress import waiting
from shadowd.cli.showing import show_verdict
from shadowd.cli.terminal import console
from shadowd.cli.verdicts import COULD_NOT_ASK, EXIT_CODES, seconds
from shadowd.errors import ShadowdError, UsageError

if TYPE_CHECKING:
    from shadowd.cli.moment import Moment
    from shadowd.control.client import Client
    from shadowd.demo.children import Child

FILTER = "try"
USUAL = 120.0  # seconds: a verdict needs 60 of evidence
READY_LIMIT = 60.0  # seconds for the daemon: compiling the programs on a small, busy machine
ADD_LIMIT = 60.0  # seconds for the filter: the first names, probes on large TLS libraries
DRAIN_LIMIT = 15.0  # seconds until nothing is in flight: longer than the replay's usual timeout
LONG_PATH = 60  # bytes of a folder in which the socket's path may grow too long: unix(7) allows 107
REFRESH = 0.5  # seconds between two tables
AS_NEW = 1.1  # seconds for which the daemon gives a verdict again (``Runs.assess``)
VERDICT_EACH = 2.0  # seconds between two looks at the verdict
LINE_EACH = 5.0  # seconds between two lines where there is no terminal
LEFT_OUT = 0.05  # of the requests, from which on it is said: min_coverage asks for 95 % of them
QUIET = 10.0  # seconds after which somebody who sees no request is told where to look


@filter_options
def try_(
    length: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long (default 2m). Ctrl-C ends it, with a verdict.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as one HTML file.")] = None,
    cpu_guard: Annotated[
        str | None,
        typer.Option("--cpu-guard", metavar="SHARE", help="Shed above this CPU use of the host (default 85%; off)."),
    ] = None,
    as_json: AsJson = False,
    **options: Any,
) -> int:
    """Mirror a service for a while, and say whether the release is safe: no daemon, no state kept.

    Starts a daemon for itself, mirrors, shows what happens, and ends with the verdict and the findings. Ctrl-C ends it
    early, and it still says what it found. Needs root.

    \b
    Exit code: 0 pass, 1 fail, 2 the command is wrong, 3 inconclusive, 4 it could not be tried.

    \b
    Examples:
      sudo shadowctl try --port 8080 --to http://next:8080
      sudo shadowctl try --port 443 --tls decrypt --to https://next --for 10m --html report.html
      sudo shadowctl try --port 8080 --to http://next:8080 --methods any --max-rps 50 --json
    """
    limit = seconds(length, "--for") if length is not None else USUAL
    if limit < 1:
        raise UsageError(f"--for {length} is no time to see anything in", "give a second at least, such as 2m")
    if html is not None:
        check_writable(html)
    if os.geteuid() != 0:
        raise UsageError("it loads a program into the kernel, and needs root", f"run: sudo {shlex.join(sys.argv)}")
    spec = {"name": FILTER, **given_options(options)}
    from shadowd.config.document import Config, FilterSpec  # not at the top: a third of a second

    FilterSpec.from_wire(spec)  # what is wrong is said before anything is begun
    Config().with_overrides(cpu_guard=cpu_guard)
    try:
        view = Trying(spec, limit, as_json, html, cpu_guard).run()
    except UsageError:
        raise
    except ShadowdError as error:
        error.exit_code = COULD_NOT_ASK
        raise
    return EXIT_CODES.get(str(view.get("verdict")), 3)


class Trying:
    """One run. ``limit``: seconds of mirroring at most."""

    def __init__(
        self, spec: Mapping[str, Any], limit: float, as_json: bool, html: Path | None, cpu_guard: str | None = None
    ) -> None:
        self._spec = spec
        self._limit = limit
        self._as_json = as_json
        self._html = html
        self._guard = cpu_guard
        self._console = console(quiet=as_json)
        self._ends = ExitStack()
        self._daemon: Child | None = None
        self._told: set[str] = set()
        self._comparing: int | float = 0  # exchanges that wait for it

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def run(self) -> Mapping[str, Any]:
        """The verdict, which was shown."""
        from shadowd.demo.children import Interrupts, explained

        interrupts = Interrupts()
        with interrupts.caught(), self._ends, ExitStack() as first:
            first.callback(interrupts.hold)
            try:
                client = self._begin()
                with contextlib.suppress(KeyboardInterrupt):  # it ends early, and still says what it found
                    self._watch(client)
                interrupts.hold()
                return self._end(client)
            except ShadowdError as error:
                raise explained(error, self._daemon) from None

    def _begin(self) -> Client:
        """The daemon runs, and the filter is in."""
        from shadowd.control.client import Client
        from shadowd.demo.children import Child

        usual = tempfile.gettempdir()
        directory = Path(tempfile.mkdtemp(prefix="shadowd-try-", dir=usual if len(usual) < LONG_PATH else "/tmp"))
        self._ends.callback(shutil.rmtree, directory, ignore_errors=True)
        path = directory / "control.sock"
        words = ["run", "--socket", str(path), "--state-dir", str(directory / "state"), "--http", ""]
        words += ["--cpu-guard", self._guard] if self._guard is not None else []
        self._say("starting a daemon for this trial …")
        daemon = self._daemon = Child.python("shadowd", "shadowd.cli.shadowd", words, directory)
        self._ends.callback(daemon.stop)
        client = Client(path, timeout=ADD_LIMIT)
        self._ends.callback(client.close)
        deadline = time.monotonic() + READY_LIMIT
        with waiting("loading the capture program", READY_LIMIT):
            while True:
                self._must_run()
                try:
                    client.call("status")
                    break
                except ShadowdError:
                    if time.monotonic() > deadline:
                        raise ShadowdError("the daemon was not ready in time", _said(daemon)) from None
                    time.sleep(0.1)
        view = probed(client, client.call("filter.add", spec=dict(self._spec)))
        self._say(summary(view))
        for problem in unfit(view):
            print(f"warning: {problem}", file=sys.stderr)
        return client

    def _must_run(self) -> None:
        if self._daemon is None or not self._daemon.running:
            raise ShadowdError("the daemon of this trial has ended", _said(self._daemon))

    def _look(self, client: Client, begun: float, before: Moment | None, verdict: Mapping[str, Any]) -> Moment:
        from shadowd.cli.moment import Moment

        self._must_run()
        account = _ours(client.call("ledger"))
        status = client.call("status")
        for problem in strings(status.get("problems") if isinstance(status, Mapping) else None):
            what = re.sub(r"[0-9]+", "", problem.partition(":")[0])  # figures change, what is wrong is the same
            if what not in self._told:
                self._told.add(what)
                self._say(f"problem: {plain(problem)}")
        examining = status.get("examining") if isinstance(status, Mapping) else None
        if isinstance(examining, Mapping):
            self._comparing = number(examining, "waiting") + number(examining, "heavy_waiting")
        view = _ours(status)
        return Moment(account, view, verdict, time.monotonic() - begun, before)

    def _watch(self, client: Client) -> None:
        from rich.live import Live

        begun = time.monotonic()
        verdict: Mapping[str, Any] = {}
        judged, told, hinted = 0.0, 0.0, False
        before: Moment | None = None
        with ExitStack() as screen:
            live = None
            if self._console.is_terminal and not self._as_json:
                live = screen.enter_context(Live(console=self._console, auto_refresh=False))
            while (passed := time.monotonic() - begun) < self._limit:
                if passed - judged >= VERDICT_EACH:
                    judged = passed
                    found = client.call("verdict", name=FILTER)
                    verdict = found if isinstance(found, Mapping) else {}
                moment = self._look(client, begun, before, verdict)
                before = moment
                if not moment.seen and passed > QUIET and not hinted:
                    hinted = True
                    self._say("no request was seen yet: does somebody ask here, on this port? try: shadowctl ps")
                if live is not None:
                    left = self._limit - passed
                    live.update(moment.table(f"{left:,.0f} s left; Ctrl-C ends it, with a verdict"), refresh=True)
                elif passed - told >= LINE_EACH:
                    told = passed
                    self._say(moment.line())
                time.sleep(min(REFRESH, max(0.0, begun + self._limit - time.monotonic())))

    def _end(self, client: Client) -> Mapping[str, Any]:
        """Wait for what is under way, and judge."""
        deadline = time.monotonic() + DRAIN_LIMIT
        moment = self._look(client, deadline, None, {})
        if moment.in_flight:
            self._say(f"waiting for {moment.in_flight:,} answers that are under way …")
        while (moment.in_flight or self._comparing) and time.monotonic() < deadline:
            time.sleep(REFRESH)
            moment = self._look(client, deadline, None, {})
        time.sleep(AS_NEW)
        data = client.call("report", name=FILTER)
        verdict = data.get("verdict") if isinstance(data, Mapping) else None
        if not isinstance(verdict, Mapping):
            raise ShadowdError("the daemon gave no report", _said(self._daemon))
        if self._as_json:
            differences = client.call("diffs", name=FILTER)
            print_json({**verdict, "ledger": dict(moment.account), "diffs": differences})
        else:
            self._say("")
            show_verdict(verdict)
            self._say("")
            list_differences("what was compared", client.call("diffs", name=FILTER))
        self._tell_shed(moment)
        if self._html is not None:
            from shadowd.observe.report import render_html

            write_text(self._html, render_html(data))
            print(f"wrote {self._html}", file=sys.stderr)
        return verdict

    def _tell_shed(self, moment: Moment) -> None:
        """What was left out to spare this host, if it is much: the verdict rests on the rest."""
        shed = sum(number(one, "shed", "pressure") for one in mappings(moment.account.get("targets")))
        if shed > LEFT_OUT * moment.seen:
            why = "this host was busy (shed: pressure); --cpu-guard off mirrors all the same"
            self._say(f"{shed:,} of {moment.seen:,} requests were not sent on, as {why}")


def _ours(answer: object) -> Mapping[str, Any]:
    """The trial's filter in an answer of ``ledger`` or ``status``."""
    listed = answer.get("filters") if isinstance(answer, Mapping) else None
    for one in mappings(listed):
        if one.get("name") == FILTER:
            return one
    raise ShadowdError("the daemon does not know the trial's filter any more", "try again")


def _said(daemon: Child | None) -> str:
    """What it said last: its directory goes away."""
    from shadowd.demo.children import last_words

    return last_words(daemon) or "it said nothing; run shadowctl doctor"
