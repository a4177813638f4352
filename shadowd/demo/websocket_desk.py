"""What the demo's helpdesk says on its WebSocket: version 1, and version 2 with its planted faults (sans-IO).

=========  ========================================  =================================================================
``type``   said by the client                        answered by
=========  ========================================  =================================================================
price      ``{"type": "price", "item": 17}``         ``{"type": "price", "item": 17, "name": …, "cents": …}``
ask        ``{"type": "ask", "text": "… 17 …"}``     ``{"type": "token", "text": …}`` several times, then
                                                     ``{"type": "done", "item": 17, "words": …, "turn": …}``
find       ``{"type": "find", "text": "bolt"}``      ``{"type": "found", "text": "bolt", "items": […]}``
order      ``{"type": "order", "item": 17}``         ``{"type": "ordered", "number": …, "lines": …, "cents": …}``
the rest                                             ``{"type": "error", "text": …}``
=========  ========================================  =================================================================

``turn`` counts what the client has said on this connection: an answer is a function of that number and the message,
but for the faults.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any, NamedTuple

from shadowd.demo.shop import GOODS, LEAK_LIMIT, SEARCH_MS

CLOSE_EACH = 25  # version 2 closes at each 25th order: 4 %, of some 30 orders a second
TOKEN_PAUSE = 0.002  # seconds between tokens: a model's are ten times slower, and the demo shorter
INTERNAL_ERROR = 1011  # RFC 6455 §7.4.1
MESSAGE_LIMIT = 4096  # characters of a client's message
LARGEST = 999_999_999  # of an item's numbers
PLANTED = (
    "a price is one cent short when item % 7 == 3",
    "what ends an answer about an item has no turn when item % 10 == 7",
    "find takes 44 ms where version 1 takes 4 ms",
    "each 25th order is a Close with 1011",
    "1 KB is kept for ever per turn",
)
#: ``type`` of the message that ends the answer to each.
ENDS = {"price": "price", "ask": "done", "find": "found", "order": "ordered"}

_NUMBER = re.compile(r"[0-9]{1,9}")


class Said(NamedTuple):
    """To one turn: ``delay`` seconds before the first message, ``TOKEN_PAUSE`` before each other; ``code``: of a
    Close, which is all that is said, or 0."""

    messages: tuple[str, ...] = ()
    delay: float = 0.0
    code: int = 0


def _json(**members: object) -> str:
    return json.dumps(members, separators=(",", ":"))


def _name(item: int) -> str:
    return f"{GOODS[item % len(GOODS)]} no. {item}"


def _cents(item: int) -> int:
    return 100 + item * 37 % 9_900


class Desk:
    """One version, for all of its connections."""

    def __init__(self, version: int) -> None:
        self._faulty = version == 2
        self._find_delay = SEARCH_MS[version] / 1000
        self._orders = 0
        self._kept: list[bytes] = []

    def hear_untrusted(self, text: str, turn: int) -> Said:
        """``turn``: which of this connection's it is, from 1. Never raises."""
        if self._faulty and len(self._kept) < LEAK_LIMIT:
            self._kept.append(bytes(1024))
        try:
            asked: Any = json.loads(text) if len(text) <= MESSAGE_LIMIT else None
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            return _refused("say a JSON object")
        kind, item, words = asked.get("type"), asked.get("item"), asked.get("text")
        if kind in ("price", "order"):
            if not isinstance(item, int) or not 0 <= item <= LARGEST:
                return _refused("item is the number of one")
            return self._price(item) if kind == "price" else self._order(item)
        if kind in ("ask", "find"):
            if not isinstance(words, str):
                return _refused("text is what to look for")
            return self._ask(words, turn) if kind == "ask" else self._find(words)
        return _refused("type is price, ask, find or order")

    def _price(self, item: int) -> Said:
        cents = _cents(item) - (self._faulty and item % 7 == 3)
        return Said((_json(type="price", item=item, name=_name(item), cents=cents),))

    def _ask(self, words: str, turn: int) -> Said:
        number = _NUMBER.search(words)
        item = int(number[0]) if number is not None else 1
        tokens = [_name(item), " is on shelf", f" {item % 40};", f" there are {item % 90 + 1}", " left."]
        end = {"type": "done", "item": item, "words": len(tokens), "turn": turn}
        if self._faulty and item % 10 == 7:
            del end["turn"]
        return Said((*[_json(type="token", text=token) for token in tokens], _json(**end)))

    def _find(self, words: str) -> Said:
        good = next((place for place, name in enumerate(GOODS) if name in words), 0)
        first = zlib.crc32(words.encode("utf-8", "replace")) % 90 * len(GOODS) + good
        items = [{"item": item, "name": _name(item)} for item in range(first, first + 5 * len(GOODS), len(GOODS))]
        return Said((_json(type="found", text=words, items=items),), self._find_delay)

    def _order(self, item: int) -> Said:
        self._orders += 1
        if self._faulty and self._orders % CLOSE_EACH == 0:
            return Said(code=INTERNAL_ERROR)
        lines = [{"item": one, "cents": _cents(one)} for one in range(item, item + item % 3 + 1)]
        total = sum(line["cents"] for line in lines)
        return Said((_json(type="ordered", number=item * 31 % 100_000, lines=lines, cents=total),))


def _refused(text: str) -> Said:
    return Said((_json(type="error", text=text),))
