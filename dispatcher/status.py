"""Where functions stand, read from the broker: it works while nothing runs, and asks no process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from bindings import Binding
from dispatcher.brokers.base import Broker
from dispatcher.brokers.streams import every_partition
from dispatcher.control import ControlLog, Entry
from dispatcher.core.offsets import OffsetMap, decode_metadata
from dispatcher.core.record import TopicPartition
from dispatcher.errors import BrokerError, InvalidOffsetMetadata
from dispatcher.telemetry.pulse import InFlight, in_flight
from dispatcher.worker.positions import Beginning, beginnings
from dispatcher.worker.topics import retry_topics

__all__ = ["DeadLetters", "FunctionStatus", "PartitionStatus", "dead_letters", "function_status", "redrive_group"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """Where a function stands in one partition. None is what could not be read.

    Attributes:
        stream, number: which partition.
        committed: the group's commit; None when it has none yet.
        position: the lowest event that is not done: the commit or, without one, where ``start=`` begins.
        end: the offset of the next event.
        lag: events that are not done. In a compacted or transactional log also offsets that hold no event.
        lag_seconds: the age of the oldest of them; 0 when there is none.
        done_beyond: events that are done beyond the commit.
        parked: offset -> attempts used, of events that failed and are not done.
        in_flight: events whose function runs now; None where a process elsewhere may have some.
    """

    stream: str
    number: int
    committed: int | None
    position: int
    end: int
    lag: int
    lag_seconds: float | None
    done_beyond: int
    parked: Mapping[int, int]
    in_flight: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """The dead letters of a function.

    Attributes:
        topics: where they rest.
        in_log: letters that the topics hold, those of other functions in the same topic too.
        unresolved: of these, not sent back or dropped by this function's operators.
    """

    topics: tuple[str, ...]
    in_log: int
    unresolved: int


@dataclass(slots=True, kw_only=True)
class FunctionStatus:
    """Where one function stands. None is what could not be read, and ``problems`` say why.

    Attributes:
        name, group: whose.
        members: live members of its group; 0 when nothing runs.
        partitions: of its streams and of its retry topics.
        missing: streams that do not exist, so that nothing can be said of the whole.
        dead_letters: what it has given up.
        control: what an operator, or its retry policy, has said of it last; None when nobody has, or it is not known.
        problems: what could not be read, and why.
    """

    name: str
    group: str
    members: int | None = None
    partitions: tuple[PartitionStatus, ...] | None = None
    missing: tuple[str, ...] = ()
    dead_letters: DeadLetters | None = None
    control: Entry | None = None
    control_is_known: bool = True
    problems: list[str] = field(default_factory=list)

    @property
    def state(self) -> Literal["paused", "running", "stopped"] | None:
        """Whether it works: paused by command or by itself; stopped when no process is in its group."""
        if self.control is not None and self.control.action == "pause":
            return "paused"
        if self.members is None or not self.control_is_known:
            return None
        return "running" if self.members else "stopped"

    @property
    def lag(self) -> int | None:
        """Events that are not done, in all partitions."""
        known = self._known
        return None if known is None else sum(each.lag for each in known)

    @property
    def lag_seconds(self) -> float | None:
        """The age of the oldest event that is not done."""
        ages = [each.lag_seconds for each in self._known or ()]
        known = [age for age in ages if age is not None]
        return max(known, default=0.0) if self._known is not None and len(known) == len(ages) else None

    @property
    def parked(self) -> int | None:
        """Events that failed and wait for another attempt."""
        known = self._known
        return None if known is None else sum(len(each.parked) for each in known)

    @property
    def in_flight(self) -> int | None:
        """Events whose function runs now."""
        counts = [each.in_flight for each in self._known or ()]
        known = [count for count in counts if count is not None]
        return sum(known) if self._known is not None and len(known) == len(counts) else None

    @property
    def _known(self) -> tuple[PartitionStatus, ...] | None:
        # Of a stream that is missing nothing is known: 0 would be a lie.
        return None if self.missing else self.partitions


def redrive_group(app: str, function: str) -> str:
    """The group whose commits say which dead letters are resolved."""
    return f"{app}.{function}.redrive"


async def function_status(
    binding: Binding,
    broker: Broker,
    *,
    app: str,
    now: float,
    data: Path | None = None,
    control: ControlLog | None = None,
) -> FunctionStatus:
    """Look at one function. What can't be read is None, and told in ``problems``; nothing is raised for it.

    Args:
        binding: of which function.
        broker: connected.
        app: its name.
        now: seconds since 1970-01-01 UTC.
        data: the data folder, where the processes of this machine say what they have in flight.
        control: the app's, where it is said what is paused; None where control is off.
    """
    status = FunctionStatus(name=binding.name, group=f"{app}.{binding.name}")

    async def read(what: str, work: Awaitable[T]) -> T | None:
        try:
            return await work
        except (BrokerError, InvalidOffsetMetadata) as error:
            status.problems.append(f"{what}: {error}")
            return None

    if control is not None:
        known = len(status.problems)
        await read("control", control.look())
        status.control_is_known = len(status.problems) == known
        status.control = control.trail.last(binding.name)
    status.members = await read("members", broker.group_members(status.group))
    status.partitions = await read("offsets", _partitions(binding, broker, status, now))
    status.dead_letters = await read("dead letters", dead_letters(binding, broker, app=app))
    if data is not None and status.partitions is not None:
        here = await asyncio.to_thread(in_flight, data, broker.url, status.group)
        status.partitions = tuple(_with_in_flight(each, here, status.members) for each in status.partitions)
    return status


def _with_in_flight(each: PartitionStatus, here: InFlight, members: int | None) -> PartitionStatus:
    count = here.partitions.get(TopicPartition(each.stream, each.number))
    # A partition that nobody here holds may be held by a member elsewhere, of which the broker says no more; but what is all
    # done runs nowhere.
    if count is None and (each.lag == 0 or (members is not None and members <= here.members)):
        count = 0
    return replace(each, in_flight=count)


async def _partitions(
    binding: Binding, broker: Broker, status: FunctionStatus, now: float
) -> tuple[PartitionStatus, ...]:
    streams = await every_partition(broker, binding.streams)
    status.missing = tuple(stream for stream in binding.streams if stream not in {id_.topic for id_ in streams})
    status.problems += [f"there is no stream {stream}" for stream in status.missing]
    returning = await every_partition(broker, retry_topics(binding))
    every = [*streams, *returning]
    starts = await beginnings(
        broker, binding, status.group, every, foreign_metadata="ignore", now=now, whole=set(returning)
    )
    ends = await broker.end_offsets(every)
    behind = {id_: begin.position for id_, begin in starts.items() if begin.position < ends[id_]}
    ages = await _ages(broker, behind, status, now)
    return tuple(_partition(id_, starts[id_], ends[id_], ages.get(id_, 0.0)) for id_ in every)


def _partition(id_: TopicPartition, start: Beginning, end: int, age: float | None) -> PartitionStatus:
    done = _length(start.offsets, start.position, end)
    return PartitionStatus(
        stream=id_.topic,
        number=id_.partition,
        committed=None if start.commit is None else start.commit.offset,
        position=start.position,
        end=end,
        lag=max(0, end - start.position - done),
        lag_seconds=age,
        done_beyond=done,
        parked={offset: count for offset, count in start.offsets.attempts.items() if count and offset < end},
    )


def _length(offsets: OffsetMap, begin: int, end: int) -> int:
    """How many offsets from ``begin`` to before ``end`` are done."""
    return sum(max(0, min(stop, end) - max(start, begin)) for start, stop in offsets.done)


async def _ages(
    broker: Broker, positions: Mapping[TopicPartition, int], status: FunctionStatus, now: float
) -> dict[TopicPartition, float | None]:
    """How old the event at each position is, in seconds; None for one that can't be read."""
    try:
        records = await broker.read(positions)
    except BrokerError as error:
        if len(positions) == 1:
            [id_] = positions
            status.problems.append(f"the oldest event of {id_.topic}/{id_.partition}: {error}")
            return {id_: None}
        ages: dict[TopicPartition, float | None] = {}
        for id_, offset in positions.items():
            ages |= await _ages(broker, {id_: offset}, status, now)
        return ages
    return {id_: max(0.0, now - found[0].timestamp / 1000) if found else 0.0 for id_, found in records.items()}


async def dead_letters(binding: Binding, broker: Broker, *, app: str) -> DeadLetters:
    """Count the dead letters of one function, and those of them that nobody has dealt with.

    Raises:
        InvalidOffsetMetadata: what was dealt with can't be read.
        BrokerError: the broker could not be asked.
    """
    topics = tuple(dict.fromkeys(binding.dead_letter_topic(stream) for stream in binding.streams))
    every = await every_partition(broker, topics)
    begins, ends = await broker.beginning_offsets(every), await broker.end_offsets(every)
    commits = await broker.committed(redrive_group(app, binding.name), every)
    in_log = unresolved = 0
    for id_ in every:
        in_log += ends[id_] - begins[id_]
        left = ends[id_] - begins[id_]
        if (commit := commits[id_]) is not None:
            begin = max(begins[id_], commit.offset)
            left = ends[id_] - begin - _length(decode_metadata(*commit), begin, ends[id_])
        unresolved += max(0, left)
    return DeadLetters(topics=topics, in_log=in_log, unresolved=unresolved)
