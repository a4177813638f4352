"""What this machine's kernel hands an application of segments in a given order.

Run ``python -m tests.netns.kernel_reader`` in a network namespace of its own, as root. One JSON list of cases on
stdin, each a list of segments ``[stream offset, hex bytes, flags, urgent pointer]``; the answer is a JSON list of what
``recv`` returned, in hex. The segments go in through a TUN device, so that the kernel sees them in exactly this order.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys

OWN, PEER = "10.99.0.1", "10.99.0.2"
PORT = 80
ISN = 0xFFFFFFF0  # sequence numbers wrap after 16 bytes
SYN, ACK = 2, 16
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(port: int, seq: int, ack: int, flags: int, data: bytes = b"", urgent: int = 0) -> bytes:
    head = struct.pack("!HHIIBBHHH", port, PORT, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 5 << 4, flags, 65535, 0, urgent)
    ends = socket.inet_aton(PEER) + socket.inet_aton(OWN)
    total = checksum(ends + struct.pack("!HH", 6, len(head) + len(data)) + head + data)
    segment = head[:16] + struct.pack("!H", total) + head[18:] + data
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0) + ends
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + segment


class Kernel:
    """A TUN device, and a listener behind it."""

    def __init__(self) -> None:
        self.device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.device, _TUNSETIFF, struct.pack("16sH22x", b"segments", _IFF_TUN | _IFF_NO_PI))
        for command in (f"addr add {OWN}/24 dev segments", "link set segments up"):
            subprocess.run(["ip", *command.split()], check=True, timeout=10)
        self.listener = socket.create_server((OWN, PORT))
        self.port = 20_000

    def _answer(self, port: int) -> int:
        """Sequence number of the SYN-ACK to ``port``."""
        for _ in range(1000):
            with contextlib.suppress(BlockingIOError):
                heard = os.read(self.device, 2048)
                if heard[0] == 0x45 and heard[9] == 6 and struct.unpack_from("!H", heard, 22)[0] == port:
                    return int(struct.unpack_from("!I", heard, 24)[0])
        raise AssertionError("the kernel did not answer a SYN")

    def read(self, segments: list[tuple[int, str, int, int]]) -> bytes:
        self.port += 1
        os.write(self.device, packet(self.port, ISN, 0, SYN))
        ack = self._answer(self.port) + 1
        os.write(self.device, packet(self.port, ISN + 1, ack, ACK))
        connection, _ = self.listener.accept()
        with connection:
            for at, data, flags, urgent in segments:
                os.write(self.device, packet(self.port, ISN + 1 + at, ack, ACK | flags, bytes.fromhex(data), urgent))
            connection.setblocking(False)
            got = b""
            with contextlib.suppress(BlockingIOError):
                while piece := connection.recv(65536):
                    got += piece
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return got


if __name__ == "__main__":
    kernel = Kernel()
    json.dump([kernel.read(case).hex() for case in json.load(sys.stdin)], sys.stdout)
