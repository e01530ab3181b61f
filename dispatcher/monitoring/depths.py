"""How many dead letters wait for somebody, asked of the broker now and then."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bindings import Binding
from dispatcher.brokers.base import Broker
from dispatcher.errors import BrokerError, InvalidOffsetMetadata
from dispatcher.status import dead_letters
from dispatcher.telemetry.periodic import Periodic

__all__ = ["Depths"]

logger = logging.getLogger("dispatcher.telemetry")


class Depths(Periodic):
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
        super().__init__("depths", interval)
        self._bindings = bindings
        self._broker = broker
        self._app = app
        self.events: dict[str, int | None] = {}

    async def look(self) -> None:
        """Read all of them once."""
        for binding in self._bindings:
            self.events[binding.name] = await self._read(binding)

    async def _read(self, binding: Binding) -> int | None:
        try:
            return (await dead_letters(binding, self._broker, app=self._app)).unresolved
        except (BrokerError, InvalidOffsetMetadata) as error:
            logger.debug("%s: its dead letters could not be counted: %s", binding.name, error)
            return None
