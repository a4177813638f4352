"""Commands that repeat an example's request, safe to paste (sans-IO).

They are written in what dash, bash, zsh and fish read alike: a word is single quotes around what has neither quotes nor
backslashes (fish reads a backslash in single quotes), and those in double quotes of their own. What is not printable
ASCII stands in a format of ``printf``, byte by byte in octal, and goes to curl by its standard input: no byte of the
traffic is ever a shell's or a terminal's to read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shadowd.errors import ShadowdError

#: Curl makes its own; and the body is shown decoded.
_DROPPED = ("host", "content-length", "connection", "x-shadowd", "accept-encoding", "content-encoding",
            "transfer-encoding", "expect", "te", "trailer", "upgrade")  # fmt: skip
_PLAIN_WORD = re.compile(r"[A-Za-z0-9/-][A-Za-z0-9/._:-]*")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110 §5.6.2
_PIECE = re.compile(r"[^'\\]+|'+|\\+")
_FORMAT_PLAIN = re.compile(r"[A-Za-z0-9 _.,:/=+{}\[\]]")
_IN_TARGET = re.compile(r"[^\x21-\x7e]")


def commands(request: Mapping[str, Any], bases: Mapping[str, str]) -> list[str]:
    """Lines: a comment and a command for each of ``bases`` (name → URL). Raises ShadowdError for what is no HTTP."""
    given = str(request.get("method") or "")
    method = "".join(_TOKEN.findall(given))
    if not method:
        raise ShadowdError("this is no HTTP exchange", "look at the example without --curl")
    if method == "WEBSOCKET":
        raise ShadowdError(
            "this was said on a WebSocket, which curl does not speak", "look at the example without --curl"
        )
    body = str(request.get("body") or "")
    words, left_out = _headers(str(request.get("head") or ""))
    if method == "HEAD":
        words = ["--head", *words]  # -X HEAD would wait for a body
    elif method != "GET" or body:
        words = ["-X", method, *words]
    sent = ""
    if body and method != "HEAD":
        if _PRINTABLE.fullmatch(body):
            words += ["--data-raw", body]  # not --data-binary: that would send a file for a body like @name
        else:
            words += ["--data-binary", "@-"]
            sent = f"printf '{_format(body)}' | "
    target = _target(str(request.get("target") or "/"))
    lines = [f"# left out: {left_out} header fields with bytes that no terminal shows"] if left_out else []
    if method != given:
        lines.append("# left out: bytes of the method that no method has")
    for name, base in bases.items():
        # without --globoff one request for ?ids=[1-100] would become a hundred
        command = ["curl", "-i", "--globoff", "--path-as-is", *words, f"{base.rstrip('/')}{target}"]
        lines += [f"# {name}", sent + " ".join(map(quoted, command))]
    if "[redacted:" in str(request):
        lines.append("# secrets were redacted: put real values where [redacted:...] stands")
    return lines


def _headers(head: str) -> tuple[list[str], int]:
    words: list[str] = []
    left_out = 0
    for line in head.split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.replace("\t", " ").strip()
        if not name or name.lower() in _DROPPED:
            continue
        if not colon or not _TOKEN.fullmatch(name) or not (value.isprintable() and "\ufffd" not in value):
            left_out += 1  # a field that curl would read as the name of a file (@name) is no token either
            continue
        words += ["-H", f"{name}: {value}" if value else f"{name};"]  # curl takes "Name:" for one to leave out
    return words, left_out


def _target(target: str) -> str:
    if not target.startswith("/"):
        target = "/" + target.partition("://")[2].partition("/")[2]  # a target may be a whole URL (RFC 9112 §3.2.2)
    return _IN_TARGET.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found[0])), target)


def quoted(word: str) -> str:
    """One word for any of the four shells; its characters are printable."""
    if _PLAIN_WORD.fullmatch(word):
        return word
    if not word:
        return "''"
    pieces = []
    for found in _PIECE.finditer(word):
        piece = found[0]
        if piece[0] == "'":
            pieces.append(f'"{piece}"')
        elif piece[0] == "\\":
            pieces.append('"' + "\\\\" * len(piece) + '"')
        else:
            pieces.append(f"'{piece}'")
    return "".join(pieces)


def _format(text: str) -> str:
    """A format of printf that gives the bytes of ``text``: no quotes, no conversions, nothing unseen."""
    return "".join(
        chr(byte) if byte < 0x7F and _FORMAT_PLAIN.match(chr(byte)) else f"\\{byte:03o}" for byte in _bytes(text)
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape" if not _LONE.search(text) else "replace")


_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
