"""The broker contract: who consumes what, and how far they say they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from contract import PATIENCE, MakeStream, Member, send_all

from dispatcher.brokers.base import Broker
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.errors import BrokerError, BrokerRefused, CommitRefused, StreamNotFound


async def test_a_commit_is_kept_with_its_metadata(
    make_broker: Callable[[], Broker], broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """A commit and metadata of 4,096 bytes are read back by a connection that is no member, after the member left."""
    stream = await make_stream(2)
    first, second = TopicPartition(stream, 0), TopicPartition(stream, 1)
    metadata = "0123456789abcdef" * 256
    async with Member(broker, group, [stream]) as member:
        await member.holds(2)
        await member.consumer.commit({first: Committed(3, "early")})
        await member.consumer.commit({first: Committed(7, metadata)})

    async with make_broker() as other:
        assert await other.committed(group, [first, second]) == {first: Committed(7, metadata), second: None}
        assert await other.committed(f"{group}-unknown", [first]) == {first: None}


async def test_metadata_that_is_too_large_is_refused_not_cut(
    broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """Metadata of 4,097 bytes raises BrokerRefused, and the commit before it stands."""
    stream = await make_stream()
    partition = TopicPartition(stream, 0)
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        await member.consumer.commit({partition: Committed(1, "kept")})
        with pytest.raises(BrokerRefused):
            await member.consumer.commit({partition: Committed(2, "x" * 4_097)})
        assert await broker.committed(group, [partition]) == {partition: Committed(1, "kept")}
        await member.consumer.commit({partition: Committed(3, "")})

    assert await broker.committed(group, [partition]) == {partition: Committed(3, "")}


async def test_groups_do_not_see_each_others_commits(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """Two groups each get every event and commit for themselves."""
    stream = await make_stream()
    partition = TopicPartition(stream, 0)
    producer = await broker.producer()
    await send_all(producer, stream, [b"a", b"b"])
    await producer.close()
    async with Member(broker, group, [stream]) as one, Member(broker, f"{group}-2", [stream]) as two:
        await one.holds(1)
        await two.holds(1)
        assert [record.value for record in await one.collect(2)] == [b"a", b"b"]
        assert [record.value for record in await two.collect(2)] == [b"a", b"b"]
        await one.consumer.commit({partition: Committed(2)})

    assert (await broker.committed(group, [partition]))[partition] == Committed(2)
    assert (await broker.committed(f"{group}-2", [partition]))[partition] is None


async def test_one_member_consumes_several_streams(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """A consumer of two streams holds the partitions of both and is given the events of both."""
    left, right = await make_stream(1), await make_stream(2)
    producer = await broker.producer()
    await send_all(producer, left, [b"left"])
    await send_all(producer, right, [b"right"], partition=1)
    await producer.close()
    async with Member(broker, group, [left, right]) as member:
        await member.holds(3)
        records = await member.collect(2)

    assert {(record.topic, record.value) for record in records} == {(left, b"left"), (right, b"right")}


async def test_a_stream_that_is_not_there_stops_the_start(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """start() raises StreamNotFound, which names the stream, and the group is left as it was."""
    stream = await make_stream()
    member = Member(broker, group, [stream, f"{stream}-missing"])
    with pytest.raises(StreamNotFound, match=f"{stream}-missing"):
        await member.consumer.start()
    await member.consumer.close()

    async with Member(broker, group, [stream]) as alone:
        await alone.holds(1)


async def test_two_members_share_and_a_leaver_hands_over(
    make_broker: Callable[[], Broker], broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """Two members split the partitions without overlap; what one leaves goes to the other, at its commits."""
    stream = await make_stream(4)
    everything = {TopicPartition(stream, partition) for partition in range(4)}
    async with make_broker() as elsewhere, Member(broker, group, [stream], name="stays") as stays:
        await stays.holds(4)
        async with Member(elsewhere, group, [stream], name="leaves") as leaves:
            await stays.until(lambda: len(stays.held) == 2 and len(leaves.held) == 2, leaves)
            assert stays.held | leaves.held == everything
            assert not stays.held & leaves.held
            await leaves.consumer.commit({partition: Committed(5, "left") for partition in leaves.held})
            handed_over = set(leaves.held)
        await stays.holds(4)
        commits = await broker.committed(group, list(handed_over))

    assert set(commits.values()) == {Committed(5, "left")}


async def test_a_partition_is_revoked_here_before_it_is_assigned_there(
    make_broker: Callable[[], Broker], broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """No partition is ever held by two members: each journal entry "assigned" follows the other's "revoked"."""
    stream = await make_stream(4)
    journal: list[tuple[str, str, frozenset[TopicPartition]]] = []
    async with make_broker() as elsewhere, Member(broker, group, [stream], name="a", journal=journal) as a:
        await a.holds(4)
        async with Member(elsewhere, group, [stream], name="b", journal=journal) as b:
            await a.until(lambda: len(a.held) == 2 and len(b.held) == 2, b)
            seen = list(journal)

    owner: dict[TopicPartition, str] = {}
    for name, what, partitions in seen:
        for partition in partitions:
            if what == "assigned":
                assert partition not in owner, (name, owner[partition], seen)
                owner[partition] = name
            else:
                assert owner.pop(partition) == name
    assert set(owner.values()) == {"a", "b"}


