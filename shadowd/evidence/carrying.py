"""A mergeable value as bytes, and back (sans-IO): what travels between nodes.

One line of text names the format, its version and the byte order; the rest is msgpack of a fixed shape, compressed.
Whatever the bytes are, reading takes bounded time and memory: their size is bounded before and after decompression, and
the values in them are counted before any is made (a list of empty lists has 64 times its bytes in memory).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from typing import Any

import msgpack

from shadowd.evidence.conditions import MergeError
from shadowd.evidence.merging import EVIDENCE, folded

#: What changes the shape of the value, or its meaning, raises it.
VERSION = 2
MAGIC = b"shadowd evidence "
#: Bytes of a value, and as they travel: of 500 endpoints, each busy for ten minutes, it is some 60 MB, 5 MB packed.
MAX_BYTES, MAX_PACKED = 64 << 20, 16 << 20
MAX_FILE = MAX_PACKED + 64
#: Numbers, texts and lists in it: 4,000 fields have 200,000, a thousand nodes as many.
MAX_VALUES = 2_000_000
_FIRST_LINE = 60
_ANEW = "write it anew: shadowctl evidence export"


def to_bytes(value: Mapping[str, Any]) -> bytes:
    """Raises MergeError for a value that is too large."""
    data: bytes = msgpack.packb(EVIDENCE.write(value), use_bin_type=True)
    packed = zlib.compress(data, 6)
    if len(data) > MAX_BYTES or len(packed) > MAX_PACKED:
        raise MergeError(
            f"the evidence has {len(data) >> 20} MB, more than {MAX_BYTES >> 20}", "name fewer endpoints (--route)"
        )
    return MAGIC + f"{VERSION} {sys.byteorder}\n".encode() + packed


def from_bytes_untrusted(data: bytes) -> Mapping[str, Any]:
    """Raises MergeError alone, whatever the bytes are."""
    first, newline, packed = data[:MAX_FILE].partition(b"\n")
    if not first.startswith(MAGIC) or not newline or len(first) > _FIRST_LINE:
        raise MergeError("it is no evidence of shadowd", "write it with shadowctl evidence export")
    words = first[len(MAGIC) :].decode("ascii", "replace").split()
    if words[:1] != [str(VERSION)]:
        version = words[0][:20] if words and words[0].isprintable() else "?"
        raise MergeError(
            f"it has format {version}, this version reads {VERSION}", "use one version of shadowd on all nodes and here"
        )
    if words[1:] != [sys.byteorder]:
        raise MergeError("it is of a machine of another byte order", "merge it on one of that kind")
    if len(data) > MAX_FILE:
        raise MergeError(f"it is larger than {MAX_PACKED >> 20} MB", _ANEW)
    try:
        return _value_untrusted(packed)
    except MergeError:
        raise
    except (
        ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, MemoryError, zlib.error,
        msgpack.UnpackException,
    ):  # fmt: skip
        raise MergeError("it is damaged", _ANEW) from None


def _value_untrusted(packed: bytes) -> Mapping[str, Any]:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(packed, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise MergeError(f"it is larger than {MAX_BYTES >> 20} MB when unpacked", _ANEW)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("length")
    _count_untrusted(data)
    read = msgpack.unpackb(
        data, raw=False, strict_map_key=True, max_str_len=1 << 16, max_bin_len=1 << 20, max_array_len=MAX_VALUES,
        max_map_len=1 << 12, max_ext_len=0,
    )  # fmt: skip
    return folded(EVIDENCE.read_untrusted(read))


#: By msgpack's first byte from 0xc0 on: bytes of the length, whether that many values or bytes follow, bytes without.
_SIZES: dict[int, tuple[int, str, int]] = {
    0xC0: (0, "", 0), 0xC2: (0, "", 0), 0xC3: (0, "", 0), 0xC4: (1, "bytes", 0), 0xC5: (2, "bytes", 0),
    0xC6: (4, "bytes", 0), 0xCA: (0, "", 4), 0xCB: (0, "", 8), 0xCC: (0, "", 1), 0xCD: (0, "", 2), 0xCE: (0, "", 4),
    0xCF: (0, "", 8), 0xD0: (0, "", 1), 0xD1: (0, "", 2), 0xD2: (0, "", 4), 0xD3: (0, "", 8), 0xD9: (1, "bytes", 0),
    0xDA: (2, "bytes", 0), 0xDB: (4, "bytes", 0), 0xDC: (2, "list", 0), 0xDD: (4, "list", 0), 0xDE: (2, "map", 0),
    0xDF: (4, "map", 0),
}  # fmt: skip


def _count_untrusted(data: bytes) -> None:
    """Raises ValueError for more than ``MAX_VALUES``; KeyError and IndexError for what is no msgpack of ours."""
    at, left, seen = 0, 1, 0
    while left:
        left, seen = left - 1, seen + 1
        first = data[at]
        at += 1
        if first < 0x80 or first >= 0xE0:
            continue  # a small number
        if first < 0xA0:
            many, what = first & 15, "list" if first >= 0x90 else "map"
        elif first < 0xC0:
            many, what = first & 31, "bytes"
        else:
            size, what, fixed = _SIZES[first]
            many = int.from_bytes(data[at : at + size], "big") if size else fixed
            at += size
        if what == "list":
            left += many
        elif what == "map":
            left += 2 * many
        else:
            at += many
        if left + seen > MAX_VALUES or at > len(data):
            raise ValueError("more than there is")
