"""How a host runs a function over what one request brought: lanes, pieces, time, and what a function does to its host."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from bindings import Batch, BatchFailures, Context, Emit, Event, Reject, Retry, on_stream
from bindings.decorator import bindings_of
from bindings.envelopes.record import WireRecord
from bindings.failure import FailureKind
from bindings.hosts.serving import Served, binding_of


def record(offset: int, value: str = "", *, key: bytes | None = None, partition: int = 0) -> WireRecord:
    """An event of the stream ``orders``."""
    return WireRecord("orders", partition, offset, 0, key, value.encode())


class Seen:
    """What a function has been handed, in order, and how many of its invocations ran at once."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.running = self.peak = 0

    async def take(self, *events: Event[str]) -> None:
        """Note one invocation, and let others run beside it."""
        self.calls.append([event.offset for event in events])
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await asyncio.sleep(0.02)
        finally:
            self.running -= 1


def errors(reply: Any) -> dict[int, str]:
    """The failures of a reply by their types."""
    return {index: failure.error_type for index, failure in reply.failures.items()}


async def test_under_partition_order_a_partition_stops_at_its_first_failure() -> None:
    """Its later events fail with it, unrun; the other partition goes on beside it, in its order."""
    seen = Seen()

    @on_stream("orders", order="partition")
    async def handle(event: Event[str]) -> None:
        await seen.take(event)
        if event.value == "fail":
            raise ValueError

    batch = [record(1), record(9, partition=1), record(2, "fail"), record(10, partition=1), record(3)]
    reply = await Served(binding_of(handle)).serve(batch)
    assert errors(reply) == {2: "ValueError", 4: "EarlierEventFailed"}
    assert [call for [call] in seen.calls if call < 9] == [1, 2]
    assert [call for [call] in seen.calls if call >= 9] == [9, 10]
    assert seen.peak == 2


async def test_without_order_every_event_runs_and_none_waits_for_another() -> None:
    """A failure holds nothing up, and no more run at once than the function's concurrency."""
    seen = Seen()

    @on_stream("orders", order="none", concurrency=3)
    async def handle(event: Event[str]) -> None:
        await seen.take(event)
        if event.value == "fail":
            raise ValueError

    batch = [record(number, "fail" if number == 0 else "", key=b"same") for number in range(8)]
    reply = await Served(binding_of(handle)).serve(batch)
    assert errors(reply) == {0: "ValueError"}
    assert len(seen.calls) == 8
    assert seen.peak == 3


async def test_a_batch_of_one_key_each_is_made_of_what_came_together() -> None:
    """With ``group_by="key"`` a batch holds one key's events, a few at a time, and a failed piece holds its key alone."""
    seen = Seen()

    @on_stream("orders", batch=Batch(max_events=2, max_wait=0.1, group_by="key"))
    async def handle(events: list[Event[str]]) -> None:
        await seen.take(*events)
        if any(event.value == "fail" for event in events):
            raise BatchFailures({event: ValueError() for event in events if event.value == "fail"})

    batch = [
        record(1, key=b"a"), record(2, key=b"b"), record(3, "fail", key=b"a"), record(4, key=b"a"), record(5, key=b"b"),
        record(6, key=b"b"),
    ]  # fmt: skip
    reply = await Served(binding_of(handle)).serve(batch)
    assert sorted(seen.calls) == [[1, 3], [2, 5], [6]]
    assert errors(reply) == {2: "ValueError", 3: "EarlierEventFailed"}
    assert all(failure.kind is FailureKind.FUNCTION for failure in reply.failures.values())


async def test_results_come_in_the_order_of_the_events() -> None:
    """Though the later ones are ready first."""

    @on_stream("orders", emits="out", order="none")
    async def handle(event: Event[str]) -> str:
        await asyncio.sleep(int(event.value) / 100)
        return event.value

    reply = await Served(binding_of(handle)).serve([record(offset, str(5 - offset)) for offset in range(5)])
    assert [emit.value for emit in reply.results] == [b"5", b"4", b"3", b"2", b"1"]


