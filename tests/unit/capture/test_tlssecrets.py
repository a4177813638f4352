"""Whose a secret is: by what ClientHellos had, wherever the library keeps its copy."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.capture import abi
from shadowd.capture.tlssecrets import LABELS, ProbedSecrets, Secret, SecretError, Whose

A, B = bytes(range(32)), bytes(range(100, 132))  # of two ClientHellos
WINDOW = abi.TLS_PLACES * abi.TLS_RANDOM


def record(
    window: bytes, exact: int = 0, library: int = 1, label: bytes = b"CLIENT_RANDOM", secret: bytes = b"s" * 48,
    length: int | None = None,
) -> bytes:  # fmt: skip
    return abi.SECRET.pack(
        5, 6, 7, 8, library, len(secret) if length is None else length, len(label), abi.RECORD_SECRET, exact, 0, 0, 9,
        label, secret, window.ljust(WINDOW, b"\0"),
    )  # fmt: skip


def test_what_it_carries() -> None:
    for label in LABELS:
        found = Secret(record(b"r" * 32, 1, label=label, secret=b"abc"))
        assert (found.label, found.secret, found.time, found.pid) == (label, b"abc", 5, 7)
        assert "abc" not in repr(found)
        assert Whose().random(found, set().__contains__) == b"r" * 32, "Go tells it with the secret"


@given(st.binary(min_size=abi.SECRET.size, max_size=abi.SECRET.size))
def test_any_bytes_are_a_secret_or_our_error(data: bytes) -> None:
    try:
        found = Secret(data)
    except SecretError:
        return
    assert found.label in LABELS


@pytest.mark.parametrize(
    "bad",
    [
        b"", record(b"")[:-1], record(b"", label=b"c hs traffic"), record(b"", label=b""), record(b"", length=49),
        record(b"", length=0),
    ],
)  # fmt: skip
def test_what_is_no_secret(bad: bytes) -> None:
    with pytest.raises(SecretError):
        Secret(bad)


@given(st.integers(0, (WINDOW - 32) // 8), st.integers(0, 2**32), st.integers(1, 30))
def test_the_place_is_learned_from_one_connection(place: int, seed: int, connections: int) -> None:
    """The oracle knows where this library keeps the random: at ``place`` words."""
    dice = random.Random(seed)
    whose = Whose()

    def told(client: bytes) -> Secret:
        window = bytearray(dice.randbytes(WINDOW))
        window[8 * place : 8 * place + 32] = client
        return Secret(record(bytes(window)))

    randoms = [dice.randbytes(32) for _ in range(connections)]
    assert whose.random(told(randoms[0]), set().__contains__) is None, "nothing is guessed"
    for client in randoms:
        assert whose.random(told(client), set(randoms).__contains__) == client
    later = dice.randbytes(32)
    assert whose.random(told(later), set().__contains__) == later, "a ClientHello that is not captured yet"
    whose.forget(1)
    assert whose.random(told(later), set().__contains__) is None


def test_a_place_that_no_longer_fits_is_left() -> None:
    """The number is another library's, or the library was replaced."""
    whose = Whose()
    first, second = A, B
    assert whose.random(Secret(record(bytes(64) + first)), {first}.__contains__) == first
    assert whose.random(Secret(record(bytes(8) + second)), {second}.__contains__) == second
    assert whose.random(Secret(record(bytes(8) + first)), set().__contains__) == first, "the newer place holds"


@given(st.binary(min_size=1, max_size=3), st.integers(0, 10))
def test_a_random_that_is_none_teaches_nothing(few: bytes, at: int) -> None:
    """A client chooses it: one of zeros would be found wherever a structure has zeros."""
    whose = Whose()
    poor = (few * 32)[:32]
    window = bytes(64) + A
    assert whose.random(Secret(record(window)), {A}.__contains__) == A
    other = bytes(64) + B
    assert whose.random(Secret(record(poor[: at % 32] + other[at % 32 :])), {poor, bytes(32)}.__contains__) == B
    assert whose.random(Secret(record(poor + bytes(64))), {poor, bytes(32)}.__contains__) is None


class Ring:
    """A keyring as the sessions see it."""

    def __init__(self, *wanted: bytes) -> None:
        self._wanted = set(wanted)
        self.added: list[tuple[bytes, bytes, bytes, int]] = []

    def add(self, client_random: bytes, label: bytes, secret: bytes, now: int, /) -> None:
        self.added.append((client_random, label, secret, now))

    def wanted(self, client_random: bytes, /) -> bool:
        return client_random in self._wanted


def test_into_the_keyring() -> None:
    ring = Ring(A)
    probed = ProbedSecrets(ring)
    probed.take(record(bytes(32) + B))  # another worker's connection
    probed.take(record(bytes(32) + A))
    probed.take(record(b"", label=b"CLIENT_TRAFFIC_SECRET_N"))
    probed.take(b"")
    assert ring.added == [(A, b"CLIENT_RANDOM", b"s" * 48, 5)]
    assert (probed.taken, probed.unmatched, probed.others) == (1, 1, 2)
