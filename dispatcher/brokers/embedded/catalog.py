"""Streams in the log. Plain functions that run inside a transaction."""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded.schema import OFFSET_BITS
from dispatcher.errors import ConfigurationError, StreamNotFound

__all__ = [
    "Stream",
    "add_partitions",
    "announce",
    "create",
    "delete",
    "find",
    "list_all",
    "missing",
    "validated",
    "version",
]

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_NUMBERS = ("retention.ms", "retention.bytes", "max.message.bytes")

#: 19 bits of a batch's row id are the log's; ids are never used again.
_MAX_PARTITIONS = 10_000


class Stream(NamedTuple):
    """A stream's row."""

    id: int
    name: str
    partitions: int
    config: Mapping[str, str]

    def setting(self, name: str, default: int) -> int:
        """A setting that is a number."""
        return int(self.config.get(name, default))


def validated(stream: StreamInfo) -> StreamInfo:
    """The stream as it may be created.

    Raises:
        ConfigurationError: the name is not one that Kafka takes, or a number is out of range.
    """
    if not _NAME.fullmatch(stream.name):
        raise ConfigurationError(
            f"{stream.name!r} can't name a stream: use 1 to 249 letters, digits, '.', '_' and '-' (and not '.' or '..')"
        )
    if not 1 <= stream.partitions <= _MAX_PARTITIONS:
        raise ConfigurationError(
            f"{stream.name} can't have {stream.partitions} partitions: use 1 to {_MAX_PARTITIONS:,}"
        )
    for name in _NUMBERS:
        value = stream.config.get(name, "0")
        if not re.fullmatch(r"-?\d{1,18}", value) or int(value) < -1:
            raise ConfigurationError(f"{stream.name}: {name}={value!r} is not a whole number of at least -1")
    return stream


def find(db: sqlite3.Connection, name: str) -> Stream | None:
    """The stream of that name."""
    row = db.execute("SELECT id, name, partitions, config FROM streams WHERE name = ?", (name,)).fetchone()
    return None if row is None else Stream(row[0], row[1], row[2], json.loads(row[3]))


def list_all(db: sqlite3.Connection) -> list[Stream]:
    """All streams, by name."""
    rows = db.execute("SELECT id, name, partitions, config FROM streams ORDER BY name").fetchall()
    return [Stream(row[0], row[1], row[2], json.loads(row[3])) for row in rows]


def missing(db: sqlite3.Connection, name: str) -> StreamNotFound:
    """The error that says so, with the names that are near."""
    names = [row[0] for row in db.execute("SELECT name FROM streams ORDER BY name")]
    near = difflib.get_close_matches(name, names)
    advice = f"did you mean {' or '.join(near)}?" if near else f"create it with: dispatch streams create {name}"
    return StreamNotFound(f"there is no stream {name}; {advice}")


def create(db: sqlite3.Connection, stream: StreamInfo) -> bool:
    """Create it; False when it is there."""
    if find(db, stream.name) is not None:
        return False
    stream_id = db.execute(
        "INSERT INTO streams (name, partitions, config) VALUES (?, ?, ?)",
        (stream.name, stream.partitions, json.dumps(dict(stream.config))),
    ).lastrowid
    _add_logs(db, stream_id, range(stream.partitions))
    announce(db)
    return True


def add_partitions(db: sqlite3.Connection, name: str, total: int) -> None:
    """Give the stream ``total`` partitions.

    Raises:
        StreamNotFound: it does not exist.
        ConfigurationError: it has more than that already.
    """
    stream = find(db, name)
    if stream is None:
        raise missing(db, name)
    if not stream.partitions <= total <= _MAX_PARTITIONS:
        raise ConfigurationError(
            f"{name} has {stream.partitions} partitions and can have up to {_MAX_PARTITIONS:,}, not {total}"
        )
    db.execute("UPDATE streams SET partitions = ? WHERE id = ?", (total, stream.id))
    _add_logs(db, stream.id, range(stream.partitions, total))
    announce(db)


def delete(db: sqlite3.Connection, name: str) -> bool:
    """Delete the stream with its records and all commits for it; False when it does not exist."""
    stream = find(db, name)
    if stream is None:
        return False
    for (log_id,) in db.execute("SELECT id FROM logs WHERE stream_id = ?", (stream.id,)).fetchall():
        db.execute("DELETE FROM batches WHERE id >= ? AND id < ?", (log_id << OFFSET_BITS, log_id + 1 << OFFSET_BITS))
        db.execute("DELETE FROM offsets WHERE log_id = ?", (log_id,))
    db.execute("DELETE FROM logs WHERE stream_id = ?", (stream.id,))
    db.execute("DELETE FROM streams WHERE id = ?", (stream.id,))
    announce(db)
    return True


def announce(db: sqlite3.Connection) -> None:
    """Let the consumers of every process look at their groups again."""
    db.execute("UPDATE changes SET version = version + 1")


def version(db: sqlite3.Connection) -> int:
    """A number that differs after :func:`announce`."""
    found: int = db.execute("SELECT version FROM changes").fetchone()[0]
    return found


def _add_logs(db: sqlite3.Connection, stream_id: int | None, partitions: range) -> None:
    db.executemany("INSERT INTO logs (stream_id, partition) VALUES (?, ?)", [(stream_id, p) for p in partitions])
