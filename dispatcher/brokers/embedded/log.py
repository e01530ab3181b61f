"""Records in the log: append, read, find, forget. Plain functions that run inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import NamedTuple

from dispatcher.brokers.embedded import catalog
from dispatcher.brokers.embedded.catalog import Stream
from dispatcher.brokers.embedded.codec import decode
from dispatcher.brokers.embedded.schema import OFFSET_BITS
from dispatcher.core.record import TopicPartition
from dispatcher.errors import BrokerError, RecordTooLarge, StreamNotFound

__all__ = ["Entry", "Extent", "append", "enforce_retention", "extents", "offset_for_time", "read"]

#: Kafka's own default of ``max.message.bytes``.
_MAX_MESSAGE_BYTES = 1_048_588

#: A smaller last batch is written anew with the records that follow: a commit writes 3 pages of 4 KiB at least, this
#: adds 2 on average, and a log written one record at a time is then read 50 events a row instead of one.
_SMALL_BATCH = 16_384
_LARGE_BATCH = 262_144

_OFFSET_MASK = (1 << OFFSET_BITS) - 1


class Entry(NamedTuple):
    """A record on its way into the log: ``route`` is a fixed partition, or a number whose remainder decides."""

    stream: str
    route: int
    fixed: bool
    size: int
    timestamp: int
    data: bytes


class Extent(NamedTuple):
    """A partition's log: its id, and the offsets that it holds."""

    log_id: int
    start: int
    end: int


def append(db: sqlite3.Connection, entries: Sequence[Entry]) -> list[tuple[int, int] | BrokerError]:
    """Append the entries in order; each one's partition and offset, or why it was refused."""
    results: list[tuple[int, int] | BrokerError] = []
    streams: dict[str, Stream | None] = {}
    limits: dict[str, int] = {}
    logs: dict[tuple[int, int], _Tail] = {}
    for entry in entries:
        name = entry.stream
        if name not in streams:
            streams[name] = found = catalog.find(db, name)
            limits[name] = found.setting("max.message.bytes", _MAX_MESSAGE_BYTES) if found else 0
        stream = streams[name]
        if stream is None:
            results.append(catalog.missing(db, name))
            continue
        if entry.size > limits[name]:
            results.append(
                RecordTooLarge(
                    f"a record of {entry.size:,} bytes is larger than {name} takes (max.message.bytes={limits[name]})"
                )
            )
            continue
        partition = entry.route if entry.fixed else entry.route % stream.partitions
        if not 0 <= partition < stream.partitions:
            results.append(
                StreamNotFound(f"{name} has no partition {partition}: it has {stream.partitions}, counted from 0")
            )
            continue
        tail = logs.get((stream.id, partition))
        if tail is None:
            tail = logs[stream.id, partition] = _Tail(db, stream.id, partition)
        results.append((partition, tail.add(entry)))
    for tail in logs.values():
        tail.write()
    return results


class _Tail:
    """The end of one partition's log while records are added to it."""

    def __init__(self, db: sqlite3.Connection, stream_id: int, partition: int) -> None:
        self._db = db
        self._log_id: int
        self._end: int
        self._end_bytes: int
        self._log_id, self._end, self._end_bytes = db.execute(
            "SELECT id, end_offset, end_bytes FROM logs WHERE stream_id = ? AND partition = ?", (stream_id, partition)
        ).fetchone()
        self._parts: list[bytes] = []
        self._size = 0
        self._base = self._end
        self._max_timestamp = -1
        row = db.execute(
            "SELECT id, max_timestamp, data FROM batches WHERE id = "
            "(SELECT max(id) FROM batches WHERE id >= ? AND id < ?) AND size < ?",
            (self._log_id << OFFSET_BITS, self._log_id + 1 << OFFSET_BITS, _SMALL_BATCH),
        ).fetchone()
        if row is not None:
            self._base = row[0] & _OFFSET_MASK
            self._max_timestamp = row[1]
            self._parts = [row[2]]
            self._size = len(row[2])
            self._end_bytes -= self._size

    def add(self, entry: Entry) -> int:
        if self._size and self._size + len(entry.data) > _LARGE_BATCH:
            self._write_batch()
        self._parts.append(entry.data)
        self._size += len(entry.data)
        self._max_timestamp = max(self._max_timestamp, entry.timestamp)
        self._end += 1
        return self._end - 1

    def write(self) -> None:
        self._write_batch()
        self._db.execute(
            "UPDATE logs SET end_offset = ?, end_bytes = ? WHERE id = ?", (self._end, self._end_bytes, self._log_id)
        )

    def _write_batch(self) -> None:
        self._end_bytes += self._size
        self._db.execute(
            "INSERT OR REPLACE INTO batches (id, records, max_timestamp, end_bytes, size, data) VALUES (?, ?, ?, ?, ?, ?)",
            (
                self._log_id << OFFSET_BITS | self._base,
                self._end - self._base,
                self._max_timestamp,
                self._end_bytes,
                self._size,
                b"".join(self._parts),
            ),
        )
        self._parts = []
        self._size = 0
        self._base = self._end
        self._max_timestamp = -1


