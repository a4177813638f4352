"""What probes on a TLS library cost production: CPU of handshakes and of requests, with and without, in turns.

    python -m bench.tlsprobes [--rounds 15] [--library FOLDER]     (root; FOLDER is put into LD_LIBRARY_PATH)

A process of its own makes handshakes in memory, both sides, P-256 and TLS 1.3: ten hits each. Half of the rounds have
the probes in place. Medians of CPU time, and their ratio with the spread of all pairs of neighbours.
"""

from __future__ import annotations

import argparse
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shadowd.capture.preflight import cgroup_id, find_cgroup2
from shadowd.capture.programs import load
from shadowd.capture.tlsattach import Attacher

HANDSHAKES = 150
REQUESTS = 5000


def pair(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A server and a client that have shaken hands."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = contexts[0].wrap_bio(up, down, server_side=True)
    client = contexts[1].wrap_bio(down, up)
    waiting = [client, server]
    while waiting:
        for one in list(waiting):
            try:
                one.do_handshake()
                waiting.remove(one)
            except ssl.SSLWantReadError:
                continue
    return server, client


def work(folder: Path) -> None:
    """For each line: CPU in us of a handshake and of a request."""
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    contexts[0].load_cert_chain(folder / "certificate", folder / "key")
    contexts[1].check_hostname = False
    contexts[1].verify_mode = ssl.CERT_NONE
    server, client = pair(contexts)
    print(ssl.OPENSSL_VERSION, flush=True)
    for _ in sys.stdin:
        begin = time.process_time_ns()
        for _ in range(HANDSHAKES):
            pair(contexts)
        middle = time.process_time_ns()
        for _ in range(REQUESTS):
            client.write(b"x" * 300)
            server.read(1000)
            server.write(b"y" * 1000)
            client.read(2000)
        end = time.process_time_ns()
        print((middle - begin) / HANDSHAKES / 1000, (end - middle) / REQUESTS / 1000, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--library", default="")
    options = parser.parse_args()
    root = find_cgroup2()
    assert root is not None, "needs cgroup v2"
    place = root / f"shadowd-bench-{os.getpid()}"
    programs = load(1 << 20, 0x02000000, probes=True)
    place.mkdir()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=a", "-keyout", str(folder / "key"), "-out", str(folder / "certificate")],
            check=True, capture_output=True,
        )  # fmt: skip
        environment = {**os.environ, **({"LD_LIBRARY_PATH": options.library} if options.library else {})}
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.tlsprobes", "--work", made], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        (place / "cgroup.procs").write_text(str(process.pid))
        version = process.stdout.readline().strip()
        attacher = Attacher(programs)
        library = attacher.want("bench", (), [cgroup_id(place)]).libraries[0]

        def turn(probed: bool) -> tuple[float, float, int]:
            assert process.stdin is not None
            assert process.stdout is not None
            if probed:
                attacher.want("bench", (), [cgroup_id(place)])
            else:
                attacher.forget("bench")
            programs.keep_alive(time.monotonic_ns() + 600 * 10**9)
            before = programs.counters()
            print("go", file=process.stdin, flush=True)
            handshake, request = map(float, process.stdout.readline().split())
            after = programs.counters()
            return handshake, request, after["secrets"] - before["secrets"]

        turn(True)
        rounds = []
        for number in range(options.rounds):  # each first in turn: a host that slows down favours none
            first = turn(bool(number % 2))
            second = turn(not number % 2)
            rounds.append((second, first) if number % 2 else (first, second))
        attacher.close()
        process.stdin.close()
        process.wait()
    place.rmdir()
    programs.close()
    print(f"{version}, {library.kind}, first instruction {library.cost}, {options.rounds} pairs of rounds")
    hits = {probed[2] / HANDSHAKES for _, probed in rounds}
    print(
        f"secrets a handshake, of both sides: {sorted(hits)}; without probes {sorted({none[2] for none, _ in rounds})}"
    )
    for name, index in (("handshake (both sides)", 0), ("request on an open connection", 1)):
        without, with_probes = (statistics.median(turn[side][index] for turn in rounds) for side in (0, 1))
        ratios = sorted(probed[index] / none[index] for none, probed in rounds)
        low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4 - 1]
        print(
            f"{name}: {without:.1f} us without, {with_probes:.1f} us with; median ratio "
            f"{statistics.median(ratios):.3f} (quartiles {low:.3f}, {high:.3f})"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]))
    else:
        main()
