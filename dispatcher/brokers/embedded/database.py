"""One SQLite connection in a thread of its own, so that the event loop never waits for a disk or a lock."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from dispatcher.brokers.embedded.schema import connect
from dispatcher.errors import BrokerRefused, BrokerUnavailable, ConfigurationError, DispatchError

__all__ = ["Database", "translated"]

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """A connection and its thread. Calls run one after another, in call order.

    Args:
        path: the file.
        lock_timeout: how long a call waits for another process's lock, in seconds.
        writes: whether calls run in a transaction that takes the write lock first, or in a reading one.
    """

    def __init__(self, path: Path, *, lock_timeout: float, writes: bool) -> None:
        self._path = path
        self._lock_timeout = lock_timeout
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"dispatch-log-{'writer' if writes else 'reader'}")
        self._connection: sqlite3.Connection | None = None

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call ``function(connection, ...)`` in a transaction of its own, in the thread.

        Raises:
            BrokerUnavailable, BrokerRefused, ConfigurationError: SQLite's errors, translated.
        """
        loop = asyncio.get_running_loop()
        try:
            call = loop.run_in_executor(self._thread, lambda: self._call(function, *args, **kwargs))
        except RuntimeError as error:
            raise BrokerUnavailable(f"the broker embedded:{self._path} is closed") from error
        return await call

    async def close(self) -> None:
        """Close the connection after the calls that were made."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._disconnect)
        except RuntimeError:
            return
        self._thread.shutdown(wait=False)

    def _call(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with translated(self._path, self._lock_timeout):
            if self._connection is None:
                self._connection = connect(self._path, self._lock_timeout)
            connection = self._connection
            connection.execute(self._begin)
            try:
                result = function(connection, *args, **kwargs)
                connection.execute("COMMIT")
            except BaseException:
                # A full disk rolls back by itself, and then there is nothing left to roll back.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def translated(path: Path, lock_timeout: float) -> Iterator[None]:
    """SQLite's errors as those of :mod:`dispatcher.errors`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path, lock_timeout) from error


def _translate(error: sqlite3.Error, path: Path, lock_timeout: float) -> DispatchError:
    where = f"embedded:{path}"
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return BrokerUnavailable(
                f"{where} was locked by another process for more than {lock_timeout:g} s; "
                "end what holds a transaction open on it"
            )
        case sqlite3.SQLITE_FULL:
            return BrokerUnavailable(f"{where} can't grow: the disk is full; make room, or set retention.bytes")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return ConfigurationError(
                f"{where} can't be opened for writing ({error}); this user needs to write the file and its folder"
            )
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return BrokerRefused(f"{where} is damaged ({error}); move it away, or bring back a copy")
        case _:
            return BrokerUnavailable(f"{where} failed: {error}")
