"""A secret as it leaves the ring, and whose it is.

A Go program tells the client random with each secret. A C library has it somewhere behind the function's first
argument, and the kernel copies what lies there (``abi.h``: ``random``). What of it is the client random is not guessed:
it is what the ClientHello of a captured connection had. That teaches where this library keeps it, so that later secrets
are told with theirs at once; a place that stops fitting is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shadowd.capture import abi

#: OpenSSL tells of updated keys, too (CLIENT_TRAFFIC_SECRET_N): they follow from the ones before, and are not here.
LABELS = (
    b"CLIENT_RANDOM",
    b"CLIENT_EARLY_TRAFFIC_SECRET",
    b"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    b"SERVER_HANDSHAKE_TRAFFIC_SECRET",
    b"CLIENT_TRAFFIC_SECRET_0",
    b"SERVER_TRAFFIC_SECRET_0",
    b"EXPORTER_SECRET",
    b"EARLY_EXPORTER_SECRET",
)
#: Libraries whose place is remembered; a host has some ten, and what is beyond is searched each time (2 us).
MAX_LEARNED = 1024
#: Structures keep words at multiples of their size; 4 for what is packed closer.
_STEP = 4


class SecretError(Exception):
    """The function was called with something else: no secret of TLS."""


class Secret:
    """``time`` in ns, monotonic; ``context``: the library's own address of the connection. Never shown: it has no repr
    of its contents."""

    __slots__ = ("cgroup", "context", "exact", "label", "library", "pid", "secret", "time", "window")

    def __init__(self, record: bytes) -> None:
        """Of a struct secret. Raises SecretError."""
        if len(record) != abi.SECRET.size:
            raise SecretError("it has another length")
        (
            self.time, self.cgroup, self.pid, _, self.library, length, label_length, _, exact, _, _, self.context,
            label, secret, window,
        ) = abi.SECRET.unpack(record)  # fmt: skip
        self.label: bytes = label[:label_length]
        if self.label not in LABELS or not 0 < length <= abi.TLS_SECRET:
            raise SecretError("it has no label of a secret")
        self.secret: bytes = secret[:length]
        self.window: bytes = window
        self.exact = bool(exact)

    def __repr__(self) -> str:
        return f"<Secret of process {self.pid}>"


def _random(found: bytes) -> bool:
    """A client chooses its random: one of zeros would be found wherever a structure has zeros. Of 32 random bytes fewer
    than 16 are different once in 10^14."""
    return len(set(found)) >= 16


class Whose:
    """The client random of each secret, by what captured ClientHellos had. One for a worker."""

    __slots__ = ("_learned",)

    def __init__(self) -> None:
        self._learned: dict[int, int] = {}  # library -> offset in the window

    def random(self, secret: Secret, wanted: Callable[[bytes], bool]) -> bytes | None:
        """Its client random; ``wanted`` says whether a ClientHello had one whose connection is read. None: no such
        connection, and nothing is known of this library yet."""
        window = secret.window
        if secret.exact:
            return window[: abi.TLS_RANDOM]
        learned = self._learned.get(secret.library, -1)
        if learned >= 0:
            found = window[learned : learned + abi.TLS_RANDOM]
            if wanted(found) and _random(found):
                return found
        for at in range(0, len(window) - abi.TLS_RANDOM + 1, _STEP):
            found = window[at : at + abi.TLS_RANDOM]
            if wanted(found) and _random(found):
                if len(self._learned) < MAX_LEARNED or secret.library in self._learned:
                    self._learned[secret.library] = at
                return found
        # as this library has kept it so far, for a ClientHello that is not captured yet
        found = window[learned : learned + abi.TLS_RANDOM]
        return found if learned >= 0 and _random(found) else None

    def forget(self, library: int) -> None:
        """Its number is another one's now."""
        self._learned.pop(library, None)


class Keyring(Protocol):
    """Where secrets go: ``shadowd.tls.keyring`` has it."""

    def add(self, client_random: bytes, label: bytes, secret: bytes, now: int, /) -> object: ...

    def wanted(self, client_random: bytes, /) -> bool: ...


class ProbedSecrets:
    """From a worker's ring into its keyring: give ``take`` to ``Intake.on_secret``."""

    __slots__ = ("_keyring", "_whose", "others", "taken", "unmatched")

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._whose = Whose()
        self.taken = 0
        self.unmatched = 0  # of connections that this worker does not read
        self.others = 0  # what is no secret that opens records

    def take(self, record: bytes) -> None:
        """Of a struct secret. Raises nothing."""
        try:
            secret = Secret(record)
        except SecretError:
            self.others += 1
            return
        random = self._whose.random(secret, self._keyring.wanted)
        if random is None:
            self.unmatched += 1
            return
        self.taken += 1
        self._keyring.add(random, secret.label, secret.secret, secret.time)
