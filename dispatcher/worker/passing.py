"""Runs events that nobody has admitted, as long as no invocation of them waits.

The function is awaited as ever, in the runner's own task. What is new is that its first suspension is noticed before
anybody else runs: then, and for all that does not simply end with None, the events are taken from the scheduler after all.
See :mod:`dispatcher.core.stretch` for what that saves.
"""

from __future__ import annotations

import contextvars
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from operator import length_hint
from typing import Any, TypeVar, cast

from bindings import Binding
from dispatcher.core.delivery import Delivery
from dispatcher.core.record import Record
from dispatcher.core.scheduler import Scheduler
from dispatcher.core.stretch import Part, Stretch

T = TypeVar("T")

__all__ = ["Ended", "Passing", "until_it_waits"]

# Seconds that a runner goes on before it lets the loop turn: heartbeats and fetches wait for it.
LONGEST_TURN = 0.005


@dataclass(slots=True)
class Ended:
    """An invocation that was more than a plain end.

    Attributes:
        started: when it began.
        items: what the function was handed; None when the events could not be decoded, so that it was not called.
        returned: what it returned.
        error: what it raised.
        batch: its events, in flight.
    """

    started: float
    items: Sequence[Any] | None
    returned: object = None
    error: BaseException | None = None
    batch: Sequence[Delivery] = ()


@types.coroutine
def until_it_waits(coroutine: Coroutine[Any, Any, T], waits: Callable[[], object]) -> Generator[Any, Any, T]:
    """Await the coroutine, and call ``waits`` before its first suspension reaches the event loop.

    PEP 380's ``yield from``, by hand as far as an event loop has it.
    """
    try:
        yielded = coroutine.send(None)
        waits()
        while True:
            try:
                sent = yield yielded
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                yielded = coroutine.throw(error)
            else:
                yielded = coroutine.send(sent)
    except StopIteration as end:
        return cast(T, end.value)


class Passing:
    """Runs stretches of a local async function that takes bare values: one, or a list of them.

    Args:
        binding: the function.
        scheduler: hands out stretches.
        clock: of the event loop.
        in_flight: told of events that turned out to wait, and of when their invocation began.
    """

    def __init__(
        self,
        binding: Binding,
        scheduler: Scheduler,
        clock: Callable[[], float],
        in_flight: Callable[[Any, Sequence[Delivery] | Delivery, float], None],
    ) -> None:
        signature = binding.signature
        self._function = binding.function
        self._is_batch = signature.batch
        self._decode = signature.decode_bytes
        self._decode_null = signature.decode
        self._scheduler = scheduler
        self._counters = scheduler.counters
        self._clock = clock
        self._in_flight = in_flight

    def begin(
        self, now: float, runner: Any, clean: contextvars.Context, *, until: float
    ) -> Coroutine[Any, Any, Ended | None] | None:
        """Begin on what may pass now, when there is anything.

        Args:
            now: the clock's time.
            runner: whose task this is.
            clean: the task's context before any event.
            until: when the loop is to turn; one event, or one batch, runs all the same.

        Returns:
            To be awaited: what the last invocation came to, or None when all that were run are done.
        """
        if self._is_batch:
            parts = self._scheduler.begin_batch(now)
            return None if parts is None else self._batch(parts, runner, clean)
        stretch = self._scheduler.begin(now)
        return None if stretch is None else self._one_by_one(stretch, runner, clean, until)

    async def _one_by_one(
        self, stretch: Stretch, runner: Any, clean: contextvars.Context, until: float
    ) -> Ended | None:
        scheduler, function, decode, clock = self._scheduler, self._function, self._decode, self._clock
        durations, context, cancelling = self._counters.durations, contextvars.copy_context, runner.task.cancelling
        counts, shortest = durations.counts, durations.bounds[0]
        records = stretch.records
        left = iter(records)
        delivery: Delivery | None = None
        started = 0.0

        def begun() -> int:
            return len(records) - length_hint(left)

        def waits() -> None:
            nonlocal delivery
            delivery = scheduler.break_off(stretch, begun() - 1)
            self._in_flight(runner, delivery, started)

        async def run() -> Ended | None:
            nonlocal started
            now = clock()
            for record in left:
                started = now
                try:
                    raw = record.value
                    value = decode(raw) if raw is not None else self._decode_null(None)
                except Exception:  # noqa: BLE001 - users' validators may raise anything
                    return Ended(started, None)
                try:
                    returned = await function(value)
                except BaseException as error:  # noqa: BLE001 - the runner raises again what may pass
                    return Ended(started, (value,), error=error)
                # One look at the clock an event: the end of this invocation is the beginning of the next.
                now = clock()
                elapsed = now - started
                if delivery is not None or returned is not None or cancelling() or context() != clean:
                    return Ended(started, (value,), returned)
                if elapsed <= shortest:
                    counts[0] += 1
                    durations.total += elapsed
                else:
                    durations.observe(elapsed)
                if now > until:
                    break
            return None

        ended = await until_it_waits(run(), waits)
        if ended is None:
            scheduler.passed(stretch, begun())
            return None
        ended.batch = (delivery or scheduler.break_off(stretch, begun() - 1),)
        return ended

    async def _batch(self, parts: Sequence[Part], runner: Any, clean: contextvars.Context) -> Ended | None:
        scheduler, decode, null, clock = self._scheduler, self._decode, self._decode_null, self._clock
        started = clock()
        batch: list[Delivery] = []

        def waits() -> None:
            batch.extend(scheduler.break_off_batch(parts))
            self._in_flight(runner, batch, started)

        async def run() -> Ended | None:
            try:
                items = [decode(raw) if (raw := record.value) is not None else null(None) for record in _records(parts)]
            except Exception:  # noqa: BLE001 - users' validators may raise anything
                return Ended(started, None)
            try:
                returned = await self._function(items)
            except BaseException as error:  # noqa: BLE001 - the runner raises again what may pass
                return Ended(started, items, error=error)
            if batch or returned is not None or runner.task.cancelling() or contextvars.copy_context() != clean:
                return Ended(started, items, returned)
            return None

        ended = await until_it_waits(run(), waits)
        if ended is None:
            self._counters.durations.observe(clock() - started)
            self._counters.batch_sizes.observe(sum(count for _, count in parts))
            scheduler.passed_batch(parts)
            return None
        ended.batch = batch or scheduler.break_off_batch(parts)
        return ended


def _records(parts: Sequence[Part]) -> Sequence[Record]:
    if len(parts) == 1 and parts[0][1] == len(parts[0][0].records):
        return parts[0][0].records
    return [record for stretch, count in parts for record in stretch.records[:count]]
