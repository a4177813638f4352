"""The secrets of handshakes, by client random, until a connection takes them (pure: time is an argument).

Whoever learns secrets ``add``s them: a probe, a key-log file. Sessions ``claim`` theirs when they see a ClientHello,
and ``release`` them when they have what they need. What nobody claims is forgotten after ``ttl``. Of two different
secrets under one label the first counts: a file that somebody else appends to cannot change what was true.

Nothing here is ever shown: no ``repr`` has a secret, and errors do not repeat what was read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Protocol

from shadowd.tls.schedule import MAX_SECRET

#: NSS key log labels that are used (draft-ietf-tls-keylogfile). The longest line has 31 + 1 + 64 + 1 + 96 characters.
LABELS = frozenset(
    {
        "CLIENT_RANDOM",
        "CLIENT_EARLY_TRAFFIC_SECRET",
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
    }
)
MAX_LINE = 256
#: Unmatched secrets: 16,384 handshakes are 80 s at 200/s, 15 MB of 1.3. The oldest goes, and its connection has no key.
MAX_ENTRIES = 16_384
#: How long a secret waits for its ClientHello, which was sent before it: the ring is seconds behind at most, and a
#: handshake is given up after a minute by common servers (nginx client_header_timeout 60 s).
TTL = 60_000_000_000

#: What all sessions may hold for want of keys: an eighth of a worker's budget of 64 MB, so that connections whose keys
#: nobody tells leave the others room. Beyond it who would hold more is given up.
HOLD_LIMIT = 8 << 20

_LINE = re.compile(rb"([A-Z0-9_]{1,48}) ([0-9a-fA-F]{64}) ((?:[0-9a-fA-F]{2}){1,64})[ \t]*\r?")
_RSA = re.compile(rb"RSA [0-9a-fA-F]{16} [0-9a-fA-F]{96}[ \t]*\r?")  # what very old NSS wrote


class KeyLineError(Exception):
    """A line that is no key log's. Does not repeat it."""


class Waiter(Protocol):
    """A session that holds records for want of a key."""

    def retry(self, now: int) -> None:
        """Secrets of its handshake have come."""

    def give_up(self, now: int) -> None:
        """It has waited for long enough."""


class Secrets:
    """Those of one handshake, by label."""

    __slots__ = ("_by_label", "since", "waiters")

    def __init__(self, since: int) -> None:
        self._by_label: dict[str, bytes] = {}
        self.since = since
        self.waiters: list[Waiter] = []  # who claimed them: two where a proxy passes TLS through on this host

    def get(self, label: str) -> bytes | None:
        return self._by_label.get(label)

    def put(self, label: str, secret: bytes) -> None:
        self._by_label.setdefault(label, secret)


