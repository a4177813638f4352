"""Key-log files as operators have them: growing, rotated, cut short, pipes, and what is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shadowd.capture.keylog import BACKLOG, LOOK, LOOK_SOON, MAX_BAD, KeyLogs, check_keylog
from shadowd.errors import ShadowdError, UsageError
from shadowd.tls.keyring import Keyring


def line(number: int) -> bytes:
    return b"CLIENT_RANDOM %064x %096x\n" % (number, number)


class Followed:
    """A followed path and what came of it."""

    def __init__(self, path: Path) -> None:
        self.keyring = Keyring()
        self.logs = KeyLogs(self.keyring)
        self.path = path
        self.now = 10 * LOOK
        self.logs.follow([str(path)])

    def read(self, after: int = 0) -> set[int]:
        """Numbers of all lines so far."""
        self.now += after
        self.logs.read(self.now)
        return {int.from_bytes(random, "big") for random in self.keyring._loose}

    def close(self) -> None:
        self.logs.follow([])


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    append(path, line(1))
    followed = Followed(path)
    assert followed.read() == {1}
    append(path, line(2) + line(3)[:50])
    assert followed.read() == {1, 2}
    append(path, line(3)[50:])
    assert followed.read() == {1, 2, 3}
    assert not followed.logs.problems
    followed.close()


def test_what_is_old_is_not_read(tmp_path: Path) -> None:
    """Of a file that grew for years only the end, from the first whole line on."""
    path = tmp_path / "keys"
    count = 3 * BACKLOG // len(line(1))
    path.write_bytes(b"".join(map(line, range(count))))
    followed = Followed(path)
    found = followed.read()
    assert max(found) == count - 1
    assert len(found) == BACKLOG // len(line(1))
    followed.close()


def test_one_that_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    check_keylog(str(path), 1)
    followed = Followed(path)
    assert followed.read() == set()
    assert followed.logs.problems == [f"tls_keylog: {path} is not there yet"]
    append(path, line(1))
    assert followed.read(after=LOOK) == {1}
    assert not followed.logs.problems
    followed.close()


def test_rotated(tmp_path: Path) -> None:
    """By renaming: what is written to the old one before the look is read, then the new one from its beginning."""
    path = tmp_path / "keys"
    append(path, line(1))
    followed = Followed(path)
    followed.read()
    path.rename(tmp_path / "keys.1")
    append(tmp_path / "keys.1", line(2))
    assert followed.read(after=LOOK) == {1, 2}  # there is no new one yet
    append(tmp_path / "keys.1", line(3))
    append(path, line(4))
    assert followed.read(after=LOOK) == {1, 2, 3, 4}
    followed.close()


def test_a_look_comes_sooner_where_somebody_waits(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    append(path, line(1))
    followed = Followed(path)
    followed.read()
    path.rename(tmp_path / "keys.1")
    append(path, line(2))
    assert followed.read(after=LOOK_SOON) == {1}

    class Session:
        def retry(self, now: int) -> None: ...

        def give_up(self, now: int) -> None: ...

    followed.keyring.wait(Session(), followed.now)
    assert followed.read() == {1, 2}
    followed.close()


def test_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    append(path, line(1) + line(2))
    followed = Followed(path)
    followed.read()
    path.write_bytes(line(3))
    assert followed.read() == {1, 2, 3}
    followed.close()


def test_a_fifo_whose_writers_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    check_keylog(str(path), 1)
    followed = Followed(path)
    assert followed.read() == set()
    for number in (1, 2):
        append(path, line(number))
        assert number in followed.read()
    assert not followed.logs.problems
    followed.close()
    with pytest.raises(UsageError, match="one process alone"):
        check_keylog(str(path), 2)


def test_what_is_none_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"")
    followed = Followed(path)
    append(path, b"nonsense\n" * (MAX_BAD + 1))
    followed.read()
    assert followed.logs.problems == [f"tls_keylog: {path} is no key log: none of its lines is NSS format"]
    append(path, line(1))
    assert followed.read() == set()
    path.unlink()
    append(path, line(2))  # another file
    assert followed.read(after=LOOK) == {2}
    assert not followed.logs.problems
    followed.close()


def test_a_fifo_whose_writer_stays(tmp_path: Path) -> None:
    """As every real one does: it never finds that nobody reads."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    followed = Followed(path)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    for number in range(3):
        os.write(writer, line(number))
        assert number in followed.read(after=LOOK)
        followed.read(after=LOOK)
        assert not followed.logs.problems
    for _ in range(200):
        os.write(writer, b"nonsense\n" * 100)  # would be BlockingIOError, if it were not read on
        followed.read(after=LOOK)
    os.close(writer)
    followed.close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(os.urandom(3000), "is no key log", id="random"),
        (b"hello\n", "is no key log"),
        (b"CLIENT_RANDOM 12 34\n", "is no key log"),
    ],
)
def test_what_is_refused_by_its_content(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content + b"\n")
    with pytest.raises(UsageError, match=words):
        check_keylog(str(path), 1)


def test_what_is_refused_by_what_it_is(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero"), Path("/proc/self/mem/x")):
        with pytest.raises(ShadowdError, match=r"neither a file nor a FIFO|cannot be read"):
            check_keylog(str(path), 1)


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    path = tmp_path / "keys"
    path.write_bytes(line(1))
    followed = Followed(path)
    followed.read()
    path.unlink()
    append(path, line(2))
    followed.read(after=LOOK)
    check_keylog(str(path), 1)
    followed.close()
    assert set(os.listdir("/proc/self/fd")) == before
