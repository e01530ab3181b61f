"""Where a partition begins: at its group's commit, or where the function's ``start=`` says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from bindings import Binding
from bindings.policies import parse_start
from dispatcher.brokers.base import Broker
from dispatcher.brokers.streams import every_partition
from dispatcher.core.offsets import OffsetMap, decode_metadata
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.errors import BrokerUnavailable, InvalidOffsetMetadata

__all__ = ["Beginning", "beginnings", "ends_of", "never_committed", "possible_beginnings"]

logger = logging.getLogger("dispatcher.worker")


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where one ownership of a partition begins.

    Attributes:
        position: the first offset to deliver.
        offsets: what a former owner did beyond it.
        commit: what the group has committed; None when that was nothing yet.
        lost: offsets between the commit and the start of the log, deleted before they were delivered.
    """

    position: int
    offsets: OffsetMap
    commit: Committed | None = None
    lost: int = 0


async def beginnings(
    broker: Broker,
    binding: Binding,
    group: str,
    partitions: Collection[TopicPartition],
    *,
    foreign_metadata: Literal["ignore", "refuse"],
    now: float,
    starts: Mapping[TopicPartition, int] | None = None,
    whole: Collection[TopicPartition] = (),
) -> dict[TopicPartition, Beginning]:
    """Find where each partition begins.

    Args:
        broker: connected.
        binding: whose ``start=`` counts where there is no commit.
        group: whose commits count.
        partitions: of which streams.
        foreign_metadata: what to do about a commit that another program made.
        now: seconds since 1970-01-01 UTC.
        starts: counts in the place of ``start=``; a partition that it does not name begins at its end.
        whole: partitions all of whose events are for this group, whatever ``start=`` says.

    Raises:
        InvalidOffsetMetadata: another program wrote the commit's metadata, and the setting is to refuse it.
        BrokerError: the broker could not be asked.
    """
    commits = await broker.committed(group, partitions)
    first = await broker.beginning_offsets(partitions)
    end = await broker.end_offsets(partitions)
    fresh = [partition for partition in partitions if commits.get(partition) is None]
    if starts is not None:
        begins = {id_: min(max(first[id_], starts.get(id_, end[id_])), end[id_]) for id_ in fresh}
    else:
        begins = await _starts(broker, binding, fresh, first, end, now) if fresh else {}
        begins |= {id_: first[id_] for id_ in fresh if id_ in whole}
    found = {}
    for partition in partitions:
        commit = commits.get(partition)
        if commit is None:
            found[partition] = Beginning(begins[partition], OffsetMap())
        else:
            found[partition] = _resume(partition, commit, group, first[partition], end[partition], foreign_metadata)
    return found


async def possible_beginnings(
    find: Callable[[Collection[TopicPartition]], Awaitable[dict[TopicPartition, Beginning]]],
    partitions: Collection[TopicPartition],
) -> dict[TopicPartition, Beginning]:
    """Where those partitions begin whose leaders answer: one that is silent must not hold up the others.

    Args:
        find: :func:`beginnings`, with all but the partitions given.
        partitions: of which streams.

    Raises:
        BrokerUnavailable: nothing is known of any of them.
        InvalidOffsetMetadata, BrokerError: as :func:`beginnings` does.
    """
    try:
        return await find(partitions)
    except BrokerUnavailable:
        answers = await asyncio.gather(*(find([each]) for each in partitions), return_exceptions=True)
        found: dict[TopicPartition, Beginning] = {}
        for answer in answers:
            if isinstance(answer, dict):
                found |= answer
            elif not isinstance(answer, BrokerUnavailable):
                raise answer from None
        if not found:
            raise
        return found


async def never_committed(broker: Broker, group: str, streams: Iterable[str]) -> set[TopicPartition]:
    """The partitions of those streams in which the group has no commit at all: where ``start=`` counts.

    One without a commit beside others that have one was added later, and all its events are for the group, whoever of
    its members sees it first.
    """
    found: set[TopicPartition] = set()
    for stream in streams:
        if every := await every_partition(broker, [stream]):
            commits = await broker.committed(group, every)
            if all(commit is None for commit in commits.values()):
                found.update(every)
    return found


async def ends_of(broker: Broker, streams: Collection[str]) -> dict[TopicPartition, int]:
    """Where the streams' partitions end now, those that hold nothing left out."""
    partitions = await every_partition(broker, streams)
    first = await broker.beginning_offsets(partitions)
    end = await broker.end_offsets(partitions)
    return {id_: offset for id_, offset in end.items() if offset > first[id_]}


async def _starts(
    broker: Broker,
    binding: Binding,
    partitions: Collection[TopicPartition],
    first: dict[TopicPartition, int],
    end: dict[TopicPartition, int],
    now: float,
) -> dict[TopicPartition, int]:
    start = parse_start(binding.start)
    if start == "earliest":
        return {partition: first[partition] for partition in partitions}
    if start == "latest":
        return {partition: end[partition] for partition in partitions}
    if isinstance(start, timedelta):
        since = now - start.total_seconds()
    elif isinstance(start, datetime):
        since = start.timestamp()
    found = await broker.offsets_for_time(partitions, int(since * 1000))
    # No record is that young: the next one will be.
    return {
        partition: end[partition] if found[partition] is None else found[partition] or 0 for partition in partitions
    }


def _resume(
    partition: TopicPartition,
    commit: Committed,
    group: str,
    first: int,
    end: int,
    foreign_metadata: Literal["ignore", "refuse"],
) -> Beginning:
    where = f"{partition.topic}/{partition.partition}"
    if commit.offset > end:
        logger.error(
            "%s: the group %s has committed offset %d, but the log ends at %d: was the stream made anew?"
            " All that it holds is delivered, from %d",
            where, group, commit.offset, end, first,
        )  # fmt: skip
        return Beginning(first, OffsetMap(), commit)
    try:
        offsets = decode_metadata(commit.offset, commit.metadata)
    except InvalidOffsetMetadata as error:
        if foreign_metadata == "refuse":
            raise InvalidOffsetMetadata(
                f"{where}: the commit of the group {group} carries metadata that can't be used: {error};"
                " does another program use this group?"
            ) from error
        logger.warning("%s: the commit of the group %s carries metadata that is ignored: %s", where, group, error)
        offsets = OffsetMap()
    if commit.offset < first:
        lost = first - commit.offset - sum(min(stop, first) - start for start, stop in offsets.done if start < first)
        logger.error(
            "%s: %d events that the group %s had not handled are gone: its commit is %d, and the log begins at %d."
            " Retention is too short for the lag",
            where, lost, group, commit.offset, first,
        )  # fmt: skip
        done = [(max(start, first), stop) for start, stop in offsets.done if stop > first]
        attempts = {offset: count for offset, count in offsets.attempts.items() if offset >= first}
        return Beginning(first, OffsetMap(done, attempts), commit, lost)
    return Beginning(commit.offset, offsets, commit)
