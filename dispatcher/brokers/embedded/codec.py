"""Records to bytes and back.

A batch is its records, one after another. A record is, little-endian::

    int64 timestamp (ms) | int32 key size | int32 value size | int32 headers size | key | value | headers

and a header is ``int32 name size | int32 value size | name (UTF-8) | value``. A size of -1 stands for None.
Offsets are not stored: a batch knows that of its first record, and there are no gaps.

Records are packed into batches, not rows, because Python's SQLite module gives up the interpreter lock on each row:
beside a busy event loop a thread that reads 500 rows waits for the lock 500 times.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from dispatcher.core.record import Headers, Outgoing
from dispatcher.errors import CorruptRecords

__all__ = ["EmbeddedRecord", "decode", "encode", "size_in_kafka", "skip"]

_RECORD = struct.Struct("<qiii")
_HEADER = struct.Struct("<ii")


class EmbeddedRecord(NamedTuple):
    """One event as the embedded broker hands it over; see :class:`dispatcher.core.record.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def encode(record: Outgoing, timestamp: int) -> bytes:
    """The record's bytes in a batch."""
    key, value = record.key, record.value
    headers = _encode_headers(record.headers) if record.headers else b""
    return b"".join(
        (
            _RECORD.pack(timestamp, -1 if key is None else len(key), -1 if value is None else len(value), len(headers)),
            key or b"",
            value or b"",
            headers,
        )
    )


def size_in_kafka(record: Outgoing) -> int:
    """What the record weighs as a Kafka batch of its own, which is what ``max.message.bytes`` limits.

    61 bytes of batch header and up to 21 for the record's own lengths; a header's lengths take up to 6.
    """
    size = 82 + len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += 6 + len(name.encode()) + len(value or b"")
    return size


def decode(
    stream: str, partition: int, data: bytes, at: int, offset: int, limit: int
) -> tuple[list[EmbeddedRecord], int]:
    """Up to ``limit`` records of a batch from byte ``at``, whose offset is ``offset``, and the byte after them.

    Raises:
        CorruptRecords: the first of them can't be read; one further on ends the list instead.
    """
    records: list[EmbeddedRecord] = []
    append, new, unpack, head = records.append, tuple.__new__, _RECORD.unpack_from, _RECORD.size
    end = len(data)
    begin = at
    problem: str | None = None
    try:
        while at < end and limit > 0:
            timestamp, key_size, value_size, headers_size = unpack(data, at)
            at += head
            key = value = None
            if key_size >= 0:
                key = data[at : at + key_size]
                at += key_size
            if value_size >= 0:
                value = data[at : at + value_size]
                at += value_size
            headers: Headers = ()
            if headers_size > 0:
                headers = _decode_headers(data, at, at + headers_size)
                at += headers_size
            if at > end:
                problem = "it is longer than its batch"
                break
            append(new(EmbeddedRecord, (stream, partition, offset, timestamp, key, value, headers)))
            begin = at
            offset += 1
            limit -= 1
    except (struct.error, UnicodeDecodeError) as error:
        problem = str(error)
    # What comes before the damage is delivered; the next call begins with it, and raises.
    if problem is not None and not records:
        raise CorruptRecords(stream, partition, offset, problem)
    return records, begin


def skip(stream: str, partition: int, data: bytes, first: int, offset: int) -> int:
    """The byte at which the record ``offset`` begins in a batch whose first one is ``first``.

    Raises:
        CorruptRecords: a size points outside the batch.
    """
    at = 0
    try:
        for _ in range(offset - first):
            _, key_size, value_size, headers_size = _RECORD.unpack_from(data, at)
            at += _RECORD.size + max(key_size, 0) + max(value_size, 0) + max(headers_size, 0)
    except struct.error as error:
        raise CorruptRecords(stream, partition, offset, str(error)) from error
    if at >= len(data):
        raise CorruptRecords(stream, partition, offset, "its batch ends before it")
    return at


def _encode_headers(headers: Headers) -> bytes:
    parts: list[bytes] = []
    for name, value in headers:
        encoded = name.encode()
        parts += (_HEADER.pack(len(encoded), -1 if value is None else len(value)), encoded, value or b"")
    return b"".join(parts)


def _decode_headers(data: bytes, at: int, end: int) -> Headers:
    headers: list[tuple[str, bytes | None]] = []
    while at < end:
        name_size, value_size = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        name = data[at : at + name_size].decode()
        at += max(name_size, 0)
        value = None
        if value_size >= 0:
            value = data[at : at + value_size]
            at += value_size
        headers.append((name, value))
    return tuple(headers)
