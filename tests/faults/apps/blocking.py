"""Two functions in one process: one goes on steadily, the other blocks the event loop they share, at each of its events."""

from __future__ import annotations

import asyncio
import os
import time

from ledger import handling

from bindings import Context, Event, on_stream

BLOCK = float(os.environ["FAULTS_BLOCK"])


@on_stream(os.environ["FAULTS_STREAM"], concurrency=16)
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        await asyncio.sleep(0.02)


@on_stream(f"{os.environ['FAULTS_STREAM']}.heavy")
async def compute(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        time.sleep(BLOCK)
