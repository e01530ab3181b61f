"""The limit of this design: aiokafka's ``getmany``, the decoding, the call, a commit now and then, and nothing else."""

from __future__ import annotations

import time

from benchmarks.arms.consumer import bare_consumer
from benchmarks.arms.handlers import DECODERS, batch_handler, handler
from benchmarks.clock import Clock

#: As often as the dispatcher commits (Settings.commit_interval).
COMMIT_INTERVAL = 0.5


async def run(bootstrap: str, stream: str, events: int, kind: str = "pydantic", batch: int = 1) -> dict[str, float]:
    """Consume so many events, one by one or in batches of what was fetched."""
    clock = Clock(events)
    decode = DECODERS[kind]
    handle = handler(clock, kind)
    handle_batch = batch_handler(clock, kind)
    consumer = bare_consumer(bootstrap, stream)
    await consumer.start()
    committed = time.monotonic()
    while not clock.finished:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=500)
        for records in fetched.values():
            if batch > 1:
                for begin in range(0, len(records), batch):
                    await handle_batch([decode(record.value or b"") for record in records[begin : begin + batch]])
                continue
            for record in records:
                await handle(decode(record.value or b""))
        if time.monotonic() - committed > COMMIT_INTERVAL:
            await consumer.commit()
            committed = time.monotonic()
    await consumer.stop()
    return clock.figures()
