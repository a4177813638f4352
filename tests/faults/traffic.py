"""Production while something fails: clients that never stop asking, and that accept nothing but the right answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from shadowd.capture import bpf
from shadowd.capture.preflight import find_cgroup2
from tests.netns.lab import HttpClient, Server, ok, wait_for


def echo(number: int, head: bytes, body: bytes) -> bytes:
    """Production's answer: the path it was asked for, so that a wrong or spliced answer shows."""
    return ok(head.split(b" ", 2)[1] + body[:20])


def echoed(answer: bytes, path: str) -> bool:
    return answer.endswith(b"\r\n\r\n" + path.encode())


class Traffic:
    """``connections`` keep-alive clients of production, each asking again as soon as it is answered.

    ``pause`` is the time between two requests of one client, in seconds; ``answered`` counts right answers, ``errors``
    holds whatever a client saw that was none. ``patient`` clients, of a production that is restarted, connect again
    when they are cut off, and ``cuts`` counts how often.
    """

    def __init__(
        self, port: int, connections: int = 3, pause: float = 0.003,
        right: Callable[[bytes, str], bool] = echoed, patient: bool = False,
    ) -> None:  # fmt: skip
        self.port = port
        self.errors: list[str] = []
        self.cuts = 0
        self._right = right
        self._patient = patient
        self._counts = [0] * connections
        self._pause = pause
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(index,), daemon=True) for index in range(connections)]

    @property
    def answered(self) -> int:
        return sum(self._counts)

    def _ask(self, index: int) -> None:
        while not self._over.is_set():
            try:
                self._ask_on_one_connection(index)
            except (OSError, AssertionError) as error:
                if not self._patient:
                    self.errors.append(f"client {index}: {error!r}")
                    return
                self.cuts += 1
                self._over.wait(0.05)

    def _ask_on_one_connection(self, index: int) -> None:
        client = HttpClient("127.0.0.1", self.port)
        while not self._over.wait(self._pause):
            path = f"/{index}/{self._counts[index]}"
            if not self._right(client.get(path), path):
                self.errors.append(f"{path}: another answer")
            self._counts[index] += 1
        client.close()

    def more(self, count: int) -> None:
        """Wait for ``count`` more right answers."""
        target = self.answered + count
        wait_for(f"{count} more answers of production", lambda: self.answered >= target or self.errors)
        assert self.errors == []

    def start(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> int:
        """End the clients; production must have seen no error. Returns how many requests were answered."""
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        assert self.errors == []
        return self.answered


@contextlib.contextmanager
def production_under_load(connections: int = 3, pause: float = 0.003) -> Iterator[tuple[Server, Traffic]]:
    """A production service and its clients; at the end production saw no error."""
    server = Server(answer=echo)
    traffic = Traffic(server.port, connections, pause).start()
    try:
        traffic.more(connections)
        yield server, traffic
        traffic.stop()
    finally:
        traffic._over.set()
        server.close()


def programs_of(pid: int) -> set[int]:
    """Ids of the BPF programs that a process holds (fdinfo); ids are not given twice."""
    found = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found |= {int(line.split()[1]) for line in info.read_text().splitlines() if line.startswith("prog_id:")}
    return found


def attached_to_the_host() -> set[int]:
    """Ids of the programs attached to the root cgroup, everybody's."""
    import os

    root = find_cgroup2()
    assert root is not None
    cgroup = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        kinds = (bpf.ATTACH_CGROUP_INGRESS, bpf.ATTACH_CGROUP_EGRESS)
        return {number for kind in kinds for number in bpf.attached_programs(cgroup, kind)}
    finally:
        os.close(cgroup)
