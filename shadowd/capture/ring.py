"""The kernel's ring buffer, read in batches through shared memory.

Layout (kernel/bpf/ringbuf.c): page 0 holds the consumer position (ours to write), page 1 the producer position, then
the data, mapped twice back to back so that an entry never wraps for the reader. An entry is a 32-bit length with two
flag bits, 4 bytes of kernel bookkeeping, the data, padded to 8 bytes. Positions only grow.

Wake-ups are the reader's choice: while there is traffic it polls; ``prepare_sleep`` asks for one wake-up.
"""

from __future__ import annotations

import mmap

from shadowd.capture.abi import (
    ENTRY,
    RECORD_BYTES,
    RECORD_HEAD,
    RECORD_SECRET,
    RECORD_SEGMENT,
    RECORD_TIMING,
    SECRET,
    URGENT_SHIFT,
)
from shadowd.capture.bpf import Map

_BUSY = 1 << 31
_DISCARD = 1 << 30
_CHUNK = (1 << URGENT_SHIFT) - 1
_PAYLOAD = 8 + RECORD_BYTES  # behind the ring's header and struct record
_KEY = 8 + RECORD_HEAD
_SECRET = 8 + SECRET.size
#: Where the fields of an entry lie (``abi.ENTRY``, which tests compare): of 64 bits, of 32, of 8.
_TIME, _FILTERS = 1, 2
_SEQ, _ACK, _WHOLE, _OFFSET, _SIZE = range(6, 11)
_KIND, _DIRECTION, _FLAGS, _MARKS = range(44, 48)


class RingSink:
    """Told of every record: one call a record is all the hot path can afford."""

    __slots__ = ()

    def segment(
        self, key: bytes, direction: int, seq: int, ack: int, flags: int, payload: bytes, time: int, tag: int
    ) -> object:
        """A piece of payload, or a SYN, FIN, RST. ``seq`` is of the piece, FIN stands on the last one only; ``tag`` is
        the bitmap of the filters that matched."""
        raise AssertionError("a sink has every method")

    def timing(self, cookie: int, direction: int, seq: int, length: int, flags: int, time: int) -> None:
        """A segment of one of our own connections."""
        raise AssertionError("a sink has every method")

    def urgent(self, key: bytes, direction: int, seq: int) -> None:
        """The segment given next says that the byte of this number is urgent (RFC 9293 §3.8.5)."""
        raise AssertionError("a sink has every method")

    def marked(self, key: bytes, direction: int, marks: int) -> None:
        """The segment just given carried ``MARK_*``."""
        raise AssertionError("a sink has every method")

    def secret(self, record: bytes) -> None:
        """What a TLS library told of a handshake: a struct secret, for ``tlssecrets.Secret``."""
        raise AssertionError("a sink has every method")


