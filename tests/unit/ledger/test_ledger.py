"""The ledger's identity under any sequence of events, its reasons, and what it says in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.doctor.mirroring import _LOST, _SHED, _requests
from shadowd.doctor.mirroring import FAILED as _FAILED
from shadowd.ledger.ledger import FAILED, FILTERED, LOST, SHED, FilterAccount, describe, totals

URLS = ["http://one", "http://two", "tcp://three"]
#: what may happen: a request comes (and which targets shed it at once), one ends at a target, a target joins
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("filter"), st.sampled_from(sorted(FILTERED))),
        st.tuples(st.just("lose"), st.sampled_from(sorted(LOST))),
        st.tuples(st.just("request"), st.lists(st.sampled_from(["", *sorted(SHED)]), min_size=3, max_size=3)),
        st.tuples(st.just("mirrored"), st.integers(0, 2)),
        st.tuples(st.just("failed"), st.integers(0, 2), st.sampled_from(sorted(FAILED))),
        st.tuples(st.just("shed"), st.integers(0, 2), st.sampled_from(sorted(SHED))),
        st.tuples(st.just("target")),
    ),
    max_size=80,
)


@given(EVENTS)
def test_the_identity_holds_whatever_happens(events: list[tuple[object, ...]]) -> None:
    """The oracle is a plain list of requests by target, each with its fate."""
    account = FilterAccount("shop")
    fates: list[list[str]] = []  # of each target; "" is in flight
    mirrorable = filtered = lost = 0
    for kind, *details in events:
        if kind == "filter":
            account.filter_out(str(details[0]))
            filtered += 1
        elif kind == "lose":
            account.lose(str(details[0]))
            lost += 1
        elif kind == "target" and len(fates) < 3:
            account.add_target(URLS[len(fates)])
            fates.append(["before_target"] * mirrorable)
        elif kind == "request":
            account.seen += 1
            mirrorable += 1
            for target, mine, reason in zip(account.targets, fates, details[0], strict=False):  # type: ignore[call-overload]
                mine.append(reason)
                if reason:
                    target.shed[reason] += 1
                else:
                    target.in_flight += 1
        elif kind in ("mirrored", "failed", "shed") and int(details[0]) < len(fates):  # type: ignore[call-overload]
            at = int(details[0])  # type: ignore[call-overload]
            if "" not in fates[at]:
                continue
            target = account.targets[at]
            target.in_flight -= 1
            reason = str(details[1]) if len(details) > 1 else "mirrored"
            fates[at][fates[at].index("")] = reason
            if kind == "mirrored":
                target.mirrored += 1
            else:
                (target.failed if kind == "failed" else target.shed)[reason] += 1
        assert account.balanced
        assert account.seen == mirrorable + filtered + lost
    view = account.view()
    assert view["balanced"] is True
    assert view["in_flight"] == max((mine.count("") for mine in fates), default=0)
    for shown, mine in zip(view["targets"], fates, strict=True):
        ended = {**shown["shed"], **shown["failed"], "mirrored": shown["mirrored"], "": shown["in_flight"]}
        assert {reason: count for reason, count in ended.items() if count} == {
            reason: mine.count(reason) for reason in set(mine)
        }


@pytest.mark.parametrize("term", ["seen", "in_flight", "mirrored", "shed", "failed", "filtered", "lost"])
def test_a_mistake_in_any_one_term_shows(term: str) -> None:
    account = FilterAccount("shop")
    target = account.add_target("http://one")
    account.seen += 1
    target.in_flight += 1
    account.filter_out("method")
    account.lose("gap")
    assert account.balanced
    if term == "seen":
        account.seen += 1
    elif term in ("in_flight", "mirrored"):
        setattr(target, term, getattr(target, term) + 1)
    elif term in ("shed", "failed"):
        getattr(target, term)["timeout" if term == "failed" else "shadow_lag"] += 1
    else:
        getattr(account, term)["loop" if term == "filtered" else "gap"] += 1
    assert not account.balanced
    assert account.view()["balanced"] is False


@pytest.mark.parametrize("reason", ["", "gone fishing", "METHOD"])
def test_an_unknown_reason_is_an_error(reason: str) -> None:
    account = FilterAccount("shop")
    target = account.add_target("http://one")
    for count in (account.filter_out, account.lose):
        with pytest.raises(KeyError):
            count(reason)
    for counts in (target.shed, target.failed):
        with pytest.raises(KeyError):
            counts[reason] += 1


def test_a_target_added_later_is_accounted_for_what_came_before() -> None:
    account = FilterAccount("shop")
    first = account.add_target("http://one")
    for _ in range(5):
        account.seen += 1
        first.mirrored += 1
    account.filter_out("method")
    account.lose("gap")
    second = account.add_target("http://two")
    assert (second.shed["before_target"], first.shed["before_target"]) == (5, 0)
    account.seen += 1
    first.mirrored += 1
    second.in_flight += 1
    assert account.balanced
    assert (account.in_flight, first.in_flight) == (1, 0)


def test_a_view_shows_only_what_happened() -> None:
    account = FilterAccount("shop")
    target = account.add_target("http://one")
    account.filter_out("loop")
    account.seen += 1
    target.failed["tls"] += 1
    assert account.view() == {
        "name": "shop",
        "seen": 2,
        "in_flight": 0,
        "filtered": {"loop": 1},
        "lost": {},
        "targets": [
            {
                "url": "http://one",
                "role": "candidate",
                "mirrored": 0,
                "shed": {},
                "failed": {"tls": 1},
                "in_flight": 0,
                "uncomparable": 0,
            }
        ],
        "balanced": True,
    }


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("encrypted", "TLS"),
        ("not_http", "do not speak HTTP"),
        ("method", "filtered by method"),
        ("interactive", "turns"),
    ],
)
def test_words_for_what_people_ask(reason: str, word: str) -> None:
    account = FilterAccount("shop")
    account.filter_out(reason)
    assert any(word in line for line in describe(account, 1))


def test_words_for_silence() -> None:
    account = FilterAccount("shop")
    assert "no packets" in describe(account, 0)[0]
    assert "no request is whole" in describe(account, 7)[0]


def test_words_for_some_requests_filtered_by_method_do_not_say_all() -> None:
    account = FilterAccount("shop")
    target = account.add_target("http://one")
    account.filter_out("method")
    account.seen += 1
    target.failed["connect"] += 1
    words = describe(account, 9)
    assert not any("all requests" in line for line in words)
    assert "http://one failed: 1 connect" in words


def test_totals_count_each_target() -> None:
    account, other = FilterAccount("a"), FilterAccount("b")
    for _ in range(2):
        account.add_target("http://one").mirrored += 3
    account.seen, other.seen = 3, 4
    assert totals([account, other]) == (7, 6)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("own_lag", "http://one: 7 came too late through us: this host is too busy"),
        ("shadow_lag", "http://one: 7 waited too long: the shadow is slower than production"),
        ("own_limit", "http://one: 7 not sent: this host has no descriptors or ports for more"),
        (
            "spread",
            "http://one: 7 safe requests went out of order, on further connections, while the shadow was slower",
        ),
        ("interactive", "http://one: 7 dialogues of gRPC not sent: HTTP/1 cannot hold one"),
        ("stray", "http://one: 7 answers were followed by bytes that belong to none"),
    ],
)
def test_who_is_late_is_said_in_words(reason: str, words: str) -> None:
    account = FilterAccount("shop")
    target = account.add_target("http://one")
    account.seen = 7
    if reason in ("spread", "stray"):
        setattr(target, reason, 7)
    else:
        target.shed[reason] = 7
    (said,) = describe(account, 1)
    assert said.startswith(words)


def test_the_doctor_and_its_page_know_every_reason() -> None:
    page = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    for prefix, reasons, table in (("shed", SHED, _SHED), ("failed", FAILED, _FAILED), ("lost", LOST, _LOST)):
        assert set(table) == reasons
        assert all(f"`{prefix}_{reason}`" in page for reason in reasons)


def test_the_doctor_says_whose_lag_it_is_and_what_is_no_loss() -> None:
    account = FilterAccount("shop")
    target = account.add_target("http://one")
    account.seen = target.mirrored = 10
    account.seen += 2
    target.shed["own_lag"] = target.shed["shadow_lag"] = 1
    target.spread = target.stray = 3
    found = {one.code: one for one in _requests(account.view())}
    assert found["shed_own_lag"].meaning.startswith("this host is too busy")
    assert found["shed_shadow_lag"].meaning == "the target is slower than production"
    assert (found["spread"].level, found["stray_bytes"].level) == ("note", "warning")
    page = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    assert all(f"`{code}`" in page for code in ("spread", "stray_bytes"))
