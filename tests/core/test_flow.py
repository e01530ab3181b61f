"""How much may run at once, how often, and when a target is left alone."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindings.failure import FailureKind
from bindings.policies import Limits
from dispatcher.core.flow import AdaptiveConcurrency, Breaker, Concurrency, RateLimit

from .support import P0, P1, failure, make_scheduler, rec, take_all, take_batches

REFUSED = failure(FailureKind.NOT_DELIVERED)


def test_concurrency_is_halved_once_a_second_and_never_below_one() -> None:
    """Proves the multiplicative decrease: one burst of refusals halves once, not to nothing."""
    limit = Concurrency(16)
    for _ in range(10):
        limit.not_delivered(5.0)
    assert limit.limit == 8
    limit.not_delivered(5.9)
    assert limit.limit == 8
    for second in range(6, 20):
        limit.not_delivered(float(second))
    assert limit.limit == 1


def test_concurrency_grows_by_one_a_round_up_to_its_maximum() -> None:
    """Proves the additive increase: as many successes in a row as may run give one back, and no more than all."""
    limit = Concurrency(3)
    limit.not_delivered(1.0)
    assert limit.limit == 1
    limit.delivered()
    assert limit.limit == 2
    limit.delivered()
    assert limit.limit == 2
    limit.delivered()
    assert limit.limit == 3
    for _ in range(50):
        limit.delivered()
    assert limit.limit == 3


def test_a_refusal_starts_the_round_again() -> None:
    """Proves that successes count in a row only."""
    limit = Concurrency(4)
    limit.not_delivered(1.0)
    limit.delivered()
    limit.not_delivered(1.5)
    limit.delivered()
    assert limit.limit == 2
    limit.delivered()
    assert limit.limit == 3


@given(
    rate=st.sampled_from([0.01, 0.5, 1.0, 3.0, 7.3, 1000.0]),
    steps=st.lists(st.floats(0.0, 30.0, allow_subnormal=False), max_size=60),
    begin=st.sampled_from([0.0, 1e3, 1e7]),
)
def test_a_rate_is_never_passed_over_any_span(rate: float, steps: list[float], begin: float) -> None:
    """Proves that in no span more starts than its share and one burst, and that not one less starts in all."""
    bucket = RateLimit(rate, begin)
    now, starts, burst = begin, [], max(1.0, rate)
    for step in steps:
        now += step
        while len(starts) < 500 and bucket.take(now):
            starts.append(now)
    for first in range(0, len(starts), 7):
        for last in range(first, len(starts), 5):
            allowed = burst + (starts[last] - starts[first]) * rate
            assert last - first + 1 <= allowed + 1e-3


@given(rate=st.floats(0.001, 5_000.0), begin=st.floats(0.0, 1e7))
def test_a_sleeper_until_ready_gets_its_token(rate: float, begin: float) -> None:
    """Proves that whoever sleeps exactly until ready_at may start then: rounding never makes it wait again."""
    bucket = RateLimit(rate, begin)
    now = begin
    for _ in range(200):
        now = bucket.ready_at(now)
        assert bucket.take(now)


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    """Proves that time counts once, though the clock shows it twice."""
    bucket = RateLimit(1.0, 100.0)
    assert bucket.take(100.0)
    for now in (100.5, 100.0, 100.5, 100.0, 100.9):
        assert not bucket.take(now)
    assert bucket.take(101.0)


def test_the_rate_bounds_starts_of_the_scheduler() -> None:
    """Proves that rate= holds for events and batches, and that wakes_at names the very moment of the next start."""
    for batch_function in (False, True):
        scheduler = make_scheduler(now=0.0, batch_function=batch_function, rate=2.0, order="none", concurrency=100)
        take = take_batches if batch_function else take_all
        scheduler.admit(P0, [rec(n) for n in range(20)], now=0.0)
        assert len(take(scheduler, 0.0)) == 2
        now = 0.0
        for _ in range(18):
            at = scheduler.wakes_at(now)
            assert at is not None
            assert take(scheduler, (now + at) / 2) == []
            now = at
            assert len(take(scheduler, now)) == 1
        assert now == pytest.approx(9.0, abs=1e-3)


def test_the_breaker_opens_waits_probes_and_closes() -> None:
    """Proves the life of the breaker: threshold, waits that double to 30 s, one probe at a time, close on success."""
    breaker = Breaker(threshold=3)
    for _ in range(2):
        breaker.not_delivered(0.0, None)
        assert breaker.allows(0.0)
    breaker.not_delivered(0.0, None)
    now, waits = 0.0, []
    for _ in range(8):
        assert breaker.is_open
        at = breaker.ready_at(now)
        assert at is not None
        assert not breaker.allows((now + at) / 2)
        waits.append(at - now)
        now = at
        assert breaker.allows(now)
        breaker.started()
        assert not breaker.allows(now + 1_000)
        assert breaker.ready_at(now) is None
        breaker.not_delivered(now, None)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    breaker.started()
    breaker.delivered()
    assert breaker.allows(now)
    assert not breaker.is_open
    for _ in range(3):
        breaker.not_delivered(now, None)
    assert breaker.ready_at(now) == now + 1.0


def test_stragglers_do_not_stretch_the_breakers_wait() -> None:
    """Proves that deliveries which had started before the breaker opened count for nothing when they fail too."""
    breaker = Breaker(threshold=1)
    breaker.not_delivered(10.0, None)
    for _ in range(20):
        breaker.not_delivered(10.5, 25.0)
    assert breaker.ready_at(10.5) == 11.0


def test_the_breaker_heeds_retry_after_within_its_longest_wait() -> None:
    """Proves that a target's own Retry-After stretches the wait, but not beyond 30 s."""
    for asked, wait in ((0.2, 1.0), (12.0, 12.0), (86_400.0, 30.0)):
        breaker = Breaker(threshold=1)
        breaker.not_delivered(10.0, asked)
        assert breaker.ready_at(10.0) == 10.0 + wait


