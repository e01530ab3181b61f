"""What the embedded log keeps, forgets and refuses, beyond the contract of all brokers."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from contract import Member, send_all
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.brokers.embedded.codec import decode, encode, skip
from dispatcher.core.record import Committed, Outgoing, TopicPartition
from dispatcher.errors import BrokerUnavailable, ConfigurationError, CorruptRecords, OffsetOutOfRange, StreamNotFound

ORDERS = TopicPartition("orders", 0)

OUTGOING = st.builds(
    Outgoing,
    topic=st.just("s"),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=50),
    headers=st.lists(
        st.tuples(st.text(st.characters(codec="utf-8"), max_size=8), st.none() | st.binary(max_size=8)), max_size=4
    ).map(tuple),
    timestamp=st.integers(0, 2**62),
)


@given(st.lists(OUTGOING, max_size=12), st.data())
def test_a_batch_reads_back_from_any_place_in_any_portions(sent: list[Outgoing], data: st.DataObject) -> None:
    """Whatever is encoded decodes to itself, in portions of any size, and skip finds each record's first byte."""
    batch = b"".join(encode(record, record.timestamp or 0) for record in sent)
    at, read = 0, []
    while at < len(batch):
        records, next_at = decode("s", 0, batch, at, 100 + len(read), data.draw(st.integers(1, 5)))
        assert skip("s", 0, batch, 100, 100 + len(read)) == at
        read += records
        at = next_at

    assert [(r.key, r.value, tuple(r.headers), r.timestamp) for r in read] == [
        (r.key, r.value, r.headers, r.timestamp) for r in sent
    ]
    assert [record.offset for record in read] == list(range(100, 100 + len(sent)))


@given(st.lists(OUTGOING, min_size=1, max_size=4), st.data())
def test_damaged_bytes_end_in_records_or_an_error(sent: list[Outgoing], data: st.DataObject) -> None:
    """A batch with any bytes overwritten or cut off is read to its end or raises CorruptRecords; it never hangs."""
    batch = bytearray(b"".join(encode(record, record.timestamp or 0) for record in sent))
    place = data.draw(st.integers(0, len(batch) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=8))
    batch[place : place + len(damage)] = damage
    damaged = bytes(batch[: data.draw(st.integers(1, len(batch)))])
    at = offset = 0
    while at < len(damaged):
        try:
            records, next_at = decode("s", 0, damaged, at, offset, 2)
        except CorruptRecords as error:
            assert error.offset == offset  # noqa: PT017 - an error is one of two good ends
            break
        assert next_at > at
        at, offset = next_at, offset + len(records)


async def test_the_log_is_kept_between_runs(tmp_path: Path) -> None:
    """Streams, records and commits are there after closing, and a member without a seek goes on at its commit."""
    path = tmp_path / "new" / "folder" / "log.db"
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1, config={"max.message.bytes": "5000"}))
        producer = await broker.producer()
        await send_all(producer, "orders", [b"a", b"b", b"c"])
        async with Member(broker, "app.f", ["orders"]) as member:
            await member.holds(1)
            await member.consumer.commit({ORDERS: Committed(1, "map")})

    async with EmbeddedBroker(path) as broker:
        assert await broker.describe("orders") == StreamInfo(
            name="orders", partitions=1, config={"max.message.bytes": "5000"}
        )
        async with Member(broker, "app.f", ["orders"], start=None) as member:
            await member.holds(1)
            assert member.consumer.position(ORDERS) == 1
            assert [record.value for record in await member.collect(2)] == [b"b", b"c"]


async def test_records_sent_one_by_one_share_batches(tmp_path: Path) -> None:
    """Single sends do not leave a row each: the log is compact, and every record is still read in order."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        producer = await broker.producer()
        for number in range(300):
            assert await producer.send(Outgoing(topic="orders", value=b"%0300d" % number)) == (0, number)
        async with Member(broker, "g", ["orders"]) as member:
            await member.holds(1)
            records = await member.collect(300, max_records=40)

    assert [int(record.value or b"") for record in records] == list(range(300))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*), sum(records) FROM batches").fetchone() == (6, 300)
    # What retention.bytes counts with.
    assert connection.execute("SELECT max(b.end_bytes), sum(size), l.end_bytes FROM batches b, logs l").fetchone() == (
        (96_000,) * 3
    )
    connection.close()


async def test_large_records_are_read_in_bounded_memory(tmp_path: Path) -> None:
    """30 MB of large records come whole and in order, while the reader holds a few of them at a time."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        producer = await broker.producer()
        await send_all(producer, "orders", [bytes([number]) * 1_000_000 for number in range(30)])
        async with Member(broker, "g", ["orders"]) as member:
            await member.holds(1)
            sizes = []
            for _ in range(30):
                fetched = await member.consumer.fetch([ORDERS], max_records=100, timeout=5)
                sizes.append(len(fetched[ORDERS]))
                assert {len(record.value or b"") for record in fetched[ORDERS]} == {1_000_000}
                if sum(sizes) == 30:
                    break

    assert sum(sizes) == 30
    assert max(sizes) <= 5


