"""A TLS connection seen from outside: what each record is, by which key it opens, and what it changes.

RFC 8446, RFC 5246. It knows nothing of flows, order or waiting: ``read`` opens a record, or says that it waits for a
key or for the other side. A record that cannot be is a ``RecordError``, whose ``reason`` is the ledger's; nothing can
be read after one.
"""

from __future__ import annotations

from typing import NamedTuple

from shadowd.tls import hello
from shadowd.tls.keyring import Keyring, Secrets, Waiter
from shadowd.tls.records import HEAD, Half
from shadowd.tls.schedule import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    SUITES,
    TLS12,
    TLS13,
    MissingKeyError,
    Opener,
    RecordError,
    RefusedError,
    Suite,
    SuiteError,
    UnseenError,
    opener13,
    openers12,
)

CLIENT, SERVER = 0, 1
#: Early data that a server does not take, and that is skipped: OpenSSL, nginx and Go allow 16 KB of it.
MAX_SKIPPED = 64 << 10

_CHANGE_CIPHER_SPEC = 20
_SECRETS_OF = {
    ("early", CLIENT): "CLIENT_EARLY_TRAFFIC_SECRET",
    ("handshake", CLIENT): "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    ("handshake", SERVER): "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    ("application", CLIENT): "CLIENT_TRAFFIC_SECRET_0",
    ("application", SERVER): "SERVER_TRAFFIC_SECRET_0",
}
#: Events that a gap may have swallowed, and the state whose keys follow them.
_FOLLOWING = {
    "early": ((("end_of_early_data",), "handshake"), (("end_of_early_data", "finished"), "application")),
    "handshake": ((("finished",), "application"),),
}

#: Whether the server takes the client; until then what the client sends under its last keys is held. State → event →
#: state; other events change nothing. Some servers (Go, BoringSSL) tell both traffic keys before they have looked at
#: the client's certificate: a request behind one that they refuse was never served, and no shadow shall get it.
#: Who was asked for a certificate is taken when the server answers: with data, or with a ticket, which depends on the
#: client's Finished then (RFC 8446 §4.6.1). In TLS 1.2 the server's ChangeCipherSpec follows its checks.
ADMISSION: dict[str, dict[str, str]] = {
    "unknown": {
        "certificate_request": "asked",
        "gap": "asked",  # the request may be in it
        "finished": "taken",
        "change_cipher_spec": "taken",
        "over": "refused",
    },
    "asked": {"answer": "taken", "change_cipher_spec": "taken", "over": "refused"},
    "refused": {},
    "taken": {},
}


class Candidate(NamedTuple):
    """Keys by which a direction may go on behind a gap, and what happened in it then."""

    opener: Opener
    events: tuple[str, ...]


