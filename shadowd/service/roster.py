"""The filters in force: from their specifications to kernel rules, hooks and run-time filters.

A filter whose selection changes gets a new bit, so that kernel tables can be written entry by entry while the others
go on (``capture/rules.py``). Bits are used in turn: a record that is still in the ring never means another filter.
"""

from __future__ import annotations

import fnmatch
import ssl
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from shadowd.capture.abi import MAX_FILTERS
from shadowd.capture.attach import Interface, InterfaceHook, SocketHook, list_interfaces, resolve_cgroup
from shadowd.capture.itself import leads_to
from shadowd.capture.keylog import check_keylog
from shadowd.capture.pods import PodList
from shadowd.capture.preflight import find_cgroup2
from shadowd.capture.programs import Programs
from shadowd.capture.rules import Rule, compile_prefixes
from shadowd.capture.selection import Selected, Wanted, select
from shadowd.compare.descriptors import declared_by
from shadowd.config.document import Config, FilterSpec
from shadowd.errors import ItselfError, ShadowdError, UsageError
from shadowd.ledger.ledger import describe
from shadowd.policy.policy import Policy
from shadowd.replay.target import Target
from shadowd.runs.embedding import check_model
from shadowd.service.crew import Crew
from shadowd.service.schemas import Schemas
from shadowd.worker.building import limits_of, make_filter, make_policy, make_target, run_by, tls_contexts
from shadowd.worker.entry import Entry, wanted_by
from shadowd.worker.filters import Filter


