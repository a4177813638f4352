"""The Huffman code of HPACK (RFC 7541 §5.2, appendix B), which is canonical: the lengths say it all (sans-IO).

Strings are decoded four bits at a time: a state is a node of the code's tree, and ``_moves[16 * state + bits]`` says
where four more bits lead, and which symbol they complete.
"""

from __future__ import annotations

#: Bits of each symbol's code, 0 to 255; the 257th is the end of string, of which only the beginning may appear.
_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b080606060505050606060606"
    "060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f050605060506060605070706060605"
    "06070605050607070707070f0b0e0d1c14161414161616171617171717171817181816171817171717151617161717181615141616171715"
    "1716161815161717151516151716171714161616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
_END = 256
#: Shorter codes are not padded with more (RFC 7541 §5.2): 7 bits of the end of string's, which are ones.
_MAX_PADDING = 7


class HuffmanError(ValueError):
    """No string of this code: the end of string within it, or padding that is none."""


def _codes() -> list[int]:
    """Of the symbols in their order: codes of one length follow each other, and begin where shorter ones ended."""
    codes = [0] * len(_LENGTHS)
    code = before = 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda one: (_LENGTHS[one], one)):
        code <<= _LENGTHS[symbol] - before
        before = _LENGTHS[symbol]
        codes[symbol] = code
        code += 1
    return codes


def _tree() -> list[list[int]]:
    """Nodes: where 0 and 1 lead. A leaf is its symbol, minus one and negated; the root is node 0."""
    nodes = [[0, 0]]
    for symbol, code in enumerate(_codes()):
        at = 0
        for bit in range(_LENGTHS[symbol] - 1, 0, -1):
            step = code >> bit & 1
            if not nodes[at][step]:
                nodes.append([0, 0])
                nodes[at][step] = len(nodes) - 1
            at = nodes[at][step]
        nodes[at][code & 1] = -1 - symbol
    return nodes


_BROKEN = -1


def _table() -> list[tuple[int, int]]:
    """(state, symbol or -1) for each state and four bits; state ``_BROKEN`` where the end of string was reached. No
    code is shorter than five bits, so that four complete one symbol at most."""
    nodes = _tree()
    moves = []
    for state in range(len(nodes)):
        for bits in range(16):
            at, symbol = state, -1
            for bit in (3, 2, 1, 0):
                at = nodes[at][bits >> bit & 1]
                if at < 0:
                    symbol, at = -1 - at, 0
                    if symbol == _END:
                        at = _BROKEN
                        break
            moves.append((at, symbol))
    return moves


def _ends() -> frozenset[int]:
    """States in which a string may end: the root, and those that up to seven ones lead to from it."""
    nodes = _tree()
    found, at = {0}, 0
    for _ in range(_MAX_PADDING):
        at = nodes[at][1]
        found.add(at)
    return frozenset(found)


_moves: list[tuple[int, int]] = []
_endings: frozenset[int] = frozenset()


def decode_untrusted(data: bytes) -> bytes:
    """The string. Raises HuffmanError."""
    global _moves, _endings
    if not _moves:  # 4,000 entries: made by whom HTTP/2 comes to
        _moves, _endings = _table(), _ends()
    moves = _moves
    state = 0
    found = bytearray()
    for byte in data:
        state, symbol = moves[state << 4 | byte >> 4]
        if symbol >= 0:
            if state < 0:
                raise HuffmanError("the end of string within a string")
            found.append(symbol)
        state, symbol = moves[state << 4 | byte & 15]
        if symbol >= 0:
            if state < 0:
                raise HuffmanError("the end of string within a string")
            found.append(symbol)
    if state not in _endings:
        raise HuffmanError("padding that is no beginning of the end of string")
    return bytes(found)
