"""The bpf(2) system call, as little of it as the daemon needs: maps by descriptor, links, test runs.

Layouts are those of ``union bpf_attr`` in the kernel's ``include/uapi/linux/bpf.h``; every command exists since the
Linux version named beside it. bcc is not involved: it stays in the loader child.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator

from shadowd.errors import PlatformError

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361}  # __NR_bpf
_libc = ctypes.CDLL(None, use_errno=True)

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY = 0, 1, 2, 3, 4
_RING = 27  # BPF_MAP_TYPE_RINGBUF, 5.8
_PROG_TEST_RUN = 10
_PROG_DETACH = 9
_OBJ_GET_INFO = 15
_PROG_QUERY = 16  # 4.15
_MAP_UPDATE_BATCH = 26  # 5.6
_LINK_CREATE = 28  # 5.7

ATTACH_CGROUP_INGRESS = 0
ATTACH_CGROUP_EGRESS = 1
ATTACH_TCX_INGRESS = 46  # 6.6
ATTACH_TCX_EGRESS = 47
FLAG_BEFORE = 8  # without a relative: the head of the list


def bpf(command: int, attr: bytes, size: int = 0) -> tuple[int, bytes]:
    """One bpf(2) call: (result, the attribute as the kernel left it). Raises OSError."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise PlatformError(f"no bpf system call number is known for {platform.machine()}", "use x86_64 or aarch64")
    buffer = ctypes.create_string_buffer(attr, max(len(attr), size))
    result = _libc.syscall(number, command, buffer, len(buffer))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result, buffer.raw


def create_ring(size: int) -> int:
    """A ring buffer of ``size`` bytes (a power of two, of whole pages). Raises PlatformError."""
    try:
        return bpf(_MAP_CREATE, struct.pack("=IIIIIII16s", _RING, 0, 0, size, 0, 0, 0, b"ring"))[0]
    except OSError as error:
        raise PlatformError(
            f"the kernel refuses one more ring of {size >> 10} KB: {error.strerror}",
            "have fewer workers or smaller rings",
        ) from error


def possible_cpus() -> int:
    """How many values a per-CPU map has (possible, not online, CPUs)."""
    with open("/sys/devices/system/cpu/possible") as listed:
        last = listed.read().strip().split(",")[-1]
    return int(last.split("-")[-1]) + 1


class Map:
    """A map by descriptor. Not thread-safe: the buffers are reused."""

    __slots__ = ("_attr", "_key", "_value", "descriptor", "key_bytes", "per_cpu", "value_bytes")

    def __init__(self, descriptor: int, key_bytes: int, value_bytes: int, per_cpu: int = 0) -> None:
        self.descriptor = descriptor
        self.key_bytes = key_bytes
        self.value_bytes = value_bytes
        self.per_cpu = per_cpu
        stored = ((value_bytes + 7) & ~7) * per_cpu if per_cpu else value_bytes
        self._key = ctypes.create_string_buffer(max(key_bytes, 1))
        self._value = ctypes.create_string_buffer(max(stored, 1))
        self._attr = struct.pack("=IIQQQ", descriptor, 0, ctypes.addressof(self._key), ctypes.addressof(self._value), 0)

    def lookup(self, key: bytes) -> bytes | None:
        """The value (of every CPU, padded to 8 bytes each, for a per-CPU map), or None."""
        self._key.raw = key
        try:
            bpf(_MAP_LOOKUP, self._attr)
        except FileNotFoundError:
            return None
        return self._value.raw

    def update(self, key: bytes, value: bytes) -> None:
        self._key.raw = key
        self._value.raw = value
        bpf(_MAP_UPDATE, self._attr)

    def delete(self, key: bytes) -> None:
        """Remove a key; one that is not there is no error."""
        self._key.raw = key
        try:
            bpf(_MAP_DELETE, self._attr[:16])  # the kernel insists on zeros behind the key
        except FileNotFoundError:
            return

    def keys(self) -> Iterator[bytes]:
        following = ctypes.create_string_buffer(self.key_bytes)
        start = 0
        while True:
            attr = struct.pack("=IIQQQ", self.descriptor, 0, start, ctypes.addressof(following), 0)
            try:
                bpf(_MAP_NEXT_KEY, attr)
            except FileNotFoundError:
                return
            yield following.raw
            self._key.raw = following.raw
            start = ctypes.addressof(self._key)

    def update_many(self, items: dict[bytes, bytes]) -> None:
        """Write many entries: in one call where the map type has batches, else one by one."""
        if not items:
            return
        keys = ctypes.create_string_buffer(b"".join(items), len(items) * self.key_bytes)
        values = ctypes.create_string_buffer(b"".join(items.values()), len(items) * self.value_bytes)
        attr = struct.pack(
            "=QQQQIIQQ", 0, 0, ctypes.addressof(keys), ctypes.addressof(values), len(items), self.descriptor, 0, 0
        )
        try:
            bpf(_MAP_UPDATE_BATCH, attr)
        except OSError:
            for key, value in items.items():
                self.update(key, value)

    def sums(self, index: int = 0) -> tuple[int, ...]:
        """A per-CPU array of u64 fields: one entry, added over the CPUs."""
        raw = self.lookup(index.to_bytes(4, "little")) or b""
        count = self.value_bytes // 8
        values = struct.unpack(f"={count * self.per_cpu}Q", raw)
        return tuple(sum(values[i::count]) for i in range(count))


