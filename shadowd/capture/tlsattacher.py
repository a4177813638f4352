"""The attacher: a process that puts probes on TLS libraries for the daemon, and holds them.

    python -m shadowd.capture.tlsattacher SOCKET_FD       for the daemon that started it
    shadowd attach-tls --socket PATH                      as a service of its own, for a daemon without the rights

It is apart from the daemon for its rights: it keeps CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH
(CAP_SYS_ADMIN, too, where the kernel has no uprobe_multi links), which the daemon, who reads strangers' bytes, has
given up. It reads no traffic and never sees a secret: those go from the kernel into the workers' rings. When the daemon
ends, the socket does, and so does the attacher; with it the kernel takes every probe out again, also if it is killed.

It is told the programs and maps once, in its first message (``begin``), so that later nobody can have it load others.
Then requests and answers alternate, a JSON object each: ``{"want": name, "ports": [[first, last], …], "cgroups": [id,
…] or null}``, ``{"look": name}``, ``{"forget": name}``. The answers are in ``tlsattach.py``.

Files are other people's, and are looked into without any of these rights (``tlsexamine.py``).
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import stat
import struct
import sys
import time
from typing import Any

from shadowd.capture import bytecode
from shadowd.capture.capabilities import CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, give_up_all_but, undumpable
from shadowd.capture.preflight import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, effective_capabilities, kernel_release
from shadowd.capture.tlsprobes import Probes, shown
from shadowd.capture.uprobes import MULTI_SINCE
from shadowd.errors import PlatformError, ShadowdError

#: Bytes of a message either way: some 200 libraries and problems. What is beyond is not told.
MESSAGE = 64 << 10


def rights() -> int:
    """The capabilities that are kept, as a bitmap."""
    numbers = [CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH]
    if kernel_release() < MULTI_SINCE:
        numbers.append(CAP_SYS_ADMIN)
    return sum(1 << number for number in numbers)


def _begin(channel: socket.socket) -> Probes:
    message, ancillary, _, _ = channel.recvmsg(MESSAGE, socket.CMSG_SPACE(4 * 64))
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % 4])
    begun = json.loads(message)
    return Probes(begun["programs"], dict(zip(begun["maps"], descriptors, strict=True)))


def _answer(probes: Probes, message: bytes) -> dict[str, Any]:
    try:
        request = json.loads(message)
        if "want" in request:
            cgroups = request["cgroups"]
            ports = tuple((int(first), int(last)) for first, last in request["ports"])
            return probes.want(str(request["want"]), ports, None if cgroups is None else [int(c) for c in cgroups])
        if "look" in request:
            return probes.look(str(request["look"]))
        return probes.forget(str(request["forget"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return {"error": f"no request: {type(error).__name__}"}
    except OSError as error:
        return {"error": f"the kernel refuses: {error.strerror}"}


def encoded(reply: dict[str, Any]) -> bytes:
    """As one message: what does not fit is left out."""
    while len(data := json.dumps(reply).encode()) > MESSAGE:
        reply = {name: part[: len(part) // 2] if isinstance(part, list) else part for name, part in reply.items()}
    return data


def main(argv: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's: it ends, and with it the socket
    undumpable()
    return _serve(socket.socket(fileno=int(argv[1])))


def listen(path: str) -> None:
    """A process for each daemon that comes, of our own user or root alone; it ends with its daemon. Raises
    PlatformError."""
    undumpable()
    if rights() & ~effective_capabilities() & ~(1 << CAP_DAC_READ_SEARCH):
        raise PlatformError(
            "the rights to put probes on TLS libraries are missing",
            "run it as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE (CAP_SYS_ADMIN before Linux 6.6)",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        os.umask(0o177)
        try:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    os.unlink(path)  # of the one before
            door.bind(path)
        except OSError as error:
            raise PlatformError(
                f"{path} cannot be listened on: {error.strerror}", "give another --socket PATH"
            ) from None
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
        door.listen(4)
        while True:
            channel, _ = door.accept()
            with channel:
                peer = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                if peer[1] in (0, os.geteuid()) and os.fork() == 0:
                    door.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os._exit(_serve(channel))


def _serve(channel: socket.socket) -> int:
    try:
        give_up_all_but(rights())
        probes = _begin(channel)
        reply: dict[str, Any] = {"way": probes.way}
    except (ShadowdError, bytecode.BytecodeError, OSError, ValueError, KeyError) as error:
        log = " ".join(getattr(error, "log", "").split())[-300:]
        channel.sendall(json.dumps({"error": shown(str(error)), "log": log}).encode())
        return 1
    while True:
        channel.sendall(encoded(reply))
        _wait(channel, probes)
        message = channel.recv(MESSAGE)
        if not message:
            return 0
        reply = _answer(probes, message)


def _wait(channel: socket.socket, probes: Probes) -> None:
    """Until there is a request, or the daemon has ended. Meanwhile probes go with containers and from changed files."""
    while True:
        pause = probes.look_again()
        waiting = select.poll()
        for descriptor in (channel.fileno(), probes.writes, *probes.watched()):
            waiting.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in waiting.poll(None if pause is None else pause * 1000)]
        if channel.fileno() in ready:
            return
        for descriptor in ready:
            probes.happened(descriptor, time.monotonic())


if __name__ == "__main__":
    sys.exit(main(sys.argv))
