"""What an operator sets of the comparison reaches it, begins a run, and is said in the verdict."""

from __future__ import annotations

import pytest

from shadowd.config.document import FilterSpec
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from shadowd.runs.run import settings_key, settings_of
from tests.unit.compare.exchanges import answer, examine, request, side

SHOP = {"name": "shop", "ports": [80], "to": "http://next"}


@pytest.mark.parametrize("allowed", [False, True])
def test_additional_fields_are_judged_unless_they_are_allowed(allowed: bool) -> None:
    spec = FilterSpec.from_wire({**SHOP, "allow_extra": allowed})
    examiner = Examiner(settings_of(spec), Rules())
    examine(examiner, request("/1", time=0), answer({"a": 1}), side(answer({"a": 1, "new": 2})))
    assessment = Assessment(examiner, examiner.compared, 1.0)
    assessment.finish()
    assert examiner.differing == (0 if allowed else 1)
    told = [limit for limit in assessment.verdict["limits"] if "--allow-extra" in limit]
    assert told == (["Additional fields of the candidate's objects are not compared (--allow-extra)."] * allowed)
    assert (settings_key(spec) == settings_key(FilterSpec.from_wire(SHOP))) is not allowed, "another run begins"
