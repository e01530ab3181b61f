"""What the broker in memory does beyond the contract, which it is held to with the others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

import pytest

from bindings import on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.core.record import Committed, Outgoing, TopicPartition
from dispatcher.errors import BrokerUnavailable, CommitRefused
from dispatcher.testing import Log, MemoryBroker, VirtualLoop, dispatching

PARTITION = TopicPartition("orders", 0)


class Listener:
    """A member that takes ``slowness`` seconds to give up what it holds."""

    def __init__(self, slowness: float = 0.0) -> None:
        self.held: set[TopicPartition] = set()
        self.slowness = slowness

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.held = set(partitions)

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        await asyncio.sleep(self.slowness)
        self.held = set()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run that on a virtual loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


def test_a_member_that_does_not_give_up_in_time_is_put_out() -> None:
    """The others wait for the rebalance timeout and no longer; what the late one then commits is refused, and it comes back."""

    async def check() -> None:
        broker = MemoryBroker(rebalance_timeout=10)
        broker.log.create(StreamInfo(name="orders", partitions=2))
        late, prompt = Listener(slowness=30), Listener()
        slow = broker.consumer("group", ["orders"], late)
        await slow.start()
        await asyncio.sleep(0.1)
        assert len(late.held) == 2
        quick = broker.consumer("group", ["orders"], prompt)
        await quick.start()
        await asyncio.sleep(9)
        assert not prompt.held
        await asyncio.sleep(2)
        assert len(prompt.held) == 2
        with pytest.raises(CommitRefused):
            await slow.commit({PARTITION: Committed(1)})
        await asyncio.sleep(30)
        assert len(late.held) == len(prompt.held) == 1
        await slow.close()
        await quick.close()

    run(check())


def test_what_is_cut_is_gone_at_once() -> None:
    """A connection that is cut writes, commits and fetches nothing any more, and its partitions go to the others."""

    async def check() -> None:
        log = Log()
        dead, alive = MemoryBroker(log), MemoryBroker(log)
        log.create(StreamInfo(name="orders", partitions=1))
        listener = Listener()
        consumer = dead.consumer("group", ["orders"], Listener())
        producer = await dead.producer()
        await consumer.start()
        await asyncio.sleep(0.1)
        alive.append(Outgoing(topic="orders", value=b"1"))
        successor = alive.consumer("group", ["orders"], listener)
        await successor.start()
        dead.cut()
        with pytest.raises(BrokerUnavailable):
            await producer.send(Outgoing(topic="orders", value=b"2"))
        with pytest.raises(CommitRefused):
            await consumer.commit({PARTITION: Committed(1)})
        assert await consumer.fetch([PARTITION], max_records=1, timeout=1) == {}
        assert listener.held == {PARTITION}
        assert await alive.group_members("group") == 1
        assert await alive.end_offsets([PARTITION]) == {PARTITION: 1}
        await successor.close()

    run(check())


def test_retention_that_passes_the_commit_is_survived() -> None:
    """Events that are deleted before they were delivered are gone, and the function goes on with the rest."""

    @on_stream("orders")
    async def handle(order: dict) -> None:
        await asyncio.sleep(1)

    with dispatching(handle) as test:
        sent = [test.send("orders", {"number": number}, key="a") for number in range(5)]
        test.advance(1.5)
        test.crash()
        test.broker.delete_records("orders", 0, before=3)
        test.run()
        assert test.done == [sent[0], *sent[3:]]
        assert [event.offset for event in test.events("orders")] == [3, 4]