async def test_retention_by_time_forgets_what_is_old(tmp_path: Path) -> None:
    """At open, batches past retention.ms go; the log start moves, a position before it raises OffsetOutOfRange."""
    path = tmp_path / "log.db"
    now = time.time_ns() // 1_000_000
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1, config={"retention.ms": "3600000"}))
        await broker.create_stream(StreamInfo(name="kept", partitions=1))
        producer = await broker.producer()
        for age in (7_200_000, 0):
            # Larger than a small batch, so that each is a batch of its own.
            for stream in ("orders", "kept"):
                await producer.send(Outgoing(topic=stream, value=b"x" * 20_000, timestamp=now - age))

    async with EmbeddedBroker(path) as broker:
        kept = TopicPartition("kept", 0)
        assert await broker.beginning_offsets([ORDERS, kept]) == {ORDERS: 1, kept: 0}
        assert await broker.end_offsets([ORDERS]) == {ORDERS: 2}
        async with Member(broker, "g", ["orders"]) as member:
            await member.holds(1)
            with pytest.raises(OffsetOutOfRange):
                await member.collect(1)
            member.consumer.seek(ORDERS, 1)
            assert [record.offset for record in await member.collect(1)] == [1]
        assert await (await broker.producer()).send(Outgoing(topic="orders", value=b"next")) == (0, 2)


async def test_retention_that_empties_a_log_keeps_its_offsets(tmp_path: Path) -> None:
    """When all is old the log is empty, and the next record goes on with the next offset, not with 0."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1, config={"retention.ms": "1000"}))
        producer = await broker.producer()
        await asyncio.gather(*(producer.send(Outgoing(topic="orders", value=b"", timestamp=n)) for n in range(5)))

    async with EmbeddedBroker(path) as broker:
        assert await broker.beginning_offsets([ORDERS]) == {ORDERS: 5}
        assert await (await broker.producer()).send(Outgoing(topic="orders", value=b"next")) == (0, 5)
        async with Member(broker, "g", ["orders"], start=None) as member:
            await member.holds(1)
            assert [record.offset for record in await member.collect(1)] == [5]


async def test_retention_by_size_runs_while_the_broker_is_open(tmp_path: Path) -> None:
    """An open broker deletes the oldest batches by itself, and at least retention.bytes stay."""
    async with EmbeddedBroker(tmp_path / "log.db", retention_interval=0.02) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1, config={"retention.bytes": "100000"}))
        producer = await broker.producer()
        for _ in range(20):
            await producer.send(Outgoing(topic="orders", value=b"x" * 20_000))
        start = 0
        async with asyncio.timeout(10):
            while start < 15:
                start = (await broker.beginning_offsets([ORDERS]))[ORDERS]
                await asyncio.sleep(0.01)

    assert start == 15  # five batches of 20,020 bytes are the least that is 100,000


async def test_a_deleted_stream_is_told_to_its_consumers(tmp_path: Path) -> None:
    """Fetch raises StreamNotFound when the stream vanishes, also when one of that name is made anew at once."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        for again in (False, True):
            await broker.create_stream(StreamInfo(name="orders", partitions=1))
            async with Member(broker, "g", ["orders"]) as member:
                await member.holds(1)
                await member.consumer.commit({ORDERS: Committed(1)})
                waiting = asyncio.create_task(member.consumer.fetch([ORDERS], max_records=1, timeout=30))
                await asyncio.sleep(0)
                assert await broker.delete_stream("orders")
                if again:
                    await broker.create_stream(StreamInfo(name="orders", partitions=1))
                with pytest.raises(StreamNotFound, match="orders was deleted"):
                    await waiting
        assert await broker.committed("g", [ORDERS]) == {ORDERS: None}
        assert not await broker.delete_stream("never")


async def test_a_start_that_is_cancelled_leaves_no_member_behind(tmp_path: Path) -> None:
    """Cancelled while it joins and then closed, a consumer does not hold up the next one for a session timeout."""
    async with EmbeddedBroker(tmp_path / "log.db", session_timeout=600) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=2))
        cancelled = Member(broker, "g", ["orders"])
        start = asyncio.create_task(cancelled.consumer.start())
        await asyncio.sleep(0)
        start.cancel()
        await asyncio.wait([start])
        assert start.cancelled()
        await cancelled.consumer.close()
        async with Member(broker, "g", ["orders"]) as member:
            await member.holds(2)


