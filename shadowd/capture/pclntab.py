"""Where a function of a Go program begins, by the table that its runtime cannot do without (stack traces, the garbage
collector), so that stripping leaves it: ``runtime.pclntab``.

Layout: src/runtime/symtab.go (``pcHeader``, ``functab``) of Go 1.18 to 1.26: magic, padding, the smallest instruction,
a pointer's size; then eight words: functions, files, where text begins, and offsets of names, units, files, pc tables
and functions. The functions' table has pairs of 32 bits, the function's offset from text and where its ``_func`` lies
from the table; ``_func`` begins with the same offset and the name's. Go 1.26 writes no text address any more (programs
that can be placed anywhere had none in the file before): it is where the section ``.text`` begins.
"""

from __future__ import annotations

import struct
from array import array

from shadowd.capture.elf import Elf

#: Go 1.18 and 1.19; 1.20 and later. Before 1.18 the table had addresses instead of offsets, and 1.16 no such registers.
_MAGICS = (b"\xf0\xff\xff\xff\0\0", b"\xf1\xff\xff\xff\0\0")
_HEAD = struct.Struct("<8Q")
#: kubelet has 110,000 functions; what claims more than a million is not read through.
MAX_FUNCTIONS = 1 << 20
#: A table's beginning is six bytes that other data may hold, too.
_MAX_TABLES = 8


def find_untrusted(elf: Elf, name: bytes) -> int | None:
    """The address of a function, None if the file has none of that name. Raises nothing."""
    data = elf.data
    for magic in _MAGICS:
        for at in elf.places(magic, 0, len(data), _MAX_TABLES):
            if at + 8 + _HEAD.size <= len(data) and data[at + 6 : at + 8] in (b"\x01\x08", b"\x04\x08"):
                address = _look(elf, at, name)
                if address is not None:
                    return address
    return None


def _look(elf: Elf, at: int, name: bytes) -> int | None:
    functions, _, text, names, units, _, _, table = _HEAD.unpack_from(elf.data, at + 8)
    size = len(elf.data)
    if not 0 < functions <= MAX_FUNCTIONS or not names < units <= size or at + table + 8 * functions > size:
        return None
    if not text:
        section = elf.section(b".text")
        if section is None:
            return None
        text = section[0]
    found = elf.data.find(b"\0" + name + b"\0", at + names - 1, at + units)
    if found < 0:
        return None
    wanted = found + 1 - at - names
    base = at + table
    pairs = array("I", elf.data[base : base + 8 * functions])
    for place in pairs[1::2]:
        if base + place + 8 > size:
            return None  # it is no such table
        entry, number = struct.unpack_from("<II", elf.data, base + place)
        if number == wanted:
            return int(text) + int(entry)
    return None
