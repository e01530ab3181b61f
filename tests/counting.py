"""Counts what code of ours does, so that a test sees a regression of the hot path without a clock.

The same in Python 3.11, 3.12 and 3.13 but for a call or two an event: 3.12 makes no function of a comprehension.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import NamedTuple, Self

import pytest

import bindings
import dispatcher

__all__ = ["Cost", "Counter", "judge", "marginal"]

_OURS = tuple(f"{Path(package.__path__[0])}/" for package in (bindings, dispatcher))
_TESTING = f"{Path(dispatcher.__path__[0])}/testing/"

#: By how much a figure may be lower than the one that is written down before that is out of date.
_SLACK = 0.1
#: And by how many of each: what Python makes of comprehensions.
_FEW = 3.0


class Cost(NamedTuple):
    """What one more event takes.

    Attributes:
        calls: of functions of ours, and by them of functions in C.
        lines: of our code that were run.
    """

    calls: float
    lines: float


class Counter:
    """Counts while it is open. The test helpers of the dispatcher (``dispatcher.testing``) are not its code here."""

    def __init__(self) -> None:
        self.calls = self.lines = 0
        self._ours: dict[str, bool] = {}

    def __enter__(self) -> Self:
        self._before = sys.gettrace(), sys.getprofile()
        sys.settrace(self._trace)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *exc_info: object) -> None:
        trace, profile = self._before
        sys.settrace(trace)
        sys.setprofile(profile)

    def _is_ours(self, frame: FrameType) -> bool:
        name = frame.f_code.co_filename
        if name not in self._ours:
            self._ours[name] = name.startswith(_OURS) and not name.startswith(_TESTING)
        return self._ours[name]

    def _profile(self, frame: FrameType, event: str, _arg: object) -> None:
        if event in ("call", "c_call"):
            self.calls += self._is_ours(frame)

    def _trace(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., object] | None:
        return self._line if self._is_ours(frame) else None

    def _line(self, _frame: FrameType, event: str, _arg: object) -> Callable[..., object]:
        self.lines += event == "line"
        return self._line


def judge(name: str, cost: Cost, most: Cost, place: str) -> None:
    """Fail where an event costs more than is written down, or so much less that it should be written down anew."""
    told = f"{name}: {cost.calls:g} calls and {cost.lines:g} lines an event; {most.calls:g} and {most.lines:g} are written down"
    if cost.calls > most.calls or cost.lines > most.lines:
        pytest.fail(
            f"{told}.\nThe hot path has become longer. `python -m cProfile` shows what is new in it. If that is worth it, say in"
            f" the commit what for, and what `scripts/bench local` says before and after; then write the figures into {place}."
        )
    if any(now < (1 - _SLACK) * then - _FEW for now, then in zip(cost, most, strict=True)):
        pytest.fail(f"{told}.\nIt has become shorter: well done. Write the figures into {place}, so that it stays so.")


def marginal(counts: Mapping[int, Counter]) -> Cost:
    """What one more event takes, by a run with few events and one with many."""
    few, many = sorted(counts)
    return Cost(
        round((counts[many].calls - counts[few].calls) / (many - few), 2),
        round((counts[many].lines - counts[few].lines) / (many - few), 2),
    )
