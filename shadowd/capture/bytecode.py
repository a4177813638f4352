"""Load the capture programs from bytecode that bcc compiled elsewhere, hand their descriptors over, and exit.

A container image, or a host without bcc, carries neither bcc nor LLVM: it has one file that ``make bpf-bytecode`` wrote
(``bpf/build_bytecode.py``). Like ``loader.py`` this is a stand-alone child of the daemon, and it speaks to it in the
same way; it uses the standard library alone, Python >= 3.8.

    python3 bytecode.py SOCKET_FD FILE RING_BYTES ABI_VERSION [probes]

It writes one message: a JSON object ``{"descriptors": [name, ...], "netns": "cookie"|"cgroup"}`` with the descriptors
attached in that order, or ``{"error": "...", "log": "..."}``. With ``probes`` the maps of those are made as well, and
the object has them as they are in the file: ``"probes"``.

The file is one line, ``shadowd-bytecode VERSION SHA256``, and a JSON object, of which the digest is taken:

    abi       ABI_VERSION of bpf/abi.h: the daemon that loads it must have the same
    source    SHA-256 of what it was compiled from (bpf/*.c, *.h), and bcc's version, for people
    maps      name -> type, key and value size in bytes, entries, flags, as BPF_MAP_CREATE takes them; a ring's
              entries are given when it is loaded; "inner": the map that an array of maps holds others like
    variants  "cookie" (needs Linux 6.15) and "cgroup": program name -> type, license, instructions in base64, and
              "maps": which instruction refers to which map
    probes    programs in the same form, of the kind that is put on functions of other programs; "probe_maps" are the
              maps that they alone refer to

Bound to: byte order (little-endian), and this ABI; the probes to x86-64, whose registers they read. Not bound to the
architecture, the kernel's version or its configuration: the other programs read nothing but ``struct __sk_buff``,
``struct bpf_sock`` and packets, which are user-space API, so there is no offset to relocate; the page size enters by
the ring alone.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hashlib
import json
import os
import platform
import socket
import struct
import sys
from array import array
from typing import Any

MAGIC = "shadowd-bytecode"
VERSION = 3
FILE_LIMIT = 8 << 20  # bytes; both variants of all four programs are below 1 MB
MAX_INSTRUCTIONS = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS: the kernel takes no longer program
MAX_MAPS = 64  # per program: MAX_USED_MAPS of the verifier
LOG_BYTES = (16 << 20) - 1  # UINT_MAX >> 8: the largest log that kernels before 5.19 take; a shorter one ends in ENOSPC
INSTRUCTION = struct.Struct("=BBhi")  # opcode, registers (source in the high half), offset, immediate
LOAD_64 = 0x18  # BPF_LD | BPF_IMM | BPF_DW: two instructions, the immediate is 64 bits
MAP_DESCRIPTOR = 1  # BPF_PSEUDO_MAP_FD in the source register
#: bpf_map_type (hash, array, per-CPU array, LRU hash, LPM trie, array of maps, ring) and bpf_prog_type (tc, cgroup_skb)
#: that we use
MAP_TYPES = {1, 2, 6, 9, 11, 12, 27}
ARRAY_OF_MAPS, RING = 12, 27
PROGRAM_TYPES = {3, 8}
PROBE_TYPES = {2}  # kprobe: what uprobes run
VARIANTS = ("cookie", "cgroup")  # in the order they are tried

_ANEW = "make bpf-bytecode builds it anew"
_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361}  # __NR_bpf
_MAP_CREATE, _PROG_LOAD = 0, 5


class BytecodeError(Exception):
    """The file is not usable, or the kernel refuses what is in it. ``log`` is the verifier's."""

    def __init__(self, what: str, log: str = "") -> None:
        super().__init__(what)
        self.log = log


# --- the file ---------------------------------------------------------------------------------------------------------


def encode(body: dict[str, Any]) -> bytes:
    """The file of ``body``."""
    rest = json.dumps(body, sort_keys=True, indent=1).encode()
    return f"{MAGIC} {VERSION} {hashlib.sha256(rest).hexdigest()}\n".encode() + rest


