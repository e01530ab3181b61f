"""What becomes of events that failed."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindings.failure import FailureKind
from bindings.policies import Batch, Retry
from dispatcher.core.delivery import Delivery, Returned
from dispatcher.core.offsets import OffsetMap
from dispatcher.core.partition import Partition
from dispatcher.core.retries import NOT_DELIVERED_WAIT, RETRY_AFTER_CAP, Reason, Verdict, judge
from dispatcher.core.scheduler import Scheduler

from .support import P0, WALL, failure, make_scheduler, offsets, rec, take_all, take_batches


def a_delivery(attempts: int = 0) -> Delivery:
    """An event that failed so often."""
    delivery = Delivery(rec(0), Partition(P0, 0, OffsetMap()), None, 1)
    delivery.remember().attempts = attempts
    return delivery


def judged(policy: Retry, attempts: int = 0, *, age: float = 0.0, kind: FailureKind = FailureKind.FUNCTION, **options):
    """The verdict on an event that failed so often before, and the attempts counted after it."""
    delivery = a_delivery(attempts)
    verdict = judge(policy, delivery, failure(kind, **options), age=age, rng=random.Random(1))
    return verdict, delivery.attempts


def test_waits_grow_by_the_multiplier_up_to_the_longest() -> None:
    """Proves the formula: min(max_delay, initial * multiplier ** (n - 1)), without jitter."""
    policy = Retry(max_attempts=9, initial=0.5, multiplier=3.0, max_delay=20.0, jitter="none")
    waits = [judged(policy, attempts)[0].delay for attempts in range(6)]
    assert waits == [0.5, 1.5, 4.5, 13.5, 20.0, 20.0]


@given(attempts=st.integers(0, 9_998), seed=st.integers(), multiplier=st.floats(1, 100), initial=st.floats(0, 1e9))
def test_jitter_stays_within_the_longest_wait(attempts: int, seed: int, multiplier: float, initial: float) -> None:
    """Proves that a random wait is never negative, never longer than the formula's, at any number of attempts."""
    policy = Retry(max_attempts=10_000, initial=initial, multiplier=multiplier, max_delay=60.0)
    verdict = judge(policy, a_delivery(attempts), failure(), age=0.0, rng=random.Random(seed))
    assert verdict.reason is None
    assert 0.0 <= verdict.delay <= min(60.0, initial * min(multiplier, 1e4) ** min(attempts, 64))


def test_jitter_is_spread_over_the_whole_wait() -> None:
    """Proves that "full" jitter is full: early and late waits both come."""
    rng, policy = random.Random(1), Retry(initial=8.0)
    waits = [judge(policy, a_delivery(), failure(), age=0.0, rng=rng).delay for _ in range(200)]
    assert min(waits) < 1.0
    assert max(waits) > 7.0


@pytest.mark.parametrize(
    ("kind", "options", "verdict", "attempts"),
    [
        (FailureKind.NOT_DELIVERED, {}, Verdict(delay=NOT_DELIVERED_WAIT), 0),
        (FailureKind.NOT_DELIVERED, {"retry_after": 9.0}, Verdict(delay=9.0), 0),
        (FailureKind.NOT_DELIVERED, {"retry_after": 1e9}, Verdict(delay=RETRY_AFTER_CAP), 0),
        (FailureKind.FUNCTION, {}, Verdict(delay=1.0), 1),
        (FailureKind.FUNCTION, {"retry_after": 30.0}, Verdict(delay=30.0), 1),
        (FailureKind.FUNCTION, {"retry_after": 1e9}, Verdict(delay=RETRY_AFTER_CAP), 1),
        (FailureKind.FUNCTION, {"retryable": False}, Verdict(reason=Reason.NOT_RETRYABLE), 1),
        (FailureKind.TERMINAL, {}, Verdict(reason=Reason.REJECTED), 1),
        (FailureKind.OVERSIZE, {}, Verdict(reason=Reason.OVERSIZE), 0),
    ],
)
def test_each_kind_of_failure_is_judged_in_its_own_way(
    kind: FailureKind, options: dict, verdict: Verdict, attempts: int
) -> None:
    """Proves what each kind costs and leads to, and that nobody can ask for more than an hour's wait."""
    assert judged(Retry(jitter="none"), kind=kind, **options) == (verdict, attempts)


def test_the_last_attempt_is_the_last() -> None:
    """Proves that max_attempts counts the first delivery, also when the function asks for another one."""
    for options in ({}, {"retry_after": 5.0}):
        assert judged(Retry(max_attempts=3), 1, **options)[0].reason is None
        assert judged(Retry(max_attempts=3), 2, **options)[0].reason is Reason.ATTEMPTS
    assert judged(Retry(max_attempts=1))[0].reason is Reason.ATTEMPTS


