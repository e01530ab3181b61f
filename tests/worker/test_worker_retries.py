"""What becomes of an event that fails."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bench import Bench, header, on_both, reason, until

from bindings import Context, Event, Reject, Retry, on_stream
from dispatcher.core.record import Outgoing
from dispatcher.errors import DispatchError


async def test_a_failing_event_holds_its_own_key_and_nothing_else(bench: Bench) -> None:
    """While an event waits for its next attempt, the later events of its key wait behind it, and all others pass."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"a1"), (b"b", b"b1"), (b"a", b"a2"), (b"b", b"b2"), (b"c", b"c1")])
    heal, seen = asyncio.Event(), []

    @on_stream(stream, retry=Retry(max_attempts=1_000, initial=0.01, multiplier=1))
    async def handle(value: bytes) -> None:
        if value == b"a1" and not heal.is_set():
            raise ConnectionError("not yet")
        seen.append(value)

    async with bench.running(handle) as worker:
        await until(lambda: len(seen) == 3 and worker.statistics().retried > 3, "others to pass, and a few attempts")
        assert sorted(seen) == [b"b1", b"b2", b"c1"]
        commit = await bench.committed(handle, stream)
        assert commit is not None
        assert commit.offset == 0
        heal.set()
        await until(lambda: worker.statistics().done == 5)
    assert seen[3:] == [b"a1", b"a2"]


async def test_attempts_are_counted_and_their_waits_grow(bench: Bench) -> None:
    """The function sees the number of its attempt, each wait is as long as the policy's formula says, and after the last
    attempt the event is a dead letter."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"x")])
    attempts: list[tuple[int, float]] = []

    @on_stream(stream, retry=Retry(max_attempts=4, initial=0.05, multiplier=2, max_delay=0.1, jitter="none"))
    async def fail(value: bytes, context: Context) -> None:
        attempts.append((context.attempt, time.monotonic()))
        raise ValueError("always")

    statistics = await bench.catch_up(fail)

    assert [number for number, _ in attempts] == [1, 2, 3, 4]
    waits = [after - before for (_, before), (_, after) in itertools.pairwise(attempts)]
    assert [wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.1), strict=True)] == [True] * 3
    assert (statistics.retried, statistics.dead_lettered, statistics.done) == (3, 1, 0)
    (letter,) = await bench.read(f"{stream}.fail.dead")
    assert reason(letter) == "attempts"
    assert header(letter, "dispatch-dead-attempts") == b"4"


@on_both
async def test_a_dead_letter_is_the_event_as_it_was(bench: Bench) -> None:
    """A dead letter has the key, the value and the headers of its event byte for byte (names that come twice, values
    that are no text, no value at all), and headers that say where it came from and why it is there."""
    stream = await bench.stream(partitions=2)
    headers = (("a", b"1"), ("a", b"\xff\xfe\x00"), ("none", None), ("", b""), ("naïve", "ü".encode()))
    sent = int(time.time() * 1000) - 5_000
    events = [
        Outgoing(
            topic=stream, key=b"\x00\xffkey", value=b"\xff\x00value", headers=headers, partition=1, timestamp=sent
        ),
        Outgoing(topic=stream, key=None, value=None, headers=headers, partition=1, timestamp=sent),
        Outgoing(topic=stream, key=b"", value=b"", partition=1, timestamp=sent),
    ]
    await bench.send(stream, events)

    @on_stream(stream, retry=Retry(max_attempts=2, initial=0.0))
    async def refuse(value: Event[bytes | None]) -> None:
        raise LookupError("no \udcff such \u00e4ccount")

    began = int(time.time() * 1000)
    statistics = await bench.catch_up(refuse)

    letters = await bench.read(f"{stream}.refuse.dead")
    assert statistics.dead_lettered == len(letters) == 3
    by_offset = {int(header(letter, "dispatch-dead-offset") or b""): letter for letter in letters}
    for offset, event in enumerate(events):
        letter = by_offset[offset]
        assert (letter.key, letter.value) == (event.key, event.value)
        assert tuple(letter.headers[: len(event.headers)]) == event.headers
        facts = {
            name.removeprefix("dispatch-dead-"): (value or b"").decode()
            for name, value in letter.headers[len(event.headers) :]
        }
        first, last = int(facts.pop("first-failure")), int(facts.pop("last-failure"))
        assert began - 1 <= first <= last <= int(time.time() * 1000) + 1
        assert facts == {
            "stream": stream,
            "partition": "1",
            "offset": str(offset),
            "timestamp": str(sent),
            "function": "refuse",
            "reason": "attempts",
            "error-type": "LookupError",
            "error-message": "no ? such \u00e4ccount",
            "attempts": "2",
            "redrives": "0",
            "place": f"{Path(__file__).name}:{refuse.__qualname__}",
        }


async def test_a_function_chooses_when_it_is_called_again(bench: Bench) -> None:
    """Raise Retry.after(seconds) overrides the policy's wait, and is an attempt like any other."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"x")])
    times: list[float] = []

    @on_stream(stream, retry=Retry(max_attempts=3, initial=600.0, jitter="none"))
    async def later(value: bytes) -> None:
        times.append(time.monotonic())
        raise Retry.after(0.05, "busy")

    await bench.catch_up(later)

    assert len(times) == 3
    assert all(after - before >= 0.05 for before, after in itertools.pairwise(times))
    (letter,) = await bench.read(f"{stream}.later.dead")
    assert header(letter, "dispatch-dead-error-message") == b"busy"


