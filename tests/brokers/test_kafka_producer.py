"""The producer's guards against what its client does when a record is refused, or an answer does not come."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from contract import MakeStream, Member
from kafka_acls import WRITE, allow, forbid
from kafka_server import USER_WITHOUT_RIGHTS, KafkaCluster

from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings
from dispatcher.brokers.kafka.producer import KafkaProducer
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.errors import AuthorizationFailed, BrokerUnavailable, RecordTooLarge, StreamNotFound

pytestmark = pytest.mark.kafka


@pytest.fixture
def make_broker(kafka_bootstrap: str) -> object:
    """Kafka alone: these holes are its client's."""
    return lambda: KafkaBroker(kafka_bootstrap)


@pytest.fixture
async def producer(broker: KafkaBroker) -> AsyncIterator[KafkaProducer]:
    """A producer that is closed in the end."""
    made = await broker.producer()
    yield made
    await made.close()


async def values(broker: Broker, group: str, stream: str, count: int) -> list[bytes | None]:
    """The first ``count`` values of a stream with one partition."""
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        return [record.value for record in await member.collect(count)]


async def test_a_refused_record_does_not_stop_those_after_it(
    broker: KafkaBroker, producer: KafkaProducer, make_stream: MakeStream
) -> None:
    """A record over the topic's limit: RecordTooLarge, and the next one to the same partition is written at once.

    The client's own producer would refuse each record to that partition from then on.
    """
    stream = await make_stream(max_message_bytes="100000")
    assert await producer.send(Outgoing(topic=stream, value=b"before")) == (0, 0)
    with pytest.raises(RecordTooLarge, match=stream):
        await producer.send(Outgoing(topic=stream, value=b"x" * 300_000))
    began = time.monotonic()
    assert await producer.send(Outgoing(topic=stream, value=b"after")) == (0, 1)
    assert time.monotonic() - began < 2


async def test_nothing_sent_around_a_refused_record_is_lost(
    broker: KafkaBroker, producer: KafkaProducer, make_stream: MakeStream, group: str
) -> None:
    """Two hundred sends at once, three of them too large, to two partitions: 197 are acknowledged, and are all there."""
    stream = await make_stream(2, max_message_bytes="100000")
    large = {20, 21, 150}

    async def send(number: int) -> None:
        value = b"x" * 300_000 if number in large else str(number).encode()
        await producer.send(Outgoing(topic=stream, value=value, partition=number % 2))

    results = await asyncio.gather(*(send(number) for number in range(200)), return_exceptions=True)
    assert {n for n, result in enumerate(results) if isinstance(result, RecordTooLarge)} == large
    assert [result for n, result in enumerate(results) if n not in large and result is not None] == []
    async with Member(broker, group, [stream]) as member:
        await member.holds(2)
        found = {record.value for record in await member.collect(197)}
    assert found == {str(number).encode() for number in range(200) if number not in large}


async def test_small_records_are_not_refused_for_their_neighbours(
    broker: KafkaBroker, producer: KafkaProducer, make_stream: MakeStream, group: str
) -> None:
    """The broker measures a batch against the limit for a record: a full batch to a topic with a small one is split."""
    stream = await make_stream(max_message_bytes="1000")
    await asyncio.gather(*(producer.send(Outgoing(topic=stream, value=b"%03d" % n * 100)) for n in range(50)))
    assert set(await values(broker, group, stream, 50)) == {b"%03d" % n * 100 for n in range(50)}


async def test_a_record_of_the_size_that_the_topic_takes(producer: KafkaProducer, make_stream: MakeStream) -> None:
    """The topic's limit decides and no smaller one of the client's: 3 MB pass where 4 MB are allowed."""
    stream = await make_stream(max_message_bytes="4000000")
    assert await producer.send(Outgoing(topic=stream, value=b"x" * 3_000_000)) == (0, 0)
    with pytest.raises(RecordTooLarge):
        await producer.send(Outgoing(topic=stream, value=b"x" * 4_000_001))
    assert await producer.send(Outgoing(topic=stream, value=b"x" * 3_000_000)) == (0, 1)


async def test_a_record_of_nothing_is_written(
    broker: KafkaBroker, producer: KafkaProducer, make_stream: MakeStream, group: str
) -> None:
    """No key, no value, a header without one: a dead letter may be that, and the client itself refuses it."""
    stream = await make_stream()
    await producer.send(Outgoing(topic=stream, value=None, key=None, headers=(("empty", None), ("set", b""))))
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        [record] = await member.collect(1)
    assert (record.key, record.value, list(record.headers)) == (None, None, [("empty", None), ("set", b"")])