async def test_a_slow_revoke_holds_the_rebalance_and_may_commit(
    make_broker: Callable[[], Broker], broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """While on_revoked drains, nobody else has the partitions, and what it commits is what the next owner finds."""
    stream = await make_stream(2)
    partitions = [TopicPartition(stream, 0), TopicPartition(stream, 1)]
    draining, drained = asyncio.Event(), asyncio.Event()

    async def drain() -> None:
        draining.set()
        await drained.wait()
        await a.consumer.commit({partition: Committed(9, "drained") for partition in partitions})

    async with make_broker() as elsewhere, Member(broker, group, [stream], name="a") as a:
        await a.holds(2)
        a.before_revoked = drain
        async with Member(elsewhere, group, [stream], name="b") as b:
            async with asyncio.timeout(PATIENCE):
                await draining.wait()
            assert not b.held
            drained.set()
            await a.until(lambda: len(a.held) == 1 and len(b.held) == 1, b)
            a.before_revoked = None
            assert set((await broker.committed(group, partitions)).values()) == {Committed(9, "drained")}


async def test_nothing_is_delivered_before_on_assigned_returns(
    broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """A fetch while on_assigned still sets positions returns nothing; after it, it begins where the listener sought."""
    stream = await make_stream()
    partition = TopicPartition(stream, 0)
    producer = await broker.producer()
    await send_all(producer, stream, [b"%d" % n for n in range(10)])
    await producer.close()
    entered, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        entered.set()
        await release.wait()
        member.consumer.seek(partition, 6)

    member = Member(broker, group, [stream], before_assigned=hold)
    async with member:
        async with asyncio.timeout(PATIENCE):
            await entered.wait()
        assert await member.consumer.fetch([partition], max_records=10, timeout=0.3) == {}
        release.set()
        await member.holds(1)
        assert [record.offset for record in await member.collect(4)] == [6, 7, 8, 9]


async def test_nothing_is_delivered_while_on_revoked_runs(
    make_broker: Callable[[], Broker], broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """Once partitions are being given up, a fetch returns none of their records, those read ahead included."""
    stream = await make_stream(2)
    partitions = [TopicPartition(stream, 0), TopicPartition(stream, 1)]
    producer = await broker.producer()
    for partition in (0, 1):
        await send_all(producer, stream, [b"x"] * 50, partition=partition)
    await producer.close()
    draining, drained = asyncio.Event(), asyncio.Event()

    async def drain() -> None:
        draining.set()
        await drained.wait()

    async with make_broker() as elsewhere, Member(broker, group, [stream], name="a") as a:
        await a.holds(2)
        await a.collect(1, max_records=1)
        a.before_revoked = drain
        async with Member(elsewhere, group, [stream], name="b") as b:
            async with asyncio.timeout(PATIENCE):
                await draining.wait()
            assert await a.consumer.fetch(partitions, max_records=10, timeout=0.3) == {}
            a.before_revoked = None
            drained.set()
            await a.until(lambda: len(a.held) == 1 and len(b.held) == 1, b)


async def test_a_commit_for_a_partition_that_has_gone_is_refused(
    make_broker: Callable[[], Broker], broker: Broker, make_stream: MakeStream, group: str
) -> None:
    """After the partition went to another member its commits are refused, and the new owner's commit stands."""
    stream = await make_stream(2)
    async with make_broker() as elsewhere, Member(broker, group, [stream], name="a") as a:
        await a.holds(2)
        async with Member(elsewhere, group, [stream], name="b") as b:
            await a.until(lambda: len(a.held) == 1 and len(b.held) == 1, b)
            [gone] = b.held
            await b.consumer.commit({gone: Committed(2, "new owner")})
            with pytest.raises(CommitRefused):
                await a.consumer.commit({gone: Committed(1, "old owner")})
            assert await broker.committed(group, [gone]) == {gone: Committed(2, "new owner")}
            [kept] = a.held
            await a.consumer.commit({kept: Committed(4)})
            assert await broker.committed(group, [kept]) == {kept: Committed(4)}


async def test_a_closed_consumer_can_no_longer_commit(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """A commit after close raises instead of writing for a group it has left; closing twice is no error."""
    stream = await make_stream()
    partition = TopicPartition(stream, 0)
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
    await member.consumer.close()
    with pytest.raises(BrokerError):
        await member.consumer.commit({partition: Committed(1)})

    assert await broker.committed(group, [partition]) == {partition: None}


async def test_close_does_not_call_the_listener(broker: Broker, make_stream: MakeStream, group: str) -> None:
    """Leaving is the caller's own act: it has drained before, and on_revoked is not called for it."""
    stream = await make_stream()
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        before = list(member.journal)

    assert member.journal == before


async def test_gained_partitions_are_assigned(
    broker: Broker,
    make_stream: MakeStream,
    add_partitions: Callable[[str, int], Awaitable[None]],
    group: str,
) -> None:
    """A stream that gains partitions rebalances its consumers by itself, and events in the new ones are delivered."""
    stream = await make_stream(1)
    async with Member(broker, group, [stream]) as member:
        await member.holds(1)
        await add_partitions(stream, 3)
        await member.holds(3)
        producer = await broker.producer()
        await send_all(producer, stream, [b"new"], partition=2)
        await producer.close()
        [record] = await member.collect(1)

    assert (record.partition, record.value) == (2, b"new")