async def test_the_time_of_a_request_is_that_of_all_its_events() -> None:
    """What has no time left is a time-out, not another minute: the caller has long gone by then."""

    @on_stream("orders", order="partition", timeout=30)
    async def handle(order: str, context: Context) -> None:
        assert context.remaining() <= 0.3
        await asyncio.sleep(float(order))

    began = time.monotonic()
    reply = await Served(binding_of(handle)).serve([record(1, "0"), record(2, "60"), record(3, "0")], timeout=0.3)
    assert time.monotonic() - began < 5
    assert errors(reply) == {1: "TimeoutError", 2: "EarlierEventFailed"}


async def test_a_sync_function_runs_beside_the_loop_and_past_its_time() -> None:
    """It blocks nobody; its time-out is told at once, though its thread can't be stopped."""
    let_go = threading.Event()

    @on_stream("orders")
    def handle(order: str) -> None:
        let_go.wait(20)

    try:
        reply = await Served(binding_of(handle)).serve([record(1, "")], timeout=0.1)
        assert reply.rest is not None
        assert reply.rest.error_type == "TimeoutError"
    finally:
        let_go.set()


async def test_what_a_function_does_to_its_host_stays_its_own_failure() -> None:
    """An exit, a cancellation that is not its own, a result that can't be bytes: each is told, and the host goes on."""

    @on_stream("orders", emits="out", order="none", retry=Retry(give_up_on=(KeyError,)))
    async def handle(order: str) -> Any:
        match order:
            case "exit":
                raise SystemExit(3)
            case "cancelled":
                raise asyncio.CancelledError
            case "object":
                return object()
            case "key":
                return Emit("x", key=5)  # type: ignore[arg-type]
            case "hopeless":
                raise KeyError("x")
            case "reject":
                raise Reject("no")
            case _:
                return "fine"

    said = ["exit", "cancelled", "object", "key", "hopeless", "reject", "fine"]
    reply = await Served(binding_of(handle)).serve([record(number, each) for number, each in enumerate(said)])
    assert errors(reply) == {
        0: "SystemExit", 1: "RuntimeError", 2: "InvalidOutcome", 3: "InvalidOutcome", 4: "KeyError", 5: "Reject",
    }  # fmt: skip
    assert [reply.failures[index].retryable for index in (0, 4)] == [True, False]
    assert reply.failures[5].kind is FailureKind.TERMINAL
    assert [emit.value for emit in reply.results] == [b"fine"]
    for alone in ("cancelled", "object", "exit"):
        rest = (await Served(binding_of(handle)).serve([record(0, alone)])).rest
        assert rest is not None, alone


async def test_a_request_that_is_cancelled_stops_all_of_its_events() -> None:
    """The caller's end is the function's: nothing of it runs on."""
    started, stopped = [], []

    @on_stream("orders", order="none", concurrency=2)
    async def handle(event: Event[str]) -> None:
        started.append(event.offset)
        try:
            await asyncio.sleep(600)
        finally:
            stopped.append(event.offset)

    task = asyncio.create_task(Served(binding_of(handle)).serve([record(number) for number in range(4)]))
    async with asyncio.timeout(10):
        while len(started) < 2:
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(stopped) == [0, 1]
    assert started == [0, 1]


async def test_what_can_not_be_decoded_meets_no_function() -> None:
    """It is terminal and counts as no attempt; the events beside it in its batch are handed over."""
    seen: list[dict[str, int]] = []

    @on_stream("orders", batch=Batch(max_events=10, max_wait=0.1))
    async def handle(events: list[dict[str, int]]) -> None:
        seen.extend(events)

    reply = await Served(binding_of(handle)).serve(
        [record(1, '{"a": 1}'), record(2, "x"), record(3, '{"a": 3}')], attempts=2
    )
    assert seen == [{"a": 1}, {"a": 3}]
    assert (reply.failures[1].kind, reply.failures[1].counts) == (FailureKind.TERMINAL, False)
    assert list(reply.failures) == [1]


def test_a_host_serves_one_binding() -> None:
    """A function that is not decorated, or twice, is refused with what to do; each of its bindings can be served."""

    async def bare(order: str) -> None: ...

    @on_stream("orders", name="first")
    @on_stream("returns", name="second")
    async def twice(order: str) -> None: ...

    with pytest.raises(TypeError, match="bound 0 times"):
        binding_of(bare)
    with pytest.raises(TypeError, match="bindings_of"):
        binding_of(twice)
    assert {binding_of(each).name for each in bindings_of(twice)} == {"first", "second"}
