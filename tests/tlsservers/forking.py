"""A server that forks with a connection in hand: it is started as ``recording.py`` is.

The parent makes the handshake and answers the first request; a child answers the rest.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys

from tests.tlsservers import recording


def answer_one(connection: ssl.SSLSocket, log: str) -> bool:
    request = b""
    while b"\r\n\r\n" not in request:
        data = connection.recv(1 << 16)
        if not data:
            return False
        request += data
    head, _, body = request.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
    while len(body) < length:
        body += connection.recv(1 << 16)
    with open(log, "a") as file:
        print(recording.recorded(head + b"\r\n\r\n" + body), file=file)
    connection.sendall(recording.answer(head, body))
    return True


def main(port: int, certificate: str, key: str, log: str, version: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[f"TLSv{version.replace('.', '_')}"]
    with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
        while True:
            accepted, _ = listener.accept()
            try:
                connection = context.wrap_socket(accepted, server_side=True)
            except OSError:  # who only looked whether we listen
                continue
            with connection:
                if answer_one(connection, log) and os.fork() == 0:
                    listener.close()
                    while answer_one(connection, log):
                        pass
                    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
