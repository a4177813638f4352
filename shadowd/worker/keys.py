"""Where the secrets of TLS come from, for one worker: followed key logs, and probes whose records stand in the ring.

Nothing of it is shown or stored: secrets are in the keyring until their connection has its keys, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

from shadowd.capture.keylog import KeyLogs
from shadowd.capture.tlssecrets import ProbedSecrets
from shadowd.tls.keyring import Keyring
from shadowd.tls.session import PATIENCE, TlsSession
from shadowd.worker.filters import Filter


class Keys:
    """See the module's head. ``decrypts``: a filter in force does."""

    __slots__ = ("_logs", "_probed", "decrypts", "keyring")

    def __init__(self, hold_limit: int = 0) -> None:
        """``hold_limit``: bytes that all connections may hold for want of keys; 0: the keyring's own."""
        self.keyring = Keyring()
        self.keyring.hold_limit = hold_limit or self.keyring.hold_limit
        self.decrypts = False
        self._logs = KeyLogs(self.keyring)
        self._probed = ProbedSecrets(self.keyring)

    def follow(self, filters: Iterable[Filter]) -> None:
        """These are in force."""
        wanted = list(filters)
        self.decrypts = any(chosen.decrypts for chosen in wanted)
        self._logs.follow(chosen.keylog for chosen in wanted if chosen.keylog)
        if not self.decrypts:
            self.keyring.forget()

    def told_untrusted(self, record: bytes) -> None:
        """A struct secret from the ring: a program of this host chose what is in it. Raises nothing."""
        if self.decrypts:
            self._probed.take(record)

    def take(self, now: int) -> None:
        """Records wait for keys. ``now`` is on the segments' clock: behind, what is told may be in the ring."""
        self._logs.read(now)
        self.keyring.settle(now, PATIENCE)

    def expire(self, now: int) -> None:
        """Call about once a second."""
        self._logs.read(now)
        self.keyring.expire(now)

    @property
    def waiting(self) -> list[TlsSession]:
        """Sessions that hold records."""
        return [waiter for waiter in self.keyring.waiting if isinstance(waiter, TlsSession)]

    @property
    def problems(self) -> list[str]:
        return self._logs.problems