@pytest.mark.parametrize("reply", ["one by one", "named", "bisected", "part not delivered"])
def test_a_probe_that_ran_always_ends_the_probing(reply: str) -> None:
    """Proves that whatever a probe comes to, the breaker goes on: a batch that failed as one, or in part, too."""
    from bindings.policies import Batch, Retry

    scheduler = make_scheduler(
        batch_function=True, order="none", batch=Batch(max_events=4), retry=Retry(initial=0.0, jitter="none"), now=1.0
    )
    scheduler.admit(P0, [rec(n) for n in range(4)], now=1.0)
    now = 1.0
    for _ in range(5):
        scheduler.tick(now)
        batch = scheduler.take_batch(now)
        assert batch is not None
        scheduler.settle(batch, REFUSED, now=now, wall_ms=1)
        now += 1.0
    assert scheduler.take_batch(now - 1.0) is None
    probe_at = scheduler.wakes_at(now)
    assert probe_at is not None
    now = probe_at
    scheduler.tick(now)
    probe = scheduler.take_batch(now)
    assert probe is not None
    assert len(probe) == 4
    outcome = {
        "one by one": {index: failure() for index in range(4)},
        "named": {1: failure()},
        "bisected": failure(),
        "part not delivered": {1: REFUSED},
    }[reply]
    scheduler.settle(probe, outcome, now=now, wall_ms=1)
    for _ in range(10):
        at = scheduler.wakes_at(now)
        assert at is not None, "the breaker would stay open for ever"
        now = max(now, at)
        scheduler.tick(now)
        if scheduler.take_batch(now):
            return
    raise AssertionError("nothing started after the probe")


def test_a_target_that_refuses_uses_no_attempt_and_loses_nothing() -> None:
    """Proves that an outage of any length costs no attempt: after it the event runs as if for the first time."""
    scheduler = make_scheduler(now=1.0)
    scheduler.admit(P0, [rec(0, b"a"), rec(1, b"a")], now=1.0)
    now = 1.0
    for _ in range(40):
        scheduler.tick(now)
        delivery = scheduler.take(now)
        assert delivery is not None
        assert (delivery.record.offset, delivery.attempts) == (0, 0)
        assert scheduler.settle([delivery], REFUSED, now=now, wall_ms=1) is None
        at = scheduler.wakes_at(now)
        assert at is not None
        for _ in range(3):
            scheduler.tick(at)
            at = scheduler.wakes_at(at) or at
        now = at
    assert scheduler.counters.not_delivered == 40
    assert scheduler.gate.limit == 1


def test_a_partition_is_asked_again_at_half_of_its_limit() -> None:
    """Proves the watermarks: a partition at its limit is asked for no more until half of it is done, in events
    and in bytes alike."""
    for limits, records in (
        (Limits(held_events=8), [rec(n) for n in range(8)]),
        (Limits(held_bytes=80), [rec(n, value=b"0123456789") for n in range(8)]),
    ):
        scheduler = make_scheduler(order="none", limits=limits, concurrency=100)
        for record in records:
            assert scheduler.wanted() == [P0]
            scheduler.admit(P0, [record], now=1.0)
        taken = take_all(scheduler, 1.0)
        for delivery in taken[:4]:
            assert scheduler.wanted() == []
            scheduler.done(delivery)
        assert scheduler.wanted() == [P0]
        scheduler.done(taken[4])
        assert scheduler.wanted() == [P0]