def test_an_event_too_old_by_its_next_attempt_is_given_up() -> None:
    """Proves that max_age looks at when the next attempt would be, not at now."""
    policy = Retry(max_age=100.0, initial=10.0, jitter="none")
    assert judged(policy, age=90.0)[0] == Verdict(delay=10.0)
    assert judged(policy, age=90.1)[0].reason is Reason.EXPIRED
    assert judged(policy, age=50.0, retry_after=60.0)[0].reason is Reason.EXPIRED


def test_an_event_from_the_future_is_not_too_old() -> None:
    """Proves that a timestamp ahead of the clock neither raises nor expires."""
    scheduler = make_scheduler(retry=Retry(max_age=5.0, initial=1.0))
    scheduler.admit(P0, [rec(0, timestamp=WALL + 10_000_000)], now=1.0)
    (delivery,) = take_all(scheduler, 1.0)
    assert scheduler.settle([delivery], failure(), now=1.0, wall_ms=WALL) is None
    assert scheduler.partitions[P0].parked == 1


def test_an_event_waits_its_time_and_holds_its_lane_alone() -> None:
    """Proves parking: a failed event waits in place, those behind it wait with it, all others pass."""
    scheduler = make_scheduler(now=10.0, retry=Retry(initial=5.0, jitter="none"))
    scheduler.admit(P0, [rec(0, b"a"), rec(1, b"a"), rec(2, b"b"), rec(3, b"b")], now=10.0)
    first, other = take_all(scheduler, 10.0)
    scheduler.settle([first], failure(), now=10.0, wall_ms=WALL)
    scheduler.done(other)
    assert offsets(take_all(scheduler, 10.0)) == [3]
    assert scheduler.wakes_at(10.0) == 15.0
    scheduler.tick(14.99)
    assert take_all(scheduler, 14.99) == []
    scheduler.tick(15.0)
    (again,) = take_all(scheduler, 15.0)
    assert (again, again.attempts) == (first, 1)
    scheduler.done(again)
    assert offsets(take_all(scheduler, 15.0)) == [1]


def test_too_many_parked_hold_new_work_back() -> None:
    """Proves that an ordered function at its park_limit asks for no more, and asks again when one is free."""
    scheduler = make_scheduler(now=1.0, retry=Retry(park_limit=2, initial=5.0, jitter="none"))
    scheduler.admit(P0, [rec(n, bytes([n])) for n in range(3)], now=1.0)
    first, second, third = take_all(scheduler, 1.0)
    scheduler.settle([first], failure(), now=1.0, wall_ms=WALL)
    assert scheduler.wanted() == [P0]
    scheduler.settle([second], failure(), now=2.0, wall_ms=WALL)
    assert scheduler.wanted() == []
    scheduler.done(third)
    assert scheduler.wanted() == []
    scheduler.tick(6.0)
    assert scheduler.wanted() == [P0]


def poisoned_run(scheduler: Scheduler, poison: set[int], now: float) -> tuple[dict[int, int], list[int], float]:
    """Let batches run that fail as one while a poison event is in them; deliveries an event, and the dead."""
    deliveries: dict[int, int] = {}
    dead: list[int] = []
    while scheduler.partitions[P0].pending:
        scheduler.tick(now)
        for batch in take_batches(scheduler, now):
            for offset in offsets(batch):
                deliveries[offset] = deliveries.get(offset, 0) + 1
            bad = bool(poison & set(offsets(batch)))
            settlement = scheduler.settle(batch, failure() if bad else None, now=now, wall_ms=WALL)
            if settlement is not None:
                assert [letter.reason for letter in settlement.dead] == [Reason.ATTEMPTS]
                assert settlement.dead[0].delivery.attempts == 3
                dead += offsets([letter.delivery for letter in settlement.dead])
                scheduler.produced(settlement)
        at = scheduler.wakes_at(now)
        now = max(now, at) if at is not None else now
    return deliveries, dead, now


