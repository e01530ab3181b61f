"""Which events must wait for which, and what a rebalance does to them."""

from __future__ import annotations

import pytest

from bindings.failure import FailureKind
from dispatcher.core.delivery import Delivery
from dispatcher.core.lanes import succeed
from dispatcher.core.offsets import OffsetMap
from dispatcher.core.partition import Partition
from dispatcher.core.record import Committed

from .support import P0, P1, WALL, failure, make_scheduler, offsets, rec, take_all

KEYS = [b"a", b"a", None, b"b", None, b"", b""]


@pytest.mark.parametrize(
    ("order", "first"), [("key", [0, 2, 3, 4, 5]), ("partition", [0]), ("none", [0, 1, 2, 3, 4, 5, 6])]
)
def test_what_may_run_at_once_under_each_order(order: str, first: list[int]) -> None:
    """Proves the three orders: by key one of each (events without a key wait for nobody, an empty key is a key),
    by partition one in all, unordered all."""
    scheduler = make_scheduler(order=order)
    scheduler.admit(P0, [rec(n, key) for n, key in enumerate(KEYS)], now=1.0)
    assert offsets(take_all(scheduler, 1.0)) == first


@pytest.mark.parametrize("order", ["key", "partition", "none"])
def test_all_events_run_once_in_the_order_of_their_lane(order: str) -> None:
    """Proves that lanes lose and repeat nothing, whichever of the running events ends first."""
    scheduler = make_scheduler(order=order, concurrency=3)
    scheduler.admit(P0, [rec(n, b"%d" % (n % 4)) for n in range(40)], now=1.0)
    seen, running = [], take_all(scheduler, 1.0)
    while running:
        delivery = running.pop(len(seen) % len(running))
        seen.append(delivery.record.offset)
        scheduler.done(delivery)
        running += take_all(scheduler, 1.0)
    assert sorted(seen) == list(range(40))
    for lane in range(4):
        of_lane = [offset for offset in seen if offset % 4 == lane]
        assert order == "none" or of_lane == sorted(of_lane)
    partition = scheduler.partitions[P0]
    assert (partition.lanes, partition.held_bytes, scheduler.in_flight) == ({}, 0, 0)
    assert scheduler.due_commits() == {P0: Committed(40)}


def test_the_same_key_in_two_partitions_is_two_lanes() -> None:
    """Proves that order is kept within a partition, as the log does, and partitions never wait for one another."""
    for order in ("key", "partition"):
        scheduler = make_scheduler(order=order)
        scheduler.assign(P1, 0)
        scheduler.admit(P0, [rec(0, b"a")], now=1.0)
        scheduler.admit(P1, [rec(0, b"a", partition=1)], now=1.0)
        assert len(take_all(scheduler, 1.0)) == 2


def test_a_delivery_without_a_lane_leads_none() -> None:
    """Proves that a mistake inside the core is told at once, not when a lane is lost."""
    with pytest.raises(ValueError, match="leads none"):
        succeed(Delivery(rec(0), Partition(P0, 0, OffsetMap()), None, 1), ())


def test_batches_are_refused_to_a_function_of_single_events() -> None:
    """Proves that the two ways of starting are not mixed up silently."""
    with pytest.raises(TypeError, match="lists"):
        make_scheduler().take_batch(1.0)


def test_a_late_result_completes_nothing() -> None:
    """Proves that a result from before a rebalance frees its place, is counted as late, and touches nothing of
    the new ownership, where the same event runs again."""
    scheduler = make_scheduler(concurrency=2)
    scheduler.admit(P0, [rec(0, b"a"), rec(1, b"b")], now=1.0)
    old, other = take_all(scheduler, 1.0)
    scheduler.assign(P0, 0)
    scheduler.admit(P0, [rec(0, b"a"), rec(1, b"b")], now=1.0)
    scheduler.done(old)
    scheduler.settle([other], failure(FailureKind.TERMINAL), now=1.0, wall_ms=WALL)
    assert (scheduler.counters.late, scheduler.counters.done, scheduler.in_flight) == (2, 0, 0)
    assert sorted(scheduler.partitions[P0].pending) == [0, 1]
    again = take_all(scheduler, 1.0)
    assert offsets(again) == [0, 1]
    assert old not in again