def test_a_partition_is_not_asked_for_what_would_not_fit() -> None:
    """Proves that a fetch of large events does not go past the bytes that may be held: the next is taken to be as large as the
    last, and one is asked for as long as less than half of the room is taken."""
    scheduler = make_scheduler(order="none", limits=Limits(held_bytes=100), concurrency=100)
    scheduler.admit(P0, [rec(n, value=b"0123456789") for n in range(4)], now=1.0)
    assert scheduler.wanted() == [P0]
    scheduler.admit(P0, [rec(n, value=b"0123456789") for n in range(4, 8)], now=1.0)
    assert scheduler.wanted() == []
    taken = take_all(scheduler, 1.0)
    for delivery in taken[:3]:
        scheduler.done(delivery)
    assert scheduler.partitions[P0].held_bytes == 50
    assert scheduler.wanted() == [P0]
    scheduler.admit(P0, [rec(8, value=b"x" * 1_000)], now=1.0)
    assert scheduler.wanted() == []
    for delivery in [*taken[3:], *take_all(scheduler, 1.0)]:
        scheduler.done(delivery)
    assert scheduler.wanted() == [P0]


def test_the_limits_are_shared_by_the_partitions() -> None:
    """Proves that memory is bounded whatever is assigned: two partitions hold no more than one could."""
    scheduler = make_scheduler(order="none", limits=Limits(held_events=8))
    scheduler.assign(P1, 0)
    scheduler.admit(P0, [rec(n) for n in range(4)], now=1.0)
    assert scheduler.wanted() == [P1]


def test_an_event_larger_than_all_limits_passes() -> None:
    """Proves that one huge event fills its partition, and lets it go on when it is done."""
    scheduler = make_scheduler(limits=Limits(held_bytes=10))
    scheduler.admit(P0, [rec(0, value=b"x" * 1_000)], now=1.0)
    assert scheduler.wanted() == []
    (delivery,) = take_all(scheduler, 1.0)
    scheduler.done(delivery)
    assert scheduler.wanted() == [P0]
    assert scheduler.partitions[P0].held_bytes == 0


class Target:
    """A target that takes ``capacity`` at once without slowing down, and serves more one after another.

    Simulated: a queue in front of ``capacity`` places, each of which takes ``seconds`` for an event.
    """

    def __init__(self, capacity: int, seconds: float) -> None:
        self.capacity = capacity
        self.seconds = seconds

    def run(self, limit: AdaptiveConcurrency, answers: int, *, offered: int = 10_000) -> list[int]:
        """Keep as many in flight as the limit says, of so many that are offered; returns the limits after each answer."""
        places = [0.0] * self.capacity
        flying: list[tuple[float, float]] = []
        now, limits = 0.0, []
        for _ in range(answers):
            while len(flying) < min(limit.limit, offered):
                begin = max(now, heapq.heappop(places))
                heapq.heappush(places, begin + self.seconds)
                heapq.heappush(flying, (begin + self.seconds, now))
            ended, started = heapq.heappop(flying)
            now = ended
            limit.took(ended - started, in_flight=len(flying) + 1)
            limits.append(limit.limit)
        return limits


@pytest.mark.parametrize("capacity", [5, 40, 150])
def test_auto_finds_how_many_a_target_takes(capacity: int) -> None:
    """It settles where the target is full and its queue is short: never below what it takes, nor far beyond."""
    limits = Target(capacity, 0.1).run(AdaptiveConcurrency(1_000), 40_000)
    settled = limits[-5_000:]
    assert capacity * 0.9 <= sum(settled) / len(settled) <= capacity * 2.2 + 10


def test_auto_comes_down_with_a_target_that_lost_its_places() -> None:
    """A target that was scaled down is given less, and more again when it is back."""
    limit = AdaptiveConcurrency(1_000)
    Target(100, 0.1).run(limit, 30_000)
    high = limit.limit
    Target(10, 0.1).run(limit, 20_000)
    low = limit.limit
    Target(100, 0.1).run(limit, 40_000)
    assert low < 45
    assert min(high, limit.limit) >= 90


def test_auto_is_not_led_up_by_a_cold_start() -> None:
    """Proves that a target whose first answers are slow is soon known for what it is, and one that was overloaded by far too."""
    limit = AdaptiveConcurrency(1_000)
    Target(16, 1.0).run(limit, 60)
    limits = Target(20, 0.05).run(limit, 3_000)
    assert max(limits) < 120
    assert 18 <= sum(limits[-1_000:]) / 1_000 <= 60
    Target(10_000, 0.05).run(limit, 20_000)
    high = limit.limit
    assert high > 150
    limits = Target(20, 0.05).run(limit, 25 * high)
    assert limits[-1] <= 60


def test_auto_stays_below_its_ceiling_and_where_it_is_not_used() -> None:
    """The ceiling holds however fast the answers; a limit that few events use does not grow; what is not taken halves it."""
    assert max(Target(10_000, 0.001).run(AdaptiveConcurrency(30), 5_000)) == 30
    idle = AdaptiveConcurrency(1_000)
    Target(10_000, 0.1).run(idle, 5_000, offered=4)
    assert idle.limit == AdaptiveConcurrency.INITIAL
    idle.not_delivered(1.0)
    assert idle.limit == AdaptiveConcurrency.INITIAL // 2
