"""Forms, multipart bodies and tables as documents (sans-IO), so that they are compared by field, part and column.

    a=1&b=2                          $.a
    multipart, parts with names      $.parts.avatar.content      $.parts.avatar.headers['content-type']
    multipart, parts without         $.parts[*].content.price
    text/csv                         $.rows[*].price             $.columns

A boundary is another one each time and is no part of what is said. The content of a part is what it looks like.
"""

from __future__ import annotations

import csv
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote_plus

from shadowd.compare.content import known_charset
from shadowd.compare.fields import meaning, parameters
from shadowd.compare.headers import Headers
from shadowd.compare.jsondiff import JsonError, Unbounded, parse_text_untrusted

#: Parts of one body; batch APIs allow 1000 at most.
MAX_PARTS = 1000
#: Multipart bodies within multipart bodies (a mail has three).
MAX_NESTED = 4
#: Lines of a part's text that are told apart.
MAX_LINES = 200


class FormError(Exception):
    """Not a form, or beyond the limits; the text says which."""


def form_document_untrusted(text: str, most: int) -> dict[str, list[str]]:
    """Every name with all its values, in order. Raises ``FormError`` beyond ``most`` fields."""
    pairs = text.strip().split("&", most)
    if len(pairs) > most - 1 and most > 0:
        raise FormError("too many fields")
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        found.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    return found


def single(production: dict[str, list[str]], candidate: dict[str, list[str]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Names that occur once on both sides hold their value, not a list of it."""
    several = {name for side in (production, candidate) for name, values in side.items() if len(values) > 1}
    p, c = ({n: v if n in several else v[0] for n, v in side.items()} for side in (production, candidate))
    return p, c


def table_document_untrusted(text: str, most: int, delimiter: str = ",") -> dict[str, Any]:
    """CSV (RFC 4180) with a line of names: ``{"columns": [...], "rows": [{name: value}]}``. Raises ``FormError``."""
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise FormError(str(error)) from None
    if len(rows) < 2 or len(rows[0]) < 2 or len(set(rows[0])) < len(rows[0]):
        raise FormError("no line of names")
    if sum(map(len, rows)) > most:
        raise FormError("too many cells")
    names = rows[0]
    if any(len(row) != len(names) for row in rows):
        raise FormError("rows of several lengths")
    return {"columns": names, "rows": [dict(zip(names, row, strict=True)) for row in rows[1:]]}


def multipart_document_untrusted(data: bytes, label: str, most: int, depth: int = 0) -> dict[str, Any]:
    """``label``: the Content-Type with its boundary. Raises ``FormError``."""
    boundary = parameters(label)[1].get("boundary", "").encode("latin-1", "replace")
    if not boundary:
        boundary = _first_line(data)
    if not boundary or depth > MAX_NESTED:
        raise FormError("no boundary" if not boundary else "nested too deeply")
    end = b"\r\n--" + boundary
    pieces = (b"\r\n" + data).split(end, MAX_PARTS + 1)
    if len(pieces) == 1:
        pieces = (b"\n" + data).split(b"\n--" + boundary, MAX_PARTS + 1)
    if len(pieces) == 1:
        raise FormError("the boundary is not there")
    if len(pieces) > MAX_PARTS + 1:
        raise FormError("too many parts")
    before, *pieces = pieces
    parts: list[tuple[str, dict[str, Any]]] = []
    document: dict[str, Any] = {}
    for piece in pieces:
        if piece[:2] == b"--":
            if piece[2:].strip():
                document["(after)"] = _text(piece[2:].strip())
            break
        parts.append(_part(piece, most, depth))
    else:
        document["(cut)"] = True
    if before.strip():
        document["(before)"] = _text(before.strip())
    names = [name for name, _ in parts]
    if all(names) and len(set(names)) == len(names):
        document["parts"] = dict(parts)
    else:
        document["parts"] = [part for _, part in parts]
    return document


def _first_line(data: bytes) -> bytes:
    """The boundary by looking, where the label forgot it."""
    line = data[:100].lstrip(b"\r\n").split(b"\n", 1)[0].strip()
    return line[2:] if line[:2] == b"--" and 2 < len(line) <= 72 else b""


def _part(piece: bytes, most: int, depth: int) -> tuple[str, dict[str, Any]]:
    piece = piece.lstrip(b" \t").removeprefix(b"\r").removeprefix(b"\n")
    if piece[:1] in (b"\r", b"\n"):
        head, body = b"", piece.removeprefix(b"\r").removeprefix(b"\n")
    else:
        head, mark, body = piece.partition(b"\r\n\r\n")
        if not mark:
            head, _, body = piece.partition(b"\n\n")
    headers = Headers(b"\r\n" + head)
    label = headers.first("content-type")
    name = parameters(headers.first("content-disposition"))[1].get("name", "")
    shown = {
        key: _plain(meaning(key, ", ".join(values)))
        for key, values in headers.fields.items()
        if key != "content-length"
    }
    part: dict[str, Any] = {"content": part_document(body, label, most, depth + 1)}
    if shown:
        part["headers"] = shown
    return name, part


def part_document(data: bytes, label: str, most: int, depth: int) -> Any:
    """The content of a part by what it looks like: JSON, parts, text by line, or bytes by digest."""
    kind, found = parameters(label)
    if kind.startswith("multipart/"):
        try:
            return multipart_document_untrusted(data, label, most, depth)
        except FormError:
            pass
    try:
        text = data.decode(known_charset(found.get("charset", "")))
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return f"{len(data)} bytes, {blake2b(data, digest_size=8).hexdigest()}"
    if text.lstrip()[:1] in ("{", "["):
        try:
            return parse_text_untrusted(text)
        except (JsonError, Unbounded):
            pass
    lines = text.split("\n", MAX_LINES)
    if 1 < len(lines) <= MAX_LINES:
        return {f"line {number}": line for number, line in enumerate(lines, 1)}
    return text


def _plain(value: object) -> Any:
    if isinstance(value, (frozenset, set)):
        return ", ".join(sorted(map(str, value)))
    if isinstance(value, (list, tuple)):
        return ", ".join(str(_plain(one)) for one in value)
    return str(value)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
