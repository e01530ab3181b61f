"""A handler that works for ``FAULTS_WORK`` milliseconds and then rejects what is meant for the dead letters.

Those are the events whose key begins with ``poison``. ``FAULTS_HELD`` is how many events it may hold in memory.
"""

from __future__ import annotations

import asyncio
import os

from ledger import handling

from bindings import Context, Event, Limits, Reject, on_stream

WORK = float(os.environ.get("FAULTS_WORK", "1")) / 1000


@on_stream(
    os.environ["FAULTS_STREAM"], concurrency=16, limits=Limits(held_events=int(os.environ.get("FAULTS_HELD", "1000")))
)
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        await asyncio.sleep(WORK)
        if (event.key or b"").startswith(b"poison"):
            raise Reject("it is poison")
