"""Questions to a cluster that need no membership: streams, offsets, commits."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import aiokafka.errors as driver
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition as DriverPartition

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka.connecting import connect_apart
from dispatcher.brokers.kafka.diagnosis import find_reachable
from dispatcher.brokers.kafka.errors import translate, translated
from dispatcher.brokers.kafka.settings import KafkaSettings
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.errors import BrokerUnavailable, CommitRefused, StreamNotFound

__all__ = ["Admin"]

T = TypeVar("T")

_BEGINNING, _END = -2, -1
_READ_COMMITTED = 1
_SET_ON_THE_TOPIC = 1
_RETRY_PAUSE = 0.1
_CLOSE_TIMEOUT = 5.0
_MISSING = (driver.UnknownTopicOrPartitionError, driver.InvalidTopicError)


class _Client(AIOKafkaAdminClient):
    """aiokafka's admin client, with the requests that it has no method for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._last_silent: dict[int, float] = {}

    async def _send_request(self, request: Any, node_id: int | None = None) -> Any:
        """Ask one node, or any: then one that says nothing is passed over, and asked last from now on."""
        nodes = [each.nodeId for each in self._client.cluster.brokers()]
        if node_id is not None or not nodes:
            return await super()._send_request(request, node_id)
        random.shuffle(nodes)
        *others, last = sorted(nodes, key=lambda node: self._last_silent.get(node, 0.0))
        for node in others:
            try:
                async with asyncio.timeout(self._request_timeout_ms / 1000 / (len(nodes) + 1)):
                    return await self._client.send(node, request)
            except (TimeoutError, driver.NodeNotReadyError, driver.KafkaConnectionError, driver.RequestTimedOutError):
                self._last_silent[node] = time.monotonic()
        return await self._client.send(last, request)

    async def topics(self, names: Collection[str] | None = None) -> list[tuple[type[Exception], str, bool, list[Any]]]:
        # A client that asks for a topic by name creates it, on a cluster where that is allowed, unless it says no.
        request = MetadataRequest(None if names is None else list(names), allow_auto_topic_creation=False)
        response: Any = await self._send_request(request)
        self._client.cluster.update_metadata(response)
        return [(driver.for_code(code), name, internal, parts) for code, name, internal, parts in response.topics]

    async def offsets(self, node: int, partitions: Mapping[str, list[tuple[int, int]]]) -> list[tuple[str, list[Any]]]:
        request = OffsetRequest(-1, _READ_COMMITTED, list(partitions.items()))
        response: Any = await self._send_request_to_node(node, request)
        return list(response.topics)

    async def commit(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> list[tuple[TopicPartition, int]]:
        topics: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for (topic, partition), committed in offsets.items():
            topics[topic].append((partition, *committed))
        request = OffsetCommitRequest(
            group,
            OffsetCommitRequest.DEFAULT_GENERATION_ID,
            "",
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            list(topics.items()),
        )
        response: Any = await self._send_request_to_node(await self.find_coordinator(group), request)
        return [
            (TopicPartition(topic, partition), code)
            for topic, answers in response.topics
            for partition, code in answers
        ]


class Admin:
    """One connection for all that is asked beside consuming and producing.

    Every call ends within ``settings.request_timeout`` seconds, and is repeated until then while the cluster says
    that it has no leader or coordinator just now.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: _Client | None = None

    async def start(self) -> None:
        """Connect; raises as :func:`find_reachable` does."""
        servers = await find_reachable(self._settings)
        client = _Client(bootstrap_servers=servers, **self._settings.connection_options())
        connect_apart(client, self._settings.connect_timeout)
        try:
            with translated("connect"):
                async with asyncio.timeout(self._settings.request_timeout):
                    await client.start()  # type: ignore[no-untyped-call]
        except BaseException:
            await _close(client)
            raise
        self._client = client

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            client, self._client = self._client, None
            await _close(client)

    async def list_streams(self) -> list[StreamInfo]:
        """All streams but internal ones, by name."""

        async def ask(client: _Client) -> list[StreamInfo]:
            topics = await client.topics()
            counts = {
                name: len(partitions)
                for kind, name, internal, partitions in topics
                if kind is driver.NoError and not internal and not name.startswith("__")
            }
            configs = await self._configs(client, counts)
            return [
                StreamInfo(name=name, partitions=counts[name], config=configs.get(name, {})) for name in sorted(counts)
            ]

        return await self._ask("list the streams", ask)

    async def describe(self, stream: str) -> StreamInfo | None:
        """One stream, or None."""

        async def ask(client: _Client) -> StreamInfo | None:
            [(kind, name, _, partitions)] = await client.topics([stream])
            if kind in _MISSING:
                return None
            if kind is not driver.NoError:
                raise kind(stream)
            configs = await self._configs(client, [name])
            return StreamInfo(name=name, partitions=len(partitions), config=configs.get(name, {}))

        return await self._ask(f"describe {stream}", ask)

    async def _configs(self, client: _Client, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        if not resources:
            return {}
        response: Any
        [response] = await client.describe_configs(resources)
        # A user may consume a topic without the right to see its settings: then there are none to show.
        return {
            name: {
                entry: value
                for entry, value, _, source, sensitive, *_ in entries
                if source == _SET_ON_THE_TOPIC and not sensitive
            }
            for code, _, _, name, entries in response.resources
            if not code
        }

    async def create(self, stream: StreamInfo) -> bool:
        """Create a stream and wait until each partition has a leader; False when it was there."""

        async def ask(client: _Client) -> bool:
            topic = NewTopic(stream.name, stream.partitions, 1, topic_configs=dict(stream.config))
            topic.replication_factor = -1  # the cluster's default (KIP-464), which aiokafka's constructor refuses
            response: Any = await client.create_topics([topic])
            [(_, code, message)] = response.topic_errors
            kind = driver.for_code(code)
            if kind is driver.TopicAlreadyExistsError:
                return False
            if kind is not driver.NoError:
                raise kind(message or stream.name)
            return True

        created = await self._ask(f"create {stream.name}", ask)
        if created:
            await self._await_partitions(stream.name, stream.partitions)
        return created

    async def delete(self, stream: str) -> bool:
        """Delete a stream and wait until it is gone; False when it was not there."""

        async def ask(client: _Client) -> bool:
            response: Any = await client.delete_topics([stream])
            [(_, code)] = response.topic_error_codes
            kind = driver.for_code(code)
            if kind in _MISSING:
                return False
            if kind is not driver.NoError:
                raise kind(stream)
            return True

        async def gone(client: _Client) -> None:
            [(kind, *_)] = await client.topics([stream])
            if kind not in _MISSING:
                raise driver.StaleMetadata(stream)

        deleted = await self._ask(f"delete {stream}", ask)
        if deleted:
            await self._ask(f"delete {stream}", gone)
        return deleted

    async def add_partitions(self, stream: str, total: int) -> None:
        """Give a stream ``total`` partitions; it can't have fewer than it has."""

        async def ask(client: _Client) -> None:
            await client.create_partitions({stream: NewPartitions(total)})

        await self._ask(f"add partitions to {stream}", ask)
        await self._await_partitions(stream, total)

    async def _await_partitions(self, stream: str, total: int) -> None:
        async def ask(client: _Client) -> None:
            [(kind, _, _, partitions)] = await client.topics([stream])
            if kind is not driver.NoError or len(partitions) < total or any(each[2] == -1 for each in partitions):
                raise driver.LeaderNotAvailableError(stream)

        await self._ask(f"find the partitions of {stream}", ask)

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset that each log still holds."""
        return {
            tp: offset for tp, offset in (await self._offsets(partitions, _BEGINNING)).items() if offset is not None
        }

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset after the last that may be read (the last stable offset, where there are transactions)."""
        return {tp: offset for tp, offset in (await self._offsets(partitions, _END)).items() if offset is not None}

    async def offsets_for_time(
        self, partitions: Collection[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int | None]:
        """The first offset at or after the time, or None."""
        return await self._offsets(partitions, max(0, timestamp_ms))

    async def _offsets(
        self, partitions: Collection[TopicPartition], timestamp: int
    ) -> dict[TopicPartition, int | None]:
        async def ask(client: _Client) -> dict[TopicPartition, int | None]:
            by_leader = await self._by_leader(client, partitions)
            found: dict[TopicPartition, int | None] = {}
            for leader, chosen in by_leader.items():
                asked: dict[str, list[tuple[int, int]]] = defaultdict(list)
                for topic, partition in chosen:
                    asked[topic].append((partition, timestamp))
                for topic, answers in await client.offsets(leader, asked):
                    for partition, code, _, offset in answers:
                        if code:
                            raise driver.for_code(code)(f"{topic}/{partition}")
                        found[TopicPartition(topic, partition)] = None if offset < 0 else offset
            return found

        if not partitions:
            return {}
        return await self._ask("ask for offsets", ask)

    async def _by_leader(
        self, client: _Client, partitions: Collection[TopicPartition]
    ) -> dict[int, list[TopicPartition]]:
        leaders: dict[tuple[str, int], int] = {}
        for kind, topic, _, known in await client.topics({tp.topic for tp in partitions}):
            if kind in _MISSING:
                raise StreamNotFound(f"there is no stream {topic}")
            if kind is not driver.NoError:
                raise kind(topic)
            leaders |= {(topic, each[1]): each[2] for each in known}
        by_leader = defaultdict(list)
        for tp in partitions:
            leader = leaders.get(tp)
            if leader is None:
                raise StreamNotFound(f"there is no partition {tp.partition} of {tp.topic}")
            if leader == -1:
                raise driver.LeaderNotAvailableError(f"{tp.topic}/{tp.partition}")
            by_leader[leader].append(tp)
        return by_leader

    async def find_coordinator(self, group: str) -> int:
        """The node that looks after a group; fails at once when this user may not see it."""
        return await self._ask(
            f"find the coordinator of the group {group}", lambda client: client.find_coordinator(group)
        )

    async def committed(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Committed | None]:
        """What the group has committed, with metadata."""

        async def ask(client: _Client) -> dict[TopicPartition, Committed | None]:
            found: Mapping[Any, Any] = await client.list_consumer_group_offsets(
                group, partitions=[DriverPartition(*tp) for tp in partitions]
            )
            # A coordinator that is loading its log answers with no partitions, and aiokafka shows that as if nothing
            # had ever been committed: the group would begin from the start.
            if not found.keys() >= set(partitions):
                raise driver.GroupLoadInProgressError(group)
            return {
                tp: None if (at := found[tp]).offset < 0 else Committed(at.offset, at.metadata or "")
                for tp in partitions
            }

        if not partitions:
            return {}
        return await self._ask(f"read the offsets of the group {group}", ask)

    async def group_members(self, group: str) -> int:
        """How many members the group has."""
        return len(await self._members(group))

    async def assigned(self, group: str) -> set[TopicPartition]:
        """The partitions that the members of the group have."""
        return {
            TopicPartition(topic, partition)
            for (_id, _client, _host, _metadata, assignment, *_) in await self._members(group)
            if assignment
            for topic, partitions in ConsumerProtocol.ASSIGNMENT.decode(assignment).assignment
            for partition in partitions
        }

    async def _members(self, group: str) -> Sequence[Any]:
        async def ask(client: _Client) -> Sequence[Any]:
            response: Any
            [response] = await client.describe_consumer_groups([group])
            [(code, _, _state, _, _, members, *_)] = response.groups
            kind = driver.for_code(code)
            if kind is not driver.NoError:
                raise kind(group)
            return list(members)

        return await self._ask(f"look at the group {group}", ask)

    async def set_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Commit for a group that nobody is in: a commit from no member, which the coordinator refuses otherwise."""

        async def ask(client: _Client) -> None:
            await self._by_leader(client, offsets)
            for (topic, partition), code in await client.commit(group, offsets):
                kind = driver.for_code(code)
                if kind is driver.UnknownMemberIdError:
                    raise CommitRefused(f"can't {what}: it has live members")
                if kind is not driver.NoError:
                    raise kind(f"{topic}/{partition}")

        what = f"set the offsets of the group {group}"
        if offsets:
            await self._ask(what, ask)

    async def _ask(self, what: str, request: Callable[[_Client], Awaitable[T]]) -> T:
        client = self._client
        if client is None:
            raise BrokerUnavailable(f"can't {what}: the broker is not connected")
        why = f"no answer in {self._settings.request_timeout:g} s"
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                while True:
                    try:
                        return await request(client)
                    except driver.KafkaError as error:
                        if not error.retriable or isinstance(error, driver.UnknownTopicOrPartitionError):
                            raise translate(error, what) from error
                        why = str(error)
                    await asyncio.sleep(_RETRY_PAUSE)
        except (TimeoutError, OSError) as error:
            raise BrokerUnavailable(f"can't {what}: {why}") from error


async def _close(client: _Client) -> None:
    with contextlib.suppress(TimeoutError, driver.KafkaError, OSError):
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await client.close()  # type: ignore[no-untyped-call]
