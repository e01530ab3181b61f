"""How those who wait learn that the file has changed, whoever changed it."""

from __future__ import annotations

import asyncio
import sqlite3

from dispatcher.brokers.embedded import catalog
from dispatcher.brokers.embedded.database import Database
from dispatcher.errors import DispatchError

__all__ = ["Signal", "Watcher"]


class Signal:
    """Wakes all who wait at once. Take :attr:`next` before you look, wait for it after: no change is missed."""

    def __init__(self) -> None:
        self.next = asyncio.Event()

    def notify(self) -> None:
        """Wake those who wait now."""
        self.next.set()
        self.next = asyncio.Event()


class Watcher:
    """Looks every ``interval`` seconds whether another connection, of any process, has changed the file.

    SQLite's ``data_version`` tells that for the price of a look at shared memory. Changes of this broker object are
    announced at once by those who make them.
    """

    def __init__(self, reader: Database, interval: float) -> None:
        self.records = Signal()
        self.groups = Signal()
        self._reader = reader
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch, when that has not begun."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="dispatch-log-watcher")

    async def stop(self) -> None:
        """Watch no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _watch(self) -> None:
        seen: tuple[int, int] | None = None
        while True:
            try:
                now = await self._reader.run(_versions, seen)
            except DispatchError:
                # Those who wait look for themselves, and raise what they find.
                self.records.notify()
                self.groups.notify()
                await asyncio.sleep(1)
                continue
            if now != seen:
                self.records.notify()
                if seen is None or now[1] != seen[1]:
                    self.groups.notify()
                seen = now
            await asyncio.sleep(self._interval)


def _versions(db: sqlite3.Connection, seen: tuple[int, int] | None) -> tuple[int, int]:
    data_version = db.execute("PRAGMA data_version").fetchone()[0]
    if seen is not None and data_version == seen[0]:
        return seen
    return data_version, catalog.version(db)
