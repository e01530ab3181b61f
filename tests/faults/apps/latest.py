"""A handler that begins at the end of its stream.

``FAULTS_HOLDS_COMMITS`` is a partition: commits in which it stands are held back for ever, once that is in the log.
``FAULTS_METADATA_AGE`` is seconds after which new partitions are seen.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping

from ledger import handling

from bindings import Context, Event, on_stream
from dispatcher.brokers.kafka import consumer
from dispatcher.core.record import Committed, TopicPartition

if age := os.environ.get("FAULTS_METADATA_AGE"):
    consumer._METADATA_AGE_MS = int(float(age) * 1000)

if held := os.environ.get("FAULTS_HOLDS_COMMITS"):
    commit = consumer.KafkaConsumer.commit

    async def commit_or_hold(self: consumer.KafkaConsumer, offsets: Mapping[TopicPartition, Committed]) -> None:
        if int(held) in {id_.partition for id_ in offsets}:
            logging.getLogger("dispatcher.worker").warning("a commit is held")
            await asyncio.Event().wait()
        await commit(self, offsets)

    consumer.KafkaConsumer.commit = commit_or_hold  # type: ignore[method-assign]


@on_stream(os.environ["FAULTS_STREAM"], start="latest")
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context):
        pass
