"""Stack traces of four languages found in the body of an answer (sans-IO).

=========  ================================  =======================================  ===============================
language   begins                            a frame                                  what it says
=========  ================================  =======================================  ===============================
Python     ``Traceback (most recent call``   ``File "/srv/shop.py", line 3, in total``  last line, after the frames
Java       ``a.b.FooException: message``     ``at a.b.C.method(C.java:12)``           first line, or last ``Caused by``
Go         ``panic: message``                ``main.total(...)`` + tab + ``/srv/shop.go:7``  first line
Node.js    ``TypeError: message``            ``at total (/srv/shop.js:3:9)``          first line
=========  ================================  =======================================  ===============================

Frames are kept innermost first, as function and file name: line numbers and directories change from build to build.
Traces inside JSON strings (``\\n``) and HTML (``&quot;``, ``<br>``) are found as well.
"""

from __future__ import annotations

import html
import re
from itertools import pairwise

#: Frames that make a fingerprint: the innermost tell what broke, the outermost are the framework's.
FRAMES = 8
#: Lines of a trace that are looked at.
LINES = 400

_MARKS = (b"Traceback (most recent", b"goroutine ", b" at ", b"\tat ", b"\\tat ", b";at ")
_PYTHON_FRAME = re.compile(r'\s*(?:\|\s*)?File "([^"\n]{1,300})", line \d+(?:, in (.{1,120}))?')
_PYTHON_ERROR = re.compile(r"([A-Za-z_][\w.]{0,150})(?::\s?(.*))?\Z")
_JAVA_FRAME = re.compile(
    r"\s+at (?:[\w.@/-]{1,100}/)?([\w.$<>-]{1,250})\("
    r"([\w$.-]{1,100}\.(?:java|kt|scala|groovy|clj)(?::\d+)?|Native Method|Unknown Source|[\w$.-]{1,100}:\d+)\)"
)
_JAVA_ERROR = re.compile(
    r"\s*(?:Exception in thread \"[^\"]{0,100}\" )?(?:Caused by: )?"
    r"((?:[A-Za-z_][\w$]{0,60}\.){1,12}[A-Z][\w$]{0,100})(?::\s?(.*))?\Z"
)
_NODE_FRAME = re.compile(r"\s+at (?:async )?(?:(.{1,150}?) \()?([^\s()][^()\n]{0,300}?):\d+:\d+\)?\s*\Z")
_NODE_ERROR = re.compile(
    r"(?:Uncaught )?((?:[A-Za-z_$][\w$]{0,80})?(?:Error|Exception|Warning)\b)(?: \[\w{1,60}\])?(?::\s?(.*))?\Z"
)
_GO_START = re.compile(r"goroutine \d{1,12} \[")
_GO_CALL = re.compile(
    r"(?:created by )?([\w./*()\-·%~$\[\]]{1,250}?)(?:\([^()]{0,300}\)|\(\.\.\.\)| in goroutine \d+)?\Z"
)
_GO_FILE = re.compile(r"\s+(/?[^\s:]{1,300}\.(?:go|s)):\d+")
_GO_PANIC = re.compile(r".{0,200}?(?:panic:|fatal error:|panic serving [^\n:]{0,60}(?::\d+)?:)\s?(.*)")
_GO_RUNTIME = ("runtime.", "runtime/", "panic(")
_JSON_LINE = re.compile(r"\\r\\n|\\n")
_BREAK = re.compile(r"<br\s*/?>|</(?:p|div|li|h\d)>", re.IGNORECASE)
_TAG = re.compile(r"<[A-Za-z/][^<>]{0,300}>")


class Trace:
    """``kind``: the exception's class; ``frames``: ``function (file)``, innermost first."""

    __slots__ = ("frames", "kind", "language", "message")

    def __init__(self, language: str, kind: str, message: str, frames: list[str]) -> None:
        self.language = language
        self.kind = kind
        self.message = message
        self.frames = frames[:FRAMES]


