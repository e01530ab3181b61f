"""What the common way of an event costs, in calls: a figure that no busy machine can change."""

from __future__ import annotations

import sys
from typing import Any

from dispatcher.core.scheduler import Scheduler

from .support import P0, make_scheduler, rec

EVENTS = 1_000


def calls_of(scheduler: Scheduler, keys: int) -> float:
    """Calls, of Python and of C, that an event makes from its admission until it is done."""
    records = [rec(n, b"%d" % (n % keys)) for n in range(EVENTS)]
    calls = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        scheduler.admit(P0, records, now=1.0)
        while (delivery := scheduler.take(1.0)) is not None:
            scheduler.done(delivery)
    finally:
        sys.setprofile(None)
    assert scheduler.counters.done == EVENTS
    return calls / EVENTS


def test_an_event_of_its_own_key_costs_few_calls() -> None:
    """Proves that the way of an event alone in its lane is no longer than it was: admission makes a delivery,
    sums two lengths and appends once; take and done are one call each."""
    assert calls_of(make_scheduler(concurrency=1), keys=EVENTS) <= 8.5


def test_an_event_behind_others_costs_few_calls() -> None:
    """Proves the same where every event stands in a lane behind another one."""
    assert calls_of(make_scheduler(concurrency=1), keys=10) <= 18.0