def test_late_dead_letters_complete_nothing() -> None:
    """Proves the same for records that are acknowledged after the partition went."""
    scheduler = make_scheduler()
    scheduler.admit(P0, [rec(0, b"a")], now=1.0)
    (delivery,) = take_all(scheduler, 1.0)
    settlement = scheduler.settle([delivery], failure(FailureKind.TERMINAL), now=1.0, wall_ms=WALL)
    assert settlement is not None
    scheduler.drop([P0])
    scheduler.assign(P0, 0)
    scheduler.produced(settlement)
    assert (scheduler.counters.late, scheduler.counters.dead_lettered) == (1, 0)


def test_draining_starts_nothing_and_ends_with_the_last_acknowledgement() -> None:
    """Proves a revoke: nothing new starts, waits are cancelled, what runs still counts and can be committed, and
    the drain is over when the last dead letter is there."""
    scheduler = make_scheduler(now=1.0, concurrency=3)
    scheduler.admit(P0, [rec(n, bytes([n])) for n in range(5)], now=1.0)
    first, second, third = take_all(scheduler, 1.0)
    scheduler.settle([first], failure(retry_after=1.0), now=1.0, wall_ms=WALL)
    scheduler.revoke([P0])
    assert scheduler.wanted() == []
    assert take_all(scheduler, 50.0) == []
    assert scheduler.wakes_at(1.0) is None
    assert not scheduler.is_drained([P0])
    scheduler.done(second)
    settlement = scheduler.settle([third], failure(FailureKind.TERMINAL), now=1.0, wall_ms=WALL)
    assert settlement is not None
    assert not scheduler.is_drained([P0])
    scheduler.produced(settlement)
    assert scheduler.is_drained([P0])
    commit = scheduler.due_commits()[P0]
    scheduler.drop([P0])
    assert scheduler.due_commits() == {}
    assert commit.offset == 0
    assert commit.metadata


def test_pause_and_resume() -> None:
    """Proves that a paused function starts nothing and forgets nothing, and what runs still counts."""
    scheduler = make_scheduler(now=1.0)
    scheduler.admit(P0, [rec(0), rec(1)], now=1.0)
    running = scheduler.take(1.0)
    assert running is not None
    scheduler.pause()
    scheduler.done(running)
    assert (scheduler.take(1.0), scheduler.wakes_at(1.0)) == (None, None)
    scheduler.resume()
    assert scheduler.wakes_at(1.0) == 1.0
    assert offsets(take_all(scheduler, 1.0)) == [1]


def test_pausing_outlives_a_change_of_the_limit() -> None:
    """Proves that neither a refusal nor a success of what still runs ends an operator's pause."""
    scheduler = make_scheduler(now=1.0, order="none", concurrency=4)
    scheduler.admit(P0, [rec(n) for n in range(8)], now=1.0)
    first, second, *_ = take_all(scheduler, 1.0)
    scheduler.pause()
    scheduler.settle([first], failure(FailureKind.NOT_DELIVERED), now=1.0, wall_ms=WALL)
    scheduler.done(second)
    assert scheduler.take(100.0) is None
    scheduler.resume()
    assert scheduler.gate.limit == 2


def test_commits_are_due_once() -> None:
    """Proves that what the broker has is not sent again, and what it may have lost is."""
    scheduler = make_scheduler()
    scheduler.admit(P0, [rec(0)], now=1.0)
    (delivery,) = take_all(scheduler, 1.0)
    scheduler.done(delivery)
    due = scheduler.due_commits()
    assert due == {P0: Committed(1)} == scheduler.due_commits()
    scheduler.committed(due)
    assert scheduler.due_commits() == {}
