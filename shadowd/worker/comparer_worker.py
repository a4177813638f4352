"""Compares answers that are too heavy for the pump, in a process of its own.

``python -m shadowd.worker.comparer_worker``.

Started by ``comparer.py``, beside a service in production: at the lowest priority, with ``MEMORY`` bytes of address
space and ``SECONDS`` of CPU for one trial; beyond either it ends, and is started anew for the next. It reads frames
(``!I`` length, pickle: the daemon's own words) with the answers, options and contexts of a trial, and writes frames
with the differences of each pair and the faults of each answer (msgpack: what hostile answers made of it is read as
hostile).
"""

from __future__ import annotations

import os
import pickle
import resource
import struct
import sys
from typing import Any, BinaryIO

import msgpack

from shadowd.compare.answers import compare_answers
from shadowd.compare.content import content_untrusted
from shadowd.compare.difference import Differences
from shadowd.compare.inband import in_band_error_untrusted
from shadowd.compare.signatures import SEARCHED, Signature, signature_of
from shadowd.exchange.exchange import Response

MEMORY = 768 << 20
#: Bytes of a body, decompressed, in which errors are looked for: all that ``max_body`` may let through.
BODY = 16 << 20
SECONDS = 5
HEADER = struct.Struct("!I")


def limit() -> None:
    """What this process may take."""
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def begin_trial() -> None:
    """``SECONDS`` of CPU from now on: the kernel ends the process after that (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def compare(pairs: list[tuple[Any, ...]], answers: tuple[Response, ...]) -> bytes:
    """Of (ours, theirs, options, context)s the differences, and of each answer the faults that it tells."""
    differences = [_plain(compare_answers(*pair)) for pair in pairs]
    return bytes(msgpack.packb([differences, [_faults(one) for one in answers]], unicode_errors="surrogatepass"))


def _faults(answer: Response) -> list[Any]:
    """As ``Faults``: in the whole of the body, of which the daemon sees the beginning afterwards."""
    inside = in_band_error_untrusted(answer, BODY)
    signature = None
    if answer.status >= 400:
        signature = signature_of(answer.status, content_untrusted(answer.head, answer.body, SEARCHED))
    return [None if inside is None else [inside.rank, *_told(inside.signature)], signature and _told(signature)]


def _told(signature: Signature) -> list[str]:
    return [signature.kind, signature.title, signature.fingerprint]


def _plain(found: Differences) -> list[Any]:
    return [found.more, [list(one) for one in found]]


def serve(asked: BinaryIO, told: BinaryIO) -> None:
    """Until the daemon closes its end."""
    while True:
        header = asked.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        length = HEADER.unpack(header)[0]
        content = asked.read(length)
        if len(content) < length:
            return
        begin_trial()
        reply = compare(*pickle.loads(content))
        told.write(HEADER.pack(len(reply)) + reply)
        told.flush()


def main() -> int:
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limit()
    serve(sys.stdin.buffer, replies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
