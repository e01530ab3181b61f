"""The part of history that a replay delivers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dispatcher.core.record import Record, TopicPartition

__all__ = ["Span"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a worker delivers instead of all that comes: events between two offsets, in a group of its own.

    Attributes:
        group: the consumer group. Where it has commits, they count and not ``starts``: a replay that died goes on.
        starts: the first offset of each partition.
        ends: the offset after the last one of each partition; the worker ends when it has reached all of them.
        emit: produce the function's results, or leave them out.
    """

    group: str
    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    emit: bool = True

    @property
    def targets(self) -> dict[TopicPartition, int]:
        """The ends of the partitions in which there is anything."""
        return {id_: end for id_, end in self.ends.items() if end > self.starts.get(id_, end)}

    def end(self, id_: TopicPartition) -> int:
        """Where a partition ends; 0 for one that the stream did not have at the start."""
        return self.ends.get(id_, 0)

    def cut(self, id_: TopicPartition, records: Sequence[Record]) -> Sequence[Record]:
        """Those of the records, which are in offset order, that are in the span."""
        end = self.end(id_)
        if not records or records[-1].offset < end:
            return records
        return [record for record in records if record.offset < end]
