"""A handler in which chosen events never get done.

``FAULTS_UNDONE`` is JSON: ``{"fails": {"PARTITION": [OFFSET, ...]}, "hangs": {...}}``. What hangs is in flight until the
process ends, and what fails waits in place for an attempt that is an hour away. With ``FAULTS_ENCODINGS`` the commits of
partition 0 are written in its first letter's encoding, those of partition 1 in the second's, and so on: all others may
choose.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from ledger import handling

from bindings import Context, Event, Limits, Retry, on_stream
from dispatcher.core import partition as owned
from dispatcher.core.partition import Partition

WORK = float(os.environ.get("FAULTS_WORK", "0")) / 1000
UNDONE: dict[str, dict[str, list[int]]] = json.loads(os.environ.get("FAULTS_UNDONE", "{}"))
FAILS, HANGS = (
    {(int(partition), offset) for partition, offsets in UNDONE.get(kind, {}).items() for offset in offsets}
    for kind in ("fails", "hangs")
)


def choose_encodings(kinds: str) -> None:
    """Write the maps of the first partitions in one encoding each."""
    fit, due_commit = owned.fit_metadata, Partition.due_commit

    def due_in_its_own(self: Partition, *limit: Any) -> Any:
        number = self.id.partition
        chosen = {"kinds": kinds[number]} if number < len(kinds) else {}
        owned.fit_metadata = lambda *given: fit(*given, **chosen)
        try:
            return due_commit(self, *limit)
        finally:
            owned.fit_metadata = fit

    Partition.due_commit = due_in_its_own  # type: ignore[method-assign]


if kinds := os.environ.get("FAULTS_ENCODINGS"):
    choose_encodings(kinds)


@on_stream(
    os.environ["FAULTS_STREAM"],
    order=os.environ.get("FAULTS_ORDER", "key"),
    concurrency=int(os.environ.get("FAULTS_CONCURRENCY", "16")),
    timeout=3_600,
    limits=Limits(held_events=int(os.environ.get("FAULTS_HELD", "16000"))),
    retry=Retry(max_attempts=10_000, initial=3_600, max_delay=3_600, jitter="none"),
)
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        place = (event.partition, event.offset)
        if place in FAILS:
            raise RuntimeError("it fails for ever")
        if place in HANGS:
            await asyncio.Event().wait()
        await asyncio.sleep(WORK)
