"""Probes on this host's own OpenSSL, in one script: `python -m tests.vm.tls_probes` (root; prebuilt programs).

Handshakes of a server and a client in this process, of both versions; what the ring has must be what the library's key
log has. Prints one JSON object as ``acceptance.py`` does. Before Linux 5.15 it must be refused in one line.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from shadowd.capture.preflight import cgroup_id, find_cgroup2, kernel_release
from shadowd.capture.programs import load
from shadowd.capture.ring import RingSink
from shadowd.capture.tlsattach import SINCE, Attacher
from shadowd.capture.tlsdiscovery import cgroups_of
from shadowd.capture.tlssecrets import Secret, SecretError, Whose
from shadowd.errors import PlatformError

CONNECTIONS = 10


class Sink(RingSink):
    def __init__(self) -> None:
        self.secrets: list[Secret] = []

    def secret(self, record: bytes) -> None:
        try:
            self.secrets.append(Secret(record))
        except SecretError:
            return


def handshakes(folder: Path) -> set[tuple[bytes, bytes, bytes]]:
    """As the key log has them."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=a", "-keyout", str(folder / "key"), "-out", str(folder / "certificate")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")

    def serve(server: socket.socket) -> None:
        for _ in range(2 * CONNECTIONS):
            with context.wrap_socket(server.accept()[0], server_side=True) as connection:
                connection.sendall(connection.recv(10))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
            asking.maximum_version = version
            asking.keylog_filename = str(folder / "keys")
            for _ in range(CONNECTIONS):
                with asking.wrap_socket(socket.create_connection(server.getsockname())) as connection:
                    connection.sendall(b"hello")
                    assert connection.recv(10) == b"hello"
        thread.join()
    lines = [line.split() for line in (folder / "keys").read_text().splitlines() if not line.startswith("#")]
    return {(label.encode(), bytes.fromhex(random), bytes.fromhex(secret)) for label, random, secret in lines}


def try_it() -> dict[str, object] | str:
    programs = load(4 << 20, 0x01000000, "prebuilt", probes=True)
    try:
        attacher = Attacher(programs)
    except PlatformError as error:
        if kernel_release() >= SINCE:
            raise
        return f"refused: {error}"
    programs.keep_alive(time.monotonic_ns() + 600 * 10**9)
    root = find_cgroup2()
    assert root is not None
    report = attacher.want("here", (), sorted(cgroups_of({os.getpid()})) or [cgroup_id(root)])
    assert report.libraries, report.problems
    with tempfile.TemporaryDirectory() as folder:
        logged = handshakes(Path(folder))
    sink, whose = Sink(), Whose()
    while programs.ring.drain(sink, 1 << 20):
        pass
    known = {random for _, random, _ in logged}
    told = {
        (one.label, whose.random(one, known.__contains__), one.secret) for one in sink.secrets if one.pid == os.getpid()
    }
    assert told == logged, f"{len(told)} told, {len(logged)} logged, {len(told & logged)} the same"
    attacher.close()
    return {"way": attacher.way, "secrets": len(logged), "library": report.libraries[0].path}


if __name__ == "__main__":
    begun = time.monotonic()
    try:
        detail, ok = try_it(), True
    except Exception as error:  # whatever it is: it is what is to be told
        detail, ok = f"{type(error).__name__}: {error}"[-3000:], False
    seconds = round(time.monotonic() - begun, 2)
    print(json.dumps({"step": "TLS probes", "ok": ok, "seconds": seconds, "detail": detail}), flush=True)
    sys.exit(not ok)
