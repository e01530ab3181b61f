"""The control stream on a real cluster that compacts it while it is followed."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.control import ControlLog, Entry, control_topic
from dispatcher.control.entry import encode
from dispatcher.control.trail import KEPT
from dispatcher.core.record import Outgoing, TopicPartition

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

EAGER = {
    "cleanup.policy": "compact",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.001",
    "delete.retention.ms": "0",
}


def entry(action: str, number: int) -> Entry:
    """An entry with its number as the reason."""
    return Entry(function="f", action=action, by="ops", at=number, reason=str(number))  # type: ignore[arg-type]


async def test_a_compacted_stream_says_what_it_said(kafka_bootstrap: str) -> None:
    """Once Kafka has compacted away what was deleted, which leaves gaps in the offsets, who reads the stream from the begin
    and who has followed it know the same: the last 200 entries in their order, and the state."""
    app = f"app-{uuid.uuid4().hex[:10]}"
    id_ = TopicPartition(control_topic(app), 0)
    async with KafkaBroker(kafka_bootstrap) as broker:
        await broker.create_stream(StreamInfo(name=id_.topic, partitions=1, config=EAGER))
        follower = ControlLog(broker, app)
        producer = await broker.producer()
        written = [entry("pause", number) for number in range(3 * KEPT)]
        await producer.send_all(
            [Outgoing(topic=id_.topic, partition=0, key=each.key, value=encode(each)) for each in written]
        )
        await producer.close()
        await follower.look()
        written.append(entry("resume", 3 * KEPT))
        await follower.write(written[-1])
        end = (await broker.end_offsets([id_]))[id_]
        async with asyncio.timeout(90):
            while True:
                # A segment is closed by what is written after its time.
                await asyncio.sleep(1.1)
                written.append(entry("pause", len(written)))
                await follower.write(written[-1])
                await follower.look()
                [first, *_] = records = (await broker.read({id_: 0}, max_records=5_000))[id_]
                if first.offset > 0 and len(records) < end:
                    break
        late = ControlLog(broker, app)
        await late.look()
        for log in (follower, late):
            assert log.trail.history("f")[-KEPT:] == written[-KEPT:]
            assert log.trail.paused("f") == written[-1]
        assert late.position == follower.position
