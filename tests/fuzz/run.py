"""``make fuzz FUZZ=60s``: each target of ``targets.py`` under libFuzzer (atheris) for that long, one after the other.

What libFuzzer finds is left in build/fuzz/TARGET/, and so is the corpus, from which the next run goes on.
``python -m tests.fuzz.run --target answers --input FILE`` runs one input again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PLACE = ROOT / "build" / "fuzz"
UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smh]?)", text)
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time — give seconds, or 60s, 10m, 2h")
    return int(found[1]) * UNITS[found[2] or "s"]


def fuzz(name: str, limit: int) -> None:
    """Does not return: libFuzzer ends the process. Nothing of shadowd may have been imported before: what was is not
    instrumented, and libFuzzer would not see what an input reaches. But the package itself: its finder of sources
    (shadowd/compiled.py) must stand behind atheris's."""
    os.environ["SHADOWD_PURE"] = "1"
    import atheris

    import shadowd as shadowd

    with atheris.instrument_imports(include=["shadowd"]):
        from tests.fuzz.targets import SEEDS, TARGETS
    if name not in TARGETS:
        sys.exit(f"there is no target {name!r}: {', '.join(TARGETS)}")
    corpus = PLACE / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={limit}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={PLACE / name}/", str(corpus)], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the parsers.", epilog="example: python -m tests.fuzz.run 10m")
    parser.add_argument("limit", nargs="?", type=seconds, default=60, help="for each target: 60s, 10m, 2h")
    parser.add_argument("--target", help="this one alone")
    parser.add_argument("--input", type=Path, help="run a target once, on a file")
    options = parser.parse_args()
    if options.target is not None and options.input is None:
        fuzz(options.target, options.limit)
    from tests.fuzz.targets import TARGETS

    if options.input is not None:
        if options.target not in TARGETS:
            parser.error(f"--input needs --target: {', '.join(TARGETS)}")
        TARGETS[options.target](options.input.read_bytes())
        print("nothing was raised")
        return 0
    failed = []
    for name in TARGETS:
        print(f"{name}: {options.limit} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz.run", str(options.limit), "--target", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        told = [line for line in done.stderr.splitlines() if "stat::number_of_executed_units" in line]
        print(f"  {told[-1].split(':')[-1].strip() if told else 'no'} inputs", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stderr[-3000:], flush=True)
    if failed:
        print(f"findings in {', '.join(failed)}: look at {PLACE}/TARGET/crash-*, timeout-*, oom-*", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