async def test_some_errors_are_given_up_at_once(bench: Bench) -> None:
    """Reject, give_up_on and what is not in retry_on are dead letters after one attempt, with the reason; an error in
    both lists is given up."""
    stream = await bench.stream()
    errors = {
        b"rejected": Reject("never"),
        b"given up": FileNotFoundError("gone"),
        b"not listed": KeyError("k"),
        b"retried": OSError("again"),
    }
    await bench.send(stream, ((value, value) for value in errors))
    attempts: dict[bytes, int] = defaultdict(int)

    @on_stream(stream, retry=Retry(max_attempts=3, initial=0.0, retry_on=(OSError,), give_up_on=(FileNotFoundError,)))
    async def fail(value: bytes) -> None:
        attempts[value] += 1
        raise errors[value]

    await bench.catch_up(fail)

    assert attempts == {b"rejected": 1, b"given up": 1, b"not listed": 1, b"retried": 3}
    letters = {letter.value: letter for letter in await bench.read(f"{stream}.fail.dead")}
    assert {value: reason(letter) for value, letter in letters.items()} == {
        b"rejected": "rejected",
        b"given up": "not_retryable",
        b"not listed": "not_retryable",
        b"retried": "attempts",
    }
    assert header(letters[b"rejected"], "dispatch-dead-error-message") == b"never"


async def test_an_event_that_is_too_old_is_not_tried_again(bench: Bench) -> None:
    """Past Retry(max_age) an event is a dead letter, before its first attempt when it is that old already, and instead of
    an attempt that would come too late."""
    stream = await bench.stream()
    old = int(time.time() * 1000) - 3_600_000
    await bench.send(
        stream,
        [
            Outgoing(topic=stream, key=b"a", value=b"old", timestamp=old),
            Outgoing(topic=stream, key=b"b", value=b"young"),
        ],
    )
    seen = []

    @on_stream(stream, retry=Retry(max_attempts=10, initial=1_000.0, jitter="none", max_delay=1_000.0, max_age=600.0))
    async def fail(value: bytes) -> None:
        seen.append(value)
        raise ValueError("no")

    await bench.catch_up(fail)

    assert seen == [b"young"]
    letters = await bench.read(f"{stream}.fail.dead")
    assert {letter.value: reason(letter) for letter in letters} == {b"old": "expired", b"young": "expired"}
    assert {letter.value: header(letter, "dispatch-dead-attempts") for letter in letters} == {
        b"old": b"0",
        b"young": b"1",
    }


