"""From events that may run to batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindings.policies import Batch
from dispatcher.core.record import TopicPartition

from .support import P0, P1, WALL, failure, make_scheduler, offsets, rec, take_batches


def batches(scheduler, now: float) -> list[list[int]]:
    """The offsets of all batches that may start now."""
    return [offsets(batch) for batch in take_batches(scheduler, now)]


def test_a_batch_closes_at_its_size() -> None:
    """Proves that full batches start at once and what is left waits for max_wait, to the moment."""
    scheduler = make_scheduler(batch_function=True, order="none", batch=Batch(max_events=3, max_wait=2.0), now=1.0)
    scheduler.admit(P0, [rec(n) for n in range(8)], now=1.0)
    assert batches(scheduler, 1.0) == [[0, 1, 2], [3, 4, 5]]
    assert scheduler.wakes_at(1.0) == 3.0
    assert batches(scheduler, 2.99) == []
    assert batches(scheduler, 3.0) == [[6, 7]]


def test_a_batch_waits_from_its_oldest_event() -> None:
    """Proves that events which come later do not stretch the wait of the first."""
    scheduler = make_scheduler(batch_function=True, order="none", batch=Batch(max_events=9, max_wait=2.0), now=1.0)
    scheduler.admit(P0, [rec(0)], now=1.0)
    scheduler.admit(P0, [rec(1)], now=2.9)
    assert batches(scheduler, 3.0) == [[0, 1]]


def test_a_batch_closes_at_its_bytes() -> None:
    """Proves that max_bytes closes a batch at once, is never passed, and lets a larger event go alone."""
    scheduler = make_scheduler(
        batch_function=True, order="none", batch=Batch(max_events=9, max_bytes=10, max_wait=5.0), now=1.0
    )
    sizes = [4, 4, 4, 30, 2, 8, 1]
    scheduler.admit(P0, [rec(n, value=b"x" * size) for n, size in enumerate(sizes)], now=1.0)
    assert batches(scheduler, 1.0) == [[0, 1], [2], [3], [4, 5]]
    assert batches(scheduler, 6.0) == [[6]]


def test_a_batch_may_mix_partitions() -> None:
    """Proves that a batch of an unordered or a keyed function is filled from all partitions."""
    for order in ("key", "none"):
        scheduler = make_scheduler(batch_function=True, order=order, batch=Batch(max_events=4))
        scheduler.assign(P1, 0)
        scheduler.admit(P0, [rec(0, b"a"), rec(1, b"b")], now=1.0)
        scheduler.admit(P1, [rec(0, b"a", partition=1), rec(1, b"b", partition=1)], now=1.0)
        (batch,) = take_batches(scheduler, 1.0)
        assert {delivery.partition.id for delivery in batch} == {P0, P1}


def test_partition_order_keeps_partitions_apart_and_one_batch_at_a_time() -> None:
    """Proves that under partition order each batch is of one partition, in order, and the next one waits for it."""
    scheduler = make_scheduler(batch_function=True, order="partition", batch=Batch(max_events=2), concurrency=9)
    scheduler.assign(P1, 0)
    scheduler.admit(P0, [rec(n, bytes([n])) for n in range(4)], now=1.0)
    scheduler.admit(P1, [rec(n, partition=1) for n in range(3)], now=1.0)
    first, second = take_batches(scheduler, 1.0)
    assert (offsets(first), offsets(second)) == ([0, 1], [0, 1])
    assert {delivery.partition.id for delivery in first} == {P0}
    assert {delivery.partition.id for delivery in second} == {P1}
    scheduler.settle(second, None, now=1.0, wall_ms=WALL)
    (third,) = take_batches(scheduler, 1.0)
    assert (third[0].partition.id, offsets(third)) == (P1, [2])


def test_group_by_key_fills_batches_key_by_key() -> None:
    """Proves that group_by="key" never mixes keys, closes each key's batch when that one is full, and the
    others by their wait."""
    scheduler = make_scheduler(
        batch_function=True, order="key", batch=Batch(max_events=2, max_wait=3.0, group_by="key"), now=1.0
    )
    scheduler.admit(P0, [rec(n, key) for n, key in enumerate([b"a", b"b", b"c", b"b", b"b", b"a"])], now=1.0)
    assert sorted(batches(scheduler, 1.0)) == [[0, 5], [1, 3]]
    assert batches(scheduler, 4.0) == [[2]]


def test_a_full_group_is_told_while_the_rate_holds_it_back() -> None:
    """Proves that wakes_at names the moment of the next token for a batch that is full, not the end of its linger."""
    for batch in (Batch(max_events=2, max_wait=100.0), Batch(max_events=2, max_wait=100.0, group_by="key")):
        scheduler = make_scheduler(batch_function=True, rate=1.0, batch=batch, now=0.0)
        scheduler.admit(P0, [rec(n, bytes([n // 2])) for n in range(4)], now=0.0)
        assert len(take_batches(scheduler, 0.0)) == 1
        assert scheduler.wakes_at(0.0) == pytest.approx(1.0)


def test_events_behind_one_of_their_key_ride_along() -> None:
    """Proves that a batch may hold several events of one key in their order, and never one whose
    predecessor is elsewhere."""
    scheduler = make_scheduler(batch_function=True, order="key", batch=Batch(max_events=3), concurrency=9)
    scheduler.admit(P0, [rec(n, b"a") for n in range(5)] + [rec(5, b"b")], now=1.0)
    first, second = take_batches(scheduler, 1.0)
    assert (offsets(first), offsets(second)) == ([0, 1, 2], [5])
    scheduler.settle(first, None, now=1.0, wall_ms=WALL)
    assert batches(scheduler, 1.0) == [[3, 4]]


def test_what_follows_a_failed_event_runs_again_after_it() -> None:
    """Proves that in a batch an event whose predecessor failed is not done though the function said so, is not
    counted as an attempt, and comes after it; other keys of the batch are done."""
    scheduler = make_scheduler(batch_function=True, order="key", batch=Batch(max_events=6), now=1.0)
    keys = [b"a", b"b", b"a", b"b", b"a"]
    scheduler.admit(P0, [rec(n, key) for n, key in enumerate(keys)], now=1.0)
    (batch,) = take_batches(scheduler, 1.0)
    places = offsets(batch)
    failed = {places.index(2): failure(retry_after=5.0), places.index(4): failure(retry_after=1.0)}
    assert scheduler.settle(batch, failed, now=1.0, wall_ms=WALL) is None
    assert sorted(scheduler.partitions[P0].pending) == [2, 4]
    assert scheduler.wakes_at(1.0) == 6.0
    scheduler.tick(6.0)
    (again,) = take_batches(scheduler, 6.0)
    assert offsets(again) == [2, 4]
    assert [delivery.attempts for delivery in again] == [1, 0]


def test_failures_of_the_rest_split_the_rest_alone() -> None:
    """Proves that where some failed by name and the rest failed together, the named are judged and the rest halved."""
    scheduler = make_scheduler(batch_function=True, order="none", batch=Batch(max_events=5), now=1.0)
    scheduler.admit(P0, [rec(n) for n in range(5)], now=1.0)
    (batch,) = take_batches(scheduler, 1.0)
    scheduler.settle(batch, {0: failure(retry_after=1.0)}, rest=failure(retry_after=1.0), now=1.0, wall_ms=WALL)
    assert [delivery.attempts for delivery in batch] == [1, 0, 0, 0, 0]
    scheduler.tick(2.0)
    again = take_batches(scheduler, 2.0)
    assert sorted(map(sorted, map(offsets, again))) == [[0, 1], [2, 3], [4]]


def test_results_are_produced_before_their_events_are_done() -> None:
    """Proves that an event with results holds its lane and its commit until they are acknowledged."""
    scheduler = make_scheduler(batch_function=True, order="key", batch=Batch(max_events=2))
    scheduler.admit(P0, [rec(n, b"a") for n in range(3)], now=1.0)
    (batch,) = take_batches(scheduler, 1.0)
    settlement = scheduler.settle(batch, None, now=1.0, wall_ms=WALL, has_results=True)
    assert settlement is not None
    assert offsets(settlement.done) == [0, 1]
    assert batches(scheduler, 1.0) == []
    assert scheduler.due_commits()[P0].offset == 0
    scheduler.produced(settlement)
    assert batches(scheduler, 1.0) == [[2]]
    assert scheduler.due_commits()[P0].offset == 2


def test_a_dead_letter_holds_its_lane_until_it_is_there() -> None:
    """Proves that what follows a dead letter of its key waits for the acknowledgement, and then runs."""
    scheduler = make_scheduler(batch_function=True, order="key", batch=Batch(max_events=1), concurrency=9)
    scheduler.admit(P0, [rec(0, b"a"), rec(1, b"a"), rec(2, b"b")], now=1.0)
    first, _ = take_batches(scheduler, 1.0)
    settlement = scheduler.settle(first, {0: failure(retryable=False)}, now=1.0, wall_ms=WALL)
    assert settlement is not None
    assert batches(scheduler, 1.0) == []
    scheduler.produced(settlement)
    assert batches(scheduler, 1.0) == [[1]]


def test_a_revoked_partition_leaves_the_others_batches_whole() -> None:
    """Proves that what waits of a revoked partition is forgotten, and counts no more towards a full batch."""
    for batch in (Batch(max_events=4, max_wait=9.0), Batch(max_events=4, max_wait=9.0, group_by="key")):
        scheduler = make_scheduler(batch_function=True, order="key", batch=batch, now=1.0)
        scheduler.assign(P1, 0)
        scheduler.admit(P0, [rec(n, b"a") for n in range(3)], now=1.0)
        scheduler.admit(P1, [rec(n, b"a", partition=1) for n in range(2)], now=1.0)
        scheduler.revoke([P0])
        assert batches(scheduler, 1.0) == []
        (taken,) = take_batches(scheduler, 10.0)
        assert {TopicPartition(*delivery.record[:2]) for delivery in taken} == {P1}
        assert len(taken) == 2


@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    keys=st.data(),
    order=st.sampled_from(["key", "partition", "none"]),
    max_events=st.integers(1, 5),
)
def test_every_event_is_in_exactly_one_batch(
    sizes: list[int], keys: st.DataObject, order: str, max_events: int
) -> None:
    """Proves that batches lose nothing and repeat nothing, within their bounds, lanes in order, for any sizes."""
    names = keys.draw(st.lists(st.sampled_from([None, b"a", b"b"]), min_size=len(sizes), max_size=len(sizes)))
    scheduler = make_scheduler(
        batch_function=True, order=order, batch=Batch(max_events=max_events, max_bytes=12), concurrency=4
    )
    records = [rec(n, key, value=b"x" * size) for n, (key, size) in enumerate(zip(names, sizes, strict=True))]
    scheduler.admit(P0, records, now=1.0)
    seen: list[int] = []
    while running := take_batches(scheduler, 1.0):
        assert len(running) <= 4
        for batch in reversed(running):
            seen += offsets(batch)
            assert len(batch) <= max_events
            assert len(batch) == 1 or sum(delivery.size for delivery in batch) <= 12
            scheduler.settle(batch, None, now=1.0, wall_ms=WALL)
    assert sorted(seen) == list(range(len(sizes)))
    for name in (b"a", b"b"):
        lane = [offset for offset in seen if names[offset] == name]
        assert order == "none" or lane == sorted(lane)
