"""Writes dead letters once, and takes them for written whatever the broker said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dispatcher.core.record import Outgoing
from dispatcher.core.settlement import Settlement
from dispatcher.worker.producing import SettlementWriter
from dispatcher.worker.records import dead_letter


def apply() -> None:
    """Break it."""
    SettlementWriter.write = write  # type: ignore[method-assign]


async def write(
    self: SettlementWriter, settlement: Settlement, results: Sequence[Outgoing], _trace: Any = None
) -> bool:
    """Send, and forget what became of it."""
    producer = await self._get_producer()
    await producer.send_all([*results, *(dead_letter(self._binding, letter) for letter in settlement.dead)])
    return True
