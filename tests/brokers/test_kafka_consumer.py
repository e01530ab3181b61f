"""The consumer's guards against what its client does in rebalances, on damaged logs and in silence."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import defaultdict
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as DriverPartition
from contract import MakeStream, Member, send_all
from kafka_acls import DESCRIBE, allow
from kafka_server import USER_WITHOUT_RIGHTS, KafkaCluster

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings
from dispatcher.brokers.kafka.consumer import KafkaConsumer
from dispatcher.core.record import Committed, Outgoing, TopicPartition
from dispatcher.errors import (
    AuthorizationFailed,
    BrokerUnavailable,
    CorruptRecords,
    FencedMember,
    OffsetOutOfRange,
    StreamNotFound,
)

pytestmark = pytest.mark.kafka


@pytest.fixture
def make_broker(kafka_bootstrap: str) -> object:
    """Kafka alone: these holes are its client's."""
    return lambda: KafkaBroker(kafka_bootstrap)


def damage(cluster: KafkaCluster, stream: str, partition: int, value: bytes) -> None:
    """Change one byte of a record in the log of the (only) broker."""
    [segment] = cluster.nodes[0].partition_directory(stream, partition).glob("*.log")
    data = segment.read_bytes()
    at = data.index(value)
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 0xFF]))


async def test_a_damaged_batch_is_told_exactly_and_loses_nothing(
    kafka_cluster: KafkaCluster, broker: KafkaBroker, make_stream: MakeStream, group: str
) -> None:
    """CorruptRecords has the offset; what stands before it, after it and in other partitions is delivered once, in order.

    The client raises for the whole fetch: it names no offset, withholds the good records before it, and skips those of
    other partitions that it had read already.
    """
    # Which partition the client reads first is chance; with eight the damaged one is seldom the first.
    stream = await make_stream(8)
    producer = await broker.producer()
    for number in range(10):
        for partition in range(8):
            await producer.send(Outgoing(topic=stream, value=b"p%d-%05d" % (partition, number), partition=partition))
    await producer.close()
    damage(kafka_cluster, stream, 1, b"p1-00005")

    seen: dict[int, list[int]] = defaultdict(list)
    corrupt: list[CorruptRecords] = []
    async with Member(broker, group, [stream]) as member:
        await member.holds(8)
        async with asyncio.timeout(40):
            while sum(map(len, seen.values())) < 79:
                try:
                    records = await member.consumer.fetch(member.held, max_records=500, timeout=1.0)
                except CorruptRecords as error:
                    corrupt.append(error)
                    assert seen[1] == [0, 1, 2, 3, 4]
                    member.consumer.seek(TopicPartition(stream, 1), error.offset + 1)
                else:
                    for (_, partition), batch in records.items():
                        seen[partition] += [record.offset for record in batch]
    assert [(error.stream, error.partition, error.offset) for error in corrupt] == [(stream, 1, 5)]
    assert seen == {number: list(range(10)) for number in range(8)} | {1: [0, 1, 2, 3, 4, 6, 7, 8, 9]}


async def test_a_position_that_retention_has_passed_is_told(
    kafka_bootstrap: str, broker: KafkaBroker, make_stream: MakeStream, group: str
) -> None:
    """Records deleted under a lag raise OffsetOutOfRange with the offset; they are not skipped in silence."""
    stream = await make_stream()
    producer = await broker.producer()
    await send_all(producer, stream, [b"%d" % number for number in range(10)])
    await producer.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.delete_records({DriverPartition(stream, 0): RecordsToDelete(6)})
    await admin.close()

    partition = TopicPartition(stream, 0)
    async with Member(broker, group, [stream], start=2) as member:
        await member.holds(1)
        with pytest.raises(OffsetOutOfRange) as raised:
            await member.collect(1)
        assert raised.value.offset == 2
        [beginning] = (await broker.beginning_offsets([partition])).values()
        assert beginning == 6
        member.consumer.seek(partition, beginning)
        assert [record.value for record in await member.collect(4)] == [b"6", b"7", b"8", b"9"]


async def test_a_stream_that_is_deleted_is_told(broker: KafkaBroker, make_stream: MakeStream, group: str) -> None:
    """StreamNotFound comes out of fetch within seconds; the client itself would ask on for ever."""
    stream, other = await make_stream(), await make_stream()
    async with Member(broker, group, [stream, other]) as member:
        await member.holds(2)
        await broker.delete_stream(stream)
        with pytest.raises(StreamNotFound, match=stream):
            await member.collect(1)


