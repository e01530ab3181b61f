"""Functions in this process: async ones on the event loop, sync ones in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from bindings import BatchFailures, Binding, Emit
from bindings.calling import caller_of, item_of
from bindings.context import InvocationContext
from bindings.errors import InvalidOutcome
from bindings.results import failures_of, named_failures, results_of
from dispatcher.core.delivery import Delivery, Failure
from dispatcher.invokers.base import Reply
from dispatcher.invokers.failures import failure_of, reply_to, undecodable

__all__ = ["Abandoned", "LocalInvoker"]

#: Told of a thread that runs on after its attempt's time was up: its events, and the thread's future.
Abandoned = Callable[[Sequence[Delivery], "Future[Any]"], None]


class LocalInvoker:
    """Calls the Python function of a binding.

    A sync function runs in one of ``concurrency`` threads, never on the event loop. Python can't stop a thread:
    past its timeout it is abandoned, and ``abandoned`` is told, so that its place stays taken until it ends.
    """

    keeps_time = False

    def __init__(self, binding: Binding, *, abandoned: Abandoned) -> None:
        self.concurrency = binding.concurrency
        self._binding = binding
        self._signature = binding.signature
        self._call = caller_of(binding.function, binding.signature)
        self._abandoned = abandoned
        self._threads: ThreadPoolExecutor | None = None
        if not binding.signature.is_async:
            self._threads = ThreadPoolExecutor(binding.concurrency, thread_name_prefix=f"function-{binding.name}")

    async def invoke(self, batch: Sequence[Delivery]) -> Reply:
        """Decode the events, call the function, read what it says of them."""
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
        context = self._context([batch[index] for index in indexes]) if self._signature.context else None
        argument = items if self._signature.batch else items[0]
        try:
            returned = await self._run(batch, argument, context)
            named = failures_of(returned, [batch[index].origin for index in indexes])
            # What only names failures emits nothing: results_of() leaves it out.
            results = [*(context.emitted if context else ()), *self.results(returned)]
        except BatchFailures as error:
            try:
                named = named_failures(error, items)
            except InvalidOutcome as invalid:
                return replace(reply_to(invalid, self._binding.retry), failures=failures)
            results = [*context.emitted] if context else []
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise  # the runner knows whether it was it that cancelled
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a function must not end the dispatcher
            return replace(reply_to(error, self._binding.retry), failures=failures)
        for index, reason in named.items():
            failures[indexes[index]] = failure_of(reason, self._binding.retry)
        return Reply(failures, None, results)

    def results(self, returned: object) -> Sequence[Emit]:
        """Read the results in what the function returned: none where it declares no ``emits=``."""
        return results_of(returned) if self._binding.emits else ()

    async def close(self) -> None:
        """Let go of the threads; those that run on are not waited for."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, batch: Sequence[Delivery], argument: Any, context: InvocationContext | None) -> Any:
        if self._threads is None:
            return await self._call(argument, context)
        future = self._threads.submit(contextvars.copy_context().run, self._call_in_thread, argument, context)
        try:
            returned, error = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancel() and not future.done():
                self._abandoned(batch, future)
            raise
        if error is not None:
            raise error
        return returned

    def _call_in_thread(self, argument: Any, context: InvocationContext | None) -> tuple[Any, BaseException | None]:
        # Not through the future: asyncio's can't hold a StopIteration, and the await of it would never end.
        try:
            return self._call(argument, context), None
        except BaseException as error:  # noqa: BLE001 - invoke() tells them apart
            return None, error

    def _context(self, batch: Sequence[Delivery]) -> InvocationContext:
        first = batch[0].origin
        return InvocationContext(
            self._binding.name,
            f"{first.topic}/{first.partition}/{first.offset}",
            1 + max(delivery.attempts for delivery in batch),
            self._binding.timeout,
            self._binding.emits,
        )
