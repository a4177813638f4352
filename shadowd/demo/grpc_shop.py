"""What the demo's gRPC service answers: version 1, and version 2 with its planted faults (sans-IO).

The messages are written by hand, so that the demo needs no compiler for Protocol Buffers::

    service Shop {
        rpc GetItem(Id) returns (Item);    rpc GetOrder(Id) returns (Order);    rpc Search(Query) returns (Items);
        rpc ListItems(Id) returns (stream Item);    rpc PutItem(Item) returns (Item);
    }
    message Id { int64 id = 1; }
    message Item { int64 id = 1; string name = 2; int64 cents = 3; Place place = 4; }
    message Place { string shelf = 1; int64 count = 2; }
    message Order { int64 id = 1; int64 total_cents = 2; repeated Item lines = 3; }
    message Query { string text = 1; }
    message Items { repeated Item items = 1; }
"""

from __future__ import annotations

from shadowd.demo.shop import FAIL_EACH, GOODS, LEAK_LIMIT, SEARCH_MS

PLANTED = (
    "shop.Shop/GetOrder forgets the last line in the total when id % 7 == 3",
    "shop.Shop/Search takes 44 ms where version 1 takes 4 ms",
    "each 100th shop.Shop/GetItem is UNAVAILABLE",
    "1 KB is kept for ever per request",
)
METHODS = ("GetItem", "GetOrder", "Search", "ListItems", "PutItem")


class Unavailable(Exception):
    """The planted status."""


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def number(field: int, value: int) -> bytes:
    """A varint field."""
    return _varint(field << 3) + _varint(value)


def text(field: int, value: bytes) -> bytes:
    """A field of a length: a string, or a message."""
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def item(known: int) -> bytes:
    name = f"{GOODS[known % len(GOODS)]} no. {known}"
    place = text(1, b"shelf %d" % (known % 40)) + number(2, known % 90 + 1)
    return number(1, known) + text(2, name.encode()) + number(3, known % 900 + 99) + text(4, place)


def _id_of(message: bytes) -> int:
    """The first field of a request, a varint; 1 if it is none."""
    if message[:1] != b"\x08":
        return 1
    value = 0
    for place, byte in enumerate(message[1:10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    return value


class GrpcShop:
    """Answers of one version. ``delay`` of an answer is in seconds."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._asked = 0
        self._kept: list[bytearray] = []

    def answer(self, method: str, message: bytes) -> tuple[list[bytes], float]:
        """Messages of the answer, and how long it takes. Raises Unavailable."""
        if self._version == 2 and len(self._kept) < LEAK_LIMIT:
            self._kept.append(bytearray(1024))
        known = _id_of(message)
        if method == "Search":
            found = [item(known + step) for step in range(3)]
            return [b"".join(text(1, one) for one in found)], SEARCH_MS[self._version] / 1000
        if method == "ListItems":
            return [item(known + step) for step in range(4)], 0.0
        if method == "GetOrder":
            lines = [known + step for step in range(known % 3 + 1)]
            priced = lines[:-1] if self._version == 2 and known % 7 == 3 and len(lines) > 1 else lines
            total = sum(line % 900 + 99 for line in priced)
            return [number(1, known) + number(2, total) + b"".join(text(3, item(line)) for line in lines)], 0.0
        if method == "GetItem":
            self._asked += 1
            if self._version == 2 and self._asked % FAIL_EACH == 0:
                raise Unavailable
        return [item(known)], 0.0