@pytest.mark.parametrize("order", ["key", "partition", "none"])
@given(data=st.data(), size=st.sampled_from([1, 2, 3, 7, 16, 100]), lanes=st.sampled_from([1, 3, 200]))
def test_a_poison_event_is_isolated_by_halving(order: str, data: st.DataObject, size: int, lanes: int) -> None:
    """Proves that a poison event stands alone after log2(n) deliveries that cost no attempt, then gets its
    max_attempts and is a dead letter, while all the others are done."""
    poison = data.draw(st.integers(0, size - 1))
    scheduler = make_scheduler(
        now=1.0,
        order=order,
        batch_function=True,
        batch=Batch(max_events=size),
        retry=Retry(max_attempts=3, initial=1.0, jitter="none"),
    )
    scheduler.admit(P0, [rec(n, b"%d" % (n % lanes)) for n in range(size)], now=1.0)
    deliveries, dead, _ = poisoned_run(scheduler, {poison}, 1.0)
    assert dead == [poison]
    assert deliveries[poison] <= math.ceil(math.log2(size)) + 3
    assert set(deliveries) == set(range(size))
    assert scheduler.counters.done == size - 1
    assert scheduler.due_commits()[P0] == (size, "")


def test_a_batch_that_failed_as_one_waits_no_longer_than_an_hour() -> None:
    """Proves that the cap on what a function may ask holds for whole batches too."""
    scheduler = make_scheduler(now=1.0, batch_function=True, batch=Batch(max_events=2), order="none")
    scheduler.admit(P0, [rec(0), rec(1)], now=1.0)
    (batch,) = take_batches(scheduler, 1.0)
    scheduler.settle(batch, failure(retry_after=1e9), now=1.0, wall_ms=WALL)
    assert scheduler.wakes_at(1.0) == 1.0 + RETRY_AFTER_CAP


def test_an_oversize_batch_is_split_and_a_single_one_is_a_dead_letter() -> None:
    """Proves that what is too large together is delivered in parts at once, and what is too large alone given up."""
    scheduler = make_scheduler(now=1.0, batch_function=True, batch=Batch(max_events=2), order="none")
    scheduler.admit(P0, [rec(0), rec(1)], now=1.0)
    (batch,) = take_batches(scheduler, 1.0)
    assert scheduler.settle(batch, failure(FailureKind.OVERSIZE), now=1.0, wall_ms=WALL) is None
    scheduler.tick(1.0)
    first, second = take_batches(scheduler, 1.0)
    settlement = scheduler.settle(first, failure(FailureKind.OVERSIZE), now=1.0, wall_ms=WALL)
    assert settlement is not None
    assert [letter.reason for letter in settlement.dead] == [Reason.OVERSIZE]
    assert scheduler.settle(second, None, now=1.0, wall_ms=WALL) is None


def test_drop_completes_without_a_dead_letter_and_counts() -> None:
    """Proves that then="drop" leaves nothing to produce, and that what it drops is counted."""
    scheduler = make_scheduler(retry=Retry(max_attempts=1, then="drop"))
    scheduler.admit(P0, [rec(0)], now=1.0)
    (delivery,) = take_all(scheduler, 1.0)
    assert scheduler.settle([delivery], failure(), now=1.0, wall_ms=WALL) is None
    assert scheduler.counters.dropped == 1
    assert scheduler.due_commits()[P0].offset == 1


@pytest.mark.parametrize("key", [None, b"a"])
def test_pause_keeps_the_event_and_stops_the_function(key: bytes | None) -> None:
    """Proves that then="pause" loses nothing: nothing starts until an operator resumes, then the event is first."""
    scheduler = make_scheduler(now=1.0, retry=Retry(max_attempts=1, then="pause"))
    scheduler.admit(P0, [rec(0, key), rec(1, key)], now=1.0)
    first = scheduler.take(1.0)
    assert first is not None
    assert scheduler.settle([first], failure(), now=1.0, wall_ms=WALL) is None
    assert scheduler.gate.paused
    scheduler.tick(50.0)
    assert scheduler.take(50.0) is None
    assert scheduler.due_commits()[P0].offset == 0
    scheduler.resume()
    assert first in take_all(scheduler, 50.0)


def test_an_expired_event_under_pause_is_not_stuck() -> None:
    """Proves that an event found too old at the door pauses the function and runs once it is resumed, in its lane."""
    scheduler = make_scheduler(now=1.0, retry=Retry(max_age=1.0, then="pause"))
    expired = failure(FailureKind.TERMINAL)
    object.__setattr__(expired, "error_type", "Expired")
    refused = scheduler.admit(
        P0, [rec(0, b"a"), rec(1, b"a")], now=1.0, screen=lambda record: expired if record.offset == 0 else True
    )
    for delivery, why in refused:
        assert scheduler.give_up(delivery, why, wall_ms=WALL) is None
    assert scheduler.gate.paused
    assert take_all(scheduler, 1.0) == []
    scheduler.resume()
    scheduler.tick(1.0)
    (first,) = take_all(scheduler, 1.0)
    assert first.record.offset == 0
    scheduler.done(first)
    (second,) = take_all(scheduler, 1.0)
    scheduler.done(second)
    assert scheduler.due_commits()[P0].offset == 2


