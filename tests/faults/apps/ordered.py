"""A handler of ``FAULTS_WORK`` milliseconds under partition order, 24 at a time, with little room for what waits."""

from __future__ import annotations

import asyncio
import os

from ledger import handling

from bindings import Context, Event, Limits, on_stream

WORK = float(os.environ.get("FAULTS_WORK", "20")) / 1000


@on_stream(os.environ["FAULTS_STREAM"], order="partition", concurrency=24, limits=Limits(held_events=2_400))
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        await asyncio.sleep(WORK)
