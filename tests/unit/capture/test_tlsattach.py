"""What the daemon makes of the attacher's answers, when it asks again; what is looked at of a process and a file."""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.capture import tlsdiscovery, tlsexamine, tlslibs
from shadowd.capture.inotify import Writes
from shadowd.capture.tlsattach import (
    LOOK_EVERY,
    LOOK_SPACING,
    AnswerError,
    Library,
    Lookouts,
    Problem,
    Report,
    report_untrusted,
)
from shadowd.capture.tlsattacher import MESSAGE, encoded
from shadowd.capture.tlsexamine import Examiner
from shadowd.capture.tlslibs import LibraryError
from shadowd.capture.tlsprobes import MAX_TEXT, MAX_TOLD
from tests import elf_sample
from tests.conftest import need

LIBRARY = {
    "path": "/usr/lib/libssl.so.3", "kind": "OpenSSL 3", "how": "labels", "cost": "emulated", "build_id": "ab",
    "number": 1, "new": True, "offset": 1234, "way": "perf",
}  # fmt: skip
PROBLEM = {"path": "/a", "kind": "NSS", "problem": "it has none", "remedy": "do this"}
ANSWER: dict[str, Any] = {"processes": 2, "libraries": [LIBRARY], "problems": [PROBLEM]}


def test_an_answer() -> None:
    assert report_untrusted(ANSWER) == Report(
        2,
        (Library("/usr/lib/libssl.so.3", "OpenSSL 3", "labels", "emulated", "ab", 1, True),),
        (Problem("/a", "NSS", "it has none", "do this"),),
    )
    assert str(report_untrusted(ANSWER).problems[0]) == "/a: it has none — do this"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@given(st.data(), anything)
def test_whatever_stands_in_an_answer_is_checked(data: st.DataObject, value: Any) -> None:
    answer = json.loads(json.dumps(ANSWER))
    place: Any = answer
    for _ in range(data.draw(st.integers(0, 2))):
        inner = [one for one in (place.values() if isinstance(place, dict) else place) if isinstance(one, (dict, list))]
        if not inner:
            break
        place = data.draw(st.sampled_from(inner))
    keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
    place[data.draw(st.sampled_from(keys))] = value
    try:
        found = report_untrusted(answer)
    except AnswerError:
        return
    assert type(found.processes) is int
    for library in found.libraries:
        assert [type(part) for part in library] == [str, str, str, str, str, int, bool]
    for problem in found.problems:
        assert [type(part) for part in problem] == [str, str, str, str]


@given(anything)
def test_any_answer_is_a_report_or_our_error(value: Any) -> None:
    try:
        assert isinstance(report_untrusted(value), Report)
    except AnswerError:
        pass


def test_what_is_too_long_for_a_message_is_left_out() -> None:
    """Paths are strangers' choice, and JSON makes six bytes of what is no ASCII."""
    path = "é" * MAX_TEXT
    answer = {
        "processes": 9, "libraries": [{**LIBRARY, "path": path}] * MAX_TOLD,
        "problems": [{**PROBLEM, "path": path, "problem": path, "remedy": path}] * MAX_TOLD,
    }  # fmt: skip
    data = encoded(answer)
    assert len(data) <= MESSAGE
    report = report_untrusted(json.loads(data))
    assert report.processes == 9
    assert len(report.libraries) >= 8
    assert len(report.problems) >= 8


# --- when to look again -----------------------------------------------------------------------------------------------

NEW = report_untrusted(ANSWER)
SAME = report_untrusted({**ANSWER, "libraries": [{**LIBRARY, "new": False}]})


def test_looking_regularly() -> None:
    lookouts = Lookouts()
    lookouts.add("shop", 0)
    assert lookouts.due(LOOK_EVERY - 1) == []
    assert lookouts.due(LOOK_EVERY) == ["shop"]
    lookouts.looked("shop", SAME, LOOK_EVERY)
    assert lookouts.due(LOOK_EVERY) == []
    lookouts.remove("shop")
    assert lookouts.due(10 * LOOK_EVERY) == []
    lookouts.missed("shop")  # of a filter that has just gone
    lookouts.looked("shop", SAME, 0)


def test_a_missing_secret_asks_soon_and_ever_more_seldom() -> None:
    """A library that cannot be read misses for each connection: that shall not cost ever more."""
    lookouts = Lookouts()
    lookouts.add("shop", 0)
    now, times = 0, []
    while now < 4 * LOOK_EVERY:
        lookouts.missed("shop")
        if lookouts.due(now):
            times.append(now)
            lookouts.looked("shop", SAME, now)
        now += LOOK_SPACING // 4
    gaps = [later - sooner for sooner, later in zip([0, *times], times, strict=False)]
    assert gaps[0] == LOOK_SPACING
    assert gaps == sorted(gaps)
    assert LOOK_EVERY <= gaps[-1] <= LOOK_EVERY + LOOK_SPACING // 4
    lookouts.looked("shop", NEW, now)
    lookouts.missed("shop")
    assert lookouts.due(now + LOOK_SPACING) == ["shop"], "something new was found: at once again"