async def test_a_missing_stream_is_told_with_names_that_are_near(tmp_path: Path) -> None:
    """The error says what to do: the name that was probably meant, or the command that creates one."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders.enriched", partitions=1))
        with pytest.raises(StreamNotFound, match=r"did you mean orders\.enriched"):
            await Member(broker, "g", ["order.enriched"]).consumer.start()
        with pytest.raises(StreamNotFound, match="dispatch streams create zebra"):
            await Member(broker, "g", ["zebra"]).consumer.start()


@pytest.mark.parametrize(
    "stream",
    [
        StreamInfo(name="", partitions=1),
        StreamInfo(name="..", partitions=1),
        StreamInfo(name="a b", partitions=1),
        StreamInfo(name="a" * 250, partitions=1),
        StreamInfo(name="ok", partitions=0),
        StreamInfo(name="ok", partitions=1_000_000),
        StreamInfo(name="ok", partitions=1, config={"retention.ms": "a week"}),
        StreamInfo(name="ok", partitions=1, config={"retention.bytes": "-2"}),
    ],
)
async def test_a_stream_that_can_not_be_is_refused(tmp_path: Path, stream: StreamInfo) -> None:
    """Names that Kafka does not take, and numbers out of range, are refused and nothing is made."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        with pytest.raises(ConfigurationError):
            await broker.create_stream(stream)
        assert await broker.list_streams() == []


async def test_partitions_are_never_taken_away(tmp_path: Path) -> None:
    """Fewer partitions than there are is refused, since records would be lost."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=2))
        with pytest.raises(ConfigurationError):
            await broker.add_partitions("orders", 1)
        with pytest.raises(StreamNotFound):
            await broker.add_partitions("missing", 3)
        info = await broker.describe("orders")
        assert info is not None
        assert info.partitions == 2


async def test_damage_in_the_log_is_told_and_can_be_passed(tmp_path: Path) -> None:
    """Records before the damage are delivered, then CorruptRecords names the offset, and a seek past it goes on."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        producer = await broker.producer()
        await send_all(producer, "orders", [b"good", b"bad"])
        connection = sqlite3.connect(path)
        connection.execute("UPDATE batches SET data = substr(data, 1, length(data) - 1)")
        connection.commit()
        connection.close()
        await producer.send(Outgoing(topic="orders", value=b"x" * 300_000))
        async with Member(broker, "g", ["orders"]) as member:
            await member.holds(1)
            assert [record.value for record in await member.collect(1)] == [b"good"]
            with pytest.raises(CorruptRecords) as raised:
                await member.collect(1)
            assert raised.value.offset == 1
            member.consumer.seek(ORDERS, raised.value.offset + 1)
            assert [record.offset for record in await member.collect(1)] == [2]


async def test_records_without_a_key_are_spread(tmp_path: Path) -> None:
    """Null keys go to the partitions in turn, so that no partition is left without work."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=3))
        producer = await broker.producer()
        places = [(await producer.send(Outgoing(topic="orders", value=b"")))[0] for _ in range(6)]

    assert sorted(places) == [0, 0, 1, 1, 2, 2]


async def test_a_cancelled_send_disturbs_no_other(tmp_path: Path) -> None:
    """Cancelling one of many concurrent sends leaves the others acknowledged."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        producer = await broker.producer()
        sends = [asyncio.create_task(producer.send(Outgoing(topic="orders", value=b"%d" % n))) for n in range(10)]
        await asyncio.sleep(0)
        sends[4].cancel()
        answers = await asyncio.gather(*sends, return_exceptions=True)

    assert isinstance(answers[4], asyncio.CancelledError)
    assert [answer for index, answer in enumerate(answers) if index != 4] == [(0, n) for n in range(10) if n != 4]


async def test_closing_a_producer_waits_for_its_sends(tmp_path: Path) -> None:
    """What was being sent is written when close returns; a later send is refused."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        producer = await broker.producer()
        sends = [asyncio.create_task(producer.send(Outgoing(topic="orders", value=b""))) for _ in range(100)]
        await asyncio.sleep(0)
        await producer.close()
        assert await broker.end_offsets([ORDERS]) == {ORDERS: 100}
        await asyncio.gather(*sends)
        with pytest.raises(BrokerUnavailable):
            await producer.send(Outgoing(topic="orders", value=b""))


async def test_a_closed_broker_says_so(tmp_path: Path) -> None:
    """A call after closing raises BrokerUnavailable, not an error of the thread pool."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        assert broker.url == f"embedded:{tmp_path / 'log.db'}"
    with pytest.raises(BrokerUnavailable, match="closed"):
        await broker.list_streams()
