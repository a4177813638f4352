"""Compile and load the capture programs with bcc, hand their descriptors over, and exit.

Importing bcc costs 72 MB and compiling 120 MB that are never given back, so this file is a program of its own: the
daemon runs it as a child under whichever interpreter can import bcc (see ``programs.py``) and receives the program
and map descriptors over a socket pair (SCM_RIGHTS). It uses the standard library and bcc only, Python >= 3.8.

    python3 loader.py SOCKET_FD SOURCE RING_PAGES [probes]   (SOURCE's folder holds include/, the stand-in headers)

It writes one message: a JSON object ``{"descriptors": [name, ...], "netns": "cookie"|"cgroup"}`` with the descriptors
attached in that order, or ``{"error": "...", "log": "..."}``. With ``probes`` those of TLS are compiled as well (a
quarter more time) and not loaded: the object has ``"code"``, instructions by name in base64, in which maps stand as the
descriptors that ``"map_descriptors"`` gives. The attacher loads them when TLS is to be read.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
from array import array
from typing import Any

PROGRAMS = {
    "socket_ingress": "CGROUP_SKB",
    "socket_egress": "CGROUP_SKB",
    "tc_ingress": "SCHED_CLS",
    "tc_egress": "SCHED_CLS",
}
MAPS = (
    "control",
    "port_bits",
    "sleeping",
    "ports",
    "sampling",
    "client_prefixes",
    "server_prefixes",
    "cgroups",
    "interfaces",
    "near_interfaces",
    "flows",
    "own_flows",
    "own_ports",
    "timed",
    "counters",
    "filter_counters",
    "ring",
    "rings",
)
PROBES = ("tls_secret", "tls_secret_go")
PROBE_MAPS = ("tls_scope", "tls_places")


def compiler_flags(source: str, ring_pages: int, cookie: bool, probes: bool) -> list[str]:
    """What bcc gives to clang; ``cookie``: the variant for Linux 6.15 and later."""
    flags = ["-w", "-I" + os.path.dirname(source), f"-DRING_PAGES={ring_pages}"]
    flags.append(f"-DPAGE_SIZE={os.sysconf('SC_PAGE_SIZE')}")
    if cookie:
        flags.append("-DNETNS_COOKIE")
    if probes:
        flags.append("-DTLS_PROBES")
    return flags


def compile_and_load(source: str, ring_pages: int, cookie: bool, probes: bool) -> tuple[Any, list[tuple[str, int]]]:
    """Load every program; returns the bcc module (it owns the descriptors) and (name, descriptor) pairs."""
    from bcc import BPF  # bcc reads BCC_KERNEL_SOURCE when it compiles

    module = BPF(src_file=source, cflags=compiler_flags(source, ring_pages, cookie, probes))
    found = []
    for name, kind in PROGRAMS.items():
        found.append((name, module.load_func(name, getattr(BPF, kind)).fd))
    for name in MAPS + (PROBE_MAPS if probes else ()):
        found.append((name, module.get_table(name).get_fd() if name != "ring" else module["ring"].map_fd))
    return module, found


def compiled_probes(module: Any, found: list[tuple[str, int]]) -> dict[str, Any]:
    """Of the reply: the probes' instructions, and which descriptor is which map in them."""
    code = {name: base64.b64encode(module.dump_func(name)).decode() for name in PROBES}
    return {"code": code, "map_descriptors": {name: fd for name, fd in found if name in MAPS + PROBE_MAPS}}


def captured_stderr(path: str) -> str:
    with open(path, errors="replace") as log:
        return log.read()[-4000:]


def main(argv: list[str]) -> int:
    channel = socket.socket(fileno=int(argv[1]))
    source, ring_pages, probes = argv[2], int(argv[3]), argv[4:5] == ["probes"]
    os.environ["BCC_KERNEL_SOURCE"] = os.path.dirname(source)  # it appends /include
    # bcc prints the verifier's and clang's words to the descriptor itself, so that is where they are caught
    log_path = f"/proc/self/fd/{os.memfd_create('bcc-log')}"
    log_fd = int(log_path.rsplit("/", 1)[1])
    os.dup2(log_fd, 2)
    failure: BaseException | None = None
    for cookie in (True, False):
        try:
            keep, found = compile_and_load(source, ring_pages, cookie, probes)
            unloaded = compiled_probes(keep, found) if probes else {}
        except Exception as error:  # whatever bcc raises (it has no error class of its own) goes to the daemon
            failure = error
            continue
        reply: dict[str, Any] = {"descriptors": [name for name, _ in found], "netns": "cookie" if cookie else "cgroup"}
        reply.update(unloaded)
        rights = array("i", [fd for _, fd in found])
        channel.sendmsg([json.dumps(reply).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        del keep
        return 0
    reply = {"error": f"{type(failure).__name__}: {failure}", "log": captured_stderr(log_path)}
    channel.sendall(json.dumps(reply).encode())
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
