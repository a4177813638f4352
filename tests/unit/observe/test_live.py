"""Live pages as text: what traffic said cannot break out of them, and what two answers differ in is marked."""

from __future__ import annotations

import json
import random
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from shadowd.errors import ShadowdError, UsageError
from shadowd.observe.difference import lines_of, rule_of
from shadowd.observe.live import showing
from shadowd.observe.live.acting import Proofs, form_untrusted, from_elsewhere, operation
from shadowd.observe.live.sides import ALIGNED, SHOWN, side_by_side
from shadowd.observe.live.watching import EVERY, Parts, Watched, Watching
from shadowd.observe.token import Token
from tests.unit.observe.live_sample import HOSTILE, example, gathered, one_difference, poisoned

#: Of a page's own; what is not here came from traffic.
ELEMENTS = set(
    re.findall(
        r"\w+",
        "html head meta title link script body a header nav b span noscript main h1 h2 h3 div p ul li dl dt dd svg "
        "path circle rect line text g details summary section article table thead tbody tr th td figure figcaption i "
        "br pre form input button label mark footer",
    )
)


class Page(HTMLParser):
    """Elements, ids and attributes of a page; a script in it and a style of an element are faults."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.ids: list[str] = []
        self.inside: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        given = dict(attrs)
        assert not [name for name in given if name.startswith("on") or name == "style"], given
        assert "javascript:" not in str(given.get("href", "")).lower()
        if tag == "script":
            assert given == {"src": "/live.js", "defer": None}
        if "id" in given:
            self.ids.append(str(given["id"]))

    def handle_data(self, data: str) -> None:
        self.inside.append(data)


def pages(found: dict[str, object]) -> list[str]:
    shown = showing.one_filter(found, "proof")
    all_ = showing.overview({"filters": [found], "more": 0, "problems": found["words"]})
    return [showing.filter_page(str(found["name"]), shown, "e.1"), showing.overview_page(all_, "node", "e.1")]


def test_a_page_has_all_of_its_parts_and_no_id_twice() -> None:
    for page in pages(gathered()):
        read = Page(page)
        assert read.elements <= ELEMENTS
        assert len(read.ids) == len(set(read.ids))
    shown = " ".join(Page(pages(gathered())[0]).inside)
    for words in ("Fail", "41", "GET /orders/{id}", "body $.items[*].price", "KeyError: 'discount'", "14,302", "48/s",
                  "The newest, side by side", "noise", "Take back", "filtered: not to be mirrored"):  # fmt: skip
        assert words in shown, words


def test_nothing_of_traffic_breaks_out() -> None:
    harmful = poisoned(gathered())
    harmful["name"] = "shop"
    found = [*pages(harmful), showing.one_difference("shop", poisoned(one_difference()), "proof")]
    for page in found:
        assert Page(page).elements <= ELEMENTS, Page(page).elements - ELEMENTS
        assert "<img" not in page
        assert "\u202e" not in page
        assert "49" not in page.split("{{ 7*7 }}")[0][-3:], "no template within a value"
    assert any("&lt;script&gt;alert(1)" in page for page in found)


def test_a_part_is_one_line_of_an_event() -> None:
    for name, html in showing.one_filter(poisoned(gathered()) | {"name": "shop"}, "p").items():
        assert "\n" not in json.dumps({"id": name, "html": html})


def test_half_of_a_run_and_none_are_pages_too() -> None:
    bare = gathered() | {
        "verdict": {"verdict": None, "reasons": ["the filter shop compares nothing — give it a candidate"]},
        "report": {"filter": "shop", "ledger": gathered()["ledger"]}, "examples": {}, "points": [], "rate": None,
    }  # fmt: skip
    page = pages(bare)[0]
    assert "No verdict" in page
    assert "compares nothing" in page
    assert "14,302" in page
    assert "There are no filters" in showing.overview({"filters": [], "more": 0, "problems": []})["filters"]


def test_a_masked_place_has_no_button() -> None:
    known = {"where": "body", "path": "$.a", "endpoint": "GET /a", "kind": "value"}
    assert rule_of(known) == {"where": "body", "path": "$.a", "endpoint": "GET /a", "change": "value"}
    assert rule_of(known | {"path": ""}) == {"where": "body", "path": "*", "endpoint": "GET /a", "change": "value"}
    for more in ({"path": "$.[redacted:1234abcd].x"}, {"endpoint": "GET /[redacted:1234abcd]"}, {"where": "error"},
                 {"path": "(further fields)"}):  # fmt: skip
        assert rule_of(known | more) is None


# --- side by side -----------------------------------------------------------------------------------------------------


def test_what_differs_is_cut_out_and_what_is_equal_is_left_out() -> None:
    body = {"a": list(range(40)), "price": 19.99, "b": list(range(40))}
    rows = side_by_side(*(lines_of({"head": "", "body": json.dumps(body | more)}) for more in ({}, {"price": 20.5})))
    (differs,) = [row for row in rows if row.differs]
    assert differs.production == ('  "price": ', "19.99", ",")
    assert differs.shadow == ('  "price": ', "20.5", ",")
    assert len(rows) == 7
    assert rows[0].skipped == 40
    assert side_by_side(["a"], ["a"]) == []
    assert lines_of({"body": '[20.00, 1e400, "2.50"]'}) == ["[", "  20.00,", "  1e400,", '  "2.50"', "]"]
    assert lines_of({"failure": "timeout"}) == ["no answer: timeout"]


@given(st.lists(st.sampled_from("abc"), max_size=60), st.lists(st.sampled_from("abc"), max_size=60))
def test_no_line_is_lost_or_made_up(left: list[str], right: list[str]) -> None:
    rows = side_by_side(left, right)
    if left == right:
        assert not rows
    elif len(rows) < SHOWN:
        for side, lines in (("production", left), ("shadow", right)):
            said = ["".join(getattr(row, side)) for row in rows if "".join(getattr(row, side))]
            kept = iter(lines)
            assert all(line in kept for line in said), "in order"
        equal = [row for row in rows if not row.differs]
        assert all(row.production == row.shadow for row in equal)


def test_long_and_hostile_answers_take_little_time_and_room() -> None:
    dice = random.Random(1)
    lines = [["".join(dice.choices("ab", k=2)) for _ in range(4000)] for _ in range(2)]
    close = [[str(dice.random()) if n % 2 else "x" for n in range(ALIGNED)] for _ in range(2)]
    long = [["x" * 8000 + side + "y" * 8000] for side in "ab"]
    began = time.process_time()
    assert len(side_by_side(*lines)) == SHOWN
    assert len(side_by_side(*close)) <= SHOWN
    (row,) = side_by_side(*long)
    assert time.process_time() - began < 5
    assert row.production[1] == "a"
    assert max(len(part) for part in row.production) < 300


# --- who is told ------------------------------------------------------------------------------------------------------


def test_a_reader_is_told_what_changed_since_it_looked() -> None:
    watched = Watched("")
    watched.take({"a": "1", "b": "1"})
    first = watched.name
    watched.take({"a": "1", "b": "2"})
    watched.take({"a": "1", "b": "2"})
    assert watched.version == 2, "what is equal is no change"
    assert watched.since(watched.seen(first)) == {"b": "2"}
    for told in ("", "x.1", "0.0", first.replace(".1", ".٣"), first.split(".")[0] + ".99999999999999999999"):
        assert watched.since(watched.seen(told)) == {"a": "1", "b": "2"}
    assert watched.since(watched.seen(watched.name)) == {}


def test_a_page_is_made_once_a_second_however_many_look() -> None:
    made: list[float] = []
    wrong = ShadowdError("the filter is gone")

    async def make(what: str) -> Parts:
        made.append(trio.current_time())
        if what == "gone" and len(made) > 1:
            raise wrong
        return {"notice": "", "n": str(len(made))}

    async def main() -> None:
        watching = Watching(make, lambda error: {"notice": str(error)})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watching.run)
            for _ in range(30):
                watched = await watching.look("")
                await trio.sleep(0.1)
            assert 3 <= len(made) <= 4
            made.clear()
            watched.readers = 20
            await trio.sleep(10 * EVERY)
            assert 9 <= len(made) <= 12
            made.clear()
            watching.expire("any")
            await trio.sleep(0.01)
            assert len(made) == 1, "who pressed a button sees what it did"
            watched.readers = 0
            await trio.sleep(2 * EVERY)
            made.clear()
            await trio.sleep(10 * EVERY)
            assert not made, "nobody looks"
            gone = await watching.look("gone")
            gone.readers = 1
            await trio.sleep(3 * EVERY)
            assert gone.parts == {"notice": "the filter is gone", "n": "1"}, "the rest stays as it was"
            with pytest.raises(ShadowdError, match="gone"):
                await watching.look("gone")
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# --- who may press ----------------------------------------------------------------------------------------------------


def test_a_proof_is_of_one_door_and_one_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a token of the tests")
    path.chmod(0o640)
    proofs, others = Proofs(Token(path)), Proofs(Token(path))
    proof = proofs.make()
    assert proofs.holds(proof)
    for given_ in ("", proof[:-1], others.make(), "é"):
        assert not proofs.holds(given_)
    path.write_text("another token of theirs")
    assert not proofs.holds(proof)
    path.unlink()
    assert (proofs.make(), proofs.holds("")) == ("", False)
    assert not Proofs(None).holds("")


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"host": "localhost:9750"}, True),
        ({"host": "localhost:9750", "origin": "http://localhost:9750", "sec-fetch-site": "same-origin"}, True),
        ({"host": "Localhost:9750", "origin": "https://localhost:9750"}, True),
        ({"host": "localhost:9750", "origin": "http://localhost:8080"}, False),
        ({"host": "localhost:9750", "origin": "null"}, False),
        ({"host": "localhost:9750", "origin": "http://evil.example"}, False),
        ({"host": "localhost:9750", "sec-fetch-site": "cross-site"}, False),
        ({"host": "localhost:9750", "sec-fetch-site": "same-site", "origin": "http://localhost:9750"}, False),
    ],
)
def test_where_a_form_comes_from(headers: dict[str, str], ours: bool) -> None:
    assert (from_elsewhere(headers) == "") is ours


def test_what_the_buttons_mean() -> None:
    rule = {"where": "body", "path": "$.a", "endpoint": "GET /a", "change": "value"}
    assert operation("shop", "pause", {})[:2] == ("filter.pause", {"name": "shop"})
    assert operation("shop", "run", {"label": " v2 "})[:2] == (
        "run.start", {"name": "shop", "label": "v2", "restart": True},
    )  # fmt: skip
    assert operation("shop", "noise", rule | {"more": "x"}) == (
        "noise.add", {"name": "shop", "rule": rule}, "body $.a at GET /a called noise",
    )  # fmt: skip
    with pytest.raises(UsageError, match="no such button"):
        operation("shop", "remove", {})
    assert form_untrusted(b"a=1&b=%C3%A9&c=") == {"a": "1", "b": "é", "c": ""}
    for body in (b"\xff=1", b"a=%ff", b"&".join(b"a%d=1" % n for n in range(50))):
        with pytest.raises(UsageError, match="no form"):
            form_untrusted(body)


def test_the_sample_is_harmful() -> None:
    assert "<script>" in HOSTILE
    assert HOSTILE in str(poisoned(example())["request"]["target"])
