"""Whether targets can be mirrored to, asked when a filter is added: resolve, connect, TLS, who speaks first.

Nothing is sent but TLS's handshake: a shadow is not to get requests that production did not. So a silent port is taken
for a server of HTTP, except at the ports of TLS, where a handshake that succeeds tells that ``https://`` was meant.
The sockets bear our mark: no filter mirrors them.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import trio

from shadowd.config.filter import FilterSpec
from shadowd.config.target import TLS_SCHEMES, TargetSpec
from shadowd.doctor.mirroring import FAILED
from shadowd.errors import ShadowdError
from shadowd.worker.building import tls_contexts

LIMIT = 2.0  # seconds for one target, all of them at once: somebody waits at a terminal
#: Seconds in which a server that speaks first has done so, besides three times what connecting took.
FIRST_WORDS = 0.1
_SO_MARK = 36  # asm-generic/socket.h
_TLS_PORTS = (443, 6443, 8443, 9443)
_HTTP2_SETTINGS = b"\x04"  # the type in a frame's head (RFC 9113 §4.1), by which a server may begin
_OTHER_NAMES = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")


class _Unfit(Exception):
    """What is wrong, and what to do."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


async def probe(spec: FilterSpec, mark: int) -> list[dict[str, Any]]:
    """Of each target of a filter: ``url``, ``role``, and ``problem`` and ``hint``, "" where it is fit."""
    found: list[dict[str, Any]] = [
        {"url": one.url, "role": one.role, "problem": "", "hint": ""} for one in spec.targets
    ]

    async def one(target: TargetSpec, told: dict[str, Any]) -> None:
        try:
            with trio.fail_after(LIMIT):
                await _try(target, mark)
        except trio.TooSlowError:
            told["problem"], told["hint"] = f"nothing answers within {LIMIT:g} s", FAILED["connect"][1]
        except _Unfit as unfit:
            told["problem"], told["hint"] = unfit.problem, unfit.hint.replace("NAME", spec.name)
        except ShadowdError as error:
            told["problem"], told["hint"] = error.problem, error.remedy

    async with trio.open_nursery() as nursery:
        for target, told in zip(spec.targets, found, strict=True):
            nursery.start_soon(one, target, told)
    return found


async def _try(target: TargetSpec, mark: int) -> None:
    try:
        addresses = await trio.socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _Unfit(f"{target.host} does not resolve: {error.strerror or error}", FAILED["resolve"][1]) from None
    began = trio.current_time()
    stream = await _connected(addresses, mark)
    async with stream:
        if target.scheme in TLS_SCHEMES:
            await _shake_hands(stream, target)
        elif target.scheme != "tcp":
            took = trio.current_time() - began
            await _listen(stream, target, FIRST_WORDS + 3 * took)
    if target.scheme in ("http", "h2c") and target.port in _TLS_PORTS:
        await _is_plain(addresses, target, mark)


async def _connected(addresses: Sequence[Any], mark: int) -> trio.SocketStream:
    failed: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        made = trio.socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            await made.connect(address)
        except OSError as error:
            made.close()
            failed = failed or error
            continue
        except BaseException:  # it is cancelled
            made.close()
            raise
        return trio.SocketStream(made)
    if failed is not None and failed.errno == errno.ECONNREFUSED:
        raise _Unfit("the connection is refused", FAILED["connect"][1])
    why = "there is no address" if failed is None else failed.strerror or str(failed)
    raise _Unfit(f"it cannot be connected to: {why}", FAILED["connect"][1])


async def _shake_hands(stream: trio.SocketStream, target: TargetSpec) -> None:
    plain, streams = await trio.to_thread.run_sync(tls_contexts, target)  # it reads files
    context = streams if target.scheme == "h2" else plain
    assert context is not None
    tls = trio.SSLStream(stream, context, server_hostname=target.server_name or target.host)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        raise _told(error.__cause__, target) from None
    if target.scheme == "h2" and tls.selected_alpn_protocol() != "h2":
        raise _Unfit("it agrees to no HTTP/2", _written(target, "https"))


def _told(error: BaseException | None, target: TargetSpec) -> _Unfit:
    """What a handshake that failed means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAMES and not target.server_name:
            return _Unfit(
                f"its certificate is not for {target.host}, but it may be for the names that production is asked by",
                "if it is not: shadowctl filter set NAME --server-name HOST",
            )
        return _Unfit(
            f"its certificate is not trusted: {error.verify_message}",
            "shadowctl filter set NAME --ca FILE, or --server-name HOST; --insecure verifies nothing",
        )
    reason = str(getattr(error, "reason", "") or "")
    if reason in _NO_TLS:
        return _Unfit("it does not speak TLS", _written(target, "http"))
    why = reason.replace("_", " ").lower() or "the connection was closed"
    return _Unfit(f"no TLS with it: {why}", FAILED["tls"][1])


async def _listen(stream: trio.SocketStream, target: TargetSpec, limit: float) -> None:
    """Servers of HTTP/1 wait to be asked."""
    said: bytes | bytearray = b""
    with trio.move_on_after(limit) as waited:
        try:
            said = await stream.receive_some(64)
        except trio.BrokenResourceError:
            pass
    if waited.cancelled_caught or said[3:4] == _HTTP2_SETTINGS:
        return
    if not said:
        raise _Unfit("it closes connections at once", "is it the right port, and may this host connect to it?")
    words = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in said[:24])
    raise _Unfit(
        f"it speaks first, and says '{words}': that is not HTTP",
        "is it the right port? " + _written(target, target.scheme, "HOST:PORT"),
    )


async def _is_plain(addresses: Sequence[Any], target: TargetSpec, mark: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with await _connected(addresses, mark) as stream:
        try:
            await trio.SSLStream(stream, context, server_hostname=target.host).do_handshake()
        except trio.BrokenResourceError:
            return
    raise _Unfit("it speaks TLS", _written(target, "https" if target.scheme == "http" else "h2"))


def _written(target: TargetSpec, scheme: str, place: str = "") -> str:
    """The command that changes the target's URL."""
    option = "--baseline" if target.role == "baseline" else "--to"
    return f"shadowctl filter set NAME {option} {scheme}://{place or target.url.partition('://')[2]}"
