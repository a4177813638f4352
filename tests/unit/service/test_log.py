"""The log and the metrics page: no control byte of traffic, and no secret, reaches who reads them."""

from __future__ import annotations

import json

import pytest
from prometheus_client.core import GaugeMetricFamily

from shadowd.observe.metrics import _clean
from shadowd.redact.redaction import Redactor
from shadowd.service.log import Log

HOSTILE = "\x1b]0;owned\x07\r\n\u202e password=hunter2x"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_is_one_line_without_secrets(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(form)
    redactor = Redactor(b"k" * 32)
    log.redacted = redactor.text
    log(f"comparison failed {HOSTILE}", error=ValueError(HOSTILE), count=3, target=None, at=HOSTILE)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(character.isprintable() for character in said[:-1])
    assert "hunter2x" not in said
    assert redactor.mask("hunter2x") in said
    if form == "json":
        assert json.loads(said)["count"] == 3
        assert json.loads(said)["target"] is None


def test_before_there_is_a_key_it_is_plain_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    Log("text")("state", problem="\x1b[31m")
    assert capsys.readouterr().err == "shadowd: state: problem=\\u{1b}[31m\n"


def test_labels_of_metrics_are_plain() -> None:
    redactor = Redactor(b"k" * 32)
    family = GaugeMetricFamily("shadowd_gen_ai_x", "x", labels=["gen_ai_request_model", "filter"])
    family.add_metric(["ghp_16C7e42F292c6912E7710c838347Ae178B4a", "shop"], 1)
    family.add_metric([f"m {HOSTILE}", "é\x1b"], 1)
    _clean(family, redactor.text)
    first, second = (sample.labels for sample in family.samples)
    assert first == {
        "gen_ai_request_model": redactor.mask("ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        "filter": "shop",
    }
    assert "hunter2x" not in second["gen_ai_request_model"]
    assert all(value.isprintable() for value in second.values())
