"""One exchange as a line for people, in the columns that a width has room for (no I/O but the terminal's size).

A line is a list of (text, colour): ``tail`` prints it, ``top`` makes it a row. All text of traffic is made harmless.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from typing import Any

from shadowd.cli.output import mappings, plain

Part = tuple[str, str]  # text and colour, "" for none

#: Column → its width; "path" has what is left.
_WIDTHS = {"time": 12, "target": 18, "method": 6, "status": 9, "latency": 19, "size": 13}
#: From which width on each is there.
_FROM = {"time": 96, "target": 120, "method": 40, "status": 0, "latency": 72, "size": 128}
_CLOCK = 70  # columns from which on the time is there, without its milliseconds
_LEAST_PATH, _MOST_WHAT = 14, 46
_PIPE = 40  # a path's width where nothing is cut
_LABELS = {"not judged": "noise"}


def shown_width() -> int:
    """Columns of the terminal."""
    return max(30, shutil.get_terminal_size((100, 24)).columns)


class Layout:
    """Of one width, None: nothing is cut. ``targets``: there are several, so that each line says which."""

    def __init__(self, width: int | None, targets: bool = False) -> None:
        room = width or 10_000
        self.columns = tuple(
            (name, 8 if name == "time" and room < _FROM["time"] else _WIDTHS.get(name, 0))
            for name in ("time", "target", "method", "path", "status", "latency", "size")
            if name == "path" or _wide_enough(name, room, targets)
        )
        self._cut = width is not None
        fixed = sum(size + 2 for name, size in self.columns if name != "path")
        left = room - fixed - 2
        if not self._cut:
            self._path, self._what = _PIPE, 0
        else:
            self._what = max(12, min(_MOST_WHAT, left // 2))
            self._path = max(_LEAST_PATH, left - self._what)
            self._what = max(8, left - self._path)

    def header(self) -> str:
        names = {"status": "STATUS", "latency": "LATENCY", "size": "SIZE", "path": "PATH"}
        cells = [_fit(names.get(name, name.upper()), self._path if name == "path" else size, True)
                 for name, size in self.columns]  # fmt: skip
        return "  ".join([*cells, "WHAT"])

    def line(self, entry: Mapping[str, Any]) -> list[Part]:
        cells = cells_of(entry)
        parts: list[Part] = []
        for name, size in self.columns:
            text, colour = cells[name]
            if name == "time" and size < 12:
                text = text[:8]
            cut = self._cut or name != "path"
            parts += [(_fit(text, self._path if name == "path" else size, cut), colour), ("  ", "")]
        what, colour = cells["what"]
        if what:
            return [*parts, (_fit(what, self._what, True).rstrip() if self._cut else what, colour)]
        return [*parts[:-2], (parts[-2][0].rstrip(), parts[-2][1])]


def _wide_enough(name: str, room: int, targets: bool) -> bool:
    if name == "target":
        return targets and room >= _FROM[name]
    return room >= (_CLOCK if name == "time" else _FROM[name])


def _fit(text: str, width: int, cut: bool) -> str:
    if cut and len(text) > width:
        return text[: width - 1] + "…"
    return f"{text:{width}}"


def cells_of(entry: Mapping[str, Any]) -> dict[str, Part]:
    """Each column's text, whatever the width."""
    shadow = _side(entry)
    what, colour = _what(entry)
    moment = entry.get("time")
    clock = ""
    if isinstance(moment, int | float):
        clock = time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03}"
    where = entry.get("path") or entry.get("endpoint") or "-"
    method = str(entry.get("method") or "-")
    if not entry.get("path") and str(where).startswith(f"{method} "):
        where = str(where)[len(method) + 1 :]
    return {
        "time": (clock, "bright_black"),
        "target": (plain(entry.get("target") or "").partition("://")[2], ""),
        "method": (plain(method), ""),
        "path": (plain(where), ""),
        "status": (_status(entry, shadow), colour if colour in ("red", "yellow") else ""),
        "latency": (f"{_ms(entry.get('latency_ms')):>8} {_ms(shadow.get('latency_ms')):>8}", ""),
        "size": (_pair(entry.get("size"), shadow.get("size")), ""),
        "what": (what, colour),
    }


def _side(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    shadow = entry.get("shadow")
    return shadow if isinstance(shadow, Mapping) else {}


def _status(entry: Mapping[str, Any], shadow: Mapping[str, Any]) -> str:
    ours, theirs = (plain(one.get("status") or "-") for one in (entry, shadow))
    return ours if ours == theirs else f"{ours} → {theirs}"


def _ms(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.1f}ms" if value < 1000 else f"{value / 1000:.2f}s"


def _pair(ours: object, theirs: object) -> str:
    left, right = (size_of(one) for one in (ours, theirs))
    return left if left == right else f"{left} → {right}"


def size_of(value: object) -> str:
    if not isinstance(value, int):
        return "-"
    for shift, unit in ((30, "G"), (20, "M"), (10, "K")):
        if value >= 1 << shift:
            return f"{value / (1 << shift):.1f}{unit}"
    return str(value)


def _what(entry: Mapping[str, Any]) -> Part:
    """What is to be said of it in a word or two, and the colour of that."""
    if entry.get("shed"):
        return f"shed: {plain(entry['shed'])}", "blue"
    places = _places(entry)
    if entry.get("failed"):
        return f"failed: {plain(entry['failed'])}", "red"
    if entry.get("failure"):
        return f"production: {plain(entry['failure'])}", "yellow"
    if entry.get("worse"):
        return f"worse {places}".rstrip(), "red"
    if entry.get("excused"):
        return f"{plain(entry['excused'])} {places}".rstrip(), "bright_black"
    if entry.get("differs"):
        return f"differs {places}".rstrip(), "yellow"
    if entry.get("better"):
        return f"better {places}".rstrip(), "green"
    if entry.get("noise"):
        return f"noise {places}".rstrip(), "bright_black"
    return "", ""


def _places(entry: Mapping[str, Any]) -> str:
    """The first place that speaks for itself, and how many others there are."""
    found = [one for one in mappings(entry.get("differences")) if one.get("where") != "status"]
    if not found:  # the status has a column of its own
        return ""
    quiet = ("not judged", "noise", "expected", "drift")
    first = next((one for one in found if one.get("label") not in quiet), found[0])
    where, path = str(first.get("where", "")), str(first.get("path", ""))
    name = path if path and where in ("body", "turn") else f"{where} {path}".strip()
    return plain(name) + (f" +{len(found) - 1}" if len(found) > 1 else "")


def differences_of(entry: Mapping[str, Any]) -> Iterator[list[Part]]:
    """What differs, as lines of a unified difference."""
    for one in mappings(entry.get("differences")):
        label = str(one.get("label") or "")
        place = plain(f"{one.get('where')} {one.get('path')}".strip())
        told = ", ".join(plain(word) for word in (one.get("kind"), _LABELS.get(label, label), one.get("id")) if word)
        yield [("  @ ", "cyan"), (place, "cyan"), (f"  {told}", "bright_black")]
        for side, sign, colour in (("production", "-", "green"), ("candidate", "+", "red")):
            if one.get(side):
                yield [(f"  {sign} {plain(one[side])}", colour)]
