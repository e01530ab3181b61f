"""Reading a log without being a member of a group."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import aiokafka.errors as driver
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition as DriverPartition

from dispatcher.brokers.kafka.batches import find_end_of_batch
from dispatcher.brokers.kafka.codecs import at_most
from dispatcher.brokers.kafka.diagnosis import find_reachable
from dispatcher.brokers.kafka.errors import missing_codec, translate, translated
from dispatcher.brokers.kafka.internals import abandon_consumer, stop_within
from dispatcher.brokers.kafka.settings import KafkaSettings
from dispatcher.core.record import Record, TopicPartition
from dispatcher.errors import ConfigurationError, CorruptRecords, OffsetOutOfRange

__all__ = ["read"]

_ABOUT_NO_RECORD = (
    driver.TopicAuthorizationFailedError,
    driver.UnknownTopicOrPartitionError,
    driver.ConsumerStoppedError,
)


class _Damaged(Exception):
    """Something that was fetched can't be read; aiokafka does not say of which partition it was."""


async def read(
    settings: KafkaSettings,
    positions: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    max_records: int,
) -> dict[TopicPartition, Sequence[Record]]:
    """Read up to ``max_records`` of each partition from its offset on, and nothing at or past its end; fewer before damage.

    Raises:
        OffsetOutOfRange: retention was faster.
        CorruptRecords: the record at a partition's offset can't be read.
        BrokerUnavailable: no answer within ``settings.request_timeout`` seconds.
    """
    left = {partition: offset for partition, offset in positions.items() if offset < ends[partition]}
    found: dict[TopicPartition, Sequence[Record]] = dict.fromkeys(positions, ())
    try:
        return found | await _read(settings, left, ends, max_records)
    except _Damaged:
        pass
    if len(left) == 1:
        # The client withholds the good records before the damage; one at a time it gives them.
        return found | await _read(settings, left, ends, 1)
    for partition, offset in left.items():
        found |= await read(settings, {partition: offset}, ends, max_records)
    return found


async def _read(
    settings: KafkaSettings,
    positions: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    max_records: int,
) -> dict[TopicPartition, list[Record]]:
    found: dict[TopicPartition, list[Record]] = {partition: [] for partition in positions}
    if not positions:
        return found
    client = AIOKafkaConsumer(
        bootstrap_servers=await find_reachable(settings),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        client_rack=settings.rack,
        **settings.connection_options(),
    )
    try:
        with translated("read"):
            async with asyncio.timeout(settings.request_timeout):
                await client.start()
                wanted = {DriverPartition(*partition) for partition in positions}
                client.assign(wanted)
                for each in wanted:
                    client.seek(each, positions[TopicPartition(*each)])
                while wanted:
                    with at_most(settings.max_batch_bytes):
                        fetched = await _fetch_or_tell(client, wanted, max_records * len(wanted))
                    for each, records in fetched.items():
                        partition = TopicPartition(*each)
                        found[partition] += [record for record in records if record.offset < ends[partition]]
                    wanted = {
                        each
                        for each in wanted
                        if len(found[TopicPartition(*each)]) < max_records
                        and await client.position(each) < ends[TopicPartition(*each)]
                    }
    finally:
        if not await stop_within(client.stop(), settings.request_timeout):
            await abandon_consumer(client)
    return {partition: records[:max_records] for partition, records in found.items()}


async def _fetch_or_tell(
    client: AIOKafkaConsumer, partitions: Collection[DriverPartition], max_records: int
) -> Mapping[DriverPartition, Sequence[Record]]:
    if len(partitions) > 1 or max_records > 1:
        return await _fetch(client, partitions, max_records)
    # Asked for one record of one partition: if it can't be read, that is the one.
    [each] = partitions
    offset = await client.position(each)
    try:
        return await _fetch(client, partitions, 1)
    except _Damaged as error:
        end = await find_end_of_batch(client, each, offset)
        raise CorruptRecords(each.topic, each.partition, offset, str(error), end) from error.__cause__


async def _fetch(
    client: AIOKafkaConsumer, partitions: Collection[DriverPartition], max_records: int
) -> Mapping[DriverPartition, Sequence[Record]]:
    try:
        fetched: Mapping[DriverPartition, Sequence[Record]] = await client.getmany(
            *partitions, timeout_ms=200, max_records=max_records
        )
    except driver.OffsetOutOfRangeError as error:
        [(each, offset)] = error.args[0].items()
        raise OffsetOutOfRange(each.topic, each.partition, offset) from error
    except _ABOUT_NO_RECORD as error:
        raise translate(error, "read") from error
    except Exception as error:
        if isinstance(error, driver.UnsupportedCodecError) and (needed := missing_codec(error)) is not None:
            raise ConfigurationError(f"can't read: {needed}") from error
        # A codec's own errors too: the decompressors have no common parent.
        raise _Damaged(" ".join(str(error).split()) or type(error).__name__) from error
    return fetched
