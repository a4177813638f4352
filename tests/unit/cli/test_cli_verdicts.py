"""``shadowctl verdict``, ``report``, ``diffs``, ``noise`` and ``expect`` as a user and a pipeline meet them.

The daemon's side is the real ``Verdicts`` over a real examiner; only the kernel and the store are left out.
"""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowd.errors import UsageError
from shadowd.evidence.examiner import Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.judge.assessment import Assessment
from shadowd.observe.difference import lines_of
from shadowd.redact.redaction import Redactor
from shadowd.runs.recording import Recorder
from tests.unit.cli.test_cli import Filters, Served, command, refused, serving, worked
from tests.unit.compare.exchanges import MS, answer, examine, request, side


class Judged(Filters):
    """A daemon with one filter, ``shop``, whose verdict can be chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.decided_after = 0
        self.fault = "value"
        self.recorder = Recorder(Redactor(b"k" * 32), "edge-1")

    def assess(self) -> tuple[Examiner, Assessment]:
        dice, examiner = random.Random(3), Examiner(Settings(twin=0.5), Rules())
        for number in range(900 if self.fault else 9000):
            wrong = self.fault and number % 3 == 0
            candidate = answer({"n": number, "total": f"{self.fault}\x1b[31m;$(reboot)" if wrong else 7})
            twin = side(candidate) if dice.random() < 0.5 else None
            asked = request(
                "/orders/7?q=';reboot'", time=number * (100 if self.fault else 10) * MS, headers="X-A: it's\r\n"
            )
            examine(examiner, asked, answer({"n": number, "total": 7}), side(candidate), twin=twin)
        assessment = Assessment(examiner, examiner.compared, 90.0)
        assessment.finish()
        assessment.verdict |= {"filter": "shop", "target": "http://next:8080", "run": {"id": 1, "label": "v2"}}
        return examiner, assessment

    async def handle(self, op: str, args: dict[str, Any]) -> object:
        self.asked.append((op, args))
        if args.get("name") != "shop":
            raise UsageError(f"there is no filter named {args.get('name')}", "filters are: shop")
        examiner, assessment = self.assess()
        for one in examiner.examples:  # as ``listen`` does: what was in them is known before values are shown
            self.recorder.example(one)
        differences = self.recorder.differences(assessment)
        match op:
            case "verdict":
                if args.get("label") not in (None, "v2"):
                    return {"verdict": "inconclusive", "judged": "v2", "reasons": ["shop judges the build v2"]}
                self.looks += 1
                if self.looks <= self.decided_after:
                    return {**assessment.verdict, "verdict": "inconclusive"}
                return assessment.verdict
            case "diffs":
                return {"filter": "shop", "differences": differences, "more": 0}
            case "diff":
                examples = [self.recorder.example(one) for one in examiner.examples if one.group == args["id"]]
                return {"filter": "shop", "target": "http://next:8080", "production": "http://127.0.0.1:8080",
                        "difference": differences[0], "examples": examples}  # fmt: skip
            case "noise.add" | "expect.add":
                return {"filter": "shop", "rule": args["rule"], "changed": True}
            case "report":
                return {"generated": 0.0, "filter": "shop", "target": "http://next:8080", "verdict": assessment.verdict,
                        "differences": differences}  # fmt: skip
        raise AssertionError(op)


@pytest.fixture
def judged() -> Iterator[tuple[Served, Judged]]:
    daemon = Judged()
    with serving(daemon) as server:
        yield server, daemon


def test_the_exit_code_is_the_verdict(judged: tuple[Served, Judged]) -> None:
    shadowctl, daemon = judged
    failed = shadowctl("verdict", "shop")
    assert failed.returncode == 1
    assert "FAIL" in failed.stdout
    assert "$.total" in failed.stdout
    daemon.decided_after = 10
    assert shadowctl("verdict", "shop").returncode == 3
    daemon.decided_after, daemon.fault = 0, ""
    assert shadowctl("verdict", "shop", "--json").returncode == 0


def test_gate_prints_the_word_and_the_reasons_beside(judged: tuple[Served, Judged]) -> None:
    done = judged[0]("verdict", "shop", "--gate")
    assert (done.returncode, done.stdout) == (1, "fail\n")
    assert "$.total" in done.stderr


def test_wait_looks_until_it_is_decided(judged: tuple[Served, Judged]) -> None:
    shadowctl, daemon = judged
    daemon.decided_after = 2
    done = shadowctl("verdict", "shop", "--gate", "--wait", "20s")
    assert (done.returncode, daemon.looks) == (1, 3)


@pytest.mark.parametrize("words", [("--wait", "soon"), ("--wait", "-1s"), ("--wait", "99999h")])
def test_a_time_that_is_none(judged: tuple[Served, Judged], words: tuple[str, ...]) -> None:
    assert "--wait" in refused(judged[0]("verdict", "shop", *words), 2)


def test_an_unknown_filter_is_a_usage_error_everywhere(judged: tuple[Served, Judged]) -> None:
    for words in (("verdict",), ("diffs",), ("report",), ("noise", "ls"), ("run", "ls")):
        assert "there is no filter named nope" in refused(judged[0](*words, "nope"), 2)


def test_the_report_is_written_whole_or_not_at_all(judged: tuple[Served, Judged], tmp_path: Path) -> None:
    shadowctl, daemon = judged
    for bad in (tmp_path, tmp_path / "missing" / "r.html"):
        refused(shadowctl("report", "shop", "--html", str(bad)), 2)
    assert daemon.asked == [], "nothing is asked for a report that cannot be written"
    done = shadowctl("report", "shop", "--html", str(tmp_path / "r.html"))
    assert done.returncode == 0
    assert (tmp_path / "r.html").read_text().startswith("<!")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
    assert worked(shadowctl("report", "shop")).startswith("## ")
    assert json.loads(worked(shadowctl("report", "shop", "--json")))["filter"] == "shop"


def test_each_threshold_is_a_row_in_any_encoding(judged: tuple[Served, Judged]) -> None:
    shadowctl, _ = judged
    words = ("--socket", str(shadowctl.path), "verdict", "shop")
    shown = command("shadowctl", *words).stdout
    assert shown.startswith("✗ FAIL  score")
    assert re.search(r"^  ✗ content body \$\.total  GET /orders/\{id\} +\+\d+ % +\d+ … \d+ % +≤ 0\.1 %$", shown, re.M)
    assert re.search(r"^  ✓ coverage +100 % +≥ 95 %$", shown, re.M), "what passed is a row too"
    assert shown.index("beyond noise (interval") < shown.index("threshold"), "the reasons stay first"
    plain = command("shadowctl", *words, PYTHONIOENCODING="ascii")
    assert (plain.returncode, plain.stdout[:6]) == (1, "x FAIL")
    assert re.search(r"^  x content body .*<= 0\.1 %$", plain.stdout, re.M)
    rows = json.loads(shadowctl("verdict", "shop", "--json").stdout)["thresholds"]
    assert shown.count("≤") + shown.count("≥") == len(rows)


def test_the_report_on_a_terminal_is_plain_text(judged: tuple[Served, Judged]) -> None:
    shadowctl, _ = judged
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(shadowctl.path), "report", "shop"]
    child = subprocess.Popen([*line, "--markdown", "-"], stdout=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert child.wait(30) == 0
    text = re.sub(r"\x1b\[[\d;]+m", "", shown.decode())
    assert text.startswith("✗ FAIL  score")
    assert "$.total" in text
    assert not re.search("&#|<code>|^## ", text, re.M)


def test_traffic_never_controls_the_terminal(judged: tuple[Served, Judged]) -> None:
    shadowctl, _ = judged
    listed = worked(shadowctl("diffs", "shop"))
    (group,) = [line.split()[0] for line in listed.splitlines() if "$.total" in line]
    for text in (listed, worked(shadowctl("diffs", "shop", group))):
        assert "\x1b" not in text
        assert "reboot" in text


def test_curl_is_safe_to_paste(judged: tuple[Served, Judged]) -> None:
    shadowctl, _ = judged
    group = worked(shadowctl("diffs", "shop")).splitlines()[1].split()[0]
    lines = worked(shadowctl("diffs", "shop", group, "--curl")).splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("curl")]
    assert [command[-1] for command in commands] == [
        f"{base}/orders/7?q=';reboot'" for base in ("http://127.0.0.1:8080", "http://next:8080")
    ]
    assert "X-A: it's" in commands[0]
    refused(shadowctl("diffs", "shop", "--curl"), 2)


def test_a_rule_names_one_place(judged: tuple[Served, Judged]) -> None:
    shadowctl, daemon = judged
    for words in ((), ("--path", "$.a", "--header", "B")):
        assert "name one place" in refused(shadowctl("noise", "add", "shop", *words), 2)
    assert "$.requestId" in worked(shadowctl("noise", "add", "shop", "--path", "$.requestId"))
    worked(shadowctl("expect", "add", "shop", "--path", "$.currency", "--change", "extra"))
    rules = [args["rule"] for op, args in daemon.asked if op.endswith(".add")]
    assert rules == [
        {"where": "body", "path": "$.requestId", "endpoint": "", "change": ""},
        {"where": "body", "path": "$.currency", "endpoint": "", "change": "extra"},
    ]


def test_another_build_is_inconclusive_at_once(judged: tuple[Served, Judged]) -> None:
    shadowctl, daemon = judged
    done = shadowctl("verdict", "shop", "--gate", "--label", "v3", "--wait", "60s")
    assert (done.returncode, done.stdout, daemon.looks) == (3, "inconclusive\n", 0)
    assert "judges the build v2" in done.stderr
    assert shadowctl("verdict", "shop", "--gate", "--label", "v2").returncode == 1


def test_who_cannot_be_asked_is_no_fail() -> None:
    for words in (("--gate",), ("--json",), ()):
        done = command("shadowctl", "--socket", "/nowhere/s", "verdict", "shop", *words)
        assert done.returncode == 4
        assert "no daemon answers" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("verdict", "shop", "--json"), 4), (("status", "--json"), 1), (("diffs", "shop", "--json"), 1),
        (("filter", "ls", "--json"), 1), (("verdict", "shop", "--json", "--wait", "soon"), 2),
        (("verdict", "--json"), 2), (("verdict", "shop", "--json", "--nonsense"), 2),
    ],
)  # fmt: skip
def test_json_is_one_object_also_where_it_goes_wrong(words: tuple[str, ...], code: int) -> None:
    done = command("shadowctl", "--socket", "/nowhere/s", *words)
    assert done.returncode == code
    told = json.loads(done.stdout)
    assert told["verdict"] is None
    assert told["error"]["exit"] == code
    assert told["error"]["message"] in done.stderr


def test_a_side_without_an_answer_is_shown_as_such() -> None:
    example = type("Kept", (), {})()
    example.group, example.endpoint, example.time = "0123456789abcdef", "GET /a", 1
    example.values = ("", "")
    example.request = (b"GET", b"/a", b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n", b"")
    example.production, example.production_failure = (200, b"HTTP/1.1 200 OK\r\n\r\n", b"fine"), ""
    example.candidate, example.failure = None, "timeout"
    shown = Recorder(Redactor(b"k" * 32), "edge-1").example(example)
    assert shown["candidate"] == {"failure": "timeout"}
    assert (shown["production"]["status"], shown["production"]["body"]) == (200, "fine")
    assert lines_of(shown["candidate"]) == ["no answer: timeout"]
