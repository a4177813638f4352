"""Pieces of a page (sans-IO), as functions over the macros of ``templates/report/pieces.html``.

Cells and bodies are HTML that is already escaped; names, labels and attributes are escaped in the template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from shadowd.observe.plots import NARROW, WIDE
from shadowd.observe.templating import macros, render

_WORDS = {"pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive"}


def result_of(value: object) -> str:
    """pass, fail, or inconclusive for anything else."""
    return value if isinstance(value, str) and value in _WORDS else "inconclusive"


def word(result: str) -> str:
    return _WORDS[result]


def mark(result: str) -> Markup:
    """A tick, a cross or a question mark in a circle, in the current colour."""
    return _piece("mark", result)


def pill(what: str, tone: str = "") -> Markup:
    return _piece("pill", what, tone)


def tag(result: str) -> Markup:
    return _piece("tag", result)


def code(what: object, limit: int = 160) -> Markup:
    return _piece("code", what, limit)


def empty(sentence: str) -> Markup:
    return _piece("empty", sentence)


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], *, cards: bool = True) -> Markup:
    """A table of (name, class) columns; cells are HTML. With ``cards`` a row becomes a card on a narrow page.

    A column whose name starts with ``-`` has no name before its cell on a card.
    """
    return _piece("table", columns, [[Markup(cell) for cell in row] for row in rows], cards)


def drawn(draw: Callable[[int], str], legend: Sequence[tuple[str, str]] = ()) -> dict[str, Any] | None:
    """A plot for the macro ``figure``, drawn once for wide pages and once for narrow ones; None for nothing."""
    wide = draw(WIDE)
    return {"wide": Markup(wide), "narrow": Markup(draw(NARROW)), "legend": legend} if wide else None


def document(title: str, body: str) -> str:
    """A whole page: one file, no script, no font, nothing from the network."""
    return render("report/document.html", title=title, body=Markup(body))


def _piece(name: str, *given: object) -> Markup:
    made: Markup = getattr(macros("report/pieces.html"), name)(*given)
    return made
