"""A consumer whose coordinator or leader takes its requests and never answers, and one that was silent itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Self

import pytest
from contract import Member, send_all
from kafka_server import KafkaCluster, free_ports

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.errors import BrokerUnavailable, CommitRefused

pytestmark = pytest.mark.kafka

# https://kafka.apache.org/protocol#protocol_api_keys
FETCH, JOIN_GROUP = 1, 11


class MuteProxy:
    """A way to a server on which requests of some kinds are never answered, nor is what follows them on their connection:
    that is how a server looks whose handler hangs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.target = 0
        self.muted: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, forward = await asyncio.open_connection("127.0.0.1", self.target)
        for task in (
            asyncio.create_task(self._requests(reader, forward)),
            asyncio.create_task(self._answers(upstream, writer)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_mute = False
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                length = await reader.readexactly(4)
                request = await reader.readexactly(int.from_bytes(length))
                is_mute = is_mute or int.from_bytes(request[:2]) in self.muted
                if not is_mute:
                    writer.write(length + request)

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)


@pytest.fixture(scope="module")
def proxied_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A server whose clients come through a proxy."""
    with KafkaCluster(tmp_path_factory.mktemp("proxied"), proxy_ports=free_ports(1)) as cluster:
        yield cluster


@pytest.fixture
async def proxy(proxied_cluster: KafkaCluster) -> AsyncIterator[MuteProxy]:
    """The way to that server."""
    [node] = proxied_cluster.nodes
    async with MuteProxy(node.advertised["proxied"]) as proxy:
        proxy.target = node.ports["proxied"]
        yield proxy


@pytest.fixture
async def hasty(proxied_cluster: KafkaCluster, proxy: MuteProxy) -> AsyncIterator[KafkaBroker]:
    """A broker by way of the proxy, for members that lose their patience soon."""
    settings = KafkaSettings(
        servers=proxied_cluster.bootstrap("proxied"), request_timeout=1.0, session_timeout=1.0, rebalance_timeout=1.0
    )
    async with KafkaBroker(settings) as broker:
        yield broker


async def fetch_for(member: Member, partitions: list[TopicPartition], seconds: float) -> None:
    """Ask for records again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await member.consumer.fetch(partitions, max_records=10, timeout=0.25)


async def test_a_coordinator_that_never_answers_a_join(proxy: MuteProxy, hasty: KafkaBroker, group: str) -> None:
    """That the group does not come into being is told, once it takes longer than a rebalance may; when the coordinator
    answers again, the same member joins."""
    await hasty.create_stream(StreamInfo(name=group, partitions=1))
    proxy.muted = {JOIN_GROUP}
    async with Member(hasty, group, [group]) as member:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="has been forming for more than 3 s"):
            await fetch_for(member, [], 15)
        assert time.monotonic() - began > 2.5
        proxy.muted = set()
        await member.holds(1)


async def test_a_leader_that_never_answers_a_fetch(proxy: MuteProxy, hasty: KafkaBroker, group: str) -> None:
    """Heartbeats go well and no record comes: after three requests' time that is told. A stream with no records is no
    silence, and when the leader answers again, the same member goes on."""
    await hasty.create_stream(StreamInfo(name=group, partitions=1))
    producer = await hasty.producer()
    await send_all(producer, group, [b"1"])
    partition = TopicPartition(group, 0)
    async with Member(hasty, group, [group]) as member:
        await member.holds(1)
        assert len(await member.collect(1)) == 1
        await fetch_for(member, [partition], 4)
        proxy.muted = {FETCH}
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match=f"no leader of {group} has answered for 3 s"):
            await fetch_for(member, [partition], 15)
        assert time.monotonic() - began > 2.5
        proxy.muted = set()
        await send_all(producer, group, [b"2"])
        assert [record.value for record in await member.collect(1)] == [b"2"]
    await producer.close()


async def test_a_member_that_was_put_out_sets_no_commit_back(kafka_bootstrap: str, group: str) -> None:
    """A broker takes a commit of nobody in particular for a group that is empty. A member that was silent for too long, and
    whose successor has come further and left, must not make one: it would set the successor's commit back."""
    partition = TopicPartition(group, 0)
    outcomes: list[BaseException | None] = []
    async with (
        KafkaBroker(KafkaSettings(servers=kafka_bootstrap, session_timeout=1.0)) as broker,
        KafkaBroker(kafka_bootstrap) as successor,
    ):
        await broker.create_stream(StreamInfo(name=group, partitions=1))

        async def commit_late() -> None:
            await successor.set_offsets(group, {partition: Committed(10)})
            try:
                await member.consumer.commit({partition: Committed(5)})
            except CommitRefused as error:
                outcomes.append(error)
            else:
                outcomes.append(None)

        member = Member(broker, group, [group])
        async with member:
            await member.holds(1)
            await member.consumer.commit({partition: Committed(3)})
            member.before_revoked = commit_late
            time.sleep(2.5)  # the session timeout, and no heartbeat
            await member.until(lambda: bool(outcomes))
            member.before_revoked = None
            assert isinstance(outcomes[0], CommitRefused)
            assert await successor.committed(group, [partition]) == {partition: Committed(10)}
