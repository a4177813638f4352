"""An operator's word on a difference: noise, or expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadowd.cli.output import plain
from shadowd.cli.top.asking import Question
from shadowd.cli.top.page import Page
from shadowd.cli.top.widgets import Confirm
from shadowd.observe.difference import rule_of


def mark(page: Page, found: Mapping[str, Any], kind: str) -> None:
    """Call a difference noise, or expected, once that was confirmed."""
    rule = rule_of(found)
    if rule is None:
        page.top.say("this is no single field: an error, several fields, or one with a secret in its name")
        return
    if kind == "noise":
        rule["change"] = ""  # whatever it changes to
    place = plain(f"{rule['where']} {rule['path']}".strip())
    what = "noise" if kind == "noise" else "expected"
    effect = (
        "It is never judged again." if kind == "noise" else f"Approved ({rule['change']}): shown apart, no regression."
    )
    undo = f"shadowctl {kind} rm takes it back."

    def answered(yes: bool | None) -> None:
        if yes:
            wish = f"{place} is {what} from now on"
            page.top.wish(Question(f"{kind}.add", {"name": page.subject[0], "rule": rule}, wish))

    at = f"{place}\nat {plain(rule['endpoint'])}"
    page.app.push_screen(Confirm(f"Call this {what}?", f"{at}\n{effect} {undo}"), answered)
