"""The one owner of all delivery state of a function: what may start, and what becomes of it."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from bindings import Binding
from bindings.failure import Failure, FailureKind
from dispatcher.core.batching import ReadyQueue
from dispatcher.core.counters import Counters
from dispatcher.core.delivery import Delivery, Returned, State, record_size
from dispatcher.core.gate import Gate
from dispatcher.core.judging import Judge
from dispatcher.core.lanes import fixed_lane, follow, succeed
from dispatcher.core.offsets import METADATA_LIMIT, OffsetMap
from dispatcher.core.partition import Partition
from dispatcher.core.record import Committed, Record, TopicPartition
from dispatcher.core.retries import USED_UP, PauseCause, Reason
from dispatcher.core.settlement import Settlement
from dispatcher.core.stretch import Part, Stretch, StretchLine

__all__ = ["Scheduler"]

#: What is told of an event before it takes its place: True to keep it, False to leave it out, a failure to
#: give it up unseen, or that it comes back from a retry topic.
Screen = Callable[[Record], "bool | Failure | Returned"]


_USED_UP = Failure(
    kind=FailureKind.FUNCTION,
    error_type=USED_UP,
    message="its attempts were used up before a restart; the last error is in the log of then",
)


class Scheduler:
    """Admits events, says which may start, settles what came of them, and says what may be committed.

    Synchronous, and to be called from one thread. It does no I/O and reads no clock: ``now`` is the caller's
    monotonic clock in seconds, ``wall_ms`` milliseconds since 1970-01-01 UTC.

    Invariants:
        * an offset may be committed only when every event below it is done, filtered, or never existed;
        * of each lane at most one invocation runs at a time, and its events start in offset order, each
          only once those before it are done or given up;
        * a result completes an event only in the very ownership that started it;
        * an event's attempts never exceed ``Retry(max_attempts)``, across rebalances;
        * ``in_flight`` never exceeds ``gate.limit``.

    Attributes:
        ready: heads of lanes that may start (read-only outside).
        in_flight: invocations that run.
        gate: how many may, and what else holds them back (read-only outside).
        pause_cause: the event over which the retry policy has paused the function, until :meth:`resume`.
        can_be_resumed: an operator's resume would be heard. Then under ``Retry(then="pause")`` an event whose attempts a
            former owner used up pauses the function again; else a restart is how it is resumed, and tries it once more.
        metadata_limit: bytes that the broker takes with a commit; may be lowered when it says that it takes less.
        stretches: events that nobody has admitted, and that may start (read-only outside).
    """

    def __init__(
        self,
        binding: Binding,
        *,
        now: float,
        rng: random.Random | None = None,
        metadata_limit: int = METADATA_LIMIT,
        counters: Counters | None = None,
    ) -> None:
        self._retry = binding.retry
        self._limits = binding.limits
        self._by_key = binding.order == "key"
        self._unordered = binding.order == "none"
        self._fixed_lane = fixed_lane(binding.order)
        self.metadata_limit = metadata_limit
        self._partitions: dict[TopicPartition, Partition] = {}
        self._waiting: list[tuple[float, int, Delivery]] = []
        # Breaks ties between those that are due at once, in the order in which they were parked.
        self._ticket = 0
        self.gate = Gate(binding, now)
        grouped = binding.order == "partition" or binding.batch.group_by == "key"
        self._queue = ReadyQueue(binding.batch, grouped=grouped) if binding.signature.batch else None
        self.ready: deque[Delivery] = self._queue.heads if self._queue is not None else deque()
        self._takes_stretches = False
        self._can_stretch = self._queue is None or not grouped
        self.stretches = StretchLine(binding.batch if binding.signature.batch else None)
        # For those who lead their lane next, when done() is not told the time: batches wait by it.
        self._now = now
        self.in_flight = 0
        self.pause_cause: PauseCause | None = None
        self.can_be_resumed = False
        # Whether used-up attempts that a former owner's commit tells of are from before an operator resumed.
        self._forgives = False
        self.counters = counters or Counters()
        self._judge = Judge(binding, self.counters, self._pause_for, rng)

    # -- partitions

    @property
    def partitions(self) -> Mapping[TopicPartition, Partition]:
        """The partitions owned now."""
        return self._partitions

    def assign(self, partition: TopicPartition, position: int, offsets: OffsetMap | None = None) -> Partition:
        """Begin a new ownership at ``position``, with what a former owner left in its commit."""
        if partition in self._partitions:
            self.drop([partition])
        owned = self._partitions[partition] = Partition(partition, position, offsets or OffsetMap())
        if self._forgives:
            self._forgive(owned)
        return owned

    def revoke(self, partitions: Collection[TopicPartition]) -> None:
        """Start nothing more of these; what runs may still finish, until :meth:`drop`."""
        for id_ in partitions:
            if (partition := self._partitions.get(id_)) is not None and partition.open:
                partition.open = False
                if (stretch := partition.stretch) is not None:
                    self.stretches.drop(stretch, len(stretch.records))
                partition.unsettled = {
                    delivery
                    for delivery in partition.pending.values()
                    if delivery.state in (State.IN_FLIGHT, State.SETTLING)
                }
        if self._queue is not None:
            self._queue.keep_open()
        else:
            kept = [head for head in self.ready if head.partition.open]
            self.ready.clear()
            self.ready.extend(kept)
        self._waiting = [entry for entry in self._waiting if entry[2].partition.open]
        heapq.heapify(self._waiting)

    def is_drained(self, partitions: Collection[TopicPartition]) -> bool:
        """Whether nothing of these runs or is on its way to the broker any more."""
        return not any(self._partitions[id_].unsettled for id_ in partitions if id_ in self._partitions)

    def drop(self, partitions: Collection[TopicPartition]) -> None:
        """End the ownership: whatever comes of these from now on is too late."""
        self.revoke(partitions)
        for id_ in partitions:
            if (partition := self._partitions.pop(id_, None)) is not None:
                partition.active = False

    # -- admission

    def wanted(self) -> list[TopicPartition]:
        """The partitions to ask the broker for: those below their watermarks."""
        share = max(1, len(self._partitions))
        # One partition's share, so that memory is bounded by the limits whatever is assigned.
        events, held_bytes = max(1, self._limits.held_events // share), max(1, self._limits.held_bytes // share)
        park_limit = self._retry.park_limit
        return [
            id_
            for id_, partition in self._partitions.items()
            if partition.wants_more(events=events, held_bytes=held_bytes, park_limit=park_limit)
        ]

    def admit(
        self,
        partition: TopicPartition,
        records: Sequence[Record],
        *,
        now: float,
        screen: Screen | None = None,
    ) -> list[tuple[Delivery, Failure]]:
        """Take records, in offset order, that the broker handed over.

        Records of a partition that is not ours (any more), and records seen before, are left alone.

        Returns:
            What must be given up before it starts; the caller settles it with :meth:`give_up`.
        """
        owned = self._partitions.get(partition)
        if owned is None or not owned.open or not records:
            return []
        tracker = owned.offsets
        is_plain = (
            screen is None and not tracker.restored and not tracker.attempts and records[0].offset >= owned.received
        )
        if is_plain and self._may_stretch(owned):
            self.stretches.add(owned, records, now)
            return []
        if owned.stretch is not None:
            self._break(owned.stretch, 0, 0)
        held = owned.held_bytes
        refused = self._admit(owned, records, screen, now)
        owned.fetched_bytes = owned.held_bytes - held
        return refused

    def _may_stretch(self, owned: Partition) -> bool:
        if not self._takes_stretches or owned.pending or self.gate.is_asked:
            return False
        # Of a function that takes one at a time, what is ready goes first; of one that takes batches, what is due.
        return self._queue is not None or not self.ready

    def _admit(
        self, owned: Partition, records: Sequence[Record], screen: Screen | None, now: float
    ) -> list[tuple[Delivery, Failure]]:
        tracker = owned.offsets
        stop = records[-1].offset + 1
        refused: list[tuple[Delivery, Failure]] = []
        returned: dict[int, Returned] = {}
        before = len(tracker.pending)
        if screen is not None or tracker.restored or tracker.attempts or records[0].offset < tracker.end:
            records = self._screen(owned, records, screen, refused, returned, now)
        self.counters.consumed += len(records)
        by_key, lane = self._by_key, self._fixed_lane
        pending, lanes, ready, queue = owned.pending, owned.lanes, self.ready, self._queue
        held = 0
        # This loop runs for each event: 0.35 us of the 3 us that one takes in all.
        for record in records:
            key, value = record.key, record.value
            if by_key:
                lane = key
            size = record_size(record) if record.headers else (len(value) if value else 0) + (len(key) if key else 0)
            held += size
            delivery = Delivery(record, owned, lane, size)
            pending[record.offset] = delivery
            if lane is not None:
                if lane in lanes:
                    head = lanes[lane]
                    follow(head, delivery)
                    if queue is not None and head.state == State.READY:
                        queue.joined(head, delivery)
                    continue
                lanes[lane] = delivery
            if queue is not None:
                queue.push(delivery, now)
            else:
                delivery.state = State.READY
                ready.append(delivery)
        if len(pending) - before > len(records):
            # What was screened out of the common way came in before the others: bring all into offset order.
            for offset in sorted(offset for offset in pending if offset >= tracker.end):
                pending[offset] = pending.pop(offset)
        owned.held_bytes += held
        tracker.advance(stop)
        if tracker.attempts:
            self._restore_attempts(owned)
        for offset, back in returned.items():
            self._come_back(pending[offset], back)
        return refused

    @staticmethod
    def _come_back(delivery: Delivery, back: Returned) -> None:
        history = delivery.remember()
        history.origin = back.origin
        history.attempts = max(history.attempts, back.attempts)

    def _screen(
        self,
        owned: Partition,
        records: Sequence[Record],
        screen: Screen | None,
        refused: list[tuple[Delivery, Failure]],
        returned: dict[int, Returned],
        now: float,
    ) -> list[Record]:
        tracker, kept = owned.offsets, []
        for record in records:
            if record.offset < tracker.end or tracker.is_done(record.offset):
                continue
            verdict = True if screen is None else screen(record)
            attempts, origin = tracker.attempts.get(record.offset, 0), None
            if isinstance(verdict, Returned):
                attempts, origin = max(attempts, verdict.attempts), verdict.origin
                verdict = verdict.failure or verdict
            elif verdict is not True and verdict and verdict.error_type == "Expired" and self._retry.then == "pause":
                # It keeps its place in its lane, until an operator resumes.
                self._pause_for(record, Reason.EXPIRED, attempts, verdict)
                verdict = True
            is_used_up = attempts >= self._retry.max_attempts
            may_run = not is_used_up or self._retry.then == "pause"
            if is_used_up and may_run and self.can_be_resumed and (verdict is True or isinstance(verdict, Returned)):
                self._pause_for(record if origin is None else origin, Reason.ATTEMPTS, attempts, _USED_UP)
            if verdict is True and may_run:
                kept.append(record)
                continue
            if (verdict is True or isinstance(verdict, Returned)) and not may_run:
                # Its last attempt was made by a former owner, which did not live to write the dead letter.
                verdict = _USED_UP
            if isinstance(verdict, Returned) and verdict.wait <= 0 and not self._unordered:
                returned[record.offset] = verdict
                kept.append(record)
                continue
            self.counters.consumed += 1
            if verdict is False:
                self.counters.filtered += 1
                continue
            delivery = Delivery(record, owned, None, record_size(record))
            history = delivery.remember()
            history.attempts, history.origin = attempts, origin
            tracker.attempts.pop(record.offset, None)
            owned.pending[record.offset] = delivery
            owned.held_bytes += delivery.size
            if isinstance(verdict, Returned):
                history.due = now + verdict.wait
                self._park(delivery)
            elif isinstance(verdict, Failure):
                delivery.state = State.SETTLING
                refused.append((delivery, verdict))
        return kept

    def _restore_attempts(self, owned: Partition) -> None:
        attempts = owned.offsets.attempts
        for offset in [offset for offset in attempts if offset < owned.offsets.end]:
            count = attempts.pop(offset)
            if (delivery := owned.pending.get(offset)) is not None:
                delivery.remember().attempts = count

    # -- stretches

    def take_stretches(self) -> None:
        """From now on events may be left in one piece: the caller asks :meth:`begin` or :meth:`begin_batch` too."""
        self._takes_stretches = self._can_stretch

    def begin(self, now: float) -> Stretch | None:
        """Events to run one after another, each as if it were taken and done at once; None when there are none.

        It holds for those that end without having waited. Before anything else runs the caller tells how many that
        were: with :meth:`passed`, or with :meth:`break_off` when the next one waits, fails or leaves a result.
        """
        if self.ready or self.gate.is_asked:
            # What is ready came first; what a rate or a breaker holds back is let go one by one.
            self._unroll_all()
            return None
        if not self.stretches or self.in_flight >= self.gate.limit:
            return None
        self._now = now
        self.in_flight += 1
        return self.stretches.first

    def passed(self, stretch: Stretch, count: int) -> None:
        """The first so many were handled, each by itself, and none of them runs now."""
        self.in_flight -= 1
        self.counters.invocations += count
        if count:
            self._pass(stretch, count)

    def break_off(self, stretch: Stretch, count: int) -> Delivery:
        """The first so many were handled; the next is taken like any other, and those behind it are admitted."""
        self.counters.invocations += count + 1
        [delivery] = self._break(stretch, count, 1)
        return delivery

    def begin_batch(self, now: float) -> list[Part] | None:
        """The next batch of events that are not admitted, as if it were taken and done at once; None when there is none.

        As with :meth:`begin`: told with :meth:`passed_batch` if it has not waited, else with :meth:`break_off_batch`.
        """
        queue, stretches = self._queue, self.stretches
        if queue is None or not stretches:
            return None
        queued, due = queue.due_at(), stretches.due_at(queue.count, queue.size)
        if self.gate.is_asked or (queued is not None and queued <= now):
            self._unroll_all()
            return None
        if due is None or due > now or self.in_flight >= self.gate.limit:
            return None
        if queue.count and not stretches.is_enough():
            # Together with what is queued they are enough, or have waited long enough.
            self._unroll_all()
            return None
        self._now = now
        self.in_flight += 1
        return stretches.gather()

    def passed_batch(self, parts: Sequence[Part]) -> None:
        """All events of the batch were handled."""
        self.in_flight -= 1
        self.counters.invocations += 1
        for stretch, count in parts:
            self._pass(stretch, count)

    def break_off_batch(self, parts: Sequence[Part]) -> list[Delivery]:
        """The events of the batch are taken like any others, and those behind them are admitted."""
        self.counters.invocations += 1
        return [delivery for stretch, count in parts for delivery in self._break(stretch, 0, count)]

    def _pass(self, stretch: Stretch, count: int) -> None:
        self.counters.consumed += count
        self.counters.done += count
        self.stretches.drop(stretch, count)
        stretch.partition.offsets.advance(stretch.records[0].offset if stretch.records else stretch.end)

    def _break(self, stretch: Stretch, done: int, taken: int) -> list[Delivery]:
        """End a stretch: its first events are done, those after them start, the others are admitted."""
        owned, records = stretch.partition, stretch.records
        since = stretch.since
        self.stretches.drop(stretch, len(records))
        self.counters.consumed += done + taken
        self.counters.done += done
        started = []
        for record in records[done : done + taken]:
            lane = record.key if self._by_key else self._fixed_lane
            delivery = Delivery(record, owned, lane, record_size(record))
            delivery.state = State.IN_FLIGHT
            owned.pending[record.offset] = delivery
            owned.held_bytes += delivery.size
            if lane is not None:
                owned.lanes.setdefault(lane, delivery)
            started.append(delivery)
        if done + taken:
            owned.offsets.advance(records[done + taken - 1].offset + 1)
        if len(records) > done + taken:
            self._admit(owned, records[done + taken :], None, since)
            if self._queue is not None:
                self._queue.sort()
        owned.offsets.advance(stretch.end)
        return started

    def _unroll_all(self) -> None:
        for stretch in self.stretches:
            self._break(stretch, 0, 0)

    # -- starting

    def take(self, now: float) -> Delivery | None:
        """The next event to start, for a function that takes one at a time; None when there is none now."""
        if not self.ready or self.in_flight >= self.gate.limit or (self.gate.is_asked and not self.gate.may_start(now)):
            return None
        self._now = now
        delivery = self.ready.popleft()
        delivery.state = State.IN_FLIGHT
        self.in_flight += 1
        self.counters.invocations += 1
        return delivery

    def take_batch(self, now: float) -> list[Delivery] | None:
        """The next batch to start, for a function that takes lists; None when there is none now."""
        if self._queue is None:
            msg = "take() is for functions that take one event at a time, take_batch() for those that take lists"
            raise TypeError(msg)
        if (
            not self.ready
            or self.in_flight >= self.gate.limit
            or (self.gate.is_asked and not self.gate.may_start(now, peek=True))
        ):
            return None
        batch = self._queue.take(now)
        if batch is None:
            return None
        if self.gate.is_asked:
            self.gate.may_start(now)
        self.in_flight += 1
        self.counters.invocations += 1
        return batch

    def tick(self, now: float) -> None:
        """Make ready what has waited long enough for its next attempt."""
        self._now = now
        due: list[Delivery] = []
        while self._waiting and self._waiting[0][0] <= now:
            delivery = heapq.heappop(self._waiting)[2]
            history = delivery.remember()
            if delivery.state == State.PARKED and not history.held and history.due <= now:
                delivery.partition.parked -= 1
                history.due = 0.0
                delivery.state = State.READY  # an entry of it that follows is stale
                due.append(delivery)
        # Before all that only came in meanwhile, which would make a wait of 0.1 s one of seconds, and those that
        # have waited longest before the others.
        for delivery in reversed(due):
            self._make_ready(delivery, now, first=True)

    def wakes_at(self, now: float) -> float | None:
        """When to call again though nothing else happened; None when only an event or a result can change anything."""
        times = [self._waiting[0][0]] if self._waiting else []
        if self.has_work and self.in_flight < self.gate.limit:
            start = now
            if self.gate.is_asked:
                opens = self.gate.opens_at(now)
                if opens is None:
                    return times[0] if times else None
                start = max(start, opens)
            if self._queue is not None:
                waits = (self._queue.due_at(), self.stretches.due_at(self._queue.count, self._queue.size))
                start = max(start, min(at for at in waits if at is not None))
            times.append(start)
        return min(times, default=None)

    @property
    def has_work(self) -> bool:
        """Whether anything may start, as far as lanes go."""
        return bool(self.ready or self.stretches)

    def is_stalled(self, now: float) -> bool:
        """Whether something may start at this moment: asked twice, with nothing done between, that it should have."""
        if self.in_flight >= self.gate.limit or not self.has_work:
            return False
        return (at := self.wakes_at(now)) is not None and at <= now

    def pause(self) -> None:
        """Start nothing until :meth:`resume`."""
        self.gate.pause()
        self._forgives = False

    def resume(self) -> None:
        """Start again. Under ``Retry(then="pause")`` events whose attempts are used up have all of them again.

        It is an operator's word, and holds for those too that a former owner's commit tells of, until the next pause.
        """
        self.gate.resume()
        self.pause_cause = None
        if self._retry.then == "pause":
            self._forgives = True
            for owned in self._partitions.values():
                self._forgive(owned)

    def took(self, seconds: float) -> None:
        """An invocation that is not settled yet took so long to its answer: what ``concurrency="auto"`` goes by."""
        self.gate.took(seconds, in_flight=self.in_flight)

    # -- settling

    def done(self, delivery: Delivery) -> None:
        """One event was handled, and left nothing to produce. The short way of :meth:`settle`."""
        self.in_flight -= 1
        if self.gate.is_asked:
            self.gate.delivered()
        partition = delivery.partition
        if not partition.active:
            self.counters.late += 1
            return
        self.counters.done += 1
        lane, followers = delivery.lane, delivery.followers
        if lane is None or not partition.open or self._queue is not None:
            self._complete(delivery)
            return
        # _complete() for the common case, without its calls: 0.1 us less for each event, 0.5 us where others wait.
        delivery.state = State.DONE
        del partition.pending[delivery.record.offset]
        partition.held_bytes -= delivery.size
        if not followers:
            del partition.lanes[lane]
            return
        head = followers.popleft()
        if followers:
            head.followers = followers
        partition.lanes[lane] = head
        if head.history is None:
            head.state = State.READY
            self.ready.append(head)
        else:
            self._lead(head, self._now)

    def settle(
        self,
        batch: Sequence[Delivery],
        failures: Mapping[int, Failure] | Failure | None,
        *,
        now: float,
        wall_ms: int,
        rest: Failure | None = None,
        has_results: bool = False,
    ) -> Settlement | None:
        """Turn what an invocation came to into effects.

        Args:
            batch: what was started, one event or more.
            failures: index in the batch -> what failed, all others are done; one failure for the whole
                batch; or None.
            now: the monotonic clock.
            wall_ms: the wall clock.
            rest: the events that ``failures`` does not name failed together, and nobody said which of them.
            has_results: the invocation left results, which must be produced before its events are done.

        Returns:
            What must be produced first, to be handed to :meth:`produced` then; None when nothing must.
        """
        self.in_flight -= 1
        self._now = now
        named: Mapping[int, Failure] = {}
        if isinstance(failures, Failure):
            rest = failures
        elif failures is not None:
            named = failures
        self.gate.heed(rest, named, now)
        if rest is None and not named and not has_results:
            self._complete_batch(batch)
            return None
        half = wait = None
        if rest is not None and rest.kind is not FailureKind.NOT_DELIVERED and len(batch) - len(named) > 1:
            half = (len(batch) - len(named) + 1) // 2
            wait = self._judge.wait_of_halves(rest)
        settlement = Settlement()
        again: dict[tuple[Partition, bytes], list[Delivery]] = {}
        for index, delivery in enumerate(batch):
            if not delivery.partition.active:
                self.counters.late += 1
                continue
            lane = None if delivery.lane is None else (delivery.partition, delivery.lane)
            failure = named.get(index, rest)
            if half is not None and index not in named:
                self._judge.halve(delivery, half)
            if lane is not None and lane in again:
                # It ran before the failed one ahead of it in its lane was done: it runs again after it.
                again[lane].append(delivery)
                continue
            if failure is None:
                settlement.done.append(delivery)
                continue
            self._judge.note(delivery, failure, wall_ms)
            if wait is not None and index not in named:
                self.counters.retried += 1
                delivery.remember().due = now + wait
            elif not self._judge.try_again(delivery, failure, settlement, now, wall_ms):
                continue
            if lane is None:
                self._park(delivery)
            else:
                again[lane] = [delivery]
        if settlement.must_write or (has_results and settlement.done):
            self._requeue(batch, again, settlement, now)
            return settlement
        self._requeue(batch, again, None, now)
        self.produced(settlement)
        return None

    def give_up(self, delivery: Delivery, failure: Failure, *, wall_ms: int) -> Settlement | None:
        """Settle an event that :meth:`admit` refused."""
        settlement = Settlement()
        self._judge.note(delivery, failure, wall_ms)
        reasons = {"Expired": Reason.EXPIRED, USED_UP: Reason.ATTEMPTS}
        self._judge.give_up(delivery, reasons.get(failure.error_type, Reason.REJECTED), settlement, self._now)
        if settlement.must_write:
            return settlement
        self.produced(settlement)
        return None

    def produced(self, settlement: Settlement) -> None:
        """All records of the settlement are acknowledged: its events are done."""
        counters = self.counters
        counters.done += self._complete_all(settlement.done)
        counters.dropped += self._complete_all(settlement.dropped)
        counters.retry_topic += self._complete_all([moved.delivery for moved in settlement.moved])
        for letter in settlement.dead:
            if self._complete_all([letter.delivery]):
                counters.dead_lettered += 1
                counters.reasons[letter.reason] = counters.reasons.get(letter.reason, 0) + 1

    def hold(self, batch: Iterable[Delivery]) -> None:
        """An abandoned thread still works on these: it keeps its place in ``in_flight``, they theirs in their lanes."""
        self.in_flight += 1
        for delivery in batch:
            delivery.remember().held = True

    def release(self, batch: Iterable[Delivery], now: float) -> None:
        """The abandoned thread has ended."""
        self.in_flight -= 1
        for delivery in batch:
            history = delivery.remember()
            history.held = False
            if delivery.state == State.PARKED and delivery.partition.open and history.due <= now:
                self._wait_until(history.due, delivery)

    # -- committing

    def due_commits(self) -> dict[TopicPartition, Committed]:
        """What to commit now: partitions of which the broker does not have the latest yet."""
        due = {}
        for id_, partition in self._partitions.items():
            commit = partition.due_commit(self.metadata_limit)
            if commit is not None:
                due[id_] = commit
        return due

    def committed(self, commits: Mapping[TopicPartition, Committed]) -> None:
        """The broker has them."""
        for id_, commit in commits.items():
            if (partition := self._partitions.get(id_)) is not None:
                partition.committed(commit)

    # -- inside

    def _pause_for(self, record: Record, reason: Reason, attempts: int, failure: Failure) -> None:
        if not self.gate.paused:
            self.pause_cause = PauseCause(
                stream=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=reason,
                attempts=attempts,
                error_type=failure.error_type,
                message=failure.message,
            )
        self.pause()

    def _forgive(self, owned: Partition) -> None:
        """Give back the attempts of events that have used all of theirs."""
        most = self._retry.max_attempts
        restored = owned.offsets.attempts
        for offset in [offset for offset, count in restored.items() if count >= most]:
            del restored[offset]
            owned.offsets.touched += 1
        for delivery in owned.pending.values():
            history = delivery.history
            # Not of one whose dead letter is being written: that tells how many there were.
            if history is not None and history.attempts >= most and delivery.state != State.SETTLING:
                delivery.remember().attempts = 0

    def _requeue(
        self,
        batch: Sequence[Delivery],
        again: Mapping[tuple[Partition, bytes], Sequence[Delivery]],
        settlement: Settlement | None,
        now: float,
    ) -> None:
        """Give the lanes of a batch their next heads: what is being settled, what runs again, or who waited."""
        holders: dict[tuple[Partition, bytes], Delivery] = {}
        if settlement is not None:
            for delivery in settlement.deliveries():
                delivery.state = State.SETTLING
                if delivery.lane is not None:
                    holders.setdefault((delivery.partition, delivery.lane), delivery)
        for chain in again.values():
            for delivery in chain:
                delivery.state = State.QUEUED
        heads = [
            (delivery, delivery.lane)
            for delivery in batch
            if delivery.lane is not None
            and delivery.partition.active
            and delivery.partition.lanes.get(delivery.lane) is delivery
        ]
        for old, lane in heads:
            holder = holders.get((old.partition, lane))
            head = succeed(old, [*([holder] if holder else ()), *again.get((old.partition, lane), ())])
            if head is not None and head is not holder:
                self._lead(head, now)
        for delivery in batch:
            if delivery.state != State.SETTLING:
                delivery.partition.unsettled.discard(delivery)

    def _lead(self, head: Delivery, now: float) -> None:
        """``head`` has come to lead its lane: it may run, or waits for its time."""
        if not head.partition.open:
            return
        if head.history is not None and (head.history.due > 0.0 or head.history.held):
            self._park(head)
        else:
            self._make_ready(head, now)

    def _park(self, delivery: Delivery) -> None:
        delivery.state = State.PARKED
        if delivery.partition.open:
            delivery.partition.parked += 1
            self._wait_until(delivery.remember().due, delivery)

    def _wait_until(self, due: float, delivery: Delivery) -> None:
        self._ticket += 1
        heapq.heappush(self._waiting, (due, self._ticket, delivery))

    def _make_ready(self, head: Delivery, now: float, *, first: bool = False) -> None:
        """``head`` may start: behind all that is ready, or ``first``, when it has waited its time already."""
        if self._queue is not None:
            self._queue.push(head, now, first=first)
            return
        head.state = State.READY
        if first:
            self.ready.appendleft(head)
        else:
            self.ready.append(head)

    def _complete_all(self, deliveries: Iterable[Delivery]) -> int:
        count = 0
        for delivery in deliveries:
            if delivery.partition.active:
                self._complete(delivery)
                count += 1
            else:
                self.counters.late += 1
        return count

    def _complete_batch(self, batch: Sequence[Delivery]) -> None:
        """All of a batch are done, and nothing is to be produced: 0.2 us an event less than the way of failures."""
        done = 0
        for delivery in batch:
            partition = delivery.partition
            if not partition.active:
                continue
            done += 1
            if delivery.lane is None and partition.open:
                delivery.state = State.DONE
                del partition.pending[delivery.record.offset]
                partition.held_bytes -= delivery.size
            else:
                self._complete(delivery)
        self.counters.done += done
        self.counters.late += len(batch) - done

    def _complete(self, delivery: Delivery) -> None:
        partition = delivery.partition
        delivery.state = State.DONE
        del partition.pending[delivery.record.offset]
        partition.held_bytes -= delivery.size
        lane = delivery.lane
        if lane is not None and partition.lanes.get(lane) is delivery:
            if delivery.followers:
                head = succeed(delivery, ())
                if head is not None:
                    self._lead(head, self._now)
            else:
                del partition.lanes[lane]
        if not partition.open:
            partition.unsettled.discard(delivery)
