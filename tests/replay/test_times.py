"""The time language."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.times import Position, offsets_at, parse_moment, parse_position

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("-2h", NOW - timedelta(hours=2)),
        ("-90s", NOW - timedelta(seconds=90)),
        ("-1.5d", NOW - timedelta(hours=36)),
        ("-250ms", NOW - timedelta(milliseconds=250)),
        ("2026-02-01T00:00:00Z", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-01T02:00+02:00", datetime(2026, 2, 1, tzinfo=UTC)),
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("now", "latest"),
        ("@0", 0),
        ("@1200", 1200),
    ],
)
def test_a_place_is_read(text: str, meant: Position) -> None:
    """Each word of the language means one place."""
    assert parse_position(text, now=NOW) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yesterday", "earliest, now or @OFFSET"),
        ("", "ISO 8601"),
        ("-2x", "-2h"),
        ("-0s", "more than 0"),
        ("2026-02-01", "2026-02-01T00:00Z or"),
        ("2026-02-01T00:00:00", "no time zone"),
        ("@", "@1200"),
        ("@-1", "@1200"),
        ("@1_0", "@1200"),
        ("@\u0663", "@1200"),
        ("2h", "-2h"),
    ],
)
def test_what_is_no_place_is_said_with_what_would_be(text: str, said: str) -> None:
    """A wrong word is an error that shows a right one."""
    with pytest.raises(ValueError, match=r"^'") as caught:
        parse_position(text, now=NOW)
    assert said in str(caught.value)


def test_a_time_is_no_offset() -> None:
    """--since and --until take times alone; now is this moment, earliest is before all that there is."""
    assert parse_moment("-2h", now=NOW) == NOW - timedelta(hours=2)
    assert parse_moment("now", now=NOW) == NOW
    assert parse_moment("earliest", now=NOW).year == 1970
    with pytest.raises(ValueError, match="takes a time"):
        parse_moment("@12")


async def test_a_place_is_an_offset_in_each_partition(tmp_path: Path) -> None:
    """Times are looked up in the log, offsets are kept within it, and a time past its end is its end."""
    partitions = [TopicPartition("orders", number) for number in range(2)]
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=2))
        producer = await broker.producer()
        for number in range(10):
            await producer.send(Outgoing(topic="orders", value=b"", partition=0, timestamp=1_000 * number))
        await producer.close()

        async def at(position: Position, among: Collection[Any] = partitions) -> list[int]:
            return list((await offsets_at(broker, among, position)).values())

        assert await at("earliest") == [0, 0]
        assert await at("latest") == [10, 0]
        assert await at(4) == [4, 0]
        assert await at(99) == [10, 0]
        assert await at(datetime.fromtimestamp(4.5, UTC)) == [5, 0]
        assert await at(NOW) == [10, 0]
