"""A shadow host: where it is, what it may cost, and how it is doing.

A target never affects another: it has its own queues, limits, circuit breaker and account.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from shadowd.evidence.latency import LatencySketch
from shadowd.ledger.ledger import TargetAccount
from shadowd.replay.sessions import Sessions, session_of

if TYPE_CHECKING:
    from shadowd.exchange.exchange import Exchange, Response
    from shadowd.replay.connection import Connection
    from shadowd.replay.lane import Lane, Pool

Address = tuple[int, tuple[str, int] | tuple[str, int, int, int]]  # family, sockaddr

SECOND = 1_000_000_000
#: Connect failures in a row after which a target rests; fewer would trip on one full accept queue.
BREAKER_FAILURES = 5
BREAKER_FIRST = SECOND // 2
BREAKER_LONGEST = 30 * SECOND
#: An address that could not be connected to is passed over so long while others can: names are looked up as often.
ADDRESS_REST = 30 * SECOND
#: Timing records cost the daemon a fifth of an exchange; a sample of connections says as much about latency.
ALWAYS_TIMED = 4
TIMED_SHARE = 4
#: Answers a second below which that fifth is not worth saving: 2,000 cost 2 % of a core.
LIGHT = 2_000
#: Connections in the handshake at once when more are opened because the shadow is slow: half of the accept queue that
#: servers commonly ask for (128).
CONNECTING = 64
#: X509_V_ERR_HOSTNAME_MISMATCH of OpenSSL's x509_vfy.h.
_OTHER_NAME = 62
#: Names that production's clients ask for and this target has no certificate for: beyond it is asked by its own alone.
MAX_UNWELCOME = 256
#: Idle connections wait for the next production connection: less than Node.js's keep-alive of 5 s, so we close first.
IDLE_KEEP = 4 * SECOND


class TargetLimits:
    """What one target may use. At each limit whole requests are shed and counted by the reason named here."""

    __slots__ = (
        "connect_timeout", "max_buffered", "max_connections", "max_in_flight", "max_lag", "max_rps", "stream_window",
        "timeout",
    )  # fmt: skip

    def __init__(
        self,
        timeout: int = 10 * SECOND,
        max_lag: int = 5 * SECOND,
        max_rps: float | None = None,
        max_connections: int = 1024,
        max_in_flight: int = 4096,
        max_buffered: int = 16 << 20,
        connect_timeout: int = 3 * SECOND,
        stream_window: int = 600 * SECOND,
    ) -> None:
        self.stream_window = stream_window  # ns: a stream of events that goes on is compared by what came until then
        self.timeout = timeout  # ns from sending to the whole answer: failed(timeout)
        self.max_lag = max_lag  # ns from capture to sending: shed(own_lag) or shed(shadow_lag)
        self.max_rps = max_rps  # shed(max_rps)
        self.max_connections = max_connections  # shed(max_connections)
        self.max_in_flight = max_in_flight  # queued or sent: shed(max_in_flight)
        self.max_buffered = max_buffered  # bytes of requests queued or sent: shed(target_memory)
        self.connect_timeout = connect_timeout  # ns: failed(connect)


class Target:
    """Runtime state of one target of one filter."""

    __slots__ = (
        "_breaker_rest",
        "_failures",
        "_next_address",
        "_rated",
        "_rated_at",
        "_resting",
        "_tokens",
        "_tokens_at",
        "_untimed",
        "account",
        "addresses",
        "answer_limit",
        "blocked",
        "branches",
        "breaker_until",
        "buffered",
        "busy",
        "connecting",
        "connections",
        "host",
        "host_header",
        "http1_only",
        "idle",
        "itself",
        "limits",
        "pinned",
        "port",
        "production_latency",
        "protocol",
        "removed",
        "resolve_error",
        "role",
        "scheme",
        "server_name",
        "sessions",
        "shadow_latency",
        "short_until",
        "starved",
        "status_differences",
        "timed",
        "tls",
        "tls_error",
        "tls_streams",
        "unwelcome",
        "url",
    )

    def __init__(
        self,
        url: str,
        scheme: str,
        host: str,
        port: int,
        account: TargetAccount,
        limits: TargetLimits,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        role: str = "candidate",
    ) -> None:
        self.url = url
        self.scheme = scheme
        self.host = host
        self.port = port
        self.role = role
        self.account = account
        self.limits = limits
        self.tls = tls
        self.server_name = server_name or host  # its own
        self.pinned = False  # it is asked by its own name alone, whatever production's clients ask for
        self.protocol = "auto"  # what is spoken to it: http1, http2, or what production speaks
        self.http1_only = False  # asked for HTTP/2 or HTTP/1, it chose the latter
        self.tls_streams: ssl.SSLContext | None = None  # the same as `tls`, which asks for HTTP/2 first
        self.sessions: Sessions | None = None  # once it has given an id of its own
        self.unwelcome: set[str] = set()  # names for which it has no certificate
        shown = f"[{host}]" if ":" in host else host
        default = {"http": 80, "h2c": 80, "https": 443, "h2": 443}.get(scheme)
        self.host_header = (shown if port == default else f"{shown}:{port}").encode()
        self.addresses: list[Address] = []
        self.resolve_error = ""
        self.itself = ""  # why nothing is sent: it is production itself
        self.tls_error = ""  # the last; an answer clears it
        self.removed = False
        self.buffered = 0
        self.connections = 0
        self.idle: dict[Connection, None] = {}  # open ones nobody uses, the one that idles longest first
        self.connecting = 0  # of the connections
        self.branches = 0  # requests on their way by a branch (lane.py)
        self.blocked: set[Lane | Pool] = set()  # lanes with requests waiting
        self.starved: dict[Lane | Pool, None] = {}  # of those, the ones that wait for a connection, in their turn
        self.short_until = 0  # this host had no descriptor or port for a connection: no more of them until then
        self.answer_limit = 256 << 20  # bytes of one answer that are read before it counts as malformed
        self.breaker_until = 0
        self._breaker_rest = BREAKER_FIRST
        self._failures = 0
        self._next_address = 0
        self._resting: dict[Address, int] = {}  # until when
        self._tokens = 0.0
        self._tokens_at = 0
        self.busy = False  # more answers a second than LIGHT
        self.timed = 0  # connections whose times the kernel tells
        self._untimed = 0
        self._rated = self._rated_at = 0  # answers so far when the rate was last looked at
        self.production_latency = LatencySketch()
        self.shadow_latency = LatencySketch()
        self.status_differences = 0

    def wants_times(self) -> bool:
        """Whether to time a new connection: all while traffic is light, else the first few always and of the rest one
        in TIMED_SHARE. The choice does not depend on what the connection will carry, so the sample is fair."""
        if self.busy and self.timed >= ALWAYS_TIMED:
            self._untimed = (self._untimed + 1) % TIMED_SHARE
            if self._untimed:
                return False
        self.timed += 1
        return True

    def ration_times(self, now: int) -> int:
        """Once a second: how many timed connections are too many, if traffic became heavy after they were opened."""
        if now - self._rated_at < SECOND:
            return 0
        served = self.account.mirrored - self._rated
        self.busy = served * SECOND > LIGHT * (now - self._rated_at)
        self._rated, self._rated_at = self.account.mirrored, now
        return self.timed_beyond_share if self.busy else 0

    @property
    def timed_beyond_share(self) -> int:
        """How many more are timed than one in TIMED_SHARE of those that carry first copies: where second copies are
        sent, half of the connections are theirs, and carry few requests."""
        carrying = self.connections // 2 if self.account.twins["answered"] else self.connections
        return max(0, self.timed - max(ALWAYS_TIMED, carrying // TIMED_SHARE))

    def call(self, wanted: str = "", name: str = "") -> None:
        """How TLS to it begins: ``wanted`` is the operator's word for its name, ``name`` what the URL says."""
        self.server_name, self.pinned = wanted or name, bool(wanted)

    def learn_session(self, exchange: Exchange, answer: Response | None) -> None:
        """Both answers to a request that may have begun a session: each may say an id of its own."""
        given = session_of(answer.head) if answer is not None and exchange.request.method == b"POST" else b""
        if not given:
            return
        production = exchange.response
        if production is None:
            if exchange.early is None and not exchange.answered:
                exchange.early = []  # so that the engine is told of production's answer, as soon as it is read
            return
        theirs = session_of(production.head)
        if theirs:
            if self.sessions is None:
                self.sessions = Sessions()
            self.sessions.learn(theirs, given)

    def speak(self, protocol: str) -> None:
        """What the operator wants spoken to it."""
        if protocol != self.protocol:
            self.protocol, self.http1_only = protocol, False

    def speaks_http2(self, streams: bool) -> bool:
        """Whether a connection to it is to be HTTP/2; ``streams``: production's is."""
        if self.protocol == "http2" or self.scheme in ("h2", "h2c"):
            return True
        return streams and self.protocol != "http1" and not self.http1_only

    def name_for(self, asked: str) -> str:
        """By which name a connection asks (SNI), and whose its certificate must be: the one that production's client
        ``asked`` for, unless the operator has said another or the target has no certificate for it."""
        return asked if asked and not self.pinned and asked not in self.unwelcome else self.server_name

    def refused_name(self, name: str, error: Exception) -> bool:
        """A handshake failed because it has no certificate for ``name``, and there is another to ask by: its own."""
        mismatch = isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == _OTHER_NAME
        unknown = isinstance(error, ssl.SSLError) and str(error.reason).endswith("UNRECOGNIZED_NAME")  # the alert
        if name == self.server_name or not (mismatch or unknown):
            return False
        if len(self.unwelcome) < MAX_UNWELCOME:
            self.unwelcome.add(name)
        else:
            self.pinned = True
        return True

    def take_idle(self, asked: str) -> Connection | None:
        """The connection that idles shortest, of those that asked by the same name."""
        if self.tls is None:
            return self.idle.popitem()[0] if self.idle else None
        name = self.name_for(asked)
        for connection in reversed(self.idle):
            if connection.server_name == name:
                del self.idle[connection]
                return connection
        return None

    def next_address(self, now: int) -> Address | None:
        """Several addresses are used in turn, those that rest only if all do."""
        count = len(self.addresses)
        for _ in range(count):
            self._next_address = (self._next_address + 1) % count
            if self._resting.get(self.addresses[self._next_address], 0) <= now:
                break
        else:
            if count:
                self._next_address = (self._next_address + 1) % count
        return self.addresses[self._next_address] if count else None

    def has_another(self, now: int) -> bool:
        """Whether an address is left that does not rest: a name of two families often answers in one."""
        return any(self._resting.get(address, 0) <= now for address in self.addresses)

    def may_connect(self, now: int) -> bool:
        """Whether a branch may have a connection: an idle one, or one more."""
        return bool(self.idle) or (
            self.connections < self.limits.max_connections
            and self.connecting < CONNECTING
            and self.short_until <= now
            and bool(self.addresses or self.resolve_error)
        )

    def wake(self, now: int) -> None:
        """There may be room for a connection: who has waited longest for one goes on."""
        while self.starved:
            lane = next(iter(self.starved))
            del self.starved[lane]
            if lane.queue:  # else it was served, or gave up, meanwhile
                lane.advance(now)
                return

    def admits(self, size: int, now: int) -> str:
        """The reason to shed a request of ``size`` bytes at once, or ""."""
        if self.removed:
            return "removed"
        if self.itself:
            return "itself"
        if self.breaker_until > now:
            return "circuit_open"
        limits = self.limits
        if self.account.in_flight >= limits.max_in_flight:
            return "max_in_flight"
        if self.buffered + size > limits.max_buffered:
            return "target_memory"
        if limits.max_rps is not None and not self._take_token(limits.max_rps, now):
            return "max_rps"
        return ""

    def _take_token(self, rate: float, now: int) -> bool:
        """Token bucket: a tenth of a second's worth may come at once."""
        burst = max(1.0, rate / 10)
        self._tokens = min(burst, self._tokens + (now - self._tokens_at) * rate / SECOND) if self._tokens_at else burst
        self._tokens_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def connected(self, address: Address) -> None:
        self._resting.pop(address, None)
        self._failures = 0
        self._breaker_rest = BREAKER_FIRST
        self.breaker_until = 0

    def connect_failed(self, address: Address, now: int) -> None:
        """The address rests; with none left the target does after BREAKER_FAILURES in a row, twice as long each time,
        and one probe follows each rest."""
        self._resting = {other: until for other, until in self._resting.items() if until > now}
        self._resting[address] = now + ADDRESS_REST
        if self.has_another(now) or self.breaker_until > now:  # connections tried at one moment are one trial
            return
        self._failures += 1
        if self._failures >= BREAKER_FAILURES:
            self.breaker_until = now + self._breaker_rest
            self._breaker_rest = min(2 * self._breaker_rest, BREAKER_LONGEST)
            self._failures = BREAKER_FAILURES - 1
