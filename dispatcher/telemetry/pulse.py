"""What runs on this machine, for ``dispatch status``: the broker knows what is done, not what is in flight.

Each process writes one small file in the data folder, once a second; what it says is believed while the process lives
and has written in the last ten seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from dispatcher.core.record import TopicPartition
from dispatcher.telemetry.periodic import Periodic

__all__ = ["InFlight", "Pulse", "in_flight"]

_INTERVAL = 1.0
_STALE = 10.0


class Beating(Protocol):
    """A worker, as its pulse sees it."""

    @property
    def group(self) -> str:
        """Its consumer group."""

    def in_flight(self) -> Mapping[TopicPartition, int]:
        """Events whose function runs, of each partition that it holds."""


class Pulse(Periodic):
    """Writes what the workers of this process have in flight. An async context manager.

    Args:
        workers: of this process.
        data: the data folder.
        broker: its URL; two of them may have groups of one name.
    """

    def __init__(self, workers: Collection[Beating], data: Path, broker: str) -> None:
        super().__init__("pulse", _INTERVAL)
        self._workers = workers
        self._path = data / "run" / f"{os.getpid()}.json"
        self._broker = broker

    async def __aexit__(self, *exc_info: object) -> None:
        await super().__aexit__(*exc_info)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    async def look(self) -> None:
        """Write what is in flight now. A full disk is no reason to deliver nothing."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._write, self._facts())

    def _facts(self) -> dict[str, Any]:
        groups = {
            worker.group: [[id_.topic, id_.partition, count] for id_, count in worker.in_flight().items()]
            for worker in self._workers
        }
        return {"pid": os.getpid(), "broker": self._broker, "at": time.time(), "groups": groups}

    def _write(self, facts: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(facts))
        written.replace(self._path)


class InFlight:
    """What the processes on this machine have in flight for one group.

    Attributes:
        members: how many of them are in the group.
        partitions: partition -> events in flight, of those that they hold.
    """

    def __init__(self) -> None:
        self.members = 0
        self.partitions: dict[TopicPartition, int] = {}


def in_flight(data: Path, broker: str, group: str) -> InFlight:
    """Read what the live processes on this machine say of a group."""
    found = InFlight()
    for facts in _live(data / "run"):
        if facts.get("broker") == broker and isinstance(partitions := facts.get("groups", {}).get(group), list):
            found.members += 1
            found.partitions |= {TopicPartition(topic, number): count for topic, number, count in partitions}
    return found


def _live(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            facts = json.loads(path.read_text())
            if time.time() - facts["at"] < _STALE and _is_alive(facts["pid"]):
                yield facts


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