def link_cgroup(program: int, cgroup: int, egress: bool) -> int:
    """Attach a cgroup_skb program by link (5.7; flags 0 implies multi). The link's descriptor is the attachment."""
    kind = ATTACH_CGROUP_EGRESS if egress else ATTACH_CGROUP_INGRESS
    return bpf(_LINK_CREATE, struct.pack("=IIII", program, cgroup, kind, 0), 64)[0]


def link_tcx(program: int, ifindex: int, egress: bool) -> int:
    """Attach a tc program as the first TCX program of an interface (6.6)."""
    kind = ATTACH_TCX_EGRESS if egress else ATTACH_TCX_INGRESS
    return bpf(_LINK_CREATE, struct.pack("=IIIIIIQ", program, ifindex, kind, FLAG_BEFORE, 0, 0, 0), 64)[0]


def attached_programs(target: int, kind: int) -> list[int]:
    """Ids of the programs attached to a cgroup descriptor or an ifindex (PROG_QUERY)."""
    ids = (ctypes.c_uint32 * 64)()
    _, raw = bpf(_PROG_QUERY, struct.pack("=IIIIQI", target, kind, 0, 0, ctypes.addressof(ids), 64), 64)
    return list(ids[: struct.unpack_from("=I", raw, 24)[0]])


def program_id(descriptor: int) -> int:
    info = ctypes.create_string_buffer(256)
    bpf(_OBJ_GET_INFO, struct.pack("=IIQ", descriptor, 256, ctypes.addressof(info)), 16)
    return int(struct.unpack_from("=I", info.raw, 4)[0])


def run_packet(program: int, packet: bytes, repeat: int = 1) -> tuple[int, int]:
    """BPF_PROG_TEST_RUN: (signed return value, mean ns a run). ``packet`` starts with an Ethernet header."""
    data = ctypes.create_string_buffer(packet, len(packet))
    out = ctypes.create_string_buffer(len(packet) + 256)
    attr = struct.pack(
        "=IIIIQQIIIIQQ", program, 0, len(packet), len(out), ctypes.addressof(data), ctypes.addressof(out), repeat,
        0, 0, 0, 0, 0,
    )  # fmt: skip
    _, raw = bpf(_PROG_TEST_RUN, attr, 80)
    value, duration = struct.unpack_from("=i", raw, 4)[0], struct.unpack_from("=I", raw, 36)[0]
    return value, duration
