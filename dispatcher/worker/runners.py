"""The tasks in which a function runs.

A runner takes what may start, awaits the function, settles, and takes the next: as long as the function
does not suspend, one runner goes through all that is ready without a task switch. Before a runner begins on an event while
more could start, it makes sure that another one is awake behind it: if the function suspends, that one goes on. So an event
costs a task's wake-up only when its function really waits, and the function always runs in a task of its own
(time-outs, cancel scopes and ``current_task()`` are right), which running its first step by hand would not give.

Measured on the core with a pydantic model, 300,000 events: 1.27 us an event, of which 0.98 us are decoding and the call; a
task for each event took 4.9 us.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from bindings import Binding
from bindings.calling import is_direct, takes_values
from bindings.failure import FailureKind, timed_out
from bindings.invocation import Reply, reply_to
from dispatcher.clock import Clock
from dispatcher.core.delivery import Delivery
from dispatcher.core.scheduler import Scheduler
from dispatcher.invokers.base import Invoker
from dispatcher.invokers.local import LocalInvoker
from dispatcher.worker.passing import LONGEST_TURN, Ended, Passing

if TYPE_CHECKING:
    from dispatcher.worker.tracing import FunctionTracing

__all__ = ["Runners"]

logger = logging.getLogger("dispatcher.worker")

# Seconds that a function has to end once it was cancelled for good.
_CLOSE_TIMEOUT = 2.0

Settle = Callable[[Sequence[Delivery], Reply], Awaitable[None]]


class Runner:
    """One task, and what it is at."""

    __slots__ = ("batch", "is_late", "started", "task")

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.batch: Sequence[Delivery] | Delivery | None = None
        self.started = 0.0
        self.is_late = False


class Runners:
    """Runs a binding's function: as many invocations at once as the scheduler lets start.

    Args:
        binding: the function and its timeout.
        scheduler: says what may start.
        invoker: calls the target.
        clock: of the event loop.
        settle: awaited with what an invocation came to; not called for an event that needs nothing but to be done.
        idle: called when a runner finds nothing to start.
        progress: called after each event, or each part of a stretch, while ``watched``.
        failed: called with an error of our own that ended a runner.
        tracing: has each invocation run within a span.
    """

    def __init__(
        self,
        binding: Binding,
        scheduler: Scheduler,
        invoker: Invoker,
        *,
        clock: Clock,
        settle: Settle,
        idle: Callable[[], None],
        progress: Callable[[], None],
        failed: Callable[[BaseException], None],
        tracing: FunctionTracing | None = None,
    ) -> None:
        self._binding = binding
        self._scheduler = scheduler
        self._invoker = invoker
        self._invoke = invoker.invoke if tracing is None else tracing.traced(invoker.invoke)
        self._clock = clock.monotonic
        self._settle = settle
        self._on_idle = idle
        self._on_progress = progress
        self._on_failed = failed
        is_plain = isinstance(invoker, LocalInvoker) and binding.signature.is_async
        is_plain = is_plain and binding.concurrency != "auto" and tracing is None
        self._work = self._work_through
        self._passing: Passing | None = None
        if is_plain and is_direct(binding.signature):
            self._work = self._work_directly
        if is_plain and takes_values(binding.signature):
            self._passing = Passing(binding, scheduler, self._clock, self._note_in_flight)
            scheduler.take_stretches()
        self._runners: set[Runner] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._backup = False
        self._resting = 0
        self._closing = False
        self._context = contextvars.copy_context()
        self.watched = False

    def wake(self) -> None:
        """Have a runner look at what may start, when there is anything and none is about to."""
        if self._backup or not self._scheduler.has_work:
            return
        self._backup = True
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                return
        runner = Runner()
        # A copy of the context as it was at first: what a function sets there must not reach the next runner's.
        runner.task = asyncio.get_running_loop().create_task(
            self._run(runner), name=f"{self._binding.name}-runner", context=self._context.copy()
        )
        self._runners.add(runner)
        runner.task.add_done_callback(lambda _: self._ended(runner))

    def expire(self, now: float) -> float:
        """Cancel the invocations whose time is up; returns when to look again at the latest."""
        timeout = self._binding.timeout
        earliest = now + timeout
        if self._invoker.keeps_time:
            return earliest
        for runner in self._runners:
            if runner.batch is None or runner.is_late:
                continue
            deadline = runner.started + timeout
            if deadline <= now:
                runner.is_late = True
                runner.task.cancel()
            else:
                earliest = min(earliest, deadline)
        return earliest

    def let_go(self) -> None:
        """Cancel what runs for partitions that have gone: it can complete nothing, and others need its place.

        A sync function's thread can't be stopped, and keeps its place until it ends.
        """
        if isinstance(self._invoker, LocalInvoker) and not self._binding.signature.is_async:
            return
        for runner in self._runners:
            if runner.batch is None or runner.is_late:
                continue
            batch = (runner.batch,) if isinstance(runner.batch, Delivery) else runner.batch
            if not any(delivery.partition.active for delivery in batch):
                runner.is_late = True
                runner.task.cancel()

    async def close(self) -> None:
        """Cancel what still runs, and wait until it has ended: not for ever, for a function may refuse to."""
        self._closing = True
        tasks = [runner.task for runner in self._runners]
        for task in tasks:
            task.cancel()
        if tasks and (await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT))[1]:
            logger.error(
                "%s swallows its cancellation and still runs: catch asyncio.CancelledError only to raise it again",
                self._binding.name,
            )

    def _ended(self, runner: Runner) -> None:
        self._runners.discard(runner)
        if not runner.task.cancelled() and (error := runner.task.exception()) is not None:
            self._on_failed(error)

    async def _run(self, runner: Runner) -> None:
        clean = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        while True:
            self._backup = False
            # One that only rests goes on by itself: with a second beside it a turn of the loop would be twice as long,
            # and with as many as the concurrency allows that many times.
            if not self._resting:
                await self._work(runner, clean)
            if self._closing:
                return
            if contextvars.copy_context() != clean:
                # The function has set context variables in this task: the next event gets a fresh one.
                self.wake()
                return
            self._on_idle()
            idle: asyncio.Future[None] = loop.create_future()
            self._idle.append(idle)
            await idle

    async def _work_directly(self, runner: Runner, clean: contextvars.Context) -> None:
        """The short way, for an async function that takes the bare value of one event."""
        scheduler, function, signature = self._scheduler, self._binding.function, self._binding.signature
        invoker = cast(LocalInvoker, self._invoker)
        decode = signature.decode_bytes
        take, done, ready = scheduler.take, scheduler.done, scheduler.ready
        clock, context, cancelling = self._clock, contextvars.copy_context, runner.task.cancelling
        counters = scheduler.counters
        durations = counters.durations
        counts, shortest = durations.counts, durations.bounds[0]
        stretches = scheduler.stretches
        turn = now = clock()
        others, own = counters.invocations, 0
        while True:
            if stretches.events:
                runner.batch = None
                if not await self._pass(runner, clean):
                    break
                turn = now = clock()
                others, own = counters.invocations, 0
            if (delivery := take(now)) is None:
                break
            own += 1
            if ready and not self._backup and scheduler.in_flight < scheduler.gate.limit:
                self.wake()
            runner.batch, runner.started = delivery, now
            started = now
            try:
                raw = delivery.record.value
                value = decode(raw) if raw is not None else signature.decode(None)
            except Exception:  # noqa: BLE001 - users' validators may raise anything
                if not await self._end(runner, Ended(started, None, batch=(delivery,)), clean):
                    break
                now = clock()
                continue
            try:
                returned = await function(value)
            except BaseException as error:  # noqa: BLE001 - what may pass is raised again by _raised
                if not await self._end(runner, Ended(started, (value,), error=error, batch=(delivery,)), clean):
                    break
                now = clock()
                continue
            # One look at the clock an event: the end of this invocation is the beginning of the next.
            now = clock()
            elapsed = now - started
            if elapsed <= shortest:
                counts[0] += 1
                durations.total += elapsed
            else:
                durations.observe(elapsed)
            if cancelling():
                runner.batch = None
                if runner.is_late:
                    self._forgive(runner)
                await self._absorb(runner)
                now = clock()
            if returned is None:
                done(delivery)
            else:
                runner.batch = None
                await self._settle([delivery], invoker.returned(returned, [delivery.origin]))
                now = clock()
            if self.watched:
                self._on_progress()
            if context() != clean:
                break
            if started - turn > LONGEST_TURN:
                runner.batch = None
                # Where other runners have begun invocations since, this one has suspended and the loop has turned.
                turn = now = now if counters.invocations > others + own else await self._rest()
                others, own = counters.invocations, 0
        runner.batch = None

    async def _work_through(self, runner: Runner, clean: contextvars.Context) -> None:
        """The general way: any target, any signature."""
        scheduler, invoke = self._scheduler, self._invoke
        is_batch, is_adaptive = self._binding.signature.batch, self._binding.concurrency == "auto"
        counters, stretches = scheduler.counters, scheduler.stretches
        clock, durations, sizes = self._clock, counters.durations, counters.batch_sizes
        turn = clock()
        others, own = counters.invocations, 0
        while True:
            if stretches.events:
                if not await self._pass(runner, clean):
                    break
                turn = clock()
                others, own = counters.invocations, 0
            now = clock()
            if is_batch:
                batch: Sequence[Delivery] | None = scheduler.take_batch(now)
            else:
                batch = None if (delivery := scheduler.take(now)) is None else (delivery,)
            if batch is None:
                break
            own += 1
            if scheduler.ready and not self._backup and scheduler.in_flight < scheduler.gate.limit:
                self.wake()
            runner.batch, runner.started = batch, now
            try:
                reply = await invoke(batch)
            except BaseException as error:  # noqa: BLE001 - what may pass is raised again by _reply
                reply = self._reply(runner, error)
            elapsed = clock() - now
            if runner.is_late:
                self._forgive(runner)
            runner.batch = None
            if runner.task.cancelling():
                await self._absorb(runner)
            durations.observe(elapsed)
            if is_batch:
                sizes.observe(len(batch))
            if is_adaptive and (reply.rest is None or reply.rest.kind is not FailureKind.NOT_DELIVERED):
                scheduler.took(elapsed)
            if is_batch or reply.failures or reply.rest is not None or reply.results:
                await self._settle(batch, reply)
            else:
                # Nothing to write and nothing to judge, as after most events: 4 us less of the 100 that a request takes.
                scheduler.done(batch[0])
                if self.watched:
                    self._on_progress()
            if contextvars.copy_context() != clean:
                break
            if now - turn > LONGEST_TURN:
                turn = clock() if counters.invocations > others + own else await self._rest()
                others, own = counters.invocations, 0
        runner.batch = None

    async def _pass(self, runner: Runner, clean: contextvars.Context) -> bool:
        """Run events that nobody has admitted; False when this task must run no more."""
        if self._resting:
            return True  # whoever rests goes on with them: two would make a turn of the loop twice as long
        passing = self._passing
        turn = now = self._clock()
        while passing is not None and (run := passing.begin(now, runner, clean, until=turn + LONGEST_TURN)) is not None:
            if (ended := await run) is not None:
                return await self._end(runner, ended, clean)
            if self.watched:
                self._on_progress()
            now = self._clock()
            if now - turn > LONGEST_TURN:
                turn = now = await self._rest()
        return True

    async def _end(self, runner: Runner, ended: Ended, clean: contextvars.Context) -> bool:
        """Settle an invocation that was more than a plain end; False when this task must run no more."""
        batch, invoker = ended.batch, cast(LocalInvoker, self._invoker)
        # Those behind it are admitted, and what it leaves may take a while to be written.
        self._wake_another()
        if ended.items is None:
            # It tells which of them can't be decoded, and calls the function with the others.
            runner.batch, runner.started = batch, ended.started
            try:
                reply = await invoker.invoke(batch)
            except BaseException as error:  # noqa: BLE001 - what may pass is raised again by _reply
                reply = self._reply(runner, error)
        elif ended.error is None:
            reply = invoker.returned(ended.returned, [delivery.origin for delivery in batch])
        else:
            reply = self._raised(runner, ended.error, ended.items)
        if runner.is_late:
            self._forgive(runner)
        runner.batch = None
        counters = self._scheduler.counters
        counters.durations.observe(self._clock() - ended.started)
        if self._binding.signature.batch:
            counters.batch_sizes.observe(len(batch))
        if runner.task.cancelling():
            await self._absorb(runner)
        await self._settle(batch, reply)
        return contextvars.copy_context() == clean

    def _note_in_flight(self, runner: Runner, batch: Sequence[Delivery] | Delivery, started: float) -> None:
        runner.batch, runner.started = batch, started
        self._wake_another()

    def _wake_another(self) -> None:
        if not self._backup and self._scheduler.in_flight < self._scheduler.gate.limit:
            self.wake()

    async def _rest(self) -> float:
        """Let the loop turn, though the function has never suspended; returns when the next turn begins."""
        self._resting += 1
        try:
            await asyncio.sleep(0)
        finally:
            self._resting -= 1
        return self._clock()

    def _raised(self, runner: Runner, error: BaseException, items: Sequence[Any]) -> Reply:
        """What a local function, handed these items, has raised comes to."""
        if runner.is_late or isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
            return self._reply(runner, error)
        runner.batch = None
        return cast(LocalInvoker, self._invoker).raised(error, items)

    def _reply(self, runner: Runner, error: BaseException) -> Reply:
        runner.batch = None
        if runner.is_late:
            self._forgive(runner)
            return Reply(rest=timed_out(self._binding.timeout))
        if isinstance(error, KeyboardInterrupt) or (isinstance(error, asyncio.CancelledError) and self._closing):
            raise error
        return reply_to(error, self._binding.retry)

    async def _absorb(self, runner: Runner) -> None:
        """Clear what the function left of cancellations: of its own, or Python 3.11's of a TaskGroup that failed.

        The count would break the next event's cancel scopes, and a request that is not delivered yet its first await.
        """
        while runner.task.cancelling() and not self._closing:
            runner.task.uncancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self._closing:
                raise

    @staticmethod
    def _forgive(runner: Runner) -> None:
        """The cancellation that its time-out asked for has done its work."""
        runner.is_late = False
        runner.task.uncancel()
