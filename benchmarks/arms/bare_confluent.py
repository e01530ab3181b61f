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
            # At its default of a second, a client whose queue was full once sits idle while the loop has caught up: 220,000 events a
            # second here instead of 550,000.
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.subscribe([stream])
    committed = time.monotonic()
    while not clock.finished:
        # It waits for so long until it has them all: at a second, so would the end of the log.
        messages = consumer.consume(num_messages=500, timeout=0.01)
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
