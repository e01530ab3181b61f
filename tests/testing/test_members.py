"""Members that join, leave and crash in the middle of things."""

from __future__ import annotations

import asyncio

import pytest

from bindings import Context, Retry, on_stream
from dispatcher.testing import dispatching, sleep


def test_a_crash_repeats_what_was_in_flight_and_nothing_else() -> None:
    """After a crash the next member begins at the commits: what was done is not done again, what ran is, and attempts count
    on from where they stood."""

    @on_stream("orders", retry=Retry(max_attempts=3, initial=60, jitter="none"))
    async def handle(order: dict, context: Context) -> None:
        if order["what"] == "fails":
            raise ConnectionError
        if order["what"] == "slow":
            await asyncio.sleep(10)

    with dispatching(handle) as test:
        quick, slow, fails = [test.send("orders", {"what": what}, key=what) for what in ("quick", "slow", "fails")]
        test.advance(5)
        test.crash()
        assert test.members == []
        [lost] = test.attempts(slow)
        assert isinstance(lost.error, asyncio.CancelledError)
        assert lost.ended == test.elapsed == 5
        test.run()
        assert [(call.started, call.member) for call in test.attempts(quick)] == [(0, 1)]
        assert [(call.started, call.member, call.attempt) for call in test.attempts(slow)] == [(0, 1, 1), (5, 2, 1)]
        assert [(call.member, call.attempt) for call in test.attempts(fails)] == [(1, 1), (2, 2), (2, 3)]
        assert test.dead_letters[0].attempts == 3


def test_a_crash_right_after_the_work_repeats_what_was_not_committed() -> None:
    """Commits come every half second: what was done after the last one is done again, as in life."""

    @on_stream("orders")
    async def handle(order: dict) -> None: ...

    def calls(wait: float) -> int:
        with dispatching(handle) as test:
            event = test.send("orders", {})
            test.run()
            test.advance(wait)
            test.crash()
            test.run()
            assert test.done == [event]
            return len(test.attempts(event))

    assert (calls(0.1), calls(0.6)) == (2, 1)


def test_nothing_that_a_crashed_member_writes_arrives() -> None:
    """A function that catches its cancellation and returns has emitted nothing: its member was gone."""

    @on_stream("orders", emits="results")
    async def stubborn(order: dict, context: Context) -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "from the grave"
        return "alive"

    with dispatching(stubborn) as test:
        test.send("orders", {})
        test.advance(5)
        test.crash()
        test.run()
        assert test.emitted("results") == [b"alive"]


def test_a_second_member_takes_its_share() -> None:
    """A member that joins gets half of the partitions, in the middle of the work, and no event is lost or done twice."""

    @on_stream("orders")
    async def count(order: bytes) -> None:
        await asyncio.sleep(1)

    with dispatching(count, partitions=4) as test:
        sent = [test.send("orders", b"%d" % number, key=str(number % 10)) for number in range(100)]
        test.run(until=lambda: len(test.done) >= 20)
        second = test.join()
        test.run()
        assert sorted(event.offset for event in test.done) == sorted(event.offset for event in sent)
        assert {call.member for call in test.calls} == {1, second.number}
        assert len(test.calls) == 100
        assert [len(member.workers) for member in test.members] == [1, 1]


def test_order_by_key_holds_over_rebalances() -> None:
    """Members join, leave and crash, and the events of each key are still handled one after another, in order."""

    @on_stream("orders")
    async def handle(order: dict) -> None:
        await asyncio.sleep(0.3)

    with dispatching(handle, partitions=3) as test:
        for number in range(60):
            test.send("orders", {"number": number}, key=str(number % 6))
        test.advance(0.5)
        second = test.join()
        test.advance(1.0)
        test.rebalance(handle)
        test.advance(0.4)
        test.crash(second)
        test.advance(0.4)
        third = test.join()
        test.advance(0.4)
        test.leave(test.members[0])
        assert test.members == [third]
        test.run()
        assert len(test.done) == 60
        for key in range(6):
            calls = [call for call in test.calls if call.event.key == str(key).encode()]
            assert not any(one.overlaps(other) for one in calls for other in calls if one is not other)
            handled = list(dict.fromkeys(call.event.value["number"] for call in calls if call.succeeded()))
            assert handled == sorted(handled) == list(range(key, 60, 6))


def test_a_leaver_drains_and_commits() -> None:
    """A member that is asked to stop finishes what it is at, and its successor does not repeat it."""

    @on_stream("orders")
    async def slow(order: dict) -> None:
        await asyncio.sleep(5)

    with dispatching(slow) as test:
        event = test.send("orders", {})
        test.advance(1)
        test.leave()
        assert (test.elapsed, test.members) == (5, [])
        assert test.committed("orders") == {0: 1}
        test.run()
        assert len(test.attempts(event)) == 1


def test_a_rebalance_lets_what_runs_finish() -> None:
    """During a rebalance nothing new starts, what runs is drained, and each event is handled once."""

    @on_stream("orders", order="partition")
    async def slow(order: dict) -> None:
        await asyncio.sleep(4)

    with dispatching(slow) as test:
        test.send("orders", {"number": 1})
        test.advance(1)
        test.rebalance()
        test.send("orders", {"number": 2})
        test.run()
        assert [(call.started, call.ended) for call in test.calls] == [(0, 4), (4, 8)]


def test_sleeping_threads_end_with_their_member() -> None:
    """A sync function that sleeps when its member crashes goes no further, and the next member does its event."""
    after: list[str] = []

    @on_stream("orders", timeout=100)
    def slow(order: dict) -> None:
        sleep(50)
        after.append("slept")

    with dispatching(slow) as test:
        event = test.send("orders", {})
        test.advance(10)
        test.crash()
        test.run()
        assert [call.started for call in test.attempts(event)] == [0, 10]
        assert (after, test.elapsed) == (["slept"], 60)


def test_sleep_is_for_functions_under_test() -> None:
    """Elsewhere there is no virtual time to sleep on, and the error says what to write."""
    with pytest.raises(RuntimeError, match=r"asyncio\.sleep"):
        sleep(1)