class Ring:
    """Reader of one BPF ring buffer of ``size`` bytes (a power of two): the one of a worker."""

    __slots__ = (
        "_consumer", "_consumer_map", "_data", "_mask", "_octets", "_producer", "_quads", "_sleeping", "_words",
        "_worker", "descriptor", "size",
    )  # fmt: skip

    def __init__(self, descriptor: int, size: int, sleeping: Map, worker: int = 0) -> None:
        page = mmap.PAGESIZE
        self.descriptor = descriptor
        self.size = size
        self._mask = size - 1
        self._consumer_map = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._data = mmap.mmap(descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._producer = memoryview(self._data)[:8].cast("Q")
        whole = memoryview(self._data)
        self._octets, self._words, self._quads = whole, whole.cast("I"), whole.cast("Q")
        self._sleeping = sleeping
        self._worker = worker.to_bytes(4, "little")  # its flag

    @property
    def backlog(self) -> int:
        """Bytes of the ring that hold entries not read yet."""
        return int(self._producer[0] - self._consumer[0])

    @property
    def oldest(self) -> int:
        """Capture time (ns) of the first entry that waits, 0 if none does."""
        position = self._consumer[0]
        if position >= self._producer[0]:
            return 0
        found = ENTRY.unpack_from(self._data, (position & self._mask) + mmap.PAGESIZE)
        return 0 if found[0] & _BUSY else int(found[2])

    def waiting(self) -> int:
        """Bytes of payload in the entries not read yet. Walks them: half a microsecond an entry."""
        position, end = self._consumer[0], self._producer[0]
        payload = 0
        while position < end:
            length, _, _, _, _, _, _, _, size, kind, *_ = ENTRY.unpack_from(
                self._data, (position & self._mask) + mmap.PAGESIZE
            )
            if length & _BUSY:
                break
            if length & _DISCARD:
                length -= _DISCARD
            elif kind == RECORD_SEGMENT:
                payload += size & _CHUNK
            position += (length + 15) & ~7
        return payload

    @property
    def produced(self) -> int:
        """Position up to which the kernel has written or reserved; only grows."""
        return int(self._producer[0])

    @property
    def consumed(self) -> int:
        """Position up to which entries were read."""
        return int(self._consumer[0])

    def drain(self, sink: RingSink, max_bytes: int) -> int:
        """Give every finished entry to ``sink``, up to about ``max_bytes`` of ring space. Returns the entries read."""
        position = self._consumer[0]
        end = self._producer[0]
        if position >= end:
            return 0
        if end - position > max_bytes:
            end = position + max_bytes
        data, mask, base = self._data, self._mask, mmap.PAGESIZE
        quads, words, octets = self._quads, self._words, self._octets  # the same bytes, by 64, 32 and 8 bits
        count = 0
        try:
            while position < end:
                at = (position & mask) + base
                quad, word = at >> 3, at >> 2
                length = words[word]
                if length >= _DISCARD:
                    if length & _BUSY:
                        break  # reserved and not submitted yet: order is kept, so the rest waits too
                    length -= _DISCARD
                elif octets[at + _KIND] != RECORD_SEGMENT:
                    if octets[at + _KIND] == RECORD_TIMING:
                        sink.timing(
                            quads[quad + _FILTERS], octets[at + _DIRECTION], words[word + _SEQ], words[word + _WHOLE],
                            octets[at + _FLAGS], quads[quad + _TIME],
                        )  # fmt: skip
                    elif octets[at + _KIND] == RECORD_SECRET:
                        sink.secret(data[at + 8 : at + _SECRET])
                else:
                    key = data[at + _KEY : at + _PAYLOAD]
                    direction, flags, seq = octets[at + _DIRECTION], octets[at + _FLAGS], words[word + _SEQ]
                    size, whole = words[word + _SIZE], words[word + _WHOLE]
                    if size != whole:  # one chunk of several, or urgent
                        offset = words[word + _OFFSET]
                        if size >> URGENT_SHIFT:
                            if not offset:
                                sink.urgent(key, direction, seq + (size >> URGENT_SHIFT) - 1 & 0xFFFFFFFF)
                            size &= _CHUNK
                        seq = (seq + offset) & 0xFFFFFFFF
                        if offset + size < whole:
                            flags &= ~1
                        if offset:
                            flags &= ~2
                    body = at + _PAYLOAD
                    payload = data[body : body + size]
                    sink.segment(
                        key, direction, seq, words[word + _ACK], flags, payload, quads[quad + _TIME],
                        quads[quad + _FILTERS],
                    )  # fmt: skip
                    if octets[at + _MARKS]:
                        sink.marked(key, direction, octets[at + _MARKS])
                count += 1
                position += (length + 15) & ~7
        finally:
            self._consumer[0] = position
        return count

    def prepare_sleep(self) -> bool:
        """Ask the kernel for one wake-up on the descriptor. False: entries have come, drain instead of sleeping."""
        self._sleeping.update(self._worker, b"\1\0\0\0")
        if self._producer[0] != self._consumer[0]:
            self.cancel_sleep()
            return False
        return True

    def cancel_sleep(self) -> None:
        self._sleeping.update(self._worker, b"\0\0\0\0")

    def close(self) -> None:
        # views before what they are of: memory that is looked at cannot be given back
        self._quads = self._words = self._octets = None  # type: ignore[assignment]
        self._consumer.release()
        self._producer.release()
        self._consumer_map.close()
        self._data.close()
