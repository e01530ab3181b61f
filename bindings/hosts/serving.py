"""How a host runs a function over what one request brought."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bindings.binding import Binding
from bindings.calling import RecordLike
from bindings.context import InvocationContext
from bindings.decorator import bindings_of
from bindings.failure import Failure, FailureKind, timed_out
from bindings.invocation import Delivered, Invocations, Received, Reply, reply_to
from bindings.outcome import DispatchSignal, Emit
from bindings.trace import TraceContext, current_trace

__all__ = ["Served", "attempts_before", "binding_of"]

logger = logging.getLogger("bindings.hosts")

_BEHIND = Failure(
    kind=FailureKind.FUNCTION,
    error_type="EarlierEventFailed",
    message="an earlier event of its lane failed, and must be delivered first",
    counts=True,
)


def binding_of(function: Callable[..., Any] | Binding) -> Binding:
    """The one binding of a decorated function.

    Raises:
        TypeError: it is not decorated, or more than once.
    """
    if isinstance(function, Binding):
        return function
    bindings = bindings_of(function)
    if len(bindings) != 1:
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(
            f"{name} is bound {len(bindings)} times: a host serves one binding. Decorate it with @on_stream(...) once,"
            " or pass one of bindings_of(function)"
        )
    return bindings[0]


def attempts_before(text: str) -> int:
    """Deliveries before the one that a dispatcher numbers, from 1 on; 0 for what is no such number."""
    return max(0, int(text) - 1) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


class Served(Invocations):
    """A function in a host. Sync functions run in threads, so that health checks and other requests go on."""

    def __init__(self, binding: Binding) -> None:
        super().__init__(binding)
        self.binding = binding

    async def serve(
        self,
        records: Sequence[RecordLike],
        *,
        attempts: int = 0,
        timeout: float | None = None,
        trace: TraceContext | None = None,
    ) -> Reply:
        """Run the function over the events of one request.

        A dispatcher sends what the function takes at once. What another caller sends together is taken apart: event by
        event, or in batches of ``max_events``, lanes side by side; what follows a failed event in its lane is not run,
        and fails with it.

        Args:
            records: the events, at least one.
            attempts: deliveries before this one.
            timeout: seconds that are left for it; the binding's when None.
            trace: of the request, which the function sees as ``Context.trace``.

        Returns:
            A reply whose results are bytes.
        """
        token = current_trace.set(trace)
        try:
            return await self._serve(records, attempts, timeout)
        finally:
            current_trace.reset(token)

    async def _serve(self, records: Sequence[RecordLike], attempts: int, timeout: float | None) -> Reply:
        left = self.binding.timeout if timeout is None else min(timeout, self.binding.timeout)
        batch = [Received(record, attempts) for record in records]
        if len(batch) <= (self.binding.batch.max_events if self.binding.signature.batch else 1):
            return await self._one(batch, left)
        return await self._apart(batch, left)

    async def run(self, batch: Sequence[Delivered], argument: Any, context: InvocationContext | None) -> Any:
        """Await an async function, and a sync one in a thread; an error's traceback is logged where it happened."""
        try:
            if self.binding.signature.is_async:
                return await self._call(argument, context)
            returned, error = await asyncio.to_thread(self.call_in_thread, argument, context)
            if error is not None:
                raise error
        except DispatchSignal:
            raise  # it says what it means, and its place says nothing
        except Exception:
            logger.exception("%s failed on %d event(s)", self.binding.name, len(batch))
            raise
        return returned

    async def _one(self, batch: Sequence[Received], left: float) -> Reply:
        try:
            async with asyncio.timeout(left):
                return self.in_bytes(await self.invoke(batch, timeout=left))
        except TimeoutError:
            return Reply(rest=timed_out(left))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return reply_to(error, self.binding.retry)

    async def _apart(self, batch: Sequence[Received], left: float) -> Reply:
        failures: dict[int, Failure] = {}
        results: list[tuple[int, Sequence[Emit]]] = []
        # Sync functions run beside each other too: in threads.
        places = asyncio.Semaphore(self.binding.places)
        deadline = asyncio.get_running_loop().time() + left

        async def go_through(lane: list[list[int]]) -> None:
            for number, indexes in enumerate(lane):
                async with places:
                    now = asyncio.get_running_loop().time()
                    reply = await self._one([batch[index] for index in indexes], max(0.0, deadline - now))
                results.append((indexes[0], reply.results))
                failed = {indexes[place]: failure for place, failure in reply.failures.items()}
                if reply.rest is not None:
                    failed |= {index: reply.rest for index in indexes if index not in failed}
                failures.update(failed)
                if failed and self.binding.order != "none":
                    failures.update((index, _BEHIND) for each in lane[number + 1 :] for index in each)
                    return

        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes(batch):
                tasks.create_task(go_through(lane))
        return Reply(
            dict(sorted(failures.items())), None, [emit for _, emits in sorted(results, key=_first) for emit in emits]
        )

    def _lanes(self, batch: Sequence[Received]) -> Iterator[list[list[int]]]:
        """Which events run one after another, each lane in the pieces that the function takes."""
        lanes: dict[object, list[int]] = {}
        takes_one = not self.binding.signature.batch or self.binding.batch.group_by == "key"
        for index, (record, _) in enumerate(batch):
            lane: object = (record.topic, record.partition)
            if takes_one and self.binding.order == "key":
                lane = (record.topic, record.key) if record.key is not None else index
            elif takes_one and self.binding.order == "none":
                lane = index
            lanes.setdefault(lane, []).append(index)
        size = self.binding.batch.max_events if self.binding.signature.batch else 1
        for indexes in lanes.values():
            yield [indexes[begin : begin + size] for begin in range(0, len(indexes), size)]


def _first(pair: tuple[int, Sequence[Emit]]) -> int:
    return pair[0]
