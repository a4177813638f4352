"""HPACK, RFC 7541: header blocks of one direction of an HTTP/2 connection, decoded as they were captured; and an
encoder without a memory (sans-IO).

``Decoder`` holds the dynamic table that the encoder at the other end has built up. *Every* block of the direction must
go through it, in order, also of streams that nobody wants: one that is left out makes all that follow unreadable. The
table's size is what the encoder says in the blocks themselves (§6.3), not what SETTINGS allow: those are the receiver's
word, and an encoder acts on it when it has seen it.

Bounds: the table holds ``MAX_TABLE`` bytes as RFC 7541 counts them, a block yields ``MAX_LIST`` bytes (a block of 16 KB
can name 16,000 times a field of 4 KB). A list that is longer is cut and said to be (``oversized``): the table is right
all the same.
"""

from __future__ import annotations

from shadowd.protocols.hpack_huffman import HuffmanError, decode_untrusted

Field = tuple[bytes, bytes]

#: Browsers use 64 KB; nginx, Envoy, Go and gRPC 4 KB, the default of RFC 9113 §6.5.2.
MAX_TABLE = 64 << 10
DEFAULT_TABLE = 4096
#: Names and values of one block, with 32 bytes each for the field: servers take 8 to 64 KB (nginx 32 KB, Go 1 MB).
MAX_LIST = 256 << 10
#: What the table counts for a field beside its bytes (RFC 7541 §4.1).
OVERHEAD = 32
#: Strings whose decoding is remembered, and how long they may be: most are said again on the next connection.
_REMEMBERED, _MEMORABLE = 2048, 128

_STATIC_TEXT = """
:authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204
:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|accept-language
accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|content-disposition
content-encoding|content-language|content-length|content-location|content-range|content-type|cookie|date|etag|expect
expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location
max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie
strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate
"""
#: RFC 7541 appendix A; an index counts from 1.
STATIC: list[Field] = [
    (name.encode(), value.encode())
    for name, _, value in (entry.partition(" ") for entry in _STATIC_TEXT.strip().replace("\n", "|").split("|"))
]
_FIRST_DYNAMIC = len(STATIC) + 1
#: Of one integer (§5.1): four bytes behind the prefix say 268 million, more than any frame has.
_MAX_SHIFT = 28


class HpackError(ValueError):
    """A block that no encoder makes: what the table holds from here on is not known."""


class Decoder:
    """See the module's head. ``oversized``: the latest list is not whole."""

    __slots__ = ("_capacity", "_entries", "_size", "_strings", "oversized")

    def __init__(self) -> None:
        self._entries: list[Field] = []  # the oldest first
        self._size = 0
        self._capacity = DEFAULT_TABLE
        self._strings: dict[bytes, bytes] = {}
        self.oversized = False

    @property
    def size(self) -> int:
        """Of the dynamic table, as §4.1 counts."""
        return self._size

    def decode_untrusted(self, block: bytes) -> list[Field]:
        """The fields of a whole header block, names as they were sent. Raises HpackError."""
        fields: list[Field] = []
        entries, strings = self._entries, self._strings
        at, end, total = 0, len(block), 0
        self.oversized = False
        try:
            while at < end:
                first = block[at]
                at += 1
                if first & 0x80:  # §6.1 indexed
                    index = first & 0x7F
                    if index == 0x7F:
                        index, at = _integer(block, at, index)
                    if index < _FIRST_DYNAMIC:
                        if not index:
                            raise HpackError("index 0")
                        field = STATIC[index - 1]
                    else:
                        field = entries[_place(index, len(entries))]
                elif first & 0xE0 == 0x20:  # §6.3 the table's size
                    size = first & 0x1F
                    if size == 0x1F:
                        size, at = _integer(block, at, size)
                    if fields or size > MAX_TABLE:
                        raise HpackError("a table size that cannot be")
                    self._capacity = size
                    self._evict(0)
                    continue
                else:  # §6.2 literal: with indexing, without, never
                    mask = 0x3F if first & 0x40 else 0x0F
                    index = first & mask
                    if index == mask:
                        index, at = _integer(block, at, index)
                    if not index:
                        name, at = _string(block, at, strings)
                    elif index < _FIRST_DYNAMIC:
                        name = STATIC[index - 1][0]
                    else:
                        name = entries[_place(index, len(entries))][0]
                    value, at = _string(block, at, strings)
                    field = (name, value)
                    if first & 0x40:
                        self._insert(field)
                total += len(field[0]) + len(field[1]) + OVERHEAD
                if total <= MAX_LIST:
                    fields.append(field)
                else:
                    self.oversized = True
        except IndexError:
            raise HpackError("a block that ends too early") from None
        except HuffmanError as error:
            raise HpackError(str(error)) from None
        return fields

    def _insert(self, field: Field) -> None:
        size = len(field[0]) + len(field[1]) + OVERHEAD
        self._evict(size)
        if size <= self._capacity:  # else it empties the table, and is no error (§4.4)
            self._entries.append(field)
            self._size += size

    def _evict(self, wanted: int) -> None:
        """Make room for ``wanted`` bytes."""
        entries = self._entries
        gone = 0
        while gone < len(entries) and self._size + wanted > self._capacity:
            name, value = entries[gone]
            self._size -= len(name) + len(value) + OVERHEAD
            gone += 1
        if gone:
            del entries[:gone]


