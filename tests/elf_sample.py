"""A small x86-64 library that calls one function with labels of secrets, made byte by byte: no compiler is needed."""

from __future__ import annotations

import struct

LABELS = (b"CLIENT_RANDOM", b"SERVER_HANDSHAKE_TRAFFIC_SECRET", b"CLIENT_TRAFFIC_SECRET_0", b"SERVER_TRAFFIC_SECRET_0")
CODE, STRINGS, UNWINDING, NOTE = 0x400, 0x800, 0xA00, 0xB00
SIZE = 0xC00
#: Where the function begins, and where others do.
LOGS, OTHERS = 0x440, (0x400, 0x480, 0x500)
BUILD_ID = bytes(range(20))
LEA_RSI, LEA_RAX = b"\x48\x8d\x35", b"\x48\x8d\x05"


def library(
    load: bytes = LEA_RSI, called: int = LOGS, listed: bool = True, labels: tuple[bytes, ...] = LABELS,
    first: bytes = b"\x55", machine: int = 62, kind: bytes = b"OpenSSL 3.0.1\0", overlap: int = 0,
) -> bytes:  # fmt: skip
    """``load``: how labels are loaded; ``called``: where the calls go; ``listed``: whether the unwinding table names
    ``LOGS``; ``first``: how the function begins; ``overlap``: so many more segments over the whole file."""
    data = bytearray(SIZE)
    places = {}
    at = STRINGS
    for label in labels:
        places[label] = at
        data[at : at + len(label) + 1] = label + b"\0"
        at += len(label) + 1
    data[at : at + len(kind)] = kind
    data[LOGS : LOGS + len(first)] = first
    at = OTHERS[1]
    for label in labels:
        data[at : at + 7] = load + struct.pack("<i", places[label] - at - 7)
        data[at + 7 : at + 10] = b"\x48\x89\xdf"  # mov rdi, rbx
        data[at + 10 : at + 15] = b"\xe8" + struct.pack("<i", called - at - 15)
        at += 20
    functions = sorted([*OTHERS, *([LOGS] if listed else [])])
    table = b"".join(struct.pack("<ii", one - UNWINDING, 0) for one in functions)
    data[UNWINDING : UNWINDING + 12] = b"\x01\x1b\x03\x3b" + struct.pack("<iI", 0, len(functions))
    data[UNWINDING + 12 : UNWINDING + 12 + len(table)] = table
    data[NOTE : NOTE + 36] = struct.pack("<III", 4, 20, 3) + b"GNU\0" + BUILD_ID
    data[len(data) :] = bytes(overlap * 70_000)
    segments = [
        (1, 5, 0, SIZE),
        (0x6474E550, 4, UNWINDING, 12 + len(table)),
        (4, 4, NOTE, 36),
        *[(1, 5, 0, len(data))] * overlap,
    ]
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 64, 0, 0, 64, 56,
                       len(segments), 64, 0, 0)  # fmt: skip
    data[:64] = head
    listing = b"".join(struct.pack("<IIQQQQQQ", *pair, place, place, place, size, size, 4096)
                       for *pair, place, size in segments)  # fmt: skip
    data[64 : 64 + len(listing)] = listing
    return bytes(data)
