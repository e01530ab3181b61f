"""What aiokafka has no public name for. All of it was read in version 0.14, and tests hold it."""
# ruff: noqa: SLF001 - that is what this module is for

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import JoinGroupRequest
from aiokafka.structs import TopicPartition

__all__ = [
    "abandon_consumer",
    "abandon_producer",
    "excuse_commits",
    "fetch_bytes",
    "lead_again",
    "note_heartbeats",
    "note_return",
    "peek",
    "quiet_logs",
    "raise_background_errors",
    "stop_within",
    "was_put_out",
]

T = TypeVar("T")

_ABANDON_TIMEOUT = 2.0


def peek(coroutine: Coroutine[Any, Any, T]) -> T | None:
    """Return what a coroutine returns without waiting, or None when it would wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    return None


def raise_background_errors(consumer: AIOKafkaConsumer) -> None:
    """Raise what stopped the group's or the fetcher's task; a fetch with nothing to ask for would never tell.

    Raises:
        KafkaError: whatever it was; the group's task then goes on, and tries again.
    """
    coordinator = consumer._coordinator
    if coordinator is not None:
        # Its own check would raise the task's cancellation as if it were the caller's.
        if coordinator._coordination_task.cancelled():
            raise KafkaError("the group's task has ended")
        coordinator.check_errors()
    if consumer._fetcher is not None and consumer._fetcher.error_future.done():
        raise KafkaError("the fetching task has ended")


def note_heartbeats(consumer: AIOKafkaConsumer, note: Callable[[], None]) -> None:
    """Have ``note`` called after each heartbeat that the coordinator answered well."""
    coordinator: Any = consumer._coordinator
    beat = coordinator._do_heartbeat

    async def noted() -> bool:
        answered: bool = await beat()
        if answered:
            note()
        return answered

    coordinator._do_heartbeat = noted


def excuse_commits(consumer: AIOKafkaConsumer) -> None:
    """Have nobody miss the failure of a commit that was given up: it goes on shielded, and Python logs its end as lost."""
    coordinator: Any = consumer._coordinator
    commit = coordinator._do_commit_offsets

    async def excused(*arguments: Any) -> None:
        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await commit(*arguments)

    coordinator._do_commit_offsets = excused


def note_return(consumer: AIOKafkaConsumer, instance_id: str, note: Callable[[], None]) -> None:
    """Have ``note`` called when a static member that led its group is back in its place.

    That takes no rebalance (KIP-345), and the coordinator's answer names the leader by the id that it had before: aiokafka
    takes itself for a follower, and nobody in the group looks for new partitions any more (KIP-814).
    """
    coordinator: Any = consumer._coordinator
    send = coordinator._send_req

    async def noted(request: Any) -> Any:
        answer = await send(request)
        if isinstance(request, JoinGroupRequest) and not answer.error_code:
            leader, member = answer.leader_id, answer.member_id
            # The coordinator makes a static member's id: its name, a dash and a UUID.
            if leader != member and leader[:-37] == instance_id:
                note()
        return answer

    coordinator._send_req = noted


def lead_again(consumer: AIOKafkaConsumer, assigned: Mapping[str, int]) -> None:
    """Look for new partitions as the group's leader does, and join again when there are some.

    Args:
        consumer: that of the leader.
        assigned: topic -> partitions of it that the group's members have now.
    """
    coordinator: Any = consumer._coordinator
    coordinator._group_subscription = set(assigned)
    coordinator._metadata_snapshot = dict(assigned)


def was_put_out(consumer: AIOKafkaConsumer) -> bool:
    """Whether the coordinator has said that it does not know this member."""
    coordinator: Any = consumer._coordinator
    return bool(coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID)


async def fetch_bytes(
    consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int, max_bytes: int
) -> tuple[bytes, int]:
    """Fetch what stands in the log from the batch on that holds ``offset``, undecoded; and the log's end.

    A batch is never cut off by ``max_bytes`` when it is the first, and the one that follows may be.

    Raises:
        KafkaError: the leader does not answer, or says no.
    """
    leader = consumer._client.cluster.leader_for_partition(partition)
    if leader is None or leader < 0:
        raise LeaderNotAvailableError(partition)
    asked = [(partition.topic, [(partition.partition, offset, max_bytes)])]
    # read_uncommitted: what a batch was part of does not matter to where it ends.
    answer: Any = await consumer._client.send(leader, FetchRequest(0, 0, max_bytes, 0, asked, rack_id=""))
    [(_, [(_, code, end, *_, data)])] = answer.topics
    if code:
        raise for_code(code)(partition)
    return data or b"", end


async def stop_within(stop: Coroutine[Any, Any, object], timeout: float) -> bool:
    """Whether a client's ``stop()`` ended well in so many seconds.

    It is a task of its own, for aiokafka awaits tasks that it has cancelled itself, a fetcher's that waits before it tries
    again, say, and their cancellation would come out as the caller's: a worker would end for nobody's asking, without a word.
    """
    task = asyncio.create_task(stop)
    try:
        await asyncio.wait({task}, timeout=timeout)
    finally:
        await _cancel([task])
    return task.done() and not task.cancelled() and task.exception() is None


async def abandon_consumer(consumer: AIOKafkaConsumer) -> None:
    """End the tasks and connections of a consumer whose ``stop`` does not return."""
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    tasks = [
        getattr(coordinator, name, None) for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")
    ]
    if fetcher is not None:
        tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
    await _cancel(tasks)
    await _within(consumer._client.close())


async def abandon_producer(producer: AIOKafkaProducer) -> None:
    """End the task and connections of a producer whose ``stop`` does not return: it never gives a batch up by itself."""
    sender = producer._sender.sender_task
    if sender is not None:
        sender.cancel()
    await _within(producer.client.close())
    await _cancel([sender])
    producer._message_accumulator.fail_all(KafkaTimeoutError("given up"))


async def _cancel(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=_ABANDON_TIMEOUT)


async def _within(coroutine: Coroutine[Any, Any, object]) -> None:
    with suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(_ABANDON_TIMEOUT):
            await coroutine


class _Quiet(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        # By its text before anything is put into it: a text of aiokafka's, of which there are some dozens.
        kind, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._last.get(kind, float("-inf")) < _LOG_INTERVAL:
            return False
        self._last[kind] = now
        return True


_QUIET = _Quiet()
# Seconds. While all brokers are down, aiokafka tries each ten times a second and logs every time: 100 lines a second.
_LOG_INTERVAL = 5.0
_LOGGERS = ("client", "conn", "consumer.fetcher", "consumer.group_coordinator", "producer.sender")


def quiet_logs() -> None:
    """Keep aiokafka's log to warnings in single lines, one of a kind in 5 s.

    What it prints with a traceback, the dispatcher raises itself.
    """
    parent = logging.getLogger("aiokafka")
    if parent.level == logging.NOTSET:
        parent.setLevel(logging.WARNING)
    parent.addFilter(_QUIET)
    for name in _LOGGERS:
        logging.getLogger(f"aiokafka.{name}").addFilter(_QUIET)
