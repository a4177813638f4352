"""``diffs --curl``: whatever traffic said, a shell runs curl with it and does nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shadowd.errors import ShadowdError
from shadowd.observe.curl import commands

SHELLS = {"dash": ["dash"], "bash": ["bash", "--norc"], "zsh": ["zsh", "-f"], "fish": ["fish", "--no-config"]}
BASE = {"shadow": "http://next:8080"}
STUB = """#!/bin/sh
{ for word in "$@"; do printf '%s\\0' "$word"; done; printf '\\1\\0'; } >>"$RECORD"
case " $* " in *' --data-binary @- '*) cat >>"$RECORD.stdin"; printf '\\0\\1\\0' >>"$RECORD.stdin";; esac
"""

HOSTILE = [
    "';touch OWNED;#\n", "\\';touch OWNED;#", "\\\\';touch OWNED;'", "$(touch OWNED)", "`touch OWNED`", "(touch OWNED)",
    "a\\", "\\", "'", "''", "\\'", "'\\", '"', '"$(touch OWNED)"', "\n;touch OWNED\n", "| touch OWNED", "&touch OWNED&",
    "{touch,OWNED}", "$'\\047;touch OWNED;\\047", "!touch OWNED", "!!", "~", "*", "?", "[a-z]", "%self", "=ls", "$HOME",
    "\x1b]0;owned\x07", "\x1b[201~touch OWNED\r", "\0", "\r", "\u202e", "é", "\udc80\udcff", "%s%n", "%%", "--",
    "-K/etc/x",
    "@/etc/hostname", "<(touch OWNED)", "a'b\"c\\d\ne", "\\047;touch OWNED", "^touch^OWNED", "#", "'\\''", "\\\n'",
]  # fmt: skip
texts = st.text(st.sampled_from("';\\\"$(){}`!#&|<>\n\r\t \0\x1b~*?[]%=@-^aé\u202e\udc80"), max_size=30)


def request(body: str, value: str = "", target: str = "/a", method: str = "POST") -> dict[str, Any]:
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nX-A: {value}\r\n\r\n"
    return {"method": method, "target": target, "head": head, "body": body}


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def run(shell: str, lines: list[str], folder: Path) -> tuple[list[list[bytes]], list[bytes]]:
    """What curl was called with, and given; nothing else may have happened."""
    stub, place = folder / "bin", folder / "here"
    if not stub.exists():
        stub.mkdir()
        place.mkdir()
        (stub / "curl").write_text(STUB)
        (stub / "curl").chmod(0o755)
    record = folder / "record"
    for name in ("record", "record.stdin"):
        (folder / name).unlink(missing_ok=True)
    environment = {
        "PATH": f"{stub}:/usr/bin:/bin", "RECORD": str(record), "HOME": str(place), "LC_ALL": "C.UTF-8",
        "XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data"),
    }  # fmt: skip
    script = folder / "script"
    script.write_bytes(as_bytes("\n".join(lines) + "\n"))
    done = subprocess.run([*SHELLS[shell], str(script)], cwd=place, env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert os.listdir(place) == []
    called = [one.split(b"\0")[:-1] for one in record.read_bytes().split(b"\1\0")[:-1]]
    given = (folder / "record.stdin").read_bytes().split(b"\0\1\0")[:-1] if "@-" in "".join(lines) else []
    return called, given


def check(shell: str, requests: list[dict[str, Any]], folder: Path) -> int:
    """How many times curl was called, each with the very words of its request."""
    lines = [line for one in requests for line in commands(one, BASE)]
    assert all(character.isprintable() for line in lines for character in line)
    called, given = run(shell, lines, folder)
    assert len(called) == len(requests)
    streams = iter(given)
    for words, one in zip(called, requests, strict=True):
        assert words[:5] == [b"-i", b"--globoff", b"--path-as-is", b"-X", as_bytes(one["method"])]
        assert words[-1].startswith(b"http://next:8080/")
        assert all(0x20 < byte < 0x7F for byte in words[-1])
        value = one["head"].split("X-A: ", 1)[1].split("\r\n", 1)[0].replace("\t", " ").strip()
        if b"-H" in words and value:
            assert words[words.index(b"-H") + 1] == b"X-A: " + as_bytes(value)
        if not one["body"]:
            continue
        sent = words[-2] if words[-3] == b"--data-raw" else next(streams)
        assert sent == as_bytes(one["body"])
    return len(called)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        if os.environ.get("CI") and request.param in ("dash", "bash"):
            pytest.fail(f"{request.param} is missing")
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def test_hostile_bodies_headers_and_targets(shell: str, tmp_path: Path) -> None:
    assert check(shell, [request(text) for text in HOSTILE], tmp_path) == len(HOSTILE)
    one_line = [text.replace("\r", "") for text in HOSTILE if "\n" not in text]
    assert check(shell, [request("", value=text) for text in one_line], tmp_path) == len(one_line)
    assert check(shell, [request("", target=f"/a?q={text}") for text in HOSTILE], tmp_path) == len(HOSTILE)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=20, max_size=40))
def test_any_body(shell: str, tmp_path: Path, bodies: list[str]) -> None:
    asked = [request(text, value=text.replace("\r", "").replace("\n", "")) for text in bodies]
    assert check(shell, asked, tmp_path) == len(bodies)


def test_methods_and_what_curl_makes_itself() -> None:
    asked = {"method": "GET", "target": "http://shop/a?x=[1-9]", "body": "", "head": ""}
    assert commands(asked, BASE) == ["# shadow", "curl -i --globoff --path-as-is 'http://next:8080/a?x=[1-9]'"]
    head = "HEAD /a HTTP/1.1\r\nContent-Length: 3\r\nX-B:\r\nAccept: */*\r\n\r\n"
    line = commands({"method": "HEAD", "target": "/a", "body": "", "head": head}, BASE)[1]
    assert line == "curl -i --globoff --path-as-is --head -H 'X-B;' -H 'Accept: */*' http://next:8080/a"
    with pytest.raises(ShadowdError, match="no HTTP exchange"):
        commands({"method": "", "target": ""}, BASE)
    told = commands({"method": "GET;\x1bx", "target": "/"}, BASE)
    assert told[0] == "# left out: bytes of the method that no method has"
    assert told[2] == "curl -i --globoff --path-as-is -X GETx http://next:8080/"


def test_a_header_that_curl_would_read_as_a_file_is_left_out() -> None:
    head = "GET /a HTTP/1.1\r\n@/etc/passwd: x\r\nno colon\r\nX-A: \x1b[31m\r\n\r\n"
    lines = commands({"method": "GET", "target": "/a", "body": "", "head": head}, BASE)
    assert lines[0] == "# left out: 3 header fields with bytes that no terminal shows"
    assert "-H" not in lines[2]