def _place(index: int, count: int) -> int:
    """Of a dynamic entry, the newest of which has the lowest index. Raises HpackError."""
    place = count - 1 - (index - _FIRST_DYNAMIC)
    if place < 0:
        raise HpackError("an index beyond the table")
    return place


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """The rest of an integer whose prefix is full (§5.1), and where what follows begins."""
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > _MAX_SHIFT:
            raise HpackError("an integer beyond all measure")


def _string(block: bytes, at: int, strings: dict[bytes, bytes]) -> tuple[bytes, int]:
    """§5.2."""
    first = block[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, length)
    end = at + length
    if end > len(block):
        raise HpackError("a string that ends too early")
    text = block[at:end]
    if first & 0x80:
        found = strings.get(text)
        if found is None:
            found = decode_untrusted(text)
            if length <= _MEMORABLE:
                if len(strings) >= _REMEMBERED:
                    strings.clear()
                strings[text] = found
        text = found
    return text, end


# --- the sending side -------------------------------------------------------------------------------------------------

_WHOLE = {field: bytes([0x80 | index]) for index, field in enumerate(STATIC, 1) if field[1]}
_encoded: dict[Field, bytes] = dict(_WHOLE)  # as they are sent, of those that were
_NAMES: dict[bytes, int] = {}
for _index, (_name, _) in enumerate(STATIC, 1):
    _NAMES.setdefault(_name, _index)
#: Intermediaries must not put these into a table either (§7.1.3).
_SECRET = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})


#: §6.3: the dynamic table has no room; said first in a block.
NO_TABLE = b"\x20"


def encode(fields: list[Field]) -> bytes:
    """A header block that says all of it anew: nothing enters a table, so that blocks may be sent in any order."""
    return b"".join([_encoded.get(field) or _encode(field) for field in fields])


def _encode(field: Field) -> bytes:
    name, value = field
    block = bytearray()
    index = _NAMES.get(name, 0)
    _put(block, 0x10 if name in _SECRET else 0, 0x0F, index)
    if not index:
        _put(block, 0, 0x7F, len(name))
        block += name
    _put(block, 0, 0x7F, len(value))
    block += value
    found = bytes(block)
    if len(found) <= _MEMORABLE and name not in _SECRET:
        if len(_encoded) >= _REMEMBERED:
            _encoded.clear()
            _encoded.update(_WHOLE)
        _encoded[field] = found
    return found


def _put(block: bytearray, flags: int, mask: int, value: int) -> None:
    if value < mask:
        block.append(flags | value)
        return
    block.append(flags | mask)
    value -= mask
    while value >= 0x80:
        block.append(value & 0x7F | 0x80)
        value >>= 7
    block.append(value)
