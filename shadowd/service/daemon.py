"""The daemon: loads the programs, starts the pump, listens for control, and takes everything down again.

Tasks, all in one nursery: the pump; the control server; the signal watcher (SIGTERM, SIGINT: drain and end; SIGHUP:
reload); the resolver of target names; the watcher of interfaces; what tells the service manager.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from shadowd.capture import sockets
from shadowd.capture.attach import drain_events, list_interfaces, open_link_events, remove_classifiers
from shadowd.capture.capabilities import undumpable
from shadowd.capture.preflight import check_host
from shadowd.capture.programs import Programs, load
from shadowd.capture.selection import RESELECT, select
from shadowd.config.document import Config, FilterSpec, fingerprint, load_config
from shadowd.control.server import serve_control
from shadowd.errors import ConfigError, ItselfError, ShadowdError, UsageError
from shadowd.redact.redaction import Redactor
from shadowd.replay.target import Target
from shadowd.runs.embedding import Embedding
from shadowd.runs.recording import Recorder, load_key
from shadowd.runs.runs import Runs
from shadowd.service.cri import PodWatch
from shadowd.service.doors import MakeDoor, Opened, ServeHttp
from shadowd.service.feed import Feed
from shadowd.service.guard import host_guard
from shadowd.service.health import Health
from shadowd.service.log import Forward, Log, Seldom
from shadowd.service.notify import Notifier, keep_told
from shadowd.service.privileges import give_up, raise_file_limit
from shadowd.service.probing import probe
from shadowd.service.resolving import Resolving
from shadowd.service.roster import Roster
from shadowd.service.standing import CATCH_UP, Standing
from shadowd.service.statefile import StateFile
from shadowd.service.tlsreading import TlsReading, can_probe
from shadowd.service.verdicts import Verdicts
from shadowd.service.workers import crew_of
from shadowd.store.ownfiles import prepare_directory
from shadowd.store.writer import StoreWriter
from shadowd.worker.comparer import Comparer
from shadowd.worker.memory import Memory, one_arena

DRAIN_SECONDS = 5.0  # SIGTERM: what is in flight may still end
CLOSE_SECONDS = 2.0  # for the store, after that
#: What the state directory holds; a directory with other things in it is not ours to close.
_OWN_FILES = frozenset({"filters.json", "shadowd.db", "redaction.key"})
LOOK_AT_CONFIG_EVERY = 2.0  # seconds: a change is in force in two to four, and a half-written file is let finish


class Daemon:
    """State that control requests work on."""

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        programs: Programs,
        log: Log,
        notifier: Notifier,
        read: tuple[object, ...],
    ) -> None:
        self.config = config
        self.config_path = config_path
        self.log = log
        self.notifier = notifier
        self.programs = programs
        self.problems: dict[str, str] = {}
        self.memory = Memory(config.memory_max, self.problems, lambda text: log("memory", problem=text))
        self.crew = crew_of(config, programs, self.memory.budget, self.problems, log, self._tls_error)
        self.roster = Roster(config, programs, self.crew)
        self.pods = PodWatch(self.roster, config.cri_socket)
        store = StoreWriter(config.state_dir / "shadowd.db", config.keep, config.max_size)
        redactor = Redactor(load_key(config.state_dir), config.redact_names, config.redact_patterns)
        recorder = Recorder(redactor, config.node)
        log.redacted = redactor.text
        self.resolving = Resolving(self.roster, self.crew)
        self.reading = TlsReading(self.roster, programs, config.tls_attacher, self.problems, log)
        self.runs = Runs(store, recorder, log)
        self.roster.on_change, self.roster.on_remove = self.runs.follow, self.runs.forget
        self.feed = Feed(self.roster, self.runs, recorder, self.memory.budget)
        self.runs.on_change += [self.crew.sync, self.feed.attach]
        self.verdicts = Verdicts(self.roster, self.runs, recorder)
        self.state = StateFile(config.state_dir / "filters.json")
        self.guard = host_guard(self.crew, config.cpu_guard, config.cpu_max * config.workers, log)
        self.standing = Standing(
            config, programs, self.crew, self.roster, self.runs, self.guard, self.memory, self.problems
        )
        self.embedding = Embedding(lambda: list(self.runs.current.values()), self.problems)
        self.comparer = Comparer(self.crew.examining, self.problems)
        self.crew.examining.on_failure = self._comparison_failed
        self.health = Health(self.crew, self.standing.unready, config.dead_man_seconds)
        self.serve_http: ServeHttp | None = None
        self._read = read
        self._persisting = trio.Lock()
        self._tls_told: dict[str, float] = {}

    def _comparison_failed(self, place: str) -> None:
        """Once for each place, which says what was raised there."""
        self.log("comparison failed", place=place)

    def _tls_error(self, target: Target, error: Exception) -> None:
        now = time.monotonic()
        if now - self._tls_told.get(target.url, -60.0) >= 60:  # one line a minute, whatever the rate
            self._tls_told[target.url] = now
            self.log("tls error", target=target.url, error=str(error))
        target.tls_error = f"TLS to {target.url} failed: {error}"

    # --- filters ------------------------------------------------------------------------------------------------------

    async def start_filters(self) -> None:
        """Those of the configuration, then those that shadowctl added before. A bad one is told and left out."""
        stored, problems = self.state.load()
        await self.reading.prepare([*self.config.filters, *stored])
        if self.config.filters or stored:
            sockets.load()
        if any(spec.hook != "socket" for spec in [*self.config.filters, *stored]):
            _clean_stale(self.log)
        for spec in self.config.filters:
            try:
                self.roster.add(spec, "config")
            except ItselfError as error:  # of what this host is now: the others need not suffer for it
                self.problems[f"filter {spec.name}"] = f"the filter {spec.name} was not started: {error}"
                self.log("filter not started", name=spec.name, error=str(error))
        for index, problem in enumerate(problems):
            self.problems[f"state {index}"] = problem
            self.log("state", problem=problem)
        for spec in stored:
            if spec.name in self.roster.entries:
                self.problems[f"filter {spec.name}"] = (
                    f"the stored filter {spec.name} is hidden by one of the configuration"
                )
                continue
            try:
                self.roster.add(spec, "control")
            except ShadowdError as error:
                self.problems[f"filter {spec.name}"] = f"the stored filter {spec.name} could not be started: {error}"
                self.log("filter not started", name=spec.name, error=str(error))
        self.resolving.soon()

    async def _persist(self, undo: Callable[[], object] | None = None) -> None:
        """In a thread: it waits for the disk, and the pump must not. Raises ShadowdError where nothing can be stored:
        after ``undo``, or, where a person wants less to happen and there is none, with the change in force."""
        async with self._persisting:
            specs = [entry.spec for entry in self.roster.entries.values() if entry.origin == "control"]
            try:
                await trio.to_thread.run_sync(self.state.save, specs)
            except OSError as error:
                why = f"{self.state.path} cannot be written: {error.strerror or error}"
                remedy = "check the state directory's space and rights"
                if undo is not None:
                    undo()
                    raise ShadowdError(f"nothing was changed: {why}", remedy) from None
                self.problems["unstored"] = f"{why}: at the next start the filters are as they were before — {remedy}"
                raise ShadowdError(f"done, but {why}", f"{remedy}; else the next start undoes it") from None
            self.problems.pop("unstored", None)

    def reload(self) -> dict[str, Any]:
        """Read the configuration again; an invalid one changes nothing. The service manager is told of both ends."""
        if self.config_path is None:
            raise UsageError(
                "the daemon runs without a configuration file", "start it with shadowd run --config FILE to reload one"
            )
        self.notifier.reloading()
        try:
            result = self._reload(self.config_path)
            self.problems.pop("config", None)
            return result
        except ShadowdError as error:
            self.problems["config"] = f"the configuration was not taken up: {'; '.join(str(error).splitlines())}"
            raise
        finally:
            self.notifier.reloaded()

    def _reload(self, path: Path) -> dict[str, Any]:
        fresh = load_config(path).with_overrides(**self.config.overrides)
        wanted = {spec.name: spec for spec in fresh.filters}
        current = {name: e for name, e in self.roster.entries.items() if e.origin == "config"}
        taken = [n for n in wanted if n in self.roster.entries and n not in current]
        if taken:
            raise ConfigError(f"{path}: shadowctl added a filter of the same name: {', '.join(taken)}",
                              "rename it or remove the other with shadowctl filter rm")  # fmt: skip
        gone = [name for name in current if name not in wanted]
        self.roster.check(wanted.values(), without=gone)
        # all but the filters are read at a start only
        fixed = [name for name in _settings(fresh) if _settings(fresh)[name] != _settings(self.config)[name]]
        added = changed = 0
        for name in gone:
            self.roster.remove(name)
        for name in [spec.name for spec in self.config.filters if spec.name not in wanted]:
            self.problems.pop(f"filter {name}", None)  # one that could not be started
        for name, spec in wanted.items():
            if name not in current:
                self.roster.add(spec, "config")
                self.problems.pop(f"filter {name}", None)
                added += 1
            elif spec != current[name].spec:
                self.roster.change(name, spec)
                changed += 1
        removed = len(gone)
        self.config.filters = fresh.filters
        self.resolving.soon()
        note = f"{', '.join(fixed)} take effect at the next start" if fixed else ""
        self.log("reloaded", added=added, changed=changed, removed=removed, note=note)
        return {"added": added, "changed": changed, "removed": removed, "note": note}

    # --- control ------------------------------------------------------------------------------------------------------

    async def handle(self, op: str, args: dict[str, Any]) -> object:
        """One request of the control socket."""
        operations: dict[str, Callable[[dict[str, Any]], object]] = {
            "filter.add": self._filter_add,
            "filter.set": self._filter_set,
            "filter.ls": lambda _: [self.roster.view(entry) for entry in self.roster.entries.values()],
            "filter.show": lambda given: self.roster.view(self.roster.find(_name(given))),
            "filter.rm": self._filter_rm,
            "filter.probe": lambda given: probe(self.roster.find(_name(given)).spec, self.config.own_mark),
            "filter.pause": lambda given: self._pause(_name(given), True, bool(given.get("follow"))),
            "filter.resume": lambda given: self._pause(_name(given), False),
            "status": lambda _: self.standing.status(),
            "ledger": lambda given: self.standing.ledger(given.get("name")),
            "reload": lambda _: self.reload(),
            "exchanges.follow": self.feed.follow,
            **self.verdicts.operations(),
        }
        if op not in operations:
            raise UsageError(f"the daemon does not know the operation {op}", "use a shadowctl of the daemon's version")
        result = operations[op](args)
        return await result if inspect.isawaitable(result) else result

    async def _filter_add(self, args: dict[str, Any]) -> object:
        wanted = FilterSpec.from_wire(args.get("spec", {}))
        await self._prepare(wanted)
        entry = self.roster.add(wanted, "control")
        await self._persist(undo=lambda: self.roster.remove(entry.spec.name))
        self.resolving.soon()
        self.log("filter added", name=entry.spec.name)
        return self.roster.view(entry)

    async def _filter_set(self, args: dict[str, Any]) -> object:
        entry = self.roster.find(_name(args))
        changes = args.get("changes", {})
        if not isinstance(changes, dict):
            raise UsageError("changes must be a map", "use a shadowctl of the daemon's version")
        spec = FilterSpec.from_wire({**entry.spec.to_wire(), **changes, "name": entry.spec.name})
        before = entry.spec
        await self._prepare(spec)
        self.roster.change(spec.name, spec)
        await self._persist(undo=lambda: self.roster.change(spec.name, before))
        self.resolving.soon()
        self.log("filter changed", name=spec.name)
        return self.roster.view(entry)

    async def _prepare(self, spec: FilterSpec) -> None:
        """What takes a while, before a filter is in force. Raises ShadowdError for what cannot be."""
        await self.roster.schemas.prepare(spec)
        await self.pods.prepare(spec)
        self.roster.check([spec])
        await self.resolving.check(spec)
        await self.reading.begin(spec)

    async def _filter_rm(self, args: dict[str, Any]) -> object:
        name = _name(args)
        entry = self.roster.find(name)
        if entry.origin == "config":
            raise UsageError(f"the filter {name} belongs to the configuration file", "remove it there and reload")
        view = self.roster.view(entry)
        self.roster.remove(name)
        await self._persist()
        self.log("filter removed", name=name)
        return view

    async def _pause(self, name: str, paused: bool, follow: bool = False) -> object:
        entry = self.roster.find(name)
        spec = FilterSpec.from_wire({**entry.spec.to_wire(), "paused": paused, "follow": follow})
        if spec != entry.spec:
            await self.reading.begin(spec)
            await self.crew.catch_up(CATCH_UP)  # what came before is of the filter as it was
            self.roster.change(name, spec)
            await self._persist()
            self.log("filter paused" if paused else "filter resumed", name=name, follow=follow)
        return self.roster.view(entry)

    # --- tasks --------------------------------------------------------------------------------------------------------

    async def open_http(self, setting: str, sources: Verdicts | None, task_status: Opened) -> None:
        """Health and metrics, with ``sources`` verdicts and reports. Started when it is open; an address that is taken
        is told, and mirroring goes on."""
        assert self.serve_http is not None
        try:
            address = getattr(self.config, setting)
            await self.serve_http(address, sources, self.handle, self.health, self.standing, task_status=task_status)
        except ShadowdError as error:
            self.problems[setting] = str(error)
            self.log(setting, problem=str(error))
            task_status.started("")

    async def watch_interfaces(self) -> None:
        """Attach to interfaces that appear, forget those that go."""
        with open_link_events() as events:
            while True:
                await trio.lowlevel.wait_readable(events)
                drain_events(events)
                await trio.sleep(0.05)  # a new interface comes as a burst of events
                if self.roster.watches_interfaces:
                    self.roster.refresh_interfaces()

    async def watch_selections(self) -> None:
        """Take up processes, units and containers that were restarted."""
        while True:
            await trio.sleep(RESELECT)
            for spec, wanted in self.roster.moving():
                found = await trio.to_thread.run_sync(select, wanted, abandon_on_cancel=True)
                try:
                    if self.roster.take_up(spec, found):
                        self.log("selection changed", name=spec.name, selected=found.found or found.problem)
                        self.resolving.soon()  # what was another's port may be production's now
                except ShadowdError as error:
                    self.log("selection not taken up", name=spec.name, problem=str(error))

    async def tell_manager(self) -> None:
        """READY, STATUS and the watchdog, if a service manager started us."""
        await keep_told(self.notifier, self.standing.unready, self.standing.sentence, lambda: self.crew.turns)

    async def watch_config(self) -> None:
        """Reload when a file of the configuration has changed and is the same at two looks; a bad one is told once."""
        if self.config_path is None or not self.config.reload_on_change:
            return
        in_force = before = self._read
        while True:
            await trio.sleep(LOOK_AT_CONFIG_EVERY)
            seen = await trio.to_thread.run_sync(fingerprint, self.config_path, abandon_on_cancel=True)
            if seen != in_force and seen == before:
                in_force = seen
                self._reload_or_tell()
            before = seen

    def _reload_or_tell(self) -> None:
        try:
            self.reload()
        except ShadowdError as error:
            self.log("reload refused, the running configuration stays", error=str(error))

    async def watch_signals(self, stop: Callable[[], None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for received in signals:
                if received != signal.SIGHUP:
                    self.log("stopping", signal=signal.Signals(received).name)
                    self.notifier.stopping()
                    break
                self._reload_or_tell()
            async with trio.open_nursery() as nursery:
                draining = trio.CancelScope()
                nursery.start_soon(self._hurry, signals, draining.cancel)  # to the end: those that come late are heard
                with draining:
                    await self._drain()
                for entry in self.roster.entries.values():
                    self.crew.leave(entry.filter, "shutdown")
                await self.crew.settle()
                with trio.move_on_after(CLOSE_SECONDS):
                    await self.runs.close()
                nursery.cancel_scope.cancel()
        for late in (signal.SIGTERM, signal.SIGINT):  # one that comes now must not cut the clean-up short
            signal.signal(late, signal.SIG_IGN)
        stop()

    async def _hurry(self, signals: AsyncIterator[int], stop: Callable[[], None]) -> None:
        """A second signal ends the wait for what is in flight."""
        async for received in signals:
            if received != signal.SIGHUP:
                self.log("not waiting for what is in flight", signal=signal.Signals(received).name)
                stop()

    async def _drain(self) -> None:
        """No new requests; what is in flight may end within DRAIN_SECONDS."""
        self.crew.switch.stopping = True
        self.programs.apply([])
        self.roster.detach()
        with trio.move_on_after(DRAIN_SECONDS):
            while not self.crew.idle:
                await trio.sleep(0.02)

    def close(self) -> None:
        self.roster.detach()
        self.crew.close()
        self.programs.close()


def _settings(config: Config) -> dict[str, Any]:
    """By name, without the filters."""
    return {name: getattr(config, name) for name in type(config).model_fields if name != "filters"}


def _name(args: dict[str, Any]) -> str:
    name = args.get("name")
    if not isinstance(name, str):
        raise UsageError("a filter's name is missing", "name one: shadowctl filter ls lists them")
    return name


def _clean_stale(log: Log) -> None:
    if removed := remove_classifiers(list_interfaces()):
        log("removed classifiers that a killed daemon had left", count=removed)


async def run_daemon(
    config: Config,
    config_path: Path | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
    read: tuple[object, ...] = (),
    make_door: MakeDoor | None = None,
) -> None:
    """Run until SIGTERM or SIGINT; ``read`` is the fingerprint of the files as they were when ``config`` was read, and
    ``make_door`` gives what serves HTTP (``observe/door.py``).

    Raises ShadowdError where the host or the configuration does not allow it.
    """
    log = Log(config.log_format)
    logging.getLogger("shadowd").addHandler(Forward(log))
    accepting = logging.getLogger("trio.serve_listeners")  # tells of each try where this host lacks descriptors
    accepting.handlers, accepting.filters, accepting.propagate = [Forward(log)], [Seldom()], False
    raise_file_limit()
    notifier = Notifier.from_environment()
    check_host()
    os.setpriority(os.PRIO_PROCESS, 0, max(config.nice, os.getpriority(os.PRIO_PROCESS, 0)))
    prepare_directory(config.state_dir, _OWN_FILES)
    daemon: Daemon | None = None

    async def handle(op: str, args: dict[str, Any]) -> object:
        if daemon is None:
            raise ShadowdError("the daemon is still loading its capture program", "try again in a few seconds")
        return await daemon.handle(op, args)

    try:
        async with trio.open_nursery() as nursery:
            # the socket first: a second daemon is refused before it loads anything
            await nursery.start(serve_control, config.socket, config.socket_group, handle)
            serve_http = make_door(config, log) if make_door is not None else None
            log("loading the capture program")
            notifier.status("loading the capture program")
            # not in a thread: capabilities are a thread's own, so they are given up before there is a second one
            programs = load(config.ring_bytes, config.own_mark, config.loader, config.workers, can_probe())
            if config.least_privilege or (config.least_privilege is None and os.geteuid() != 0):
                give_up()
            undumpable()
            one_arena()
            # exchanges make few cycles but many objects: the default threshold would walk them every 700 allocations
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            daemon = Daemon(config, config_path, programs, log, notifier, read)
            daemon.serve_http = serve_http
            nursery.start_soon(daemon.watch_signals, nursery.cancel_scope.cancel)
            await nursery.start(daemon.runs.writer.run)
            await daemon.runs.recall()
            # the doors before the filters: what serves them takes a while to load, and the pump must not wait then
            if config.http and serve_http is not None:
                await nursery.start(daemon.open_http, "http", daemon.verdicts)
            if config.monitor and serve_http is not None:
                await nursery.start(daemon.open_http, "monitor", None)
            await daemon.crew.start()
            await daemon.start_filters()
            tasks = (daemon.crew.run, daemon.resolving.run, daemon.resolving.watch, daemon.watch_interfaces,
                     daemon.guard.run, daemon.runs.watch, daemon.runs.record, daemon.watch_config,
                     daemon.watch_selections, daemon.embedding.run, daemon.comparer.run, daemon.memory.run,
                     daemon.reading.run, daemon.roster.schemas.run, daemon.pods.run)  # fmt: skip
            for task in tasks:
                nursery.start_soon(task)
            daemon.standing.starting = False
            nursery.start_soon(daemon.tell_manager)
            hooks = ",".join(daemon.roster.hooks()) or "none"
            log("ready", socket=config.socket, filters=len(daemon.roster.entries), hooks=hooks, loader=programs.loader)
            if ready is not None:
                await ready()
    finally:
        if daemon is not None:  # else the error alone is the one line to read
            daemon.close()
            log("stopped")
        notifier.close()
