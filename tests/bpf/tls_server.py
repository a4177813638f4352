"""A TLS server of its own: ``python -m tests.bpf.tls_server PORT FOLDER [tls12]``. It echoes, and has its library write
a key log to FOLDER/server.keys."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path


def certificate(folder: Path) -> None:
    """``folder``/certificate and ``folder``/key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", str(folder / "key"), "-out", str(folder / "certificate")],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def echo(connection: socket.socket, context: ssl.SSLContext) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # tickets and an echo are two small segments
    try:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            while data := wrapped.recv(65536):
                wrapped.sendall(data)
    except OSError:  # a client that goes without a word
        return


def main(port: int, folder: Path, tls12: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    context.keylog_filename = str(folder / "server.keys")
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", port), backlog=1000) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=echo, args=(connection, context), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] == ["tls12"])
