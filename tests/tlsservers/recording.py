"""What a server of these tests writes down and answers: a line of each request, then as many bytes as its body says.

As a program, ``python -m tests.tlsservers.recording PORT CERTIFICATE KEY LOG VERSION``: a server of asyncio, whose TLS
works on memory (no socket is known to the library). It writes answers to ``/drip...`` byte by byte: a record each.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import sys

from tests.netns.lab import ok

BODY = 40_000  # bytes of an answer's rest, at most: three records


def line(method: str, path: str, body: bytes) -> str:
    return f"{method} {path} {len(body)} {hashlib.sha256(body).hexdigest()}"


def answer(head: bytes, body: bytes) -> bytes:
    """To a request; of every server here."""
    method, path = head.decode().split(" ", 2)[:2]
    said = f"{line(method, path, body)}\n".encode() + b"x" * (len(body) % BODY)
    return ok(said, headers=b"Content-Type: text/plain\r\n")


def recorded(request: bytes) -> str:
    """The line of a request that came as bytes."""
    head, _, body = request.partition(b"\r\n\r\n")
    method, path = head.decode().split(" ", 2)[:2]
    return line(method, path, body)


async def main(port: int, certificate: str, key: str, log: str, version: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[f"TLSv{version.replace('.', '_')}"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(field.lower().split(b": ", 1) for field in head.split(b"\r\n")[1:] if field)
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
                with open(log, "a") as file:
                    print(recorded(head + body), file=file)
                said = answer(head, body)
                parts = [bytes([byte]) for byte in said] if b" /drip" in head else [said]
                for part in parts:
                    writer.write(part)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
