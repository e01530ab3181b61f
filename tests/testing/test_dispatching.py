"""Functions under test on virtual time: what is run, and what a test sees of it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from bindings import Batch, BatchFailures, Context, Event, Reject, Retry, on_stream
from dispatcher.config import Settings
from dispatcher.errors import ConfigurationError, FilterError, StreamNotFound
from dispatcher.testing import Dispatching, Unsettled, dispatching, sleep


class Order(BaseModel):
    household: int
    total: float = 0.0


@dataclass(eq=False)
class Plain:
    """Hashed by identity, as BatchFailures tells events apart."""

    household: int
    total: float


def test_retries_happen_at_the_times_of_their_policy() -> None:
    """Each attempt starts exactly when the formula says, and the event ends in the dead letters with why."""

    @on_stream("orders", retry=Retry(max_attempts=5, initial=1.0, multiplier=3.0, max_delay=20.0, jitter="none"))
    async def fail(order: Order) -> None:
        raise ConnectionError("no answer")

    with dispatching(fail) as test:
        event = test.send("orders", Order(household=1), key="1", headers={"trace": "t1"})
        test.run()
        assert [call.started for call in test.attempts(event)] == [0, 1, 4, 13, 33]
        assert [call.attempt for call in test.attempts(event)] == [1, 2, 3, 4, 5]
        assert (test.elapsed, test.done) == (33, [])
        [letter] = test.dead_letters
        assert (letter.event, letter.function, letter.reason, letter.attempts) == (event, "fail", "attempts", 5)
        assert (letter.error_type, letter.message) == ("ConnectionError", "no answer")
        assert (letter.event.key, letter.value, letter.event.headers) == (
            b"1",
            {"household": 1, "total": 0.0},
            (("trace", b"t1"),),
        )


def test_jitter_is_the_same_in_each_run_and_another_with_another_seed() -> None:
    """Full jitter under test comes from a seed, so that a test can't fail now and then."""

    @on_stream("orders", retry=Retry(max_attempts=6))
    async def fail(order: Order) -> None:
        raise ConnectionError

    def starts(seed: int) -> list[float]:
        with dispatching(fail, seed=seed) as test:
            event = test.send("orders", Order(household=1))
            test.run()
            return [call.started for call in test.attempts(event)]

    assert starts(1) == starts(1)
    assert len({tuple(starts(seed)) for seed in range(3)}) == 3


def test_calls_show_order_and_overlap() -> None:
    """Events of one key run one after another, of two keys at once, and the calls say so."""

    @on_stream("orders")
    async def slow(order: Order) -> None:
        await asyncio.sleep(order.total)

    with dispatching(slow) as test:
        a1 = test.send("orders", Order(household=1, total=3), key="a")
        a2 = test.send("orders", Order(household=1, total=1), key="a")
        b1 = test.send("orders", Order(household=2, total=1), key="b")
        test.run()
        [[first], [second], [other]] = [test.attempts(event) for event in (a1, a2, b1)]
        assert not first.overlaps(second)
        assert first.overlaps(other)
        assert other.overlaps(first)
        assert (first.ended, second.started, other.ended, second.ended) == (3, 3, 1, 4)
        assert test.done == [b1, a1, a2]


def test_a_batch_lingers_for_its_wait_and_closes_early_when_full() -> None:
    """A batch that is not full is handed over max_wait after its first event; a full one at once."""

    @on_stream("orders", batch=Batch(max_events=3, max_wait=2.0))
    async def store(orders: list[Order]) -> None: ...

    with dispatching(store) as test:
        sent = [test.send("orders", Order(household=1))]
        test.advance(1.5)
        sent.append(test.send("orders", Order(household=2)))
        test.run()
        [linger] = test.calls
        assert (linger.started, list(linger.events)) == (2, sent)
        for household in (3, 4, 5):
            test.send("orders", Order(household=household))
        test.run()
        assert [(call.started, len(call.events)) for call in test.calls] == [(2, 2), (2, 3)]


def test_a_timeout_is_an_attempt() -> None:
    """An async function is cancelled when its time is up, at that moment of virtual time, and tried again."""

    @on_stream("orders", timeout=30, retry=Retry(initial=10, jitter="none"))
    async def hang(order: Order, context: Context) -> None:
        assert context.remaining() == 30
        if context.attempt == 1:
            await asyncio.sleep(31)

    with dispatching(hang) as test:
        event = test.send("orders", Order(household=1))
        test.run()
        first, second = test.attempts(event)
        assert isinstance(first.error, TimeoutError)
        assert (first.ended, second.started, second.error) == (30, 40, None)
        assert first.failures == {event: first.error}


