"""What is needed of an ELF file to find a function in it: where segments lie, names, where functions begin.

The file is somebody else's (any process of the host may be looked at), so every number in it is checked against its
size before it is followed, and nothing is read twice as long because the file says so. Format: System V ABI, ELF-64;
the unwinding table: Linux Standard Base 5.0, core, §10.6 (``.eh_frame_hdr``).
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterator

MACHINE_X86_64, MACHINE_AARCH64 = 62, 183
#: A program has some ten segments; a hostile file may claim 65,535.
MAX_SEGMENTS = 128
#: Distributions' libraries have 30 sections, node with its symbols 45.
MAX_SECTIONS = 1024
#: Of a symbol's name looked at: C++ names with templates are longer, and none of ours.
MAX_NAME = 256
#: Linkers let neighbouring segments share a page, of 64 KB at most.
_OVERLAP = 65536
#: Places where one text is looked for: it stands there once or twice.
MAX_PLACES = 8
#: Places where a number is looked for in a table of symbols: the same four bytes are part of other numbers, too.
MAX_NUMBERS = 4096

_HEAD = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_LOAD, _NOTE, _UNWINDING = 1, 4, 0x6474E550
_SYMBOLS, _DYNAMIC_SYMBOLS = 2, 11  # SHT_SYMTAB, SHT_DYNSYM
_BUILD_ID = 3  # NT_GNU_BUILD_ID
_EXECUTABLE = 1  # PF_X
_FUNCTION = 2  # STT_FUNC
#: Version 1, the pointer as 32 bits from here, the count as 32 bits, the table as pairs of 32 bits from the header:
#: what linkers write where the table can be searched.
_HDR = b"\x01\x1b\x03\x3b"


Image = bytes | mmap.mmap


class ElfError(Exception):
    """It is no ELF file that can be read, and why."""


class Segment:
    """A part of the file that is mapped: ``size`` bytes at ``offset`` become those at ``address``."""

    __slots__ = ("address", "executable", "offset", "size")

    def __init__(self, offset: int, address: int, size: int, executable: bool) -> None:
        self.offset = offset
        self.address = address
        self.size = size
        self.executable = executable


class Elf:
    """A 64-bit little-endian file. Raises ElfError when made."""

    __slots__ = ("_sections", "_unwinding", "build_id", "data", "fixed", "machine", "segments")

    def __init__(self, data: Image) -> None:
        self.data = data
        self.segments: list[Segment] = []
        self.build_id = ""
        self._sections: list[tuple[int, int, int, int, int, int]] | None = None
        self._unwinding = (0, 0, 0)  # of the table: offset, entries, address of the header
        if len(data) < _HEAD.size:
            raise ElfError("it is too short for an ELF file")
        magic, kind, self.machine, _, _, start, _, _, _, size, count, _, _, _ = _HEAD.unpack_from(data)
        if magic[:6] != b"\x7fELF\x02\x01":
            raise ElfError("it is no 64-bit little-endian ELF file")
        if kind not in (2, 3):
            raise ElfError("it is neither a program nor a library")
        self.fixed = kind == 2  # ET_EXEC: addresses in its code are absolute
        if size != _SEGMENT.size or count > MAX_SEGMENTS:
            raise ElfError("its segments are not listed as ELF lists them")
        for number in range(count):
            self._segment_untrusted(start + number * size)
        if not any(segment.executable for segment in self.segments):
            raise ElfError("no part of it is executable")
        if sum(segment.size for segment in self.segments) > len(data) + count * _OVERLAP:
            raise ElfError("its segments are the same bytes over and over")

    def _segment_untrusted(self, at: int) -> None:
        kind, flags, offset, address, _, size, _, _ = self._unpack(_SEGMENT, at)
        if offset + size > len(self.data):
            if kind == _LOAD:
                raise ElfError("it is cut off")
            return
        if kind == _LOAD:
            self.segments.append(Segment(offset, address, size, bool(flags & _EXECUTABLE)))
        elif kind == _NOTE:
            self._note_untrusted(offset, offset + min(size, 4096))
        elif kind == _UNWINDING and size >= 12 and self.data[offset : offset + 4] == _HDR:
            count = int.from_bytes(self.data[offset + 8 : offset + 12], "little")
            self._unwinding = (offset + 12, min(count, (size - 12) // 8), address)

    def _note_untrusted(self, at: int, end: int) -> None:
        while at + 12 <= end:
            name, length, kind = struct.unpack_from("<III", self.data, at)
            begin = at + 12 + (name + 3 & ~3)
            if name == 4 and kind == _BUILD_ID and length <= 64 and begin + length <= end:
                self.build_id = bytes(self.data[begin : begin + length]).hex()
                return
            at = begin + (length + 3 & ~3)

    def _unpack(self, layout: struct.Struct, at: int) -> tuple[int, ...]:
        if at < 0 or at + layout.size > len(self.data):
            raise ElfError("it points beyond its end")
        return layout.unpack_from(self.data, at)

    def offset(self, address: int) -> int | None:
        """Where the byte of an address lies in the file; None if it is not from there."""
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        return None

    def executable(self, address: int) -> bool:
        return any(s.executable and s.address <= address < s.address + s.size for s in self.segments)

    @property
    def has_unwinding(self) -> bool:
        """Whether it tells where its functions begin."""
        return self._unwinding[1] > 0

    def begins_function(self, address: int) -> bool:
        """Whether the unwinding table has a function that begins there. Symbols can be stripped, this table cannot:
        exceptions and stack traces need it."""
        offset, count, base = self._unwinding
        low = bisect_left(range(count), address, key=lambda entry: self._location(offset, entry, base))
        return low < count and self._location(offset, low, base) == address

    def _location(self, offset: int, entry: int, base: int) -> int:
        return base + int(struct.unpack_from("<i", self.data, offset + 8 * entry)[0])

    def sections(self) -> list[tuple[int, int, int, int, int, int]]:
        """(name, type, address, offset, size, link) of each; empty where it has none, or they are not to be read."""
        if self._sections is None:
            self._sections = []
            head = _HEAD.unpack_from(self.data)
            start, size, count = head[6], head[11], head[12]
            if size == _SECTION.size and count <= MAX_SECTIONS and start + count * size <= len(self.data):
                for number in range(count):
                    name, kind, _, address, offset, length, link, *_ = _SECTION.unpack_from(
                        self.data, start + number * size
                    )
                    self._sections.append((name, kind, address, offset, length, link))
        return self._sections

    def section(self, wanted: bytes) -> tuple[int, int, int] | None:
        """(address, offset, size) of a section by name."""
        sections, names = self.sections(), int(_HEAD.unpack_from(self.data)[13])
        if names >= len(sections):
            return None
        _, _, _, start, size, _ = sections[names]
        for name, kind, address, offset, length, _ in sections:
            at, end = start + name, start + name + len(wanted) + 1
            if name < size and end <= len(self.data) and self.data[at:end] == wanted + b"\0":
                whole = kind != 8 and offset + length <= len(self.data)  # SHT_NOBITS: nothing of it is in the file
                return (address, offset, length) if whole else None
        return None

    def functions(self, part: bytes) -> Iterator[tuple[bytes, int]]:
        """(name, address) of the functions it defines whose names contain ``part``; each table of names is searched as
        bytes, for node has half a million symbols."""
        sections = self.sections()
        tables = [one for one in sections if one[1] in (_SYMBOLS, _DYNAMIC_SYMBOLS)]
        for _, _, _, offset, size, link in tables[:2]:  # one of each kind (System V ABI, section types)
            if link >= len(sections):
                continue
            _, _, _, names, length, _ = sections[link]
            if offset + size > len(self.data) or names + length > len(self.data):
                continue
            for at in self.places(part, names, names + length):
                yield from self._named(at, names, names + length, offset, offset + size)

    def _named(self, at: int, names: int, names_end: int, table: int, table_end: int) -> Iterator[tuple[bytes, int]]:
        """Symbols whose name is the text around ``at``."""
        before = bytes(self.data[max(names, at - MAX_NAME) : at])
        if b"\0" not in before:
            return
        begin = at - len(before) + before.rindex(b"\0") + 1
        end = self.data.find(b"\0", at, min(at + MAX_NAME, names_end))
        if end < 0:
            return
        for found in self.places((begin - names).to_bytes(4, "little"), table, table_end, MAX_NUMBERS):
            if (found - table) % _SYMBOL.size or found + _SYMBOL.size > table_end:
                continue
            _, info, _, section, address, _ = _SYMBOL.unpack_from(self.data, found)
            if info & 15 == _FUNCTION and section:
                yield bytes(self.data[begin:end]), address

    def places(self, wanted: bytes, start: int, end: int, most: int = MAX_PLACES) -> Iterator[int]:
        """Offsets of ``wanted`` between two others, the first ``most``."""
        for _ in range(most):
            start = self.data.find(wanted, start, end)
            if start < 0:
                return
            yield start
            start += 1
