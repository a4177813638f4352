"""What makes a site of these pages (``make docs``, mkdocs.yml): README.md is its first page, links that lead out of
docs/ are followed, and what CommonMark reads as a list or a table is one for Python-Markdown, too."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
#: Pages that lie outside of docs/, and where they are on the site; what else is linked from a page keeps its place.
ELSEWHERE = {
    "README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "SECURITY.md": "SECURITY.md",
    "CHANGELOG.md": "CHANGELOG.md",
}  # fmt: skip
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
_CODE = re.compile(r"(`+)(.+?)\1")
_ITEM = re.compile(r"([*-]|\d+\.) ")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    for name, there in ELSEWHERE.items():
        files.append(File.generated(config, there, abs_src_path=str(ROOT / name)))
    for page in list(files.documentation_pages()):
        source = Path(page.abs_src_path)
        for found in _LINK.finditer(source.read_text()):
            path = _meant(source, found[1])
            there = _on_site(path)
            if path.is_file() and path.is_relative_to(ROOT) and files.get_file_from_path(there) is None:
                beside = InclusionLevel.NOT_IN_NAV
                files.append(File.generated(config, there, abs_src_path=str(path), inclusion=beside))
    return files


def _meant(source: Path, to: str) -> Path:
    """The file that a link in ``source`` leads to; of a folder its page."""
    path = (source.parent / to).resolve()
    return path / "README.md" if path.is_dir() else path


def _on_site(path: Path) -> str:
    if path.is_relative_to(DOCS):
        return str(path.relative_to(DOCS))
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
    return ELSEWHERE.get(name, name)


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    source = Path(page.file.abs_src_path)
    made: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            if _ITEM.match(line) and made and made[-1].strip() and not _continues(made):
                made.append("")
            line = re.sub(r"^  (?=\|)", "    ", line)  # a table within an item
            if line.startswith("|"):  # a bar in code ends no cell for Python-Markdown, and is not escaped
                line = _CODE.sub(lambda code: code[0].replace("\\|", "|"), line)
            line = _outside_code(line, lambda text: _LINK.sub(lambda found: _moved(found, source, page, files), text))
        made.append(line)
    return "\n".join(made)


def _continues(before: list[str]) -> bool:
    """Whether a line after these is in a list already: an item, or the lines of one."""
    for line in reversed(before):
        if _ITEM.match(line):
            return True
        if not line.startswith("  "):
            return False
    return False


def _outside_code(line: str, change: Any) -> str:
    parts, end = [], 0
    for code in _CODE.finditer(line):
        parts += [change(line[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(line[end:])])


def _moved(found: re.Match[str], source: Path, page: Any, files: Files) -> str:
    """A link as it is on the site."""
    to, anchor = found[1], found[2] or ""
    if re.match(r"[a-z]+:", to):
        return found[0]
    there = _on_site(_meant(source, to))
    if files.get_file_from_path(there) is None:
        raise PluginError(f"{source.name}: {to} leads to nothing")
    return posixpath.relpath(there, posixpath.dirname(page.file.src_uri) or ".") + anchor
