"""Something that is looked at again and again while functions run."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Periodic"]

logger = logging.getLogger("dispatcher.telemetry")


class Periodic(ABC):
    """Takes a look at once and then every ``interval`` seconds, in a task of its own. An async context manager.

    Args:
        name: of the task.
        interval: seconds from the end of a look to the next.
    """

    def __init__(self, name: str, interval: float) -> None:
        self._name = name
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._again(), name=self._name)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @abstractmethod
    async def look(self) -> None:
        """Take one look."""

    async def _again(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                # What watches has failed, not what is watched: the functions go on, and the next look may do better.
                logger.exception("%s: a look has failed by a bug in it", self._name)
            await asyncio.sleep(self._interval)
