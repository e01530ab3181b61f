"""Runs the arms of a bench in turn, and makes one document of what they came to."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Arm, Bench, Figures, Goal, Round
from benchmarks.machine import machine
from benchmarks.stage import Stage

__all__ = ["measure", "profile"]

ROOT = Path(__file__).parent.parent


def measure(
    bench: Bench,
    stage: Stage,
    *,
    runs: int,
    quick: bool,
    tell: Callable[[str], object],
    only: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Each arm once to warm up, then ``runs`` rounds of all arms, each second one backwards.

    Args:
        bench: what is measured.
        stage: what it is measured on.
        runs: how many rounds count.
        quick: with the bench's smaller sizes, and not warmed up.
        tell: given a line about each run.
        only: leave out the arms whose names have none of these words.

    Raises:
        RuntimeError: an arm failed; the message has what it said.
    """
    given = {**bench.full, **(bench.quick if quick else {})}
    reasons = {arm.name: reason for arm in bench.arms if (reason := _left_out(arm, only))}
    arms = [arm for arm in bench.arms if arm.name not in reasons]
    for name, reason in reasons.items():
        tell(f"{bench.name}: {name} is left out: {reason}")
    given |= bench.prepare(stage, given)
    rounds: list[Round] = []
    began = time.monotonic()
    for number in range(0 if quick else -1, runs):
        found = {}
        for arm in arms if number % 2 == 0 else arms[::-1]:
            found[arm.name] = _run(arm, given, bench.timeout)
            tell(f"{bench.name} {'warm-up' if number < 0 else number + 1}: {arm.name}: {_line(found[arm.name])}")
        if number >= 0:
            rounds.append(found)
    where = machine(bench.packages)
    for arm in arms:
        where["versions"] |= arm.versions()
    return {
        "name": bench.name,
        "question": bench.question,
        "quick": quick,
        "only": only,
        "runs": runs,
        "seconds": round(time.monotonic() - began, 1),
        **where,
        "given": {name: value for name, value in given.items() if name in {**bench.full, **bench.quick}},
        "goals": [_judged(goal, rounds, reasons) for goal in bench.goals],
        "arms": {arm.name: _summary([found[arm.name] for found in rounds]) for arm in arms},
        "left_out": reasons,
    }


def _left_out(arm: Arm, only: Sequence[str] | None) -> str | None:
    if only is not None and not any(word in arm.name for word in only):
        return "not asked for"
    return arm.missing()


def profile(bench: Bench, stage: Stage, *, quick: bool, only: Sequence[str]) -> None:
    """Run the arms whose names have one of these words once each, under a profiler that tells on stderr where the time goes."""
    given = {**bench.full, **(bench.quick if quick else {})}
    given |= bench.prepare(stage, given)
    for arm in bench.arms:
        if _left_out(arm, only) is None:
            subprocess.run([*arm.command(given), "--profile"], check=True, cwd=ROOT, env=_environment())


def _environment() -> dict[str, str]:
    # The arms find this package wherever their interpreter is.
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _run(arm: Arm, given: Mapping[str, Any], timeout: float) -> Figures:
    try:
        done = subprocess.run(
            arm.command(given),
            capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT, env=_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{arm.name} took more than {timeout:g} s") from None
    if done.returncode:
        raise RuntimeError(f"{arm.name} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _line(figures: Figures) -> str:
    return ", ".join(
        f"{name} {value:,.4g}" if value < 1000 else f"{name} {value:,.0f}" for name, value in figures.items()
    )


def _summary(every: list[Figures]) -> dict[str, dict[str, Any]]:
    return {
        name: {"median": statistics.median(values), "every": values}
        for name in every[0]
        if (values := [each[name] for each in every])
    }


def _judged(goal: Goal, rounds: list[Round], reasons: Mapping[str, str]) -> dict[str, Any]:
    judged: dict[str, Any] = {
        "what": goal.what,
        "at_least": goal.at_least,
        "at_most": goal.at_most,
        "unit": goal.unit,
    }
    try:
        values = [goal.value(found) for found in rounds]
    except KeyError as missing:
        name = missing.args[0]
        return judged | {"measured": None, "why": reasons.get(name, f"there is no figure {name}"), "holds": None}
    measured = statistics.median(values)
    judged |= {"measured": measured, "min": min(values), "max": max(values), "every": values}
    if goal.by_cpu is not None:
        with contextlib.suppress(KeyError):  # not every arm can tell it
            judged["by_cpu"] = statistics.median(map(goal.by_cpu, rounds))
    if goal.at_least is None and goal.at_most is None:
        return judged | {"holds": None}
    holds = (goal.at_least is None or measured >= goal.at_least) and (goal.at_most is None or measured <= goal.at_most)
    return judged | {"holds": holds}
