"""The loaded capture programs: load them through a child, switch them on and off, read their counters.

The child hands over descriptors: ``loader.py`` compiles with bcc, ``bytecode.py`` loads what was compiled before. In a
source tree bcc comes first: what is compiled there fits the sources that are there. A package carries what was compiled
from its own, and needs no compiler. From then on everything goes through bpf(2) on those descriptors. Nothing is
pinned: when the daemon dies, the kernel drops links, programs and maps with it.
"""

from __future__ import annotations

import array
import base64
import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from shadowd.capture import abi, bpf, bytecode
from shadowd.capture.bpf import Map, possible_cpus
from shadowd.capture.preflight import find_bcc_python, unlimit_memlock
from shadowd.capture.ring import Ring
from shadowd.capture.rules import Rule, Tables, compile_rules
from shadowd.errors import PlatformError

#: Compiling and verifying took 2-6 s on two shared cores; a minute means that it hangs.
LOAD_SECONDS = 60.0

LOADERS = ("auto", "bcc", "prebuilt")

_PACKAGE = Path(__file__).resolve().parents[1]
PACKAGED = _PACKAGE / "bpf"  # made by setup.py

_ZERO = b"\0\0\0\0"


def find_bpf(name: str) -> Path | None:
    """A file of the folder bpf/: in $SHADOWD_BPF_DIR, in the source tree, or within the package."""
    for folder in (os.environ.get("SHADOWD_BPF_DIR"), _PACKAGE.parent / "bpf", PACKAGED):
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    return None


class FilterCounters(NamedTuple):
    """Client segments with payload: those that matched, those of them that did not reach the ring whole, those that
    were not looked at; and SYNs that did not reach it."""

    matched: int = 0
    lost: int = 0
    dead: int = 0
    openings_lost: int = 0


