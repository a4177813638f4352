"""The keyring and key-log lines: bounded, expiring, and nothing that was read wrong gets in or out."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shadowd.tls.keyring import LABELS, KeyLineError, KeyLines, Keyring, parse_line_untrusted

RANDOM, SECRET = bytes(range(32)), bytes(range(48))
LINE = b"CLIENT_RANDOM %b %b" % (RANDOM.hex().encode(), SECRET.hex().encode())


class Session:
    """Claims, and is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def retry(self, now: int) -> None:
        self.told.append("retry")

    def give_up(self, now: int) -> None:
        self.told.append("give_up")


def test_a_line_is_what_nss_writes() -> None:
    assert parse_line_untrusted(LINE) == (RANDOM, "CLIENT_RANDOM", SECRET)
    assert parse_line_untrusted(LINE + b"\r") == (RANDOM, "CLIENT_RANDOM", SECRET)
    assert parse_line_untrusted(LINE.replace(b"CLIENT_RANDOM", b"EXPORTER_SECRET")) is None
    for nothing in (b"", b"  ", b"# comment", b"RSA 0123456789abcdef " + b"ab" * 48):
        assert parse_line_untrusted(nothing) is None


@pytest.mark.parametrize(
    "line",
    [
        b"CLIENT_RANDOM", b"CLIENT_RANDOM ab cd", LINE[:-1], LINE + b" x", LINE.replace(b" ", b"  "), b"\0" * 99,
        b"client_random " + LINE[14:], LINE + b"00" * 16, b"A" * 300, LINE[:20] + b"g" + LINE[21:], b"\xff\xfe",
    ],
)  # fmt: skip
def test_what_is_no_line_is_refused_and_not_repeated(line: bytes) -> None:
    with pytest.raises(KeyLineError) as refused:
        parse_line_untrusted(line)
    assert line[:12].decode("latin-1") not in str(refused.value)


@given(st.lists(st.one_of(st.binary(max_size=400), st.just(LINE), st.just(b"\n"))), st.lists(st.integers(1, 50)))
@example([LINE, b"\n", b"x" * 2000, b"\n", LINE], [7])
def test_any_pieces_give_the_same(parts: list[bytes], steps: list[int]) -> None:
    data = b"".join(parts)
    found = []
    for step in (1 << 30, *steps):
        keyring = Keyring()
        lines = KeyLines(keyring)
        for at in range(0, len(data), step):
            lines.feed_untrusted(data[at : at + step], 0)
        lines.finish(0)
        found.append((keyring.added, lines.good, lines.bad))
    assert len(set(found)) == 1
    naive = sum(1 for line in data.split(b"\n") if _good(line))
    assert found[0][:2] == (naive, naive)


def _good(line: bytes) -> bool:
    try:
        return parse_line_untrusted(line) is not None
    except KeyLineError:
        return False


def test_a_piece_that_begins_within_a_line() -> None:
    keyring = Keyring()
    lines = KeyLines(keyring, inside=True)
    lines.feed_untrusted(LINE[5:] + b"\n" + LINE + b"\n", 0)
    assert (lines.good, lines.bad, keyring.added) == (1, 0, 1)


def test_bounded_and_expiring() -> None:
    keyring = Keyring(limit=3, ttl=100)
    for number in range(5):
        assert keyring.add(bytes([number]) * 32, "CLIENT_RANDOM", SECRET, number)
    assert len(keyring) == 3
    assert keyring.forgotten == 2
    session = Session()
    kept = keyring.claim(bytes([2]) * 32, session, 5)
    keyring.expire(103)
    assert len(keyring) == 2  # one is claimed, one too young
    assert keyring.wanted(bytes([2]) * 32)
    assert kept.get("CLIENT_RANDOM") == SECRET
    keyring.expire(104)
    keyring.release(bytes([2]) * 32, session)
    assert len(keyring) == 0
    assert not keyring.wanted(bytes([2]) * 32)


def test_what_nobody_claimed_can_be_forgotten() -> None:
    keyring = Keyring()
    session = Session()
    keyring.add(RANDOM, "CLIENT_RANDOM", SECRET, 0)
    keyring.add(RANDOM[::-1], "CLIENT_RANDOM", SECRET, 0)
    kept = keyring.claim(RANDOM, session, 0)
    keyring.forget()
    assert len(keyring) == 1
    assert kept.get("CLIENT_RANDOM") == SECRET


def test_only_what_is_used_is_kept() -> None:
    keyring = Keyring()
    assert not keyring.add(RANDOM, "EXPORTER_SECRET", SECRET, 0)
    assert not keyring.add(RANDOM[:-1], "CLIENT_RANDOM", SECRET, 0)
    assert not keyring.add(RANDOM, "CLIENT_RANDOM", b"", 0)
    assert not keyring.add(RANDOM, "CLIENT_RANDOM", bytes(49), 0)
    assert len(keyring) == 0
    for label in LABELS:
        assert keyring.add(RANDOM, label.encode(), SECRET, 0)
    assert len(keyring) == 1


def test_the_first_secret_counts() -> None:
    keyring = Keyring()
    keyring.add(RANDOM, "CLIENT_RANDOM", SECRET, 0)
    keyring.add(RANDOM, "CLIENT_RANDOM", SECRET[::-1], 0)
    assert keyring.claim(RANDOM, Session(), 0).get("CLIENT_RANDOM") == SECRET


def test_who_waits_is_told_or_gives_up() -> None:
    keyring = Keyring()
    one, two = Session(), Session()
    for session, random in ((one, RANDOM), (two, RANDOM[::-1])):
        keyring.claim(random, session, 0)
        keyring.wait(session, 0)
    keyring.settle(10, 100)
    assert not one.told
    keyring.add(RANDOM, "CLIENT_RANDOM", SECRET, 20)
    keyring.settle(20, 100)
    keyring.go_on(one)
    keyring.settle(99, 100)
    assert (one.told, two.told) == (["retry"], [])
    keyring.settle(100, 100)
    assert (one.told, two.told) == (["retry"], ["give_up"])
    keyring.settle(10_000, 100)
    assert two.told == ["give_up"]


def test_two_connections_with_one_hello() -> None:
    """A proxy that passes TLS through, on the same host: each segment is seen twice."""
    keyring = Keyring()
    one, two = Session(), Session()
    assert keyring.claim(RANDOM, one, 0) is keyring.claim(RANDOM, two, 0)
    keyring.release(RANDOM, one)
    keyring.add(RANDOM, "CLIENT_RANDOM", SECRET, 0)
    keyring.settle(0, 100)
    assert (one.told, two.told) == ([], ["retry"])
    keyring.release(RANDOM, two)
    assert not len(keyring)
