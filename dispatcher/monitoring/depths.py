"""How many dead letters wait for somebody, asked of the broker now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Self

from bindings import Binding
from dispatcher.brokers.base import Broker
from dispatcher.errors import BrokerError, InvalidOffsetMetadata
from dispatcher.status import dead_letters

__all__ = ["Depths"]

logger = logging.getLogger("dispatcher.telemetry")


class Depths:
    """Reads the depth of each function's dead letters, one function after the other. An async context manager.

    Args:
        bindings: the functions.
        broker: where their dead-letter topics are.
        app: whose redrives count.
        interval: seconds between two rounds.

    Attributes:
        events: function -> letters that were neither sent back nor dropped; None for what could not be read.
    """

    def __init__(self, bindings: Sequence[Binding], broker: Broker, *, app: str, interval: float = 30.0) -> None:
        self._bindings = bindings
        self._broker = broker
        self._app = app
        self._interval = interval
        self._task: asyncio.Task[None] | None = None
        self.events: dict[str, int | None] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="depths")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            for binding in self._bindings:
                self.events[binding.name] = await self._read(binding)
            await asyncio.sleep(self._interval)

    async def _read(self, binding: Binding) -> int | None:
        try:
            return (await dead_letters(binding, self._broker, app=self._app)).unresolved
        except (BrokerError, InvalidOffsetMetadata) as error:
            logger.debug("%s: its dead letters could not be counted: %s", binding.name, error)
            return None