def find_trace(data: bytes, media_type: str = "") -> Trace | None:
    """The first stack trace in ``data``. Costs a few searches for a byte string where there is none."""
    if not any(mark in data for mark in _MARKS):
        return None
    text = data.decode("utf-8", errors="replace").replace("\r\n", "\n")
    if "html" in media_type or "<br" in text or "&quot;" in text:
        text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text))).replace("\xa0", " ")
    if "\\n" in text:  # inside a JSON string
        text = _JSON_LINE.sub("\n", text).replace('\\"', '"').replace("\\t", "\t")
    at = text.find("Traceback (most recent call last)")
    if at >= 0:
        found = _python(text[at:])
        if found is not None:
            return found
    go = _GO_START.search(text)
    if go is not None:
        found = _go(text[max(0, go.start() - 2000) : go.start()], text[go.end() :])
        if found is not None:
            return found
    return _frames_below(text)


def _python(text: str) -> Trace | None:
    """The last exception of the chain: it is the one that was not handled."""
    frames: list[str] = []
    kind = message = ""
    lines = text.split("\n", LINES)[:LINES]
    for number, line in enumerate(lines):
        if line.startswith("Traceback (most recent"):
            frames = []
            continue
        frame = _PYTHON_FRAME.match(line)
        if frame is not None:
            frames.append(f"{(frame[2] or '<module>').strip()} ({_file(frame[1])})")
        elif frames and line and not line[0].isspace() and lines[number - 1].strip():
            error = _PYTHON_ERROR.match(line.rstrip().rstrip('"},]'))
            if error is not None:
                kind, message = error[1], error[2] or ""
                follows = "\n".join(lines[number + 1 : number + 5])
                if "Traceback (most recent" not in follows:
                    break
    return Trace("python", kind, message, frames[::-1]) if kind and frames else None


def _go(before: str, after: str) -> Trace | None:
    panics = [m for line in before.split("\n") if (m := _GO_PANIC.match(line))]
    message = panics[0][1] if panics else ""
    frames: list[str] = []
    lines = after.split("\n", LINES)[:LINES]
    for call, place in pairwise(lines[1:]):
        file = _GO_FILE.match(place)
        if file is None:
            if frames and not call.strip():
                break  # the next goroutine
            continue
        name = _GO_CALL.match(call.strip())
        if name is not None and not call.startswith(_GO_RUNTIME):
            frames.append(f"{name[1]} ({_file(file[1])})")
    return Trace("go", "panic", re.sub(r"\s*\[recovered.*\Z", "", message), frames) if frames else None


def _frames_below(text: str) -> Trace | None:
    """Java and Node.js: a line that names an error, then frames."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("at "):
            continue
        java, node = _JAVA_FRAME.match(line), _NODE_FRAME.match(line)
        if java is None and node is None:
            continue
        above = _message_above(lines, number, _JAVA_ERROR if java is not None else _NODE_ERROR)
        if above is None:
            continue
        if java is not None:
            return _java(lines[number : number + LINES], above)
        frames = []
        for frame in lines[number : number + LINES]:
            match = _NODE_FRAME.match(frame)
            if match is None:
                break
            if not match[2].startswith("node:"):
                frames.append(f"{match[1] or '<anonymous>'} ({_file(match[2])})")
        return Trace("node", above[0], above[1], frames)
    return None


def _message_above(lines: list[str], number: int, pattern: re.Pattern[str]) -> tuple[str, str] | None:
    """The error named on the line above the frames; a message may have up to ten lines. Text before the error's name
    (a JSON key, a log prefix) is skipped."""
    for line in reversed(lines[max(0, number - 10) : number]):
        line = line[-1000:].rstrip()
        starts = [0, *(m.end() for m in re.finditer(r'"\s*:\s*"|>\s*|\s-\s|:\s|"', line))][:50]
        for start in starts:
            match = pattern.match(line[start:])
            if match is not None:
                return match[1], match[2] or ""
    return None


def _java(lines: list[str], first: tuple[str, str]) -> Trace:
    """The root cause, if there is one, with its frames."""
    kind, message = first
    frames: list[str] = []
    for line in lines:
        frame = _JAVA_FRAME.match(line)
        if frame is not None:
            frames.append(f"{frame[1]} ({frame[2].partition(':')[0]})")
        elif line.lstrip().startswith("Caused by: "):
            cause = _JAVA_ERROR.match(line)
            if cause is not None:
                kind, message, frames = cause[1], cause[2] or "", []
        elif not re.match(r"\s+(?:\.\.\. \d+ |Suppressed: )", line):
            break
    return Trace("java", kind, message, frames)


def _file(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]
