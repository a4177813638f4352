"""How alike two texts are, by edits: the longest common subsequence, bit-parallel on Python's long integers (sans-IO).

A bit of ``unmatched`` stands for a character of the first text; a character of the second moves all of them at once by
one addition, whose carries are the matches (Crochemore, Iliopoulos, Pinzon & Reid 2001; Hyyrö 2004). So n · m steps are
m operations on n bits. What both begin and end with is not looked at twice.
"""

from __future__ import annotations


def likeness(first: str, second: str) -> float:
    """0 to 1: twice the length of the longest common subsequence, of the length of both. The time that it takes grows
    with the product of the lengths: bounding them is the caller's."""
    length = len(first) + len(second)
    return 2 * _common(first, second) / length if length else 1.0


def _common(first: str, second: str) -> int:
    """Length of the longest common subsequence."""
    before = _shared(first, second)
    first, second = first[before:], second[before:]
    after = _shared(first[::-1], second[::-1])
    first, second = first[: len(first) - after], second[: len(second) - after]
    if len(first) < len(second):
        first, second = second, first  # fewer operations on longer numbers
    places: dict[str, int] = {}
    for place, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << place
    everything = unmatched = (1 << len(first)) - 1
    for character in second:
        if met := unmatched & places.get(character, 0):
            unmatched = unmatched + met | unmatched ^ met  # what is carried out stays above, and is not counted
    return before + after + len(first) - (unmatched & everything).bit_count()


def _shared(first: str, second: str) -> int:
    """Characters that both begin with."""
    if first == second:
        return len(first)
    pairs = zip(first, second, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
