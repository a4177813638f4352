"""User space's mirror of ``bpf/abi.h``: one layout for kernel and daemon, compared by ``tests/bpf/test_abi.py``.

All integers are in host order; addresses are 16 bytes in network order, IPv4 as ``::ffff:a.b.c.d``.
"""

from __future__ import annotations

import ipaddress
import struct

ABI_VERSION = 4
MAX_FILTERS = 64
MAX_PREFIXES = 4096
MAX_CGROUPS = 1024
MAX_INTERFACES = 1024
MAX_WORKERS = 64
MAX_TLS_LIBRARIES = 256
CHUNK_BYTES = 32768
MAX_CHUNKS = 8
MAX_SEGMENT_BYTES = CHUNK_BYTES * MAX_CHUNKS

RECORD_SEGMENT = 1
RECORD_TIMING = 2
RECORD_SECRET = 3
DIRECTION_CLIENT = 0
DIRECTION_SERVER = 1
VIEW_INBOUND = 0
VIEW_OUTBOUND = 1
VIEW_TC = 2
VIEW_OWN = 3
MARK_MPTCP = 1
URGENT_SHIFT = 16

#: struct record without its key: time, filters (or cookie), seq, ack, payload_length, chunk_offset, chunk_length,
#: type, direction, tcp_flags, marks
RECORD = struct.Struct("=QQIIIIIBBBB")
#: a ring entry as the reader takes it at once: the ring's own header (length and flags, page), struct record, its key
ENTRY = struct.Struct("=IIQQIIIIIBBBB48s")
RECORD_HEAD = 40  # offset of record.key; all there is of a timing record
RECORD_BYTES = 88
#: struct flow_key: netns, client, server, client_port, server_port, view
FLOW_KEY = struct.Struct("=Q16s16sHHI")
FLOW_STATE = struct.Struct("=QIBBBBIIQQ")
PORT_FILTERS = struct.Struct("=QQ")
PORT_BITS = 65536 // 8  # bytes of each part of struct port_bits: bit n % 64 of word n / 64
INTERFACE_STATE = struct.Struct("=QII")
PREFIX_KEY = struct.Struct("=I16s")
#: struct control: alive_until, active, socket_filters, sampled, cgroup_bound, plain, generation, own_mark, workers,
#: ethernet
CONTROL = struct.Struct("=QQQQQQIIII")
#: struct secret: time, cgroup, pid, tid, library, secret_length, label_length, type, exact, pad, pad, context, label,
#: secret, random
SECRET = struct.Struct("=QQIIIIIBBBBQ32s48s192s")
TLS_PLACES = 6
TLS_RANDOM = 32
TLS_SECRET = 48
TLS_LABEL = 32
TLS_DIRECT = 0xFFFF
#: struct tls_places: through and offset of each
TLS_PLACES_STRUCT = struct.Struct(f"={2 * TLS_PLACES}H")
SAMPLING = struct.Struct(f"={MAX_FILTERS}Q")

COUNTERS = (
    "segments",
    "bytes",
    "records",
    "ring_full",
    "ring_full_bytes",
    "load_failed",
    "load_failed_bytes",
    "oversize",
    "oversize_bytes",
    "fragments",
    "flow_failed",
    "own",
    "timing",
    "timing_lost",
    "dead",
    "other_layer",
    "secrets",
    "secrets_lost",
)
COUNTERS_STRUCT = struct.Struct(f"={len(COUNTERS)}Q")

#: of one filter, by its bit
FILTER_COUNTERS = ("matched", "lost", "dead", "openings_lost")
FILTER_COUNTERS_STRUCT = struct.Struct(f"={len(FILTER_COUNTERS)}Q")
MAX_COUNTED = 2

#: map name -> (key bytes, value bytes); per-CPU values are one CPU's
MAPS: dict[str, tuple[int, int]] = {
    "control": (4, CONTROL.size),
    "port_bits": (4, 3 * PORT_BITS),
    "sleeping": (4, 4),
    "ports": (4, PORT_FILTERS.size),
    "sampling": (4, SAMPLING.size),
    "client_prefixes": (PREFIX_KEY.size, 8),
    "server_prefixes": (PREFIX_KEY.size, 8),
    "cgroups": (8, 8),
    "interfaces": (4, INTERFACE_STATE.size),
    "near_interfaces": (4, INTERFACE_STATE.size),
    "flows": (FLOW_KEY.size, FLOW_STATE.size),
    "own_flows": (FLOW_KEY.size, 8),
    "own_ports": (4, 65536),
    "timed": (8, 1),
    "counters": (4, COUNTERS_STRUCT.size),
    "filter_counters": (4, FILTER_COUNTERS_STRUCT.size),
    "ring": (0, 0),
    "rings": (4, 4),
    "tls_scope": (8, 8),  # these two where TLS may be read
    "tls_places": (4, TLS_PLACES_STRUCT.size),
}


def pack_address(address: str) -> bytes:
    """The 16 bytes of an IPv4 or IPv6 address as the program writes them."""
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


def format_endpoint(address: bytes, port: int) -> str:
    """``10.0.0.1:80`` or ``[2001:db8::1]:80``."""
    ip = ipaddress.IPv6Address(address)
    return f"{ip.ipv4_mapped}:{port}" if ip.ipv4_mapped else f"[{ip}]:{port}"


def key_endpoints(key: bytes) -> tuple[str, str]:
    """Client and server of a flow key, for people."""
    _, client, server, client_port, server_port, _ = FLOW_KEY.unpack(key)
    return format_endpoint(client, client_port), format_endpoint(server, server_port)


def pack_prefix(network: str) -> bytes:
    """The trie key of a CIDR; IPv4 ``/n`` lies at ``::ffff:0:0/(96+n)``."""
    net = ipaddress.ip_network(network, strict=False)
    length = net.prefixlen + (96 if net.version == 4 else 0)
    return PREFIX_KEY.pack(length, pack_address(str(net.network_address)))
