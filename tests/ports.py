"""Ports for tests that run at once: one that stays free until it is listened on, one that stays refused."""

from __future__ import annotations

import random
import socket

_BELOW_EPHEMERAL = range(12_000, 32_000)  # Linux gives connections 32768–60999 (net.ipv4.ip_local_port_range)
_DICE = random.SystemRandom()  # no test's seed makes two workers throw alike
_held: list[socket.socket] = []


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, and that the kernel gives to no connection meanwhile."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family) as probe:
            try:
                probe.bind((host, _DICE.choice(_BELOW_EPHEMERAL)))
            except OSError:
                continue
            return int(probe.getsockname()[1])


def refusing_port() -> int:
    """A port of loopback that refuses as long as the tests run: bound, so that nobody gets it, and not listening."""
    _held.append(socket.socket())
    _held[-1].bind(("127.0.0.1", 0))
    return int(_held[-1].getsockname()[1])