def test_resume_gives_the_event_a_fresh_budget() -> None:
    """Proves that resume gives an event whose attempts are used up all of them again, and takes none from or to others;
    and that the pause names the event, its attempts and its failure until then."""
    scheduler = make_scheduler(now=1.0, retry=Retry(max_attempts=2, initial=0.0, jitter="none", then="pause"))
    scheduler.admit(P0, [rec(0, b"a"), rec(1, b"b")], now=1.0)
    for delivery in take_all(scheduler, 1.0):
        scheduler.settle([delivery], failure(), now=1.0, wall_ms=WALL)
    scheduler.tick(1.0)
    first = scheduler.take(1.0)
    assert first is not None
    scheduler.settle([first], failure(), now=1.0, wall_ms=WALL)
    cause = scheduler.pause_cause
    assert cause is not None
    assert (cause.stream, cause.partition, cause.offset) == (*P0, 0)
    assert (cause.attempts, cause.reason) == (2, Reason.ATTEMPTS)
    scheduler.resume()
    assert scheduler.pause_cause is None
    assert scheduler.due_commits()[P0].metadata
    scheduler.tick(1.0)
    attempts = {delivery.record.offset: delivery.attempts for delivery in take_all(scheduler, 1.0)}
    assert attempts == {0: 0, 1: 1}


@pytest.mark.parametrize("resumed", [True, False])
def test_a_resume_holds_for_what_a_former_owner_left(resumed: bool) -> None:
    """Proves that after a resume an event whose attempts a former owner used up begins anew, and that without one, or
    after another pause, its count goes on."""
    scheduler = make_scheduler(retry=Retry(max_attempts=3, then="pause"))
    if resumed:
        scheduler.pause()
        scheduler.resume()
    scheduler.assign(P0, 0, OffsetMap([], {0: 3, 1: 2}))
    scheduler.admit(P0, [rec(0, b"a"), rec(1, b"b")], now=1.0)
    assert [delivery.attempts for delivery in take_all(scheduler, 1.0)] == ([0, 2] if resumed else [3, 2])
    scheduler.pause()
    scheduler.assign(P0, 0, OffsetMap([], {0: 3}))
    scheduler.admit(P0, [rec(0, b"a")], now=1.0)
    assert [each.attempts for each in scheduler.partitions[P0].pending.values()] == [3]


def test_attempts_that_were_used_up_before_a_crash_pause_again() -> None:
    """Proves that under then="pause" an event whose attempts a former owner used up is not tried again where an operator can
    resume the function, but pauses it; resumed, it runs in its place with a fresh budget."""
    scheduler = make_scheduler(retry=Retry(max_attempts=3, then="pause"))
    scheduler.can_be_resumed = True
    scheduler.assign(P0, 0, OffsetMap([], {1: 3}))
    assert scheduler.admit(P0, [rec(0, b"a"), rec(1, b"a")], now=1.0) == []
    assert take_all(scheduler, 1.0) == []
    cause = scheduler.pause_cause
    assert cause is not None
    assert (cause.offset, cause.attempts, cause.error_type) == (1, 3, "AttemptsUsed")
    scheduler.resume()
    for offset in (0, 1):
        (delivery,) = take_all(scheduler, 1.0)
        assert (delivery.record.offset, delivery.attempts) == (offset, 0)
        scheduler.done(delivery)
    assert not scheduler.gate.paused


def test_an_event_that_is_left_out_pauses_nothing() -> None:
    """Proves that a filter which now leaves out the event that a function has paused over lets the function go on."""
    scheduler = make_scheduler(retry=Retry(max_attempts=3, then="pause"))
    scheduler.can_be_resumed = True
    scheduler.assign(P0, 0, OffsetMap([], {0: 3}))
    scheduler.admit(P0, [rec(0, b"a"), rec(1, b"a")], now=1.0, screen=lambda record: record.offset != 0)
    assert not scheduler.gate.paused
    assert [each.record.offset for each in take_all(scheduler, 1.0)] == [1]


def test_attempts_that_were_used_up_before_a_crash_end_in_a_dead_letter() -> None:
    """Proves that an event whose last attempt a former owner made is not delivered again, but not lost either."""
    scheduler = make_scheduler(retry=Retry(max_attempts=3))
    scheduler.assign(P0, 0, OffsetMap([], {0: 3, 1: 2}))
    ((delivery, why),) = scheduler.admit(P0, [rec(0, b"a"), rec(1, b"b")], now=1.0)
    settlement = scheduler.give_up(delivery, why, wall_ms=WALL)
    assert settlement is not None
    assert [(letter.reason, letter.delivery.attempts) for letter in settlement.dead] == [(Reason.ATTEMPTS, 3)]
    (other,) = take_all(scheduler, 1.0)
    assert (other.record.offset, other.attempts) == (1, 2)
    final = scheduler.settle([other], failure(), now=1.0, wall_ms=WALL)
    assert final is not None
    assert final.dead[0].delivery.attempts == 3


