"""One worker process as the supervisor sees it, and the books in which all are added up."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

from shadowd.capture.host import cpu_seconds
from shadowd.evidence.examining import Examining
from shadowd.replay.target import Target
from shadowd.service.crew import CrewStatistics
from shadowd.service.telling import Telling, Usage
from shadowd.worker import page as places
from shadowd.worker.accounts import (
    Counts,
    add_filter,
    add_target,
    balance,
    counts_untrusted,
    merge_untrusted,
    write_off,
)
from shadowd.worker.channel import ChannelError, Inbox, Outbox
from shadowd.worker.page import Page
from shadowd.worker.reports import TRIAL, WRITE, answer_untrusted, run_of_untrusted, trial_untrusted, write_untrusted

#: Seconds in which a process must have begun to turn: its imports take one or two on a busy host.
BEGIN = 30.0
#: Seconds that the supervisor waits for a worker to take what it is told: after that it is ended.
LISTEN = 0.5
SEND_BUFFER = 4 << 20  # a whole set of settings: 64 filters with their targets are some hundred KB
LAST_WORDS = 600
LONGEST_PLACE = 200  # characters of "compare/jsondiff.py:120 TypeError"


class Books:
    """From what workers tell to the accounts and examiners."""

    def __init__(self, telling: Telling, examining: Examining, log: Callable[..., None]) -> None:
        self.telling = telling
        self._examining = examining
        self.note_faults = examining.note_faults
        self._log = log
        self._tls: dict[int, dict[int, str]] = {}  # by target's number: what it fails with at which worker
        self.processes: list[WorkerProcess] = []

    def join(self, target: Target) -> None:
        """A target joins a filter: what was seen before is accounted for it already, as far as it was told."""
        number = self.telling.number(target)
        for chosen in self.telling.filters.values():
            if any(account is target.account for account in chosen.account.targets):
                place = self.telling.number(chosen)
                for process in self.processes:
                    before = balance(process.filters.get(place, {}))
                    process.targets[number] = {"shed:before_target": before} if before else {}

    def note_tls_error(self, target: Target, worker: int, error: str) -> None:
        """What TLS to the target failed with at a worker; "" once it was answered there."""
        errors = self._tls.setdefault(self.telling.number(target), {})
        if error:
            errors[worker] = error
        else:
            errors.pop(worker, None)
        if error and not target.tls_error:
            self._log("tls error", target=target.url, error=error)
        target.tls_error = next(iter(errors.values()), "")

    def forget(self, number: int) -> None:
        """A target went."""
        self._tls.pop(number, None)

    def report(self, report: Any) -> None:
        """One exchange. Raises ReportError; one of a run that is over is nobody's."""
        kind, number = run_of_untrusted(report)
        examiner = self.telling.runs.get(number)
        if examiner is None or examiner.ended:
            return
        if kind == TRIAL:
            self._examining.take(trial_untrusted(report, examiner))
        elif kind == WRITE:
            self._examining.note_write(examiner, write_untrusted(report))
        else:
            self._examining.note_written(examiner, answer_untrusted(report))


