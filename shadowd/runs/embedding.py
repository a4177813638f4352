"""Likeness of generated texts by embedding models (``similarity``), worked out beside the daemon.

Texts of conversations that have a baseline are put aside (``Conversations.unweighed``, bounded: the newest stay);
a child for each model weighs them (``embedding_worker.py``), and what it says goes into the run's evidence. The pump
never waits for it. A model that cannot be loaded, or a child that dies, is a problem in ``status``, and tried again.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from shadowd.errors import ShadowdError, UsageError
from shadowd.evidence.examining import place_of

if TYPE_CHECKING:
    from shadowd.evidence.talking import Unweighed
    from shadowd.runs.run import Run

LOOK_EVERY = 0.5  # seconds between two looks at what is put aside
BATCH = 16  # conversations asked for at once: some seconds of a small model
LOAD_LIMIT = 300.0  # seconds: a large model is read from a slow disk
REPLY_LIMIT = 120.0
REPLY_BYTES = 1 << 16
AGAIN = 60.0  # seconds until a model that failed is tried once more


def check_model(similarity: str) -> None:
    """Raise UsageError if a filter cannot be judged by the model in the folder ``similarity``."""
    if find_spec("sentence_transformers") is None:
        raise UsageError(
            "similarity by a model needs sentence-transformers, which the daemon's Python has not",
            "install it: pip install 'shadowd[embeddings]' — or leave --similarity out",
        )
    try:
        usable = (Path(similarity) / "modules.json").is_file() or (Path(similarity) / "config.json").is_file()
    except OSError:
        usable = False
    if not usable:
        raise UsageError(
            f"{similarity} has no sentence-transformers model that the daemon may read",
            "give the absolute path of a folder with modules.json or config.json; not under /home if it is a service",
        )


class Weighing:
    """One model's child. Raises ShadowdError where it fails; then it is over."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._process: trio.Process | None = None
        self._buffer = b""

    async def start(self) -> None:
        command = [sys.executable, "-m", "shadowd.runs.embedding_worker", self._folder]
        try:
            self._process = await trio.lowlevel.open_process(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise self._failed(f"cannot be started: {error.strerror}") from None
        told = await self._reply(LOAD_LIMIT)
        if "error" in told:
            raise ShadowdError(f"the model in {self._folder} cannot be loaded: {told['error']}", "give another folder")

    async def weigh(self, texts: list[tuple[str, str, str]]) -> list[tuple[float, float]]:
        """Likeness of each first text to its two others."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            with trio.fail_after(REPLY_LIMIT):
                await self._process.stdin.send_all(json.dumps({"texts": texts}).encode() + b"\n")
        except (trio.BrokenResourceError, trio.TooSlowError):
            raise self._failed("ended") from None
        found = (await self._reply(REPLY_LIMIT)).get("likeness")
        try:
            likeness = [(float(a), float(b)) for a, b in found]  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            raise self._failed("gave no likeness") from None
        if len(likeness) != len(texts):
            raise self._failed("gave no likeness")
        return likeness

    async def _reply(self, limit: float) -> dict[str, object]:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            with trio.fail_after(limit):
                while b"\n" not in self._buffer:
                    data = await self._process.stdout.receive_some()
                    if not data or len(self._buffer) > REPLY_BYTES:
                        raise self._failed("ended")
                    self._buffer += data
        except trio.TooSlowError:
            raise self._failed(f"was silent for {limit:.0f} s") from None
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            told = json.loads(line)
        except ValueError:
            raise self._failed("answered nonsense") from None
        return told if isinstance(told, dict) else {}

    def _failed(self, how: str) -> ShadowdError:
        return ShadowdError(f"the process of the model in {self._folder} {how}", "look at the host's memory")

    async def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            with trio.CancelScope(shield=True):
                await self._process.wait()
                for pipe in (self._process.stdin, self._process.stdout):
                    assert pipe is not None
                    await pipe.aclose()
            self._process = None


class Embedding:
    """The task that weighs for all runs. ``problems``: the daemon's, by what they are about."""

    def __init__(self, runs: Callable[[], list[Run]], problems: dict[str, str]) -> None:
        self._runs = runs
        self._problems = problems
        self._children: dict[str, Weighing] = {}
        self._not_before: dict[str, float] = {}

    async def run(self) -> None:
        try:
            while True:
                wanted = {run.examiner.settings.similarity for run in self._runs()} - {""}
                for folder in self._children.keys() - wanted:
                    await self._children.pop(folder).close()
                idle = True
                for run in self._runs():
                    folder = run.examiner.settings.similarity
                    if run.examiner.conversations.unweighed and trio.current_time() >= self._not_before.get(
                        folder, -math.inf
                    ):
                        idle = False
                        await self._weigh(run)
                await trio.sleep(LOOK_EVERY if idle else 0)
        finally:
            for child in self._children.values():
                await child.close()

    async def _weigh(self, run: Run) -> None:
        folder, waiting = run.examiner.settings.similarity, run.examiner.conversations.unweighed
        child = self._children.get(folder)
        taken: list[Unweighed] = []
        try:
            if child is None:
                child = self._children[folder] = Weighing(folder)
                await child.start()
            taken = [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]
            likeness = await child.weigh([one.texts for one in taken])
            for one, (baseline, candidate) in zip(taken, likeness, strict=True):
                one.weighed(baseline - candidate)
        except ShadowdError as error:
            self._problems["similarity"] = f"{error} — {error.remedy}; texts are not judged"
            self._not_before[folder] = trio.current_time() + AGAIN
            if child is not None:
                self._children.pop(folder, None)
                await child.close()
            return
        except Exception as error:  # of these texts alone: mirroring, and the others' texts, go on
            self._problems["similarity"] = f"likeness failed: {place_of(error)} — {len(taken)} texts are not judged"
            return
        self._problems.pop("similarity", None)