@pytest.mark.parametrize("then", ["dead_letter", "pause"])
def test_attempts_used_up_after_a_detour_count_too(then: str) -> None:
    """Proves that an event which came back from its retry topic, and whose last attempt a former owner of that topic
    made, gets no attempt more; its dead letter is that of the event as it was first consumed."""
    scheduler = make_scheduler(order="none", retry=Retry(max_attempts=3, then=then))
    scheduler.assign(P0, 0, OffsetMap([], {0: 3}))
    origin = rec(77, b"first")
    refused = scheduler.admit(
        P0, [rec(0)], now=1.0, screen=lambda record: Returned(origin=origin, attempts=2, wait=4.0)
    )
    if then == "pause":
        assert refused == []
        return
    ((delivery, why),) = refused
    settlement = scheduler.give_up(delivery, why, wall_ms=WALL)
    assert settlement is not None
    assert [(letter.reason, letter.delivery.attempts) for letter in settlement.dead] == [(Reason.ATTEMPTS, 3)]
    assert delivery.origin is origin


def test_an_unordered_functions_long_waits_go_to_its_retry_topic() -> None:
    """Proves that topic_after= moves long waits at once and park_limit= those that find no place, that a moved event
    is done only when its copy is acknowledged, and that one which comes back waits the rest of its time."""
    for retry in (
        Retry(topic_after=4.0, initial=4.0, jitter="none"),
        Retry(park_limit=1, initial=4.0, jitter="none"),
    ):
        scheduler = make_scheduler(order="none", retry=retry, now=1.0)
        scheduler.admit(P0, [rec(0), rec(1)], now=1.0)
        if retry.topic_after is None:
            (parked, delivery) = take_all(scheduler, 1.0)
            assert scheduler.settle([parked], failure(), now=1.0, wall_ms=WALL) is None
        else:
            delivery = scheduler.take(1.0)
            assert delivery is not None
        settlement = scheduler.settle([delivery], failure(), now=1.0, wall_ms=WALL)
        assert settlement is not None
        assert [(moved.delivery, moved.due_ms) for moved in settlement.moved] == [(delivery, WALL + 4_000)]
        assert delivery.record.offset in scheduler.partitions[P0].pending
        scheduler.produced(settlement)
        assert delivery.record.offset not in scheduler.partitions[P0].pending
        assert scheduler.counters.retry_topic == 1
    scheduler = make_scheduler(order="none", now=1.0)
    back = Returned(origin=rec(77), attempts=2, wait=4.0)
    scheduler.admit(P0, [rec(0), rec(1), rec(2)], now=1.0, screen=lambda record: back if record.offset == 1 else True)
    assert list(scheduler.partitions[P0].pending) == [0, 1, 2]
    assert offsets(take_all(scheduler, 1.0)) == [0, 2]
    assert scheduler.wakes_at(1.0) == 5.0
    scheduler.tick(5.0)
    (returned,) = take_all(scheduler, 5.0)
    assert (returned.attempts, returned.origin) == (2, back.origin)


def test_an_abandoned_thread_keeps_its_place_and_its_event() -> None:
    """Proves that while a thread which can't be stopped works on an event, the event does not start again, its
    place counts as taken, and all goes on when it ends, whether before or after the wait was over."""
    for ends_at, starts_at in ((3.0, 6.0), (60.0, 60.0)):
        scheduler = make_scheduler(now=1.0, concurrency=2, retry=Retry(initial=5.0, jitter="none"))
        scheduler.admit(P0, [rec(0, b"a"), rec(1, b"b"), rec(2, b"c")], now=1.0)
        first = scheduler.take(1.0)
        assert first is not None
        scheduler.hold([first])
        scheduler.settle([first], failure(), now=1.0, wall_ms=WALL)
        assert scheduler.in_flight == 1
        assert len(take_all(scheduler, 1.0)) == 1
        for now in (2.0, 6.0, 30.0):
            if now < ends_at:
                scheduler.tick(now)
                assert take_all(scheduler, now) == []
        scheduler.release([first], ends_at)
        assert scheduler.in_flight == 1
        scheduler.tick(starts_at)
        assert first in (scheduler.take(starts_at), *scheduler.ready)
