"""Pieces of the report's page (sans-IO): tables, marks and plots in HTML.

Cells and bodies are HTML that is already escaped; names, labels and attributes are escaped here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shadowd.observe.plots import NARROW, WIDE
from shadowd.observe.style import STYLE
from shadowd.redact.quoting import html

_PATHS = {
    "pass": '<path d="M7 12.5l3.4 3.4L17.2 9" fill="none" stroke-width="2.4"/>',
    "fail": '<path d="M8 8l8 8M16 8l-8 8" fill="none" stroke-width="2.4"/>',
    "inconclusive": '<path d="M9.2 9.4a2.9 2.9 0 1 1 4.3 2.6c-1 .6-1.5 1.1-1.5 2.2" fill="none" stroke-width="2.2"/>'
    '<circle cx="12" cy="17.2" r="1.3" fill="currentColor" stroke="none"/>',
}
_WORDS = {"pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive"}


def result_of(value: object) -> str:
    """pass, fail, or inconclusive for anything else."""
    return value if isinstance(value, str) and value in _WORDS else "inconclusive"


def word(result: str) -> str:
    return _WORDS[result]


def mark(result: str) -> str:
    """A tick, a cross or a question mark in a circle, in the current colour."""
    return (
        '<svg class="mark" viewBox="0 0 24 24" aria-hidden="true" stroke="currentColor" stroke-linecap="round" '
        'stroke-linejoin="round"><circle cx="12" cy="12" r="10.6" fill="none" stroke-width="1.7"/>'
        f"{_PATHS[result]}</svg>"
    )


def tag(result: str) -> str:
    return f'<span class="tag {result}">{mark(result)}{word(result)}</span>'


def pill(what: str, tone: str = "") -> str:
    return f'<span class="pill {tone}">{html(what, 40)}</span>'


def code(what: object, limit: int = 160) -> str:
    return f'<span class="code">{html(what, limit)}</span>'


def say(what: object) -> str:
    """A sentence in the second rank, or nothing."""
    return f'<span class="say">{sentence(what)}</span>' if what else ""


def sentence(what: object) -> str:
    """A judge's words; a number and its percent sign stay on one line."""
    return html(what, 600).replace(" %", "\u00a0%")


def empty(sentence: str) -> str:
    return f'<p class="empty">{html(sentence)}</p>'


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], *, cards: bool = True) -> str:
    """A table of (name, class) columns; cells are HTML. With ``cards`` a row becomes a card on a narrow page.

    A column whose name starts with ``-`` has no name before its cell on a card.
    """
    head = "".join(f'<th scope="col"{_class(kind)}>{html(name.lstrip("-"))}</th>' for name, kind in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_class(kind)}{_name(name) if cards else ''}>{_boxed(cell) if cards else cell}</td>"
            for (name, kind), cell in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    shown = f"<table{_class('cards' if cards else '')}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{shown}</div>'


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _boxed(cell: str) -> str:
    """One child of the cell, so that on a card it stands as a whole beside the column's name."""
    return f"<div>{cell}</div>" if cell else ""


def _name(name: str) -> str:
    return "" if not name or name.startswith("-") else f' data-name="{html(name)}"'


def more(summary: str, body: str) -> str:
    """What is there for those who look for it."""
    return f"<details><summary>{html(summary)}</summary>{body}</details>"


def figure(draw: Callable[[int], str], caption: str = "", legend: str = "") -> str:
    """A plot, drawn once for wide pages and once for narrow ones; "" if there is nothing to draw."""
    wide = draw(WIDE)
    if not wide:
        return ""
    below = f"<figcaption>{html(caption, 600)}</figcaption>" if caption else ""
    return f'<figure>{legend}<div class="wide">{wide}</div><div class="narrow">{draw(NARROW)}</div>{below}</figure>'


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """(what, class of a line or ``l-…`` of a fill)."""
    shown = []
    for what, name in entries:
        if name.startswith("l-"):
            sample = f'<i class="{name}"></i>'
        elif name in ("worse", "differs"):
            sample = _sample(f'<rect x="5" width="12" height="12" class="{name}"/>')
        else:
            sample = _sample(f'<path d="M1 6H21" class="{name}"/>')
        shown.append(f"<span>{sample}{html(what)}</span>")
    return f'<div class="legend">{"".join(shown)}</div>'


def _sample(shape: str) -> str:
    return f'<svg viewBox="0 0 22 12" aria-hidden="true">{shape}</svg>'


def document(title: str, body: str) -> str:
    """A whole page: one file, no script, no font, nothing from the network."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="robots" content="noindex"><meta name="referrer" content="no-referrer">'
        f"<title>{html(title)}</title><style>{STYLE}</style></head>\n<body>{body}</body></html>\n"
    )