class Roster:
    """See the module's head. All calls are made from the trio thread."""

    def __init__(self, config: Config, programs: Programs, crew: Crew) -> None:
        self._config = config
        self._programs = programs
        self._crew = crew
        self.pods = PodList(Path(config.pod_logs))
        self._free = deque(range(MAX_FILTERS))
        self._retiring: deque[tuple[float, int, Filter]] = deque()
        self._socket_hook: SocketHook | None = None
        self._interface_hooks: dict[int, InterfaceHook] = {}
        self._interfaces_written: set[int] = set()
        self.problems: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}
        self.schemas = Schemas(self._schemas_in_use, self._take_schema)
        self.on_change: Callable[[Entry], None] = lambda entry: None  # a filter was added or changed
        self.on_remove: Callable[[str], None] = lambda name: None

    # --- changes ------------------------------------------------------------------------------------------------------

    def add(self, spec: FilterSpec, origin: str) -> Entry:
        """Take a filter in and begin to capture. Raises UsageError for a name in use, ShadowdError if it cannot run."""
        if spec.name in self.entries:
            raise UsageError(
                f"there is already a filter named {spec.name}", f"shadowctl filter set {spec.name} … changes it"
            )
        self.check([spec])
        entry = Entry(spec, origin, make_filter(spec, self._policy(spec)), self.selected_by(spec))
        entry.schema = self.schemas.of(spec)
        self._crew.run_by(entry.filter, spec)
        self._set_targets(entry, spec)
        self.entries[spec.name] = entry
        try:
            self._enact(entry)
        except BaseException:
            del self.entries[spec.name]
            self._drop(entry, "removed")
            self._apply()
            raise
        self.on_change(entry)
        return entry

    def change(self, name: str, spec: FilterSpec) -> Entry:
        """Run an existing filter by another specification; its ledger goes on."""
        entry = self.find(name)
        before = entry.spec
        self.check([spec])
        try:
            self._run_by(entry, spec)
        except BaseException:
            self._run_by(entry, before)
            raise
        self.on_change(entry)
        return entry

    def _run_by(self, entry: Entry, spec: FilterSpec) -> None:
        if entry.bit >= 0:
            self._count(entry)  # what came until now came for it as it was
        run_by(entry.filter, spec, self._policy(spec))
        self._crew.run_by(entry.filter, spec)
        self._set_targets(entry, spec)
        entry.spec = spec
        entry.schema = self.schemas.of(spec)
        entry.selected = self.selected_by(spec)
        self._enact(entry)

    def moving(self) -> list[tuple[FilterSpec, Wanted]]:
        """Filters whose processes or cgroups may be others by now."""
        found = [entry.spec for entry in self.entries.values() if entry.spec.captures]
        wanted = [(spec, wanted_by(spec, self.pods)) for spec in found]
        return [(spec, one) for spec, one in wanted if one.moves]

    def take_up(self, spec: FilterSpec, selected: Selected) -> bool:
        """What a filter of ``moving`` selects now; whether that is something else. Raises ShadowdError."""
        entry = self.entries.get(spec.name)
        if entry is None or entry.spec is not spec:  # changed while it was looked up
            return False
        before, entry.selected = entry.selected, selected
        if before.same_rule(selected):
            return False
        self._enact(entry)
        return True

    def check(self, specs: Iterable[FilterSpec], without: Collection[str] = ()) -> None:
        """Raise UsageError or ShadowdError for what cannot run on this host, before anything is changed. ``without``
        are filters that are about to go."""
        wanted = {name: entry.spec for name, entry in self.entries.items() if name not in without}
        for spec in specs:
            wanted[spec.name] = spec
            self._contexts(spec)
            self._refuse_itself(spec)
            known = self.entries.get(spec.name)
            if spec.tls_keylog is not None and (known is None or known.spec.tls_keylog != spec.tls_keylog):
                check_keylog(spec.tls_keylog, self._config.workers)
            if spec.descriptors is not None and (known is None or known.spec.descriptors != spec.descriptors):
                self.schemas.check(spec.descriptors)
            if spec.cgroup is not None and (known is None or known.spec.cgroup != spec.cgroup):
                resolve_cgroup(spec.cgroup)
        if len(wanted) > MAX_FILTERS:
            raise UsageError(f"that makes {len(wanted)} filters, the kernel program holds {MAX_FILTERS}",
                             "remove some first")  # fmt: skip
        try:
            any_cgroup = Selected((), None)
            compile_prefixes([_rule(bit, spec, any_cgroup) for bit, spec in enumerate(wanted.values())])
        except ValueError as error:
            raise UsageError(str(error), "give fewer or wider networks") from None

    def selected_by(self, spec: FilterSpec) -> Selected:
        """What a filter selects now."""
        return select(wanted_by(spec, self.pods))

    def _refuse_itself(self, spec: FilterSpec) -> None:
        selected = self.selected_by(spec)
        for target in spec.targets:
            host = "127.0.0.1" if target.host == "localhost" else target.host
            if is_itself(spec, selected, host, target.port):
                raise ItselfError(*itself(target.url))

    def remove(self, name: str) -> None:
        entry = self.find(name)
        self.on_remove(name)
        del self.entries[name]
        self._apply()
        self._drop(entry, "removed")

    def find(self, name: str) -> Entry:
        if name not in self.entries:
            known = ", ".join(sorted(self.entries)) or "none"
            raise UsageError(f"there is no filter named {name}", f"filters are: {known}")
        return self.entries[name]

    def _drop(self, entry: Entry, reason: str) -> None:
        self._retire(entry)
        entry.filter.following = False
        self._crew.leave(entry.filter, reason)
        for target in list(entry.filter.targets):
            self._crew.drop(target)
        self._show_bits()

    def _retire(self, entry: Entry) -> None:
        if entry.bit >= 0:
            self._count(entry)
            self._retiring.append((time.monotonic(), entry.bit, entry.filter))
            entry.bit = -1

    def _enact(self, entry: Entry) -> None:
        """Give the entry a bit by its present specification, and the kernel the rules of all."""
        old = entry.bit
        self._retire(entry)
        if entry.spec.captures:
            entry.bit = self._take_bit()
            entry.counted = self._programs.filter_counters(entry.bit)
        try:
            self._apply()
        except BaseException:
            self._retire(entry)
            raise
        if entry.spec.paused and old >= 0:
            self._crew.leave(entry.filter, "removed")

    def _take_bit(self) -> int:
        while self._retiring and (not self._free or time.monotonic() - self._retiring[0][0] > 10):
            self._free.append(self._retiring.popleft()[1])
        return self._free.popleft()

    def _show_bits(self) -> None:
        bits = {bit: running for _, bit, running in self._retiring}
        bits.update({entry.bit: entry.filter for entry in self.entries.values() if entry.bit >= 0})
        self._crew.show(bits)

    # --- specification to running filter ------------------------------------------------------------------------------

    def _policy(self, spec: FilterSpec) -> Policy:
        key = self._config.loop_key
        policy = make_policy(spec, self._config.node, key.get_secret_value().encode() if key is not None else None)
        policy.declared = declared_by(self.schemas.of(spec))
        return policy

    def _schemas_in_use(self) -> set[str]:
        return {entry.spec.descriptors for entry in self.entries.values() if entry.spec.descriptors is not None}

    def _take_schema(self, path: str) -> None:
        """It is another by now: what runs goes on by it."""
        for entry in self.entries.values():
            if entry.spec.descriptors == path:
                entry.schema = self.schemas.of(entry.spec)
                entry.filter.policy.declared = declared_by(entry.schema)
                self.on_change(entry)
        self._crew.sync()

    def _set_targets(self, entry: Entry, spec: FilterSpec) -> None:
        """Keep the targets whose address is unchanged, with their accounts; begin and end the others."""
        running = entry.filter
        contexts = self._contexts(spec)
        kept: list[Target] = []
        for wanted in spec.targets:
            target = next((t for t in running.targets if (t.url, t.role) == (wanted.url, wanted.role)), None)
            if target is None:
                target = make_target(running, wanted, limits_of(spec))
                self._crew.adopt(target)
            target.limits = limits_of(spec)
            target.tls, target.tls_streams = contexts[wanted.url, wanted.role]
            target.speak(wanted.to_protocol)
            target.call(wanted.server_name or "", wanted.host)
            target.role = wanted.role
            kept.append(target)
        gone = [target for target in running.targets if target not in kept]
        running.targets = kept
        for target in gone:
            self._crew.leave_target(running, target)
            self._crew.drop(target)
            running.account.targets.remove(target.account)

    def _contexts(self, spec: FilterSpec) -> dict[tuple[str, str], tuple[ssl.SSLContext | None, ssl.SSLContext | None]]:
        """Of every target by its URL and role. Where nothing but the file went away since, what was loaded stays in
        use: a filter can be paused without its certificates."""
        entry = self.entries.get(spec.name)
        if spec.similarity and (entry is None or entry.spec.similarity != spec.similarity):
            check_model(spec.similarity)
        contexts = {}
        for wanted in spec.targets:
            try:
                contexts[wanted.url, wanted.role] = tls_contexts(wanted)
            except UsageError:
                if entry is None or wanted not in entry.spec.targets:
                    raise
                contexts[wanted.url, wanted.role] = next(
                    (target.tls, target.tls_streams)
                    for target in entry.filter.targets
                    if (target.url, target.role) == (wanted.url, wanted.role)
                )
        return contexts

    def count(self) -> None:
        """Take over what the kernel counted for each filter since the last time."""
        for entry in self.entries.values():
            if entry.bit >= 0:
                self._count(entry)

    def _count(self, entry: Entry) -> None:
        now, before = self._programs.filter_counters(entry.bit), entry.counted
        entry.counted = now
        if entry.filter.following:  # nothing is missed of what nobody wants
            return
        entry.filter.account.note_kernel(
            now.matched - before.matched, now.lost - before.lost, now.dead - before.dead,
            now.openings_lost - before.openings_lost,
        )  # fmt: skip

    def rules(self) -> list[Rule]:
        return [_rule(entry.bit, entry.spec, entry.selected) for entry in self.entries.values() if entry.bit >= 0]

    # --- hooks --------------------------------------------------------------------------------------------------------

    def _apply(self) -> None:
        rules = self.rules()
        self._show_bits()
        self._programs.apply(rules)
        wants_socket = any(rule.interface is None for rule in rules)
        # with tc filters alone the socket programs still recognise our own traffic and time it, where they can
        if rules and self._socket_hook is None and (wants_socket or find_cgroup2() is not None):
            self._socket_hook = SocketHook(self._programs)
        elif not rules and self._socket_hook is not None:
            self._socket_hook.close()
            self._socket_hook = None
        self.refresh_interfaces(rules)

    def refresh_interfaces(self, rules: list[Rule] | None = None) -> None:
        """Attach where a tc filter's glob matches now, forget interfaces that are gone or no longer wanted."""
        rules = self.rules() if rules is None else rules
        patterns = [(rule.interface, rule.mask) for rule in rules if rule.interface is not None]
        wanted: dict[int, tuple[Interface, int]] = {}
        if patterns or self._interface_hooks:
            for interface in list_interfaces():
                mask = 0
                for pattern, bit in patterns:
                    if fnmatch.fnmatchcase(interface.name, pattern):
                        mask |= bit
                if mask:
                    wanted[interface.index] = (interface, mask)
        written = {index: (mask, interface.ethernet) for index, (interface, mask) in wanted.items()}
        self._programs.set_interfaces(written, self._interfaces_written)
        self._interfaces_written = set(written)
        names = {interface.name for interface, _ in wanted.values()}
        self.problems = {place: p for place, p in self.problems.items() if place.removeprefix("tc:") in names}
        for index in [index for index in self._interface_hooks if index not in wanted]:
            hook = self._interface_hooks.pop(index)
            try:
                hook.close()
            except Exception as error:  # the interface went away under us: its filters went with it
                self.problems[f"tc:{hook.interface.name}"] = f"detaching failed: {error}"
        for index, (interface, _) in wanted.items():
            if index not in self._interface_hooks:
                try:
                    self._interface_hooks[index] = InterfaceHook(self._programs, interface)
                    self.problems.pop(f"tc:{interface.name}", None)
                except ShadowdError as error:
                    self.problems[f"tc:{interface.name}"] = str(error)

    def unattached(self) -> list[str]:
        """Problems of interfaces that filters of the configuration ask for, after one more try to attach there."""
        patterns = [entry.spec.hook for entry in self.entries.values() if entry.origin == "config"]

        def failing() -> list[str]:
            return [
                problem
                for place, problem in self.problems.items()
                if any(fnmatch.fnmatchcase(place, pattern) for pattern in patterns)
            ]

        if failing():
            self.refresh_interfaces()
        return failing()

    @property
    def watches_interfaces(self) -> bool:
        return any(entry.spec.hook != "socket" for entry in self.entries.values())

    def hooks(self) -> list[str]:
        """What is attached, for people: ``socket``, ``tcx:eth0`` …"""
        found = ["socket"] if self._socket_hook is not None else []
        return found + sorted(f"{hook.kind}:{hook.interface.name}" for hook in self._interface_hooks.values())

    def detach(self) -> None:
        """Detach everywhere; nothing of ours stays on the host."""
        if self._socket_hook is not None:
            self._socket_hook.close()
            self._socket_hook = None
        for hook in self._interface_hooks.values():
            hook.close()
        self._interface_hooks = {}

    # --- views --------------------------------------------------------------------------------------------------------

    def view(self, entry: Entry) -> dict[str, Any]:
        account = entry.filter.account
        words = [text.replace("NAME", entry.spec.name) for text in describe(account, entry.filter.flows)]
        if entry.filter.policy.unedited:
            words.append(f"{entry.filter.policy.unedited} requests were sent unchanged: not all of set_json fits them")
        if entry.selected.problem or entry.selected.found:
            words.insert(0, entry.selected.problem or f"selected now: {entry.selected.found}")
        words[:0] = entry.reading
        if entry.schema is not None:
            named = f"messages are named by {entry.spec.descriptors}: {len(entry.schema.methods)} methods"
            words.insert(0, f"{named}, of which {len(entry.schema.reads)} declare NO_SIDE_EFFECTS")
        words += _waited_for(entry.filter)
        if entry.filter.following:
            words.insert(0, "its connections are followed, and nothing is mirrored: shadowctl filter resume "
                         f"{entry.spec.name}")  # fmt: skip
        if entry.spec.tls_keylog is not None:
            words.insert(0, f"TLS is decrypted by the key log {entry.spec.tls_keylog}")
        if entry.spec.hook != "socket":
            pattern = entry.spec.hook.removeprefix("tc:")
            names = [hook.interface.name for hook in self._interface_hooks.values()]
            if not fnmatch.filter(names, pattern):
                words.insert(0, f"no interface matches {pattern} now; it is attached when one appears")
        return {
            "name": entry.spec.name,
            "spec": entry.spec.to_wire(redact=True),
            "origin": entry.origin,
            "state": "active" if not entry.spec.paused else "following" if entry.spec.follow else "paused",
            "words": words,
            "selection": {"problem": entry.selected.problem, "found": entry.selected.found},
            "bit": entry.bit,
            "flows": entry.filter.flows,
            "older": {"tls": entry.filter.older, "http2": entry.filter.older_http2},
            "seen": account.seen,
            "mirrored": sum(target.account.mirrored for target in entry.filter.targets),
            "in_flight": account.in_flight,
            "latency_ms": _latency(entry.filter.targets[:1]),
            "status_differences": sum(target.status_differences for target in entry.filter.targets),
            "targets": [
                {
                    "url": target.url,
                    "role": target.role,
                    "connections": target.connections,
                    "addresses": [address[1][0] for address in target.addresses],
                    "problem": target.resolve_error,
                    "latency_ms": _latency([target]),
                    "status_differences": target.status_differences,
                }
                for target in entry.filter.targets
            ],
        }


