"""The service manager's end of sd_notify(3): a real datagram socket, and what came in."""

from __future__ import annotations

import socket
import time
from pathlib import Path


class Manager:
    """Listens at ``path``, or in the abstract namespace for a name that starts with "@"."""

    def __init__(self, path: Path | str) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        self.messages: list[dict[str, str]] = []

    def next(self, patience: float) -> dict[str, str] | None:
        """One message; None if none comes in ``patience`` seconds."""
        self._socket.settimeout(max(patience, 0.001))
        try:
            text = self._socket.recv(1 << 16).decode()
        except TimeoutError:
            return None
        self.messages.append(dict(line.split("=", 1) for line in text.split("\n")))
        return self.messages[-1]

    def read(self) -> list[dict[str, str]]:
        """What is there."""
        found = []
        while (message := self.next(0)) is not None:
            found.append(message)
        return found

    def wait(self, name: str, value: str = "", limit: float = 60.0) -> dict[str, str]:
        """The next message that has ``name`` (and contains ``value`` there)."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            message = self.next(0.2)
            if message is not None and name in message and value in message[name]:
                return message
        raise AssertionError(f"no {name}={value} within {limit:.0f} s; told: {self.messages}")

    def close(self) -> None:
        self._socket.close()
