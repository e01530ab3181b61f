"""Begins at the end of the log where there is no commit, or one that it can't follow: ``auto.offset.reset=latest``."""

from __future__ import annotations

from typing import Any

from dispatcher.core.offsets import OffsetMap
from dispatcher.worker import positions, worker
from dispatcher.worker.positions import Beginning


def apply() -> None:
    """Break it."""
    worker.beginnings = beginnings


async def beginnings(broker: Any, binding: Any, group: str, partitions: Any, **options: Any) -> Any:
    """Where there is nothing to follow, the end; a group that begins is left to begin."""
    found = await positions.beginnings(broker, binding, group, partitions, **options)
    if all(each.commit is None for each in found.values()):
        return found
    end = await broker.end_offsets(partitions)
    return {
        id_: Beginning(end[id_], OffsetMap(), each.commit)
        if each.commit is None or each.commit.offset > end[id_]
        else each
        for id_, each in found.items()
    }