async def test_a_second_process_with_the_same_name_fences_the_first(
    kafka_bootstrap: str, make_stream: MakeStream, group: str
) -> None:
    """FencedMember, which names the instance id, where the client says "UnknownError"; the second goes on."""
    stream = await make_stream()
    async with (
        KafkaBroker(KafkaSettings(servers=kafka_bootstrap, instance_id="worker-1")) as broker,
        Member(broker, group, [stream], name="first") as first,
    ):
        await first.holds(1)
        async with Member(broker, group, [stream], name="second") as second:
            await second.holds(1)
            with pytest.raises(FencedMember, match="worker-1"):
                await first.collect(1)
            await first.consumer.close()
            producer = await broker.producer()
            await producer.send(Outgoing(topic=stream, value=b"for the second"))
            await producer.close()
            assert [record.value for record in await second.collect(1)] == [b"for the second"]


async def test_a_leader_that_comes_back_by_its_name_learns_of_new_partitions(
    kafka_bootstrap: str, make_stream: MakeStream, group: str
) -> None:
    """A restart under the same instance id takes no rebalance, and the client takes itself for a follower then; partitions
    that were added meanwhile are consumed all the same, and those that are added later."""
    stream = await make_stream()
    async with KafkaBroker(KafkaSettings(servers=kafka_bootstrap, instance_id="worker-1")) as broker:
        async with Member(broker, group, [stream], name="first") as first:
            await first.holds(1)
        await broker.add_partitions(stream, 2)
        async with Member(broker, group, [stream], name="second") as second:
            await second.holds(2)
            await broker.add_partitions(stream, 3)
            await second.holds(3)


async def test_transactions_are_read_as_committed(
    kafka_bootstrap: str, broker: KafkaBroker, make_stream: MakeStream, group: str
) -> None:
    """Aborted records are not delivered, and the position passes them and the markers up to the end."""
    stream = await make_stream()
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=f"tx-{group}")
    await producer.start()
    for value, keep in ((b"kept", True), (b"aborted", False), (b"kept too", True), (b"aborted", False)):
        await producer.begin_transaction()
        await producer.send_and_wait(stream, value)
        await (producer.commit_transaction() if keep else producer.abort_transaction())
    await producer.stop()

    partition = TopicPartition(stream, 0)
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        assert [record.value for record in await member.collect(2)] == [b"kept", b"kept too"]
        [end] = (await broker.end_offsets([partition])).values()
        assert end == 8
        async with asyncio.timeout(10):
            while member.consumer.position(partition) != end:
                assert await member.consumer.fetch([partition], max_records=10, timeout=0.5) == {}


async def test_no_record_is_skipped_when_fetches_cross_rebalances(
    broker: KafkaBroker, make_stream: MakeStream, group: str
) -> None:
    """A second member comes and goes three times while the first fetches without pause: from each seek on, offsets
    follow one another without a gap."""
    stream = await make_stream(4)
    producer = await broker.producer()
    for partition in range(4):
        await send_all(producer, stream, [b"x" * 100] * 2_000, partition)
    await producer.close()

    runs: list[dict[int, list[int]]] = []
    stop = asyncio.Event()
    async with Member(broker, group, [stream], name="steady") as steady:

        async def mark() -> None:
            runs.append(defaultdict(list))

        steady.before_assigned = mark

        async def read() -> None:
            while not stop.is_set():
                held = steady.held or {TopicPartition(stream, partition) for partition in range(4)}
                for (_, partition), batch in (await steady.consumer.fetch(held, max_records=50, timeout=0.3)).items():
                    runs[-1][partition] += [record.offset for record in batch]

        reading = asyncio.create_task(read())
        for _ in range(3):
            await steady.holds(4)
            async with Member(broker, group, [stream], name="guest") as guest:
                await guest.holds(2)
        await steady.holds(4)
        async with asyncio.timeout(20):
            while sum(map(len, runs[-1].values())) < 8_000:
                await asyncio.sleep(0.05)
        stop.set()
        await reading
    assert len(runs) >= 7
    for run in runs:
        for offsets in run.values():
            assert offsets == list(range(len(offsets)))


