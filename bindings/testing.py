"""Test a function with events, and no dispatcher, broker or clock.

What is given goes the way of a real event: it is made bytes, decoded as the function's annotation says and
handed over; what the function returns, raises and emits is read as the dispatcher reads it.

>>> from bindings import Context, Reject, Retry, on_stream
>>> from bindings.testing import invoke
>>> from pydantic import BaseModel
>>> class Order(BaseModel):
...     household: str
...     total: float
>>> @on_stream("orders.enriched", emits="limits.breached")
... def check_limit(order: Order, context: Context) -> dict | None:
...     if order.total < 0:
...         raise Reject("a negative total")
...     if order.total > 1_000 and context.attempt == 1:
...         raise Retry.after(30)
...     return {"household": order.household} if order.total > 100 else None
>>> result = invoke(check_limit, Order(household="h1", total=250.0))
>>> result.outcome, [emit.value for emit in result.emitted]
('done', [{'household': 'h1'}])
>>> result = invoke(check_limit, {"household": "h1", "total": -1}, key="h1")
>>> result.outcome, str(result.error)
('reject', 'a negative total')
>>> invoke(check_limit, {"household": "h1", "total": 5_000}).retry_after
30.0
>>> invoke(check_limit, {"household": "h1", "total": 5_000}, attempt=2).outcome
'done'
>>> invoke(check_limit, b"not JSON").outcome
'reject'

A batch function is given a list:

>>> from bindings import BatchFailures
>>> @on_stream("orders.enriched")
... async def confirm(orders: list[Order]) -> None:
...     raise BatchFailures({1: "no such household"})
>>> [each.outcome for each in invoke(confirm, [{"household": h, "total": 1} for h in "abc"]).events]
['done', 'failed', 'done']

``where=`` is not evaluated and ``timeout=`` not enforced: those are the dispatcher's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from bindings.binding import Binding
from bindings.calling import caller_of, event_id, item_of
from bindings.context import InvocationContext
from bindings.decorator import bindings_of
from bindings.envelopes.record import WireRecord
from bindings.errors import InvalidOutcome
from bindings.event import Event
from bindings.outcome import BatchFailures, Emit, Reject, RetryAfter
from bindings.policies import Retry
from bindings.results import encode, failures_of, named_failures, results_of

__all__ = ["EventOutcome", "Invocation", "Outcome", "event", "invoke", "invoke_async"]

T = TypeVar("T")

Outcome = Literal["done", "retry", "reject", "failed"]
Headers = Mapping[str, bytes | str | None] | Iterable[tuple[str, bytes | str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOutcome:
    """What became of one event.

    Attributes:
        outcome: ``"done"``; ``"retry"``: the function asked for a later attempt; ``"reject"``: dead letters at
            once (``Reject``, an undecodable value, an error in ``Retry(give_up_on)``); ``"failed"``: one attempt
            used, the retry policy decides.
        error: why it is not done.
        retry_after: seconds that the function asked to wait.
    """

    outcome: Outcome
    error: BaseException | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What came of one invocation.

    Attributes:
        events: the outcome of each event, in order.
        returned: what the function returned.
        emitted: what would be produced to ``emits=``, in order: ``context.emit`` first, then what was returned.
            Empty unless the function succeeded.
    """

    events: tuple[EventOutcome, ...]
    returned: Any = None
    emitted: tuple[Emit, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The outcome of the event, or that of every event of a batch.

        Raises:
            ValueError: a batch had several: look at :attr:`events`.
        """
        outcomes = {each.outcome for each in self.events}
        if len(outcomes) != 1:
            raise ValueError(f"the events of the batch fared differently, {sorted(outcomes)}: look at .events")
        return outcomes.pop()

    @property
    def error(self) -> BaseException | None:
        """The first error, or None."""
        return next((each.error for each in self.events if each.error is not None), None)

    @property
    def retry_after(self) -> float | None:
        """The first wait that was asked for, in seconds, or None."""
        return next((each.retry_after for each in self.events if each.retry_after is not None), None)


def event(
    value: T,
    *,
    key: bytes | str | None = None,
    headers: Headers = (),
    stream: str = "test",
    partition: int = 0,
    offset: int = 0,
    timestamp_ms: int = 0,
) -> Event[T]:
    """Make an event as a function would be handed it.

    Args:
        value: the decoded value; ``raw`` is made of it: bytes as they are, text as UTF-8, all else as JSON.
        key: the record's key; text is made UTF-8.
        headers: a mapping, or pairs where a name comes more than once.
        stream: the topic where it is said to be.
        partition: the partition there.
        offset: the offset there.
        timestamp_ms: milliseconds since 1970-01-01 UTC.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    made = tuple((name, _bytes(header)) for name, header in pairs)
    return Event(value, _bytes(key), made, stream, partition, offset, timestamp_ms, encode(value))


def invoke(
    function: Callable[..., Any],
    value: Any,
    *,
    key: bytes | str | None = None,
    headers: Headers = (),
    attempt: int = 1,
    name: str | None = None,
) -> Invocation:
    """Invoke a decorated function, sync or async, with one event, or with a list of them as a batch.

    What the function raises is in the result. Results that can't be emitted are a failure, as in the
    dispatcher.

    Args:
        function: what ``@on_stream`` decorated.
        value: a model, a dataclass, a dict, bytes (to test what can't be decoded), None (a tombstone) or an
            event made by :func:`event`. A list of these for a batch function.
        key: of every event that is not made by :func:`event`.
        headers: of every such event.
        attempt: which delivery it is.
        name: which binding, where the function has several.

    Raises:
        DeclarationError: the function's annotations can't be used.
        TypeError: the function is not decorated, or is handed a list where it takes one event, or not one.
        InvalidOutcome: a given value can't be made JSON.
        RuntimeError: it is async, and so is the caller: await :func:`invoke_async`.
    """
    delivery = _Delivery(_binding_of(function, name), value, key, headers, attempt)
    if delivery.binding.signature.is_async:
        if _loop_is_running():
            raise RuntimeError("an event loop is running here: await bindings.testing.invoke_async(...)")
        return asyncio.run(_run(delivery))
    try:
        return delivery.read(delivery.call())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the result
        return delivery.read_error(error)


async def invoke_async(
    function: Callable[..., Any],
    value: Any,
    *,
    key: bytes | str | None = None,
    headers: Headers = (),
    attempt: int = 1,
    name: str | None = None,
) -> Invocation:
    """Do what :func:`invoke` does, inside a running event loop."""
    delivery = _Delivery(_binding_of(function, name), value, key, headers, attempt)
    if delivery.binding.signature.is_async:
        return await _run(delivery)
    return invoke(function, value, key=key, headers=headers, attempt=attempt, name=name)


async def _run(delivery: _Delivery) -> Invocation:
    try:
        returned = delivery.call()
        return delivery.read(await returned if returned is not None else None)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the result
        return delivery.read_error(error)


class _Delivery:
    """One invocation: what is handed over, and how its result is read."""

    def __init__(self, binding: Binding, value: Any, key: bytes | str | None, headers: Headers, attempt: int) -> None:
        if binding.signature.batch is not isinstance(value, list):
            takes = "a list of events" if binding.signature.batch else "one event"
            raise TypeError(
                f"{binding.name} takes {takes}: {binding.signature.parameter}: {binding.signature.type_name}"
            )
        self.binding = binding
        stream = binding.streams[0]
        self.records: list[WireRecord] = []
        self.items: list[Any] = []
        self.outcomes: list[EventOutcome | None] = []
        for offset, each in enumerate(value if isinstance(value, list) else [value]):
            given = (
                each if isinstance(each, Event) else event(each, key=key, headers=headers, stream=stream, offset=offset)
            )
            record = WireRecord(
                given.stream, given.partition, given.offset, given.timestamp_ms, given.key, given.raw, given.headers
            )
            try:
                self.items.append(item_of(binding.signature, record))
            except Exception as error:  # noqa: BLE001 - a validator may raise anything
                self.outcomes.append(EventOutcome(outcome="reject", error=error))
            else:
                self.outcomes.append(None)
                self.records.append(record)
        first = self.records[0] if self.records else None
        id_ = event_id(first) if first else ""
        self.context = InvocationContext(binding.name, id_, attempt, binding.timeout, binding.emits)

    def call(self) -> Any:
        """Call the function with what could be decoded; None when nothing could."""
        if not self.items:
            return None
        argument = self.items if self.binding.signature.batch else self.items[0]
        return caller_of(self.binding.function, self.binding.signature)(argument, self.context)

    def read(self, returned: Any) -> Invocation:
        """Read what the function returned."""
        failures = failures_of(returned, self.records)
        results = results_of(returned) if self.binding.emits else []
        return self._settle(failures, returned, (*self.context.emitted, *results))

    def read_error(self, error: Exception | SystemExit) -> Invocation:
        """Read what the function raised."""
        if isinstance(error, BatchFailures) and self.binding.signature.batch:
            try:
                return self._settle(named_failures(error, self.items), None, tuple(self.context.emitted))
            except InvalidOutcome as invalid:
                error = invalid
        return self._settle(dict.fromkeys(range(len(self.items)), error), None, ())

    def _settle(self, failures: Mapping[int, BaseException], returned: Any, emitted: tuple[Emit, ...]) -> Invocation:
        for result in emitted:
            encode(result.value)
        handed = iter(range(len(self.items)))
        return Invocation(
            events=tuple(
                known or _outcome_of(failures.get(next(handed)), self.binding.retry) for known in self.outcomes
            ),
            returned=returned,
            emitted=emitted,
        )


def _outcome_of(error: BaseException | None, retry: Retry) -> EventOutcome:
    if error is None:
        return EventOutcome(outcome="done")
    if isinstance(error, RetryAfter):
        return EventOutcome(outcome="retry", error=error, retry_after=error.seconds)
    # sys.exit() in a function is a failure of its own kind, and worth another attempt.
    if isinstance(error, Reject) or (isinstance(error, Exception) and not retry.worth_another(error)):
        return EventOutcome(outcome="reject", error=error)
    return EventOutcome(outcome="failed", error=error)


def _binding_of(function: Callable[..., Any], name: str | None) -> Binding:
    found = [binding for binding in bindings_of(function) if name in (None, binding.name)]
    if not found:
        raise TypeError(f"{function!r} has no binding{f' named {name!r}' if name else ''}: decorate it with @on_stream")
    return found[0]


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