class Connection:
    """``known``: the server has said which version and suite. ``owner`` claims the secrets of the keyring."""

    __slots__ = (
        "_early", "_keyring", "_owner", "_pair", "_random", "_released", "_retried", "_secrets", "_server_random",
        "_suite", "admission", "client", "server", "server_name", "version",
    )  # fmt: skip

    def __init__(self, keyring: Keyring, owner: Waiter) -> None:
        self._keyring = keyring
        self._owner = owner
        self.client = Half(CLIENT)
        self.client.withheld = True
        self.server = Half(SERVER)
        self.admission = "unknown"
        self.server_name = ""  # whom the client asked for
        self.version = 0  # as the server chose, 0 before
        self._suite: Suite | None = None  # of what follows the handshake's clear part
        self._random = b""
        self._server_random = b""
        self._secrets: Secrets | None = None
        self._released = False
        self._early: bool | None = None  # does the server take early data? None: it has not said
        self._retried = False  # a HelloRetryRequest was seen
        self._pair: tuple[Opener, Opener] | None = None  # of TLS 1.2

    def __repr__(self) -> str:
        return f"<Connection {self.version:#06x} client={self.client.state} server={self.server.state}>"

    @property
    def known(self) -> bool:
        return self._suite is not None

    @property
    def withholds(self) -> bool:
        """What the client sends waits for the server, not for a key."""
        return self.client.withheld and self.client.state == "application"

    def admit(self, event: str) -> None:
        """Something that the server did, or the connection's end."""
        self.admission = ADMISSION[self.admission].get(event, self.admission)
        self.client.withheld = self.admission != "taken"

    def read(self, half: Half, record: bytes, now: int) -> bytes | None:
        """The application data of a whole record, b"" if it has none; None: it waits for a key, or for what the server
        will say. Raises RecordError."""
        kind, opener = record[0], half.opener
        if half.withheld and kind == APPLICATION_DATA and half.state == "application":
            if self.admission == "refused":
                raise RefusedError("the server did not take the client")
            return None
        if half.state == "clear":
            return self._read_clear(half, kind, record, now)
        if kind != APPLICATION_DATA and self.version != TLS12:
            return self._read_unprotected(half, kind, record, now)
        if opener is None:
            opener = self._find(half)
            if opener is None:
                return None
        if half.skipping > 0:  # early data that nobody takes, until a record opens
            half.skipping -= len(record)
            try:
                inside, content = opener.open_untrusted(record)
            except RecordError:
                return b""
            half.skipping = 0
        else:
            inside, content = opener.open_untrusted(record)
        if inside == APPLICATION_DATA and half.state != "handshake" and not self.client.withheld:
            return b"" if half.closed else content
        return self.take(half, inside, content)

    def take(self, half: Half, kind: int, content: bytes) -> bytes:
        """What an opened record holds: its application data, b"" if it is something else. Raises RecordError."""
        if kind == APPLICATION_DATA and half.state != "handshake":
            if half.closed:
                return b""
            if content and self.client.withheld and half is self.server:
                self.admit("answer")
            return content
        if kind == HANDSHAKE:
            changed = False
            for message, body in half.messages.feed_untrusted(content):
                if changed:  # RFC 8446 §5.1: what is behind it would be read with other keys
                    raise RecordError("a message behind a change of keys")
                self._protected(half, message, body)
                changed = message == hello.KEY_UPDATE and self.version == TLS13
        elif kind != ALERT:
            raise RecordError("a record of a kind that cannot be here")
        elif content[:1] == b"\2" or content[1:2] == b"\0":  # fatal, or close_notify
            half.closed = True
            if half is self.server:
                self.admit("over")
        return b""

    def release(self) -> None:
        """Its secrets are not needed any more."""
        if self._secrets is not None and not self._released:
            self._released = True
            self._secrets = None
            self._keyring.release(self._random, self._owner)

    # --- records that are not encrypted -------------------------------------------------------------------------------

    def _read_unprotected(self, half: Half, kind: int, record: bytes, now: int) -> bytes | None:
        """TLS 1.3 among encrypted records: a ChangeCipherSpec for boxes on the way, an alert of who has no keys yet."""
        if half.state != "application":
            if kind == _CHANGE_CIPHER_SPEC and len(record) == HEAD + 1:
                return b""
            if kind == ALERT and len(record) == HEAD + 2:
                return b""
            if half.state == "early" and not self._retried and not self.version and kind == HANDSHAKE:
                return None  # a second ClientHello, captured before the server asked for it
        raise RecordError("a record that is not encrypted")

    def _read_clear(self, half: Half, kind: int, record: bytes, now: int) -> bytes | None:
        if kind == HANDSHAKE:
            for message, body in half.messages.feed_untrusted(record[HEAD:]):
                if message == hello.CLIENT_HELLO and half.direction == CLIENT:
                    self._client_hello(body, now)
                elif message == hello.SERVER_HELLO and half.direction == SERVER:
                    self._server_hello(body)
            return b""
        if kind == ALERT:
            if half is self.server and record[HEAD : HEAD + 1] == b"\2":
                self.admit("over")
            return b""
        if half.direction == CLIENT and not self.version:
            return None  # the server has not said what it speaks
        if kind == _CHANGE_CIPHER_SPEC:
            if self.version == TLS12:
                self._move(half, "change_cipher_spec")
            return b""
        if half.skipping > 0:  # early data before a second ClientHello
            half.skipping -= len(record)
            return b""
        raise RecordError("an encrypted record before there are keys")

    def _client_hello(self, body: bytes, now: int) -> None:
        said = hello.client_hello_untrusted(body)
        if not self._random:
            self._random, self.server_name = said.random, said.server_name
            self._secrets = self._keyring.claim(said.random, self._owner, now)
            if said.early:
                self.client.move("early_data_offered")
        elif said.random != self._random:
            raise RecordError("a second ClientHello of another connection")

    def _server_hello(self, body: bytes) -> None:
        said = hello.server_hello_untrusted(body)
        if not self._random:
            raise UnseenError("a ServerHello without a ClientHello")
        suite = SUITES.get(said.version, {}).get(said.suite)
        if suite is None:
            raise SuiteError("a version or suite that is not read")
        self.version = said.version
        client = self.client
        if said.retry:
            self._retried = True
            self._refuse_early("retry")
            return
        self._suite, self._server_random = suite, said.random
        if said.version == TLS13:
            self.server.move("server_hello")
            if client.state == "clear":
                client.move("server_hello")
        else:
            self._refuse_early("retry")

    def _refuse_early(self, event: str) -> None:
        if self.client.state == "early":
            self._early = False
            self.client.move(event)
            self.client.skipping = MAX_SKIPPED

    def _move(self, half: Half, event: str) -> None:
        half.move(event)
        if half is self.server:
            self.admit(event)

    # --- messages that were ------------------------------------------------------------------------------------------

    def _protected(self, half: Half, message: int, body: bytes) -> None:
        if self.version != TLS13:
            if message in (hello.CLIENT_HELLO, hello.SERVER_HELLO):
                raise RecordError("renegotiation")  # other keys follow, of a handshake that nobody can read
        elif message == hello.FINISHED:
            self._move(half, "finished")
        elif message == hello.CERTIFICATE_REQUEST and half is self.server:
            self.admit("certificate_request")
        elif message == hello.NEW_SESSION_TICKET and half is self.server:
            self.admit("answer")
        elif message == hello.KEY_UPDATE and half.opener is not None:
            following = half.opener.updated()
            half.move("key_update")
            half.opener = following
        elif message == hello.END_OF_EARLY_DATA:
            half.move("end_of_early_data")
        elif message == hello.ENCRYPTED_EXTENSIONS and half is self.server and self.client.state == "early":
            self._early = hello.accepts_early_data_untrusted(body)
            if not self._early:
                self._refuse_early("rejected")

    # --- keys ---------------------------------------------------------------------------------------------------------

    def _find(self, half: Half) -> Opener | None:
        """The keys of the direction's state; None while they are not known. Raises MissingKeyError."""
        if half.state == "early" and self._early is None:
            return None  # the server has not said
        half.opener = self._keys(half.direction, half.state)
        if half.opener is None:
            self._want()
        elif self.version == TLS12 or all(
            one.state == "application" and one.opener is not None for one in (self.client, self.server)
        ):
            self.release()
        return half.opener

    def _want(self) -> None:
        if self._keyring.whole or self._released:
            raise MissingKeyError("nobody told the key")

    def _keys(self, direction: int, state: str) -> Opener | None:
        if self._suite is None:
            return None
        if self._pair is not None:
            return self._pair[direction]
        if self._secrets is None:
            return None
        if self.version == TLS13:
            secret = self._secrets.get(_SECRETS_OF[state, direction])
            return None if secret is None else opener13(self._suite, secret)
        master = self._secrets.get("CLIENT_RANDOM")
        if master is None:
            return None
        self._pair = openers12(self._suite, master, self._random, self._server_random)
        return self._pair[direction]

    # --- gaps ---------------------------------------------------------------------------------------------------------

    def lose(self, half: Half) -> None:
        """A gap in this direction: what was lost may have said something."""
        if half is self.server and half.state != "application":
            self.admit("gap")
        if half is self.server and self.client.state == "early" and self._early is None:
            # a key for early data was told: most likely the server took it, and the records will tell
            self._early = self._secrets is not None and self._secrets.get(_SECRETS_OF["early", CLIENT]) is not None
            if not self._early:
                self._refuse_early("rejected")

    def candidates(self, half: Half) -> list[Candidate]:
        """By which keys it may go on; none while one of them is not known, or the server has not taken the client.
        Raises MissingKeyError."""
        direction, found = half.direction, []
        if half.withheld and half.state != "early":
            return []  # behind the gap may be what the server has not taken yet
        wanted: list[tuple[tuple[str, ...], str]]
        if self.version == TLS12:
            wanted = [(("change_cipher_spec",) if half.state == "clear" else (), "application")]
        else:
            wanted = [((), half.state), *_FOLLOWING.get(half.state, ())]
        for events, state in wanted:
            opener = half.opener if not events and half.opener is not None else self._keys(direction, state)
            if opener is None:
                self._want()
                return []
            found.append(Candidate(opener, events))
        if self.version == TLS13 and half.state == "application":
            found.append(Candidate(found[0].opener.updated(), ("key_update",)))
        return found

    def resume(self, half: Half, chosen: Candidate) -> None:
        """The direction goes on by these keys."""
        for event in chosen.events:
            self._move(half, event)
        half.opener = chosen.opener
