"""Quix Streams: a data frame over a stream, with a function that is called for each event."""

from __future__ import annotations

import tempfile
import uuid

from quixstreams import Application

from benchmarks.clock import Clock
from benchmarks.orders import Order

#: See the other peer: its beginning says it all.
MOST = 60_000


def run(bootstrap: str, stream: str, events: int) -> dict[str, float]:
    """Consume so many events, one by one.

    Its functions are synchronous. The value comes as bytes and is decoded as in the other arms, faster than by its own JSON
    deserializer and a model made of the dict.
    """
    with tempfile.TemporaryDirectory() as folder:
        application = Application(
            broker_address=bootstrap,
            consumer_group=f"quix-{uuid.uuid4()}",
            auto_offset_reset="earliest",
            loglevel="WARNING",
            state_dir=folder,
            consumer_extra_config={"fetch.queue.backoff.ms": 10},  # see the bare loop on the same client
        )
        clock = Clock(min(events, MOST), application.stop)
        decode, count = Order.model_validate_json, clock.count

        def handle(value: bytes) -> None:
            decode(value)
            count()

        topic = application.topic(stream, key_deserializer="bytes", value_deserializer="bytes")
        application.dataframe(topic).update(handle)
        application.run()
    return clock.figures()