async def test_an_error_in_the_listener_comes_out_of_the_fetch(
    broker: KafkaBroker, make_stream: MakeStream, group: str
) -> None:
    """The client logs it and goes on as if positions were set; here it is raised, and no record is delivered."""
    stream = await make_stream()
    failed = asyncio.Event()

    async def fail() -> None:
        failed.set()
        raise BrokerUnavailable("offsets could not be read")

    async with Member(broker, group, [stream], before_assigned=fail) as member:
        await failed.wait()
        with pytest.raises(BrokerUnavailable, match="could not be read"):
            await member.consumer.fetch([TopicPartition(stream, 0)], max_records=1, timeout=5.0)
        assert await member.consumer.fetch([TopicPartition(stream, 0)], max_records=1, timeout=0.1) == {}


@pytest.mark.parametrize("task", ["fetching", "coordination"])
async def test_a_client_whose_inside_has_died_is_told(
    broker: KafkaBroker, make_stream: MakeStream, group: str, task: str
) -> None:
    """The client would return nothing for ever; fetch raises, the consumer closes, and a new one goes on."""
    stream = await make_stream()
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        consumer = member.consumer
        assert isinstance(consumer, KafkaConsumer)
        inside = consumer._client
        assert inside is not None
        victim = inside._fetcher._fetch_task if task == "fetching" else inside._coordinator._coordination_task
        victim.cancel()
        with pytest.raises(BrokerUnavailable):
            await member.collect(1)
    producer = await broker.producer()
    await producer.send(Outgoing(topic=stream, value=b"more"))
    await producer.close()
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        assert [record.value for record in await member.collect(1)] == [b"more"]


async def test_a_broker_that_stops_answering(tmp_path: Path, group: str) -> None:
    """A frozen broker: fetch returns empty in its time, commit and committed raise BrokerUnavailable, and once it goes
    on the same consumer does too, with nothing lost; frozen again, close still ends within 10 s."""
    partition = TopicPartition("stream", 0)
    with KafkaCluster(tmp_path) as cluster:
        process = cluster.nodes[0].process
        assert process is not None
        async with KafkaBroker(KafkaSettings(servers=cluster.bootstrap(), request_timeout=2.0)) as broker:
            await broker.create_stream(StreamInfo(name="stream", partitions=1))
            producer = await broker.producer()
            await send_all(producer, "stream", [b"1", b"2", b"3"])
            async with Member(broker, group, ["stream"]) as member:
                await member.holds(1)
                assert len(await member.collect(3)) == 3
                process.send_signal(signal.SIGSTOP)
                try:
                    began = time.monotonic()
                    assert await member.consumer.fetch([partition], max_records=1, timeout=0.5) == {}
                    with pytest.raises(BrokerUnavailable):
                        await member.consumer.commit({partition: Committed(3)})
                    with pytest.raises(BrokerUnavailable):
                        await broker.committed(group, [partition])
                    assert time.monotonic() - began < 10
                finally:
                    process.send_signal(signal.SIGCONT)
                await producer.send(Outgoing(topic="stream", value=b"4"))
                assert [record.value for record in await member.collect(1)] == [b"4"]
                process.send_signal(signal.SIGSTOP)
                began = time.monotonic()
                try:
                    await member.consumer.close()
                    assert time.monotonic() - began < 10
                finally:
                    process.send_signal(signal.SIGCONT)
            await producer.close()


async def test_a_group_and_a_stream_that_may_not_be_read(kafka_cluster: KafkaCluster, group: str) -> None:
    """A forbidden group stops the start with AuthorizationFailed, which names it."""
    name, password = USER_WITHOUT_RIGHTS
    async with KafkaBroker(kafka_cluster.bootstrap()) as owner:
        await owner.create_stream(StreamInfo(name="shown", partitions=1))
    await allow(kafka_cluster.bootstrap(), name, "shown", DESCRIBE)
    settings = KafkaSettings(
        servers=kafka_cluster.bootstrap("sasl"), security_protocol="SASL_PLAINTEXT", username=name, password=password
    )
    async with KafkaBroker(settings) as broker:
        member = Member(broker, group, ["shown"])
        with pytest.raises(AuthorizationFailed, match=group):
            await member.consumer.start()
        await member.consumer.close()