def read(
    db: sqlite3.Connection, positions: Sequence[tuple[int, int]], max_bytes: int
) -> list[tuple[Extent | None, list[tuple[int, bytes]]]]:
    """For each (log id, offset): the log's extent, and the batches from the one that holds the offset on.

    A batch comes with its first offset. A log is read until ``max_bytes`` are passed. None as extent: it is gone.
    """
    results: list[tuple[Extent | None, list[tuple[int, bytes]]]] = []
    for log_id, offset in positions:
        row = db.execute("SELECT id, start_offset, end_offset FROM logs WHERE id = ?", (log_id,)).fetchone()
        batches: list[tuple[int, bytes]] = []
        if row is not None and row[1] <= offset < row[2]:
            at = log_id << OFFSET_BITS | offset
            total = 0
            for batch_id, data in db.execute(
                "SELECT id, data FROM batches WHERE id >= (SELECT max(id) FROM batches WHERE id <= ?) AND id < ? "
                "ORDER BY id",
                (at, log_id + 1 << OFFSET_BITS),
            ):
                batches.append((batch_id & _OFFSET_MASK, data))
                total += len(data)
                if total >= max_bytes:
                    break
        results.append((None if row is None else Extent._make(row), batches))
    return results


def extents(db: sqlite3.Connection, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Extent]:
    """What each of the partitions holds.

    Raises:
        StreamNotFound: one of them does not exist.
    """
    found: dict[TopicPartition, Extent] = {}
    for stream, partition in partitions:
        row = db.execute(
            "SELECT l.id, l.start_offset, l.end_offset FROM logs l JOIN streams s ON s.id = l.stream_id "
            "WHERE s.name = ? AND l.partition = ?",
            (stream, partition),
        ).fetchone()
        if row is None:
            known = catalog.find(db, stream)
            raise (
                StreamNotFound(f"{stream} has no partition {partition}: it has {known.partitions}, counted from 0")
                if known
                else catalog.missing(db, stream)
            )
        found[TopicPartition(stream, partition)] = Extent._make(row)
    return found


def offset_for_time(db: sqlite3.Connection, partition: TopicPartition, timestamp_ms: int) -> int | None:
    """The first offset whose timestamp is at or after the time; timestamps need not be in order."""
    extent = extents(db, [partition])[partition]
    row = db.execute(
        "SELECT id, data FROM batches WHERE id >= ? AND id < ? AND max_timestamp >= ? ORDER BY id LIMIT 1",
        (extent.log_id << OFFSET_BITS, extent.log_id + 1 << OFFSET_BITS, timestamp_ms),
    ).fetchone()
    if row is None:
        return None
    base = row[0] & _OFFSET_MASK
    records, _ = decode(*partition, row[1], 0, base, extent.end - base)
    return next(record.offset for record in records if record.timestamp >= timestamp_ms)


def enforce_retention(db: sqlite3.Connection, now_ms: int) -> int:
    """Delete what ``retention.ms`` and ``retention.bytes`` do not keep; the number of records deleted.

    As in Kafka, whole batches go, oldest first, and those of more than ``retention.bytes`` only as long as that many
    bytes stay. Without the settings a stream keeps all: replayed history with old timestamps is a log's daily bread here.
    """
    deleted = 0
    for stream in catalog.list_all(db):
        keep_ms, keep_bytes = stream.setting("retention.ms", -1), stream.setting("retention.bytes", -1)
        if keep_ms < 0 and keep_bytes < 0:
            continue
        oldest = now_ms - keep_ms if keep_ms >= 0 else -(1 << 62)
        for log_id, start, end, end_bytes in db.execute(
            "SELECT id, start_offset, end_offset, end_bytes FROM logs WHERE stream_id = ?", (stream.id,)
        ).fetchall():
            first, last = log_id << OFFSET_BITS, log_id + 1 << OFFSET_BITS
            passed = end_bytes - keep_bytes if keep_bytes >= 0 else -1
            kept = db.execute(
                "SELECT id FROM batches WHERE id >= ? AND id < ? AND max_timestamp >= ? AND end_bytes > ? "
                "ORDER BY id LIMIT 1",
                (first, last, oldest, passed),
            ).fetchone()
            new_start = end if kept is None else kept[0] & _OFFSET_MASK
            if new_start > start:
                db.execute("DELETE FROM batches WHERE id >= ? AND id < ?", (first, first | new_start))
                db.execute("UPDATE logs SET start_offset = ? WHERE id = ?", (new_start, log_id))
                deleted += new_start - start
    return deleted