def _waited_for(running: Filter) -> Iterator[str]:
    """Connections of which nothing can be read until they end."""
    if running.older:
        yield f"{running.older} TLS connections that are older than this filter are still open"
    if count := running.older_http2:
        yield (
            f"{count} HTTP/2 connections began before this filter could read them, and cannot be read until they end:"
            " nginx reload, Envoy drain, MAX_CONNECTION_AGE of gRPC or a restart of the clients end them"
        )


def _rule(bit: int, spec: FilterSpec, selected: Selected) -> Rule:
    interface = spec.hook.removeprefix("tc:") if spec.hook != "socket" else None
    return Rule(bit, selected.ports, spec.client_cidrs, spec.server_cidrs, selected.cgroups, spec.sample,
                spec.direction == "outbound", interface)  # fmt: skip


def _latency(targets: list[Target]) -> dict[str, dict[str, float | None]]:
    empty: dict[str, float | None] = {"p50": None, "p99": None}
    if not targets:
        return {"production": empty, "shadow": empty}
    return {
        "production": targets[0].production_latency.milliseconds(),
        "shadow": targets[0].shadow_latency.milliseconds(),
    }


def is_itself(spec: FilterSpec, selected: Selected, host: str, port: int) -> bool:
    """Whether a target's literal address is production's own, and that is not meant."""
    if spec.allow_self or spec.direction == "outbound":
        return False
    return leads_to(host, port, selected, spec.server_cidrs)


def itself(url: str) -> tuple[str, str]:
    """What is said of such a target, and what to do."""
    return f"{url} is production itself: it would serve every request twice", (
        "give the shadow another address or port, or --allow-self if that is meant"
    )
