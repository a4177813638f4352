"""What comparing an answer would cost, told before anything is parsed (sans-IO).

A linear scan: the bytes after decompression, and how many values and events they can hold at most. Parsing makes at
least one object of each, and the comparison some more: ``LIGHT`` values of both sides together are some 20 ms here at
their worst, with nothing equal. What is heavier is compared in the comparer process, or by digest
(``shadowd/evidence/examining.py``).
"""

from __future__ import annotations

from shadowd.compare.content import content_untrusted
from shadowd.compare.pieces import encoded
from shadowd.exchange.exchange import Response

#: Values of all answers of one exchange that the pump compares itself.
LIGHT = 12_000
#: Values that anybody compares: four times the default of ``Options.max_nodes``, some 300 ms.
MOST = 400_000
#: The same of answers of a model: they are read, not aligned, at 0.55 us a value here at their worst (40 ms). Three
#: streams of ``max_body``'s default as providers send them (23,000 values each) are below it.
LIGHT_READ = 75_000
#: Bytes after decompression that the pump looks at; undoing them costs a millisecond.
DECODED = 256 << 10
#: Bytes that are light whatever they say.
SMALL = 2 << 10
#: Told of what is beyond ``DECODED``.
HEAVY = 1 << 30
_EACH = 64  # bytes of plain text that cost as much as one value
_ELEMENT = 3  # values that an element of XML or HTML costs
_EVENT = 6  # more than its lines that an event costs, which a blank line ends: 5 us, however little it says
_CODED = 6  # bytes that are percent-encoded and cost as much as one value
_LINE = 2  # more than its values that a line of JSON costs
#: Of text that is parsed and not compared: bytes, and escapes, that cost as much as one value.
_PARSED = 256
_ESCAPES = 4
_LOOKED = 256 << 10
#: Digits in a row that make a number heavy: Python converts them in quadratic time.
_DIGITS = b"0" * 400
_TO_DIGITS = bytes(48 if 48 <= one <= 57 else 32 for one in range(256))


def values(data: bytes) -> int:
    """An upper bound of the values, lines, elements and events of a content, and its length in their terms."""
    if _DIGITS in data.translate(_TO_DIGITS):
        return HEAVY
    events = 0
    if b"data:" in data:
        events = data.count(b"\n\n") + data.count(b"\r\r") + data.count(b"\r\n\r\n")
    return (
        data.count(b",") + data.count(b"[") + data.count(b"{") + data.count(b"\n") + data.count(b"\r")
        + data.count(b"&") + _ELEMENT * data.count(b"<") + data.count(b"\\") // 2
        + data.count(b"%") // _CODED + len(data) // _EACH
        + _EVENT * events + _LINE * data.count(b"\n{")
    )  # fmt: skip


def parsing_weighs(data: bytes, most: int) -> bool:
    """Whether parsing JSON that is not compared costs more than that of ``most`` values: 20 ms for ``LIGHT_READ``.
    Looks no further than that is known."""
    if len(data) + len(data) // _PARSED <= most:  # if each byte of it were a value
        return False
    found = 0
    for at in range(0, len(data), _LOOKED):
        piece = data[at : at + _LOOKED]
        found += piece.count(b",") + piece.count(b"[") + piece.count(b"{") + piece.count(b"\\") // _ESCAPES
        if found + (at + len(piece)) // _PARSED > most:
            return True
    return False


def burden(response: Response) -> int:
    """Of one answer, as ``values``; ``HEAVY`` if it is larger than the pump looks at."""
    if response.digest:
        return 0  # nothing of it is parsed
    body = response.body
    if not encoded(response.head):
        return values(body) if len(body) > SMALL else len(body) // _EACH
    content = content_untrusted(response.head, body, DECODED)
    if content.problem == "too large":
        return HEAVY
    return values(content.data)
