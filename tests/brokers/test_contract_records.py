"""The broker contract: what is written is what is read."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest
from contract import MakeStream, Member, send_all

from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.errors import OffsetOutOfRange, RecordTooLarge, StreamNotFound

# Of Kafka's own test of its hash (clients, UtilsTest.testMurmur2), as partitions of 100: (hash & 0x7fffffff) % 100.
KAFKA_VECTORS = {
    b"21": (-973932308 & 0x7FFFFFFF) % 100,
    b"foobar": (-790332482 & 0x7FFFFFFF) % 100,
    b"a-little-bit-long-string": (-985981536 & 0x7FFFFFFF) % 100,
    b"a-little-bit-longer-string": (-1486304829 & 0x7FFFFFFF) % 100,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": (-58897971 & 0x7FFFFFFF) % 100,
    b"abc": (479470107 & 0x7FFFFFFF) % 100,
}

#: Kafka refuses a time more than an hour ahead, and forgets one that is too long ago.
RECENT_MS = time.time_ns() // 1_000_000 - 60_000


async def test_what_is_sent_comes_back_byte_for_byte(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """Keys, values, None and empty ones, and times survive the way through the log as they were."""
    stream = await make_stream()
    producer = await broker.producer()
    sent = [
        Outgoing(topic=stream, key=b"k", value=b"v", timestamp=RECENT_MS),
        Outgoing(topic=stream, key=None, value=b"\x00\xff" * 100, timestamp=RECENT_MS + 1),
        Outgoing(topic=stream, key=b"tombstone", value=None, timestamp=RECENT_MS + 2),
        Outgoing(topic=stream, key=b"", value=b"", timestamp=RECENT_MS - 5),
        Outgoing(topic=stream, key=bytes(range(256)), value=b"x" * 200_000, timestamp=RECENT_MS + 3),
    ]
    for offset, record in enumerate(sent):
        assert await producer.send(record) == (0, offset)
    await producer.close()

    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        records = await member.collect(len(sent))

    assert [(r.topic, r.partition, r.offset) for r in records] == [(stream, 0, offset) for offset in range(len(sent))]
    assert [(r.key, r.value, r.timestamp) for r in records] == [(r.key, r.value, r.timestamp) for r in sent]


async def test_headers_keep_order_duplicates_and_raw_values(
    broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """Header names may come twice, values may be any bytes, empty or None, and their order is kept."""
    stream = await make_stream()
    headers = (("a", b"1"), ("b", b"\xff\xfe\x00"), ("a", b"2"), ("c", b""), ("d", None), ("né", "ü".encode()))
    producer = await broker.producer()
    await producer.send(Outgoing(topic=stream, value=b"with", headers=headers))
    await producer.send(Outgoing(topic=stream, value=b"without"))
    await producer.close()

    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        with_headers, without = await member.collect(2)

    assert [tuple(header) for header in with_headers.headers] == list(headers)
    assert list(without.headers) == []


async def test_a_record_without_a_time_gets_the_time_of_its_send(
    broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """No timestamp means now, in milliseconds."""
    stream = await make_stream()
    before = time.time_ns() // 1_000_000
    producer = await broker.producer()
    await producer.send(Outgoing(topic=stream, value=b"now"))
    await producer.close()
    after = time.time_ns() // 1_000_000

    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        [record] = await member.collect(1)

    assert before - 1_000 <= record.timestamp <= after + 1_000


async def test_a_key_goes_to_the_partition_that_kafka_gives_it(broker: Broker, make_stream: MakeStream) -> None:
    """Every broker places keys by Kafka's published hash, so that a stream may move from one to the other."""
    stream = await make_stream(100)
    producer = await broker.producer()
    placed = {key: (await producer.send(Outgoing(topic=stream, key=key, value=b"")))[0] for key in KAFKA_VECTORS}
    await producer.close()

    assert placed == KAFKA_VECTORS


async def test_a_fixed_partition_beats_the_key(broker: Broker, make_stream: MakeStream) -> None:
    """A record with a partition goes there whatever its key says."""
    stream = await make_stream(3)
    producer = await broker.producer()
    places = [await producer.send(Outgoing(topic=stream, key=b"k", value=b"", partition=p)) for p in (2, 0, 1)]
    await producer.close()

    assert places == [(2, 0), (0, 0), (1, 0)]


