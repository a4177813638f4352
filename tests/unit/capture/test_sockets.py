"""What the kernel's socket diagnosis is asked for."""

from __future__ import annotations

import contextlib
import socket

from shadowd.capture.sockets import established


def test_of_many_connections_those_to_one_port_are_told() -> None:
    """A host of a hundred thousand connections must not be listed in Python for each shadow connection."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        clients = []
        for _ in range(20):
            clients.append(stack.enter_context(socket.create_connection(server.getsockname())))
            stack.enter_context(server.accept()[0])
        local = clients[7].getsockname()
        found = list(established(local[1]))
        assert [(one.port, one.remote, one.remote_port) for one in found] == [(server.getsockname()[1], *local)]
        assert not list(established(1))