class Keyring:
    """Bounded by ``limit`` handshakes that nobody claimed (claims: by the flows there may be). ``whole``: all secrets
    there will ever be are here already, and nobody needs to wait (capture files)."""

    __slots__ = (
        "_claimed", "_fresh", "_limit", "_loose", "_ttl", "_waiting", "added", "forgotten", "held", "hold_limit",
        "refresh", "whole",
    )  # fmt: skip

    def __init__(self, limit: int = MAX_ENTRIES, ttl: int = TTL, whole: bool = False) -> None:
        self._limit = limit
        self._ttl = ttl
        self.whole = whole
        self._loose: dict[bytes, Secrets] = {}  # in the order of their first secret
        self._claimed: dict[bytes, Secrets] = {}
        self._fresh: dict[Secrets, None] = {}  # claimed, and something came since `settle`
        self._waiting: dict[Waiter, int] = {}  # since when, in that order
        self.held = 0  # bytes that sessions hold for want of keys
        self.hold_limit = HOLD_LIMIT
        self.added = 0  # secrets
        self.forgotten = 0  # handshakes that nobody claimed
        #: Reads what a source has right now, without waiting; asked before somebody gives up for want of a key.
        self.refresh: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._loose) + len(self._claimed)

    def __repr__(self) -> str:
        return f"<Keyring {len(self._loose)} loose, {len(self._claimed)} claimed>"

    def add(self, client_random: bytes, label: bytes | str, secret: bytes, now: int) -> bool:
        """A secret under its NSS label. False if it is none that is used."""
        name = label if isinstance(label, str) else label.decode("latin-1")
        if name not in LABELS or len(client_random) != 32 or not 0 < len(secret) <= MAX_SECRET:
            return False
        self.added += 1
        found = self._claimed.get(client_random)
        if found is not None:
            self._fresh[found] = None
        else:
            found = self._loose.get(client_random)
            if found is None:
                if len(self._loose) >= self._limit:
                    del self._loose[next(iter(self._loose))]
                    self.forgotten += 1
                found = self._loose[client_random] = Secrets(now)
        found.put(name, secret)
        return True

    def wanted(self, client_random: bytes) -> bool:
        """A ClientHello with it was seen, and its connection is not done with its secrets."""
        return client_random in self._claimed

    def claim(self, client_random: bytes, waiter: Waiter, now: int) -> Secrets:
        """What is known and what will come of this handshake, until ``release``."""
        found = self._claimed.get(client_random)
        if found is None:
            found = self._loose.pop(client_random) if client_random in self._loose else Secrets(now)
            self._claimed[client_random] = found
        found.waiters.append(waiter)
        return found

    def release(self, client_random: bytes, waiter: Waiter) -> None:
        """The session needs no more of them."""
        self._waiting.pop(waiter, None)
        found = self._claimed.get(client_random)
        if found is not None and waiter in found.waiters:
            found.waiters.remove(waiter)
            if not found.waiters:
                del self._claimed[client_random]
                self._fresh.pop(found, None)

    def wait(self, waiter: Waiter, since: int) -> None:
        """It holds records since then."""
        self._waiting.setdefault(waiter, since)

    def go_on(self, waiter: Waiter) -> None:
        """It holds none any more."""
        self._waiting.pop(waiter, None)

    @property
    def waiting(self) -> Iterable[Waiter]:
        """Who holds records."""
        return self._waiting

    def settle(self, now: int, patience: int) -> None:
        """Give what has come to those who wait for it, and end the waiting of who has waited for ``patience`` ns. Call
        once a turn while somebody waits."""
        while self._fresh:
            secrets = next(iter(self._fresh))
            del self._fresh[secrets]
            for waiter in list(secrets.waiters):
                waiter.retry(now)
        for _ in range(len(self._waiting)):  # who waits on stands behind the others
            if not self._waiting:
                break
            waiter, since = next(iter(self._waiting.items()))
            if now - since < patience:
                break
            del self._waiting[waiter]
            waiter.give_up(now)

    def forget(self) -> None:
        """What nobody claimed: nobody will."""
        self.forgotten += len(self._loose)
        self._loose.clear()

    def expire(self, now: int) -> None:
        """Forget what nobody claimed. Call about once a second."""
        while self._loose:
            oldest = next(iter(self._loose))
            if now - self._loose[oldest].since < self._ttl:
                break
            del self._loose[oldest]
            self.forgotten += 1


def parse_line_untrusted(line: bytes) -> tuple[bytes, str, bytes] | None:
    """``LABEL <client random> <secret>`` in hexadecimal, without the line's end: client random, label, secret. None for
    comments, blank lines and labels that are of no use here. Raises KeyLineError."""
    if len(line) > MAX_LINE:
        raise KeyLineError("longer than any line of a key log")
    found = _LINE.fullmatch(line)
    if found is None:
        stripped = line.strip()
        if not stripped or stripped.startswith(b"#") or _RSA.fullmatch(line):
            return None
        raise KeyLineError("not LABEL <client random> <secret>")
    label = found[1].decode()
    if label not in LABELS:
        return None
    secret = bytes.fromhex(found[3].decode())
    if len(secret) > MAX_SECRET:
        raise KeyLineError("a secret that is too long")
    return bytes.fromhex(found[2].decode()), label, secret


class KeyLines:
    """A key log in pieces, cut anywhere, into a keyring. ``good`` and ``bad`` count lines."""

    __slots__ = ("_keyring", "_rest", "_skipping", "bad", "good")

    def __init__(self, keyring: Keyring, inside: bool = False) -> None:
        """``inside``: the first piece may begin within a line, which does not count then."""
        self._keyring = keyring
        self._rest = b""
        self._skipping = inside
        self.good = 0
        self.bad = 0

    def feed_untrusted(self, data: bytes, now: int) -> None:
        """Raises nothing; what is too long for a line is skipped to the next one."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            else:
                self._take(line, now)
        if len(rest) > MAX_LINE:
            if not self._skipping:
                self.bad += 1
            self._skipping, rest = True, b""
        self._rest = rest

    def finish(self, now: int) -> None:
        """Nothing follows: the last line may have no end."""
        line, self._rest = self._rest, b""
        if line and not self._skipping:
            self._take(line, now)

    def _take(self, line: bytes, now: int) -> None:
        try:
            found = parse_line_untrusted(line)
        except KeyLineError:
            self.bad += 1
            return
        if found is not None:
            client_random, label, secret = found
            self._keyring.add(client_random, label, secret, now)
            self.good += 1