class WorkerProcess:
    """See the module's head. ``filters`` and ``targets``: what it has counted, by number, since it began."""

    def __init__(self, number: int, books: Books) -> None:
        self.number = number
        self._books = books
        books.processes.append(self)
        self.page = Page()
        self.filters: dict[int, Counts] = {}
        self.targets: dict[int, Counts] = {}
        self.usage: dict[int, Usage] = {}
        self._ends: dict[int, list[tuple[str, int]]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._words = -1  # where its stderr goes
        self.restarts = -1
        self._gone = CrewStatistics(0, 0, 0, 0, 0, {}, 0, 0, 0, 0, 0)  # of those that ended
        self._cpu = self._cpu_before = 0.0
        self._reset()

    def _reset(self) -> None:
        self._inbox, self._outbox = Inbox(), Outbox()
        self.why = ""
        self.told = self.confirmed = 0
        self._settings: dict[str, Any] | None = None
        self._table: dict[str, int] = {}
        self._discarded: dict[str, int] = {}
        self.pump: dict[str, Any] = {}
        self.waiting = 0
        self.unreported = 0
        self.problems: list[str] = []
        self._failed: dict[str, int] = {}  # its faults, by place
        self._heard = 0.0

    # --- the process --------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self, command: list[str], descriptors: list[int], begin: dict[str, Any]) -> None:
        """Raises OSError where none can be started."""
        self.page.clear()
        self._reset()
        ours, theirs = socket.socketpair()
        self._words = os.memfd_create("shadowd-worker", os.MFD_CLOEXEC)
        try:
            pages = [other.page.descriptor for other in self._books.processes if other is not self]
            given = [theirs.fileno(), *descriptors, self.page.descriptor, *pages]
            self._process = subprocess.Popen(
                [*command, *map(str, given)], pass_fds=given, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=self._words,
            )  # fmt: skip
        except OSError:
            ours.close()
            os.close(self._words)
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.channel = ours
        self._began = time.monotonic()
        self.restarts += 1
        self._outbox.put("begin", begin)
        with contextlib.suppress(ChannelError):  # who hears it hears of its end
            self._send()

    def kill(self, why: str) -> None:
        """It is of no use any more; who minds it hears of its end."""
        if self._process is not None:
            self.why = self.why or why
            self._process.send_signal(signal.SIGKILL)

    def bury(self) -> str:
        """It ended: its accounts are closed, and what it held is lost(worker). Returns its last words."""
        assert self._process is not None
        self._process.kill()
        code = self._process.wait()
        self._process = None
        self.channel.close()
        os.lseek(self._words, max(0, os.lseek(self._words, 0, os.SEEK_END) - 4096), os.SEEK_SET)
        lines = os.read(self._words, 4096).decode(errors="replace").strip().splitlines()
        os.close(self._words)
        self._write_off()
        self.filters, self.targets, self.usage, self._ends = {}, {}, {}, {}
        return (lines[-1][:LAST_WORDS] if lines else "") or (f"signal {-code}" if code < 0 else f"exit {code}")

    def _write_off(self) -> None:
        telling, numbers, gone = self._books.telling, self.page.numbers, self._gone
        for number, chosen in telling.filters.items():  # those, too, that it has not told of yet
            counts = self.filters.get(number, {})
            targets = [(target, self.targets.get(telling.number(target), {})) for target in chosen.targets]
            slot = telling.slot(chosen)
            write_off(chosen, counts, targets, self.page.seen[slot] if slot >= 0 else counts.get("seen", 0))
        discarded = {**gone.discarded}
        for reason, count in self._discarded.items():
            discarded[reason] = discarded.get(reason, 0) + count
        table = self._table
        told = table.get("delivered", 0) + table.get("duplicate", 0) + sum(self._discarded.values())
        untold = max(0, numbers[places.TAKEN] - told)  # what waited out of order, too
        if untold:
            discarded["worker"] = discarded.get("worker", 0) + untold
        self._gone = gone._replace(
            delivered=gone.delivered + table.get("delivered", 0), duplicate=gone.duplicate + table.get("duplicate", 0),
            gap_bytes=gone.gap_bytes + table.get("gap_bytes", 0), discarded=discarded,
            turns=gone.turns + numbers[places.TURNS],
        )  # fmt: skip
        self.page.clear()
        self._reset()
        self._cpu_before += self._cpu
        self._cpu = 0.0

    def end(self) -> None:
        """For good."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.channel.close()
            os.close(self._words)

    # --- words --------------------------------------------------------------------------------------------------------

    def tell(self, settings: dict[str, Any]) -> None:
        """What is wanted, if it is something else; it is with the worker when this returns. Raises ChannelError."""
        if self._process is None or settings == self._settings:
            return
        self._settings = settings
        self.told += 1
        self._outbox.put("settings", {**settings, "sequence": self.told})
        self._send()

    def ask(self, limit: float, token: int) -> None:
        """To read its ring, and tell. Raises ChannelError."""
        if self._process is None:
            raise ChannelError("it is being started")
        self._outbox.put("catch_up", limit, token)
        self._send()

    def _send(self) -> None:
        end = time.monotonic() + LISTEN
        while not self._outbox.send(self.channel):
            left = end - time.monotonic()
            if left <= 0 or not select.select([], [self.channel], [], left)[1]:
                raise ChannelError(f"nothing was taken for {LISTEN} s")

    def receive(self) -> list[list[Any]]:
        """What came. Raises ChannelError when it ended."""
        try:
            data = self.channel.recv(1 << 18)
        except BlockingIOError:
            return []
        except OSError as error:
            raise ChannelError(str(error)) from None
        if not data:
            raise ChannelError("it ended")
        return self._inbox.feed_untrusted(data)

    def take(self, snapshot: dict[str, Any]) -> int:
        """Into the books. Returns the token of the question that it answers, or 0. Raises AccountError."""
        now = time.monotonic()
        since = max(1e-3, now - self._heard)
        self._heard = now
        telling = self._books.telling
        for number, told in snapshot["filters"].items():
            chosen = telling.filters.get(number)
            if chosen is not None:
                counts = counts_untrusted(told)
                add_filter(chosen, self.filters.get(number, {}), counts)
                self.filters[number] = counts
        for number, told in snapshot["targets"].items():
            target = telling.targets_by_number.get(number)
            if target is not None:
                self._take_target(target, number, told, since)
        self.confirmed = int(snapshot["sequence"])
        self._table, self._discarded = counts_untrusted(snapshot["table"]), counts_untrusted(snapshot["discarded"])
        self.pump, self.waiting = dict(snapshot["pump"]), int(snapshot["waiting"])
        self.unreported = int(snapshot["unreported"])
        failed = counts_untrusted(snapshot["failed"])
        for place, count in failed.items():
            if count > self._failed.get(place, 0):
                self._books.note_faults(place[:LONGEST_PLACE], count - self._failed.get(place, 0))
        self._failed = failed
        self.problems = [str(one) for one in snapshot["problems"]]
        return int(snapshot["token"])

    def _take_target(self, target: Target, number: int, told: dict[str, Any], since: float) -> None:
        before, counts = self.targets.get(number, {}), counts_untrusted(told["counts"])
        add_target(target, before, counts)
        self.targets[number] = counts
        if "ends" not in told:  # the last word of one that went
            self.targets.pop(number)
            self.usage.pop(number, None)
            self._books.forget(number)
            return
        self._books.note_tls_error(target, self.number, str(told["tls_error"]))
        for name in ("production_latency", "shadow_latency"):
            if name in told:
                merge_untrusted(getattr(target, name), told[name])

        def came(*names: str) -> float:
            return max(0, sum(counts.get(name, 0) - before.get(name, 0) for name in names)) / since

        failed = [name for name in counts if name.startswith("failed:")]
        self.usage[number] = Usage(
            came("mirrored", "in_flight", *failed), came("shed:max_rps"), int(told["breaker"])
        )  # fmt: skip
        self._ends[number] = [(str(host), int(port)) for host, port in told["ends"]]

    # --- standing -----------------------------------------------------------------------------------------------------

    @property
    def silent(self) -> float:
        """Seconds since it turned."""
        if self._process is None:
            return 0.0
        turned = self.page.numbers[places.NOW] / 1e9
        return time.monotonic() - turned if turned else max(0.0, time.monotonic() - self._began - BEGIN)

    def cpu_seconds(self) -> float:
        """That the process has used, and those before it."""
        if self._process is not None:
            self._cpu = max(self._cpu, cpu_seconds(self._process.pid))
        return self._cpu_before + self._cpu

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began if self._process is not None else 0.0

    @property
    def has_ended(self) -> bool:
        """Before it was heard."""
        return self._process is not None and self._process.poll() is not None

    @property
    def follows(self) -> bool:
        """What it was told is in force; one that is still beginning is not waited for."""
        numbers = self.page.numbers
        return self._process is None or not numbers[places.NOW] or numbers[places.SEQUENCE] >= self.told

    @property
    def turns(self) -> int:
        return int(self.page.numbers[places.TURNS])

    @property
    def seen(self) -> int:
        """Requests, over all filters."""
        return sum(counts.get("seen", 0) for counts in self.filters.values())

    @property
    def quiet(self) -> bool:
        return bool(self.page.numbers[places.QUIET])

    @property
    def idle(self) -> bool:
        numbers = self.page.numbers
        return not numbers[places.IN_FLIGHT] and not numbers[places.BACKLOG]

    def ends_of(self, target: Target) -> list[tuple[str, int]]:
        return self._ends.get(self._books.telling.number(target), [])

    def statistics(self) -> CrewStatistics:
        """Of this process and those before it on its ring."""
        gone, table, numbers = self._gone, self._table, self.page.numbers
        discarded = {**gone.discarded}
        for reason, count in self._discarded.items():
            discarded[reason] = discarded.get(reason, 0) + count
        return CrewStatistics(
            table.get("flows", 0), gone.delivered + table.get("delivered", 0),
            gone.duplicate + table.get("duplicate", 0), table.get("buffered", 0),
            gone.gap_bytes + table.get("gap_bytes", 0), discarded, self._lag(), numbers[places.BACKLOG],
            int(self.pump.get("memory", 0)), int(self.pump.get("memory_limit", 0)), gone.turns + self.turns,
        )  # fmt: skip

    def _lag(self) -> int:
        oldest = self.page.numbers[places.OLDEST]
        return max(0, time.monotonic_ns() - oldest) if oldest else 0

    def view(self, share: float) -> dict[str, Any]:
        """As ``status`` shows it; ``share`` of all requests."""
        process = self._process
        return {
            "number": self.number, "pid": process.pid if process is not None else None, "share": round(share, 3),
            "lag_ms": round(self._lag() / 1e6, 1), "ring_backlog": self.page.numbers[places.BACKLOG],
            "flows": self._table.get("flows", 0), "in_flight": self.page.numbers[places.IN_FLIGHT],
            "memory": _anonymous(process.pid) if process is not None else 0, "buffers": int(self.pump.get("memory", 0)),
            "restarts": max(0, self.restarts), "unreported": self.unreported,
        }  # fmt: skip


def _anonymous(pid: int) -> int:
    """RssAnon (bytes), 0 where it cannot be read."""
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0
