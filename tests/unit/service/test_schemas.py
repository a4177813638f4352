"""Files of schemas: what is refused, and what becomes of one that changes while it is in use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing
from google.protobuf import descriptor_pb2

from shadowd.errors import UsageError
from shadowd.service import schemas
from shadowd.service.schemas import MAX_FILE, Schemas, read_schema


def described(*messages: str) -> bytes:
    found = descriptor_pb2.FileDescriptorSet()
    file = found.file.add(name="a.proto", package="a", syntax="proto3")
    for name in messages:
        file.message_type.add(name=name)
    return bytes(found.SerializeToString())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "cannot be used: it has no messages"),
        (b"hello there", "cannot be used: it is no FileDescriptorSet"),
        (b"\0" * (MAX_FILE + 1), "has more than 16 MB"),
    ],
)
def test_what_is_no_schema_is_refused_in_one_line(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "api.binpb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_schema(str(path))
    assert refused.value.problem == f"{path} {why}"
    assert refused.value.remedy
    assert "\n" not in str(refused.value)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match=r"is no file|Is a directory"):
            read_schema(str(path))


class Followed:
    """A schema that a filter names, looked at every second of trio's clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.used = {str(path)}
        self.changed: list[str] = []
        self.schemas = Schemas(lambda: self.used, self.changed.append)
        self.schemas.check(str(path))

    def has(self, name: str) -> bool:
        return self.schemas._read[str(self.path)].message(f"a.{name}") is not None


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Followed:
    monkeypatch.setattr(schemas, "LOOK_EVERY", 0.01)
    path = tmp_path / "api.binpb"
    path.write_bytes(described("One"))
    return Followed(path)


async def _until(condition: object) -> None:
    assert callable(condition)
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.01)


def test_a_file_that_changed_is_read_again_and_a_broken_one_leaves_what_was(followed: Followed) -> None:
    async def play() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(followed.schemas.run)
            assert followed.has("One")
            followed.path.write_bytes(described("One", "Two"))
            await _until(lambda: followed.has("Two"))
            assert followed.changed == [str(followed.path)]
            followed.path.write_bytes(b"half a fi")
            await _until(lambda: followed.schemas.problems)
            (problem,) = followed.schemas.problems.values()
            assert "is no FileDescriptorSet; the schema read before stays" in problem
            assert followed.has("Two")
            followed.path.unlink()
            await _until(lambda: "No such file" in str(followed.schemas.problems))
            assert followed.has("Two")
            other = followed.path.with_suffix(".new")
            other.write_bytes(described("Three"))
            other.replace(followed.path)
            await _until(lambda: followed.has("Three"))
            assert followed.schemas.problems == {}
            assert len(followed.changed) == 2
            nursery.cancel_scope.cancel()

    trio.run(play)


def test_what_no_filter_names_any_more_is_forgotten(followed: Followed) -> None:
    async def play() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(followed.schemas.run)
            assert followed.has("One")
            followed.used = set()
            await _until(lambda: not followed.schemas._read)
            nursery.cancel_scope.cancel()
        assert followed.changed == [], "nobody is told who names it no more"

    trio.run(play)
