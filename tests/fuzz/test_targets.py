"""The fuzzer's targets on seeds that are damaged at random, the same each time: a smoke test of what ``make fuzz`` does
for as long as it is given."""

from __future__ import annotations

import random

import pytest

from .run import seconds
from .targets import SEEDS, TARGETS

ROUNDS = 600
#: What breaks parsers oftener than other bytes.
PIECES = (
    b"\x00", b"\xff", b"[]", b"{}", b"null", b"-1", b"1e999", b"9" * 50, b'"', b"\\u0000", b"\r\n", b"\n\n", b",", b"[",
    b"{", b"\xed\xa0\x80", b"true", b"\x1f\x8b", b"data: ", b": ", b"<", b"&#x0;", b"0\r\n\r\n",
)  # fmt: skip


def damaged(dice: random.Random, seed: bytes, others: list[bytes]) -> bytes:
    data = bytearray(seed)
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(data) + 1)
        end = at + dice.randrange(8)
        match dice.randrange(5):
            case 0:
                data[at:end] = dice.choice(PIECES)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end] * dice.randrange(1, 5)
            case 3:
                other = dice.choice(others)
                data[at:end] = other[dice.randrange(len(other)) :][: dice.randrange(40)]
            case 4 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_raises_nothing(name: str) -> None:
    dice = random.Random(7)
    seeds = SEEDS[name]
    others = [seed for listed in SEEDS.values() for seed in listed]
    for number in range(ROUNDS):
        data = damaged(dice, seeds[number % len(seeds)], others)
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"{name} on {data!r}") from error


def test_every_target_has_seeds_and_takes_nothing() -> None:
    assert SEEDS.keys() == TARGETS.keys()
    for target in TARGETS.values():
        target(b"")
        target(b"\x00")


def test_times() -> None:
    assert [seconds(text) for text in ("60", "60s", "10m", "2h")] == [60, 60, 600, 7200]
