"""Text and Markdown as roff, the language of manual pages: what groff and mandoc both take, and nothing else."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

#: Characters that roff reads as something else (groff_char(7)): typed, they must come out as they are.
_LITERAL = str.maketrans(
    {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq", "-": r"\-"}
)
PROSE = str.maketrans({"\\": r"\e", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})
_INLINE = re.compile(r"``(.+?)``|`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)]+)\)|(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])")
_CELL = re.compile(r"(?<!\\)\|")
_ITEM = re.compile(r"(\s*)(?:[*-]|\d+\.) +(.*)")


def literal(text: str) -> str:
    """Words as somebody types them."""
    return text.translate(_LITERAL)


def bold(text: str) -> str:
    return rf"\fB{literal(text)}\fR"


def italic(text: str) -> str:
    return rf"\fI{literal(text)}\fR"


def prose(text: str) -> str:
    """A paragraph in lines of its own, none of which is taken for a request."""
    lines = textwrap.wrap(" ".join(text.split()), 74, break_long_words=False, break_on_hyphens=False)
    return "\n".join(rf"\&{line}" if line[:1] in (".", "'") else line for line in lines)


def plain(text: str) -> str:
    """Text of ``--help``: options in it are typed as they stand."""
    return prose(re.sub(r"(?<![\w-])--?[a-z][\w-]*", lambda found: bold(found[0]), text.translate(PROSE)))


def verbatim(text: str) -> str:
    lines = (rf"\&{line}" if line[:1] in (".", "\\") else line for line in literal(text.rstrip("\n")).split("\n"))
    return "\n".join([".PP", ".RS 4", ".EX", *lines, ".EE", ".RE"])


def inline(markdown: str) -> str:
    """Code is bold, emphasis italic, and a link names the page that it leads to."""

    def one(found: re.Match[str]) -> str:
        doubled, code, strong, text, address, emphasis = found.groups()
        if doubled or code:
            return bold((doubled or code).strip())
        if strong:
            return rf"\fB{strong.translate(PROSE)}\fR"
        if emphasis:
            return rf"\fI{emphasis.translate(PROSE)}\fR"
        where = address.partition("#")[0]
        return f"{inline(text)} ({literal(where)})" if where else inline(text)

    parts, last = [], 0
    for found in _INLINE.finditer(markdown):
        parts += [markdown[last : found.start()].translate(PROSE), one(found)]
        last = found.end()
    return "".join([*parts, markdown[last:].translate(PROSE)])


def blocks(markdown: str) -> Iterator[str]:
    """The roff of a page's text; its headings become sections."""
    lines = markdown.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        begun = at
        at += 1
        if not line.strip():
            continue
        if line.startswith("```"):
            while at < len(lines) and not lines[at].startswith("```"):
                at += 1
            yield verbatim("\n".join(lines[begun + 1 : at]))
            at += 1
        elif line.startswith("#"):
            level, _, title = line.partition(" ")
            yield f".SH {_quoted(title.upper())}" if len(level) < 3 else f".SS {_quoted(title)}"
        elif line.startswith("|"):
            while at < len(lines) and lines[at].startswith("|"):
                at += 1
            yield from table(lines[begun:at])
        else:
            while at < len(lines) and lines[at].strip() and not lines[at].startswith(("|", "```", "#")):
                if _ITEM.match(lines[at]):
                    break
                at += 1
            item = _ITEM.match(line)
            text = " ".join([item[2] if item else line, *lines[begun + 1 : at]])
            yield (".IP \\(bu 2\n" if item else ".PP\n") + prose(inline(text))


def _quoted(title: str) -> str:
    text = re.sub(r"[`*]", "", title).translate(PROSE).replace('"', r"\(dq")
    return f'"{text}"'


def cells(row: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in _CELL.split(row.strip().strip("|"))]


def table(rows: list[str]) -> Iterator[str]:
    """Each row under its first cell; what stands between it and the last is named by the head."""
    head = cells(rows[0])
    for row in rows[2:]:
        first, *between, last = cells(row)
        named = "; ".join(f"{name}: {inline(cell)}" for name, cell in zip(head[1:-1], between, strict=False) if cell)
        text = [prose(part) for part in (named, inline(last[:1].upper() + last[1:])) if part]
        yield f".TP\n{prose(inline(first))}\n" + "\n.br\n".join(text)
