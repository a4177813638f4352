"""The links of all Markdown files of the project, and where they lead.

An anchor is a heading's words as GitHub makes an id of them, which is what the site (mkdocs.yml) makes too.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import ROOT

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//")
_ID = re.compile(r"""\b(?:id|name)=["']([^"']+)""")


class Link(NamedTuple):
    page: Path
    line: int
    to: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line} {self.to}"


def markdown() -> list[Path]:
    """Every Markdown file that git knows or would take up."""
    said = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    return [ROOT / name for name in said.splitlines() if (ROOT / name).exists()]


def links(page: Path) -> Iterator[Link]:
    for token in _tokens(page.read_text()):
        line = (token.map[0] if token.map else 0) + 1
        for child in token.children or ():
            to = child.attrs.get("href") or child.attrs.get("src")
            if to:
                yield Link(page, line, str(to))


def anchors(text: str) -> set[str]:
    found: set[str] = set()
    seen: Counter[str] = Counter()
    tokens = _tokens(text)
    for token, following in itertools.pairwise(tokens):
        if token.type == "heading_open":
            words = "".join(
                child.content for child in following.children or () if child.type in ("text", "code_inline")
            )
            name = slug(words)
            found.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        elif token.type in ("html_block", "inline"):
            html = [token.content] if token.type == "html_block" else []
            html += [child.content for child in token.children or () if child.type == "html_inline"]
            found.update(name for one in html for name in _ID.findall(one))
    return found


def slug(words: str) -> str:
    return re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")


def fault(link: Link) -> str:
    """What is wrong with it, or nothing. Other hosts are not asked."""
    if _ELSEWHERE.match(link.to):
        return ""
    name, _, anchor = unquote(link.to).partition("#")
    if name.startswith("/"):
        return "is absolute: it leads nowhere in a clone"
    path = (link.page.parent / name).resolve() if name else link.page
    if not path.is_relative_to(ROOT):
        return "leads out of the project"
    if not path.exists():
        return "leads to no file"
    if anchor and (path.suffix != ".md" or anchor not in anchors(path.read_text())):
        return "leads to no heading"
    return ""


def _tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)
