"""The worker of one binding: it does the I/O that the core asks for."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bindings import Binding
from bindings.errors import InvalidOutcome
from bindings.failure import Failure, FailureKind
from bindings.invocation import Reply, reply_to
from dispatcher.brokers.base import Broker, Consumer
from dispatcher.clock import Clock
from dispatcher.config import Settings
from dispatcher.core.counters import Counters
from dispatcher.core.delivery import Delivery, State
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.core.retries import PauseCause
from dispatcher.core.scheduler import Scheduler
from dispatcher.core.settlement import Settlement
from dispatcher.errors import (
    BrokerUnavailable,
    CorruptRecords,
    DispatchError,
    OffsetOutOfRange,
)
from dispatcher.invokers.base import Invoker, WarmsUp
from dispatcher.invokers.local import LocalInvoker
from dispatcher.telemetry.measures import Measures, Vitals
from dispatcher.telemetry.metrics import State as WorkerState
from dispatcher.telemetry.metrics import Statistics
from dispatcher.telemetry.throttle import Throttle
from dispatcher.worker.backlog import Backlog
from dispatcher.worker.committing import Commits
from dispatcher.worker.positions import Beginning, beginnings, ends_of, never_committed, possible_beginnings
from dispatcher.worker.producing import SettlementWriter
from dispatcher.worker.records import result
from dispatcher.worker.runners import Runners
from dispatcher.worker.screening import make_retry_screen, make_screen
from dispatcher.worker.span import Span
from dispatcher.worker.telling import Teller
from dispatcher.worker.topics import ensure_topics, existing_streams, retry_topics
from dispatcher.worker.unsaved import Unsaved

if TYPE_CHECKING:
    from dispatcher.telemetry.tracing.provider import Tracing
    from dispatcher.worker.tracing import FunctionTracing, Settling

__all__ = ["Worker"]

logger = logging.getLogger("dispatcher.worker")

# Seconds that one fetch waits for records: how late a stop, or room in memory, may be seen.
_FETCH_WAIT = 0.25
# The same while a partition that is not asked for holds what it may: it is asked again when it has room, and not while a
# fetch waits for the others. Batches of 100 to an endpoint: of 2.4 s (300,000 events) 1 s went by in such waits, now 0.1 s.
_FETCH_WAIT_WHEN_FULL = 0.01
# Seconds between two looks at where the log ends, for the backlog.
_BACKLOG_INTERVAL = 2.0
# Seconds between two questions for where a partition begins whose leader was silent.
_BEGIN_INTERVAL = 1.0
# Seconds between two looks for a retry topic that a redrive has made: how long a first redrive waits for its function.
_RETRY_TOPIC_INTERVAL = 5.0
# Seconds that a time-out may be late, so that many invocations are looked at together.
_TIMEOUT_GRAIN = 0.01
# Seconds before a consumer that failed is made anew.
_FIRST_REBUILD, _LONGEST_REBUILD = 0.5, 15.0


class Worker:
    """Consumes the streams of one binding in a group of its own, ``<app>.<function>``.

    Args:
        binding: the function, its streams and policies.
        broker: where the streams are; open, and left open.
        settings: of the process.
        until_caught_up: end once all that stood in the log at the start is settled.
        span: deliver this part of history, in its own group, and end; no retry topic is read.
        invoker: calls the function, and is closed at the end; in this process by default.
        tracing: what the invocations are traced with; they are not by default, and nothing is paid for it.
        on_pause: told when ``Retry(then="pause")`` has paused the function, and over which event.
        clock: read instead of the system's; the event loop must run on it too.
        rng: where the jitter of retries comes from; one that nobody knows when it is not given.
    """

    def __init__(
        self,
        binding: Binding,
        broker: Broker,
        *,
        app: str,
        settings: Settings,
        until_caught_up: bool = False,
        span: Span | None = None,
        invoker: Invoker | None = None,
        tracing: Tracing | None = None,
        on_pause: Callable[[PauseCause], None] | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._on_pause = on_pause
        self._told_pause: PauseCause | None = None
        self._invoker = invoker or LocalInvoker(binding, abandoned=self._abandoned)
        most = min(binding.places, self._invoker.concurrency)
        binding = replace(binding, concurrency="auto" if binding.concurrency == "auto" else most, max_concurrency=most)
        self.name = binding.name
        self.group = f"{app}.{binding.name}" if span is None else span.group
        self._clock = clock or Clock()
        self._binding = binding
        self._broker = broker
        self._settings = settings
        self._span = span
        self._until_caught_up = until_caught_up or span is not None
        self._streams = binding.streams
        self._counters = Counters()
        self._scheduler = Scheduler(binding, now=self._clock.monotonic(), rng=rng, counters=self._counters)
        self._commits = Commits(binding.name, self._scheduler, self._counters, settings.commit_interval)
        self._writer = SettlementWriter(binding, broker)
        self._teller = Teller(binding)
        self._unsaved = Unsaved()
        self._revoked = 0
        # Those of our partitions whose leader has not said yet where they begin.
        self._silent: Collection[TopicPartition] = ()
        self._rebalances, self._rebalance_seconds = 0, 0.0
        self._rebalance_began: float | None = None
        self._polled: float | None = None
        self._tracing = None if tracing is None else _function_tracing(tracing, binding, self.group, self._invoker)
        self._runners = Runners(
            binding,
            self._scheduler,
            self._invoker,
            clock=self._clock,
            settle=self._settle if self._tracing is None else self._tracing.settling(self._settle),
            idle=self._set_alarm,
            progress=self._on_progress,
            failed=self._fail,
            tracing=self._tracing,
        )
        self._screen = make_screen(binding, self._clock)
        # Two, so that an event of a stream pays nothing for what a retry topic needs.
        self._retry_screen = make_retry_screen(binding, self._clock)
        self._retry_topics = frozenset(retry_topics(binding))
        self._has_more_streams = False
        self._consumer: Consumer | None = None
        self._stopping = asyncio.Event()
        self._progress = asyncio.Event()
        self._watchers = 0
        self._trouble: BaseException | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._targets: dict[TopicPartition, int] = {}
        self._backlog = Backlog(broker, self._scheduler, self._clock, span)
        self._corrupt: set[TopicPartition] = set()
        self._fresh: set[TopicPartition] = set()
        self._joined = False
        self._state: WorkerState = "joining"
        self._throttle = Throttle(10.0)
        self._abandoned_threads: set[Future[Any]] = set()

    # -- from outside

    @property
    def has_abandoned_threads(self) -> bool:
        """Whether a sync function still runs past its time-out: the interpreter would wait for it at exit."""
        return bool(self._abandoned_threads)

    async def run(self) -> None:
        """Join the group and consume until :meth:`stop`, or until caught up; then drain, commit and leave.

        Raises:
            DispatchError: it can't begin or go on; what was done is committed where that was possible.
        """
        wait = _FIRST_REBUILD
        self._watch_timeouts()
        if isinstance(self._invoker, WarmsUp):
            self._spawn(self._invoker.warm_up())
        try:
            await ensure_topics(self._binding, self._broker, create=self._settings.create_topics)
            if self._span is not None:
                self._targets = self._span.targets
            else:
                self._streams = await existing_streams(self._binding, self._broker, known=self._streams)
                self._fresh = await never_committed(self._broker, self.group, self._binding.streams)
                if self._until_caught_up:
                    self._targets = await ends_of(self._broker, self._streams)
            while not self._stopping.is_set():
                began = self._clock.monotonic()
                try:
                    await self._consume()
                    if not self._has_more_streams:
                        break
                    self._has_more_streams = False
                except BrokerUnavailable as error:
                    if not self._joined:
                        raise
                    if self._clock.monotonic() - began > _LONGEST_REBUILD:
                        wait = _FIRST_REBUILD
                    logger.warning("%s: the broker is gone, trying again in %g s: %s", self.name, wait, error)
                    self._trouble = None
                    await self._pause(wait)
                    wait = min(_LONGEST_REBUILD, 2 * wait)
        finally:
            self._state = "stopped"
            await self._close()

    def stop(self) -> None:
        """Ask for the drain: start nothing more, finish what runs, commit, leave. May be called again."""
        self._state = "draining"
        self._scheduler.revoke(list(self._scheduler.partitions))
        self._stopping.set()
        self._progress.set()

    @property
    def can_be_resumed(self) -> bool:
        """Whether :meth:`resume` is called when an operator says so; without it a restart resumes what has paused itself."""
        return self._scheduler.can_be_resumed

    @can_be_resumed.setter
    def can_be_resumed(self, value: bool) -> None:
        self._scheduler.can_be_resumed = value

    def pause(self) -> None:
        """Start nothing more; what runs may end. It stays in its group, and goes on to poll and to commit."""
        self._scheduler.pause()

    def resume(self) -> None:
        """Go on after :meth:`pause`, or ``Retry(then="pause")``: whose attempts are used up, has all of them again."""
        self._scheduler.resume()
        self._runners.wake()
        self._on_progress()

    def statistics(self) -> Statistics:
        """What has happened and how things stand."""
        counters, scheduler = self._counters, self._scheduler
        partitions = scheduler.partitions.values()
        pending = sum(len(partition.pending) for partition in partitions) + scheduler.stretches.events
        parked = sum(partition.parked for partition in partitions)
        return Statistics(
            function=self.name,
            group=self.group,
            state=self._state_told(),
            partitions=len(partitions),
            consumed=counters.consumed,
            invocations=counters.invocations,
            done=counters.done,
            filtered=counters.filtered,
            dead_lettered=counters.dead_lettered,
            dropped=counters.dropped,
            retry_topic=counters.retry_topic,
            retried=counters.retried,
            not_delivered=counters.not_delivered,
            emitted=counters.emitted,
            late=counters.late,
            skipped=counters.skipped,
            in_flight=scheduler.in_flight,
            waiting=max(0, pending - parked - scheduler.in_flight),
            parked=parked,
            # In no group nothing is known of what it will be handed.
            backlog=None if self._state == "joining" or self._silent else self._backlog.events(),
        )

    def measures(self) -> Measures:
        """All that metrics tell of it."""
        counters, scheduler = self._counters, self._scheduler
        dwell = 0.0 if self._rebalance_began is None else self._clock.monotonic() - self._rebalance_began
        return Measures(
            statistics=self.statistics(),
            durations=counters.durations.copy(),
            batch_sizes=counters.batch_sizes.copy() if self._binding.signature.batch else None,
            errors=counters.errors,
            timeouts=counters.timeouts,
            refused=counters.refused,
            reasons=dict(counters.reasons),
            commits=counters.commits,
            held_bytes=sum(partition.held_bytes for partition in scheduler.partitions.values()),
            oldest_age=self._backlog.oldest_age(),
            limit=scheduler.gate.allowed,
            maximum=scheduler.gate.maximum,
            paused=scheduler.gate.paused,
            breaker=scheduler.gate.breaker,
            rebalances=self._rebalances,
            rebalance_seconds=self._rebalance_seconds + dwell,
            partitions=self._backlog.partitions(),
        )

    def vitals(self) -> Vitals:
        """Whether it goes on."""
        return Vitals(
            state=self._state_told(),
            ended=sum(self._counters.durations.counts),
            in_flight=self._scheduler.in_flight,
            is_stalled=self._scheduler.is_stalled(self._clock.monotonic()),
            polled=self._polled,
            timeout=self._binding.timeout,
            drain=self._settings.drain,
        )

    def _state_told(self) -> WorkerState:
        return "paused" if self._scheduler.gate.paused and self._state == "running" else self._state

    def in_flight(self) -> dict[TopicPartition, int]:
        """Events whose function runs, of each partition that is held."""
        return {
            id_: sum(delivery.state == State.IN_FLIGHT for delivery in partition.pending.values())
            for id_, partition in self._scheduler.partitions.items()
        }

    # -- rebalances; called by the consumer

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Begin at the group's commits, and commit where there was none: a successor begins there too."""
        try:
            await self._begin(partitions)
            if self._rebalance_began is not None:
                self._rebalance_seconds += self._clock.monotonic() - self._rebalance_began
                self._rebalance_began = None
        except Exception as error:  # noqa: BLE001 - the client library would log it and go on without us
            self._fail(error)

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Drain within the budget, commit once, let go."""
        self._rebalances += 1
        self._rebalance_began = self._clock.monotonic()
        try:
            await self._let_go(partitions)
        except Exception as error:  # noqa: BLE001 - the client library would log it and go on without us
            self._fail(error)

    def _is_whole(self, id_: TopicPartition) -> bool:
        """Whether ``start=`` is not meant for it: a partition that came later, or what came back by a retry topic."""
        return id_ not in self._fresh

    async def _begin(self, partitions: Collection[TopicPartition]) -> None:
        found = await possible_beginnings(self._beginnings, partitions)
        if self._stopping.is_set():
            return  # it leaves the group in a moment: its successor begins where we would
        self._take(found)
        self._joined = True
        if self._state == "joining":
            self._state = "running"
        self._silent = left = [id_ for id_ in partitions if id_ not in found]
        if left:
            self._spawn(self._begin_later(left, self._revoked))
        self._progress.set()
        await self._commits.now()
        # Beside it: it asks every leader, and the group waits for this to return.
        self._spawn(self._read_ends())

    async def _begin_later(self, left: Collection[TopicPartition], revoked: int) -> None:
        """Begin with partitions whose leader did not answer, once it does, unless they are taken away before."""
        logger.warning(
            "%s: no leader of %s answers; they begin when one does, the others go on",
            self.name, ", ".join(f"{id_.topic}/{id_.partition}" for id_ in left),
        )  # fmt: skip
        while left:
            await asyncio.sleep(_BEGIN_INTERVAL)
            try:
                found = await possible_beginnings(self._beginnings, left)
            except BrokerUnavailable:
                continue
            if revoked != self._revoked:
                return
            self._take(found)
            self._silent = left = [id_ for id_ in left if id_ not in found]
            self._progress.set()

    async def _beginnings(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Beginning]:
        return await beginnings(
            self._broker,
            self._binding,
            self.group,
            partitions,
            foreign_metadata=self._settings.on_foreign_metadata,
            now=self._clock.wall(),
            starts=None if self._span is None else self._span.starts,
            whole=[id_ for id_ in partitions if self._is_whole(id_)],
        )

    def _take(self, found: Mapping[TopicPartition, Beginning]) -> None:
        for id_, committed in found.items():
            beginning = self._unsaved.add(id_, committed)
            partition = self._scheduler.assign(id_, beginning.position, beginning.offsets)
            self._counters.skipped += beginning.lost
            if self._consumer is not None:
                self._consumer.seek(id_, beginning.position)
            if beginning.commit is not None:
                partition.committed(beginning.commit)

    async def _let_go(self, partitions: Collection[TopicPartition], *, budget: float | None = None) -> None:
        self._revoked += 1
        self._silent = ()
        self._scheduler.revoke(partitions)
        budget = self._settings.drain if budget is None else budget
        deadline = self._clock.monotonic() + budget
        while not self._scheduler.is_drained(partitions) and (left := deadline - self._clock.monotonic()) > 0:
            self._progress.clear()
            await self._wait_for_progress(left)
        if not self._scheduler.is_drained(partitions):
            logger.warning(
                "%s: what still ran after %g s was let go; those events will be delivered again",
                self.name, budget,
            )  # fmt: skip
        await self._commits.now()
        owned = self._scheduler.partitions
        self._unsaved.keep(owned[id_] for id_ in partitions if id_ in owned)
        self._scheduler.drop(partitions)
        self._runners.let_go()

    # -- consuming

    async def _consume(self) -> None:
        """One membership of the group, from joining to leaving."""
        consumer = self._broker.consumer(self.group, self._streams, self)
        self._consumer = self._commits.consumer = consumer
        helpers: list[asyncio.Task[None]] = []
        try:
            await consumer.start()
            helpers = [self._spawn(self._commits.steadily()), self._spawn(self._measure_backlog())]
            if not self._until_caught_up and not self._retry_topics.issubset(self._streams):
                helpers.append(self._spawn(self._look_for_retry_topics()))
            await self._poll(consumer)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self._state = "draining" if self._stopping.is_set() else "joining"
            self._polled = self._rebalance_began = None
            # Cancelled is forced: what is done is committed, what runs is not waited for.
            task = asyncio.current_task()
            is_forced = task is not None and task.cancelling() > 0
            try:
                await self._let_go(list(self._scheduler.partitions), budget=0.0 if is_forced else None)
            except asyncio.CancelledError:
                await self._let_go(list(self._scheduler.partitions), budget=0.0)
                raise
            finally:
                await consumer.close()
                self._consumer = self._commits.consumer = None

    async def _poll(self, consumer: Consumer) -> None:
        while not self._stopping.is_set():
            if self._trouble is not None:
                raise self._trouble
            if self._has_more_streams:
                return
            self._polled = self._clock.monotonic()
            wanted = [id_ for id_ in self._scheduler.wanted() if id_ not in self._corrupt]
            if self._span is not None:
                wanted = [id_ for id_ in wanted if self._scheduler.partitions[id_].received < self._span.end(id_)]
            if wanted:
                await self._fetch(consumer, wanted)
            else:
                self._progress.clear()
                if not await self._wait_for_progress(_FETCH_WAIT):
                    # Nothing moves: asked for nothing, the consumer still tells what has become of it, that its user
                    # may not join the group, say. Not after each event, when all partitions hold what they may.
                    await self._fetch(consumer, ())
            if self._until_caught_up and await self._is_caught_up():
                return

    async def _fetch(self, consumer: Consumer, wanted: Collection[TopicPartition]) -> None:
        wait = 0.0
        if wanted:
            wait = _FETCH_WAIT if len(wanted) == len(self._scheduler.partitions) else _FETCH_WAIT_WHEN_FULL
        try:
            fetched = await consumer.fetch(wanted, max_records=self._settings.max_poll_records, timeout=wait)
        except OffsetOutOfRange as error:
            await self._jump(consumer, TopicPartition(error.stream, error.partition), error.offset)
            return
        except CorruptRecords as error:
            self._meet_corrupt(consumer, error)
            return
        now = self._clock.monotonic()
        for id_, records in fetched.items():
            within = records if self._span is None else self._span.cut(id_, records)
            if records:
                self._backlog.fetched(id_, records[-1].timestamp)
            screen = self._retry_screen if id_.topic in self._retry_topics else self._screen
            for delivery, failure in self._scheduler.admit(id_, within, now=now, screen=screen):
                self._give_up(delivery, failure)
            self._tell_pause()
            if len(within) < len(records):
                self._pass(id_, records[-1].offset)
        if not fetched:
            self._pass_gaps(consumer)
            return
        self._commits.look()
        self._runners.wake()
        # The runners' turn: a fetch that finds records buffered does not suspend.
        await asyncio.sleep(0)
        # What came back from a retry topic waits from its admission on.
        self._set_alarm()

    def _pass_gaps(self, consumer: Consumer) -> None:
        """Take note of positions that moved with no record: transaction markers, aborted or compacted records."""
        for id_ in self._scheduler.partitions:
            position = consumer.position(id_)
            if position is not None:
                self._pass(id_, position)

    def _pass(self, id_: TopicPartition, offset: int) -> None:
        if (partition := self._scheduler.partitions.get(id_)) is not None:
            partition.pass_to(offset if self._span is None else min(offset, self._span.end(id_)))

    async def _jump(self, consumer: Consumer, id_: TopicPartition, position: int) -> None:
        """The log does not hold the position (any more): go on where it begins, and say what is lost."""
        first = (await self._broker.beginning_offsets([id_]))[id_]
        lost = max(0, first - position)
        self._counters.skipped += lost
        logger.error(
            "%s: %s/%d does not hold offset %d any more; %d events are gone, going on at %d."
            " Retention is too short for the lag",
            self.name, id_.topic, id_.partition, position, lost, first,
        )  # fmt: skip
        consumer.seek(id_, first)
        self._pass(id_, first)

    def _meet_corrupt(self, consumer: Consumer, error: CorruptRecords) -> None:
        id_ = TopicPartition(error.stream, error.partition)
        if self._settings.on_corrupt == "skip":
            self._counters.skipped += error.end - error.offset
            if (more := self._throttle.admits(id_)) is not None:
                logger.error("%s: skipped%s: %s", self.name, f" ({more} before it)" if more else "", error)
            consumer.seek(id_, error.end)
            self._pass(id_, error.end)
            return
        if self._until_caught_up:
            raise error
        self._corrupt.add(id_)
        logger.error(
            '%s: %s. This partition is not consumed further, the others are; on_corrupt="skip" goes past it',
            self.name,
            error,
        )

    async def _is_caught_up(self) -> bool:
        if self._scheduler.gate.paused and not self._scheduler.in_flight:
            if self._scheduler.pause_cause is None:
                raise DispatchError(f"{self.name} is paused: dispatch functions resume {self.name}")
            raise DispatchError(
                f"{self.name} has paused itself: the attempts of an event are used up, and its policy is to wait"
            )
        owned = self._scheduler.partitions
        # The first that is behind tells; all that are, of 500 partitions after each fetch, took a tenth of an event's time.
        if any(id_ in owned and owned[id_].offsets.position < end for id_, end in self._targets.items()):
            return False
        left = self._behind(self._targets)
        if not left and self._counters.retry_topic:
            # What waits in a retry topic is not settled yet, and came there after the start.
            left = self._behind(await ends_of(self._broker, self._streams))
        if not left or any(id_ in owned for id_ in left):
            return not left
        # What is left belongs to other members of the group: their commits tell.
        commits = await self._broker.committed(self.group, left)
        if all((commit := commits.get(id_)) is not None and commit.offset >= end for id_, end in left.items()):
            return True
        await self._pause(_FETCH_WAIT)
        return False

    def _behind(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Those of the ends that our partitions have not reached, or that are of no partition of ours."""
        owned = self._scheduler.partitions
        return {id_: end for id_, end in ends.items() if id_ not in owned or owned[id_].offsets.position < end}

    # -- settling

    async def _settle(self, batch: Sequence[Delivery], reply: Reply, trace: Settling | None = None) -> None:
        """Turn a reply into effects, and see them through."""
        records: list[Outgoing] = []
        try:
            emits = reply.results if self._span is None or self._span.emit else ()
            records = [result(self._binding, batch, index, emit, trace) for index, emit in enumerate(emits)]
        except InvalidOutcome as error:
            reply = replace(reply_to(error, self._binding.retry), failures=reply.failures)
        if trace is not None:
            trace.ended(reply)
        wall_ms = self._clock.wall_ms()
        settlement = self._scheduler.settle(
            batch,
            reply.failures,
            rest=reply.rest,
            now=self._clock.monotonic(),
            wall_ms=wall_ms,
            has_results=bool(records),
        )
        if reply.failures or reply.rest is not None:
            self._count_failed(reply)
            self._teller.failed(batch, reply)
            self._tell_pause()
            self._set_alarm()
        if settlement is not None:
            # A batch of which all failed has emitted nothing.
            await self._write(settlement, records if settlement.done else (), trace)
        self._on_progress()

    def _count_failed(self, reply: Reply) -> None:
        if reply.rest is not None and reply.rest.kind is FailureKind.NOT_DELIVERED:
            self._counters.refused += 1
            return
        self._counters.errors += 1
        self._counters.timeouts += reply.rest is not None and reply.rest.error_type == "TimeoutError"

    def _give_up(self, delivery: Delivery, failure: Failure) -> None:
        settlement = self._scheduler.give_up(delivery, failure, wall_ms=self._clock.wall_ms())
        self._teller.failed([delivery], Reply(rest=failure))
        if settlement is not None:
            self._spawn(self._write(settlement, ()))

    def _tell_pause(self) -> None:
        cause = self._scheduler.pause_cause
        if cause is None or cause is self._told_pause:
            return
        self._told_pause = cause
        self._teller.paused(cause)
        if self._on_pause is not None:
            self._on_pause(cause)

    async def _write(self, settlement: Settlement, records: Sequence[Outgoing], trace: Settling | None = None) -> None:
        if await self._writer.write(settlement, records, trace):
            self._counters.emitted += len(records) if settlement.done else 0
            self._teller.dead(settlement.dead)
            self._scheduler.produced(settlement)
            self._runners.wake()
            self._on_progress()
        elif trace is not None:
            trace.lost()

    def _abandoned(self, batch: Sequence[Delivery], thread: Future[Any]) -> None:
        logger.error(
            "%s: a call took longer than %g s, and Python can't stop its thread: its place stays taken until it ends."
            " Check context.remaining() in the function",
            self.name, self._binding.timeout,
        )  # fmt: skip
        self._scheduler.hold(batch)
        self._abandoned_threads.add(thread)
        loop = asyncio.get_running_loop()

        def release() -> None:
            self._scheduler.release(batch, self._clock.monotonic())
            self._set_alarm()

        def ended(thread: Future[Any]) -> None:
            self._abandoned_threads.discard(thread)
            if not loop.is_closed():
                loop.call_soon_threadsafe(release)

        thread.add_done_callback(ended)

    # -- time

    def _set_alarm(self) -> None:
        """Have :meth:`_ring` called when the next thing is due."""
        at = self._scheduler.wakes_at(self._clock.monotonic())
        if at is None:
            return
        if self._alarm is not None:
            if self._alarm.when() <= at:
                return
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._scheduler.tick(self._clock.monotonic())
        self._runners.wake()
        self._set_alarm()

    def _watch_timeouts(self) -> None:
        """Cancel what took too long, and look again when the next could have: none that starts later is due before."""
        now = self._clock.monotonic()
        at = max(self._runners.expire(now), now + _TIMEOUT_GRAIN)
        self._expiry = asyncio.get_running_loop().call_at(at, self._watch_timeouts)

    def _on_progress(self) -> None:
        self._progress.set()

    async def _wait_for_progress(self, seconds: float) -> bool:
        """Whether anything was settled, assigned or asked for in that time."""
        self._watchers += 1
        self._runners.watched = True
        try:
            async with asyncio.timeout(seconds):
                return await self._progress.wait()
        except TimeoutError:
            return False
        finally:
            self._watchers -= 1
            self._runners.watched = self._watchers > 0

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    # -- beside it

    async def _measure_backlog(self) -> None:
        while True:
            await asyncio.sleep(_BACKLOG_INTERVAL)
            await self._read_ends()

    async def _look_for_retry_topics(self) -> None:
        """Join again, with its retry topic, once a redrive has made one for this function."""
        while True:
            await asyncio.sleep(_RETRY_TOPIC_INTERVAL)
            streams = await existing_streams(self._binding, self._broker, known=self._streams)
            if len(streams) > len(self._streams):
                logger.info("%s: dead letters come back by %s", self.name, ", ".join(set(streams) - set(self._streams)))
                self._streams = streams
                self._has_more_streams = True
                self._progress.set()
                return

    async def _read_ends(self) -> None:
        await self._backlog.look()

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, DispatchError):
            logger.error("%s: a bug in the dispatcher", self.name, exc_info=error)
        self._trouble = self._trouble or error
        self._progress.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _close(self) -> None:
        for handle in (self._alarm, self._expiry):
            if handle is not None:
                handle.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runners.close()
        await self._invoker.close()
        await self._writer.close()
        if self._tracing is not None:
            self._tracing.close()


def _function_tracing(tracing: Tracing, binding: Binding, group: str, invoker: Invoker) -> FunctionTracing:
    from dispatcher.worker.tracing import FunctionTracing

    return FunctionTracing(tracing, binding, group, invoker)
