"""FastStream on Kafka, as its documentation has it, with what makes it fast."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from fast_depends.msgspec import MsgSpecSerializer
from faststream.kafka import KafkaBroker

from benchmarks.arms.handlers import batch_handler, handler
from benchmarks.clock import Clock

#: It goes evenly through the log, at a tenth of the others' pace: the beginning says it all, and a round stays short.
MOST = 60_000


async def run(bootstrap: str, stream: str, events: int, kind: str = "pydantic", batch: int = 1) -> dict[str, float]:
    """Consume so many events, one by one or in batches.

    No log line an event; orjson is installed, which it then uses; offsets are committed by the client at an interval, as
    it does by default, also for events that fail. One worker, since several keep no order.
    """
    done = asyncio.Event()
    clock = Clock(min(events, MOST), done.set)
    serializer: dict[str, Any] = {"serializer": MsgSpecSerializer()} if kind == "msgspec" else {}
    broker = KafkaBroker(bootstrap, logger=None, **serializer)
    options: dict[str, Any] = {"group_id": f"faststream-{uuid.uuid4()}", "auto_offset_reset": "earliest"}
    if batch > 1:
        broker.subscriber(stream, batch=True, max_records=batch, **options)(batch_handler(clock, kind))
    else:
        broker.subscriber(stream, **options)(handler(clock, kind))
    async with broker:
        await broker.start()
        await done.wait()
    return clock.figures()
