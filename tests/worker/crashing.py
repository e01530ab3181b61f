"""A worker in a process of its own, to be killed: ``crashing.py BROKER STREAM APP JOURNAL MODE``.

Each call of its function is a line of the journal, written before and after the event was handled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from bindings import Context, Event, Limits, Retry, bindings_of, on_stream
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.config import Settings
from dispatcher.worker import Worker

MAX_ATTEMPTS = 12
COMMIT_INTERVAL = 0.1


def open_broker(url: str) -> Any:
    """The broker of a URL."""
    if url.startswith("embedded:"):
        return EmbeddedBroker(url.removeprefix("embedded:"), session_timeout=2.0)
    from dispatcher.brokers.kafka import KafkaBroker
    from dispatcher.brokers.kafka.settings import KafkaSettings

    # The shortest that a broker allows by default: the group waits so long for a member that was killed.
    return KafkaBroker(KafkaSettings(servers=url.removeprefix("kafka://"), session_timeout=6.0))


async def main(url: str, stream: str, app: str, journal: str, mode: str) -> None:
    """Run the worker: until it is killed, or until it has caught up."""
    out = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @on_stream(
        stream,
        name="handle",
        concurrency=8,
        # Few, so that the stuck event's turn comes soon again: it goes behind those that are in memory.
        limits=Limits(held_events=100),
        retry=Retry(max_attempts=MAX_ATTEMPTS, initial=0.15, multiplier=1, jitter="none"),
    )
    async def handle(event: Event[bytes], context: Context) -> None:
        os.write(out, f"start {event.value.decode()} {context.attempt}\n".encode())
        if event.value == b"0":
            raise ValueError("stuck")
        await asyncio.sleep(0.005)
        os.write(out, f"done {event.value.decode()} {context.attempt}\n".encode())

    (binding,) = bindings_of(handle)
    async with open_broker(url) as broker:
        settings = Settings(commit_interval=COMMIT_INTERVAL, max_poll_records=50)
        await Worker(binding, broker, app=app, settings=settings, until_caught_up=mode == "catch-up").run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(*sys.argv[1:]))
