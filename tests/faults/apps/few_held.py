"""``steady``, with so few events in memory, and on their way, that what a server does not send is soon missed."""

from __future__ import annotations

import asyncio
import os

from ledger import handling

from bindings import Context, Event, Limits, on_stream
from dispatcher.brokers.kafka import consumer

WORK = float(os.environ.get("FAULTS_WORK", "100")) / 1000
# Of each partition, which the client library reads ahead: seconds of this app's work at its usual 1 MiB.
consumer._PARTITION_FETCH_BYTES = 16 * 1024


@on_stream(os.environ["FAULTS_STREAM"], concurrency=16, limits=Limits(held_events=48))
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        await asyncio.sleep(WORK)