async def test_a_stream_that_was_deleted_is_told(
    broker: KafkaBroker, producer: KafkaProducer, make_stream: MakeStream
) -> None:
    """A producer that has used the stream raises StreamNotFound, and goes on with others."""
    stream, other = await make_stream(), await make_stream()
    await producer.send(Outgoing(topic=stream, value=b""))
    assert await broker.delete_stream(stream)
    with pytest.raises(StreamNotFound, match=stream):
        await producer.send(Outgoing(topic=stream, value=b""))
    assert await producer.send(Outgoing(topic=other, value=b"")) == (0, 0)


async def test_new_partitions_can_be_sent_to_at_once(
    broker: KafkaBroker, producer: KafkaProducer, make_stream: MakeStream
) -> None:
    """A partition that the client has not heard of yet is looked up, not refused."""
    stream = await make_stream(1)
    await producer.send(Outgoing(topic=stream, value=b"", partition=0))
    await broker.add_partitions(stream, 2)
    assert await producer.send(Outgoing(topic=stream, value=b"", partition=1)) == (1, 0)


async def test_a_right_that_comes_back_is_noticed(kafka_cluster: KafkaCluster) -> None:
    """Writing is forbidden and then allowed again: the same producer writes again, with no restart."""
    name, password = USER_WITHOUT_RIGHTS
    await allow(kafka_cluster.bootstrap(), name, "acl-stream", WRITE)
    async with KafkaBroker(kafka_cluster.bootstrap()) as owner:
        await owner.create_stream(StreamInfo(name="acl-stream", partitions=1))
    settings = KafkaSettings(
        servers=kafka_cluster.bootstrap("sasl"), security_protocol="SASL_PLAINTEXT", username=name, password=password
    )
    async with KafkaBroker(settings) as broker:
        producer = await broker.producer()
        assert await producer.send(Outgoing(topic="acl-stream", value=b"")) == (0, 0)
        await forbid(kafka_cluster.bootstrap(), name, "acl-stream", WRITE)
        with pytest.raises(AuthorizationFailed, match="acl-stream"):
            await producer.send(Outgoing(topic="acl-stream", value=b""))
        await allow(kafka_cluster.bootstrap(), name, "acl-stream", WRITE)
        assert await producer.send(Outgoing(topic="acl-stream", value=b"")) == (0, 1)
        await producer.close()


async def test_a_broker_that_stops_answering_ends_the_send(tmp_path: Path) -> None:
    """The client itself would wait without end. After the broker has come back the same producer writes again."""
    with KafkaCluster(tmp_path) as cluster:
        [node] = cluster.nodes
        settings = KafkaSettings(servers=cluster.bootstrap(), request_timeout=2.0, delivery_timeout=3.0)
        async with KafkaBroker(settings) as broker:
            await broker.create_stream(StreamInfo(name="stream", partitions=1))
            producer = await broker.producer()
            assert await producer.send(Outgoing(topic="stream", value=b"")) == (0, 0)
            assert node.process is not None
            node.process.send_signal(signal.SIGSTOP)
            try:
                began = time.monotonic()
                sends = [producer.send(Outgoing(topic="stream", value=b"")) for _ in range(3)]
                results = await asyncio.gather(*sends, return_exceptions=True)
                assert [type(result) for result in results] == [BrokerUnavailable] * 3
                assert time.monotonic() - began < 10
            finally:
                node.process.send_signal(signal.SIGCONT)
            partition, offset = await producer.send(Outgoing(topic="stream", value=b"last"))
            assert (await broker.end_offsets([TopicPartition("stream", partition)]))["stream", partition] == offset + 1
            began = time.monotonic()
            await producer.close()
            assert time.monotonic() - began < 5


async def test_a_closed_producer_says_so(broker: KafkaBroker, make_stream: MakeStream) -> None:
    """A send after close raises rather than hanging; closing twice is no error."""
    stream = await make_stream()
    producer = await broker.producer()
    await producer.close()
    await producer.close()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await producer.send(Outgoing(topic=stream, value=b""))


async def test_one_by_one_a_send_takes_milliseconds(producer: KafkaProducer, make_stream: MakeStream) -> None:
    """Nothing lingers: 100 sends, each awaited before the next, take a few milliseconds each."""
    stream = await make_stream()
    await producer.send(Outgoing(topic=stream, value=b"first"))
    taken = []
    for _ in range(100):
        began = time.perf_counter()
        await producer.send(Outgoing(topic=stream, value=b"x" * 100))
        taken.append(time.perf_counter() - began)
    assert sorted(taken)[50] < 0.02