def decode_untrusted(data: bytes) -> dict[str, Any]:
    """The checked body of a file. Raises BytecodeError. The digest finds damage; it is no signature."""
    head, newline, rest = data[:200].partition(b"\n")
    words = head.split(b" ")
    if not newline or len(words) != 3 or words[0] != MAGIC.encode():
        raise BytecodeError("it is not a file of shadowd's bytecode")
    if words[1] != str(VERSION).encode():
        raise BytecodeError(f"it has format {words[1][:20].decode('latin-1')}, this shadowd reads {VERSION}; {_ANEW}")
    rest = data[len(head) + 1 :]
    if hashlib.sha256(rest).hexdigest().encode() != words[2]:
        raise BytecodeError("it is damaged or cut off: its digest does not match")
    try:
        body = json.loads(rest)
        _check(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise BytecodeError(f"its contents are not what the format says ({type(error).__name__}: {error})") from None
    return body  # type: ignore[no-any-return]


def _check(body: dict[str, Any]) -> None:
    _number(body["abi"], 1 << 16)
    if not isinstance(body["source"], str):
        raise ValueError("the digest of the source is no text")
    maps = body["maps"]
    if len(maps) > MAX_MAPS:
        raise ValueError(f"there are {len(maps)} maps")
    for name, made in maps.items():
        _name(name)
        if made["type"] not in MAP_TYPES:
            raise ValueError(f"map {name} is of a type that is not used")
        _number(made["key"], 512)  # MAX_BPF_STACK: keys lie on the program's stack
        _number(made["value"], 1 << 20)
        _number(made["entries"], 1 << 24)
        _number(made["flags"], 1 << 16)
        inner = maps[made["inner"]]["type"] if "inner" in made else None
        if (made["type"] == ARRAY_OF_MAPS) != (inner is not None) or inner == ARRAY_OF_MAPS:
            raise ValueError(f"map {name} does not say what it holds, or it cannot hold that")
    if set(body["variants"]) != set(VARIANTS):
        raise ValueError("the variants are not " + ", ".join(VARIANTS))
    for programs in body["variants"].values():
        for name, program in programs.items():
            _name(name)
            check_program(name, program, set(maps), PROGRAM_TYPES)
    for name, program in body["probes"].items():
        _name(name)
        check_program(name, program, set(maps), PROBE_TYPES)
    if not set(body["probe_maps"]) <= set(maps):
        raise ValueError("a map of the probes is not there")


def check_program(name: str, program: dict[str, Any], maps: set[str], types: set[int]) -> None:
    """Raises ValueError, KeyError or TypeError where it is none of these types that refers to these maps."""
    if program["type"] not in types:
        raise ValueError(f"program {name} is of a type that is not used")
    if not isinstance(program["license"], str) or len(program["license"]) > 100:
        raise ValueError(f"the license of {name} is not a short text")
    code = instructions_of(program)
    if not code or len(code) % INSTRUCTION.size or len(code) // INSTRUCTION.size > MAX_INSTRUCTIONS:
        raise ValueError(f"program {name} has {len(code)} bytes")
    named = set()
    for index, target in program["maps"]:
        if target not in maps:
            raise ValueError(f"program {name} refers to the map {target!r}, which is not there")
        named.add(_number(index, len(code) // INSTRUCTION.size - 2))
    if named != set(map_references(code)):
        raise ValueError(f"program {name} and its list of references to maps do not fit together")


def _number(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.40} is not a number of 0 to {most}")
    return value


def _name(value: str) -> None:
    if not value.isidentifier() or not value.isascii() or len(value) > 64:
        raise ValueError(f"{value!r:.80} is not a name")


def instructions_of(program: dict[str, Any]) -> bytes:
    """A program's instructions, with zeros where descriptors go. Raises ValueError."""
    try:
        return base64.b64decode(program["code"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"instructions are not base64: {error}") from None


def named(code: bytes, maps: dict[int, str]) -> dict[str, Any]:
    """Of a program: its instructions with the descriptors taken out, and the maps they were, by name."""
    cleaned, references = bytearray(code), []
    for index in map_references(code):
        at = index * INSTRUCTION.size + 4
        references.append([index, maps[struct.unpack_from("=i", code, at)[0]]])
        cleaned[at : at + 4] = bytes(4)
    return {"maps": references, "code": base64.b64encode(bytes(cleaned)).decode()}


def map_references(code: bytes) -> list[int]:
    """Indices of the instructions that load the address of a map."""
    found, index = [], 0
    while index < len(code) // INSTRUCTION.size:
        opcode, registers, _, _ = INSTRUCTION.unpack_from(code, index * INSTRUCTION.size)
        if opcode == LOAD_64 and registers >> 4 == MAP_DESCRIPTOR:
            found.append(index)
        index += 2 if opcode == LOAD_64 else 1
    return found


# --- the kernel -------------------------------------------------------------------------------------------------------


def load(body: dict[str, Any], ring_bytes: int, probes: bool = False) -> tuple[str, list[tuple[str, int]]]:
    """Create the maps, load the programs: the variant that the kernel took, and (name, descriptor) pairs.

    Raises BytecodeError; nothing stays open then.
    """
    opened: list[int] = []
    try:
        maps: dict[str, int] = {}
        wanted = [item for item in body["maps"].items() if probes or item[0] not in body["probe_maps"]]
        for name, made in sorted(wanted, key=lambda item: "inner" in item[1]):
            opened.append(_create_map(name, made, ring_bytes, maps[made["inner"]] if "inner" in made else 0))
            maps[name] = opened[-1]
        failure = BytecodeError("there is no program in it")
        for variant in VARIANTS:
            programs: dict[str, int] = {}
            try:
                for name, program in body["variants"][variant].items():
                    programs[name] = load_program(name, program, maps)
            except BytecodeError as error:
                failure = error
                for descriptor in programs.values():
                    os.close(descriptor)
                continue
            if programs:
                return variant, [*programs.items(), *maps.items()]
        raise failure
    except BaseException:
        for descriptor in opened:
            os.close(descriptor)
        raise


def _create_map(name: str, made: dict[str, Any], ring_bytes: int, inner: int) -> int:
    entries = ring_bytes if made["type"] == RING else made["entries"]
    attr = struct.pack(
        "=IIIIIII16s", made["type"], made["key"], made["value"], entries, made["flags"], inner, 0, name.encode()[:15]
    )
    try:
        return _bpf(_MAP_CREATE, attr)
    except OSError as error:
        raise BytecodeError(f"the kernel refuses the map {name}: {error.strerror}") from None


def load_program(name: str, program: dict[str, Any], maps: dict[str, int], attach_type: int = 0) -> int:
    """The program's descriptor. ``attach_type``: how it will be attached, if it must say. Raises BytecodeError."""
    code = bytearray(instructions_of(program))
    for index, target in program["maps"]:
        struct.pack_into("=i", code, index * INSTRUCTION.size + 4, maps[target])
    where = ctypes.create_string_buffer(bytes(code), len(code))
    license_text = ctypes.create_string_buffer(program["license"].encode())

    def attempt(log: Any) -> int:
        # expected_attach_type stays 0 for both directions, as bcc leaves it: cgroup programs may be attached to either;
        # so it does for uprobes one by one, but not for many at once
        attr = struct.pack(
            "=IIQQIIQII16sII", program["type"], len(code) // INSTRUCTION.size, ctypes.addressof(where),
            ctypes.addressof(license_text), 1 if log else 0, len(log) if log else 0,
            ctypes.addressof(log) if log else 0, 0, 0, name.encode()[:15], 0, attach_type,
        )  # fmt: skip
        return _bpf(_PROG_LOAD, attr)

    try:
        return attempt(None)
    except OSError as error:
        log = ctypes.create_string_buffer(LOG_BYTES)
        try:
            return attempt(log)  # once more for the verifier's words; it costs time, so only now
        except OSError:
            said = log.value.decode(errors="replace")
            raise BytecodeError(f"the kernel refuses the program {name}: {error.strerror}", said) from None


def _bpf(command: int, attr: bytes) -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise BytecodeError(f"no bpf system call number is known for {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result: int = libc.syscall(number, command, buffer, len(attr))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def source_digest(folder: str) -> str:
    """SHA-256 of what the programs are compiled from, as the file notes it."""
    digest = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        if name.endswith((".c", ".h")):
            with open(os.path.join(folder, name), "rb") as file:
                digest.update(name.encode() + b"\0" + file.read())
    return digest.hexdigest()


def read(path: str, abi: int) -> dict[str, Any]:
    """The checked body of a file for this ABI. Raises BytecodeError."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise BytecodeError(f"it cannot be read: {error.strerror}") from None
    if len(data) > FILE_LIMIT:
        raise BytecodeError(f"it is larger than {FILE_LIMIT >> 20} MB")
    body = decode_untrusted(data)
    if body["abi"] != abi:
        raise BytecodeError(f"it was built for ABI {body['abi']}, this shadowd has {abi}; {_ANEW}")
    if sys.byteorder != "little":
        raise BytecodeError("it is for little-endian machines")
    folder = os.path.dirname(path) or "."
    if os.path.isfile(os.path.join(folder, "shadowd.bpf.c")) and body["source"] != source_digest(folder):
        raise BytecodeError(f"it was built from other sources than those beside it; {_ANEW}")
    return body


def main(argv: list[str]) -> int:
    channel = socket.socket(fileno=int(argv[1]))
    path, probes = argv[2], argv[5:6] == ["probes"]
    try:
        body = read(path, int(argv[4]))
        variant, found = load(body, int(argv[3]), probes)
    except BytecodeError as error:
        reply = {"error": f"{path}: {error}", "log": error.log[-4000:]}
        channel.sendall(json.dumps(reply).encode())
        return 1
    message = json.dumps(
        {"descriptors": [name for name, _ in found], "netns": variant, **({"probes": body["probes"]} if probes else {})}
    )
    rights = array("i", [descriptor for _, descriptor in found])
    channel.sendmsg([message.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
