"""Reading a Kafka log without a group, where it can't be read."""

from __future__ import annotations

import pytest
from contract import MakeStream, send_all
from kafka_server import USER_WITHOUT_RIGHTS, KafkaCluster
from test_kafka_consumer import damage

from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.errors import AuthorizationFailed, CorruptRecords

pytestmark = pytest.mark.kafka


@pytest.fixture
def make_broker(kafka_bootstrap: str) -> object:
    """Kafka alone: these holes are its client's."""
    return lambda: KafkaBroker(kafka_bootstrap)


async def test_a_damaged_record_is_told_with_its_partition(
    kafka_cluster: KafkaCluster, broker: KafkaBroker, make_stream: MakeStream
) -> None:
    """The client says neither which partition nor which offset; alone or among others, the error names the right one."""
    stream = await make_stream(3)
    producer = await broker.producer()
    for partition in range(3):
        await send_all(producer, stream, [b"p%d-value" % partition], partition=partition)
    await producer.close()
    damage(kafka_cluster, stream, 1, b"p1-value")
    every = [TopicPartition(stream, number) for number in range(3)]

    for asked in ([every[1]], every):
        with pytest.raises(CorruptRecords) as caught:
            await broker.read(dict.fromkeys(asked, 0))
        assert (caught.value.partition, caught.value.offset) == (1, 0)
    found = await broker.read({every[0]: 0, every[2]: 0})
    assert [record.value for records in found.values() for record in records] == [b"p0-value", b"p2-value"]


async def test_what_stands_before_the_damage_is_read(
    kafka_cluster: KafkaCluster, broker: KafkaBroker, make_stream: MakeStream
) -> None:
    """Asked for many records, a reader gets those before a damaged batch; then the error says where the batch ends."""
    stream = await make_stream()
    producer = await broker.producer()
    await send_all(producer, stream, [b"before-%d" % number for number in range(3)])
    await producer.send_all([Outgoing(topic=stream, value=b"within-%d" % number) for number in range(5)])
    await send_all(producer, stream, [b"after"])
    await producer.close()
    damage(kafka_cluster, stream, 0, b"within-2")
    partition = TopicPartition(stream, 0)

    read, position = [], 0
    while position < 3:
        records = (await broker.read({partition: position}, max_records=10))[partition]
        read += [record.value for record in records]
        position = records[-1].offset + 1
    assert read == [b"before-0", b"before-1", b"before-2"]
    with pytest.raises(CorruptRecords) as caught:
        await broker.read({partition: 3}, max_records=10)
    assert (caught.value.offset, caught.value.end) == (3, 8)
    assert [record.value for record in (await broker.read({partition: 8}, max_records=10))[partition]] == [b"after"]


async def test_a_stream_that_may_not_be_read(
    kafka_cluster: KafkaCluster, broker: KafkaBroker, make_stream: MakeStream
) -> None:
    """A user without rights is told so at once, and no group is needed to find out."""
    stream = await make_stream()
    name, password = USER_WITHOUT_RIGHTS
    settings = KafkaSettings.parse(
        servers=kafka_cluster.bootstrap("sasl"), security_protocol="SASL_PLAINTEXT", username=name, password=password
    )
    async with KafkaBroker(settings) as guest:
        with pytest.raises(AuthorizationFailed):
            await guest.read({TopicPartition(stream, 0): 0})
        with pytest.raises(AuthorizationFailed):
            await guest.group_members("a-group")
