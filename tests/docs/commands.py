"""The commands that the documentation tells people to give, read from its Markdown.

Blocks of code (fenced or indented) without a language, or in a shell's, are commands line by line, except drawings,
output and units' ini files. On the pages of ``WHOLE`` fences of ``sh`` are given to a shell as they are
(test_recipes.py). Inline code counts where it begins with a program of ours, or one that administers systems.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from tests.conftest import ROOT

SHELLS = ("", "sh", "bash", "shell", "console", "text")
WHOLE = ("README.md", "docs/recipes.md")
#: Inline code that begins with one of these is a command or the name of one.
INLINE = frozenset(
    {"shadowctl", "shadowd", "make", "curl", "systemctl", "kubectl", "podman", "docker", "apt", "journalctl", "python"}
)
#: Words before the program proper.
BEFORE = frozenset({"sudo", "env", "nice", "exec", "time", "!"})
_DRAWING = re.compile(r"[─│┌└►◄╌✓✗]")
_COMMENT = re.compile(r"(?m)(?:^|\s)#.*$")
_INI = re.compile(r"(?m)^\[[A-Z][A-Za-z]+\]$")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_OPTION = re.compile(r"--[a-z0-9][a-z0-9-]*")
_DOOR = re.compile(r"(GET|POST|HEAD) (/\S*)\Z")
_REDIRECTION = re.compile(r"[0-9]?>>?[0-9&]?|<")


class Command(NamedTuple):
    """``words``: the program's name without folder, and its arguments. ``inline``: within a sentence, where it may be
    the mere name of a command."""

    page: str
    line: int
    words: tuple[str, ...]
    inline: bool

    def __str__(self) -> str:
        return shlex.join(self.words)


class Request(NamedTuple):
    """``GET /verdict?filter=NAME`` of the daemon's door."""

    page: str
    line: int
    method: str
    path: str


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def scripts(page: Path) -> dict[str, list[str]]:
    """The blocks of ``sh`` below each heading of the second level."""
    found: dict[str, list[str]] = {}
    for title, text in re.findall(r"(?ms)^## (.+?)\n(.*?)(?=^## |\Z)", page.read_text()):
        if blocks := re.findall(r"(?ms)^```sh\n(.*?)^```", text):
            found[title] = blocks
    return found


def commands(page: Path) -> Iterator[Command]:
    name = str(page.relative_to(ROOT))
    for text, line, inline, language in _codes(page.read_text()):
        if inline:
            first = text.split(maxsplit=1)[:1]
            if first and (first[0] in INLINE | {"sudo"}):
                yield from (Command(name, line, words, True) for words in parts(text))
        elif name in WHOLE and language == "sh":
            continue
        elif language in SHELLS and not _DRAWING.search(_COMMENT.sub("", text)) and not _INI.search(text):
            for number, one in _joined(text):
                yield from (Command(name, line + number, words, False) for words in parts(one))


def requests(page: Path) -> Iterator[Request]:
    for text, line, inline, _ in _codes(page.read_text()):
        found = _DOOR.match(text) if inline else None
        if found is not None:
            yield Request(str(page.relative_to(ROOT)), line, found[1], found[2])


def options(page: Path) -> Iterator[tuple[int, str]]:
    """Inline code that begins with an option: (line, its name)."""
    for text, line, inline, _ in _codes(page.read_text()):
        if inline and (found := _OPTION.match(text)):
            yield line, found[0]


def _codes(text: str) -> Iterator[tuple[str, int, bool, str]]:
    """(code, line, whether inline, language)."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        line = (token.map[0] if token.map else 0) + 1
        if token.type == "fence":
            yield token.content, line + 1, False, token.info.strip().split(" ")[0]
        elif token.type == "code_block":
            yield token.content, line, False, ""
        for child in token.children or ():
            if child.type == "code_inline":
                yield child.content, line, True, ""


def _joined(block: str) -> Iterator[tuple[int, str]]:
    """Lines, those that end with a backslash joined with the next; comments alone on a line are left out."""
    held, begun = "", 0
    for number, line in enumerate(block.splitlines()):
        begun = begun if held else number
        held += line
        if held.endswith("\\"):
            held = held[:-1] + " "
            continue
        if held.strip() and not held.strip().startswith("#"):
            yield begun, held
        held = ""


def parts(line: str) -> list[tuple[str, ...]]:
    """The simple commands of a line: ``a && b | c > file &`` is ``a``, ``b``, ``c``."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    found: list[tuple[str, ...]] = []
    words: list[str] = []
    skip = False
    for word in lexer:
        if word.startswith("#"):
            break
        if skip:
            skip = False
        elif set(word) <= set("&|;()"):
            found.append(tuple(words))
            words = []
        elif _REDIRECTION.fullmatch(word):
            skip = True
            if words and words[-1] in ("1", "2"):  # 2>&1
                words.pop()
        else:
            words.append(word)
    found.append(tuple(words))
    return [named for one in found if (named := _named(one))]


def _named(words: tuple[str, ...]) -> tuple[str, ...]:
    while words and (words[0] in BEFORE or _ASSIGNMENT.match(words[0])):
        words = words[1:]
    return (words[0].rpartition("/")[2] or words[0], *words[1:]) if words else ()
