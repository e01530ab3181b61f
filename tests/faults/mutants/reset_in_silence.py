"""Goes on at the log's begin, as ``auto.offset.reset=earliest`` does, and says nothing of what is gone."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from dispatcher.brokers.base import Consumer
from dispatcher.core.record import TopicPartition
from dispatcher.worker import positions, worker
from dispatcher.worker.worker import Worker


def apply() -> None:
    """Break it."""
    found = positions.beginnings

    async def beginnings(*arguments: Any, **more: Any) -> Any:
        return {id_: replace(each, lost=0) for id_, each in (await found(*arguments, **more)).items()}

    worker.beginnings = beginnings  # type: ignore[attr-defined]
    positions.logger.setLevel(logging.CRITICAL)
    Worker._jump = jump  # type: ignore[method-assign]


async def jump(self: Worker, consumer: Consumer, id_: TopicPartition, _position: int) -> None:
    """Seek, and that is all."""
    first = (await self._broker.beginning_offsets([id_]))[id_]
    consumer.seek(id_, first)
    self._pass(id_, first)
