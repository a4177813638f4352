"""``shadowd``, and a line of JSON for each exchange that it compared: ``python -m tests.netns.tapped FILE run …``.

The lines hold what the daemon had captured and received, before anything is made of it: ``target``, and the
``request``, ``production`` and ``candidate`` heads and contents (chunk framing and encodings undone by shadowd) in
base64, with the times of the answers' first and last bytes.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from shadowd.cli.shadowd import main
from shadowd.compare.content import content_untrusted
from shadowd.evidence.examiner import Examiner
from shadowd.evidence.trial import Trial
from shadowd.exchange.exchange import Request, Response
from shadowd.runs import run

LIMIT = 1 << 20


def told(message: Request | Response | None) -> dict[str, Any] | None:
    if message is None:
        return None
    content = content_untrusted(message.head, message.body, LIMIT)
    view: dict[str, Any] = {
        "head": base64.b64encode(message.head).decode(),
        "content": base64.b64encode(content.data).decode(),
        "problem": content.problem,
    }
    if isinstance(message, Response):
        view |= {"status": message.status, "first_byte": message.first_byte, "last_byte": message.last_byte}
    return view


def tap(path: str) -> None:
    class Tapped(Examiner):
        def examine(self, trial: Trial) -> None:
            exchange = trial.exchange
            if exchange.response is not None:  # else nothing to compare with
                line = {
                    "target": exchange.request.target.decode("latin-1"),
                    "request": told(exchange.request),
                    "production": told(exchange.response),
                    "candidate": told(trial.candidate.response),
                }
                with open(path, "a") as out:
                    out.write(json.dumps(line) + "\n")
            super().examine(trial)

    run.Examiner = Tapped  # type: ignore[misc]


if __name__ == "__main__":
    tap(sys.argv.pop(1))
    main()
