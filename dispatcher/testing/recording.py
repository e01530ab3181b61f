"""A binding whose calls are recorded: everything else of it stays as it is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bindings import BatchFailures, Binding, Event
from bindings.calling import caller_of
from bindings.context import InvocationContext
from bindings.errors import InvalidOutcome
from bindings.results import failures_of, named_failures
from dispatcher.clock import Clock
from dispatcher.testing.log import MemoryRecord
from dispatcher.testing.records import Call, StoredEvent
from dispatcher.testing.threads import Sleepers

__all__ = ["Recorder"]


class Recorder:
    """Keeps the calls of all functions, in the order of their starts.

    Args:
        now: virtual seconds since the test began.

    Attributes:
        calls: what was called so far.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.calls: list[Call] = []
        self.now = now
        self._turns = itertools.count(1)
        self._lock = threading.Lock()

    def begin(self, binding: Binding, member: int, events: Sequence[Event[Any]], attempt: int) -> Call:
        """Take note of a call that starts."""
        with self._lock:
            call = Call(
                function=binding.name,
                member=member,
                events=tuple(StoredEvent.handed(event) for event in events),
                attempt=attempt,
                started=self.now(),
            )
            call.begin(next(self._turns))
            self.calls.append(call)
        return call

    def end(self, call: Call) -> None:
        """Take note of its end."""
        with self._lock:
            call.ended = self.now()
            call.finish(next(self._turns))

    def recorded(self, binding: Binding, member: int, clock: Clock, sleepers: Sleepers) -> Binding:
        """The binding, as a member of the group runs it in a test.

        It is always handed events and a context, so that a call is known to be of those events, and hands on what the
        function itself takes.
        """
        function = _Recorded(binding, member, self, clock, sleepers)
        signature = replace(binding.signature, wants_event=True, context="context", context_first=False)
        return replace(
            binding,
            function=function.call_async if binding.signature.is_async else function.call_sync,
            signature=signature,
        )


class _Recorded:
    """One function of one member."""

    def __init__(self, binding: Binding, member: int, recorder: Recorder, clock: Clock, sleepers: Sleepers) -> None:
        self._binding = binding
        self._member = member
        self._recorder = recorder
        self._clock = clock
        self._sleepers = sleepers
        self._call = caller_of(binding.function, binding.signature)

    async def call_async(self, argument: Any, *, context: InvocationContext) -> Any:
        """What runs instead of an async function."""
        with self._recording(argument, context) as (call, handed, virtual):
            call.returned = await self._call(handed, virtual)
        return call.returned

    def call_sync(self, argument: Any, *, context: InvocationContext) -> Any:
        """What runs instead of a sync function, in a thread."""
        with self._sleepers.here(), self._recording(argument, context) as (call, handed, virtual):
            call.returned = self._call(handed, virtual)
        return call.returned

    @contextlib.contextmanager
    def _recording(self, argument: Any, context: InvocationContext) -> Iterator[tuple[Call, Any, InvocationContext]]:
        signature = self._binding.signature
        events: Sequence[Event[Any]] = argument if signature.batch else [argument]
        items = events if signature.wants_event else [event.value for event in events]
        call = self._recorder.begin(self._binding, self._member, events, context.attempt)
        expires = self._clock.monotonic() + self._binding.timeout
        every = range(len(events))
        failures: Mapping[int, BaseException] = {}
        try:
            yield call, items if signature.batch else items[0], VirtualContext(context, self._binding, self._clock)
            failures = failures_of(call.returned, [_record(event) for event in events])
        except InvalidOutcome as error:
            # What is returned cannot be read, and the dispatcher will find that too.
            call.error, failures = error, dict.fromkeys(every, error)
        except BatchFailures as error:
            call.error, failures = error, dict.fromkeys(every, error)
            with contextlib.suppress(InvalidOutcome):
                failures = named_failures(error, items)
                # By index: the function names the items that it was handed, and the dispatcher has handed over others.
                raise BatchFailures(dict(failures.items())) from error
            raise
        except BaseException as error:
            is_late = isinstance(error, asyncio.CancelledError) and self._clock.monotonic() >= expires
            call.error = TimeoutError(f"took longer than {self._binding.timeout:g} s") if is_late else error
            failures = dict.fromkeys(every, call.error)
            raise
        finally:
            if not signature.is_async and self._clock.monotonic() > expires:
                # Nobody waits for what an abandoned thread comes to.
                call.error = TimeoutError(f"took longer than {self._binding.timeout:g} s")
                failures = dict.fromkeys(every, call.error)
            call.failures = {call.events[index]: reason for index, reason in failures.items()}
            self._recorder.end(call)


class VirtualContext(InvocationContext):
    """The context of a delivery whose clock is a test's."""

    __slots__ = ("_clock",)

    def __init__(self, context: InvocationContext, binding: Binding, clock: Clock) -> None:
        super().__init__(binding.name, context.event_id, context.attempt, binding.timeout, binding.emits)
        self._clock = clock
        self._expires = clock.monotonic() + binding.timeout
        self.emitted = context.emitted

    @property
    def deadline(self) -> datetime:
        """When the attempt times out, by the test's clock."""
        return datetime.fromtimestamp(self._clock.wall() + self.remaining(), UTC)

    def remaining(self) -> float:
        """Seconds until the deadline; negative past it."""
        return self._expires - self._clock.monotonic()


def _record(event: Event[Any]) -> MemoryRecord:
    return MemoryRecord(
        event.stream, event.partition, event.offset, event.timestamp_ms, event.key, event.raw, event.headers
    )
