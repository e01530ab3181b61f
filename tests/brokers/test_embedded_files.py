"""Files that are not what the embedded broker hopes for: each a clear error, and nothing overwritten."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from contract import send_all

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.errors import BrokerRefused, BrokerUnavailable, ConfigurationError

ORDERS = TopicPartition("orders", 0)


async def assert_refused_untouched(path: Path, message: str) -> None:
    """Opening raises with that message, and neither the file nor its folder has changed."""
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=message):
        async with EmbeddedBroker(path):
            pass
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == [path]


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """Text under the log's name is refused with what to do, and is the same byte for byte after."""
    path = tmp_path / "notes.txt"
    path.write_text("shopping list\n" * 1_000)
    await assert_refused_untouched(path, "choose another path")


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A SQLite file with foreign tables gets none of ours."""
    path = tmp_path / "places.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE streams (river TEXT)")
    connection.close()
    await assert_refused_untouched(path, "another program")


async def test_a_log_from_the_future_is_left_alone(tmp_path: Path) -> None:
    """A later format is refused with both versions named and the advice to upgrade."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"format 99 .* format 1; upgrade"):
        async with EmbeddedBroker(path):
            pass


async def test_a_folder_is_not_a_log(tmp_path: Path) -> None:
    """A folder as path is refused with a path that would do."""
    with pytest.raises(ConfigurationError, match=r"is a folder; name a file in it, such as .*log\.db"):
        async with EmbeddedBroker(tmp_path):
            pass


async def test_a_path_below_a_file_can_not_be(tmp_path: Path) -> None:
    """A parent that is a file is refused as a setting to change, not as a broken broker."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="choose a path that this user may write"):
        async with EmbeddedBroker(tmp_path / "file" / "log.db"):
            pass


READ_ONLY = """
import asyncio, os, sys
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.errors import ConfigurationError

async def main():
    try:
        async with EmbeddedBroker(sys.argv[1]):
            print("opened")
    except ConfigurationError as error:
        print(error)

if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_read_only_folder_is_told() -> None:
    """Where this user may not write, the error says that it is the permission that is missing."""
    # Not under tmp_path, whose parents another user may not enter: root may write anywhere and has to be another one.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        answer = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(folder / "log.db")], capture_output=True, text=True, check=True
        )
        assert "this user needs to write the file and its folder" in answer.stdout
        assert list(folder.iterdir()) == []


async def test_a_lock_that_is_held_too_long_is_told_and_passes(tmp_path: Path) -> None:
    """A send waits lock_timeout for another process's lock, raises BrokerUnavailable, and works once it is free."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path, lock_timeout=0.1) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        producer = await broker.producer()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answers = await asyncio.gather(
            *(producer.send(Outgoing(topic="orders", value=b"")) for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [BrokerUnavailable] * 3
        assert "locked by another process" in str(answers[0])
        assert await broker.end_offsets([ORDERS]) == {ORDERS: 0}
        other.execute("ROLLBACK")
        other.close()
        assert await producer.send(Outgoing(topic="orders", value=b"")) == (0, 0)


async def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    """When the file can't grow a send raises BrokerUnavailable; what was acknowledged stays, and later sends work."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        producer = await broker.producer()
        await producer.send(Outgoing(topic="orders", value=b"kept"))

        def limit(db: sqlite3.Connection, pages: int) -> None:
            db.execute(f"PRAGMA max_page_count={pages}")

        await broker._writer.run(limit, 30)
        with pytest.raises(BrokerUnavailable, match="disk is full"):
            await producer.send(Outgoing(topic="orders", value=b"x" * 500_000))
        assert await broker.end_offsets([ORDERS]) == {ORDERS: 1}
        await broker._writer.run(limit, 1_000_000)
        assert await producer.send(Outgoing(topic="orders", value=b"x" * 500_000)) == (0, 1)


async def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    """Pages overwritten with noise raise BrokerRefused that says so; it is not taken for an empty log."""
    path = tmp_path / "log.db"
    async with EmbeddedBroker(path) as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        await send_all(await broker.producer(), "orders", [b"x" * 100_000])
    content = bytearray(path.read_bytes())
    content[4096 : 20 * 4096] = b"\xa5" * (19 * 4096)
    path.write_bytes(content)
    with pytest.raises(BrokerRefused, match="damaged"):
        await EmbeddedBroker(path).__aenter__()
