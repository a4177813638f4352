"""Everything that a template prints is harmless, whoever wrote it."""

from __future__ import annotations

import pytest
from jinja2 import DictLoader
from markupsafe import Markup

from shadowd.observe import templating


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch):
    def show(template: str, **values: object) -> str:
        environment = templating._environment().overlay(loader=DictLoader({"one": template}))
        return environment.get_template("one").render(values)

    return show


def test_words_of_traffic_are_escaped_in_text_and_in_attributes(shown) -> None:
    said = "<script>alert('x')</script>\u202e\" onload="
    page = shown('<p title="{{ said }}">{{ said }}</p>', said=said)
    assert "<script>" not in page
    assert page.count("\\u{202e}") == 2
    assert '" onload' not in page


def test_what_is_html_already_is_left_alone_and_macros_too(shown) -> None:
    template = "{% macro bold(what) %}<b>{{ what }}</b>{% endmacro %}{{ ready }}{{ bold(words) }}"
    assert shown(template, ready=Markup("<i>1</i>"), words="a<b") == "<i>1</i><b>a&lt;b</b>"


def test_a_long_value_is_cut_and_numbers_are_printed(shown) -> None:
    assert shown("{{ n }} {{ s }}", n=3, s="x" * 9000) == "3 " + "x" * templating.TEXT_LIMIT + "…"


def test_a_misspelt_name_is_an_error(shown) -> None:
    with pytest.raises(Exception, match="'mispelt' is undefined"):
        shown("{{ mispelt }}")
