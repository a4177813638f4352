"""What strangers wrote into traffic, and what an operator mistypes, at ``shadowctl``: neither does harm.

The daemon's answers are canned and full of what a terminal or a shell would obey.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shadowd.errors import ShadowdError
from tests.unit.cli.test_cli import Filters, Served, refused, serving, worked

#: A new window title, a colour by the 8-bit CSI, a reversed line, another line, a backspace.
EVIL = "\x1b]0;owned\x07\x9b31m\u202e\r\n\x08[red]"
SENTENCE = f"GET /a{EVIL}: body $.b{EVIL} has another value"


class Canned(Filters):
    """Answers every operation of the comparison."""

    def __init__(self) -> None:
        super().__init__()
        self.word: object = "inconclusive"
        self.request = {"method": "GET", "target": "/a", "head": "GET /a HTTP/1.1\r\n\r\n", "body": ""}
        self.verdict: object = None

    async def handle(self, op: str, args: dict[str, Any]) -> object:
        self.asked.append((op, args))
        difference = {
            "id": "1f3a09bc", "label": "regression", "endpoint": f"GET /a{EVIL}", "where": "cookie",
            "path": f"sid{EVIL}", "kind": "value", "count": 3, "share": 0.5, "production": EVIL, "candidate": EVIL,
            "sentence": SENTENCE, "noise_share": 0.1, "first": 0.0, "last": 1.0, "target": "http://next",
        }  # fmt: skip
        finding = {
            "judge": "errors", "endpoint": difference["endpoint"], "sentence": f"another {SENTENCE}", "path": EVIL,
            "signature": {"title": EVIL, "count": 2, "fingerprint": "f"}, "result": "fail", "effect": 0.1,
            "interval": [0.0, None],
        }  # fmt: skip
        verdict = self.verdict or {
            "verdict": self.word, "score": 5, "reasons": [SENTENCE], "filter": "shop", "target": "http://n",
            "compared": 7, "coverage": 0.5, "mode": "twin", "run": {"id": 1, "label": f"v2{EVIL}"},
            "findings": [finding], "judges": [finding], "not_judged": [difference], "limits": ["a limit"],
            "drift": {"exchanges": 1, "share": 0.1},
        }  # fmt: skip
        rule = {"where": "cookie", "path": f"sid{EVIL}", "endpoint": EVIL, "change": "value"}
        side = {"status": 200, "head": f"HTTP/1.1 200 {EVIL}\r\nX: 1\r\n\r\n", "body": f"x{EVIL}"}
        other = {**side, "body": f'{{"a": "{EVIL.encode("unicode_escape").decode()}"}}'}
        example = {"time": 0.0, "request": self.request, "production": side, "candidate": other}
        match op:
            case "verdict":
                return verdict
            case "report":
                return {"generated": 0.0, "filter": "shop", "target": "http://next", "verdict": verdict,
                        "differences": [difference], "signatures": [{"title": EVIL, "example": EVIL, "new": True}],
                        "endpoints": [{"endpoint": EVIL}]}  # fmt: skip
            case "diffs":
                return {"filter": "shop", "differences": [difference], "more": 0}
            case "diff":
                return {"production": "http://127.0.0.1:8080", "target": "http://next:8080/", "difference": difference,
                        "examples": [example] if self.request else []}  # fmt: skip
            case "noise.ls" | "expect.ls":
                return {"filter": "shop", "rules": [rule], "learned": [difference]}
            case "noise.add":
                return {"filter": "shop", "rule": rule, "changed": True}
            case "run.ls":
                return [{"id": 1, "label": EVIL, "started": 1.0, "ended": None, "target": EVIL, "reason": EVIL}]
            case "filter.add":
                return await super().handle(op, args)
        raise ShadowdError(f"no {op}", "here")


@pytest.fixture
def canned() -> Iterator[tuple[Served, Canned]]:
    daemon = Canned()
    with serving(daemon) as server:
        yield server, daemon


def unseen(text: str) -> set[str]:
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}


COMMANDS = [
    ("verdict", "shop"), ("verdict", "shop", "--gate"), ("verdict", "shop", "--json"), ("diffs", "shop"),
    ("diffs", "shop", "1f3a09bc"), ("diffs", "shop", "1f3a09bc", "--json"), ("diffs", "shop", "1f3a09bc", "--curl"),
    ("noise", "ls", "shop"), ("noise", "add", "shop", "--cookie", "sid"), ("expect", "ls", "shop"),
    ("run", "ls", "shop"), ("report", "shop"), ("report", "shop", "--json"),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_nothing_in_traffic_controls_the_terminal(canned: tuple[Served, Canned], words: tuple[str, ...]) -> None:
    shadowctl, daemon = canned
    daemon.request |= {"method": f"G{EVIL}", "target": f"/a{EVIL}", "head": f"G /a\r\nX: a{EVIL[:12]}\r\n\r\n"}
    done = shadowctl(*words)
    assert done.returncode == (3 if words[0] == "verdict" else 0), done.stderr
    assert unseen(done.stdout + done.stderr) == set()
    assert "owned" in done.stdout + done.stderr, "it is shown, and harmless"
    assert not [line for line in done.stdout.splitlines() if line.startswith("[red]")], "no line is forged"


def test_a_terminal_gets_colours_and_nothing_of_the_traffics_own(canned: tuple[Served, Canned]) -> None:
    shadowctl, _ = canned
    line = [sys.executable, "-m", "shadowd.cli.shadowctl", "--socket", str(shadowctl.path), "diffs", "shop", "1f3a09bc"]
    settings = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm-256color"}
    master, slave = pty.openpty()
    process = subprocess.Popen(line, stdout=slave, stdin=slave, stderr=slave, env=settings)
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += (read := os.read(master, 65536))
        except OSError:  # the other end is closed: so Linux tells it
            break
        if not read:
            break
    os.close(master)
    assert process.wait(30) == 0
    text = shown.decode().replace("\r\n", "\n")
    assert "\x1b[32m" in text, "production's side is green"
    assert "\x1b[31m" in text, "the shadow's is red"
    assert unseen(re.sub(r"\x1b\[[0-9;]*m", "", text)) == set()


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"target": "/a?q='; touch pwned; $(touch pwned) `touch pwned`"}, []),
        ({"target": "/a?ids=[1-100]&x={a,b}"}, ["--globoff"]),
        ({"target": "/a/../b/./c"}, ["--path-as-is"]),
        ({"method": "POST", "body": "@/etc/passwd"}, ["-X", "POST", "--data-raw", "@/etc/passwd"]),
        ({"method": "POST", "body": "it's\na \\ tab\t\x1b[31m\x001 é 'q'"}, ["--data-binary", "@-"]),
        ({"head": "GET /a HTTP/1.1\r\nX-A: it's $(touch pwned)\r\nHost: p\r\nX-E:\r\n\r\n"},
         ["-H", "X-A: it's $(touch pwned)", "X-E;"]),
        ({"head": "GET /a HTTP/1.1\r\nX-A: \x9b31m\r\n\r\n"}, []),
        ({"method": "HEAD"}, ["--head"]),
    ],
    ids=["metacharacters", "globs", "dots", "a file's name", "control characters", "headers", "C1", "HEAD"],
)  # fmt: skip
def test_curl_is_one_command_whatever_was_asked(
    canned: tuple[Served, Canned], tmp_path: Path, request_: dict[str, str], expected: list[str]
) -> None:
    shadowctl, daemon = canned
    daemon.request |= request_
    told = worked(shadowctl("diffs", "shop", "1f3a09bc", "--curl"))
    # the shell itself says which words it would give to curl
    script = "curl() { printf '%s\\0' \"$@\" >> words; printf '\\0' >> words; }\n" + told
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    commands = (tmp_path / "words").read_bytes().decode().removesuffix("\0\0").split("\0\0")
    assert os.listdir(tmp_path) == ["words"], "nothing else was run"
    assert len(commands) == 2
    target = request_.get("target", "/a")
    for command, base in zip(commands, ("http://127.0.0.1:8080", "http://next:8080"), strict=True):
        words = command.split("\0")
        assert words[-1] == base + target.replace(" ", "%20")  # curl refuses an address with blanks
        assert [word for word in expected if word not in words] == [], words
        assert not [word for word in words if word.startswith("Host:")]


def test_curl_of_what_is_no_request(canned: tuple[Served, Canned]) -> None:
    shadowctl, daemon = canned
    daemon.request["method"] = ""  # a raw turn
    assert "this is no HTTP exchange" in refused(shadowctl("diffs", "shop", "1f3a09bc", "--curl"), 1)
    daemon.request.clear()
    assert "no example is kept" in refused(shadowctl("diffs", "shop", "1f3a09bc", "--curl"), 1)
    assert "no example is kept" in worked(shadowctl("diffs", "shop", "1f3a09bc"))


@pytest.mark.parametrize(
    ("word", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 3), ("odd", 3), (None, 3)], ids=str
)
def test_exit_codes(canned: tuple[Served, Canned], word: object, code: int) -> None:
    shadowctl, daemon = canned
    daemon.word = word
    for words in ((), ("--gate",), ("--json",)):
        assert shadowctl("verdict", "shop", *words).returncode == code


def test_wait_ends_undecided_and_says_so(canned: tuple[Served, Canned]) -> None:
    shadowctl, daemon = canned
    done = shadowctl("verdict", "shop", "--gate", "--wait", "1200ms")
    assert (done.returncode, done.stdout) == (3, "inconclusive\n")
    assert 2 <= len(daemon.asked) <= 4


def test_an_answer_that_is_none_is_one_line(canned: tuple[Served, Canned], tmp_path: Path) -> None:
    shadowctl, daemon = canned
    daemon.verdict = ["not", "a", "verdict"]
    assert "is no verdict" in refused(shadowctl("verdict", "shop"), 4)
    daemon.verdict = {
        "verdict": "pass",
        "coverage": None,
        "compared": None,
        "reasons": None,
        "run": None,
        "score": None,
    }
    for words in ((), ("--gate",), ("--json",)):
        assert shadowctl("verdict", "shop", *words).returncode == 0


def test_a_report_never_replaces_what_is_no_file(canned: tuple[Served, Canned], tmp_path: Path) -> None:
    shadowctl, _ = canned
    pipe, link, real = tmp_path / "pipe", tmp_path / "link", tmp_path / "real"
    os.mkfifo(pipe)
    link.symlink_to(real)
    real.write_text("old")
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True)
    assert shadowctl("report", "shop", "--html", str(pipe), "--markdown", str(link)).returncode == 0
    assert reader.communicate(timeout=20)[0].startswith("<!")
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert real.read_text().startswith("## ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe", "real"]
    assert worked(shadowctl("report", "shop", "--markdown", "-")).startswith("## ")
    assert json.loads(worked(shadowctl("report", "shop", "--json")))["filter"] == "shop"


@pytest.mark.parametrize(
    ("path", "code"),
    [("/", 2), ("/nonexistent/r.html", 2), ("/proc/r.html", 2 if os.geteuid() else 1), ("/dev/full", 1)],
)
def test_a_report_that_cannot_be_written(canned: tuple[Served, Canned], path: str, code: int) -> None:
    assert path.rpartition("/")[0] in refused(canned[0]("report", "shop", "--html", path), code)
    assert not Path("/dev/full").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--max-error-increase", "200%"], "max_error_increase: '200%' is out of range"),
        (["--max-error-increase", "0"], "max_error_increase: '0' is out of range"),
        (["--max-diff-share", "-1"], "max_diff_share: '-1' is out of range"),
        (["--max-slowdown", "10%,20%"], "has 2 values"),
        (["--max-slowdown", "nan"], "max_slowdown: 'nan' is not a share"),
        (["--latency-floor", "2h"], "latency_floor: '2h' is"),
        (["--max-leak", "0"], "max_leak: '0' is out of range"),
        (["--max-cpu", "0"], "max_cpu: '0' is out of range"),
        (["--min-coverage", "101%"], "min_coverage: '101%' is out of range"),
        (["--min-samples", "-1"], "min_samples: '-1' is"),
        (["--min-duration", "99d"], "min_duration: '99d' is"),
        (["--critical", "speed"], "critical: 'speed' is not a judge"),
        (["--memory-after", "5"], "memory_after: '5' is out of range"),
        (["--tolerance", "inf"], "tolerance: 'inf' is out of range"),
        (["--twin", "60%"], "twin: '60%' is out of range"),
        (["--route", "users"], "routes: 'users' is not a route"),
        (["--refusal", "(sorry"], "refusal: '(sorry' is not a regular expression"),
        (["--refusal", "x" * 1100], "is longer than 1024 characters"),
        (["--unordered", "tags"], "unordered: 'tags' is not a JSON path"),
        (["--run-key", "a b"], "run_key: 'a b' is not"),
        (["--shadow-metrics", "https://x/m"], "shadow_metrics: 'https://x/m' is not a metrics address"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_margins_out_of_range(canned: tuple[Served, Canned], words: list[str], says: str) -> None:
    shadowctl, daemon = canned
    good = ["--port", "8080", "--to", "http://next"]
    assert says in refused(shadowctl("filter", "add", "shop", *good, *words), 2)
    assert daemon.specs == {}


@pytest.mark.parametrize("what", ["noise", "expect"])
def test_rules_need_one_place(canned: tuple[Served, Canned], what: str) -> None:
    shadowctl, daemon = canned
    for verb in ("add", "rm"):
        for words in ((), ("--path", "$.a", "--status"), ("--header", "a", "--cookie", "b")):
            assert "name one place" in refused(shadowctl(what, verb, "shop", *words), 2)
        assert "Missing argument" in refused(shadowctl(what, verb), 2)
    assert "--change" in refused(shadowctl("noise", "add", "shop", "--path", "$.a", "--change", "extra"), 2)
    assert daemon.asked == []
