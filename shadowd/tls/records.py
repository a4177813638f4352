"""One direction of a TLS connection: records cut out of the stream, and its place found again after a gap.

*Resynchronisation.* Behind a gap neither the next record's place nor its number is known. Every head that could be one
(type, version 3.3, a length that is possible) is a candidate, and the AEAD tells: the record is opened with the numbers
that can be, from the last one on, by the keys in use and by those that may have followed (the traffic keys after those
of the handshake; one KeyUpdate). A record costs 22 bytes at least, so what was lost bounds the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shadowd.tls.hello import Messages
from shadowd.tls.schedule import Opener, RecordError

HEAD = 5
#: RFC 5246 §6.2.3: the longest record, 16 KB and 2 KB; 1.3 allows less (RFC 8446 §5.2).
MAX_RECORD = HEAD + (1 << 14) + 2048
#: The shortest that has anything in it.
MIN_RECORD = 22
#: Numbers tried for one candidate, of 2.3 µs each: 9 ms at most; a gap of 64 MB in full records.
MAX_TRIES = 4096
#: And for one gap: then the direction is given up.
MAX_SEARCH = 4 * MAX_TRIES

_TYPES = frozenset({20, 21, 22, 23})

#: What a direction's records are encrypted with. State → event → state.
#: ``early`` is the client's alone: data that goes with the ClientHello (0-RTT), until the server says whether it takes
#: it. TLS 1.2 goes from ``clear`` to ``application``; its Finished is the first record under the keys.
TRANSITIONS: dict[str, dict[str, str]] = {
    "clear": {
        "early_data_offered": "early",
        "server_hello": "handshake",
        "change_cipher_spec": "application",
    },
    "early": {
        "retry": "clear",  # HelloRetryRequest, or a server that speaks 1.2: what was sent early is not read
        "rejected": "handshake",
        "end_of_early_data": "handshake",
    },
    "handshake": {"finished": "application"},
    "application": {"key_update": "application"},
}


class Found(NamedTuple):
    """A record behind a gap. ``key``: which of the keys opened it; ``length``: of the record."""

    key: int
    kind: int
    content: bytes
    length: int


class Half:
    """``at``: stream offset of what is in ``buffer``, which is less than a record, but behind a gap.

    ``lost``: 0, or how many bytes since the last good record are not known to be one: the place is lost.
    """

    __slots__ = (
        "at", "broken", "buffer", "closed", "direction", "idle", "keyless", "lost", "messages", "opener", "skipping",
        "state", "tries", "withheld",
    )  # fmt: skip

    def __init__(self, direction: int) -> None:
        self.direction = direction
        self.state = "clear"
        self.opener: Opener | None = None  # None: the state has no keys, or nobody told them yet
        self.messages = Messages()
        self.buffer = b""
        self.at = 0
        self.idle = False  # the flow was at an idle point when the first byte of `buffer` came
        self.lost = 0
        self.tries = 0
        self.keyless = 0  # time since when its place cannot be looked for, because nobody has told the keys; or 0
        self.broken = ""  # why what follows is not read
        self.closed = False  # close_notify or a fatal alert: what follows is nobody's (RFC 8446 §6.1)
        self.skipping = 0  # bytes of early data nobody wants that may still come
        self.withheld = False  # the server has not taken who sends it yet

    def move(self, event: str) -> None:
        """Raises RecordError for an event that cannot be now."""
        state = TRANSITIONS[self.state].get(event)
        if state is None:
            raise RecordError(f"{event} in state {self.state}")
        self.state = state
        self.opener = None

    def cut_untrusted(self, data: bytes) -> list[bytes]:
        """Records that are whole now. ``broken`` is set where what follows is none."""
        if self.buffer:
            data = self.buffer + data
        at, end = 0, len(data)
        found: list[bytes] = []
        while end - at >= HEAD:
            length = HEAD + (data[at + 3] << 8 | data[at + 4])
            if data[at + 1] != 3 or not 20 <= data[at] <= 24 or not HEAD < length <= MAX_RECORD:
                self.broken = RecordError.reason
                break
            if end - at < length:
                break
            found.append(data[at : at + length] if at or length < end else data)
            at += length
        self.buffer = data[at:]
        self.at += at
        return found

    def lose(self, length: int) -> int:
        """A gap of so many bytes. Returns how many bytes of a record that had begun are gone with it."""
        partial = len(self.buffer)
        self.at += partial + length
        self.lost += partial + length
        self.buffer = b""
        self.messages = Messages()
        return partial

    def seek_untrusted(self, keys: Sequence[Opener]) -> tuple[int, Found | None]:
        """Look for the place in what came behind the gap. Returns how many bytes were skipped, and the record that was
        found; ``buffer`` goes on behind it. Raises RecordError when it has looked for long enough."""
        buffer = self.buffer
        at, end, length = 0, len(buffer), 0
        found = None
        while True:
            at = buffer.find(b"\x03\x03", at + 1) - 1
            if at < 0:
                at = max(0, end - 2)  # a head may have begun
                break
            if end - at < HEAD:
                break
            length = HEAD + (buffer[at + 3] << 8 | buffer[at + 4])
            if buffer[at] in _TYPES and MIN_RECORD <= length <= MAX_RECORD:
                if end - at < length:
                    break
                found = self._try(buffer[at : at + length], keys)
                if found is not None:
                    break
            at += 1
        self.at += at
        self.lost += at
        self.buffer = buffer[at:]
        if found is not None:
            self.buffer = self.buffer[length:]
            self.at += length
            self.lost = self.tries = 0
        return at, found

    def _try(self, record: bytes, keys: Sequence[Opener]) -> Found | None:
        weight = 1 + len(record) // 1024  # a try costs by the byte
        for place, opener in enumerate(keys):
            numbers = min(self.lost // MIN_RECORD + 2, MAX_TRIES, max(1, (MAX_SEARCH - self.tries) // weight))
            for number in range(opener.sequence, opener.sequence + numbers):
                try:
                    kind, content = opener.open_untrusted(record, number)
                except RecordError:
                    continue
                return Found(place, kind, content, len(record))
            self.tries += numbers * weight
        if self.tries > MAX_SEARCH:
            raise RecordError("its place was not found again")
        return None


def looks_like_record(data: bytes) -> bool:
    """A segment that may begin with a record: in the middle of a connection that is the best there is."""
    if len(data) < HEAD or data[0] not in _TYPES or data[1] != 3 or data[2] > 4:
        return False
    return 0 < data[3] << 8 | data[4] <= MAX_RECORD - HEAD
