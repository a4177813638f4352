"""Pages from templates (jinja2, sans-IO): everything a template prints is escaped, and what nobody could see is shown.

The templates are files of ``shadowd/observe/templates``: who wants other pages changes those. A value that is HTML
already is a ``Markup``; everything else is text, whoever wrote it, and goes through ``quoting.html``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from shadowd.redact.quoting import html, visible

TEXT_LIMIT = 4000  # characters of one value: a screen; templates cut shorter where a cell wants it


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("shadowd.observe"),
        autoescape=True,
        undefined=StrictUndefined,  # a name that a template misspells is an error of ours, found by the tests
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"cut": visible, "lines": _lines, "sentence": _sentence}
    return made


def _lines(value: object, limit: int = TEXT_LIMIT) -> Markup:
    """``{{ … | lines }}``: text of several lines, which stay such."""
    return Markup(html(value, limit, lines=True))


def _sentence(value: object, limit: int = 600) -> str:
    """``{{ … | sentence }}``: a number and its percent sign stay on one line."""
    return visible(value, limit).replace(" %", "\u00a0%")


def _shown(value: object) -> Markup:
    """What ``{{ … }}`` prints."""
    return value if isinstance(value, Markup) else Markup(html(value, TEXT_LIMIT))


def render(template: str, **values: Any) -> str:
    """The template of that name, such as ``"live/index.html"``, filled with ``values``."""
    return _environment().get_template(template).render(values)


def macros(template: str) -> Any:
    """Its macros as functions, which give ``Markup``."""
    return _environment().get_template(template).module
