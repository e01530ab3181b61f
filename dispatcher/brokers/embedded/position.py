"""Where a consumer stands in one partition, and the batches read ahead of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from dispatcher.brokers.embedded.codec import EmbeddedRecord, decode, skip
from dispatcher.core.record import TopicPartition
from dispatcher.errors import CorruptRecords

__all__ = ["Position"]


class Position:
    """The next offset of a partition, with the bytes in memory that begin there.

    Invariant: the first batch in memory holds ``offset``, at byte ``_at``; the others follow it without a gap.
    """

    __slots__ = ("_at", "_batches", "log_id", "offset", "partition", "version")

    def __init__(self, partition: TopicPartition, log_id: int, offset: int) -> None:
        self.partition = partition
        self.log_id = log_id
        self.offset = offset
        #: Goes up with each seek, so that what was being read for the old position is not taken for the new one.
        self.version = 0
        self._batches: deque[bytes] = deque()
        self._at = 0

    @property
    def has_records(self) -> bool:
        """Whether records are in memory."""
        return bool(self._batches)

    def seek(self, offset: int) -> None:
        """Stand at ``offset``."""
        self.offset = offset
        self.version += 1
        self._batches.clear()
        self._at = 0

    def fill(self, batches: Iterable[tuple[int, bytes]]) -> None:
        """Take batches, each with its first offset, the first of which holds this position."""
        if self._batches:
            return
        for first, data in batches:
            if not self._batches:
                self._at = skip(*self.partition, data, first, self.offset)
            self._batches.append(data)

    def take(self, limit: int) -> list[EmbeddedRecord]:
        """Up to ``limit`` records, and move on past them.

        Raises:
            CorruptRecords: the next one can't be read; the position stays.
        """
        taken: list[EmbeddedRecord] = []
        while self._batches and len(taken) < limit:
            data = self._batches[0]
            try:
                records, at = decode(*self.partition, data, self._at, self.offset, limit - len(taken))
            except CorruptRecords:
                if taken:
                    break
                raise
            taken += records
            self.offset += len(records)
            self._at = at
            if at == len(data):
                self._batches.popleft()
                self._at = 0
        return taken
