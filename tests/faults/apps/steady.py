"""A handler that writes the ledger and works for ``FAULTS_WORK`` milliseconds, under ``FAULTS_ORDER``."""

from __future__ import annotations

import asyncio
import os

from ledger import handling

from bindings import Context, Event, on_stream

WORK = float(os.environ.get("FAULTS_WORK", "1")) / 1000


@on_stream(os.environ["FAULTS_STREAM"], order=os.environ.get("FAULTS_ORDER", "key"), concurrency=16)
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        await asyncio.sleep(WORK)
