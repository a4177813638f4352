"""A service as a process of its own, so that it can be restarted: ``Service`` here, the process below.

Its answer says what it was asked, what time it is, and a sum; ``wrong`` makes it another release, whose sum is wrong
for a quarter of the paths and which fails for a tenth.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import zlib

from tests.conftest import ROOT
from tests.netns.lab import HttpClient, Server, free_port, ok, wait_for

JSON = b"Content-Type: application/json\r\n"


def answer(path: str, wrong: bool) -> bytes:
    number = zlib.crc32(path.encode())
    if wrong and number % 10 == 0:
        return ok(b'{"error":"stock lookup failed"}', b"500 Oops", JSON)
    total = number + (wrong and number % 4 == 1)
    return ok(json.dumps({"path": path, "total": total, "at": int(time.time())}).encode(), headers=JSON)


def right(found: bytes, path: str) -> bool:
    """Whether production answered so."""
    said = json.loads(found.partition(b"\r\n\r\n")[2])
    return bool(said["path"] == path and said["total"] == zlib.crc32(path.encode()))


class Service:
    """On a port that it keeps."""

    def __init__(self, wrong: bool = False) -> None:
        self.port = free_port()
        self._wrong = wrong
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Service:
        command = [sys.executable, "-m", "tests.faults.service", str(self.port), "wrong" if self._wrong else ""]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=ROOT)
        wait_for("the service answers", self._answers)
        return self

    def _answers(self) -> bool:
        try:
            return HttpClient("127.0.0.1", self.port).get("/ready").startswith(b"HTTP/1.1 ")
        except (OSError, AssertionError):
            return False

    def restart(self, away: float = 1.0) -> None:
        """Killed, with what it had in hand, and after ``away`` seconds begun again."""
        self.close()
        time.sleep(away)
        self.start()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


if __name__ == "__main__":
    of_wrong = sys.argv[2] == "wrong"
    Server(port=int(sys.argv[1]), answer=lambda number, head, body: answer(head.split(b" ", 2)[1].decode(), of_wrong))
    threading.Event().wait()
