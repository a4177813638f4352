"""Operators' key-log files, followed: what SSLKEYLOGFILE, node's ``--tls-keylog``, Envoy's ``key_log`` or a Java agent
writes goes into a keyring.

Read is when somebody waits for a key, and about once a second; nothing here waits. A regular file is read from where
it ended when it was opened (but for ``BACKLOG``: connections that begin at this moment), and asked for what is in
memory alone (``RWF_NOWAIT``): what is not is fetched by the kernel meanwhile. A FIFO is held open by us, so that
writers come and go. A file that was replaced (rotated) is read to its end, and then the new one from its beginning; one
that was cut short is read anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable

from shadowd.errors import ShadowdError, UsageError
from shadowd.tls.keyring import KeyLines, Keyring

#: Read behind the beginning at once: some 350 lines, 70 handshakes.
BACKLOG = 64 << 10
_STEP = 256 << 10
#: Of one file in one turn: 5,000 lines, 20 ms. The rest waits for the next turn.
MAX_STEPS = 4
#: Between two looks whether a file was replaced (ns); asked for more often where somebody waits.
LOOK = 1_000_000_000
LOOK_SOON = 20_000_000
#: Lines that are none, with none that is: then the file is something else, and is left alone.
MAX_BAD = 64


class KeyLog:
    """One file. ``problem``: why nothing comes of it now, "" if nothing is wrong; ``absent``: it is not there yet."""

    __slots__ = ("_at", "_fd", "_identity", "_lines", "_looked", "absent", "fifo", "keyring", "path", "problem")

    def __init__(self, path: str, keyring: Keyring) -> None:
        self.path = path
        self.keyring = keyring
        self.problem = ""
        self.absent = False
        self.fifo = False
        self._fd = -1
        self._at = 0
        self._identity: tuple[int, int] = (0, 0)
        self._looked = 0
        self._lines = KeyLines(keyring)
        self._open(anew=False)

    def read(self, now: int) -> None:
        """What is there. Raises nothing."""
        since = now - self._looked
        if since >= LOOK or (self.keyring.waiting and since >= LOOK_SOON):
            self._looked = now
            self._look(now)
        if self._fd < 0 or (self._no_key_log() and not self.fifo):
            return
        try:
            self._read(now)
        except BlockingIOError:  # a FIFO whose writer has nothing to say now; a closed one would break what it does
            return
        except OSError as error:
            self._close(f"{self.path} cannot be read: {error.strerror}")

    def close(self) -> None:
        self._close("")

    @property
    def senseless(self) -> bool:
        """There were lines, and none of a key log."""
        return self._lines.bad > 0 and not self._lines.good

    # --- the file -----------------------------------------------------------------------------------------------------

    def _open(self, anew: bool) -> None:
        """``anew``: in the place of another, so all of it is new."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except FileNotFoundError:
            self.absent = True
            self.problem = f"{self.path} is not there yet"
            return
        except OSError as error:
            self.problem = f"{self.path} cannot be read: {error.strerror}"
            return
        found = os.fstat(fd)
        self.fifo = stat.S_ISFIFO(found.st_mode)
        if not self.fifo and not stat.S_ISREG(found.st_mode):
            os.close(fd)
            self.problem = f"{self.path} is neither a file nor a FIFO"
            return
        self._fd, self._identity, self.problem, self.absent = fd, (found.st_dev, found.st_ino), "", False
        self._at = 0 if anew or self.fifo else max(0, found.st_size - BACKLOG)
        self._lines = KeyLines(self.keyring, inside=self._at > 0)

    def _close(self, problem: str) -> None:
        self.problem = problem
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _look(self, now: int) -> None:
        """Is the path's file another by now?"""
        try:
            found = os.stat(self.path)
        except OSError:
            return  # rotated, and not written anew yet; what is open is read on
        if self._fd >= 0:
            if (found.st_dev, found.st_ino) == self._identity:
                return
            if not self._no_key_log():
                self._drain(now)
            self._close("")
            self._open(anew=True)
        else:
            self._open(anew=self.absent)

    def _drain(self, now: int) -> None:
        try:
            self._read(now)
        except OSError:
            return
        self._lines.finish(now)

    def _read(self, now: int) -> None:
        for _ in range(MAX_STEPS):
            data = os.read(self._fd, _STEP) if self.fifo else self._read_cached()
            if not data:
                return
            self._at += len(data)
            self._lines.feed_untrusted(data, now)
            if self._no_key_log():  # a FIFO is read on: its writer would wait
                self.problem = f"{self.path} is no key log: none of its lines is NSS format"
                return

    def _read_cached(self) -> bytes:
        """Of a regular file what needs no waiting for a disk."""
        size = os.fstat(self._fd).st_size
        if size < self._at:  # cut short, as copytruncate does it
            self._at = 0
            self._lines = KeyLines(self.keyring)
        if size == self._at:
            return b""
        buffer = bytearray(min(_STEP, size - self._at))
        try:
            count = os.preadv(self._fd, [buffer], self._at, os.RWF_NOWAIT)
        except BlockingIOError:
            with contextlib.suppress(OSError):  # a filter of system calls may not know it
                os.posix_fadvise(self._fd, self._at, _STEP, os.POSIX_FADV_WILLNEED)
            return b""
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM):
                raise
            return os.pread(self._fd, len(buffer), self._at)  # a file system that cannot say: tmpfs, overlayfs
        return bytes(buffer[:count])

    def _no_key_log(self) -> bool:
        return self._lines.bad >= MAX_BAD and not self._lines.good


class KeyLogs:
    """Those that filters in force name, each once."""

    __slots__ = ("_keyring", "_logs", "_now")

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._logs: dict[str, KeyLog] = {}
        self._now = 0
        keyring.refresh = self._refresh

    def follow(self, paths: Iterable[str]) -> None:
        """Exactly these from now on."""
        wanted = set(paths)
        for path in [path for path in self._logs if path not in wanted]:
            self._logs.pop(path).close()
        for path in sorted(wanted - self._logs.keys()):
            self._logs[path] = KeyLog(path, self._keyring)

    def read(self, now: int) -> None:
        """What they have. Raises nothing."""
        self._now = now
        for log in self._logs.values():
            log.read(now)

    def _refresh(self) -> None:
        self.read(self._now)

    @property
    def problems(self) -> list[str]:
        return [f"tls_keylog: {log.problem}" for log in self._logs.values() if log.problem]


def check_keylog(path: str, workers: int) -> None:
    """Raises UsageError or ShadowdError for what can be no key log. One that is not there yet may come."""
    log = KeyLog(path, Keyring())
    try:
        if log.problem and not log.absent:
            raise ShadowdError(log.problem, "give a file in NSS format that the daemon may read, or a FIFO")
        if log.fifo:
            if workers > 1:
                raise UsageError(f"{path} is a FIFO, which one process alone can read", "give a file, or workers = 1")
            return  # what is in it is for who follows it
        log.read(LOOK)
        if log.senseless:
            raise UsageError(f"{path} is no key log", "give a file in NSS format, such as SSLKEYLOGFILE writes")
    finally:
        log.close()
