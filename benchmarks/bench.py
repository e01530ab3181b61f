"""What a benchmark is made of: a question, arms that are compared, and goals that judge what they came to."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.machine import installed
from benchmarks.stage import Stage

__all__ = ["Arm", "Bench", "Figures", "Goal", "PythonArm", "Round", "above", "figure", "ratio", "spread"]

#: What one run of an arm came to, by name: ``rate`` (a second), ``cpu_us`` (an event), ``peak`` (in flight), ...
Figures = Mapping[str, float]
#: What each arm came to in one round; an arm that could not run is absent.
Round = Mapping[str, Figures]


class Arm(Protocol):
    """One of the programs that are compared. It runs in a process of its own and prints its figures as the last line, in JSON."""

    @property
    def name(self) -> str:
        """What the page calls it."""

    def missing(self) -> str | None:
        """Why it can't run here; None when it can."""

    def versions(self) -> Mapping[str, str]:
        """The versions of what it is made of, beside what the whole bench is."""

    def command(self, given: Mapping[str, Any]) -> Sequence[str]:
        """The words that start it, with what the bench gives to all of its arms."""


@dataclass(frozen=True)
class PythonArm:
    """A function of a module here, called in a fresh interpreter.

    Args:
        name: what the page calls it.
        call: ``"module:function"``, below ``benchmarks.arms``; it takes keyword arguments and returns its figures, or is
            a coroutine function that does.
        own: arguments of its own, which go before those that the bench gives to all arms.
        needs: distributions that must be installed; their versions are told.
        python: the interpreter, for a peer that needs an environment of its own.
    """

    name: str
    call: str
    own: Mapping[str, Any] = field(default_factory=dict)
    needs: Sequence[str] = ()
    python: str = sys.executable

    def missing(self) -> str | None:
        """What is not installed."""
        absent = [name for name in self.needs if name not in self.versions()]
        return f"{', '.join(absent)} is not installed: scripts/bench installs it" if absent else None

    def versions(self) -> Mapping[str, str]:
        """Those of what it needs, where that is installed."""
        return installed(self.python, tuple(self.needs))

    def command(self, given: Mapping[str, Any]) -> Sequence[str]:
        """``python -m benchmarks.arm module:function {...}``."""
        return [self.python, "-m", "benchmarks.arm", self.call, json.dumps({**given, **self.own})]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One number that is wanted, and the limit that it must keep.

    Args:
        what: what the number is, as the page says it.
        value: makes it from one round; a ``KeyError`` says that an arm of it did not run.
        at_least: the limit, from below; with neither limit the number is reported and judged by nobody.
        at_most: the limit, from above.
        unit: behind the number.
        by_cpu: the same made from CPU time, which what else runs on the machine disturbs less than wall time.
    """

    what: str
    value: Callable[[Round], float]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    by_cpu: Callable[[Round], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One question.

    Args:
        name: ``group.name``; the results go to a file of that name.
        question: what is asked, with all that is the same for all arms.
        arms: in the order in which they run; each second round goes backwards.
        goals: what the rounds are judged by.
        full: what all arms are given, by name; ``runs`` and the like are the harness's.
        quick: what is different in a quick run, whose figures prove nothing but that everything works.
        prepare: makes what all arms share, once: what it returns is given to them too.
        packages: whose versions are told beside the figures.
        timeout: seconds that one run of an arm may take.
        note: where a goal is missed: what the profile (``scripts/bench NAME --profile ARM``) shows of why, written by hand. The page
            has it below the table for as long as one is missed.
    """

    name: str
    question: str
    arms: Sequence[Arm]
    goals: Sequence[Goal]
    full: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Stage, Mapping[str, Any]], Mapping[str, Any]] = lambda _stage, _given: {}
    packages: Sequence[str] = ("aiokafka", "pydantic")
    timeout: float = 600.0
    note: str = ""


def ratio(
    ours: str,
    theirs: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    of: str = "rate",
) -> Goal:
    """How many times ``theirs`` comes to what ``ours`` does, of one figure; by CPU time too, where both arms tell it."""
    return Goal(
        what=f"{ours} / {theirs}",
        value=lambda arms: arms[ours][of] / arms[theirs][of],
        at_least=at_least,
        at_most=at_most,
        unit="x",
        # Less time an event is better, more events a second are.
        by_cpu=(lambda arms: arms[theirs]["cpu_us"] / arms[ours]["cpu_us"]) if of == "rate" else None,
    )


def figure(
    arm: str, name: str, *, what: str = "", at_least: float | None = None, at_most: float | None = None, unit: str = ""
) -> Goal:
    """One figure of one arm."""
    return Goal(
        what=what or f"{name} of {arm}",
        value=lambda arms: arms[arm][name],
        at_least=at_least,
        at_most=at_most,
        unit=unit,
    )


def above(ours: str, base: str, name: str, *, what: str = "", at_most: float | None = None, unit: str = "ms") -> Goal:
    """How much more a figure is in one arm than in another."""
    return Goal(
        what=what or f"{name} of {ours} above {base}",
        value=lambda arms: arms[ours][name] - arms[base][name],
        at_most=at_most,
        unit=unit,
    )


def spread(arms: Sequence[str], name: str, *, what: str = "", at_most: float | None = None) -> Goal:
    """How many times the smallest of several arms' figures the largest is."""
    return Goal(
        what=what or f"largest / smallest {name}",
        value=lambda found: max(found[arm][name] for arm in arms) / min(found[arm][name] for arm in arms),
        at_most=at_most,
        unit="x",
    )
