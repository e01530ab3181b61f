"""One invocation of a function, wherever it runs: the events decoded, the call, and what the function says of them.

The dispatcher's own process, a worker process, a Lambda function and an HTTP service all go through this, so that a
function is handed the same and means the same in each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from bindings.binding import Binding
from bindings.calling import RecordLike, caller_of, event_id, item_of
from bindings.context import InvocationContext
from bindings.errors import InvalidOutcome
from bindings.failure import Failure, failure_of, undecodable
from bindings.outcome import BatchFailures, Emit
from bindings.policies import Retry
from bindings.results import failures_of, in_bytes, named_failures, results_of

__all__ = ["Delivered", "Invocations", "Received", "Reply", "reply_to"]


class Delivered(Protocol):
    """What is read of one event's delivery."""

    @property
    def origin(self) -> RecordLike:
        """The event as its function is to see it."""

    @property
    def attempts(self) -> int:
        """Deliveries before this one that counted."""


class Received(NamedTuple):
    """One delivery where there is nothing more of it than that: in a host, in a process of its own."""

    origin: RecordLike
    attempts: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What an invocation came to.

    Attributes:
        failures: index in the batch -> what failed.
        rest: what happened to all others, when they failed together and nobody said which; None when they are done.
        results: what the function returned and emitted, to be produced to its output stream.
    """

    failures: Mapping[int, Failure] = field(default_factory=dict)
    rest: Failure | None = None
    results: Sequence[Emit] = ()

    def failed(self, events: int) -> Sequence[int]:
        """The indexes of those that failed, in a batch of so many."""
        return range(events) if self.rest is not None else tuple(self.failures)


def reply_to(error: BaseException, policy: Retry) -> Reply:
    """Settle an invocation that raised: all of its events failed, unless there is but one."""
    if isinstance(error, asyncio.CancelledError):
        # Nobody cancelled the invocation: the function let the cancellation of something else through.
        error = RuntimeError("the function let a cancellation through that was not its own")
    return Reply(rest=failure_of(error, policy))


class Invocations:
    """Invokes the Python function of a binding; whoever runs it says how in :meth:`run`."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._signature = binding.signature
        self._call = caller_of(binding.function, binding.signature)

    async def run(self, batch: Sequence[Delivered], argument: Any, context: InvocationContext | None) -> Any:
        """Call the function with its argument and wait for what it returns; what it raises goes through."""
        raise NotImplementedError

    async def invoke(self, batch: Sequence[Delivered], *, timeout: float | None = None) -> Reply:
        """Decode the events, call the function, read what it says of them.

        Args:
            batch: the events, at least one.
            timeout: seconds that the attempt has, when they are not the binding's.
        """
        failures: dict[int, Failure] = {}
        items: list[Any] = []
        indexes: list[int] = []
        for index, delivery in enumerate(batch):
            try:
                items.append(item_of(self._signature, delivery.origin))
                indexes.append(index)
            except Exception as error:  # noqa: BLE001 - users' validators may raise anything
                failures[index] = undecodable(error, self._signature.type_name)
        if not items:
            return Reply(failures)
        context = None
        if self._signature.context:
            context = self._context([batch[index] for index in indexes], timeout)
        argument = items if self._signature.batch else items[0]
        emitted = context.emitted if context else ()
        try:
            returned = await self.run(batch, argument, context)
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise  # the runner knows whether it was it that cancelled
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a function must not end the process
            reply = self.raised(error, items, emitted)
        else:
            reply = self.returned(returned, [batch[index].origin for index in indexes], emitted)
        for index, failure in reply.failures.items():
            failures[indexes[index]] = failure
        return replace(reply, failures=failures)

    def returned(self, returned: object, events: Sequence[RecordLike], emitted: Sequence[Emit] = ()) -> Reply:
        """What an invocation with these events came to, by what the function returned, and emitted before."""
        try:
            named = failures_of(returned, events)
            # What only names failures emits nothing: results_of() leaves it out.
            results = [*emitted, *self.results(returned)]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a result is the user's object, and may do anything when it is read
            return reply_to(error, self._binding.retry)
        return Reply(self._failures(named), None, results)

    def raised(self, error: BaseException, items: Sequence[Any], emitted: Sequence[Emit] = ()) -> Reply:
        """What an invocation with these items came to, by what the function raised."""
        if not isinstance(error, BatchFailures):
            return reply_to(error, self._binding.retry)
        try:
            named = named_failures(error, items)
        except InvalidOutcome as invalid:
            return reply_to(invalid, self._binding.retry)
        return Reply(self._failures(named), None, list(emitted))

    def _failures(self, named: Mapping[int, BaseException]) -> dict[int, Failure]:
        return {index: failure_of(reason, self._binding.retry) for index, reason in named.items()}

    def call_in_thread(self, argument: Any, context: InvocationContext | None) -> tuple[Any, BaseException | None]:
        """Call a sync function where its exception can't be raised: an asyncio future can't hold a StopIteration."""
        try:
            return self._call(argument, context), None
        except BaseException as error:  # noqa: BLE001 - invoke() tells them apart
            return None, error

    def in_bytes(self, reply: Reply) -> Reply:
        """The reply with its results as they travel; a result that can't be made bytes is the function's failure."""
        if not reply.results:
            return reply
        try:
            return replace(reply, results=[in_bytes(emit) for emit in reply.results])
        except Exception as error:  # noqa: BLE001 - users' serializers may raise anything
            return replace(reply_to(error, self._binding.retry), failures=reply.failures)

    def results(self, returned: object) -> Sequence[Emit]:
        """Read the results in what the function returned: none where it declares no ``emits=``."""
        return results_of(returned) if self._binding.emits else ()

    def _context(self, batch: Sequence[Delivered], timeout: float | None) -> InvocationContext:
        first = batch[0].origin
        return InvocationContext(
            self._binding.name,
            event_id(first),
            1 + max(delivery.attempts for delivery in batch),
            self._binding.timeout if timeout is None else timeout,
            self._binding.emits,
            first.headers if len(batch) == 1 else (),
        )