# --- processes and their files ----------------------------------------------------------------------------------------


def test_what_this_process_executes() -> None:
    found = tlsdiscovery.mapped_by(os.getpid())
    assert os.path.realpath(sys.executable) in {one.path for one in found}
    inodes = {one.path: one.inode for one in found}
    for path, inode in inodes.items():
        assert os.stat(path).st_ino == inode
    assert all(not one.deleted for one in found)


def test_the_lines_of_maps() -> None:
    lines = [
        "55d0-55e0 r-xp 00001000 08:01 42    /usr/bin/with a name\n",
        "55e0-55f0 r--p 00001000 08:01 42    /usr/bin/with a name\n",
        "7f00-7f10 r-xp 00000000 08:01 43    /lib/libssl.so.3 (deleted)\n",
        "7f10-7f20 r-xp 00000000 08:01 43    /lib/libssl.so.3 (deleted)\n",
        "7f20-7f30 r-xp 00000000 00:00 0     [vdso]\n",
        "7f30-7f40 rwxp 00000000 00:00 0 \n",
        "7f40-7f50 r-xp 00000000 00:01 9     /memfd:jit (deleted)\n",
        "nonsense\n", "\n",
    ]  # fmt: skip
    found = tlsdiscovery.mapped_untrusted(iter(lines))
    assert [(one.path, one.inode, one.deleted) for one in found] == [
        ("/usr/bin/with a name", 42, False),
        ("/lib/libssl.so.3 (deleted)", 43, True),
        ("/memfd:jit (deleted)", 9, True),
    ]  # fmt: skip


@given(st.lists(st.text(max_size=60)))
def test_any_lines_raise_nothing(lines: list[str]) -> None:
    found = tlsdiscovery.mapped_untrusted(iter(lines))
    assert len(found) <= len(lines)
    assert all(one.path.startswith("/") for one in found)


def test_a_process_with_too_many_files() -> None:
    lines = (f"1-2 r-xp 0 08:01 {number} /{number}\n" for number in range(1, 10**9))
    assert len(tlsdiscovery.mapped_untrusted(lines)) == tlsdiscovery.MAX_FILES


def test_who_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert tlsdiscovery.owners(((port, port),))[0] == {os.getpid()}
    assert tlsdiscovery.owners(((port, port),))[0] == set()
    assert tlsdiscovery.owners(())[0] == set(), "no port is not every port"


