"""A broker that is gone for a while."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from bench import Bench, until

from bindings import Reject, on_stream
from dispatcher.errors import BrokerUnavailable


class Line:
    """The line to a broker, which a test may cut: each call that goes over it then fails as it does in an outage.

    Only failures are made up here; the broker behind it is a real one.
    """

    def __init__(self, target: Any, line: Line | None = None) -> None:
        self._target = target
        self._line = line or self
        self.cut: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            if name in self._line.cut:
                # As long as a short time-out: a caller that asks again at once must not keep the loop busy.
                await asyncio.sleep(0.01)
                raise BrokerUnavailable(f"can't {name}: the line is cut")
            answer = await found(*args, **kwargs)
            return Line(answer, self._line) if name == "producer" else answer

        if name == "consumer":
            return lambda *args, **kwargs: Line(found(*args, **kwargs), self._line)
        return found if name in {"seek", "position", "close"} else call


ALL = {"fetch", "commit", "send", "start", "committed", "end_offsets", "beginning_offsets", "describe"}


@pytest.fixture
def line(bench: Bench) -> Line:
    """The bench's line to its broker."""
    line = Line(bench.broker)
    bench.broker = line  # type: ignore[assignment]
    return line


async def test_an_outage_loses_nothing(bench: Bench, line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """The broker is gone while events are handled: the worker says so, tries again, and goes on when it is back; every
    event is handled, those that were committed before not again."""
    stream = await bench.stream(partitions=2)
    await bench.send(stream, ((b"k%d" % number, b"%d" % number) for number in range(300)))
    calls: Counter[bytes] = Counter()

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        await asyncio.sleep(0)
        calls[value] += 1

    async with bench.running(handle, max_poll_records=20) as worker:
        await until(lambda: worker.statistics().done == 300)
        for partition in (0, 1):
            id_end = (await bench.broker.end_offsets([(stream, partition)]))[stream, partition]  # type: ignore[list-item,index]
            async with asyncio.timeout(10):
                while (await bench.committed(handle, stream, partition)) != (id_end, ""):
                    await asyncio.sleep(0.01)
        line.cut = ALL
        await until(lambda: "the broker is gone" in caplog.text, "the outage to be noticed")
        line.cut = set()
        await bench.send(stream, ((b"k%d" % number, b"%d" % number) for number in range(300, 600)))
        await until(lambda: len(calls) == 600, "all to be handled")
    assert calls == {b"%d" % number: 1 for number in range(600)}


async def test_commits_that_fail_are_made_up_for(bench: Bench, line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """When only commits fail events are handled all the same; the log says so, and the next commit holds all."""
    stream = await bench.stream()

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        pass

    async with bench.running(handle) as worker:
        line.cut = {"commit"}
        await bench.send(stream, ((b"k", b"x") for _ in range(50)))
        await until(lambda: worker.statistics().done == 50)
        await until(lambda: "could not commit" in caplog.text)
        line.cut = set()
    assert await bench.committed(handle, stream) == (50, "")


async def test_a_dead_letter_outlives_an_outage(bench: Bench, line: Line) -> None:
    """While nothing can be produced the event of a dead letter waits, and nothing is committed past it; when sends succeed
    again it is written."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"poison"), (b"b", b"good")])

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        if value == b"poison":
            raise Reject("bad")

    line.cut = {"send"}
    async with bench.running(handle) as worker:
        await until(lambda: worker.statistics().done == 1)
        commit = await bench.committed(handle, stream)
        assert commit is not None
        assert commit.offset == 0
        line.cut = set()
        await until(lambda: worker.statistics().dead_lettered == 1)
    assert await bench.committed(handle, stream) == (2, "")
    assert [letter.value for letter in await bench.read(f"{stream}.handle.dead")] == [b"poison"]


async def test_a_broker_that_is_not_there_at_the_start_is_an_error(bench: Bench, line: Line) -> None:
    """A worker that has never joined does not wait for ever: it ends with the broker's error."""
    stream = await bench.stream()

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        pass

    line.cut = ALL
    with pytest.raises(BrokerUnavailable, match="the line is cut"):
        await bench.catch_up(handle)