def test_a_sync_function_that_sleeps_too_long_keeps_its_lane_until_it_ends() -> None:
    """A thread past its time-out is abandoned, and its event is not tried again before the thread has ended."""

    @on_stream("orders", timeout=5, retry=Retry(initial=1, jitter="none"))
    def hang(order: Order, context: Context) -> None:
        if context.attempt == 1:
            sleep(20)
            assert context.remaining() == -15

    with dispatching(hang) as test:
        event = test.send("orders", Order(household=1), key="1")
        test.run()
        first, second = test.attempts(event)
        assert isinstance(first.error, TimeoutError)
        assert (first.ended, second.started) == (20, 20)
        assert test.done == [event]


def test_sync_functions_run_in_real_threads_one_after_another_by_key() -> None:
    """The real invoker runs them: side by side for two keys, in turn for one."""

    @on_stream("orders")
    def work(order: Order) -> None:
        sleep(2)

    with dispatching(work) as test:
        for key in "aab":
            test.send("orders", Order(household=1), key=key)
        test.run()
        assert sorted((call.started, call.ended) for call in test.calls) == [(0, 2), (0, 2), (2, 4)]


def test_named_failures_of_a_batch_are_those_of_the_function() -> None:
    """BatchFailures works by event, by value object and by index, as without the test around it."""
    by = iter(["event", "index"])

    @on_stream("orders", name="events", retry=Retry(max_attempts=2, initial=1, jitter="none"))
    async def events(orders: list[Event[Order]]) -> None:
        which = next(by, None)
        if which:
            raise BatchFailures({orders[1] if which == "event" else 0: "no such household"})

    @on_stream("orders", name="values", retry=Retry(max_attempts=2))
    async def values(orders: list[Plain]) -> None:
        failed: dict[Any, BaseException | str] = {order: Reject("unknown") for order in orders if order.household == 1}
        if failed:
            raise BatchFailures(failed)

    with dispatching(events, values) as test:
        zero, one = [test.send("orders", Order(household=number), key=str(number)) for number in range(2)]
        test.run()
        assert [set(call.failures) for call in test.calls if call.function == "events"] == [{one}, {one}]
        assert [(each.function, each.event, each.reason) for each in test.dead_letters] == [
            ("values", one, "rejected"),
            ("events", one, "attempts"),
        ]
        assert test.done_by(values) == test.done_by("events") == [zero]


def test_functions_feed_each_other() -> None:
    """What one function emits another consumes, and run() ends when the last of the chain is settled."""

    @on_stream("orders", emits="breaches")
    async def check(order: Order) -> dict | None:
        await asyncio.sleep(1)
        return {"household": order.household} if order.total > 100 else None

    @on_stream("breaches")
    async def tell(breach: dict) -> None:
        await asyncio.sleep(1)

    with dispatching(check, tell) as test:
        assert test.emitted("breaches") == []
        test.send("orders", Order(household=1, total=500), key="1")
        test.send("orders", Order(household=2, total=5), key="2")
        test.run()
        assert test.emitted("breaches") == [{"household": 1}]
        [breach] = test.events("breaches")
        assert breach.key == b"1"
        assert (test.done_by(tell), test.elapsed) == ([breach], 2)


def test_filtered_and_dropped_events_are_settled() -> None:
    """Events that where= leaves out, and those that are dropped on purpose, hold up nothing and are not done."""

    @on_stream("orders", where="value.total > 1.0", retry=Retry(max_attempts=1, then="drop"))
    async def fail(order: Order) -> None:
        raise ValueError

    with dispatching(fail) as test:
        test.send("orders", Order(household=1, total=0))
        test.send("orders", Order(household=1, total=5))
        test.run()
        assert (len(test.calls), test.done, test.dead_letters, test.pending()) == (1, [], [], [])


def test_long_waits_of_an_unordered_function_are_waited_for_in_its_retry_topic() -> None:
    """run() counts what lies in a retry topic as not settled, and its attempts are those of the event itself."""

    @on_stream("orders", order="none", retry=Retry(initial=600, max_delay=600, jitter="none", topic_after=60))
    async def later(order: Order, context: Context) -> None:
        if context.attempt < 3:
            raise ConnectionError

    with dispatching(later) as test:
        event = test.send("orders", Order(household=1))
        test.run(at_most=3600)
        assert [call.started for call in test.attempts(event)] == [
            pytest.approx(wait, abs=1) for wait in (0, 600, 1200)
        ]
        assert test.done == [event]


