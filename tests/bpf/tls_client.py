"""A TLS client of its own: ``python -m tests.bpf.tls_client PORT KEYS COUNT [tls12]`` makes so many connections, each
with a handshake and an exchange; it begins when a line comes in, and says "done"."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bpf.tls_lab import client, exchange

if __name__ == "__main__":
    port, keys, count, tls12 = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] == ["tls12"]
    context = client(keys, tls12)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(count):
        exchange(port, context)
    print("done", flush=True)
