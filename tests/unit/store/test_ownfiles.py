"""The state directory is for its owner alone, and what is no file is refused without waiting."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shadowd.errors import ShadowdError
from shadowd.runs.recording import load_key
from shadowd.service.statefile import StateFile
from shadowd.store.database import Database
from shadowd.store.ownfiles import open_regular, prepare_directory

OWN = frozenset({"filters.json"})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_its_owner_and_its_parents_stay(tmp_path: Path) -> None:
    parent = tmp_path / "var"
    parent.mkdir(mode=0o755)
    os.chmod(parent, 0o755)
    prepare_directory(parent / "state", OWN)
    assert mode(parent / "state") == 0o700
    assert mode(parent) == 0o755


def test_one_of_ours_is_closed_and_one_with_other_things_is_left(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "filters.json.new").touch()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "mail").touch()
    for name, wanted in (("ours", 0o700), ("shared", 0o755)):
        os.chmod(tmp_path / name, 0o755)
        prepare_directory(tmp_path / name, OWN)
        assert mode(tmp_path / name) == wanted


@pytest.mark.parametrize("bits", [0o770, 0o777, 0o1777, 0o702])
def test_one_that_others_may_write_is_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "state"
    path.mkdir()
    os.chmod(path, bits)
    with pytest.raises(ShadowdError, match=r"others may write to the state directory .* chmod 700"):
        prepare_directory(path, OWN)
    assert mode(path) == bits


def test_a_parent_that_others_may_write_is_refused(tmp_path: Path) -> None:
    parent = tmp_path / "open"
    parent.mkdir()
    os.chmod(parent, 0o777)
    with pytest.raises(ShadowdError, match="and so replace the state directory"):
        prepare_directory(parent / "state", OWN)


@pytest.mark.parametrize("kind", ["fifo", "symlink", "device", "directory"])
@pytest.mark.parametrize("name", ["filters.json", "redaction.key", "shadowd.db", "shadowd.db-wal"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        (tmp_path / "elsewhere").write_bytes(b"k" * 32)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    uses = {"filters.json": lambda: StateFile(path).load(), "redaction.key": lambda: load_key(tmp_path)}
    use = uses.get(name, lambda: Database(tmp_path / "shadowd.db", 60.0, 1 << 20))
    with pytest.raises(ShadowdError, match=f"{name} is a .* and no file"):
        use()


def test_a_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    with os.fdopen(open_regular(path), "rb") as file:
        assert file.read() == b"x"
