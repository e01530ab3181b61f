"""A member of a consumer group."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import aiokafka.errors as driver
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as DriverPartition

from dispatcher.brokers.base import RebalanceListener
from dispatcher.brokers.kafka.admin import Admin
from dispatcher.brokers.kafka.batches import find_end_of_batch
from dispatcher.brokers.kafka.codecs import at_most
from dispatcher.brokers.kafka.connecting import connect_apart
from dispatcher.brokers.kafka.diagnosis import find_reachable
from dispatcher.brokers.kafka.errors import missing_codec, translate, translated
from dispatcher.brokers.kafka.internals import (
    abandon_consumer,
    excuse_commits,
    lead_again,
    note_heartbeats,
    note_return,
    peek,
    raise_background_errors,
    stop_within,
    was_put_out,
)
from dispatcher.brokers.kafka.settings import KafkaSettings
from dispatcher.core.record import Committed, Record, TopicPartition
from dispatcher.errors import (
    BrokerError,
    BrokerUnavailable,
    CommitRefused,
    ConfigurationError,
    CorruptRecords,
    DispatchError,
    FencedMember,
    OffsetOutOfRange,
    StreamNotFound,
)

__all__ = ["KafkaConsumer"]

_Records = dict[TopicPartition, list[Record]]

_FOREVER_MS = 2**31 - 1
_PARTITION_FETCH_BYTES = 1024 * 1024
_METADATA_AGE_MS = 10_000
_GRACE = 0.25
_CHECK_EVERY = 1.0
_SILENT_REQUESTS = 3
"""Requests' time of asking with no answer from any leader; each fetch is answered within 0.5 s, records or none."""

_NOT_ABOUT_RECORDS = (
    driver.TopicAuthorizationFailedError,
    driver.GroupAuthorizationFailedError,
    driver.ConsumerStoppedError,
)


