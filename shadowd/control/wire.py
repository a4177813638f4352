"""The control protocol: msgpack maps, each behind its length (sans-IO).

A frame is a 4-byte big-endian length and that many bytes of one msgpack map with text keys. The client sends
``{"v": 1, "id": n, "op": "filter.add", "args": {...}}`` and gets ``{"v": 1, "id": n, "ok": true, "result": ...}`` or
``{"v": 1, "id": n, "ok": false, "error": {"kind", "problem", "remedy", "exit"}}``. Only plain values travel: map,
list, text, integer, float, bool, nil. Anything else condemns the connection with a WireError.
"""

from __future__ import annotations

from typing import Any

import msgpack

from shadowd.errors import ConfigError, PlatformError, ShadowdError, UsageError

VERSION = 1
HEADER = 4
REQUEST_LIMIT = 256 << 10  # bytes of a client's frame: one filter with every list full is below it
REPLY_LIMIT = 1 << 20  # bytes of the daemon's frame: 64 filters of a usual size with all counters
DEPTH_LIMIT = 16  # the deepest message of ours has 7 levels
ITEM_LIMIT = 16384  # entries of one list or map: no list of ours has more than 4096
TEXT_LIMIT = 32768  # characters of an error: hundreds of faults of one configuration

KINDS: dict[str, type[ShadowdError]] = {
    "usage": UsageError,
    "config": ConfigError,
    "platform": PlatformError,
    "failed": ShadowdError,
}


class WireError(Exception):
    """The peer does not speak this protocol, or too much of it; the message says how."""


class FrameDecoder:
    """Bytes in, maps out. Holds at most one frame of ``limit`` bytes; after a WireError it is of no more use."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = REQUEST_LIMIT) -> None:
        self._buffer = bytearray()
        self._limit = limit

    @property
    def pending(self) -> bool:
        """True when a frame has begun and not ended."""
        return bool(self._buffer)

    def feed_untrusted(self, data: bytes) -> list[dict[str, Any]]:
        """The frames that ``data`` completes. Raises WireError at the first that is none; those before it in the same
        ``data`` are lost with the connection."""
        self._buffer += data
        frames = []
        at = 0
        while len(self._buffer) - at >= HEADER:
            length = int.from_bytes(self._buffer[at : at + HEADER], "big")
            if length > self._limit:
                raise WireError(f"a frame of {length} bytes is over the limit of {self._limit}")
            if len(self._buffer) - at - HEADER < length:
                break
            at += HEADER
            frames.append(_decode_untrusted(bytes(self._buffer[at : at + length])))
            at += length
        del self._buffer[:at]
        return frames


def _decode_untrusted(body: bytes) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            max_str_len=len(body),
            max_bin_len=0,
            max_ext_len=0,
            max_array_len=min(len(body), ITEM_LIMIT),
            max_map_len=min(len(body), ITEM_LIMIT),
        )
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"not msgpack: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise WireError("the frame is not a map")
    _check_plain(message)
    return message


def _check_plain(message: dict[Any, Any]) -> None:
    """Level by level, so that no nesting can exhaust the stack."""
    level: list[Any] = [message]
    for _ in range(DEPTH_LIMIT):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if not all(isinstance(key, str) for key in item):
                    raise WireError("a map's key is not text")
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif item is not None and not isinstance(item, (str, int, float)):  # bool is an int
                raise WireError(f"a value of type {type(item).__name__} does not belong here")
        if not below:
            return
        level = below
    raise WireError(f"nested deeper than {DEPTH_LIMIT}")


def encode(message: dict[str, Any], limit: int = REPLY_LIMIT) -> bytes:
    """The frame of a message. Raises WireError if it is too large or holds what cannot travel."""
    try:
        body: bytes = msgpack.packb(message, use_bin_type=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"the message cannot be encoded: {error}") from None
    if len(body) > limit:
        raise WireError(f"the message has {len(body)} bytes, over the limit of {limit}")
    return len(body).to_bytes(HEADER, "big") + body


class Request:
    """What a client asked; ``number`` is its id, which comes back in the reply."""

    __slots__ = ("args", "number", "op")

    def __init__(self, op: str, args: dict[str, Any], number: int) -> None:
        self.op = op
        self.args = args
        self.number = number

    def frame(self) -> bytes:
        return encode({"v": VERSION, "id": self.number, "op": self.op, "args": self.args}, REQUEST_LIMIT)


def request_untrusted(message: dict[str, Any]) -> Request:
    """The request in a frame. Raises ShadowdError for another version, WireError for any other shape."""
    version, number, op, args = (message.get(key) for key in ("v", "id", "op", "args"))
    if version != VERSION:
        raise ShadowdError(
            f"the client speaks control protocol {_word(version)}, this daemon {VERSION}",
            "use shadowctl of the daemon's version",
        )
    if not isinstance(number, int) or not isinstance(op, str) or not isinstance(args, dict):
        raise WireError("a request is a map of v, id, op and args")
    return Request(op, args, number)


def ok_reply(number: int, result: object) -> dict[str, Any]:
    return {"v": VERSION, "id": number, "ok": True, "result": result}


def error_reply(number: int, error: ShadowdError) -> dict[str, Any]:
    kind = next((kind for kind, known in KINDS.items() if type(error) is known), "")
    kind = kind or ("usage" if isinstance(error, UsageError) else "failed")
    said = {
        "kind": kind,
        "problem": _sendable(error.problem),
        "remedy": _sendable(error.remedy),
        "exit": error.exit_code,
    }
    return {"v": VERSION, "id": number, "ok": False, "error": said}


def _sendable(text: str) -> str:
    """A text that always fits and always encodes: names of files may hold bytes that are not UTF-8."""
    return text[:TEXT_LIMIT].encode("utf-8", "replace").decode()


def result_untrusted(message: dict[str, Any], number: int) -> object:
    """The result in a reply to request ``number``. Raises what the daemon said went wrong, WireError for another shape.

    A refusal of the connection itself carries id 0.
    """
    if message.get("v") != VERSION:
        raise ShadowdError(
            f"the daemon speaks control protocol {_word(message.get('v'))}, this shadowctl {VERSION}",
            "install the same version of both, and restart the daemon after an upgrade",
        )
    error = message.get("error")
    if message.get("ok") is False and isinstance(error, dict) and message.get("id") in (0, number):
        problem, remedy, code = error.get("problem"), error.get("remedy"), error.get("exit")
        raised = KINDS.get(str(error.get("kind")), ShadowdError)(
            problem if isinstance(problem, str) else "the daemon gave no reason",
            remedy if isinstance(remedy, str) else "",
        )
        raised.exit_code = code if isinstance(code, int) and 1 <= code <= 125 else raised.exit_code
        raise raised
    if message.get("ok") is not True or message.get("id") != number or "result" not in message:
        raise WireError("the reply does not fit the request")
    return message["result"]


def _word(version: object) -> str:
    return str(version)[:20] if isinstance(version, int) else "of no version"
