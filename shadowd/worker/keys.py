"""Where the secrets of TLS come from, for one worker: followed key logs, and probes whose records stand in the ring.

Nothing of it is shown or stored: secrets are in the keyring until their connection has its keys, and nowhere else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from shadowd.capture.keylog import KeyLogs
from shadowd.capture.tlssecrets import Secret, SecretError, Whose
from shadowd.tls.keyring import Keyring
from shadowd.tls.session import PATIENCE, TlsSession
from shadowd.worker.filters import Filter

#: Secrets whose ClientHello is not captured yet: of clients on this host, which tell one before they say hello. More
#: than a turn brings; the oldest goes, and its connection has no key.
MAX_UNPLACED = 256


class _Known:
    """The client randoms of connections that are read."""

    __slots__ = ("_keyring",)

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def __contains__(self, client_random: object) -> bool:
        return isinstance(client_random, bytes) and self._keyring.wanted(client_random)


class Keys:
    """See the module's head. ``decrypts``: a filter in force does; ``refused``: records of the ring that were none."""

    __slots__ = ("_known", "_logs", "_unplaced", "_whose", "decrypts", "keyring", "refused")

    def __init__(self) -> None:
        self.keyring = Keyring()
        self.decrypts = False
        self.refused = 0
        self._logs = KeyLogs(self.keyring)
        self._known = _Known(self.keyring)
        self._whose = Whose()
        self._unplaced: deque[Secret] = deque(maxlen=MAX_UNPLACED)

    def follow(self, filters: Iterable[Filter]) -> None:
        """These are in force."""
        wanted = list(filters)
        self.decrypts = any(chosen.decrypts for chosen in wanted)
        self._logs.follow(chosen.keylog for chosen in wanted if chosen.keylog)
        if not self.decrypts:
            self._unplaced.clear()
            self.keyring.forget()

    def told_untrusted(self, record: bytes) -> None:
        """A struct secret from the ring: a program of this host chose what is in it. Raises nothing."""
        if not self.decrypts:
            return
        try:
            secret = Secret(record)
        except SecretError:
            self.refused += 1
            return
        if not self._place(secret):
            self._unplaced.append(secret)

    def _place(self, secret: Secret) -> bool:
        found = self._whose.random(secret, self._known)
        if found is None:
            return False
        self.keyring.add(found, secret.label, secret.secret, secret.time)
        return True

    def take(self, now: int) -> None:
        """Records wait for keys. ``now`` is on the segments' clock: behind, what is told may be in the ring."""
        if self._unplaced:
            self._unplaced = deque((one for one in self._unplaced if not self._place(one)), maxlen=MAX_UNPLACED)
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