class KafkaConsumer:
    """A member of a consumer group, on aiokafka.

    Between aiokafka and the caller stand these guards:

    - ``_ready``: only partitions whose ``on_assigned`` has returned are asked for, since aiokafka hands records over
      before it calls its listener.
    - ``_next``: where each partition stands for the caller. When a fetch fails, aiokafka has already moved past the
      records of other partitions that it read in the same call and throws them away; all are set back to here.
    - ``_generation``: counts rebalances; what an older fetch brings is set back too.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        admin: Admin,
        group: str,
        streams: Sequence[str],
        listener: RebalanceListener,
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._group = group
        self._streams = tuple(streams)
        self._listener = listener
        self._client: AIOKafkaConsumer | None = None
        self._generation = 0
        self._owned: dict[TopicPartition, DriverPartition] = {}
        self._ready: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}
        self._assigned = asyncio.Event()
        self._pending: asyncio.Task[Any] | None = None
        self._failure: Exception | None = None
        self._damaged: CorruptRecords | None = None
        self._rebalancing_since: float | None = None
        self._heartbeat = 0.0
        self._fenced = False
        self._leads_again = False
        self._closed = asyncio.Event()
        self._checked = 0.0
        self._silent = 0.0
        self._answered = 0

    async def start(self) -> None:
        for stream in self._streams:
            if await self._admin.describe(stream) is None:
                raise StreamNotFound(f"there is no stream {stream}")
        await self._admin.find_coordinator(self._group)
        settings = self._settings
        client = AIOKafkaConsumer(
            bootstrap_servers=await find_reachable(settings),
            group_id=self._group,
            group_instance_id=settings.instance_id,
            client_rack=settings.rack,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            metadata_max_age_ms=_METADATA_AGE_MS,
            session_timeout_ms=int(settings.session_timeout * 1000),
            # A rebalance reaches a member with its next heartbeat, and holds the whole group until then.
            heartbeat_interval_ms=int(settings.session_timeout * 100),
            rebalance_timeout_ms=int(settings.rebalance_timeout * 1000),
            # aiokafka would leave the group in silence; the worker's own watchdog judges whether it lives.
            max_poll_interval_ms=_FOREVER_MS,
            **settings.connection_options(),
        )
        connect_apart(client, settings.connect_timeout)
        try:
            with translated("start a consumer"):
                async with asyncio.timeout(settings.request_timeout):
                    await client.start()
        except BaseException:
            await _stop(client, settings.request_timeout)
            raise
        self._client = client
        self._rebalancing_since = time.monotonic()
        note_heartbeats(client, self._note_heartbeat)
        excuse_commits(client)
        if settings.instance_id is not None:
            note_return(client, settings.instance_id, self._note_return)
        # Only now, for start() of aiokafka waits without end for its first partitions.
        client.subscribe(self._streams, listener=_Bridge(self))

    async def revoked(self) -> None:
        """Called by aiokafka before each rebalance, and before the first."""
        self._generation += 1
        self._damaged = None
        self._ready.clear()
        self._assigned.clear()
        self._rebalancing_since = time.monotonic()
        if self._owned:
            await self._tell(self._listener.on_revoked(tuple(self._owned)))
        self._owned.clear()
        self._next.clear()
        if self._is_fenced():
            # Joining again would fence the other one in turn, and so on for ever: the client's heartbeats leave the
            # instance id out, so that all it hears is "unknown member", which it takes as a call to join.
            self._fenced = True
            await self._closed.wait()

    def _is_fenced(self) -> bool:
        """Whether this member was put out of the group, not for its silence but by another of its name."""
        client, alive = self._client, time.monotonic() - self._heartbeat < self._settings.session_timeout * 0.9
        return self._settings.instance_id is not None and alive and client is not None and was_put_out(client)

    def _note_heartbeat(self) -> None:
        self._heartbeat = time.monotonic()

    def _note_return(self) -> None:
        self._leads_again = True

    async def _lead_again(self, client: AIOKafkaConsumer) -> None:
        """Back in the lead with no rebalance: see to partitions that were added meanwhile, or will be."""
        self._leads_again = False
        assigned: Collection[TopicPartition] = ()
        # Unknown is as none: the group joins again, and all is assigned.
        with contextlib.suppress(BrokerError):
            assigned = await self._admin.assigned(self._group)
        counts = Counter(topic for topic, _ in assigned)
        lead_again(client, {stream: counts[stream] for stream in self._streams})

    async def assigned(self, partitions: Collection[DriverPartition]) -> None:
        """Called by aiokafka after each rebalance."""
        if self._client is None:
            return
        self._rebalancing_since = None
        self._silent = 0.0
        self._note_heartbeat()
        self._owned = {TopicPartition(*partition): partition for partition in sorted(partitions)}
        if self._leads_again:
            await self._lead_again(self._client)
        if await self._tell(self._listener.on_assigned(tuple(self._owned))):
            self._ready = set(self._owned)
        self._assigned.set()

    async def _tell(self, call: Any) -> bool:
        try:
            await call
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and go on as if positions were set: the next fetch raises it
            self._failure = error
            return False
        return True

    async def fetch(
        self, partitions: Collection[TopicPartition], *, max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        client = self._connected()
        began = time.monotonic()
        if self._fenced:
            raise self._fencing()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._damaged is not None:
            damaged, self._damaged = self._damaged, None
            raise damaged
        try:
            raise_background_errors(client)
            if self._pending is not None and not await self._settle_pending(timeout):
                return {}
            asked = [self._owned[each] for each in partitions if each in self._ready and each in self._next]
            if not asked:
                await self._wait_for_assignment(timeout)
                if self._fenced:
                    raise self._fencing()
                raise_background_errors(client)
                await self._check_group()
                return {}
            generation = self._generation
            records = await self._get(client, asked, max_records, timeout)
            if generation != self._generation:
                self._set_back(records)
                return {}
        except (driver.KafkaError, OSError) as error:
            self._set_back(self._next)
            return await self._explain(error, client, partitions, max_records)
        except DispatchError:
            raise
        except Exception as error:  # noqa: BLE001 - a codec's own: the decompressors have no common parent
            self._set_back(self._next)
            return await self._read_singly(client, partitions, max_records, error)
        if records:
            for partition, batch in records.items():
                self._next[partition] = batch[-1].offset + 1
            self._silent = 0.0
        else:
            await self._check_answers(client, asked, time.monotonic() - began)
        return records

    async def _get(
        self, client: AIOKafkaConsumer, asked: Sequence[DriverPartition], max_records: int, timeout: float
    ) -> _Records:
        with at_most(self._settings.max_batch_bytes):
            # With no time to wait this returns what is there without suspending; only an idle consumer pays for a task.
            records = await client.getmany(*asked, max_records=max_records)
            if records or timeout <= 0:
                return cast(_Records, records)
            # In a rebalance getmany waits for its end, whatever its timeout; and a cancelled one upsets its bookkeeping.
            self._pending = asyncio.create_task(
                client.getmany(*asked, timeout_ms=int(timeout * 1000), max_records=max_records)
            )
        done, _ = await asyncio.wait({self._pending}, timeout=timeout + _GRACE)
        if not done:
            return {}
        task, self._pending = self._pending, None
        if task.cancelled():
            raise driver.KafkaError("the group's task has ended")
        return cast(_Records, task.result())

    async def _settle_pending(self, timeout: float) -> bool:
        """Wait for a fetch that outlived its call; what it brings comes again later."""
        task = self._pending
        if task is None or not (await asyncio.wait({task}, timeout=timeout))[0]:
            return False
        self._pending = None
        if not task.cancelled() and task.exception() is None:
            self._set_back(task.result())
        else:
            self._set_back(self._next)
        return True

    def _set_back(self, partitions: Collection[TopicPartition]) -> None:
        client = self._connected()
        for partition in partitions:
            if partition in self._next and partition in self._owned:
                with contextlib.suppress(driver.IllegalStateError):
                    client.seek(self._owned[partition], self._next[partition])

    async def _explain(
        self, error: Exception, client: AIOKafkaConsumer, partitions: Collection[TopicPartition], max_records: int
    ) -> _Records:
        what = f"consume {', '.join(self._streams)} as {self._group}"
        match error:
            case driver.OffsetOutOfRangeError():
                [(partition, offset)] = error.args[0].items()
                raise OffsetOutOfRange(partition.topic, partition.partition, offset) from error
            case driver.GroupAuthorizationFailedError():
                raise translate(error, f"join the group {self._group}") from error
            case driver.NoOffsetForPartitionError():
                # Raised for the moment before the first seek.
                return {}
            case driver.CorruptRecordException() | driver.UnsupportedCodecError() | driver.RecordTooLargeError():
                return await self._read_singly(client, partitions, max_records, error)
            case driver.KafkaError() if self._settings.instance_id is not None and "UnknownError" in str(error):
                # FENCED_INSTANCE_ID, which aiokafka has no name for.
                raise self._fencing() from error
        raise translate(error, what) from error

    def _fencing(self) -> FencedMember:
        return FencedMember(
            f"another process has joined the group {self._group} with the instance id {self._settings.instance_id}: "
            "give each process its own"
        )

    async def _read_singly(
        self, client: AIOKafkaConsumer, partitions: Collection[TopicPartition], max_records: int, error: Exception
    ) -> _Records:
        """Find the partition and the offset that can't be read, and return what can.

        A fetch that fails tells neither where, nor gives the good records before it. One partition and one record at
        a time gives both; the failure comes out on its own once nothing good is left before it.
        """
        records: _Records = {}
        failure: CorruptRecords | None = None
        for partition in partitions:
            if partition not in self._ready or partition not in self._next:
                continue
            handle = self._owned[partition]
            generation, good = self._generation, list[Record]()
            try:
                while len(good) < max_records:
                    idle = self._next[partition] >= (client.highwater(handle) or 0) > 0
                    more = await self._get(client, [handle], 1, 0.0 if good or idle else _CHECK_EVERY)
                    if generation != self._generation:
                        self._set_back(more)
                        return {}
                    if not more:
                        break
                    good += more[partition]
                    self._next[partition] = good[-1].offset + 1
            except _NOT_ABOUT_RECORDS as other:
                raise translate(other, f"consume {partition.topic}") from other
            except Exception as cause:  # noqa: BLE001 - see fetch()
                if generation != self._generation:
                    return {}
                self._set_back([partition])
                if not good and failure is None:
                    failure = await self._damage(client, handle, self._next[partition], cause)
                    if generation != self._generation:
                        return {}
            if good:
                records[partition] = good
        if failure is None:
            return records
        if not records:
            raise failure from error
        # Told with the next call: while others have records it would never be its turn, and they would come singly.
        self._damaged = failure
        return records

    async def _damage(
        self, client: AIOKafkaConsumer, partition: DriverPartition, offset: int, cause: Exception
    ) -> CorruptRecords:
        if isinstance(cause, driver.UnsupportedCodecError) and (needed := missing_codec(cause)) is not None:
            # Nothing is wrong with the records: going past them is for nobody to ask for.
            raise ConfigurationError(f"can't consume {partition.topic}: {needed}") from cause
        with translated(f"consume {partition.topic}"):
            async with asyncio.timeout(self._settings.request_timeout):
                end = await find_end_of_batch(client, partition, offset)
        return CorruptRecords(*partition, offset, _reason(cause), end)

    async def _wait_for_assignment(self, timeout: float) -> None:
        if self._assigned.is_set():
            await asyncio.sleep(timeout)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._assigned.wait()

    async def _check_group(self) -> None:
        limit = self._settings.rebalance_timeout + self._settings.session_timeout + self._settings.request_timeout
        if self._rebalancing_since is not None and time.monotonic() - self._rebalancing_since > limit:
            self._rebalancing_since = time.monotonic()
            raise BrokerUnavailable(f"the group {self._group} has been forming for more than {limit:g} s")
        await self._check_streams()

    async def _check_streams(self) -> None:
        """To aiokafka no topic is ever gone: it asks for one that was deleted for ever, and says nothing."""
        now = time.monotonic()
        if now - self._checked < _CHECK_EVERY:
            return
        self._checked = now
        client = self._connected()
        for stream in self._streams:
            if not client.partitions_for_topic(stream) and await self._admin.describe(stream) is None:
                raise StreamNotFound(f"the stream {stream} has been deleted")

    async def _check_answers(self, client: AIOKafkaConsumer, asked: Sequence[DriverPartition], waited: float) -> None:
        assignment = client.assignment()
        latest = max((client.last_poll_timestamp(each) or 0 for each in asked if each in assignment), default=0)
        if latest != self._answered:
            self._answered, self._silent = latest, 0.0
        else:
            # Time spent waiting, so that a blocked loop, which is no fault of the broker's, does not count.
            self._silent += min(waited, _CHECK_EVERY)
        limit = _SILENT_REQUESTS * self._settings.request_timeout
        if self._silent > limit:
            self._silent = 0.0
            raise BrokerUnavailable(f"no leader of {', '.join(self._streams)} has answered for {limit:g} s")
        await self._check_streams()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._connected().seek(self._owned[partition], offset)
        self._next[partition] = offset

    def position(self, partition: TopicPartition) -> int | None:
        if self._client is None or partition not in self._next:
            return None
        if self._pending is not None:
            return self._next[partition]
        with contextlib.suppress(driver.KafkaError):
            return cast("int | None", peek(self._client.position(self._owned[partition])))
        return None

    async def commit(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        what = f"commit for the group {self._group}"
        if not_ours := [partition for partition in offsets if partition not in self._owned]:
            raise CommitRefused(f"can't {what}: {not_ours[0].topic}/{not_ours[0].partition} is not ours")
        client = self._connected()
        if was_put_out(client):
            # aiokafka would commit as no member, which a broker takes for a group that is empty: a successor that has
            # come further, and left, would be set back.
            raise CommitRefused(f"can't {what}: the group has put this member out")
        chosen = {self._owned[partition]: OffsetAndMetadata(*committed) for partition, committed in offsets.items()}
        with translated(what):
            # aiokafka repeats a commit for ever while the coordinator is away.
            async with asyncio.timeout(self._settings.request_timeout):
                await client.commit(chosen)

    async def close(self) -> None:
        client, self._client = self._client, None
        self._generation += 1
        self._ready.clear()
        self._owned.clear()
        self._next.clear()
        self._closed.set()
        if client is not None:
            if self._fenced:
                await abandon_consumer(client)
            await _stop(client, self._settings.request_timeout * 0.7)
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
            self._pending = None

    def _connected(self) -> AIOKafkaConsumer:
        if self._client is None:
            raise BrokerUnavailable("the consumer is not started, or closed")
        return self._client


class _Bridge(ConsumerRebalanceListener):
    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, _revoked: Collection[DriverPartition]) -> None:
        await self._consumer.revoked()

    async def on_partitions_assigned(self, assigned: Collection[DriverPartition]) -> None:
        await self._consumer.assigned(assigned)


async def _stop(client: AIOKafkaConsumer, timeout: float) -> None:
    try:
        # Closing says nothing: what was wrong has been raised where it mattered.
        ended = await stop_within(client.stop(), timeout)
    except asyncio.CancelledError:
        await abandon_consumer(client)
        raise
    if not ended:
        await abandon_consumer(client)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
