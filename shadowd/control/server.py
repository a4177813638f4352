"""The daemon's end of the control socket.

One task a client, each request answered before the next is read: what a client sends ahead waits in its own socket
buffer, so nothing queues up here. Who may speak is decided by the kernel's word (SO_PEERCRED): root, the daemon's own
user, and members of the socket's group. A client that is silent, slow or malformed loses its connection, alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import logging
import os
import pwd
import socket
import stat
import struct
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import trio

from shadowd.control.wire import (
    REQUEST_LIMIT,
    FrameDecoder,
    Request,
    WireError,
    encode,
    error_reply,
    ok_reply,
    request_untrusted,
)
from shadowd.errors import ShadowdError, UsageError

Handler = Callable[[str, dict[str, Any]], Awaitable[object]]

MAX_CLIENTS = 64  # people, scripts and a metrics reader; each costs a task and at most a frame of memory
BACKLOG = 64
IDLE_SECONDS = 30.0  # from the last reply to the next whole request: a client asks and goes
WRITE_SECONDS = 10.0  # a reply is at most 1 MB through a local socket
READ_BYTES = 65536
_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13; not in the socket module
_PATH_LIMIT = 107  # sun_path of unix(7), without the NUL

log = logging.getLogger("shadowd.control")


async def serve_control(
    path: str | Path,
    group: str | None,
    handler: Handler,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. ``started`` is called once clients can connect.

    ``handler`` is given op and args and returns the result; a ShadowdError of it goes to the client. Raises
    ShadowdError if another daemon serves ``path`` or it cannot be made, UsageError for a group that does not exist.
    """
    with _listening(Path(path), group) as listener:
        gid = os.stat(path).st_gid
        door = _Door(gid, handler)
        async with trio.open_nursery() as nursery:
            listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
            task_status.started()
            await trio.serve_listeners(door.serve, listeners, handler_nursery=nursery)


@contextlib.contextmanager
def _listening(path: Path, group: str | None) -> Iterator[socket.socket]:
    """A listening socket at ``path``, mode 0660, and the lock that says that it is ours; both go at the end."""
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise UsageError(f"{path} is too long for a socket", f"use at most {_PATH_LIMIT} bytes")
    gid = group_id(group)
    with contextlib.ExitStack() as ends:
        listener = ends.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            ends.callback(os.close, _locked(path))
            _make_room(path)
            # Linux makes the file with the mode of the socket's own inode (net/unix/af_unix.c, unix_bind_bsd), so
            # there is no moment at which others could connect
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(str(path))
            ours = os.stat(path)
            ends.callback(_unlink_ours, path, ours)
            os.chown(path, -1, gid)
            os.chmod(path, 0o660)
            listener.listen(BACKLOG)
        except OSError as error:
            what = f"the control socket {path} cannot be made: {error.strerror or error}"
            raise ShadowdError(what, "run as root, or choose another with --socket") from None
        yield listener


def group_id(group: str | None) -> int:
    """Of a group by name or number; None is this process's own. Raises UsageError."""
    if group is None:
        return os.getegid()
    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(
            f"socket_group: there is no group {group}", f"create it: groupadd --system {group}; or name another"
        ) from None


def _locked(path: Path) -> int:
    """Hold ``path.lock`` for the daemon's life: two daemons that start together cannot both think the socket stale."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise _another(path, pid if pid.isdigit() else "unknown") from None
    except OSError:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def serving_pid(path: str | Path) -> int | None:
    """The daemon that serves ``path`` (0 where its number cannot be read), None if there is none."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ShadowdError(f"{path}.lock: {error.strerror}", "run as root or as the daemon's user") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        return int(pid) if pid.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def _another(path: Path, pid: str) -> ShadowdError:
    return ShadowdError(
        f"another shadowd is running (pid {pid}) and answers at {path}",
        "stop it (systemctl stop shadowd), or choose another --socket and --state-dir",
    )


