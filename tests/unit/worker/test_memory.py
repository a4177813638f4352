"""The budget that ``memory_max`` leaves, by a process whose memory is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shadowd.worker.memory import FLOOR, RESERVE, SLACK, TRIM_EVERY, Memory, anonymous, trim

MB = 1 << 20


class Process:
    """``taken``: beside the buffers; ``holes``: what they gave back and the allocator keeps."""

    def __init__(self, limit: int, taken: int) -> None:
        self.taken, self.holes, self.trims = taken, 0, 0
        self.problems: dict[str, str] = {}
        self.told: list[str] = []
        self.memory: Memory | None = None
        self.memory = Memory(limit, self.problems, self.told.append, self.measure, self.trim)

    def measure(self) -> int:
        return self.taken + self.holes + (self.memory.budget.used if self.memory is not None else 0)

    def trim(self) -> None:
        self.trims += 1
        self.holes = 0


def made(limit: int, taken: int) -> tuple[Process, Memory]:
    process = Process(limit, taken)
    assert process.memory is not None
    return process, process.memory


def test_the_interpreter_is_taken_off_the_budget_at_once() -> None:
    _, memory = made(128 * MB, 40 * MB)
    assert memory.budget.limit == 128 * MB - 128 * MB // RESERVE - 40 * MB


def test_what_is_held_is_not_taken_off_twice() -> None:
    _, memory = made(128 * MB, 40 * MB)
    before = memory.budget.limit
    memory.budget.change(30 * MB)
    memory.look(1.0)
    assert memory.budget.limit == before
    memory.budget.change(before)
    assert memory.budget.exhausted


def test_what_was_learned_is_taken_off_and_exhausts() -> None:
    process, memory = made(128 * MB, 40 * MB)
    memory.budget.change(40 * MB)
    assert not memory.budget.exhausted
    process.taken += 40 * MB
    memory.look(1.0)
    assert memory.budget.exhausted
    process.taken -= 40 * MB
    memory.look(1.0)
    assert not memory.budget.exhausted


def test_holes_are_given_back_first_but_not_at_every_look() -> None:
    process, memory = made(128 * MB, 40 * MB)
    before = memory.budget.limit
    process.holes = 2 * SLACK
    memory.look(10.0)
    assert (process.trims, memory.budget.limit) == (1, before)
    process.holes = 2 * SLACK
    memory.look(10.0 + TRIM_EVERY / 2)
    assert (process.trims, memory.budget.limit) == (1, before - 2 * SLACK)
    memory.look(10.0 + TRIM_EVERY)
    assert (process.trims, memory.budget.limit) == (2, before)


def test_a_limit_below_the_process_itself_is_said_once_and_no_longer_than_it_holds() -> None:
    process, memory = made(64 * MB, 58 * MB)
    assert memory.budget.limit == FLOOR
    memory.look(1.0)
    memory.look(2.0)
    (told,) = process.told
    assert told == process.problems["memory"]
    assert "memory_max is 64 MB, and the daemon itself takes 58 MB" in told
    assert "raise memory_max to 96MB or more" in told
    assert "\n" not in told
    process.taken = 30 * MB
    memory.look(3.0)
    assert process.problems == {}


def test_holes_are_not_blamed_on_the_limit() -> None:
    process, memory = made(64 * MB, 30 * MB)
    process.holes = 2 * SLACK
    memory.look(1.0)
    process.holes = 60 * MB
    memory.look(1.5)
    assert process.told == []
    process.taken = 60 * MB
    process.holes = 0
    memory.look(1.0 + TRIM_EVERY)
    assert len(process.told) == 1


@given(
    limit=st.integers(8 * MB, 1 << 32),
    steps=st.lists(st.tuples(st.integers(0, 1 << 32), st.integers(0, 1 << 28), st.integers(0, 1 << 28)), max_size=20),
)
def test_what_may_be_held_and_what_is_taken_are_never_more_than_the_limit(
    limit: int, steps: list[tuple[int, int, int]]
) -> None:
    process, memory = made(limit, 40 * MB)
    for number, (taken, holes, held) in enumerate(steps):
        process.taken, process.holes = taken, holes
        memory.budget.change(held - memory.budget.used)
        memory.look(float(number))
        allowed = memory.budget.limit
        assert allowed >= FLOOR
        assert allowed == FLOOR or allowed + process.taken + process.holes <= limit - limit // RESERVE
        assert memory.budget.exhausted == (held >= allowed)


def test_the_kernel_counts_what_is_taken() -> None:
    before = anonymous()
    held = bytearray(b"x" * (32 * MB))
    assert anonymous() - before > 24 * MB
    del held
    trim()
    assert anonymous() - before < 24 * MB


def test_without_a_descriptor_to_look_by_the_latest_measure_stands() -> None:
    process, memory = made(128 * MB, 40 * MB)
    before = memory.budget.limit

    def refuse() -> int:
        raise OSError(24, "Too many open files")

    memory._measure = refuse
    memory.look(1.0)
    assert (memory.budget.limit, memory.own, process.problems) == (before, 40 * MB, {})
