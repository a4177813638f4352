"""A secret as it leaves the ring, and whose it is.

A Go program tells the client random with each secret. A C library has it somewhere behind the function's first
argument, and the kernel copies what lies there (``abi.h``: ``random``). What of it is the client random is not guessed:
it is what the ClientHello of a captured connection had. That teaches where this library keeps it, so that later secrets
are told with theirs at once; a place that stops fitting is forgotten.
"""

from __future__ import annotations

from collections.abc import Container

from shadowd.capture import abi

#: OpenSSL tells of updated keys, too (CLIENT_TRAFFIC_SECRET_N): they follow from the ones before, and are not here.
LABELS = frozenset(
    {
        b"CLIENT_RANDOM",
        b"CLIENT_EARLY_TRAFFIC_SECRET",
        b"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        b"SERVER_HANDSHAKE_TRAFFIC_SECRET",
        b"CLIENT_TRAFFIC_SECRET_0",
        b"SERVER_TRAFFIC_SECRET_0",
        b"EXPORTER_SECRET",
        b"EARLY_EXPORTER_SECRET",
    }
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


class Whose:
    """The client random of each secret, by what captured ClientHellos had. One for a worker."""

    __slots__ = ("_learned",)

    def __init__(self) -> None:
        self._learned: dict[int, int] = {}  # library -> offset in the window

    def random(self, secret: Secret, known: Container[bytes]) -> bytes | None:
        """Its client random; ``known`` are those of ClientHellos whose connections are read. None: of none of them, as
        far as can be told now (the ClientHello may still come, if it is this host's own: ask again)."""
        window = secret.window
        if secret.exact:
            return window[: abi.TLS_RANDOM]
        learned = self._learned.get(secret.library, -1)
        if learned >= 0:
            found = window[learned : learned + abi.TLS_RANDOM]
            if found in known:
                return found
        for at in range(0, len(window) - abi.TLS_RANDOM + 1, _STEP):
            found = window[at : at + abi.TLS_RANDOM]
            if found in known:
                if len(self._learned) < MAX_LEARNED or secret.library in self._learned:
                    self._learned[secret.library] = at
                return found
        # as this library has kept it so far, for a ClientHello that is not captured yet
        return window[learned : learned + abi.TLS_RANDOM] if learned >= 0 else None

    def forget(self, library: int) -> None:
        """Its number is another one's now."""
        self._learned.pop(library, None)
