"""The merged verdict of several nodes against that of one examiner that saw the same exchanges: how often each fails.

    python -m bench.fleet [SEEDS]        40 by default: some 20 minutes of a core

Worlds are those of the tests (identical releases whose sides have their own bad moments), and regressions of several
sizes, of which one examiner does not find all either. A merged verdict is to fail no oftener where nothing is wrong.
"""

from __future__ import annotations

import sys
from collections import Counter

from shadowd.evidence.margins import Margins
from tests.unit.evidence.fleet import SAME, WIDE, World, verdicts

NODES = (2, 5, 12)
WORSE = {
    "13 % slower (margin 10 %)": World(slower=1.13),
    "20 % slower": World(slower=1.2),
    "20 % slower, loads that wander": World(slower=1.2, wander=0.1),
    "35 % slower, pauses": World(slower=1.35, pauses=20.0),
    "0.5 % of errors": World(failing=0.005),
    "1 % of errors, blips": World(failing=0.01, blips=12.0),
    "2 % wrong, to twins": World(wrong=0.02, twin=0.4),
    "1 % wrong, to a baseline": World(wrong=0.01, baseline=True),
}


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(
        f"{'world':34} {'margins':8} {'runs':>5}  failed: alone, merged, merged only, alone only; passed: alone, merged"
    )
    for same, worlds in ((True, SAME), (False, WORSE)):
        for name, world in worlds.items():
            told = [Counter[tuple[str, str]](), Counter[tuple[str, str]]()]
            for seed in range(1000, 1000 + seeds):
                both = verdicts(world, seed, NODES[seed % 3], (Margins(), WIDE) if same else (Margins(),))
                for found, (alone, merged) in zip(told, both, strict=False):
                    found[alone["verdict"], merged["verdict"]] += 1
            for found, margins in zip(told, ("default", "wide"), strict=True):
                if found:
                    _show(name, margins, found)


def _show(name: str, margins: str, told: Counter[tuple[str, str]]) -> None:
    def many(word: str, side: int) -> int:
        return sum(count for both, count in told.items() if both[side] == word)

    both = told["fail", "fail"]
    failed = many("fail", 0), many("fail", 1)
    print(
        f"{name:34} {margins:8} {told.total():5}  {failed[0]:13}, {failed[1]:6}, {failed[1] - both:11}, "
        f"{failed[0] - both:10}   {many('pass', 0):13}, {many('pass', 1):6}",
        flush=True,
    )


if __name__ == "__main__":
    main()