@pytest.mark.parametrize("nested", [0, 1, 2])
def test_whose_a_process_is(root_user: None, nested: int) -> None:
    """A user may have namespaces of his own, and be root in there."""
    command = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    command += ["unshare", "--user", "--map-root-user"] * nested
    with subprocess.Popen([*command, "sh", "-c", "id -u; read _"], stdin=-1, stdout=-1, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        said = running.stdout.readline()
        if nested and not said:
            pytest.skip("users may have no namespaces here")
        assert said == ("0\n" if nested else "12345\n")
        assert tlsdiscovery.responsible(running.pid) == 12345
        assert tlsdiscovery.responsible(os.getpid()) == os.getuid()
        running.stdin.close()


#: examine() forks; the process that it is for has no threads, and pytest-xdist's has.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

# --- somebody else's file ---------------------------------------------------------------------------------------------


NOTHING_ELSE = os.eventfd(0), lambda: None


def examined(path: Path, made: Examiner | None = None) -> object:
    made = made or Examiner(NOTHING_ELSE)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return made.examine(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


@forks
def test_a_file_is_examined_elsewhere(tmp_path: Path) -> None:
    need(os.uname().machine == "x86_64", "probes are for x86-64")
    made = tmp_path / "library"
    made.write_bytes(elf_sample.library())
    assert examined(made) == tlslibs.find_untrusted(elf_sample.library())


@forks
def test_copies_are_examined_once(tmp_path: Path) -> None:
    """As fifty containers have them. What only calls itself a copy is none: its probe would go where it says."""
    need(os.uname().machine == "x86_64", "probes are for x86-64")
    data = elf_sample.library()
    examiner = Examiner(NOTHING_ELSE)
    for number in range(50):
        made = tmp_path / f"library-{number}"
        made.write_bytes(data)
        assert examined(made, examiner) == tlslibs.find_untrusted(data)
    assert examiner.parsed == 1
    other = tmp_path / "other"
    other.write_bytes(data + b"\0")
    found = examined(other, examiner)
    assert isinstance(found, tlslibs.Finding)
    assert found.build_id == tlslibs.find_untrusted(data).build_id
    assert examiner.parsed == 2


@forks
def test_large_files_are_examined_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlsexamine, "MAX_COPIED", 1000)
    need(os.uname().machine == "x86_64", "probes are for x86-64")
    made = tmp_path / "library"
    made.write_bytes(elf_sample.library())
    examiner = Examiner(NOTHING_ELSE)
    for _ in range(2):
        assert examined(made, examiner) == tlslibs.find_untrusted(elf_sample.library())
    assert examiner.parsed == 2


@forks
def test_writes_are_heeded_while_a_file_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes, watched, made = Writes(), tmp_path / "watched", tmp_path / "library"
    for path in (watched, made):
        path.write_bytes(elf_sample.library())
    heard: list[set[int]] = []

    def slow(data: mmap.mmap) -> None:
        watched.write_bytes(b"another")
        time.sleep(1000)

    monkeypatch.setattr(tlsexamine, "find_untrusted", slow)
    monkeypatch.setattr(tlsexamine, "PARSE_SECONDS", 1)
    with open(watched, "rb") as file:
        watch = writes.add(file.fileno())
    examined(made, Examiner((writes.descriptor, lambda: heard.append(writes.read()[0]))))
    assert heard[0] == {watch}
    os.close(writes.descriptor)


def test_more_writes_than_the_kernel_keeps(tmp_path: Path) -> None:
    """inotify(7): IN_Q_OVERFLOW. The same event twice in a row is one, so two files are written to in turns."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    need(limit <= 1 << 17, "its queue is longer than a test may take")
    writes = Writes()
    with open(tmp_path / "a", "wb", 0) as one, open(tmp_path / "b", "wb", 0) as other:
        watches = {writes.add(one.fileno()), writes.add(other.fileno())}
        one.write(b"x")
        assert writes.read() == ({min(watches)}, False)
        for _ in range(limit // 2 + 10):
            one.write(b"x")
            other.write(b"x")
    assert writes.read() == (watches, True)
    assert writes.read() == (set(), False)
    os.close(writes.descriptor)


@forks
@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF" + bytes(9000)])
def test_what_is_no_library(tmp_path: Path, data: bytes) -> None:
    made = tmp_path / "file"
    made.write_bytes(data)
    assert isinstance(examined(made), LibraryError)


@forks
def test_a_file_that_is_cut_short_kills_its_reader_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is read: pages behind its end raise SIGBUS, which nobody can catch in Python."""
    monkeypatch.setattr(tlsexamine, "MAX_COPIED", 1000)  # where it is
    made = tmp_path / "file"
    made.write_bytes(elf_sample.library() + bytes(1 << 20))

    def cut_short(data: mmap.mmap) -> tlslibs.Finding:
        faulthandler.disable()  # pytest's: it would print the death that is wanted
        os.truncate(made, 4096)
        return tlslibs.find_untrusted(data[-100:])  # reads there

    monkeypatch.setattr(tlsexamine, "find_untrusted", cut_short)
    found = examined(made)
    assert isinstance(found, LibraryError)
    assert "could not be read" in str(found)


@forks
def test_a_file_that_takes_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "file"
    made.write_bytes(elf_sample.library())
    monkeypatch.setattr(tlsexamine, "find_untrusted", lambda data: time.sleep(1000))
    monkeypatch.setattr(tlsexamine, "PARSE_SECONDS", 1)
    found = examined(made)
    assert isinstance(found, LibraryError)
    assert "could not be read" in str(found)


@given(st.binary(max_size=200) | anything.map(lambda value: json.dumps({"found": value}).encode()))
def test_what_the_reader_says_is_checked(data: bytes) -> None:
    assert not isinstance(tlsexamine._finding_untrusted(data), tlslibs.Finding)


@given(st.sampled_from(tlslibs.Finding._fields), anything)
def test_a_finding_is_what_it_says(field: str, value: Any) -> None:
    good = tlslibs.find_untrusted(elf_sample.library())
    found = tlsexamine._finding_untrusted(json.dumps({"found": {**good._asdict(), field: value}}).encode())
    if isinstance(found, tlslibs.Finding):
        assert [type(part) for part in found] == [type(part) for part in good]
        assert 0 <= found.offset < tlsexamine.MAX_FILE
        for place in found.places:
            assert place.through is None or 0 <= place.through < 0xFFFF
            assert 0 <= place.offset < 0xFFFF