def test_a_paused_function_is_told_with_its_events() -> None:
    """When nothing more can happen run() says why and names what is pending; after resume() it goes on."""
    heal: list[bool] = []

    @on_stream("orders", retry=Retry(max_attempts=2, initial=1, jitter="none", then="pause"))
    async def fail(order: Order) -> None:
        if not heal:
            raise ConnectionError("no answer")

    with dispatching(fail) as test:
        first = test.send("orders", Order(household=1), key="7")
        test.send("orders", Order(household=2), key="7")
        with pytest.raises(Unsettled) as raised:
            test.run()
        message = str(raised.value)
        assert "fail has paused" in message
        assert "fail: orders/0@0 (key 7) failed in attempt 2, at 1 s: ConnectionError: no answer" in message
        assert "fail: orders/0@1 (key 7) has not started" in message
        heal.append(True)
        test.resume(fail)
        test.run()
        assert [event.offset for event in test.done] == [0, 1]
        assert len(test.attempts(first)) == 3


def test_what_is_not_settled_in_time_is_told() -> None:
    """run(at_most=...) ends after that much virtual time with what still runs or waits."""

    @on_stream("orders", timeout=3600)
    async def slow(order: Order) -> None:
        await asyncio.sleep(1800)

    with dispatching(slow) as test:
        test.send("orders", Order(household=1))
        with pytest.raises(Unsettled, match=r"not settled after 60 virtual seconds.*\n.*orders/0@0 runs since 0 s"):
            test.run(at_most=60)
        test.run()
        assert test.elapsed == 1800


def test_a_function_that_feeds_itself_without_end_is_told() -> None:
    """An endless round takes no virtual time and ends in an error nevertheless."""

    @on_stream("orders", emits="orders")
    async def again(order: Order) -> Order:
        return order

    with dispatching(again, patience=0.3) as test:
        test.send("orders", Order(household=1))
        with pytest.raises(Unsettled, match="no virtual time has passed in"):
            test.run()


def test_run_until_a_condition() -> None:
    """run(until=...) ends in the middle of things, and fails when the condition never comes."""

    @on_stream("orders", retry=Retry(initial=5, jitter="none", max_attempts=3))
    async def fail(order: Order) -> None:
        raise ConnectionError

    with dispatching(fail) as test:
        test.send("orders", Order(household=1))
        test.run(until=lambda: len(test.calls) == 2)
        assert test.elapsed == 5
        with pytest.raises(Unsettled, match="the condition does not hold"):
            test.run(until=lambda: len(test.calls) == 10)


def test_the_time_of_day_is_the_tests_own() -> None:
    """Timestamps, max_age and deadlines follow a wall clock that starts where the test says."""
    start = datetime(2024, 2, 29, 23, 0, tzinfo=UTC)
    seen: list[datetime] = []

    @on_stream("orders", retry=Retry(max_age=3600.0), timeout=60)
    async def fresh(order: Event[Order], context: Context) -> None:
        seen.extend((order.timestamp, context.deadline))

    with dispatching(fresh, start=start) as test:
        test.send("orders", Order(household=1), timestamp=start - timedelta(hours=2))
        test.run()
        test.advance(7200)
        test.send("orders", Order(household=1))
        test.run()
        assert test.now == start + timedelta(hours=2)
        assert seen == [start + timedelta(hours=2), start + timedelta(hours=2, seconds=60)]
        assert [letter.reason for letter in test.dead_letters] == ["expired"]


def test_values_that_are_no_json_are_bytes() -> None:
    """What can't be decoded never reaches the function, and the test sees the bytes that were sent."""

    @on_stream("orders")
    async def take(order: Order) -> None: ...

    with dispatching(take) as test:
        test.send("orders", b"\xff not JSON", key=b"\x00")
        test.send("orders", None, key="gone")
        test.run()
        assert test.calls == []
        assert [(letter.reason, letter.value) for letter in test.dead_letters] == [
            ("rejected", b"\xff not JSON"),
            ("rejected", None),
        ]


def test_keys_choose_partitions_and_commits_are_seen() -> None:
    """Partitions are those that Kafka's hash gives, or that the test names, and commits are there half a second later."""

    @on_stream("orders", "returns")
    async def take(order: Order) -> None: ...

    with dispatching(take, partitions={"orders": 3}) as test:
        spread = {test.send("orders", Order(household=1), key=str(number)).partition for number in range(20)}
        fixed = test.send("returns", Order(household=1), partition=0)
        with pytest.raises(StreamNotFound):
            test.send("returns", Order(household=1), partition=1)
        test.run()
        test.advance(0.5)
        assert spread == {0, 1, 2}
        assert sum(filter(None, test.committed("orders", take).values())) == 20
        assert test.committed("returns") == {0: 1}
        assert fixed in test.done


