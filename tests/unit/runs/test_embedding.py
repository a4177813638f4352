"""Likeness by an embedding model: the process beside the daemon, and what becomes of what it says.

Models are large, so a stand-in for the library is used here: a package of the same name whose "embedding" counts words.
Where sentence-transformers is installed, the last test makes a real model and asks it.
"""

from __future__ import annotations

import random
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from shadowd.errors import ShadowdError, UsageError
from shadowd.evidence.examiner import ALL_PROMPTS, Examiner, Settings
from shadowd.evidence.rules import Rules
from shadowd.evidence.talking import Unweighed
from shadowd.runs import embedding
from shadowd.runs.embedding import Embedding, Weighing, check_model
from tests.unit.compare.exchanges import SECOND, examine
from tests.unit.talk.test_llm import Model, asked, side_of

GAP = 30_000_000  # ns between conversations

STAND_IN = """
import os, zlib
import numpy

class SentenceTransformer:
    def __init__(self, folder, device, local_files_only, trust_remote_code):
        assert local_files_only and not trust_remote_code and os.environ["HF_HUB_OFFLINE"] == "1"
        if not os.path.exists(os.path.join(folder, "modules.json")):
            raise OSError(f"no model\\nin {folder}")
        print("a library that prints")

    def encode(self, texts, normalize_embeddings, show_progress_bar, convert_to_numpy):
        if "die" in texts[0].split():
            os._exit(3)
        vectors = numpy.zeros((len(texts), 64))
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, zlib.crc32(word.encode()) % 64] += 1
        return vectors / numpy.maximum(1e-9, numpy.linalg.norm(vectors, axis=1, keepdims=True))
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "library" / "sentence_transformers"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    return folder


def test_texts_are_weighed_in_a_process_of_their_own(model: Path) -> None:
    async def ask() -> list[tuple[float, float]]:
        child = Weighing(str(model))
        try:
            await child.start()
            first = await child.weigh([("a sunny day", "a sunny day", "rain and wind")])
            return first + await child.weigh([("one two", "two one", "one three"), ("x", "y", "x")])
        finally:
            await child.close()

    (same, other), (turned, half), (_, again) = trio.run(ask)
    assert (same, turned, again) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))
    assert other < half < 0.9


@pytest.mark.parametrize("reason", ["no folder", "dies"])
def test_a_process_that_fails_says_why(model: Path, tmp_path: Path, reason: str) -> None:
    async def ask() -> None:
        child = Weighing(str(tmp_path / "nothing") if reason == "no folder" else str(model))
        try:
            await child.start()
            await child.weigh([("die", "a", "b")])
        finally:
            await child.close()

    with pytest.raises(ShadowdError) as caught:
        trio.run(ask)
    assert ("cannot be loaded: OSError: no model in" if reason == "no folder" else "ended") in str(caught.value)


def examined(similarity: str, conversations: int = 60) -> Examiner:
    examiner, dice = Examiner(Settings(baseline=True, similarity=similarity), Rules()), random.Random(3)
    for number in range(conversations):
        request = asked(number, SECOND + number * GAP)
        production, _ = Model().answer(number, dice, request.ended)
        tried, third = (side_of(Model().answer(number, dice, 0)) for _ in range(2))
        examine(examiner, request, production, tried, baseline=third)
    return examiner


async def weighed(examiner: Examiner, folder: str, problems: dict[str, str]) -> None:
    run: Any = SimpleNamespace(examiner=examiner)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Embedding(lambda: [run], problems).run)
            while examiner.conversations.unweighed and not problems:
                await trio.sleep(0.05)
            await trio.sleep(0.2)  # the last answer
            nursery.cancel_scope.cancel()


def test_what_it_says_becomes_evidence(model: Path) -> None:
    examiner, problems = examined(str(model)), dict[str, str]()
    talk = examiner.endpoints[ALL_PROMPTS].talk
    assert talk is not None
    waiting = len(examiner.conversations.unweighed)
    assert waiting > 30
    assert not talk.likeness, "nothing is judged by edits meanwhile"
    trio.run(weighed, examiner, str(model), problems)
    assert not problems
    assert sum(talk.likeness.values()) == waiting


def test_a_model_that_fails_is_told_and_loses_nothing_else(tmp_path: Path, model: Path) -> None:
    examiner, problems = examined(str(tmp_path / "gone")), dict[str, str]()
    trio.run(weighed, examiner, "", problems)
    assert "cannot be loaded" in problems["similarity"]
    assert problems["similarity"].endswith("texts are not judged")
    assert examiner.compared == 60


@pytest.mark.parametrize("stage", ["weigh", "weighed"])
def test_a_fault_in_weighing_costs_those_texts_alone(model: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    examiner = examined(str(model))
    waiting = len(examiner.conversations.unweighed)
    owner: Any = Weighing if stage == "weigh" else Unweighed
    original, failed = getattr(owner, stage), []

    def once(*given: Any) -> Any:
        if not failed:
            failed.append(1)
            raise KeyError("hunter2")
        return original(*given)

    monkeypatch.setattr(owner, stage, once)
    told: list[str] = []

    class Problems(dict[str, str]):
        def __setitem__(self, about: str, problem: str) -> None:
            told.append(problem)

    trio.run(weighed, examiner, str(model), Problems())
    talk = examiner.endpoints[ALL_PROMPTS].talk
    assert talk is not None
    assert len(told) == 1
    assert told[0].endswith("KeyError — 16 texts are not judged")
    assert sum(talk.likeness.values()) == waiting - 16


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined("/srv/model", 20).conversations.unweighed.maxlen == 256


def test_a_filter_with_a_model_that_cannot_be_used_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'shadowd\[embeddings\]'"):
        check_model(str(tmp_path))
    monkeypatch.setattr(embedding, "find_spec", lambda name: sys)
    with pytest.raises(UsageError, match="has no sentence-transformers model"):
        check_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    check_model(str(tmp_path))


@pytest.mark.filterwarnings("ignore")  # the library moves its modules about
def test_a_real_model(tmp_path: Path) -> None:
    if find_spec("sentence_transformers") is None:
        pytest.skip("sentence-transformers is not installed")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import BoW, Normalize

    words = ["sunny", "warm", "rain", "cold", "order", "ships"]
    SentenceTransformer(modules=[BoW(words), Normalize()], device="cpu").save(str(tmp_path / "model"))

    async def ask() -> list[tuple[float, float]]:
        child = Weighing(str(tmp_path / "model"))
        try:
            await child.start()
            return await child.weigh([("sunny and warm", "warm, sunny!", "the order ships")])
        finally:
            await child.close()

    check_model(str(tmp_path / "model"))
    ((alike, unlike),) = trio.run(ask)
    assert alike > 0.9 > 0.1 > unlike
