"""What the arms that call a function over a network share."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.arms.consumer import bare_consumer
from benchmarks.clock import Clock
from benchmarks.orders import orders
from bindings import Batch, Binding, Ordering
from bindings.calling import RecordLike
from bindings.decorator import bind
from bindings.envelopes.record import WireRecord
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.config import Settings
from dispatcher.config.elsewhere import function_elsewhere, functions_elsewhere
from dispatcher.invokers.base import Invoker
from dispatcher.worker import Worker

__all__ = ["CONCURRENCY", "STREAM", "batches_of", "binding_of", "consume", "post_all", "post_from_log", "read_log"]

#: Requests at once.
CONCURRENCY = 64
#: As often as the dispatcher commits (Settings.commit_interval).
COMMIT_INTERVAL = 0.5
#: Where events that come from no log are said to come from.
STREAM = "benchmark.orders.made"

Post = Callable[[Any], Awaitable[None]]


def binding_of(stream: str, batch: int, order: Ordering = "none") -> Binding:
    """The function that is elsewhere."""
    made = bind(functions_elsewhere if batch > 1 else function_elsewhere, stream, name="elsewhere")
    policy = Batch(max_events=batch, max_wait=0.05) if batch > 1 else Batch()
    return replace(made, concurrency=CONCURRENCY, batch=policy, order=order)


def batches_of(events: int, batch: int) -> Iterator[list[WireRecord]]:
    """The events of the log, made here."""
    made = [
        WireRecord(STREAM, 0, number, 1_700_000_000_000, key, value)
        for number, (key, value) in enumerate(orders(events))
    ]
    return (made[begin : begin + batch] for begin in range(0, events, batch))


async def consume(bootstrap: str, binding: Binding, invoker: Invoker, clock: Clock) -> dict[str, float]:
    """Run the dispatcher's worker to the end of the log."""

    class Timed:
        """The invoker, between two looks at the clock, which the other arms have too."""

        concurrency, keeps_time = invoker.concurrency, invoker.keeps_time
        results, close = invoker.results, invoker.close

        async def invoke(self, batch: Sequence[Any]) -> Any:
            clock.begin()
            reply = await invoker.invoke(batch)
            clock.end(len(batch))
            return reply

    async with KafkaBroker(bootstrap) as broker:
        worker = Worker(
            binding, broker, app=f"bench-{uuid.uuid4()}", settings=Settings(), until_caught_up=True, invoker=Timed()
        )
        await worker.run()
        if (failed := worker.statistics()).retried or failed.dead_lettered or failed.not_delivered:
            raise SystemExit(f"not all was delivered at once: {failed}")
    return clock.figures()


async def post_all(requests: Iterable[Any], post: Post) -> None:
    """Post them, so many at once."""
    left = iter(requests)

    async def go_on() -> None:
        for request in left:
            await post(request)

    await asyncio.gather(*(go_on() for _ in range(CONCURRENCY)))


async def read_log(bootstrap: str, stream: str, batch: int, events: int, hand_over: Post) -> None:
    """Read by ``getmany`` of aiokafka, with a commit now and then of all that was read."""
    consumer = bare_consumer(bootstrap, stream)
    await consumer.start()
    committed, seen = time.monotonic(), 0
    while seen < events:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=500)
        for records in fetched.values():
            for begin in range(0, len(records), batch):
                some = records[begin : begin + batch]
                await hand_over(some)
                seen += len(some)
        if time.monotonic() - committed > COMMIT_INTERVAL:
            await hand_over(None)
            await consumer.commit()
            committed = time.monotonic()
    await hand_over(None)
    await consumer.stop()


async def post_from_log(
    bootstrap: str, stream: str, batch: int, events: int, post: Callable[[Sequence[RecordLike]], Awaitable[None]]
) -> None:
    """A loop over the log and posters beside it, as written by hand: it waits for all of them before it commits."""
    queue: asyncio.Queue[Sequence[RecordLike]] = asyncio.Queue(2 * CONCURRENCY)

    async def go_on() -> None:
        while True:
            some = await queue.get()
            await post(some)
            queue.task_done()

    async def hand_over(some: Sequence[RecordLike] | None) -> None:
        await (queue.join() if some is None else queue.put(some))

    posters = [asyncio.create_task(go_on()) for _ in range(CONCURRENCY)]
    reading = asyncio.create_task(read_log(bootstrap, stream, batch, events, hand_over))
    await asyncio.wait([reading, *posters], return_when=asyncio.FIRST_COMPLETED)
    for poster in posters:
        poster.cancel()
    ended = await asyncio.gather(*posters, return_exceptions=True)
    for error in ended:
        if not isinstance(error, asyncio.CancelledError):
            raise SystemExit(f"a poster failed: {error!r}")
    await reading
