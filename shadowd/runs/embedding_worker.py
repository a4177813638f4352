"""Likeness of texts by an embedding model, in a process of its own: ``python -m shadowd.runs.embedding_worker FOLDER``.

Started by ``embedding.py``, beside a service in production: at the lowest priority, with one thread. It reads a JSON
object a line, ``{"texts": [[text, a, b], …]}``, and answers ``{"likeness": [[text~a, text~b], …]}``, cosines of 0…1;
the first line it writes is ``{"ready": true}`` or ``{"error": "…"}``. The model is read from the folder alone.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

#: Characters of a text that are embedded: models read some 512 tokens.
CHARACTERS = 4096


def load(folder: str) -> Any:
    """The model; nothing is downloaded, and no code that came with it runs."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(folder, device="cpu", local_files_only=True, trust_remote_code=False)


def likeness(model: Any, texts: list[list[str]]) -> list[list[float]]:
    """Of each text to its two others."""
    flat = [text[:CHARACTERS] for three in texts for text in three]
    vectors = model.encode(flat, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True)
    result = []
    for at in range(0, len(flat), 3):
        text, *others = vectors[at : at + 3]
        result.append([min(1.0, max(0.0, float(sum(text * other)))) for other in others])
    return result


def main(folder: str) -> int:
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    os.nice(19)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    try:
        model = load(folder)
    except Exception as error:  # whatever the library or the folder's files make of it
        reply({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
        return 1
    reply({"ready": True})
    for line in sys.stdin.buffer:
        reply({"likeness": likeness(model, json.loads(line)["texts"])})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
