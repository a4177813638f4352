"""Evidence from a file: whatever is in it, one error in one line, in bounded time and memory."""

from __future__ import annotations

import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.evidence import carrying
from shadowd.evidence.carrying import MAGIC, MAX_BYTES, MAX_FILE, VERSION, from_bytes_untrusted, to_bytes
from shadowd.evidence.conditions import MergeError
from shadowd.evidence.merging import EMPTY, EVIDENCE, merge
from shadowd.judge.merged import assess_untrusted
from tests.conftest import ROOT
from tests.unit.evidence.fleet import World, dealt, value_of

HEAD = MAGIC + f"{VERSION} {sys.byteorder}\n".encode()


@pytest.fixture(scope="module")
def value() -> Any:
    one, _ = dealt(World(seconds=4, failing=0.05, wrong=0.1, blips=30), 1, 1)
    return value_of(one)


def refused(data: bytes) -> str:
    with pytest.raises(MergeError) as raised:
        from_bytes_untrusted(data)
    said = str(raised.value)
    assert len(said.splitlines()) == 1
    assert said.isprintable()
    assert raised.value.exit_code == 2
    return said


def packed(plain: Any) -> bytes:
    return HEAD + zlib.compress(msgpack.packb(plain, use_bin_type=True), 1)


def test_another_version_and_another_thing_are_told_apart() -> None:
    written = to_bytes(EMPTY)
    order = sys.byteorder
    assert from_bytes_untrusted(written) == EMPTY
    for version in (VERSION - 1, VERSION + 1, 99):
        other = MAGIC + f"{version} {order}\n".encode() + written.partition(b"\n")[2]
        assert refused(other).startswith(f"it has format {version}, this version reads {VERSION}")
    foreign = "big" if order == "little" else "little"
    assert "byte order" in refused(MAGIC + f"{VERSION} {foreign}\n".encode() + written.partition(b"\n")[2])
    for data in (b"", b"\n", b"shadowd", b"\x1f\x8b\x08", MAGIC, MAGIC + b"1" * 100 + b"\n", b"{}", b"\0" * 5000):
        assert "no evidence of shadowd" in refused(data)
    assert "format ?" in refused(MAGIC + b"\x1b[31m\n" + b"x")


@settings(max_examples=300)
@given(data=st.binary(max_size=300), framed=st.integers(0, 2))
def test_any_bytes_are_refused_in_one_line(data: bytes, framed: int) -> None:
    assert refused((b"", HEAD, HEAD)[framed] + (zlib.compress(data) if framed == 2 else data))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=40,
)  # fmt: skip


@settings(max_examples=300)
@given(plain)
def test_any_other_value_is_refused(found: Any) -> None:
    assert "damaged" in refused(packed(found))


def test_cut_anywhere_or_with_more_behind_it_is_damaged(value: Any) -> None:
    written = to_bytes(value)
    for cut in (len(HEAD), len(HEAD) + 1, len(written) // 2, len(written) - 1):
        assert "damaged" in refused(written[:cut])
    assert "damaged" in refused(written + b"x")


def test_one_part_of_another_kind_is_refused_or_judged_and_nothing_else(value: Any) -> None:
    """A part that has become another value, in each place: an error of ours, or a verdict. Never anything else."""
    whole = msgpack.unpackb(zlib.decompress(to_bytes(value).partition(b"\n")[2]), raw=False)
    dice, outcomes = random.Random(5), {"refused": 0, "judged": 0}
    long = b"\xff\xff\xff\xff\xff\xff\xff\x3f" * 64
    others = [
        None, -1, 0, 1, 1 << 61, (1 << 62) + 1, 2.5, float("nan"), float("inf"), "x" * 5000, b"\xff" * 8, b"\x01" * 7,
        long, [], [[]], {}, True,
    ]  # fmt: skip
    said: list[str] = []
    for _ in range(900):
        changed = _changed(whole, dice, dice.choice(others))
        try:
            read = from_bytes_untrusted(packed(changed))
            assess_untrusted(read)
            assess_untrusted(merge(read, value_of(dealt_once(), "n9")))
            outcomes["judged"] += 1
        except MergeError as error:
            said.append(str(error))
            outcomes["refused"] += 1
    assert all(len(line.splitlines()) == 1 for line in said)
    assert min(outcomes.values()) > 20, outcomes


_ONCE: list[Any] = []


def dealt_once() -> Any:
    if not _ONCE:
        _ONCE.append(dealt(World(seconds=1), 2, 1)[0])
    return _ONCE[0]


def _changed(whole: Any, dice: random.Random, other: Any) -> Any:
    """A copy in which one value, chosen by a walk from the root, is ``other``."""
    if isinstance(whole, list) and whole and dice.random() < 0.93:
        at = dice.randrange(len(whole))
        return [*whole[:at], _changed(whole[at], dice, other), *whole[at + 1 :]]
    if isinstance(whole, dict) and whole and dice.random() < 0.93:
        name = dice.choice(sorted(whole))
        return {**whole, name: _changed(whole[name], dice, other)}
    return other


BOMBS = {
    "zeros": "bytes(900 << 20)",
    "empty lists": r"b'\xdd' + (60 << 20).to_bytes(4, 'big') + b'\x90' * (60 << 20)",
    "lists in lists": r"b'\x91' * (60 << 20)",
    "a list that says it is long": r"b'\xdd\xff\xff\xff\xff'",
    "maps": r"b'\xdf' + (20 << 20).to_bytes(4, 'big') + b'\x01\x90' * (20 << 20)",
    "a long text": r"b'\xdb' + (60 << 20).to_bytes(4, 'big') + b'a' * (60 << 20)",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_hostile_file_takes_little_memory(bomb: str, tmp_path: Path) -> None:
    """1 GB, or 60 MB that would be 4 GB of lists, in a few hundred KB of a file; read by a process of its own."""
    packer = zlib.compressobj(1)
    file = tmp_path / "bomb"
    data = eval(BOMBS[bomb])
    file.write_bytes(HEAD + packer.compress(data) + packer.flush())
    del data
    assert file.stat().st_size < MAX_FILE
    code = (
        "import resource, sys\n"
        "from shadowd.evidence.carrying import from_bytes_untrusted\n"
        "from shadowd.evidence.conditions import MergeError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    from_bytes_untrusted(open(sys.argv[1], 'rb').read())\n"
        "except MergeError:\n    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    assert int(done.stdout) < 2.5 * (MAX_BYTES >> 20), f"{done.stdout} MB"


def test_a_value_that_is_too_large_is_not_written(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "MAX_BYTES", 1000)
    with pytest.raises(MergeError, match="more than"):
        to_bytes(value)


def test_nothing_of_no_run_is_no_verdict() -> None:
    with pytest.raises(MergeError, match="no evidence of any run"):
        assess_untrusted(from_bytes_untrusted(to_bytes(EMPTY)))
    assert EVIDENCE.empty() == EMPTY