def test_mistakes_are_named_before_anything_runs() -> None:
    """A plain function, two of a name, an unknown stream, function or start: each error says what to write."""

    async def plain(order: Order) -> None: ...

    @on_stream("orders.enriched", name="same")
    async def one(order: Order) -> None: ...

    @on_stream("orders.enriched", name="same")
    async def two(order: Order) -> None: ...

    @on_stream("orders.enriched", where="value.total >")
    async def wrong(order: Order) -> None: ...

    with pytest.raises(TypeError, match=r"plain has no binding.*decorate it with @on_stream"):
        dispatching(plain)
    with pytest.raises(TypeError, match="needs a function"):
        dispatching()
    with pytest.raises(ConfigurationError, match="two functions are named same"):
        dispatching(one, two)
    with pytest.raises(ConfigurationError, match="time zone"):
        dispatching(one, start=datetime(2024, 1, 1))  # noqa: DTZ001 - that is the mistake
    with dispatching(one) as test:
        with pytest.raises(StreamNotFound, match=r"did you mean orders\.enriched"):
            test.send("order.enriched", Order(household=1))
        with pytest.raises(LookupError, match=r"two is not tested here: dispatching.. was given same"):
            test.done_by(two)
    with dispatching(wrong) as test, pytest.raises(FilterError):
        test.run()


def test_the_error_of_a_failed_test_is_the_tests_own() -> None:
    """When the body raises, what still runs is dropped, and nothing hides the error."""
    ended: list[str] = []

    @on_stream("orders", timeout=3600)
    async def hang(order: Order) -> None:
        try:
            await asyncio.sleep(3000)
        finally:
            ended.append("cancelled")

    def fail(test: Dispatching) -> None:
        test.send("orders", Order(household=1))
        test.advance(1)
        raise AssertionError("what the test found")

    with pytest.raises(AssertionError, match="what the test found"), dispatching(hang) as test:
        fail(test)
    assert ended == ["cancelled"]
    assert test.elapsed == 1


def test_settings_are_those_of_a_process() -> None:
    """Settings given to the test reach the workers: here events are fetched one by one, and commits are seldom."""

    @on_stream("orders")
    async def take(order: Order) -> None: ...

    with dispatching(take, settings=Settings(commit_interval=100.0), app="shop") as test:
        test.send("orders", Order(household=1))
        test.run()
        test.advance(99)
        assert test.committed("orders") == {0: 0}
        test.advance(2)
        assert test.committed("orders") == {0: 1}
        assert test.broker.log.group("shop.take").size == 1


def test_two_runs_of_the_same_test_see_the_same_calls() -> None:
    """Threads aside, nothing is left to chance: calls, times and order are equal from run to run."""

    @on_stream("orders", retry=Retry(max_attempts=4), concurrency=3)
    async def shaky(order: Order, context: Context) -> None:
        await asyncio.sleep(order.total)
        if (order.household + context.attempt) % 3:
            raise ConnectionError

    def trace() -> list[tuple[object, ...]]:
        with dispatching(shaky, partitions=4) as test:
            for number in range(30):
                test.send("orders", Order(household=number, total=number % 5), key=str(number % 7))
            test.run(until=lambda: len(test.calls) > 20)
            test.join()
            test.run()
            assert len(test.done) + len(test.dead_letters) == 30
            return [(call.event, call.attempt, call.member, call.started, call.ended) for call in test.calls]

    first, second = trace(), trace()
    assert first == second
    assert len({call[2] for call in first}) == 2
    assert all(before[3] <= after[3] for before, after in itertools.pairwise(first))


def test_a_result_that_its_stream_does_not_take_leaves_its_event_undone() -> None:
    """An event whose call went well, and whose result could not be written, is a dead letter and is not among the done."""

    @on_stream("orders", emits="results")
    async def blow_up(order: Order) -> str:
        return "x" * 1_200_000 if order.household == 1 else "small"

    with dispatching(blow_up) as test:
        large, small = [test.send("orders", Order(household=number)) for number in (1, 2)]
        test.run()
        assert [(letter.event, letter.reason) for letter in test.dead_letters] == [(large, "oversize")]
        assert all(call.succeeded() for call in test.calls)
        assert test.done == [small]
