"""A handler behind a target: the configuration says where it is, and ``target.py`` serves it there. Two attempts, 0.2 s apart."""

from __future__ import annotations

import asyncio
import os

from ledger import handling

from bindings import Context, Event, Retry, on_stream

WORK = float(os.environ.get("FAULTS_WORK", "1")) / 1000


@on_stream(
    os.environ["FAULTS_STREAM"],
    concurrency=16,
    retry=Retry(max_attempts=2, initial=0.2, max_delay=0.2),
)
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        await asyncio.sleep(WORK)
