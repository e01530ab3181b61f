"""Every handler waits until the file that ``FAULTS_GATE`` names is there; no more than ``FAULTS_HELD`` bytes are held."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from ledger import handling

from bindings import Context, Event, Limits, on_stream

GATE = Path(os.environ["FAULTS_GATE"])
LIMITS = Limits(held_bytes=int(os.environ["FAULTS_HELD"]))


@on_stream(os.environ["FAULTS_STREAM"], concurrency=16, timeout=3600, limits=LIMITS)
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        while not GATE.exists():
            await asyncio.sleep(0.25)
