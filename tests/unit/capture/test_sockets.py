"""What the kernel's socket diagnosis is asked for."""

from __future__ import annotations

import contextlib
import socket

import pytest
from pyroute2 import DiagSocket
from pyroute2.netlink.exceptions import NetlinkError

from shadowd.capture.sockets import established, listening
from shadowd.errors import PlatformError


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


@pytest.mark.parametrize(
    "answer", [[{}], [{"header": {"error": None}}], NetlinkError(2, "no such module"), OSError(93, "x")]
)
def test_a_kernel_that_lists_no_sockets_is_one_line(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tcp_diag some kernels answer with something else (5.10 and 6.1 in a guest without modules)."""

    def answers(*_: object, **__: object) -> list[dict[str, object]]:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    monkeypatch.setattr(DiagSocket, "get_sock_stats", answers)
    with pytest.raises(PlatformError, match="does not list sockets"):
        list(established(80))
    with pytest.raises(PlatformError):
        listening()
