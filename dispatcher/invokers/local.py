"""Functions in this process: async ones on the event loop, sync ones in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from bindings import Binding
from bindings.context import InvocationContext
from bindings.invocation import Delivered, Invocations

__all__ = ["Abandoned", "LocalInvoker"]

#: Told of a thread that runs on after its attempt's time was up: its events, and the thread's future.
Abandoned = Callable[[Sequence[Any], "Future[Any]"], None]


class LocalInvoker(Invocations):
    """Calls the Python function of a binding.

    A sync function runs in one of ``concurrency`` threads, never on the event loop. Python can't stop a thread:
    past its timeout it is abandoned, and ``abandoned`` is told, so that its place stays taken until it ends.
    """

    keeps_time = False

    def __init__(self, binding: Binding, *, abandoned: Abandoned) -> None:
        super().__init__(binding)
        self.concurrency = binding.places
        self._abandoned = abandoned
        self._threads: ThreadPoolExecutor | None = None
        if not binding.signature.is_async:
            self._threads = ThreadPoolExecutor(binding.places, thread_name_prefix=f"function-{binding.name}")

    async def close(self) -> None:
        """Let go of the threads; those that run on are not waited for."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, batch: Sequence[Delivered], argument: Any, context: InvocationContext | None) -> Any:
        """Await an async function here, and a sync one in its thread."""
        if self._threads is None:
            return await self._call(argument, context)
        future = self._threads.submit(contextvars.copy_context().run, self.call_in_thread, argument, context)
        try:
            returned, error = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancel() and not future.done():
                self._abandoned(batch, future)
            raise
        if error is not None:
            raise error
        return returned
