"""What people did about failures and dead letters: kept beside the events, in a stream of the app."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from dispatcher.brokers.base import Broker
from dispatcher.brokers.streams import create_compacted, every_partition
from dispatcher.core.record import Outgoing
from dispatcher.reading import read_range

__all__ = ["Journal", "journal_topic"]

_VERSION = 1


def journal_topic(app: str) -> str:
    """The stream of an app's journal: one for each app, so that rights can be given for it alone."""
    return f"_dispatch.journal.{app}"


class Journal:
    """Documents by kind and name; the last one written counts.

    A compacted stream with one partition, so that every machine and every broker has it and nothing has to run. A document is
    a JSON object with ``version`` 1; its key is ``kind:name``. What can't be read is left out: whoever may write to the
    topic may write anything.

    Args:
        broker: connected.
        app: whose.
    """

    def __init__(self, broker: Broker, app: str) -> None:
        self._broker = broker
        self.topic = journal_topic(app)

    async def read(self, kind: str) -> dict[str, dict[str, Any]]:
        """The documents of a kind by their names, oldest first; none when there is no journal.

        Raises:
            BrokerError: it can't be read.
        """
        found: dict[str, dict[str, Any]] = {}
        partitions = await every_partition(self._broker, [self.topic])
        starts = await self._broker.beginning_offsets(partitions)
        ends = await self._broker.end_offsets(partitions)
        for id_ in partitions:
            async with aclosing(read_range(self._broker, id_, starts[id_], ends[id_])) as records:
                async for record in records:
                    its_kind, _, name = (record.key or b"").decode(errors="replace").partition(":")
                    if its_kind != kind:
                        continue
                    document = _document(record.value)
                    if document is not None:
                        found[name] = document
        return found

    async def write(self, kind: str, name: str, document: Mapping[str, Any]) -> None:
        """Write a document in place of the last one of that name. Makes the stream when it is missing.

        Raises:
            BrokerError: it is not written.
        """
        await create_compacted(self._broker, self.topic)
        producer = await self._broker.producer()
        try:
            value = json.dumps({"version": _VERSION, **document}).encode()
            await producer.send(Outgoing(topic=self.topic, value=value, key=f"{kind}:{name}".encode(), partition=0))
        finally:
            await producer.close()


def _document(value: bytes | None) -> dict[str, Any] | None:
    try:
        document = json.loads(value or b"")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("version") == _VERSION else None
