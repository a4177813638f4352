"""``--keylog FILE``: the secrets by which a capture file's TLS connections are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shadowd.cli.capture_file import OpenSink
from shadowd.errors import ShadowdError
from shadowd.protocols.detect import tls_start
from shadowd.stream.flow import Flow, FlowSink
from shadowd.tls.keyring import KeyLines, Keyring
from shadowd.tls.opening import TlsOpening
from shadowd.tls.session import PlainSink

#: A line is some 180 bytes, and a TLS 1.3 handshake has five: 300,000 connections, which take 300 MB here.
MAX_BYTES = 256 << 20
_STEP = 1 << 20


def read_keylog(path: Path) -> Keyring:
    """All of it; a pipe (``<(...)``) to its end. Raises ShadowdError if it cannot be read or is no key log."""
    keyring = Keyring(limit=MAX_BYTES, whole=True)
    lines = KeyLines(keyring)
    size = 0
    try:
        with path.open("rb") as file:
            while data := file.read(_STEP):
                size += len(data)
                if size > MAX_BYTES:
                    raise ShadowdError(f"{path} is larger than {MAX_BYTES >> 20} MB", "give the part that is needed")
                lines.feed_untrusted(data, 0)
                _check(path, lines)
    except OSError as error:
        raise ShadowdError(
            f"{path} cannot be read: {error.strerror or error}", "check the path and its permissions"
        ) from None
    lines.finish(0)
    _check(path, lines)
    return keyring


def _check(path: Path, lines: KeyLines) -> None:
    if lines.bad and not lines.good:
        raise ShadowdError(f"{path} is no key log", "give a file in NSS format, such as SSLKEYLOGFILE writes")


def decrypted(keyring: Keyring | None, open_plain: Callable[[bytes, bytes, Flow, bool], PlainSink]) -> OpenSink:
    """The same sinks, behind TLS where there are keys."""
    if keyring is None:
        return open_plain
    keys = keyring

    def open_sink(client: bytes, server: bytes, flow: Flow, midstream: bool) -> FlowSink:
        return TlsOpening(flow, keys, open_plain(client, server, flow, midstream), tls_start, midstream)

    return open_sink
