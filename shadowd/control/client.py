"""The client's end of the control socket: synchronous, so that the command line starts fast.

One connection, one request at a time, each with a time limit over all of it. Every failure is a ShadowdError that
says what to do.
"""

from __future__ import annotations

import grp
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shadowd.control.wire import REPLY_LIMIT, FrameDecoder, Request, WireError, result_untrusted
from shadowd.errors import ShadowdError, UsageError

DEFAULT_SOCKET = "/run/shadowd/shadowd.sock"  # also in config.py, which imports pydantic
CALL_SECONDS = 15.0  # a reload that attaches to a thousand interfaces takes seconds; a stopped daemon is told soon
START = "start the daemon: systemctl start shadowd, or shadowd run"


class Client:
    """Speaks to the daemon at ``path``; connects at the first call. ``timeout`` is in seconds a call."""

    def __init__(self, path: str | Path = DEFAULT_SOCKET, timeout: float = CALL_SECONDS) -> None:
        self.path = str(path)
        self.timeout = timeout
        self._socket: socket.socket | None = None
        self._decoder = FrameDecoder(REPLY_LIMIT)
        self._id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._decoder = FrameDecoder(REPLY_LIMIT)

    def __del__(self) -> None:
        # Client(path).call(op) is a usual way to use it
        self.close()

    def call(self, op: str, **args: Any) -> Any:
        """The result of one operation. Raises ShadowdError: the daemon's own, or why it could not be asked."""
        deadline = time.monotonic() + self.timeout
        self._id += 1
        request = Request(op, args, self._id)
        try:
            frame = request.frame()
        except WireError as error:
            raise UsageError(f"the request cannot be sent: {error}", "shorten it and use plain text") from None
        try:
            return self._exchange(frame, request.number, deadline)
        except TimeoutError:
            self.close()
            raise ShadowdError(
                f"the daemon at {self.path} did not answer within {self.timeout:g} s",
                "it may be stopped or overloaded: see what it says on stderr (as a service: journalctl -u shadowd)",
            ) from None
        except WireError as error:
            self.close()
            raise ShadowdError(
                f"what answers at {self.path} does not speak shadowd's control protocol: {error}",
                "check the path, and that both are of the same version",
            ) from None
        except OSError as error:
            self.close()
            raise ShadowdError(
                f"the connection to {self.path} failed: {error.strerror or error}", "see the daemon's log"
            ) from None

    def _exchange(self, frame: bytes, number: int, deadline: float) -> object:
        connection = self._connected(deadline)
        try:
            connection.settimeout(_left(deadline))
            connection.sendall(frame)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused: the daemon closed after saying why, which is read below
        while True:
            connection.settimeout(_left(deadline))
            data = connection.recv(65536)
            if not data:
                self.close()
                raise ShadowdError(f"the daemon at {self.path} closed the connection", "see its log")
            frames = self._decoder.feed_untrusted(data)
            if frames:
                return result_untrusted(frames[0], number)

    def _connected(self, deadline: float) -> socket.socket:
        if self._socket is not None:
            if not self._hung_up(self._socket):
                return self._socket
            self.close()  # the daemon closes connections that idle; nothing was sent yet
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(self.path)
        except BaseException as error:
            connection.close()
            raise self._explained(error) from None
        self._socket = connection
        return connection

    @staticmethod
    def _hung_up(connection: socket.socket) -> bool:
        connection.setblocking(False)  # the next call sets its own time limit
        try:
            connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True  # its end, or bytes nobody asked for

    def _explained(self, error: BaseException) -> BaseException:
        """What a failed connect means to a person."""
        match error:
            case FileNotFoundError() | NotADirectoryError():
                return ShadowdError(f"no daemon answers: {self.path} does not exist", START)
            case ConnectionRefusedError():
                return ShadowdError(f"no daemon answers at {self.path}", START)
            case PermissionError():
                return ShadowdError(f"permission denied: {self.path}", self._how_to_be_let_in())
            case BlockingIOError():  # the listener's queue is full
                return ShadowdError(f"the daemon at {self.path} is busy", "try again")
            case OSError() if not isinstance(error, TimeoutError):
                text = error.strerror or str(error)  # "AF_UNIX path too long" has no errno
                return UsageError(f"{self.path[:120]} cannot be connected to: {text}", "give the daemon's socket")
            case ValueError():
                return UsageError("the path of the socket has a NUL byte", "give the daemon's socket")
        return error

    def _how_to_be_let_in(self) -> str:
        for place in (self.path, os.path.dirname(self.path)):  # the folder may be all that is seen
            try:
                group = grp.getgrgid(os.stat(place).st_gid).gr_name
            except (OSError, KeyError):
                continue
            if group != "root":
                return f"run it with sudo, or join the group {group}: usermod -aG {group} USER, then log in again"
        return (
            'run it with sudo, or join the group shadowd, once the daemon\'s configuration has socket_group = "shadowd"'
        )


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