async def test_what_is_dropped_is_counted(bench: Bench) -> None:
    """Retry(then="drop") leaves no dead letter and no dead-letter topic: the event is counted as dropped, and the offset
    moves past it."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"bad"), (b"k", b"good")])

    @on_stream(stream, retry=Retry(max_attempts=2, initial=0.0, then="drop"))
    async def handle(value: bytes) -> None:
        if value == b"bad":
            raise ValueError("no")

    statistics = await bench.catch_up(handle)

    assert (statistics.dropped, statistics.done, statistics.dead_lettered) == (1, 1, 0)
    assert await bench.broker.describe(f"{stream}.handle.dead") is None
    commit = await bench.committed(handle, stream)
    assert commit is not None
    assert commit.offset == 2


async def test_what_is_dropped_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is dropped silently: the log names the event and the error."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"secret payload")])

    @on_stream(stream, retry=Retry(max_attempts=1, then="drop"))
    async def handle(value: bytes) -> None:
        raise ValueError("no such account")

    await bench.catch_up(handle)

    said = [record.getMessage() for record in caplog.records if f"{stream}/0@0" in record.getMessage()]
    assert said
    assert "ValueError" in said[0]
    assert "secret payload" not in caplog.text


async def test_a_function_that_pauses_goes_on_after_resume(bench: Bench) -> None:
    """Retry(then="pause"): when an event's attempts are used up nothing more starts, nothing is committed past it, and
    resume() tries it again and goes on in order."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"1"), (b"k", b"2")])
    heal, seen = asyncio.Event(), []

    @on_stream(stream, retry=Retry(max_attempts=2, initial=0.01, then="pause"))
    async def handle(value: bytes) -> None:
        if not heal.is_set():
            raise ValueError("no")
        seen.append(value)

    async with bench.running(handle) as worker:
        await until(lambda: worker.statistics().state == "paused", "the function to pause")
        await bench.send(stream, [(b"other", b"3")])
        await until(lambda: worker.statistics().consumed == 3)
        assert seen == []
        commit = await bench.committed(handle, stream)
        assert commit is not None
        assert commit.offset == 0
        heal.set()
        worker.resume()
        await until(lambda: worker.statistics().done == 3)
        assert worker.statistics().state == "running"
    assert sorted(seen) == [b"1", b"2", b"3"]
    assert seen.index(b"1") < seen.index(b"2")


async def test_a_paused_function_ends_a_run_until_caught_up_with_an_error(bench: Bench) -> None:
    """--until-caught-up can't wait for an operator: it ends with an error, and the next run delivers the event again."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"1")])
    heal, seen = asyncio.Event(), []

    @on_stream(stream, retry=Retry(max_attempts=2, initial=0.01, then="pause"))
    async def handle(value: bytes) -> None:
        if not heal.is_set():
            raise ValueError("no")
        seen.append(value)

    with pytest.raises(DispatchError, match="paused itself"):
        await bench.catch_up(handle)
    heal.set()
    await bench.catch_up(handle)
    assert seen == [b"1"]


async def test_an_event_from_the_future_is_an_event_like_any_other(bench: Bench) -> None:
    """A timestamp two days ahead is neither too old nor a reason to wait, also where max_age is set."""
    stream = await bench.stream()
    ahead = int(time.time() * 1000) + 2 * 86_400_000
    await bench.send(stream, [Outgoing(topic=stream, key=b"k", value=b"x", timestamp=ahead)])
    attempts: list[datetime] = []

    @on_stream(stream, retry=Retry(max_attempts=3, initial=0.0, max_age=60.0))
    async def handle(event: Event[bytes], context: Context) -> None:
        attempts.append(event.timestamp)
        if context.attempt < 3:
            raise ValueError("again")

    statistics = await bench.catch_up(handle)

    assert statistics.done == 1
    assert attempts == [datetime.fromtimestamp(ahead / 1000, UTC)] * 3


async def test_an_event_whose_wait_is_over_does_not_stand_behind_thousands(bench: Bench) -> None:
    """The next attempt comes when its wait is over, not when all that was fetched meanwhile is done: until then it holds
    the commit."""
    stream = await bench.stream()
    await bench.send(stream, ((b"k%d" % number, b"%d" % number) for number in range(2_000)))
    order = []

    @on_stream(stream, concurrency=1, retry=Retry(initial=0.01, jitter="none"))
    async def handle(value: bytes, context: Context) -> None:
        if value == b"0" and context.attempt == 1:
            raise ValueError("once")
        order.append(value)
        await asyncio.sleep(0.0005)

    await bench.catch_up(handle)
    assert order.index(b"0") < 500
