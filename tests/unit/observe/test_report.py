"""The report as a page and as Markdown: complete, nothing from the network, and no stranger's text is markup."""

from __future__ import annotations

import copy
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from shadowd.observe.markdown import render_markdown
from shadowd.observe.report import render_html
from tests.unit.observe.sample import judge, sample

VOID = {"meta", "circle", "rect", "line", "path", "br"}
EVIL = (
    "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg onload=alert(1)>`|\n/close\n@all\u202e\ud800"
    "<!--]]>${7*7}{{7*7}}"
)


class Page(HTMLParser):
    """A page's elements; proves that every element is closed by its own end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_everything_is_on_the_page() -> None:
    page = Page(render_html(sample()))
    for words in (
        "Fail",
        "41 of 100 points",
        "v2.3.1",
        "http://shadow:8080",
        "210 % slower at the median (95 % interval 180…240 %, margin 10 %)",
        "p50 11 ms",
        "production p99",
        "GET /orders/{id}",
        "$.items[*].price",
        "19.99",
        "20.00",
        "shadowctl diffs shop 5e00aa10",
        "KeyError: 'discount'",
        "new in the shadow",
        "+1 KB per request",
        "mirrored and answered",
        "The account is balanced",
        "A fault that strikes the shadow at random",
        "State drift is suspected in 41 exchanges",
        "too noisy to be certified",
        "99.3 %",
    ):
        assert words.replace(" %", "\u00a0%") in page.said or words in page.said


def test_conversations_and_streams_have_parts_of_their_own() -> None:
    said = Page(render_html(sample())).said
    for text in ("Conversations", "Time to the first content", "Output tokens", "You help with travel.", "Streams",
                 "874", "52,431 → 63,118", "31 in noise", "WebSocket", "0.00123", "0.00148", "+20 %", "First event",
                 "2 answers too long", "Answered by", "aria-mini (20)"):  # fmt: skip
        assert text in said, text
    plain = sample()
    plain["endpoints"] = [one for one in plain["endpoints"] if "talk" not in one]
    said = Page(render_html(plain)).said
    assert "Conversations" not in said
    assert "Streams" not in said


def test_the_page_is_one_file_that_asks_the_network_for_nothing() -> None:
    written = render_html(sample())
    page = Page(written)
    names = Counter(tag for tag, _ in page.elements)
    assert not names.keys() & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image"}
    assert names["svg"] > 10
    assert "url(" not in written
    assert "@import" not in written
    for _, attributes in page.elements:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert len(written) < 200_000


def test_results_are_words_and_marks_and_not_colour_alone() -> None:
    written = render_html(sample())
    tags = re.findall(r'<span class="tag (\w+)">(<svg.*?</svg>)(\w+)</span>', written)
    assert len(tags) >= 14
    assert {(name, word) for name, _, word in tags} == {
        ("fail", "Fail"),
        ("pass", "Pass"),
        ("inconclusive", "Inconclusive"),
    }
    assert len({drawn for _, drawn, _ in tags}) == 3


def test_the_most_harmful_comes_first() -> None:
    said = Page(render_html(sample())).said
    differences = said[said.index("Grouped by endpoint") :]
    order = [differences.index(name) for name in ("5e00aa10", "1f3a09bc", "aa12ff00", "0d1c2b3a", "77aa01bc")]
    assert order == sorted(order)
    errors = said[said.index("new in the shadow") :]
    assert errors.index("KeyError") < errors.index("upstream timed out")
    judges = said[said.index("What was judged") :]
    assert judges.index("the shadow fails") < judges.index("about 8,400 more") < judges.index("the shadow kept up")


@pytest.mark.parametrize(("verdict", "title"), [("pass", "Pass"), ("fail", "Fail"), ("inconclusive", "Inconclusive")])
def test_the_verdict_is_the_title_and_the_heading(verdict: str, title: str) -> None:
    data = sample()
    data["verdict"]["verdict"] = verdict
    written = render_html(data)
    assert f"<title>{title}: shop v2.3.1</title>" in written
    assert f"<h1>{title}</h1>" in written
    assert f'<div class="hero {verdict}">' in written
    assert f"shadowd: {title} " in render_markdown(data)


def test_without_data_every_part_says_so() -> None:
    for data in ({}, dict.fromkeys(sample())):
        said = Page(render_html(data)).said
        for words in (
            "No verdict yet",
            "no data is not a pass",
            "No judge has spoken yet",
            "No latency was measured yet",
            "No endpoint was seen yet",
            "memory was not measured",
            "no account of requests",
        ):
            assert words in said
        assert said.count("Nothing was compared yet.") == 2  # differences and errors: absence proves nothing yet
        assert "No verdict yet" in render_markdown(data)


def everywhere(data: Any, evil: str) -> Any:
    """The same data with a stranger's text in every text of it, names of reasons too."""
    if isinstance(data, dict):
        return {
            key if key not in ("method", "path", "gap", "shadow_lag", "reset") else evil: everywhere(value, evil)
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [everywhere(value, evil) for value in data]
    return evil if isinstance(data, str) else data


def test_text_of_strangers_is_never_markup() -> None:
    clean, hostile = Page(render_html(sample())), Page(render_html(everywhere(sample(), EVIL)))
    known = {tag for tag, _ in clean.elements} | {"br"}
    assert {tag for tag, _ in hostile.elements} <= known
    attributes = {name for _, found in clean.elements for name in found}
    assert {name for _, found in hostile.elements for name in found} <= attributes
    assert "<script>alert(1)</script>" in hostile.said
    assert "\\u{202e}" in hostile.said
    assert "\u202e" not in hostile.said


def test_text_of_strangers_is_never_markdown() -> None:
    written = render_markdown(everywhere(sample(), EVIL))
    written.encode()
    for line in written.splitlines():
        assert not line.lstrip().startswith("/")
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(written)
    page = Page(rendered)
    assert {tag for tag, _ in page.elements} <= {
        "h2", "h3", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code", "strong", "details",
        "summary", "pre", "sub",
    }  # fmt: skip
    assert all(set(attributes) <= {"style"} for _, attributes in page.elements)
    widths = [line.count("|") for line in written.splitlines() if line.startswith("| ") and "Judge" in line]
    assert widths == [7]
    # In code nobody is mentioned; elsewhere something stands behind the @.
    words = Page(re.sub("<(code|pre)>.*?</(code|pre)>", "", rendered, flags=re.DOTALL)).said
    assert "@\u200ball" in words
    assert not re.search(r"@\w", words)


def test_markdown_is_short_and_has_what_matters() -> None:
    written = render_markdown(sample())
    first = written.splitlines()[0]
    assert first == "## ❌ shadowd: Fail <code>shop</code> <code>v2.3.1</code>"
    head = written.split("<details>")[0]
    for words in (
        "the shadow fails in 0.5 %",
        "| ❌ Fail | **errors** | +0.5 % |",
        "### Differences",
        "new in the shadow",
    ):
        assert words in head
    assert "noise" not in head
    assert written.count("<details>") == written.count("</details>") == 4
    assert len(written) < 8000


def test_a_comment_is_never_too_long_for_github() -> None:
    data = everywhere(sample(), "\x00|" * 3000)
    for part, name in ((data, "differences"), (data, "signatures"), (data, "endpoints"), (data["verdict"], "judges")):
        part[name] = part[name] * 200
    data["verdict"]["reasons"] *= 200
    for one in data["signatures"]:
        one["new"] = True
    written = render_markdown(data)
    assert len(written) < 65_536
    assert "too long for a comment" in written
    assert "## " in written.splitlines()[0]


def test_a_large_run_stays_a_page() -> None:
    data = sample()
    data["differences"] = data["differences"] * 500
    data["endpoints"] = data["endpoints"] * 500
    data["verdict"]["judges"] = [judge("content", "fail", endpoint=f"GET /{n}") for n in range(2000)]
    data["signatures"] = data["signatures"] * 500
    written = render_html(data)
    assert "and 1,900 more" in written or "and 1,900 judgements more" in written
    assert len(written) < 2_000_000


ODD = st.sampled_from(
    [None, 10**400, 1e-308, {}, [], "", "x", 0, -1, 1e308, float("nan"), float("inf"), True, [None], [[]], {"a": None}]
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_odd_data_makes_a_page_all_the_same(data: st.DataObject) -> None:
    """Any place of the data, replaced by anything."""
    whole = copy.deepcopy(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        node: Any = whole
        while True:
            if not isinstance(node, (dict, list)) or not node:
                break
            key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            if not isinstance(node[key], (dict, list)) or data.draw(st.integers(0, 3)) == 0:
                node[key] = copy.deepcopy(data.draw(ODD))  # a later round may change what it put there
                break
            node = node[key]
    Page(render_html(whole))
    assert render_markdown(whole).startswith("## ")


def small() -> dict[str, Any]:
    """The sample with fewer numbers, for speed."""
    data = sample()
    for point in ("first_byte", "last_byte"):
        for side in ("production", "candidate"):
            data["latency"][point][side]["buckets"] = data["latency"][point][side]["buckets"][::8]
    data["latency"]["over_time"] = data["latency"]["over_time"][:3]
    data["memory"]["points"] = data["memory"]["points"][:6]
    return data


SAMPLE = small()


def test_errors_say_how_to_look_at_them() -> None:
    for page in (Page(render_html(sample())).said, render_markdown(sample())):
        assert "shadowctl diffs shop 9b1f0c22" in page


def test_an_error_has_the_request_to_repeat_and_both_answers() -> None:
    said = Page(render_html(sample())).said
    assert "curl -i --globoff --path-as-is -H 'Authorization: [redacted:3f]' -H 'Accept: application/json'" in said
    assert "'http://127.0.0.1:8080/orders/17?page=1'" in said
    assert "'http://shadow:8080/orders/17?page=1'" in said
    errors = said[said.index("The request, and both answers") :]
    assert errors.index('Production answered 200 OK {"total": 19.99}') < errors.index(
        "The shadow answered 500 Internal"
    )
    data = sample()
    data["signatures"][0]["exchange"]["candidate"] = {"failure": "timeout"}
    data["signatures"][0]["exchange"]["request"]["method"] = "WEBSOCKET"
    said = Page(render_html(data)).said
    assert "The shadow gave no answer timeout" in said
    assert "curl does not speak" in said
