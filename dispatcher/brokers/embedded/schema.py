"""The tables of the log, and how a file is opened without harming one that is not ours."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from dispatcher.errors import ConfigurationError

__all__ = ["OFFSET_BITS", "VERSION", "connect", "prepare_file"]

#: "DSPL", in the header of the file, tells this program's files from other SQLite databases.
APPLICATION_ID = 0x4453504C
VERSION = 1

#: A batch's row id is its log's id, then its first offset. So a log lies together in the tree of rows, large values and
#: all, with no second index; 44 bits are 5 years of 100,000 events a second, and leave 19 for the partitions.
OFFSET_BITS = 44

_TABLES = """
CREATE TABLE streams (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL, config TEXT NOT NULL);
CREATE TABLE logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream_id INTEGER NOT NULL, partition INTEGER NOT NULL,
    start_offset INTEGER NOT NULL DEFAULT 0, end_offset INTEGER NOT NULL DEFAULT 0, end_bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (stream_id, partition));
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, records INTEGER NOT NULL, max_timestamp INTEGER NOT NULL, end_bytes INTEGER NOT NULL,
    size INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, generation INTEGER NOT NULL DEFAULT 0,
    deadline REAL, layout TEXT NOT NULL DEFAULT '[]');
CREATE TABLE members (
    id INTEGER PRIMARY KEY AUTOINCREMENT, group_id INTEGER NOT NULL, streams TEXT NOT NULL, host TEXT NOT NULL,
    pid INTEGER NOT NULL, session_timeout REAL NOT NULL, seen_at REAL NOT NULL, ready INTEGER NOT NULL,
    assignment TEXT NOT NULL DEFAULT '[]');
CREATE INDEX members_of_group ON members (group_id);
CREATE TABLE offsets (
    group_id INTEGER NOT NULL, log_id INTEGER NOT NULL, offset INTEGER NOT NULL, metadata TEXT NOT NULL,
    PRIMARY KEY (group_id, log_id)) WITHOUT ROWID;
CREATE TABLE changes (version INTEGER NOT NULL);
INSERT INTO changes VALUES (0);
"""


def connect(path: Path, lock_timeout: float) -> sqlite3.Connection:
    """A connection with this program's settings; ``lock_timeout`` in seconds."""
    connection = sqlite3.connect(path, timeout=lock_timeout, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        # 16 MB of log between checkpoints: at the default 4 MB a bulk load spends a third of its time on them.
        connection.execute("PRAGMA wal_autocheckpoint=4000")
        connection.execute("PRAGMA journal_size_limit=67108864")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_file(path: Path, lock_timeout: float) -> None:
    """Make the file and its tables where there are none, and make sure that what is there is ours.

    Raises:
        ConfigurationError: it is something else, or of a later version; it is left as it was.
        sqlite3.Error: it can't be opened or written.
    """
    _check_is_database(path)
    connection = connect(path, lock_timeout)
    try:
        _check_is_ours(connection, path)
        _use_wal(connection, path, lock_timeout)
        connection.execute("BEGIN IMMEDIATE")
        # Again, now that nobody else can write: two processes may have found the same empty file.
        if _check_is_ours(connection, path):
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def _check_is_database(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise ConfigurationError(f"{path} is a folder; name a file in it, such as {path / 'log.db'}")
        head = b""
        if path.exists():
            with path.open("rb") as file:
                head = file.read(16)
    except OSError as error:
        raise ConfigurationError(
            f"the embedded broker can't use {path}: {error.strerror or error}; choose a path that this user may write"
        ) from error
    if head and head != b"SQLite format 3\0":
        raise ConfigurationError(
            f"{path} is not an event log of the embedded broker; choose another path, or move that file away"
        )


def _check_is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file still needs its tables."""
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        return True
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ConfigurationError(
            f"{path} is a database of another program; choose another path for the embedded broker's log"
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise ConfigurationError(
            f"{path} was written in format {version} and this version of dispatch reads format {VERSION}; "
            "upgrade dispatch, or choose another path"
        )
    return False


def _use_wal(connection: sqlite3.Connection, path: Path, lock_timeout: float) -> None:
    give_up = time.monotonic() + lock_timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            # SQLite does not wait for the lock here when another process is making the same change.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise ConfigurationError(
                f"{path} is on a file system without shared memory (a network share?); choose a path on a local disk"
            )
        return
