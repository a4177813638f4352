"""What live tests share: services that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.netns.lab import Server
from tests.netns.shop import Made, answered


@pytest.fixture
def servers() -> Iterator[Callable[[Made], Server]]:
    made: list[Server] = []

    def start(fields: Made) -> Server:
        """A service whose answer to /orders/N is ``fields(N)`` as JSON."""
        made.append(Server(answer=lambda number, head, body: answered(fields, head)))
        return made[-1]

    yield start
    for server in made:
        server.close()
