"""Where copies of a byte differ: what the assembler says, and what this machine's kernel hands an application."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from shadowd.stream.assembler import Assembler
from shadowd.stream.flow import ACK, CLIENT, SERVER, SYN, Flow
from tests.conftest import ROOT, need
from tests.unit.stream.test_flow import Log

pytestmark = pytest.mark.usefixtures("root_user")

FIN = 1
CASES = 800
Segment = tuple[int, str, int, int]  # stream offset, hex bytes, flags, urgent pointer


def drawn(random_numbers: random.Random, deep: bool) -> list[Segment]:
    """Segments of one letter each, all above the first byte, in any order; then the bytes that fill every hole. Some of
    those that end with the stream carry its FIN."""
    places = random_numbers.randint(60, 400) if deep else random_numbers.randint(8, 60)
    end = places + random_numbers.randint(1, 20)
    segments: list[Segment] = []
    for letter in range(random_numbers.randint(20, 90) if deep else random_numbers.randint(2, 14)):
        start = (
            end - random_numbers.choice([3, 5]) if random_numbers.random() < 0.2 else random_numbers.randint(1, places)
        )
        length = min(random_numbers.choice([1, 2, 2, 3, 4, 5, 8, 16, 30]), end - start)
        fin = FIN if start + length == end and random_numbers.random() < 0.5 else 0
        segments.append((start, (bytes([33 + letter]) * length).hex(), fin, 0))
        if random_numbers.random() < 0.05:
            segments.append((0, (b"-" * random_numbers.randint(1, places)).hex(), 0, 0))
    segments.append((0, (b"." * end).hex(), FIN, 0))
    return segments


def assembled(segments: list[Segment]) -> bytes:
    assembler = Assembler()
    assembler.anchor(0)
    read = b""
    for at, data, flags, _ in segments:
        read += assembler.push(at, bytes.fromhex(data), bool(flags & FIN))
        if flags & FIN:
            assembler.finish(at + len(data) // 2)
    return read


def kernels_word(cases: list[list[Segment]]) -> list[bytes]:
    need(Path("/dev/net/tun").exists(), "needs /dev/net/tun")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.netns.kernel_reader"],
        input=json.dumps(cases), capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [bytes.fromhex(read) for read in json.loads(done.stdout)]


def test_the_assembler_reads_what_the_kernel_reads() -> None:
    seed = 0 if os.environ.get("CI") else random.randrange(1 << 32)
    random_numbers = random.Random(seed)
    cases = [drawn(random_numbers, deep=bool(number % 4 == 0)) for number in range(CASES)]
    differing = [
        (case, ours, theirs)
        for case, theirs in zip(cases, kernels_word(cases), strict=True)
        if (ours := assembled(case)) != theirs
    ]
    assert not differing, f"seed {seed}, {len(differing)} of {CASES}: {min(differing, key=lambda d: len(d[0]))}"


URG = 0x20


@pytest.mark.parametrize(
    ("segments", "read"),
    [
        ([(0, b"abc", 0, 0), (3, b"d!e", URG, 2), (6, b"f", 0, 0)], b"abcdef"),
        ([(0, b"!bc", URG, 0)], b"bc"),
        ([(3, b"de", URG, 3), (0, b"abc", 0, 0), (5, b"!f", 0, 0)], b"abcdef"),
        ([(2, b"!c", URG, 1), (4, b"d!", URG, 2), (0, b"ab", 0, 0)], b"ab!cd"),
    ],
)
def test_the_urgent_byte_is_the_one_that_the_kernel_takes_out(
    segments: list[tuple[int, bytes, int, int]], read: bytes
) -> None:
    """In the flow as in the kernel: the pointer is looked at before the segment's data."""
    (theirs,) = kernels_word([[(at, data.hex(), flags, urgent) for at, data, flags, urgent in segments]])
    log = Log()
    flow = Flow(False, sink=log)
    flow.segment(CLIENT, 999, 0, SYN, b"", 1)
    flow.segment(SERVER, 4999, 1000, SYN | ACK, b"", 1)
    for at, data, flags, urgent in segments:
        if flags & URG:
            flow.mark_urgent(CLIENT, 1000 + at + max(0, urgent - 1))
        flow.segment(CLIENT, 1000 + at, 5000, ACK | flags, data, 2)
    assert log.text(CLIENT) == theirs == read
