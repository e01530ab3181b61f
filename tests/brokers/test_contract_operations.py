"""The broker contract: what commands ask and change from outside of a group."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from contract import MakeStream, Member, send_all

from dispatcher.brokers.base import Broker
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.errors import BrokerRefused, CommitRefused, OffsetOutOfRange, StreamNotFound


async def test_members_are_counted_while_they_live(
    make_broker: Callable[[], Broker], broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """A group that nobody is in has 0 members, whether it exists or not; one that is started counts until it is closed."""
    stream = await make_stream(2)
    assert await broker.group_members(group) == 0
    async with make_broker() as elsewhere, Member(broker, group, [stream]) as one:
        await one.holds(2)
        assert await elsewhere.group_members(group) == 1
        async with Member(elsewhere, group, [stream]) as two:
            await one.until(lambda: len(one.held) == len(two.held) == 1, two)
            assert await broker.group_members(group) == 2
        await one.holds(2)
        assert await broker.group_members(group) == 1
    assert await broker.group_members(group) == 0


async def test_the_offsets_of_an_idle_group_are_set(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """Offsets with metadata can be set for a group that has never been, forward and back, and a member begins there."""
    stream = await make_stream(2)
    first, second = TopicPartition(stream, 0), TopicPartition(stream, 1)
    producer = await broker.producer()
    await send_all(producer, stream, [b"a", b"b", b"c"], partition=0)
    await producer.close()
    await broker.set_offsets(group, {first: Committed(3, "kept"), second: Committed(0)})
    assert await broker.committed(group, [first, second]) == {first: Committed(3, "kept"), second: Committed(0)}
    await broker.set_offsets(group, {first: Committed(2)})
    assert await broker.committed(group, [first, second]) == {first: Committed(2), second: Committed(0)}

    async with Member(broker, group, [stream], start=None) as member:
        await member.holds(2)
        # Kafka's member is told where to begin, as the worker does; the embedded one begins there by itself.
        for partition, commit in (await broker.committed(group, [first, second])).items():
            assert commit is not None
            member.consumer.seek(partition, commit.offset)
        assert [record.value for record in await member.collect(1)] == [b"c"]


async def test_offsets_of_a_group_with_a_live_member_are_not_touched(
    make_broker: Callable[[], Broker], broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """set_offsets raises CommitRefused while a member lives, and changes nothing; once it has left, it works."""
    stream = await make_stream()
    partition = TopicPartition(stream, 0)
    async with make_broker() as elsewhere:
        async with Member(broker, group, [stream]) as member:
            await member.holds(1)
            await member.consumer.commit({partition: Committed(5, "mine")})
            with pytest.raises(CommitRefused, match="live member"):
                await elsewhere.set_offsets(group, {partition: Committed(0)})
            assert await elsewhere.committed(group, [partition]) == {partition: Committed(5, "mine")}
        await elsewhere.set_offsets(group, {partition: Committed(0)})
        assert await elsewhere.committed(group, [partition]) == {partition: Committed(0)}


async def test_offsets_that_cannot_be_set_are_refused(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """A stream or a partition that does not exist, and metadata that is too large, are errors, and nothing is set."""
    stream = await make_stream()
    there = TopicPartition(stream, 0)
    for missing in (TopicPartition(stream, 7), TopicPartition(f"{stream}-missing", 0)):
        with pytest.raises(StreamNotFound, match=stream):
            await broker.set_offsets(group, {there: Committed(0), missing: Committed(0)})
    with pytest.raises(BrokerRefused):
        await broker.set_offsets(group, {there: Committed(0, "x" * 4_097)})
    assert await broker.committed(group, [there]) == {there: None}


async def test_records_are_read_without_a_group(broker: Broker, make_stream: MakeStream) -> None:
    """Several partitions are read from their own offsets, as far as asked for, or to the end of the log."""
    stream = await make_stream(3)
    producer = await broker.producer()
    await send_all(producer, stream, [b"%d" % number for number in range(10)], partition=0)
    await send_all(producer, stream, [b"x"], partition=1)
    await producer.close()
    first, second, empty = (TopicPartition(stream, number) for number in range(3))

    [one] = (await broker.read({first: 4}))[first]
    assert (one.topic, one.partition, one.offset, one.value) == (stream, 0, 4, b"4")
    assert one.timestamp > 0
    found = await broker.read({first: 7, second: 0, empty: 0}, max_records=5)
    assert {partition: [record.value for record in records] for partition, records in found.items()} == {
        first: [b"7", b"8", b"9"],
        second: [b"x"],
        empty: [],
    }
    assert {p: list(records) for p, records in (await broker.read({first: 10})).items()} == {first: []}
    assert await broker.read({}) == {}


async def test_what_is_not_in_the_log_cannot_be_read(broker: Broker, make_stream: MakeStream) -> None:
    """An offset past the end, a partition and a stream that are not there are told apart from an empty log."""
    stream = await make_stream()
    with pytest.raises(OffsetOutOfRange, match="does not hold offset 3"):
        await broker.read({TopicPartition(stream, 0): 3})
    with pytest.raises(StreamNotFound):
        await broker.read({TopicPartition(stream, 5): 0})
    with pytest.raises(StreamNotFound):
        await broker.read({TopicPartition(f"{stream}-missing", 0): 0})
