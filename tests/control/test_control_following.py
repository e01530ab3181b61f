"""A worker under control in this process: what a pause holds, what it bounds, and which word counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from bindings import Limits, Retry, on_stream
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.config import Settings
from dispatcher.control import Control, ControlLog, Entry, following
from dispatcher.core.retries import PauseCause, Reason
from dispatcher.worker import Worker
from tests.worker.bench import Bench, binding_of, until


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """A corner of an embedded broker, whose control is looked at often."""
    monkeypatch.setattr(following, "_INTERVAL", 0.05)
    async with EmbeddedBroker(tmp_path / "log.db", session_timeout=2.0) as broker:
        yield Bench(broker, None)


def said(action: str) -> Entry:
    """What an operator says."""
    return Entry(function="handle", action=action, by="ops", at=1)  # type: ignore[arg-type]


async def test_a_paused_function_holds_bounded_memory_and_its_membership(bench: Bench) -> None:
    """With a backlog of 5,000 events and room for 100, a paused function holds no more than that, stays the one member of its
    group past the session timeout, commits nothing, and handles all once it is resumed, each once."""
    stream = await bench.stream()
    await bench.send(stream, [(b"%d" % (n % 50), b"%d" % n) for n in range(5_000)])
    log = ControlLog(bench.broker, bench.app)
    await log.write(said("pause"))
    seen: list[bytes] = []

    @on_stream(stream, limits=Limits(held_events=100))
    async def handle(value: bytes) -> None:
        seen.append(value)

    control = Control(bench.broker, bench.app)
    settings = Settings(commit_interval=0.05, max_poll_records=20)
    worker = Worker(binding_of(handle), bench.broker, app=bench.app, settings=settings)
    async with control.following([worker]):
        task = asyncio.create_task(worker.run())
        await until(lambda: worker.statistics().waiting >= 100, "what it may hold")
        end = asyncio.get_running_loop().time() + 3.0  # the session timeout and half of it again
        while asyncio.get_running_loop().time() < end:
            assert worker.statistics().waiting <= 120
            assert await bench.broker.group_members(f"{bench.app}.handle") == 1
            await asyncio.sleep(0.1)
        assert (seen, worker.statistics().state) == ([], "paused")
        commit = await bench.committed(handle, stream)
        assert commit is not None
        assert commit.offset == 0
        await log.write(said("resume"))
        await until(lambda: worker.statistics().done == 5_000, "all")
        worker.stop()
        await task
    assert sorted(map(int, seen)) == list(range(5_000))


async def test_nothing_is_delivered_before_the_stream_was_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the control stream is there and can't be read, nothing begins, and the log says why; then the worker is told
    before anything is entered."""
    log = ControlLog(bench.broker, bench.app)
    await log.write(said("pause"))
    stream = await bench.stream()

    @on_stream(stream)
    async def handle(value: bytes) -> None: ...

    worker = bench.worker(handle)
    async with EmbeddedBroker(Path(bench.broker.url.partition(":")[2])) as broken:
        pass  # one that was closed answers nothing
    control = Control(broken, bench.app)
    entered = asyncio.Event()

    async def follow() -> None:
        async with control.following([worker]):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(follow())
    await until(lambda: "can't be read" in caplog.text, "the warning")
    assert not entered.is_set()
    control._log._broker = bench.broker  # it is back
    await until(entered.is_set, "the begin")
    assert worker._scheduler.gate.paused
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_older_word_does_not_resume_what_has_just_paused_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resume that was said before a function paused itself, and is read after, lets nothing go on; one said later does."""
    stream = await bench.stream()
    seen: list[bytes] = []

    @on_stream(stream, retry=Retry(max_attempts=1, then="pause"))
    async def handle(value: bytes) -> None:
        seen.append(value)
        if len(seen) == 1:
            raise ValueError("no")

    log, control = ControlLog(bench.broker, bench.app), Control(bench.broker, bench.app)
    worker = Worker(
        binding_of(handle),
        bench.broker,
        app=bench.app,
        settings=Settings(commit_interval=0.05),
        on_pause=partial(control.paused_itself, "handle"),
    )
    # It looks only when a function has paused itself: what is said before is unread then.
    monkeypatch.setattr(following, "_INTERVAL", 3600.0)
    async with control.following([worker]):
        task = asyncio.create_task(worker.run())
        await log.write(said("pause"))
        await log.write(said("resume"))
        await bench.send(stream, [(None, b"x")])
        await until(lambda: worker.statistics().state == "paused", "the pause")
        monkeypatch.setattr(following, "_INTERVAL", 0.05)
        control._wake.set()  # it may be in the long wait already
        async with asyncio.timeout(20):
            while log.trail.last("handle") is None or log.trail.paused("handle") is None:
                await log.look()
                await asyncio.sleep(0.02)
        assert [each.action for each in log.trail.history("handle")] == ["pause", "resume", "pause"]
        await asyncio.sleep(0.3)  # six looks
        assert (seen, worker.statistics().state) == ([b"x"], "paused")
        await log.write(said("resume"))
        await until(lambda: worker.statistics().done == 1, "the event")
        worker.stop()
        await task


async def test_a_pause_of_its_own_is_written_even_at_the_end(bench: Bench) -> None:
    """A function that pauses itself as its process ends, as a run until caught up does, has it in the stream."""
    control = Control(bench.broker, bench.app)
    cause = PauseCause(
        stream="s", partition=0, offset=1, reason=Reason.EXPIRED, attempts=1, error_type="E", message="m"
    )
    async with control.following([]):
        control.paused_itself("handle", cause)
    log = ControlLog(bench.broker, bench.app)
    await log.look()
    found = log.trail.paused("handle")
    assert found is not None
    assert found.event == cause
    assert found.who.startswith("itself (")
