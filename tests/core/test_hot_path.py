"""What an event costs in the core alone, in calls and in lines: figures that no busy machine can change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from counting import Cost, Counter, judge, marginal

from bindings import Batch
from bindings.failure import FailureKind
from dispatcher.core.offsets import OffsetMap, fit_metadata
from dispatcher.core.record import TopicPartition
from dispatcher.core.scheduler import Scheduler

from .support import P0, failure, make_scheduler, rec

FEW, MANY = 500, 1_000


def one_by_one(events: int, keys: int) -> Counter:
    """Events of a function that waits: admitted, taken and done each by itself."""
    scheduler = make_scheduler(concurrency=1)
    records = [rec(n, b"%d" % (n % keys)) for n in range(events)]
    with Counter() as counter:
        scheduler.admit(P0, records, now=1.0)
        while (delivery := scheduler.take(1.0)) is not None:
            scheduler.done(delivery)
    assert scheduler.counters.done == events
    return counter


def of_their_own_key(events: int) -> Counter:
    """Each alone in its lane."""
    return one_by_one(events, keys=events)


def behind_others(events: int) -> Counter:
    """Each in a lane behind another one."""
    return one_by_one(events, keys=10)


def in_batches(events: int) -> Counter:
    """A hundred at a time."""
    scheduler = make_scheduler(batch_function=True, batch=Batch(max_events=100, max_wait=0.0), concurrency=1)
    records = [rec(n, b"%d" % n) for n in range(events)]
    with Counter() as counter:
        scheduler.admit(P0, records, now=1.0)
        while (batch := scheduler.take_batch(1.0)) is not None:
            scheduler.settle(batch, None, now=1.0, wall_ms=0)
    assert scheduler.counters.done == events
    return counter


def that_fail_once(events: int) -> Counter:
    """Parked, due again, and done at the second attempt."""
    scheduler = make_scheduler(concurrency=1)
    records = [rec(n, b"%d" % n) for n in range(events)]
    with Counter() as counter:
        scheduler.admit(P0, records, now=1.0)
        while (delivery := scheduler.take(1.0)) is not None:
            scheduler.settle([delivery], failure(FailureKind.FUNCTION), now=1.0, wall_ms=0)
        scheduler.tick(1_000.0)
        while (delivery := scheduler.take(1_000.0)) is not None:
            scheduler.done(delivery)
    assert scheduler.counters.done == events
    return counter


def holes_in_a_commit(holes: int) -> Counter:
    """An offset that is not done between two that are, in the commit's metadata."""
    done = OffsetMap([(2 * n + 1, 2 * n + 2) for n in range(holes)], {2 * n: 1 for n in range(holes)})
    with Counter() as counter:
        assert fit_metadata(0, done)[1]
    return counter


def partitions_at_rest(partitions: int) -> Counter:
    """A partition that has nothing new, at each look for what to ask for and what to commit."""
    scheduler: Scheduler = make_scheduler()
    for number in range(partitions):
        scheduler.assign(TopicPartition("s", number), 0)
    scheduler.committed(scheduler.due_commits())
    with Counter() as counter:
        assert len(scheduler.wanted()) == partitions
        assert not scheduler.due_commits()
    return counter


#: What one more of them costs at the most.
COSTS: dict[Callable[[int], Counter], Cost] = {
    of_their_own_key: Cost(calls=7, lines=41),
    behind_others: Cost(calls=10, lines=48),
    in_batches: Cost(calls=11.1, lines=54.4),
    that_fail_once: Cost(calls=53, lines=210),
    holes_in_a_commit: Cost(calls=0.1, lines=9.1),
    partitions_at_rest: Cost(calls=7, lines=20),
}


@pytest.mark.parametrize("events", COSTS)
def test_the_way_of_an_event_through_the_core_is_no_longer_than_it_was(events: Any) -> None:
    """An event costs the calls and lines that are written down, whatever the machine does meanwhile."""
    cost = marginal({count: events(count) for count in (FEW, MANY)})
    judge(events.__name__, cost, COSTS[events], f"COSTS in {__file__}")
