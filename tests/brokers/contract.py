"""A member of a consumer group for the contract tests: it remembers what it was told and waits without sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from types import TracebackType
from typing import Self

from dispatcher.brokers.base import Broker, Producer
from dispatcher.core.record import Outgoing, Record, TopicPartition

#: For what needs a rebalance: a real cluster takes 3 s for one, and a busy machine longer.
PATIENCE = 40.0

#: make(partitions, retention_ms="..."): creates a stream and returns its name.
MakeStream = Callable[..., Awaitable[str]]


class Member:
    """A started consumer and its listener in one.

    Args:
        start: where to begin in each partition, or None to leave it to the broker.
        before_assigned, before_revoked: awaited inside the callbacks.
        journal: a list that members may share, to which each callback adds (name, "assigned" | "revoked", partitions).
    """

    def __init__(
        self,
        broker: Broker,
        group: str,
        streams: Sequence[str],
        *,
        name: str = "member",
        start: int | None = 0,
        before_assigned: Callable[[], Awaitable[None]] | None = None,
        before_revoked: Callable[[], Awaitable[None]] | None = None,
        journal: list[tuple[str, str, frozenset[TopicPartition]]] | None = None,
    ) -> None:
        self.name = name
        self.held: set[TopicPartition] = set()
        self.journal = [] if journal is None else journal
        self.before_assigned = before_assigned
        self.before_revoked = before_revoked
        self.start = start
        self.changed = asyncio.Event()
        self.consumer = broker.consumer(group, streams, self)

    async def __aenter__(self) -> Self:
        await self.consumer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.consumer.close()

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.journal.append((self.name, "assigned", frozenset(partitions)))
        if self.start is not None:
            for partition in partitions:
                self.consumer.seek(partition, self.start)
        if self.before_assigned is not None:
            await self.before_assigned()
        self.held = {TopicPartition(*partition) for partition in partitions}
        self.changed.set()

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        if self.before_revoked is not None:
            await self.before_revoked()
        self.journal.append((self.name, "revoked", frozenset(partitions)))
        self.held = set()
        self.changed.set()

    async def until(self, condition: Callable[[], bool], *others: Member) -> None:
        """Wait for the callbacks, of this or of the other members, to make the condition true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                waits = [asyncio.create_task(member.changed.wait()) for member in (self, *others)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
                for member in (self, *others):
                    member.changed.clear()

    async def holds(self, count: int) -> None:
        """Wait until it has that many partitions."""
        await self.until(lambda: len(self.held) == count)

    async def collect(
        self, count: int, partitions: Iterable[TopicPartition] | None = None, max_records: int = 1_000
    ) -> list[Record]:
        """Fetch until that many records have come, from those partitions or from all that are held."""
        records: list[Record] = []
        give_up = time.monotonic() + PATIENCE
        while len(records) < count and time.monotonic() < give_up:
            asked = list(self.held if partitions is None else partitions)
            fetched = await self.consumer.fetch(asked, max_records=max_records, timeout=1.0)
            for batch in fetched.values():
                records.extend(batch)
        return records


async def send_all(producer: Producer, stream: str, values: Iterable[bytes], partition: int | None = None) -> None:
    """Send the values concurrently, in order."""
    await asyncio.gather(*(producer.send(Outgoing(topic=stream, value=value, partition=partition)) for value in values))
