"""``shadowd/capture/abi.py`` says byte for byte what ``bpf/abi.h`` says, as a C compiler sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from shadowd.capture import abi
from tests.conftest import ROOT, need

HEADER = ROOT / "bpf" / "abi.h"

#: C struct -> (its mirror, how many bytes the mirror covers, fields in the mirror's order)
MIRRORS = {
    "flow_key": (abi.FLOW_KEY, "netns client server client_port server_port view"),
    "record": (
        abi.RECORD,
        "time filters seq ack payload_length chunk_offset chunk_length type direction tcp_flags marks",
    ),
    "flow_state": (
        abi.FLOW_STATE,
        "filters generation counted[0] counted[1] worker pad layer[0] layer[1] seen[0] seen[1]",
    ),
    "port_filters": (abi.PORT_FILTERS, "inbound outbound"),
    "interface_state": (abi.INTERFACE_STATE, "filters ethernet ifindex"),
    "prefix_key": (abi.PREFIX_KEY, "length address"),
    "secret": (
        abi.SECRET,
        "time cgroup pid tid library secret_length label_length type exact pad[0] pad[1] context label secret random",
    ),
    "tls_places": (
        abi.TLS_PLACES_STRUCT,
        " ".join(f"place[{i}].{field}" for i in range(abi.TLS_PLACES) for field in ("through", "offset")),
    ),
    "control": (
        abi.CONTROL,
        "alive_until active socket_filters sampled cgroup_bound plain generation own_mark workers ethernet",
    ),
}
CONSTANTS = [
    "ABI_VERSION",
    "MAX_FILTERS",
    "MAX_PREFIXES",
    "MAX_CGROUPS",
    "MAX_INTERFACES",
    "MAX_WORKERS",
    "MAX_TLS_LIBRARIES",
    "CHUNK_BYTES",
    "MAX_CHUNKS",
    "MAX_SEGMENT_BYTES",
    "RECORD_SEGMENT",
    "RECORD_TIMING",
    "RECORD_SECRET",
    "TLS_PLACES",
    "TLS_RANDOM",
    "TLS_SECRET",
    "TLS_LABEL",
    "TLS_DIRECT",
    "DIRECTION_CLIENT",
    "DIRECTION_SERVER",
    "VIEW_INBOUND",
    "VIEW_OUTBOUND",
    "VIEW_TC",
    "VIEW_OWN",
    "MARK_MPTCP",
    "URGENT_SHIFT",
    "MAX_COUNTED",
]


def offsets(layout: str) -> list[int]:
    """Byte offset of each field of a struct format without padding ("=")."""
    import struct

    found, at = [], 0
    for count, code in re.findall(r"(\d*)([A-Za-z])", layout):
        if code == "s":
            found.append(at)
            at += int(count)
        else:
            for _ in range(int(count or 1)):
                found.append(at)
                at += struct.calcsize(f"={code}")
    return found


def test_layout_is_the_headers(tmp_path: Path) -> None:
    need(shutil.which("gcc") is not None, "needs gcc to read the header as C does")
    lines = ['#include <stdio.h>\n#include "abi.h"\nint main(void) {']
    for name, (_, fields) in MIRRORS.items():
        lines.append(f'printf("{name} %zu", sizeof(struct {name}));')
        lines += [f'printf(" %zu", __builtin_offsetof(struct {name}, {field}));' for field in fields.split()]
        lines.append('printf("\\n");')
    lines += [f'printf("{name} %llu\\n", (unsigned long long){name});' for name in CONSTANTS]
    lines.append(
        'printf("TIMING %d\\ncounters %zu\\nsampling %zu\\n", TIMING_BYTES, '
        "sizeof(struct counters), sizeof(struct sampling));"
    )
    lines.append("return 0; }")
    source = tmp_path / "layout.c"
    source.write_text("\n".join(lines))
    # the stand-in linux/types.h clashes with the C library's own types, so the system's is used for this program
    subprocess.run(["gcc", "-I", str(HEADER.parent), "-o", str(tmp_path / "layout"), str(source)], check=True)
    told = dict(
        line.split(" ", 1) for line in subprocess.check_output([str(tmp_path / "layout")], text=True).splitlines()
    )
    for name, (mirror, _) in MIRRORS.items():
        size, *at = map(int, told[name].split())
        assert at == offsets(mirror.format), name
        assert size == (abi.RECORD_BYTES if name == "record" else mirror.size), name
    for name in CONSTANTS:
        assert int(told[name]) == getattr(abi, name), name
    assert int(told["TIMING"]) == abi.RECORD_HEAD == abi.RECORD.size
    assert int(told["counters"]) == abi.COUNTERS_STRUCT.size
    assert int(told["sampling"]) == abi.SAMPLING.size


def test_counter_names_are_the_headers() -> None:
    named = re.findall(r"#define COUNT_(\w+) (\d+)", HEADER.read_text())
    listed = {int(index): name.lower() for name, index in named if name != "MAX"}
    assert [listed[i] for i in range(len(listed))] == list(abi.COUNTERS)
    assert dict(named)["MAX"] == str(len(abi.COUNTERS))
    of_filter = re.findall(r"#define FILTER_(\w+) (\d+)", HEADER.read_text())
    assert [name.lower() for name, _ in of_filter] == [*abi.FILTER_COUNTERS, "count_max"]
    assert [int(index) for _, index in of_filter] == [*range(len(abi.FILTER_COUNTERS)), len(abi.FILTER_COUNTERS)]
