"""Two functions in one process: one goes on steadily, the other blocks the event loop that they share.

Both begin once the file ``gate`` is in the ledger's folder.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from ledger import FOLDER, handling

from bindings import Context, Event, on_stream

BLOCK = float(os.environ["FAULTS_BLOCK"])
GATE = Path(os.environ[FOLDER]) / "gate"


async def gate() -> None:
    while not GATE.exists():
        await asyncio.sleep(0.02)


@on_stream(os.environ["FAULTS_STREAM"], concurrency=16)
async def handle(event: Event[bytes], context: Context) -> None:
    await gate()
    with handling(event, context):
        await asyncio.sleep(0.02)


@on_stream(f"{os.environ['FAULTS_STREAM']}.heavy")
async def compute(event: Event[bytes], context: Context) -> None:
    await gate()
    # By then the other function is at work.
    await asyncio.sleep(0.3)
    with handling(event, context):
        time.sleep(BLOCK)