async def test_concurrent_sends_to_a_partition_keep_call_order(
    broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """Of sends that run at once, the one called first lies first, and each is told its true offset."""
    stream = await make_stream()
    producer = await broker.producer()
    values = [b"%d" % number for number in range(500)]
    places = await asyncio.gather(*(producer.send(Outgoing(topic=stream, value=value)) for value in values))
    await producer.close()

    assert places == [(0, offset) for offset in range(500)]
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        assert [record.value for record in await member.collect(500)] == values


async def test_records_sent_together_answer_one_by_one(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """Of records that are sent together, one that is refused keeps no other from being written, once and in order."""
    stream, missing = await make_stream(max_message_bytes="10000"), f"missing-{uuid.uuid4().hex[:8]}"
    producer = await broker.producer()
    records = [Outgoing(topic=stream, value=b"%d" % number) for number in range(200)]
    records[50] = Outgoing(topic=stream, value=b"x" * 50_000)
    records[120] = Outgoing(topic=missing, value=b"nowhere")
    outcomes = await producer.send_all(records)
    assert await producer.send_all([]) == []
    await producer.close()

    assert isinstance(outcomes[50], RecordTooLarge)
    assert isinstance(outcomes[120], StreamNotFound)
    written = [outcome for index, outcome in enumerate(outcomes) if index not in (50, 120)]
    assert sorted(written) == [(0, offset) for offset in range(198)]
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        got = [record.value for record in await member.collect(198)]
    assert sorted(got) == sorted(b"%d" % number for number in range(200) if number not in (50, 120))
    assert [got[offset] for _, offset in written] == [
        record.value for index, record in enumerate(records) if index not in (50, 120)
    ]


async def test_each_partition_is_read_in_offset_order(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """Records of one key come in send order, with no offset left out or given twice."""
    stream = await make_stream(3)
    producer = await broker.producer()
    await asyncio.gather(
        *(producer.send(Outgoing(topic=stream, key=b"%d" % (n % 10), value=b"%d" % n)) for n in range(600))
    )
    await producer.close()

    async with Member(broker, group, [stream]) as member:
        await member.holds(3)
        records = await member.collect(600, max_records=50)

    for partition in range(3):
        offsets = [record.offset for record in records if record.partition == partition]
        assert offsets == list(range(len(offsets)))
    for key in range(10):
        numbers = [int(record.value or b"") for record in records if record.key == b"%d" % key]
        assert numbers == list(range(key, 600, 10))


async def test_fetch_keeps_what_was_not_asked_for(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """Fetching one partition returns that one alone, and takes nothing from the other, however they interleave."""
    stream = await make_stream(2)
    first, second = TopicPartition(stream, 0), TopicPartition(stream, 1)
    producer = await broker.producer()
    await send_all(producer, stream, [b"%d" % n for n in range(50)], partition=0)
    await send_all(producer, stream, [b"%d" % n for n in range(50)], partition=1)
    await producer.close()

    async with Member(broker, group, [stream]) as member:
        await member.holds(2)
        begin = await member.collect(1, [first], max_records=10)
        other = await member.collect(50, [second])
        assert member.consumer.position(first) == len(begin)
        assert member.consumer.position(second) == 50
        rest = await member.collect(50 - len(begin), [first], max_records=10)

    assert {record.partition for record in other} == {1}
    assert [record.offset for record in other] == list(range(50))
    assert [record.offset for record in begin + rest] == list(range(50))
    assert {record.partition for record in begin + rest} == {0}


async def test_max_records_is_the_most_over_all_partitions(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """No fetch returns more than max_records in all, and what it leaves comes later."""
    stream = await make_stream(3)
    producer = await broker.producer()
    for partition in range(3):
        await send_all(producer, stream, [b""] * 20, partition=partition)
    await producer.close()

    async with Member(broker, group, [stream]) as member:
        await member.holds(3)
        seen = 0
        for _ in range(200):
            fetched = await member.consumer.fetch(list(member.held), max_records=7, timeout=1.0)
            count = sum(len(records) for records in fetched.values())
            assert count <= 7
            seen += count
            if seen == 60:
                break

    assert seen == 60


async def test_fetch_returns_empty_after_its_timeout_and_early_when_an_event_comes(
    broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """At the end of the log a fetch waits for its timeout, and no longer than until the next event."""
    stream = await make_stream()
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        assert await member.consumer.fetch(list(member.held), max_records=10, timeout=0.1) == {}
        assert await member.consumer.fetch([], max_records=10, timeout=0.1) == {}

        waiting = asyncio.create_task(member.collect(1))
        producer = await broker.producer()
        began = time.monotonic()
        await producer.send(Outgoing(topic=stream, value=b"late"))
        [record] = await waiting
        await producer.close()

    assert record.value == b"late"
    assert time.monotonic() - began < 5


async def test_seek_moves_the_position_both_ways(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """After a seek the next record is the one at that offset, whatever was read ahead."""
    stream = await make_stream()
    [partition] = [TopicPartition(stream, 0)]
    producer = await broker.producer()
    await send_all(producer, stream, [b"%d" % n for n in range(100)])
    await producer.close()

    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        await member.collect(1, max_records=10)
        member.consumer.seek(partition, 70)
        assert member.consumer.position(partition) == 70
        assert [record.offset for record in await member.collect(30)] == list(range(70, 100))
        member.consumer.seek(partition, 3)
        assert (await member.collect(1, max_records=1))[0].offset == 3
        assert member.consumer.position(partition) == 4


async def test_a_position_outside_the_log_is_told(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """A position past the end raises OffsetOutOfRange with its coordinates, and a seek mends it."""
    stream = await make_stream()
    producer = await broker.producer()
    await producer.send(Outgoing(topic=stream, value=b"only"))
    await producer.close()

    async with Member(broker, group, [stream], start=999) as member:
        await member.holds(1)
        with pytest.raises(OffsetOutOfRange) as raised:
            await member.collect(1)
        assert (raised.value.stream, raised.value.partition, raised.value.offset) == (stream, 0, 999)
        member.consumer.seek(TopicPartition(stream, 0), 0)
        assert [record.value for record in await member.collect(1)] == [b"only"]


async def test_a_record_that_is_too_large_is_refused_alone(broker: Broker, make_stream: MakeStream) -> None:
    """Past 1,048,588 bytes the record is refused; sends before, beside and after it are written."""
    stream = await make_stream()
    producer = await broker.producer()
    await producer.send(Outgoing(topic=stream, value=b"before"))
    answers = await asyncio.gather(
        producer.send(Outgoing(topic=stream, value=b"beside")),
        producer.send(Outgoing(topic=stream, value=b"x" * 1_100_000)),
        producer.send(Outgoing(topic=stream, value=b"x" * 1_000_000)),
        return_exceptions=True,
    )
    assert isinstance(answers[1], RecordTooLarge)
    assert [answers[0], answers[2]] == [(0, 1), (0, 2)]
    assert await producer.send(Outgoing(topic=stream, value=b"after")) == (0, 3)
    await producer.close()


async def test_a_streams_own_limit_is_obeyed(broker: Broker, make_stream: MakeStream) -> None:
    """max.message.bytes of the stream decides, and the producer goes on after a refusal."""
    stream = await make_stream(max_message_bytes="2000")
    producer = await broker.producer()
    with pytest.raises(RecordTooLarge):
        await producer.send(Outgoing(topic=stream, value=b"x" * 3_000))
    assert await producer.send(Outgoing(topic=stream, value=b"x" * 1_000)) == (0, 0)
    await producer.close()


async def test_a_send_to_a_stream_that_is_not_there_is_refused_alone(broker: Broker, make_stream: MakeStream) -> None:
    """A missing stream or partition raises StreamNotFound, creates nothing, and other sends go on."""
    stream = await make_stream(2)
    producer = await broker.producer()
    with pytest.raises(StreamNotFound):
        await producer.send(Outgoing(topic=f"{stream}-missing", value=b""))
    with pytest.raises(StreamNotFound):
        await producer.send(Outgoing(topic=stream, value=b"", partition=2))
    assert await producer.send(Outgoing(topic=stream, value=b"", partition=1)) == (1, 0)
    await producer.close()

    assert await broker.describe(f"{stream}-missing") is None


async def test_streams_are_created_once_and_described(broker: Broker, make_stream: MakeStream) -> None:
    """A second creation says so and changes nothing; the settings made on purpose are shown."""
    stream = await make_stream(3, retention_ms="86400000")
    assert not await broker.create_stream(StreamInfo(name=stream, partitions=5))

    info = await broker.describe(stream)
    assert info is not None
    assert (info.name, info.partitions) == (stream, 3)
    assert info.config["retention.ms"] == "86400000"
    listed = {known.name: known.partitions for known in await broker.list_streams()}
    assert listed[stream] == 3
    assert await broker.describe(f"{stream}-missing") is None


async def test_offsets_by_place_and_by_time(broker: Broker, make_stream: MakeStream) -> None:
    """Beginning, end and the first offset at or after a time are those of the log; past the last time there is none."""
    stream = await make_stream(2)
    full, empty = TopicPartition(stream, 0), TopicPartition(stream, 1)
    producer = await broker.producer()
    for step in (0, 1_000, 2_000):
        await producer.send(Outgoing(topic=stream, value=b"", partition=0, timestamp=RECENT_MS + step))
    await producer.close()

    assert await broker.beginning_offsets([full, empty]) == {full: 0, empty: 0}
    assert await broker.end_offsets([full, empty]) == {full: 3, empty: 0}
    assert await broker.offsets_for_time([full, empty], RECENT_MS - 1) == {full: 0, empty: None}
    assert await broker.offsets_for_time([full, empty], RECENT_MS + 500) == {full: 1, empty: None}
    assert await broker.offsets_for_time([full], RECENT_MS + 2_000) == {full: 2}
    assert await broker.offsets_for_time([full], RECENT_MS + 2_001) == {full: None}


async def test_offsets_of_a_stream_that_is_not_there(broker: Broker, group: str) -> None:
    """Asking a missing stream for its offsets raises StreamNotFound."""
    missing = TopicPartition(f"stream-of-{group}", 0)
    with pytest.raises(StreamNotFound):
        await broker.end_offsets([missing])
    with pytest.raises(StreamNotFound):
        await broker.beginning_offsets([missing])
