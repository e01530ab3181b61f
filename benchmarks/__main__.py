"""``python -m benchmarks [NAME ...] [--runs 5] [--quick] [--list]``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.catalogue import chosen
from benchmarks.report import lines
from benchmarks.run import ROOT, measure, profile
from benchmarks.stage import Stage


def main(words: list[str] | None = None) -> int:
    """Measure, tell, and write one document a bench. Gives 1 when an arm failed; a goal that is missed is a result."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure Dispatch beside others, on this machine."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a bench, or a group of them; all by default")
    parser.add_argument("--runs", type=int, help="rounds of all arms after one to warm up (5; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="small sizes, no warm-up: that it works, not how fast")
    parser.add_argument("--list", action="store_true", help="the benches and what they ask")
    parser.add_argument("--arms", help="only arms whose names have one of these words, separated by commas")
    parser.add_argument("--profile", metavar="ARM", help="no figures, but where the time of these arms goes: dispatch")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="the folder for NAME.json")
    given = parser.parse_args(words)
    try:
        benches = chosen(given.names)
    except LookupError as error:
        parser.error(str(error))
    if given.list:
        for bench in benches:
            print(f"{bench.name:18} {bench.question}")
        return 0
    failed = 0
    given.out.mkdir(parents=True, exist_ok=True)
    with Stage() as stage:
        for bench in benches:
            if given.profile:
                profile(bench, stage, quick=given.quick, only=given.profile.split(","))
                continue
            runs = given.runs or (1 if given.quick else 5)
            try:
                only = given.arms.split(",") if given.arms else None
                result = measure(bench, stage, runs=runs, quick=given.quick, only=only, tell=_tell)
            except RuntimeError as error:
                failed += 1
                _tell(f"{bench.name} failed: {error}")
                continue
            (given.out / f"{bench.name}.json").write_text(json.dumps(result, indent=1) + "\n")
            print("\n".join(lines(result)), flush=True)
    return min(failed, 1)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
