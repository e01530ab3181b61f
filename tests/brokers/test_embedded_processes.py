"""The embedded log under several processes, some of which are stopped or killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from contract import Member

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import Committed, Outgoing, TopicPartition

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")

PRELUDE = """
import asyncio, sys
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import Committed, Outgoing, TopicPartition
from dispatcher.errors import CommitRefused

path = sys.argv[1]
lines = asyncio.Queue()

async def read_lines():
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        lines.put_nowait(line.strip())

def say(*words):
    print(*words, flush=True)
"""

OPEN = (
    PRELUDE
    + """
async def main():
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        say("opened")
asyncio.run(main())
"""
)

SEND = (
    PRELUDE
    + """
async def main():
    async with EmbeddedBroker(path) as broker:
        producer = await broker.producer()
        reader = asyncio.create_task(read_lines())
        say("ready")
        while True:
            value = await lines.get()
            partition, offset = await producer.send(Outgoing(topic="orders", value=value.encode()))
            say(partition, offset, value)
asyncio.run(main())
"""
)

FLOOD = (
    PRELUDE
    + """
async def main():
    async with EmbeddedBroker(path) as broker:
        producer = await broker.producer()
        async def send(number):
            value = b"%s %d" % (sys.argv[2].encode(), number)
            _, offset = await producer.send(Outgoing(topic="orders", value=value, partition=0))
            say(offset, value.decode())
        for start in range(0, int(sys.argv[3]), 20):
            await asyncio.gather(*(send(number) for number in range(start, start + 20)))
asyncio.run(main())
"""
)

CONSUME = (
    PRELUDE
    + """
class Listener:
    async def on_assigned(self, partitions):
        say("assigned", *sorted(p.partition for p in partitions))
    async def on_revoked(self, partitions):
        say("revoked", *sorted(p.partition for p in partitions))
        try:
            await consumer.commit({p: Committed(1, "late") for p in partitions})
            say("committed")
        except CommitRefused:
            say("refused")

async def main():
    global consumer
    async with EmbeddedBroker(path, session_timeout=float(sys.argv[2])) as broker:
        consumer = broker.consumer("g", ["orders"], Listener())
        await consumer.start()
        await asyncio.Event().wait()
asyncio.run(main())
"""
)


@asynccontextmanager
async def child(script: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that runs the script; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        # Not wait(): only communicate() closes the pipes as well.
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    """The next line that the process says."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode().strip()


async def test_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Four processes that find no file, and make it together, all succeed, and one stream is made."""
    path = tmp_path / "new" / "log.db"
    async with child(OPEN, path) as a, child(OPEN, path) as b, child(OPEN, path) as c, child(OPEN, path) as d:
        assert [await line_of(process) for process in (a, b, c, d)] == ["opened"] * 4

    async with EmbeddedBroker(path) as broker:
        assert [stream.name for stream in await broker.list_streams()] == ["orders"]


async def test_a_send_of_another_process_is_seen_at_once(tmp_path: Path) -> None:
    """A waiting consumer gets another process's record within a fraction of a second, with no restart."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        async with Member(broker, "g", ["orders"]) as member, child(SEND, path) as sender:
            await member.holds(1)
            assert await line_of(sender) == "ready"
            assert sender.stdin is not None
            delays = []
            for number in range(10):
                began = time.monotonic()
                sender.stdin.write(b"%d\n" % number)
                [record] = await member.collect(1)
                delays.append(time.monotonic() - began)
                assert record.value == b"%d" % number

    # The median, so that a busy machine may be late now and then; a consumer that only looked each second would fail.
    assert sorted(delays)[5] < 0.25


async def test_producers_of_several_processes_interleave_without_loss(tmp_path: Path) -> None:
    """Three processes that write one partition at once each get offsets of their own, in their own order."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        async with (
            child(FLOOD, path, "a", 300) as a,
            child(FLOOD, path, "b", 300) as b,
            child(FLOOD, path, "c", 300) as c,
        ):
            said = await asyncio.gather(*(process.communicate() for process in (a, b, c)))
        async with Member(broker, "g", ["orders"]) as member:
            await member.holds(1)
            records = await member.collect(900)

    log = [(record.value or b"").decode() for record in records]
    assert [record.offset for record in records] == list(range(900))
    for name, (out, _) in zip("abc", said, strict=True):
        assert [value for value in log if value.startswith(name)] == [f"{name} {number}" for number in range(300)]
        acknowledged = [line.split(" ", 1) for line in out.decode().splitlines()]
        assert len(acknowledged) == 300
        assert all(log[int(offset)] == value for offset, value in acknowledged)


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """A producer is killed in the middle of its work: each record that it was told of is there, and the log goes on."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
    async with child(FLOOD, path, "a", 1_000_000) as process:
        acknowledged = [await line_of(process) for _ in range(500)]
        process.kill()
        out, _ = await process.communicate()
        acknowledged += [line for line in out.decode().split("\n")[:-1] if line]

    async with EmbeddedBroker(path) as broker:
        end = (await broker.end_offsets([TopicPartition("orders", 0)]))[TopicPartition("orders", 0)]
        async with Member(broker, "g", ["orders"]) as member:
            await member.holds(1)
            log = [(record.value or b"").decode() for record in await member.collect(end)]
            for line in acknowledged:
                offset, value = line.split(" ", 1)
                assert log[int(offset)] == value
        assert await (await broker.producer()).send(Outgoing(topic="orders", value=b"next")) == (0, end)


async def test_a_killed_members_partitions_go_to_the_others(tmp_path: Path) -> None:
    """After kill -9 of one member the other gets its partitions, long before a session timeout of a minute."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path, session_timeout=1.0) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=4))
        async with Member(broker, "g", ["orders"]) as member, child(CONSUME, path, 60) as other:
            await member.holds(4)
            await member.holds(2)
            assert (await line_of(other)).startswith("assigned")
            other.kill()
            await other.wait()
            await member.holds(4)


async def test_a_member_that_dies_alone_does_not_hold_up_its_successor(tmp_path: Path) -> None:
    """Started again after kill -9, a consumer has its partitions at once, not after the dead one's session timeout."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=2))
    async with child(CONSUME, path, 60) as first:
        assert await line_of(first) == "assigned 0 1"
        first.kill()
        await first.wait()
    async with child(CONSUME, path, 60) as second:
        assert await line_of(second) == "assigned 0 1"


async def test_a_stopped_member_loses_its_partitions_and_may_not_commit_them(tmp_path: Path) -> None:
    """A process that is silent past its session timeout is put out; when it wakes, its commit is refused, and it joins
    again by itself."""
    path = tmp_path / "log.db"
    partitions = [TopicPartition("orders", 0), TopicPartition("orders", 1)]
    async with EmbeddedBroker(path, session_timeout=1.0) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=2))
        async with child(CONSUME, path, 1.0) as other:
            assert await line_of(other) == "assigned 0 1"
            other.send_signal(signal.SIGSTOP)
            async with Member(broker, "g", ["orders"]) as member:
                await member.holds(2)
                await member.consumer.commit(dict.fromkeys(partitions, Committed(5, "mine")))
                other.send_signal(signal.SIGCONT)
                assert await line_of(other) == "revoked 0 1"
                assert await line_of(other) == "refused"
                await member.holds(1)
                assert (await line_of(other)).startswith("assigned ")
                assert set((await broker.committed("g", partitions)).values()) == {Committed(5, "mine")}
