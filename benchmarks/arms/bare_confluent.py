"""A bare loop on confluent-kafka, whose client is written in C: fetch, decode, call, commit now and then."""

from __future__ import annotations

import time
import uuid

from confluent_kafka import Consumer, KafkaException

from benchmarks.arms.handlers import DECODERS, batch_handler, handler
from benchmarks.clock import Clock

#: As often as the dispatcher commits (Settings.commit_interval).
COMMIT_INTERVAL = 0.5


async def run(bootstrap: str, stream: str, events: int, kind: str = "pydantic", batch: int = 1) -> dict[str, float]:
    """Consume so many events, one by one or in batches of what was fetched.

    Its ``consume`` blocks the event loop, on which nothing else runs; so the functions are the same coroutines as in other arms.
    """
    clock = Clock(events)
    decode = DECODERS[kind]
    handle = handler(clock, kind)
    handle_batch = batch_handler(clock, kind)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"bare-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([stream])
    committed = time.monotonic()
    while not clock.finished:
        messages = consumer.consume(num_messages=500, timeout=1.0)
        if any(message.error() for message in messages):
            raise KafkaException([message.error() for message in messages])
        if batch > 1:
            for begin in range(0, len(messages), batch):
                await handle_batch([decode(message.value()) for message in messages[begin : begin + batch]])
        else:
            for message in messages:
                await handle(decode(message.value()))
        if time.monotonic() - committed > COMMIT_INTERVAL:
            consumer.commit(asynchronous=True)
            committed = time.monotonic()
    consumer.close()
    return clock.figures()
