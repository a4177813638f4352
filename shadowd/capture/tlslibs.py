"""Where a TLS library tells its key log of a secret: the function that a probe is put on.

Libraries call it for every secret of a handshake, whether a key log was asked for or not (seen in OpenSSL 1.1.1 and 3,
BoringSSL, GnuTLS, Go). It is found without a table of versions:

1. by its symbol, where there is one (node exports ``ssl_log_secret``);
2. by what it is called with: its second argument is the label of a secret ("CLIENT_RANDOM", …: NSS key log format, and
   the IETF's draft-ietf-tls-keylogfile). The code that loads the address of a label into the second argument's register
   (``lea rsi, [rip+…]``; ``mov esi, …`` in programs at fixed addresses) is followed to the first call. Where the calls
   of three labels agree, that is the function;
3. in Go programs by the runtime's table of functions.

A probe is a breakpoint: in the middle of an instruction it would break production. So nothing is accepted that the
file's own tables (unwinding, Go's) do not name as the beginning of a function; that also makes a decoder of
instructions unnecessary, for of bytes that look like a call by chance none goes to such a place.

Everything here is pure: the file's bytes in, a ``Finding`` out.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from shadowd.capture.elf import MACHINE_AARCH64, MACHINE_X86_64, Elf, ElfError, Image, Segment
from shadowd.capture.pclntab import find_untrusted as find_go_untrusted
from shadowd.capture.tlssecrets import LABELS

OPENSSL, OPENSSL_1_1, BORINGSSL, GNUTLS, GO = "OpenSSL 3", "OpenSSL 1.1.1", "BoringSSL", "GnuTLS", "Go crypto/tls"
UNKNOWN = "unknown library"
ABI_C, ABI_GO = "c", "go"
EMULATED, STEPPED = "emulated", "single-stepped"

#: All that speak TLS 1.3 have it; the others are parts of other words, too.
_SIGN = b"SERVER_HANDSHAKE_TRAFFIC_SECRET"
_VOTES = 3  # labels that agree: OpenSSL's master secret, and two of 1.3, are told directly in every build seen
#: Bytes behind the load of a label in which its call stands; seen are 7 to 24 (the other three arguments).
_REACH = 48
#: Loads of any address into the register. Envoy, of 101 MB, has 447,000 into all eight.
_MAX_LOADS = 4_000_000
#: A label may be merged into the end of another string, and stand in a dozen places (a table, documentation).
_MAX_LABELS = 32
_GO_FUNCTION = b"crypto/tls.(*Config).writeKeyLog"
_NAMES = re.compile(rb"ssl_log_secret|_ZN4bssl14ssl_log_secretEPK6ssl_stPKc.*|_gnutls_nss_keylog_write")
#: What the kernel carries out itself instead of stepping production over it: push, nop, call, jmp, jcc
#: (arch/x86/kernel/uprobes.c: branch_setup_xol_ops, push_setup_xol_ops).
_EMULATED = re.compile(rb"[\x50-\x57\x90\xe8\xe9\xeb\x70-\x7f]|\x41[\x50-\x57]|\x0f[\x80-\x8f]")
#: OpenSSL's own version, with its date. BoringSSL says "OpenSSL 1.1.1 (compatible; BoringSSL)"; node 24 has both names.
_VERSION = re.compile(rb"OpenSSL (1\.1\.1|3\.\d+\.\d+)[^ \0]{0,20} {1,2}\d\d? [A-Z][a-z]{2} 20\d\d")
#: lea rdx, [rdi or rax + 32 bits]: the client random, third argument of what ssl_log_secret goes on to
_RANDOM = re.compile(rb"\x48\x8d[\x97\x90](..)\0\0", re.DOTALL)


class LibraryError(Exception):
    """No probe for this file. ``kind`` is what it is, "" for a file that has nothing to do with TLS."""

    def __init__(self, problem: str, kind: str = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.kind = kind
        self.remedy = remedy


class Place(NamedTuple):
    """Where bytes lie that the function's first argument leads to: from it, or, if ``through`` is not None, from the
    pointer that lies ``through`` bytes from it."""

    through: int | None
    offset: int


class Finding(NamedTuple):
    """``offset`` of the function in the file; ``cost`` of a hit, by its first instruction."""

    kind: str
    offset: int
    abi: str
    cost: str
    build_id: str
    places: tuple[Place, ...] = ()  # of 32 bytes each: where to look for the client random
    how: str = "symbol"  # or "labels", "function table"


def _window(through: int | None, start: int) -> tuple[Place, ...]:
    return tuple(Place(through, start + 32 * step) for step in range(6))


#: The client random was seen at +0x160 (3.0), +0x188 (3.5) and, through pointers, +0xb8 and +0x30; GnuTLS +0x50. What
#: is around is looked at as well: releases add fields. It is believed only where a captured ClientHello has the same.
_PLACES = {
    OPENSSL: _window(None, 0x110),
    OPENSSL_1_1: _window(0xA8, 0x60),
    BORINGSSL: _window(0x30, 0),
    GNUTLS: _window(None, 0x20),
    UNKNOWN: (
        Place(None, 0x150), Place(None, 0x170), Place(None, 0x190), Place(0xA8, 0xB8), Place(0x30, 0x30),
        Place(None, 0x50),
    ),
    GO: (),
}  # fmt: skip


def usual_places(kind: str) -> tuple[Place, ...]:
    """Where libraries of a kind keep the client random, as far as is known."""
    return _PLACES[kind]


_BY_HAND = "give its key log instead: --tls-keylog FILE"
#: What is recognised and has no function to put a probe on: (sign, name, what to do). By words beside the labels:
_BY_WORDS = (
    (b"rustls", "rustls", f"set SSLKEYLOGFILE if the program passes a KeyLogFile on, and {_BY_HAND}"),
    (b"s2n_connection", "s2n-tls", f"s2n_connection_set_key_log_cb writes one: {_BY_HAND}"),
    (b"NSS_", "NSS", f"set SSLKEYLOGFILE for it, and {_BY_HAND}"),
)
#: By a function that it has, where there are no labels.
_BY_FUNCTION = (
    (b"JNI_CreateJavaVM", "Java (JSSE)", f"it has no native code for TLS: add an agent that logs keys, and {_BY_HAND}"),
    (b"wolfSSL_accept", "wolfSSL", f"built with HAVE_SECRET_CALLBACK it can write one: {_BY_HAND}"),
    (b"mbedtls_ssl_handshake", "Mbed TLS", f"mbedtls_ssl_set_export_keys_cb can write one: {_BY_HAND}"),
)


def find_untrusted(data: Image) -> Finding:
    """What to put a probe on. Raises LibraryError.

    Takes 1 s for Envoy (101 MB), 10 ms for libssl."""
    try:
        elf = Elf(data)
    except ElfError as error:
        raise LibraryError(str(error)) from None
    try:
        return _find(elf)
    except struct.error:  # a number that led out of the file
        raise LibraryError("its tables point beyond its end") from None


def _find(elf: Elf) -> Finding:
    data = elf.data
    go = data.find(_GO_FUNCTION) >= 0
    if not go and data.find(_SIGN) < 0:
        for function, name, remedy in _BY_FUNCTION:
            if any(symbol == function for symbol, _ in elf.functions(function)):
                raise LibraryError(f"{name} has no function to put a probe on", name, remedy)
        raise LibraryError("it has nothing to do with TLS")
    if elf.machine != MACHINE_X86_64:
        name = "arm64" if elf.machine == MACHINE_AARCH64 else f"machine {elf.machine}"
        raise LibraryError(f"probes are for x86-64 alone, and this is for {name}", _kind(data), _BY_HAND)
    if go:
        address = find_go_untrusted(elf, _GO_FUNCTION)
        if address is not None:
            return _finding(elf, GO, address, ABI_GO, "function table")
    kind = _kind(data)
    if not elf.has_unwinding:
        raise LibraryError("it does not tell where its functions begin (no .eh_frame_hdr)", kind, _BY_HAND)
    for part in (b"ssl_log_secret", b"_gnutls_nss_keylog_write"):
        for symbol, address in elf.functions(part):
            if _NAMES.fullmatch(symbol) and elf.begins_function(address):
                return _finding(elf, kind, address, ABI_C, "symbol")
    address = _by_labels(elf)
    if address is None:
        if go:
            raise LibraryError("its table of functions could not be read", GO, "Go 1.18 or later is needed")
        raise _unknown(data, kind)
    return _finding(elf, kind, address, ABI_C, "labels")


def _unknown(data: Image, kind: str) -> LibraryError:
    if kind == UNKNOWN:
        for sign, name, remedy in _BY_WORDS:
            if data.find(sign) >= 0:
                return LibraryError(f"{name} has no function to put a probe on", name, remedy)
    return LibraryError("the function that tells its key log was not found", kind, _BY_HAND)


def _kind(data: Image) -> str:
    """Whose code it is, by the words in it: for people, and for where the client random is looked for."""
    version = _VERSION.search(data)
    if version is not None:
        return OPENSSL_1_1 if version[1] == b"1.1.1" else OPENSSL
    for sign, kind in (
        (b"BoringSSL", BORINGSSL),
        (b"boringssl/", BORINGSSL),
        (b"OpenSSL 1.1.1", OPENSSL_1_1),
        (b"OPENSSL_1_1_1\0", OPENSSL_1_1),
        (b"OPENSSL_3", OPENSSL),
        (b"OpenSSL 3.", OPENSSL),
        (b"gnutls_handshake", GNUTLS),
    ):
        if data.find(sign) >= 0:
            return kind
    return UNKNOWN


def _finding(elf: Elf, kind: str, address: int, abi: str, how: str) -> Finding:
    offset = elf.offset(address)
    if offset is None or not elf.executable(address):
        raise LibraryError("the function lies outside of the file's code", kind)
    code = bytes(elf.data[offset : offset + 64])
    places = _PLACES[kind]
    told = _RANDOM.search(code[:32])
    if abi == ABI_C and told is not None and kind == OPENSSL:
        exact = int.from_bytes(told[1], "little")
        if exact < 0x1000:
            places = (Place(None, exact),)
    cost = EMULATED if _EMULATED.match(code) else STEPPED
    return Finding(kind, offset, abi, cost, elf.build_id, places, how)


def _by_labels(elf: Elf) -> int | None:
    """The function that is called with labels of secrets, if the calls agree."""
    labels: dict[int, bytes] = {}
    for segment in elf.segments:
        for label in LABELS:
            # in C they end in NUL; a label may be the end of a longer one, since linkers merge what ends alike
            for at in elf.places(label + b"\0", segment.offset, segment.offset + segment.size, _MAX_LABELS):
                labels[segment.address + at - segment.offset] = label
    votes: dict[int, set[bytes]] = {}
    budget = _MAX_LOADS
    for segment in elf.segments:
        if segment.executable:
            loads, budget = _loads(elf, segment, labels, budget)
            for address, label in loads:
                called = _first_call(elf, segment, address)
                if called is not None:
                    votes.setdefault(called, set()).add(label)
    ranked = sorted(((len(agree), address) for address, agree in votes.items()), reverse=True)
    if not ranked or ranked[0][0] < _VOTES or (len(ranked) > 1 and ranked[1][0] == ranked[0][0]):
        return None
    return ranked[0][1]


def _loads(elf: Elf, segment: Segment, labels: dict[int, bytes], budget: int) -> tuple[list[tuple[int, bytes]], int]:
    """(address behind the instruction, label) where one is loaded into rsi; and what is left of the budget."""
    found = []
    start, end = segment.offset, segment.offset + segment.size
    shift = segment.address - start
    at = start - 1
    find, unpack = elf.data.find, struct.Struct("<i").unpack_from
    while budget and (at := find(b"\x48\x8d\x35", at + 1, end - 4)) >= 0:  # lea rsi, [rip + 32 bits]
        budget -= 1
        behind = at + 7 + shift
        label = labels.get(behind + unpack(elf.data, at + 3)[0])
        if label is not None:
            found.append((behind, label))
    if elf.fixed:
        for target, label in labels.items():
            if target < 1 << 32:  # mov esi, 32 bits
                for at in elf.places(b"\xbe" + target.to_bytes(4, "little"), start, end, _MAX_LABELS):
                    found.append((at + 5 + shift, label))
    return found, budget


def _first_call(elf: Elf, segment: Segment, address: int) -> int | None:
    """Where the first call, or jump in place of one, behind ``address`` goes that goes to a function's beginning."""
    start = address - segment.address + segment.offset
    code = bytes(elf.data[start : min(start + _REACH, segment.offset + segment.size)])
    for at in range(len(code) - 4):
        if code[at] in (0xE8, 0xE9):  # call, jmp: 32 bits from the next instruction
            target = address + at + 5 + int.from_bytes(code[at + 1 : at + 5], "little", signed=True)
            if elf.executable(target) and elf.begins_function(target):
                return target
    return None