def _make_room(path: Path) -> None:
    """Remove a socket that nobody answers on; refuse anything else."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise UsageError(f"{path} exists and is not a socket", "remove it, or choose another with --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # its queue is full: it lives
            raise _another(path, "unknown") from None
        raise _another(path, str(_credentials(probe)[0]))


def _unlink_ours(path: Path, ours: os.stat_result) -> None:
    with contextlib.suppress(OSError):
        there = os.lstat(path)
        if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
            path.unlink()


def _credentials(connection: socket.socket | trio.socket.SocketType) -> tuple[int, int, int]:
    """(pid, uid, gid) of the peer as the kernel knows it (unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, gid = struct.unpack("iII", raw)
    return pid, uid, gid


def _peer_groups(connection: trio.socket.SocketType) -> set[int] | None:
    """The peer's supplementary groups; None if the kernel has no word for it, or too many to hand over at once."""
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    except OSError:
        return None
    return set(struct.unpack(f"{len(raw) // 4}I", raw))


def _named_groups(uid: int) -> set[int]:
    """The groups of a user by the group database. May ask the network: call it in a thread."""
    try:
        user = pwd.getpwuid(uid)
        return set(os.getgrouplist(user.pw_name, user.pw_gid))
    except (KeyError, OSError):
        return set()


class _Door:
    """Lets clients in and serves them."""

    def __init__(self, gid: int, handler: Handler) -> None:
        self._gid = gid
        self._handler = handler
        self._clients = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """One client, from accept to close. Nothing of it reaches the others: only cancellation leaves here."""
        self._clients += 1
        try:
            async with stream:
                await self._serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError):
            pass  # the client is gone, or does not read: its connection is closed and there is nobody to tell
        finally:
            self._clients -= 1

    async def _serve(self, stream: trio.SocketStream) -> None:
        if self._clients > MAX_CLIENTS:
            await _send(stream, error_reply(0, ShadowdError(f"{MAX_CLIENTS} clients are connected", "try again later")))
            return
        pid, uid, gid = _credentials(stream.socket)
        if not await self._is_allowed(stream, uid, gid):
            log.warning("control: refused uid %d (pid %d): not root and not in group %d", uid, pid, self._gid)
            refusal = ShadowdError(
                f"permission denied for uid {uid}", f"run it with sudo, or join the group {_group_name(self._gid)}"
            )
            await _send(stream, error_reply(0, refusal))
            return
        decoder = FrameDecoder(REQUEST_LIMIT)
        while True:
            requests = await _receive(stream, decoder)
            if requests is None:
                return
            for message in requests:
                if not await self._answer(stream, message):
                    return

    async def _is_allowed(self, stream: trio.SocketStream, uid: int, gid: int) -> bool:
        if uid in (0, os.geteuid()) or gid == self._gid:
            return True
        groups = _peer_groups(stream.socket)
        if groups is None:
            groups = await trio.to_thread.run_sync(_named_groups, uid, abandon_on_cancel=True)
        return self._gid in groups

    async def _answer(self, stream: trio.SocketStream, message: dict[str, Any]) -> bool:
        """Answer one frame; False when the connection must end."""
        try:
            request = request_untrusted(message)
        except WireError as error:
            await _send(stream, error_reply(0, _malformed(error)))
            return False
        except ShadowdError as error:
            await _send(stream, error_reply(0, error))
            return False
        frame, goes_on = await self._reply(request)
        await _write(stream, frame)
        return goes_on

    async def _reply(self, request: Request) -> tuple[bytes, bool]:
        """The reply's frame, and whether the connection goes on."""
        goes_on = True
        try:
            return encode(ok_reply(request.number, await self._handler(request.op, request.args))), goes_on
        except ShadowdError as error:
            told = error
        except WireError as error:
            log.error("control: the answer to %.64r cannot be sent: %s", request.op, error)
            told = ShadowdError(f"the answer cannot be sent: {error}", "ask for one filter")
        except Exception as error:  # a fault of ours: told once, this client loses its connection, the daemon goes on
            log.error("control: %.64r failed: %s", request.op, _where(error))
            told = ShadowdError(f"the daemon failed to do {request.op[:64]}: {type(error).__name__}", "see its log")
            goes_on = False
        return encode(error_reply(request.number, told)), goes_on


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _where(error: Exception) -> str:
    """One line: what, and the innermost place."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}{place}"


def _malformed(error: WireError) -> UsageError:
    return UsageError(f"malformed request: {error}", "use shadowctl of the daemon's version")


async def _receive(stream: trio.SocketStream, decoder: FrameDecoder) -> list[dict[str, Any]] | None:
    """The next requests, at least one; None at the end of the connection, of patience, or of sense."""
    with trio.move_on_after(IDLE_SECONDS):
        while True:
            data = await stream.receive_some(READ_BYTES)
            if not data:
                return None
            try:
                requests = decoder.feed_untrusted(bytes(data))
            except WireError as error:
                await _send(stream, error_reply(0, _malformed(error)))
                return None
            if requests:
                return requests
    return None


async def _send(stream: trio.SocketStream, message: dict[str, Any]) -> None:
    await _write(stream, encode(message))


async def _write(stream: trio.SocketStream, frame: bytes) -> None:
    """Raises TooSlowError when the client does not read."""
    with trio.fail_after(WRITE_SECONDS):
        await stream.send_all(frame)
