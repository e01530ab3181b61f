"""Events that nobody has admitted, in the cases that a random day seldom brings."""

from __future__ import annotations

from bindings.policies import Batch, Limits
from dispatcher.core.scheduler import Scheduler

from .support import P0, P1, make_scheduler, rec


def in_one_piece(**options: object) -> Scheduler:
    """A scheduler of two partitions that leaves events in one piece."""
    scheduler = make_scheduler(**options)  # type: ignore[arg-type]
    scheduler.assign(P1, 0)
    scheduler.take_stretches()
    return scheduler


def test_more_events_of_a_stretch_come_while_others_are_ready() -> None:
    """Proves that what came in one piece stays before what comes behind it, when that is admitted one by one."""
    scheduler = in_one_piece(concurrency=4)
    scheduler.admit(P0, [rec(0), rec(1)], now=1.0)
    scheduler.admit(P1, [rec(0, partition=1), rec(1, partition=1)], now=1.0)
    stretch = scheduler.begin(1.0)
    assert stretch is not None
    scheduler.break_off(stretch, 0)
    assert scheduler.ready, "what stood behind the event that waits is ready"
    scheduler.admit(P1, [rec(2, partition=1)], now=1.0)
    owned = scheduler.partitions[P1]
    assert owned.stretch is None
    assert list(owned.pending) == [0, 1, 2]
    assert owned.offsets.position == 0


def test_markers_behind_a_stretch_that_was_taken_away() -> None:
    """Proves that a consumer's position, which is past events that nobody has run, moves nothing once they were revoked."""
    scheduler = in_one_piece()
    scheduler.admit(P0, [rec(0), rec(1)], now=1.0)
    owned = scheduler.partitions[P0]
    owned.pass_to(5)
    assert (owned.offsets.position, owned.received) == (0, 5)
    scheduler.revoke([P0])
    owned.pass_to(5)
    assert owned.offsets.position == 0
    assert owned.held_bytes == 0


def test_markers_behind_a_stretch_count_once_it_is_done() -> None:
    """Proves that the position goes past markers with the last event before them, and not sooner."""
    scheduler = in_one_piece()
    scheduler.admit(P0, [rec(0), rec(1)], now=1.0)
    owned = scheduler.partitions[P0]
    owned.pass_to(5)
    stretch = scheduler.begin(1.0)
    assert stretch is not None
    scheduler.passed(stretch, 1)
    assert owned.offsets.position == 1
    stretch = scheduler.begin(1.0)
    assert stretch is not None
    scheduler.passed(stretch, 1)
    assert owned.offsets.position == 5
    assert scheduler.counters.done == 2


def test_what_a_rate_holds_back_is_let_go_one_by_one() -> None:
    """Proves that nothing runs in one piece under a rate: each start takes a token."""
    scheduler = in_one_piece(rate=1.0)
    scheduler.admit(P0, [rec(n) for n in range(3)], now=100.0)
    assert scheduler.begin(100.0) is None
    assert [scheduler.take(100.0) is not None for _ in range(3)] == [True, False, False]


def test_a_batch_is_gathered_from_many_stretches_within_its_bytes() -> None:
    """Proves that a batch takes the oldest events of all partitions, and no more bytes than it may."""
    scheduler = in_one_piece(batch_function=True, batch=Batch(max_events=10, max_bytes=6, max_wait=5.0))
    scheduler.admit(P0, [rec(n, value=b"xx") for n in range(2)], now=1.0)
    assert scheduler.begin_batch(1.0) is None
    assert scheduler.wakes_at(1.0) == 6.0
    scheduler.admit(P1, [rec(n, value=b"xx", partition=1) for n in range(2)], now=2.0)
    parts = scheduler.begin_batch(2.0)
    assert parts is not None
    assert [(stretch.partition.id, count) for stretch, count in parts] == [(P0, 2), (P1, 1)]
    scheduler.passed_batch(parts)
    assert scheduler.partitions[P1].offsets.position == 1
    assert (scheduler.stretches.events, scheduler.stretches.size) == (1, 2)
    assert scheduler.wakes_at(2.0) == 7.0


def test_a_partition_that_fills_faster_than_it_is_handled_lets_others_have_their_turn() -> None:
    """Proves that stretches take turns, although one of them gets more events in each."""
    scheduler = in_one_piece()
    scheduler.admit(P0, [rec(n) for n in range(10)], now=1.0)
    scheduler.admit(P1, [rec(0, partition=1)], now=1.0)
    turns = []
    for turn in range(3):
        stretch = scheduler.begin(1.0)
        assert stretch is not None
        turns.append(stretch.partition.id)
        scheduler.passed(stretch, 1)
        scheduler.admit(P0, [rec(10 + 5 * turn + n) for n in range(5)], now=1.0)
    assert turns == [P0, P1, P0]


def test_a_batch_waits_from_when_its_own_first_event_came() -> None:
    """Proves that what a full batch has left over waits as long as it may, from its own arrival on."""
    scheduler = in_one_piece(batch_function=True, batch=Batch(max_events=3, max_wait=5.0))
    scheduler.admit(P0, [rec(0), rec(1)], now=1.0)
    scheduler.admit(P0, [rec(2), rec(3)], now=4.0)
    parts = scheduler.begin_batch(4.0)
    assert parts is not None
    scheduler.passed_batch(parts)
    assert scheduler.wakes_at(4.0) == 9.0
    assert scheduler.begin_batch(8.9) is None
    assert scheduler.begin_batch(9.0) is not None


def test_a_fetch_that_would_not_fit_is_not_asked_for() -> None:
    """Proves that the bytes of the last fetch bound the next, of events in one piece too."""
    scheduler = in_one_piece(limits=Limits(held_events=1_000, held_bytes=2_000))
    scheduler.admit(P0, [rec(n, value=b"x" * 100) for n in range(6)], now=1.0)
    owned = scheduler.partitions[P0]
    assert (owned.fetched_bytes, owned.held_bytes) == (600, 600)
    assert P0 not in scheduler.wanted()
    assert P1 in scheduler.wanted()


def test_no_stretch_where_a_batch_holds_one_lane() -> None:
    """Proves that events are admitted one by one where batches close lane by lane."""
    scheduler = in_one_piece(batch_function=True, batch=Batch(max_events=10, group_by="key"))
    scheduler.admit(P0, [rec(0, b"a")], now=1.0)
    assert not scheduler.stretches
    assert scheduler.partitions[P0].pending
