"""HPACK against the ``hpack`` package, which knows nothing of ours: both directions, any table size, any bytes."""

from __future__ import annotations

import contextlib
import time

import hpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shadowd.protocols import hpack_huffman
from shadowd.protocols.hpack import MAX_LIST, MAX_TABLE, Decoder, HpackError, encode

NAMES = st.one_of(
    st.sampled_from([b":method", b":path", b":status", b"cookie", b"content-type", b"x-request-id", b"te"]),
    st.binary(min_size=1, max_size=12),
)
VALUES = st.one_of(st.sampled_from([b"", b"GET", b"/", b"200", b"gzip, deflate"]), st.binary(max_size=300))
Fields = list[tuple[bytes, bytes]]
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.none() | st.integers(0, 8192)), max_size=12))
def test_blocks_of_an_encoder_with_a_table(blocks: list[tuple[list[tuple[bytes, bytes]], bool, int | None]]) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        assert decoder.decode_untrusted(encoder.encode(fields, huffman=huffman)) == fields
        assert not decoder.oversized
        assert decoder.size <= MAX_TABLE


@given(FIELDS, FIELDS)
def test_what_is_encoded_is_read_in_any_order(
    first: list[tuple[bytes, bytes]], second: list[tuple[bytes, bytes]]
) -> None:
    blocks = [encode(first), encode(second)]
    for order in ((0, 1), (1, 0)):
        oracle = hpack.Decoder(max_header_list_size=1 << 20)
        for index in order:
            expected = (first, second)[index]
            assert [(bytes(n), bytes(v)) for n, v in oracle.decode(blocks[index], raw=True)] == expected
            assert Decoder().decode_untrusted(blocks[index]) == expected


def told(block: bytes, tables: tuple[Decoder, hpack.Decoder]) -> tuple[object, object]:
    """What both make of a block; None is an error."""
    ours: object = None
    with contextlib.suppress(HpackError):
        ours = tables[0].decode_untrusted(block)
    theirs: object = None
    with contextlib.suppress(hpack.HPACKError, IndexError, UnicodeDecodeError):
        theirs = [(bytes(name), bytes(value)) for name, value in tables[1].decode(block, raw=True)]
    return ours, theirs


@given(st.lists(st.binary(max_size=60), max_size=4))
@example([b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"])  # RFC 7541 C.4.1
def test_any_bytes_are_read_as_the_other_reads_them_or_refused(blocks: list[bytes]) -> None:
    oracle = hpack.Decoder(max_header_list_size=1 << 20)
    oracle.max_allowed_table_size = MAX_TABLE
    tables = (Decoder(), oracle)
    for block in blocks:
        ours, theirs = told(block, tables)
        assert ours == theirs
        if ours is None:
            break


@given(st.binary(max_size=200))
def test_huffman_strings(text: bytes) -> None:
    encoder = hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    )
    assert hpack_huffman.decode_untrusted(encoder.encode(text)) == text


@pytest.mark.parametrize(
    "block",
    [
        b"\x80", b"\xbe", b"\x00", b"\x00\x05ab", b"\x40\x01", b"\xff\xff\xff\xff\xff\xff\x0f", b"\x82\x20",
        b"\x3f\xff\xff\xff\xff\x0f", b"\x00\x81\xff\x00", b"\x00\x84\xff\xff\xff\xff\x00",
    ],
)  # fmt: skip
def test_what_no_encoder_makes_is_refused(block: bytes) -> None:
    with pytest.raises(HpackError):
        Decoder().decode_untrusted(block)


def test_a_bomb_is_cut_and_the_table_stays_right() -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    large = (b"x-large", b"v" * 3900)
    decoder.decode_untrusted(encoder.encode([large], huffman=False))
    fields = decoder.decode_untrusted(b"\xbe" * 16_000)  # 62 MB
    assert decoder.oversized
    assert sum(len(name) + len(value) for name, value in fields) <= MAX_LIST
    after = [(b":path", b"/next"), (b"x-request-id", b"7"), large]
    assert decoder.decode_untrusted(encoder.encode(after)) == after
    assert not decoder.oversized


def test_a_table_that_turns_over_costs_no_more_than_its_entries() -> None:
    """A block whose every field evicts another: quadratic work would take a minute."""
    decoder = Decoder()
    decoder.decode_untrusted(b"\x3f\xe1\xff\x03")  # 64 KB
    one = b"\x40\x01a\x00"
    begun = time.process_time()
    decoder.decode_untrusted(one * 60_000)
    first = time.process_time() - begun
    decoder.decode_untrusted(one * 60_000)
    assert decoder.size <= MAX_TABLE
    assert time.process_time() - begun < 20 * (first + 0.5)
