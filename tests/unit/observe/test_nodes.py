"""One verdict of several nodes': whose it is, and who is named where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from shadowd.observe.nodes import together

Told = dict[str, Any] | str


def node(verdict: str, compared: int = 900, **more: Any) -> Told:
    return {"verdict": verdict, "score": 80, "compared": compared, "reasons": [f"because {verdict}"], **more}


OTHER: Told = {"verdict": "inconclusive", "score": None, "reasons": ["another"], "error": "another", "judged": "v1"}
UNKNOWN: Told = {"verdict": "inconclusive", "score": None, "reasons": ["?"], "error": "there is no filter shop"}
SILENT: Told = "Connection refused"


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        ([node("pass"), node("pass")], "pass"),
        ([node("pass"), node("fail")], "fail"),
        ([node("pass"), node("inconclusive")], "inconclusive"),
        ([node("pass"), node("inconclusive", compared=0)], "pass"),  # it saw no traffic of the service
        ([node("inconclusive", compared=0)], "inconclusive"),
        ([node("pass"), SILENT], "inconclusive"),
        ([node("pass"), UNKNOWN], "inconclusive"),
        ([node("pass"), OTHER], "inconclusive"),
        ([node("fail"), SILENT, OTHER], "fail"),
        ([SILENT, SILENT], "inconclusive"),
    ],
)
def test_a_fail_of_one_fails_and_a_pass_is_everybodys(told: list[Told], verdict: str) -> None:
    found = together("shop", "v2", {f"10.0.0.{number}:9750": one for number, one in enumerate(told)})
    assert found["verdict"] == verdict
    assert [one["node"] for one in found["nodes"]] == [f"10.0.0.{number}:9750" for number in range(len(told))]
    assert found["reasons"]


def test_who_could_not_be_asked_is_named_and_it_is_an_error() -> None:
    found = together("shop", "v2", {"a:1": node("pass"), "b:1": SILENT})
    assert "b:1 (Connection refused)" in found["error"]
    assert "judged" not in found, "one node judges the build: that is no 409"
    assert "error" not in together("shop", "v2", {"a:1": node("fail"), "b:1": SILENT})


def test_another_build_everywhere_is_another_build() -> None:
    assert together("shop", "v2", {"a:1": OTHER, "b:1": OTHER})["judged"] == "v1"
    assert "b:1 (v1)" in together("shop", "v2", {"a:1": node("pass"), "b:1": OTHER})["reasons"][0]


def test_so_many_nodes_may_be_out_of_reach() -> None:
    told: dict[str, Told] = {"a:1": node("pass"), "b:1": SILENT}
    assert together("shop", "v2", told, missing=1)["verdict"] == "pass"
    assert together("shop", "v2", told | {"c:1": SILENT}, missing=1)["verdict"] == "inconclusive"
    assert together("shop", "v2", {"a:1": SILENT}, missing=1)["verdict"] == "inconclusive"
    assert together("shop", "v2", told | {"c:1": UNKNOWN}, missing=1)["verdict"] == "inconclusive", "it can be reached"


def test_what_nodes_say_cannot_break_out() -> None:
    assert "\x1b" not in together("shop", "", {"a:1": "\x1b[31m"})["error"]
