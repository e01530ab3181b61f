"""Writes to the log. Sends that come while a transaction runs share the next one."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

from dispatcher.brokers.embedded import log
from dispatcher.brokers.embedded.codec import encode, size_in_kafka
from dispatcher.brokers.embedded.database import Database
from dispatcher.brokers.embedded.signals import Watcher
from dispatcher.brokers.partitioner import key_hash
from dispatcher.core.record import Outgoing
from dispatcher.errors import BrokerError, BrokerUnavailable, DispatchError

__all__ = ["EmbeddedProducer"]

#: The most that one transaction writes: it holds the file's write lock for about 20 ms then.
_MAX_RECORDS = 5_000
_MAX_BYTES = 4_000_000

_Answer = asyncio.Future[tuple[int, int]]


class EmbeddedProducer:
    """See :class:`dispatcher.brokers.base.Producer`. Records without a key go to the partitions in turn."""

    def __init__(self, writer: Database, watcher: Watcher) -> None:
        self._writer = writer
        self._watcher = watcher
        self._turn = itertools.count()
        self._pending: list[tuple[log.Entry, _Answer]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False

    async def send(self, record: Outgoing) -> tuple[int, int]:
        return await self._enqueue(record)

    async def send_all(self, records: Sequence[Outgoing]) -> Sequence[tuple[int, int] | BrokerError]:
        answers = [self._enqueue(record) for record in records]
        if answers:
            await asyncio.wait(answers)
        return [_outcome(answer) for answer in answers]

    def _enqueue(self, record: Outgoing) -> _Answer:
        if self._closed:
            raise BrokerUnavailable("this producer is closed")
        timestamp = time.time_ns() // 1_000_000 if record.timestamp is None else record.timestamp
        fixed = record.partition is not None
        if record.partition is not None:
            route = record.partition
        elif record.key is not None:
            route = key_hash(record.key)
        else:
            route = next(self._turn)
        entry = log.Entry(record.topic, route, fixed, size_in_kafka(record), timestamp, encode(record, timestamp))
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._pending.append((entry, answer))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="dispatch-log-producer")
        return answer

    async def close(self) -> None:
        self._closed = True
        if self._flushing is not None:
            await asyncio.wait([self._flushing])

    async def _flush(self) -> None:
        try:
            while self._pending:
                await self._write(self._next_batch())
        finally:
            self._flushing = None
            for _, answer in self._pending:
                answer.cancel()
            self._pending = []

    def _next_batch(self) -> list[tuple[log.Entry, _Answer]]:
        size = 0
        count = 0
        for entry, _ in self._pending[:_MAX_RECORDS]:
            size += len(entry.data)
            count += 1
            if size >= _MAX_BYTES:
                break
        batch, self._pending = self._pending[:count], self._pending[count:]
        return batch

    async def _write(self, batch: list[tuple[log.Entry, _Answer]]) -> None:
        try:
            results = await self._writer.run(log.append, [entry for entry, _ in batch])
        except DispatchError as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(_copy(error))
            return
        except BaseException:
            for _, answer in batch:
                answer.cancel()
            raise
        self._watcher.records.notify()
        for (_, answer), result in zip(batch, results, strict=True):
            if answer.done():
                continue
            if isinstance(result, BrokerError):
                answer.set_exception(result)
            else:
                answer.set_result(result)


def _copy(error: DispatchError) -> DispatchError:
    """An exception of its own for each send: raised in many tasks, one object would gather all their tracebacks."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy


def _outcome(answer: _Answer) -> tuple[int, int] | BrokerError:
    error = answer.exception()
    if error is None:
        return answer.result()
    if isinstance(error, BrokerError):
        return error
    raise error