class Programs:
    """Descriptors of the loaded programs and maps, and the rules they run by. Close to forget all of it."""

    def __init__(
        self,
        descriptors: dict[str, int],
        ring_bytes: int,
        own_mark: int,
        netns: str,
        loader: str = "bcc",
        workers: int = 1,
        probes: dict[str, Any] | None = None,
    ) -> None:
        self.descriptors = descriptors
        self.probes = probes or {}  # not loaded: what the attacher of TLS loads, by name (bytecode.py has the form)
        self.netns = netns  # "cookie", or "cgroup" where the kernel has no such helper (before 6.15)
        self.loader = loader  # "bcc" or "prebuilt"
        cpus = possible_cpus()
        self.maps = {
            name: Map(descriptors[name], key, value, cpus if name in ("counters", "filter_counters") else 0)
            for name, (key, value) in abi.MAPS.items()
            if name != "ring" and name in descriptors
        }
        self._ring_bytes = ring_bytes
        self._ethernet = True
        self._rings = [descriptors["ring"]]  # by worker
        for worker in range(workers):
            if worker:
                self._rings.append(bpf.create_ring(ring_bytes))
                descriptors[f"ring {worker}"] = self._rings[worker]
            self.maps["rings"].update(worker.to_bytes(4, "little"), self._rings[worker].to_bytes(4, "little"))
        self.ring = self.open_ring(0)
        self._tables = compile_rules(())
        self._generation = 0
        self._active = 0
        self._alive_until = 0
        self._own_mark = own_mark
        self._write_control()

    def probe_maps(self) -> dict[str, int]:
        """The maps that the probes of TLS refer to, and those that tell them what to look for."""
        named = {target for program in self.probes.values() for _, target in program["maps"]}
        return {name: self.descriptors[name] for name in sorted(named | {"tls_scope", "tls_places"})}

    def ring_descriptor(self, worker: int) -> int:
        """What a worker process is given to read its flows' records: ``Ring`` maps it."""
        return self._rings[worker]

    def open_ring(self, worker: int) -> Ring:
        """The reader of a worker's ring; a ring has one."""
        return Ring(self._rings[worker], self._ring_bytes, self.maps["sleeping"], worker)

    def _write_control(self) -> None:
        t = self._tables
        self.maps["control"].update(
            _ZERO,
            abi.CONTROL.pack(
                self._alive_until,
                self._active,
                t.socket_filters,
                t.sampled,
                t.cgroup_bound,
                t.plain,
                self._generation,
                self._own_mark,
                len(self._rings),
                self._ethernet,
            ),
        )

    def keep_alive(self, until: int) -> None:
        """Copy until ``until`` (ns, monotonic): the dead-man switch."""
        self._alive_until = until
        self._write_control()

    def apply(self, rules: list[Rule]) -> None:
        """Match by ``rules`` from now on; existing flows are decided again at their next packet.

        A rule that changed must have come under a bit that no earlier rule in force had. Order: entries with the new
        bits, the switch of active filters, the generation, and only then the removal of what no rule needs.
        """
        new, old = compile_rules(rules), self._tables
        self._write_port_bits([before | after for before, after in zip(old.port_bits, new.port_bits, strict=True)])
        for name in ("ports", "client_prefixes", "server_prefixes", "cgroups"):
            self._write_entries(name, self._union(getattr(old, name), getattr(new, name)), getattr(old, name))
        self.maps["sampling"].update(_ZERO, new.sampling)
        before = self._active
        self._tables = _both(old, new)
        self._active = 0
        for rule in rules:
            self._active |= rule.mask
        self._active, wanted = before | self._active, self._active
        self._write_control()
        self._active = wanted
        self._generation = (self._generation + 1) & 0xFFFFFFFF
        self._write_control()
        self._tables = new
        for name in ("ports", "client_prefixes", "server_prefixes", "cgroups"):
            self._write_entries(name, getattr(new, name), self._union(getattr(old, name), getattr(new, name)))
        self._write_port_bits(new.port_bits)
        self._generation = (self._generation + 1) & 0xFFFFFFFF
        self._write_control()

    def _write_port_bits(self, bits: list[int]) -> None:
        self.maps["port_bits"].update(_ZERO, b"".join(part.to_bytes(abi.PORT_BITS, "little") for part in bits))

    @staticmethod
    def _union(old: dict[bytes, bytes], new: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Old and new entries with the bits of both: what the tables hold while one set gives way to the other."""
        merged = {**old, **new}
        both: dict[tuple[bytes, bytes], bytes] = {}  # a filter of any port has 65,535 entries, and few values
        for key, before in old.items():
            value = new.get(key)
            if value is not None and value != before:
                pair = (before, value)
                if pair not in both:
                    mixed = int.from_bytes(before, "little") | int.from_bytes(value, "little")
                    both[pair] = mixed.to_bytes(len(value), "little")
                merged[key] = both[pair]
        return merged

    def _write_entries(self, name: str, wanted: dict[bytes, bytes], present: dict[bytes, bytes]) -> None:
        table = self.maps[name]
        table.update_many({key: value for key, value in wanted.items() if present.get(key) != value})
        gone = [key for key in present if key not in wanted]
        if name == "ports":  # an array has no delete
            table.update_many(dict.fromkeys(gone, bytes(table.value_bytes)))
        else:
            for key in gone:
                table.delete(key)

    def set_interfaces(self, interfaces: dict[int, tuple[int, bool]], present: set[int]) -> None:
        """ifindex -> (bitmap of tc filters, starts with Ethernet); ``present`` are the ones written before."""
        self._ethernet = all(ethernet for _, ethernet in interfaces.values())
        if not self._ethernet:  # before the program runs there
            self._write_control()
        states = {index: abi.INTERFACE_STATE.pack(*state, index) for index, state in interfaces.items()}
        near = {index % abi.MAX_INTERFACES: state for index, state in states.items()}
        table = self.maps["interfaces"]
        for index, state in states.items():
            table.update(index.to_bytes(4, "little"), state)
        for slot in {index % abi.MAX_INTERFACES for index in present | set(interfaces)}:
            state = near.get(slot, bytes(abi.INTERFACE_STATE.size))
            self.maps["near_interfaces"].update(slot.to_bytes(4, "little"), state)
        for index in present - set(interfaces):
            table.delete(index.to_bytes(4, "little"))
        self._write_control()

    def time_socket(self, cookie: int, wanted: bool, worker: int = 0) -> None:
        """Ask for timing records of a socket of ours, in the ring of the worker that owns it, or no longer."""
        key = cookie.to_bytes(8, "little")
        if wanted:
            self.maps["timed"].update(key, bytes([worker]))
        else:
            self.maps["timed"].delete(key)

    def forget_times(self, worker: int) -> None:
        """A worker is gone, and its sockets with it."""
        timed = self.maps["timed"]
        for key in list(timed.keys()):
            found = timed.lookup(key)
            if found is not None and found[0] == worker:
                timed.delete(key)

    def counters(self) -> dict[str, int]:
        """The kernel's counters by name, added over the CPUs."""
        return dict(zip(abi.COUNTERS, self.maps["counters"].sums(), strict=True))

    def filter_counters(self, bit: int) -> FilterCounters:
        """What the kernel counted for the filter of a bit since the programs were loaded."""
        return FilterCounters(*self.maps["filter_counters"].sums(bit))

    def close(self) -> None:
        self.ring.close()
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors = {}


def _both(old: Tables, new: Tables) -> Tables:
    mixed = Tables()
    mixed.socket_filters = old.socket_filters | new.socket_filters
    mixed.sampled = old.sampled | new.sampled
    mixed.cgroup_bound = old.cgroup_bound | new.cgroup_bound
    mixed.plain = old.plain | new.plain
    return mixed


def _receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    message, ancillary, _, _ = channel.recvmsg(1 << 16, socket.CMSG_SPACE(4 * 64))
    rights = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            rights.frombytes(data[: len(data) - len(data) % 4])
    reply = json.loads(message) if message else {"error": "the loader ended without a word"}
    return reply, list(rights)


def load(ring_bytes: int, own_mark: int, loader: str = "auto", workers: int = 1, probes: bool = False) -> Programs:
    """Load in a child process (blocking, seconds). Raises PlatformError with the verifier's last words.

    ``ring_bytes`` is the size of each of the rings, of which every worker (1 to ``abi.MAX_WORKERS``) has one.
    ``loader``: "bcc" compiles here, "prebuilt" takes shadowd.bytecode, "auto" tries both in the order that is told
    above. SHADOWD_LOADER in the environment has the last word. ``probes``: make ready what reads TLS (``tlsattach.py``
    loads it); else nothing of it is there.
    """
    loader = os.environ.get("SHADOWD_LOADER") or loader
    if loader not in LOADERS:
        raise PlatformError(f"there is no loader {loader!r:.40}", f"choose one of {', '.join(LOADERS)}")
    if not 1 <= workers <= abi.MAX_WORKERS:
        raise PlatformError(f"there cannot be {workers} workers", f"have 1 to {abi.MAX_WORKERS}")
    unlimit_memlock()
    prebuilt = find_bpf("shadowd.bytecode")
    problems: dict[str, PlatformError] = {}
    for used in _ways(loader, prebuilt):
        try:
            reply, rights = (_by_bcc if used == "bcc" else partial(_by_bytecode, prebuilt))(ring_bytes, probes)
            break
        except PlatformError as error:  # no bcc here, one that is too old, or a file that is not ours
            problems[used] = error
    else:
        raise problems.get("prebuilt") or problems["bcc"]
    names = reply["descriptors"]
    if not isinstance(names, list) or len(names) != len(rights):
        for descriptor in rights:
            os.close(descriptor)
        raise PlatformError("the loader handed over too few descriptors", "raise the limit of open files (ulimit -n)")
    descriptors = dict(zip(map(str, names), rights, strict=True))
    try:
        unloaded = _probes(reply) if probes else None
        return Programs(descriptors, ring_bytes, own_mark, str(reply["netns"]), used, workers, unloaded)
    except BaseException:
        for descriptor in descriptors.values():
            os.close(descriptor)
        raise


def _ways(loader: str, prebuilt: Path | None) -> tuple[str, ...]:
    """What is tried, in this order."""
    if loader != "auto":
        return (loader,)
    if prebuilt is None:
        return ("bcc",)
    return ("prebuilt", "bcc") if prebuilt.parent == PACKAGED else ("bcc", "prebuilt")


def _probes(reply: dict[str, Any]) -> dict[str, Any]:
    """The probes in the form of bytecode.py, by whichever loader."""
    if "code" not in reply:
        return dict(reply["probes"])
    maps = {descriptor: name for name, descriptor in reply["map_descriptors"].items()}
    return {
        name: {"type": 2, "license": "GPL", **bytecode.named(base64.b64decode(code), maps)}
        for name, code in reply["code"].items()
    }


def _by_bcc(ring_bytes: int, probes: bool) -> tuple[dict[str, Any], list[int]]:
    python, source = find_bcc_python(), find_bpf("shadowd.bpf.c")
    if source is None:
        raise PlatformError(
            "the capture program's source (bpf/shadowd.bpf.c) was not found", "set SHADOWD_BPF_DIR to its folder"
        )
    pages = ring_bytes // os.sysconf("SC_PAGE_SIZE")
    return _run_child(python, "loader.py", str(source), str(pages), *(["probes"] if probes else []))


def _by_bytecode(file: Path | None, ring_bytes: int, probes: bool) -> tuple[dict[str, Any], list[int]]:
    if file is None:
        raise PlatformError(
            "the prebuilt capture program (shadowd.bytecode) was not found",
            "make it with make bpf-bytecode, or set SHADOWD_BPF_DIR to its folder",
        )
    more = ["probes"] if probes else []
    return _run_child(sys.executable, "bytecode.py", str(file), str(ring_bytes), str(abi.ABI_VERSION), *more)


def _run_child(python: str, script: str, *arguments: str) -> tuple[dict[str, Any], list[int]]:
    """The child's reply and descriptors. Raises PlatformError for an error, a silent end or a child that hangs."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(LOAD_SECONDS)
        command = [python, "-I", str(Path(__file__).with_name(script)), str(theirs.fileno()), *arguments]
        child = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            reply, rights = _receive(ours)
        except TimeoutError:
            raise PlatformError(
                f"loading the capture program took over {LOAD_SECONDS:.0f} s", "try again on a calmer host"
            ) from None
        finally:
            if child.poll() is None:
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
                    child.wait()
    if "error" in reply:
        log = " ".join(str(reply.get("log", "")).split())[-600:]
        said = f"; the kernel said: {log}" if log else ""
        raise PlatformError(
            f"the capture program could not be loaded: {reply['error']}{said}",
            "check that the kernel is 5.8 or later and not locked down, and that no seccomp profile forbids bpf(2)",
        )
    return reply, rights
