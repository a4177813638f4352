"""The state file: what is saved comes back, what is broken is set aside and told, and nothing is lost half-way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from shadowd.config.document import FilterSpec
from shadowd.errors import ShadowdError
from shadowd.service.statefile import StateFile


def spec(name: str, **more: Any) -> FilterSpec:
    return FilterSpec.from_wire({"name": name, "ports": [80], "targets": ["http://next"], **more})


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "state" / "filters.json")


def test_a_missing_file_is_empty(state: StateFile) -> None:
    assert state.load() == ([], [])


def test_round_trip(state: StateFile) -> None:
    filters = [spec("a", sample="10%", paused=True), spec("b", set_header=["Authorization: Bearer x"])]
    state.save(filters)
    assert state.load() == (filters, [])
    assert state.path.stat().st_mode & 0o777 == 0o600
    assert state.path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(state.path.parent) == ["filters.json"]


def test_the_mode_does_not_depend_on_what_was_there(state: StateFile) -> None:
    state.save([])
    state.path.chmod(0o666)
    left = state.path.with_name("filters.json.new")
    left.write_text("left by a crash")
    left.chmod(0o666)
    state.save([spec("a")])
    assert state.path.stat().st_mode & 0o777 == 0o600
    assert not left.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"version": 1, "filters": [{', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a list of filters"),
        (b'{"version": 1, "filters": {}}', "not a list of filters"),
        (b'{"version": 2, "filters": []}', "written in version 2 of the format, this is 1"),
        (b" " * ((16 << 20) + 1), "larger than 16 MB"),
    ],
    ids=lambda value: str(value)[:32],
)
def test_a_corrupt_file_is_set_aside(state: StateFile, content: bytes, says: str) -> None:
    state.path.parent.mkdir()
    state.path.write_bytes(content)
    filters, problems = state.load()
    assert filters == []
    assert len(problems) == 1
    assert says in problems[0]
    assert "set aside as" in problems[0]
    aside = state.path.with_name("filters.json.corrupt")
    assert aside.read_bytes() == content
    assert not state.path.exists()
    state.save([spec("a")])
    assert state.load() == ([spec("a")], [])
    assert aside.read_bytes() == content


def test_one_bad_filter_does_not_take_the_others_along(state: StateFile) -> None:
    state.save([spec("a"), spec("b"), spec("c")])
    document = json.loads(state.path.read_text())
    document["filters"][1]["ports"] = ["eighty"]
    document["filters"] += [5, document["filters"][0]]
    state.path.write_text(json.dumps(document))
    filters, problems = state.load()
    assert [one.name for one in filters] == ["a", "c"]
    assert "stored filter 1 (b) was left out: ports: 'eighty' is not a port" in problems[0]
    assert "stored filter 3 (without a name) was left out" in problems[1]
    assert "stored filter 4 (a) was left out: the name comes twice" in problems[2]
    copy = state.path.with_name("filters.json.corrupt")
    assert json.loads(copy.read_text()) == document, "the next save would forget it"
    assert copy.stat().st_mode & 0o777 == 0o600


def test_a_failed_save_leaves_the_old_file(state: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    state.save([spec("a")])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        state.save([spec("b")])
    monkeypatch.undo()
    assert state.load() == ([spec("a")], [])
    assert os.listdir(state.path.parent) == ["filters.json"]


def test_a_file_that_cannot_be_read_is_not_taken_for_empty(tmp_path: Path) -> None:
    path = tmp_path / "filters.json"
    path.mkdir()
    with pytest.raises(ShadowdError, match="is a directory and no file"):
        StateFile(path).load()
