"""The processes behind a listening port of this host: their memory, their CPU time, and whether they are the same.

The kernel's tables of listening sockets (``/proc/net/tcp``, proc_pid_net(5)) give the socket's inode, and the open
files of each process tell who holds it: a server that forks shares one socket among all its workers, so all holders
count, and their descendants with them. Finding them reads the file table of every process (some 10 ms), so it is done
at first, when a process is gone, and every ``REDISCOVER`` samples for workers that were added; a sample between them
reads a few small files a process. It blocks: call it in a thread.

Limits. Resident memory is summed over the processes, so pages that forked workers share count more than once: the same
way each time, which is what a slope needs. A service in another network namespace (a container with its own address)
is not found: the port belongs to the container runtime's proxy there; its metrics page is the way.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys

import psutil

from shadowd.capture.builds import build_of

REDISCOVER = 30  # samples: a pool that grows is noticed within half a minute at one a second
PROCESSES = 1024  # of one service: what is beyond is not a service but a host

_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_INIT = {1}  # holds the sockets of services that are started when they are first asked (systemd.socket(5))
_PROXIES = frozenset({"docker-proxy", "rootlessport", "slirp4netns", "pasta", "conmon"})
_NONE = "cannot say whose memory to watch"


class ProcessSample:
    """All processes of a service at one moment."""

    __slots__ = ("build", "cpu_seconds", "identity", "main", "oom_kills", "pids", "rss", "started")

    def __init__(
        self,
        pids: tuple[int, ...],
        rss: int,
        cpu_seconds: float,
        started: float,
        main: int,
        identity: frozenset[tuple[int, float]],
        oom_kills: int,
        build: tuple[str, ...] = (),
    ) -> None:
        self.pids = pids  # sorted: holders of the socket and their descendants
        self.rss = rss  # bytes, summed
        self.cpu_seconds = cpu_seconds  # user and system, of ended children that were waited for too
        self.started = started  # earliest creation, Unix epoch
        self.main = main  # the holder that is no other holder's descendant; the eldest of several
        self.identity = identity  # pid and creation of main and workers: helpers that come and go are not in it
        self.oom_kills = oom_kills  # processes of this host that the kernel killed for lack of memory since its start
        self.build = build  # of main: see builds.build_of, empty where it cannot be read


def restarted(before: ProcessSample, after: ProcessSample) -> str:
    """Why two samples are not of the same processes, "" if they are: a sentence without a full stop."""
    if before.identity == after.identity:
        return ""
    killed = ", after the kernel killed a process for lack of memory" if after.oom_kills > before.oom_kills else ""
    creation = dict(before.identity)
    if dict(after.identity).get(before.main) != creation[before.main]:
        return f"restarted: process {before.main} became {after.main}{killed}"
    gone, came = len(before.identity - after.identity), len(after.identity - before.identity)
    return f"workers changed: {gone} ended, {came} began, {len(after.identity)} run now{killed}"


class ProcessProbe:
    """Watches what listens on ``port`` at ``address`` (numeric, or ``localhost``; None: at any address).

    ``problem`` is "" after a sample, else why there is none.
    """

    __slots__ = ("_address", "_build", "_processes", "_samples", "_workers", "port", "problem")

    def __init__(self, port: int, address: str | None = None) -> None:
        self.port = port
        self.problem = ""
        self._address = address
        self._samples = 0
        self._processes: dict[int, psutil.Process] = {}  # the first is main
        self._workers: set[int] = set()
        self._build: tuple[int, float, tuple[str, ...]] = (0, 0.0, ())  # pid, birth, what it was when first seen

    def sample(self) -> ProcessSample | None:
        """What the processes use now; None with ``problem`` where they are not found or may not be seen."""
        due = self._samples % REDISCOVER == 0
        self._samples += 1
        for discover in (due, True):  # whoever is gone may have been replaced
            if discover and not self._discover():
                self._processes = {}
                return None
            try:
                result = self._read()
            except (psutil.Error, OSError):
                continue
            self.problem = ""
            return result
        self._processes = {}
        self.problem = f"the processes on port {self.port} come and go"
        return None

    def _read(self) -> ProcessSample | None:
        pids, rss, cpu = [], 0, 0.0
        births: dict[int, float] = {}
        for pid, process in self._processes.items():
            with process.oneshot():
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    raise psutil.NoSuchProcess(pid)
                rss += process.memory_info().rss
                cpu += sum(process.cpu_times()[:4])  # user, system, children's user and system
                births[pid] = process.create_time()
                pids.append(pid)
        if not pids:
            raise psutil.NoSuchProcess(0)
        identity = frozenset((pid, birth) for pid, birth in births.items() if pid in self._workers)
        main = pids[0]
        if self._build[:2] != (main, births[main]):  # once: a script may be written anew while the old one still runs
            self._build = (main, births[main], build_of(main))
        began = min(births.values())
        return ProcessSample(tuple(sorted(pids)), rss, cpu, began, main, identity, _oom_kills(), self._build[2])

    def _discover(self) -> bool:
        """Find the processes; False with ``problem``."""
        try:
            inodes = self._inodes()
            if not inodes:
                return self._fail(f"nothing listens on port {self.port} of this host", "give the metrics page's URL")
            holders, hidden = _holders(inodes)
            if not holders:
                remedy = (
                    "run as root or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
                    if hidden
                    else "is it in another container? " + _METRICS
                )
                return self._fail(f"{_NONE}: no process seen holds the socket of port {self.port}", remedy)
            family = _family(holders)
        except psutil.Error as error:
            return self._fail(f"{_NONE}: {error}", "it is tried again with the next sample")
        except OSError as error:
            return self._fail(f"{_NONE}: {error.strerror}", "check that /proc is mounted and may be read")
        except ValueError:
            return self._fail(f"{_NONE}: {self._address!r} is no numeric address", "give an IP address")
        if not family:
            return self._fail(f"the processes on port {self.port} come and go", "it is tried again")
        names = {}
        for pid, process in family.items():
            with contextlib.suppress(psutil.Error):
                names[pid] = process.name()
        main = next(iter(family))
        if names.get(main) in _PROXIES:
            return self._fail(f"port {self.port} is held by {names[main]}, for a process in a container", _METRICS)
        self._processes = family
        self._workers = {pid for pid in family if pid in holders or names.get(pid) == names.get(main)}
        return True

    def _fail(self, problem: str, remedy: str) -> bool:
        self.problem = f"{problem} — {remedy}"
        return False

    def _inodes(self) -> set[str]:
        """Inodes of the listening sockets that get connections to the address: exact ones before wildcards."""
        listening: list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, str]] = []
        for table in ("tcp", "tcp6"):
            # line by line: with connections that were closed a moment ago it has MBs, which threads' arenas would keep
            with contextlib.suppress(FileNotFoundError), open(f"/proc/net/{table}") as lines:  # a kernel without IPv6
                next(lines, None)
                for line in lines:
                    fields = line.split(None, 10)
                    place, _, port = fields[1].partition(":")
                    if fields[3] == _LISTEN and int(port, 16) == self.port:
                        listening.append((_address(place), fields[9]))
        if self._address is None:
            return {inode for _, inode in listening}
        loopback = ("127.0.0.1", "::1")
        wanted = [ipaddress.ip_address(a) for a in (loopback if self._address == "localhost" else (self._address,))]
        exact = {inode for address, inode in listening if address in wanted}
        if exact or not any(_is_local(address) for address in wanted):
            return exact
        return {inode for address, inode in listening if address.is_unspecified}


_METRICS = "give the metrics page's URL"


def _address(place: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address of /proc/net/tcp: 32-bit words in the host's order, in hexadecimal. Mapped IPv4 is IPv4."""
    words = [int(place[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(place), 8)]
    address = ipaddress.ip_address(b"".join(words))
    return getattr(address, "ipv4_mapped", None) or address


def _is_local(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether connections to it end at this host."""
    if address.is_loopback or address.is_unspecified:
        return True
    families = (socket.AF_INET, socket.AF_INET6)
    return any(
        ipaddress.ip_address(own.address.partition("%")[0]) == address
        for addresses in psutil.net_if_addrs().values()
        for own in addresses
        if own.family in families
    )


def _holders(inodes: set[str]) -> tuple[set[int], bool]:
    """Processes that have one of the sockets open, init aside, and whether some processes could not be looked into."""
    links = {f"socket:[{inode}]" for inode in inodes}
    holders: set[int] = set()
    hidden = False
    for pid in psutil.pids():
        if pid in _INIT:
            continue
        try:
            with os.scandir(f"/proc/{pid}/fd") as files:
                if any(_link(file.path) in links for file in files):
                    holders.add(pid)
        except PermissionError:
            hidden = True
        except OSError:  # it ended
            continue
    return holders, hidden


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:  # closed meanwhile
        return ""


def _family(holders: set[int]) -> dict[int, psutil.Process]:
    """The holders and their descendants, main first; those that end meanwhile are left out."""
    alive: dict[int, psutil.Process] = {}
    for pid in holders:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if not (process.name() == "systemd" and len(holders) > 1):  # a user's manager holds sockets like init
                alive[pid] = process
    tops = []
    for process in alive.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            if not any(parent.pid in alive for parent in process.parents()):
                tops.append((process.create_time(), process.pid))
    family: dict[int, psutil.Process] = {}
    for _, pid in sorted(tops):
        family.setdefault(pid, alive[pid])
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in alive[pid].children(recursive=True)[:PROCESSES]:
                family.setdefault(child.pid, child)
    return {pid: process for pid, process in family.items() if process.is_running() and _status(process) != "zombie"}


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return "zombie"


def _oom_kills() -> int:
    """Since the host's start, of any memory cgroup (``oom_kill`` of /proc/vmstat, Linux 4.13); 0 where it is hidden."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError):
        return 0
