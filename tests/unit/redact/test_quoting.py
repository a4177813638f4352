"""Text of strangers in pages: nothing of it may become markup, and nothing of it may be lost."""

from __future__ import annotations

import html as stdlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from shadowd.redact.quoting import html, markdown, markdown_block, markdown_code, visible

ANY = st.text(
    st.one_of(st.characters(), st.sampled_from("|`*_[]()<>&\"'\\!#@~$-+.:/\n\r\t\u202e\u200b\x00\ud800")), max_size=60
)


class Text(HTMLParser):
    """The text and the tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@settings(deadline=None)
@given(ANY)
def test_visible_text_has_no_character_that_hides_or_reorders(text: str) -> None:
    shown = visible(text, 10_000)
    shown.encode()  # no lone surrogate
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", shown)
    assert visible("".join(c for c in text if c.isalnum())) == "".join(c for c in text if c.isalnum())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a\\nb\\tc"),
        ("user\u202egnp.exe", "user\\u{202e}gnp.exe"),
        ("\x1b[31m", "\\u{1b}[31m"),
        ("\ud800", "\\u{d800}"),
        ("žluťoučký 日本", "žluťoučký 日本"),
        (12, "12"),
        ("x" * 301, "x" * 300 + "…"),
        ("\x00" * 300, ("\\u{0}" * 300)[:300] + "…"),
    ],
)
def test_visible(text: object, shown: str) -> None:
    assert visible(text) == shown
    assert len(visible(text)) <= 301


def test_lines_are_kept_where_asked_for() -> None:
    assert visible("a\n\tb\r", lines=True) == "a\n\tb\\u{d}"


@settings(deadline=None)
@given(ANY)
def test_html_means_the_text_and_nothing_else(text: str) -> None:
    escaped = html(text, 10_000)
    assert not re.search("[<>\"']", escaped)
    assert stdlib.unescape(escaped) == visible(text, 10_000)


RENDER = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")


@settings(deadline=None)
@given(ANY, st.sampled_from([markdown, markdown_code]))
def test_in_a_table_of_markdown_it_is_one_cell_of_text(text: str, quote: object) -> None:
    written = quote(text, 10_000)  # type: ignore[operator]
    assert "\n" not in written
    page = Text(RENDER.render(f"| a | b |\n| --- | --- |\n| {written} | end |\n"))
    assert page.tags.count("td") == 2
    assert set(page.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    said = page.text.replace("\u200b", "")
    assert visible(text, 10_000).strip() in said


@settings(deadline=None)
@given(ANY)
def test_in_a_list_of_markdown_it_is_text(text: str) -> None:
    page = Text(RENDER.render(f"- x {markdown(text, 10_000)} y\n"))
    assert set(page.tags) <= {"ul", "li", "p"}
    assert visible(text, 10_000).split() == page.text.replace("\u200b", "").split()[1:-1]


@settings(deadline=None)
@given(ANY)
def test_a_block_of_markdown_stays_on_its_line(text: str) -> None:
    written = markdown_block(text, 10_000)
    assert "\n" not in written
    page = Text(RENDER.render(f"{written}\n"))
    assert page.tags == ["pre"]
    assert page.text.rstrip("\n") == visible(text, 10_000, lines=True).rstrip("\n")


def test_nobody_is_mentioned_and_nothing_is_linked() -> None:
    """GitHub looks for @name and #12 in the text after entities are decoded, so something must stand between."""
    for text in ("@octocat", "#12", "!3 and ~bug", "a@b"):
        said = Text(RENDER.render(f"- {markdown(text)}\n")).text
        assert not re.search(r"[@#!~]\w", said)
    assert "http&#58;" in markdown("see http://evil.example")
    assert "www&#46;" in markdown_code("www.evil.example")
    assert markdown("5.2 s, 10:30") == "5.2 s, 10:30"
