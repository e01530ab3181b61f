"""What an event costs on its whole way through a worker, in calls and in lines: figures that no busy machine can change.

A run with many events less a run with few, on a broker in memory and in virtual time: nothing but the events is different, and
time, which stands still while code runs, has nobody rest, commit or look around more often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from counting import Cost, Counter, judge, marginal
from pydantic import BaseModel

from bindings import Batch, Event, bindings_of, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.clock import Clock
from dispatcher.config import Settings
from dispatcher.core.record import Outgoing
from dispatcher.testing.loop import VirtualLoop
from dispatcher.testing.memory import MemoryBroker
from dispatcher.worker import Worker

FEW, MANY = 1_000, 2_000


class Order(BaseModel):
    """A small model: decoding it is one call."""

    id: int


@on_stream("orders")
async def plain(order: Order) -> None:
    """The bare value, and no wait."""


@on_stream("orders")
async def waiting(order: Order) -> None:
    """The bare value, and a wait."""
    await asyncio.sleep(0.01)


@on_stream("orders")
async def whole(event: Event[Order]) -> None:
    """All that is known of an event."""


@on_stream("orders", batch=Batch(max_events=100))
async def batches(orders: list[Order]) -> None:
    """A hundred at once."""


@on_stream("orders", emits="results")
async def emitting(order: Order) -> Order:
    """A result of each."""
    return order


#: What an event costs at the most, by its function and the number of keys: a key of its own, or behind others of its key.
COSTS = {
    ("plain", 1_000_000): Cost(calls=5.3, lines=16.5),
    ("plain", 10): Cost(calls=5.3, lines=16.5),
    ("waiting", 1_000_000): Cost(calls=14.3, lines=67.0),
    ("waiting", 10): Cost(calls=17.4, lines=74.2),
    ("whole", 1_000_000): Cost(calls=31.2, lines=114.4),
    ("batches", 1_000_000): Cost(calls=7.6, lines=9.1),
    ("emitting", 1_000_000): Cost(calls=102.3, lines=284.5),
}


def counted(function: Callable[..., Any], events: int, keys: int) -> Counter:
    """What it takes to have so many events handled, from joining the group to leaving it."""
    [binding] = bindings_of(function)

    async def run() -> Counter:
        broker = MemoryBroker()
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        for number in range(events):
            broker.append(Outgoing(topic="orders", key=b"%d" % (number % keys), value=b'{"id":%d}' % number))
        clock = Clock(monotonic=asyncio.get_running_loop().time, wall=lambda: 1_700_000_000.0)
        worker = Worker(binding, broker, app="cost", settings=Settings(), until_caught_up=True, clock=clock)
        with Counter() as counter:
            await worker.run()
        assert worker.statistics().done == events
        return counter

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


@pytest.mark.parametrize(("name", "keys"), COSTS)
def test_the_way_of_an_event_through_a_worker_is_no_longer_than_it_was(name: str, keys: int) -> None:
    """From the broker's hands to the commit, an event costs the calls and lines that are written down, on any machine."""
    cost = marginal({events: counted(globals()[name], events, keys) for events in (FEW, MANY)})
    judge(f"{name}, {keys:,} keys", cost, COSTS[name, keys], f"COSTS in {__file__}")
