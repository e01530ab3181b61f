"""A state machine that drives a scheduler with whatever a day can bring, beside a small model of its promises.

The model knows the log, what each ownership was told, and what was stored as a commit. It shares no code with
the scheduler but the reading of commit metadata, which it compares with what it knows itself.
"""

from __future__ import annotations

import copy
import random
import sys
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bindings.failure import Failure, FailureKind
from bindings.policies import Batch, Retry
from dispatcher.core.delivery import Delivery
from dispatcher.core.offsets import decode_metadata
from dispatcher.core.partition import Partition
from dispatcher.core.record import Committed, Record, TopicPartition
from dispatcher.core.scheduler import Scheduler
from dispatcher.core.settlement import Settlement
from dispatcher.core.stretch import Stretch

from .support import P0, P1, WALL, Rec, failure, make_binding

PARTITIONS = (P0, P1)
KEEP, FILTER, BAD = b"keep", b"filter", b"bad"
OUTCOMES = (
    "done",
    "done",
    "done",
    "done",
    "fail",
    "fail",
    "fail",
    "after",
    "final",
    "terminal",
    "undecodable",
    "not_delivered",
    "oversize",
)
FAILURES = {
    "fail": failure(),
    "after": failure(retry_after=7.0),
    "final": failure(retryable=False),
    "terminal": failure(FailureKind.TERMINAL),
    "undecodable": failure(FailureKind.TERMINAL, counts=False),
    "not_delivered": failure(FailureKind.NOT_DELIVERED),
    "oversize": failure(FailureKind.OVERSIZE),
}


def screen(record: Record) -> bool | Failure:
    """Keeps, leaves out or refuses a record as its value says."""
    if record.value == BAD:
        return failure(FailureKind.TERMINAL)
    return record.value != FILTER


@dataclass(eq=False)
class Ownership:
    """What the model knows of one ownership of a partition."""

    id: TopicPartition
    partition: Partition
    position: int
    done: set[int]
    attempts: dict[int, int]
    end: int
    #: Where the consumer stands: behind the last record that it handed over.
    handed: int = 0
    open: bool = True
    gone: bool = False
    pending: dict[int, Rec] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    settling: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)
    not_before: dict[int, float] = field(default_factory=dict)
    batch_limit: dict[int, int] = field(default_factory=dict)
    #: Refused at the door: on their way to the dead letters without a lane.
    refused: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Running:
    """One invocation in flight."""

    batch: list[Delivery]
    owners: list[Ownership]


@dataclass(eq=False)
class Unproduced:
    """A settlement of which the records are on their way."""

    settlement: Settlement
    done: list[tuple[Ownership, int]]
    dead: list[tuple[Ownership, int]]
    dropped: list[tuple[Ownership, int]]
    moved: list[tuple[Ownership, int]] = field(default_factory=list)


@dataclass
class Stored:
    """A commit that the broker has, and what was true when it was made."""

    commit: Committed = field(default_factory=lambda: Committed(0))
    done: frozenset[int] = frozenset()
    attempts: dict[int, int] = field(default_factory=dict)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"a", b"b", None, b""]),
        st.sampled_from([KEEP] * 8 + [FILTER, BAD]),
        st.sampled_from([0, 0, 0, 1, 3]),
    ),
    min_size=1,
    max_size=8,
)


class DeliveryMachine(RuleBasedStateMachine):
    """Random events, outcomes, rebalances, crashes, commits and clock steps against the model."""

    scheduler_class: ClassVar[type[Scheduler]] = Scheduler

    @initialize(
        order=st.sampled_from(["key", "key", "partition", "none"]),
        batch=st.one_of(
            st.none(),
            st.builds(
                Batch,
                max_events=st.integers(1, 6),
                max_wait=st.sampled_from([0.0, 2.0]),
                max_bytes=st.sampled_from([14, 1000]),
                group_by=st.sampled_from([None, None, "key"]),
            ),
        ),
        retry=st.builds(
            Retry,
            max_attempts=st.sampled_from([1, 1, 2, 3]),
            initial=st.sampled_from([0.0, 1.0]),
            jitter=st.sampled_from(["full", "none"]),
            then=st.sampled_from(["dead_letter", "dead_letter", "drop", "pause"]),
            topic_after=st.sampled_from([None, None, 1.0]),
            park_limit=st.sampled_from([1_000, 1_000, 2]),
        ),
        concurrency=st.integers(1, 4),
        rate=st.sampled_from([None, None, None, 2.0]),
        metadata_limit=st.sampled_from([4096, 4096, 4096, 20]),
        seed=st.integers(0, 9),
        in_one_piece=st.sampled_from([True, True, False]),
        events=EVENTS,
    )
    def begin(
        self,
        order: Any,
        batch: Any,
        retry: Any,
        concurrency: int,
        rate: Any,
        metadata_limit: int,
        seed: int,
        in_one_piece: bool,
        events: list[tuple[bytes | None, bytes, int]],
    ) -> None:
        batch_function, batch = batch is not None, batch or Batch()
        self.binding = make_binding(
            batch_function=batch_function,
            order=order,
            # A binding refuses to group by key what has no order.
            batch=replace(batch, group_by=None) if order == "none" else batch,
            retry=retry,
            concurrency=concurrency,
            rate=rate,
        )
        self.retry: Retry = retry
        self.order = order
        self.metadata_limit = metadata_limit
        self.in_one_piece = in_one_piece
        self.rng = random.Random(seed)
        self.now = 100.0
        self.log: dict[TopicPartition, list[Rec]] = {id_: [] for id_ in PARTITIONS}
        self.fates: dict[tuple[TopicPartition, int], str] = {}
        self.stored = {id_: Stored() for id_ in PARTITIONS}
        self.boot()
        self.produce(P0, events, True)

    def boot(self) -> None:
        """A new process, which owns all partitions."""
        self.scheduler = self.scheduler_class(
            self.binding, now=self.now, rng=self.rng, metadata_limit=self.metadata_limit
        )
        if self.in_one_piece:
            self.scheduler.take_stretches()
        self.owned: dict[TopicPartition, Ownership] = {}
        self.in_flight: list[Running] = []
        self.unproduced: list[Unproduced] = []
        self.abandoned: list[Running] = []
        self.counts = {"done": 0, "dead_lettered": 0, "dropped": 0, "retry_topic": 0, "filtered": 0, "late": 0}
        self.paused = self.forgives = False
        for id_ in PARTITIONS:
            self.own(id_)

    def own(self, id_: TopicPartition) -> None:
        """Begin an ownership from what is stored."""
        if (old := self.owned.get(id_)) is not None:
            old.gone, old.open = True, False
        stored = self.stored[id_]
        offsets = decode_metadata(stored.commit.offset, stored.commit.metadata)
        known = {
            record.offset
            for record in self.log[id_]
            if record.offset < stored.commit.offset
            or any(start <= record.offset < stop for start, stop in offsets.done)
        }
        partition = self.scheduler.assign(id_, stored.commit.offset, offsets)
        own = Ownership(id_, partition, stored.commit.offset, known, dict(offsets.attempts), stored.commit.offset)
        self.owned[id_] = own
        if self.forgives:
            self.forgive(own)

    def forgive(self, own: Ownership) -> None:
        """An operator has resumed: what waits with no attempt left has all of them again."""
        for offset, count in list(own.attempts.items()):
            if count >= self.retry.max_attempts and offset not in own.settling:
                del own.attempts[offset]

    # -- the world

    @rule(
        id_=st.sampled_from(PARTITIONS),
        events=EVENTS,
        fetch=st.sampled_from([True, True, False]),
    )
    def produce(self, id_: TopicPartition, events: list[tuple[bytes | None, bytes, int]], fetch: bool) -> None:
        """Events come into the log, some with a gap before them."""
        log = self.log[id_]
        for key, value, gap in events:
            offset = (log[-1].offset + 1 if log else 0) + gap
            log.append(Rec(id_.topic, id_.partition, offset, WALL, key, value))
        if fetch:
            self.poll(id_, len(events))

    @rule(id_=st.sampled_from(PARTITIONS), most=st.integers(1, 10), rewind=st.sampled_from([0, 0, 0, 2]))
    def poll(self, id_: TopicPartition, most: int, rewind: int = 0) -> None:
        """The broker hands over the next records, sometimes ones that were handed over before."""
        own = self.owned.get(id_)
        if own is None:
            assert self.scheduler.admit(id_, self.log[id_][:most], now=self.now, screen=screen) == []
            return
        start = max(own.position, own.end - rewind)
        records = [record for record in self.log[id_] if record.offset >= start][:most]
        # Only what nobody screens may be left in one piece.
        is_plain = self.in_one_piece and bool(records) and records[0].value == KEEP
        if is_plain:
            records = list(takewhile(lambda record: record.value == KEEP, records))
        refused = self.scheduler.admit(id_, records, now=self.now, screen=None if is_plain else screen)
        if not records or not own.open:
            assert refused == []
            return
        expected = []
        for record in records:
            offset = record.offset
            if offset < own.end or offset in own.done:
                continue
            if record.value == FILTER:
                own.done.add(offset)
                self.finish(own, offset, "filtered")
                continue
            own.pending[offset] = record
            used_up = own.attempts.get(offset, 0) >= self.retry.max_attempts and self.retry.then != "pause"
            if record.value == BAD or used_up:
                expected.append(offset)
                own.settling.add(offset)
                own.refused.add(offset)
        own.end = own.handed = max(own.end, records[-1].offset + 1)
        assert [delivery.record.offset for delivery, _ in refused] == expected
        for delivery, why in refused:
            settlement = self.scheduler.give_up(delivery, why, wall_ms=WALL)
            event = (own, delivery.record.offset)
            if self.retry.then == "drop":
                assert settlement is None
                self.complete(*event, "dropped")
            else:
                assert settlement is not None
                assert [letter.delivery for letter in settlement.dead] == [delivery]
                self.unproduced.append(Unproduced(settlement, [], [event], []))

    @precondition(lambda self: self.in_one_piece)
    @rule(count=st.integers(1, 3))
    def produce_plainly(self, count: int) -> None:
        """Events that nobody leaves out come into all partitions, and are handed over at once."""
        for id_ in PARTITIONS:
            self.produce(id_, [(key, KEEP, 0) for key in (b"a", b"b", None)][:count], True)

    @rule(id_=st.sampled_from(PARTITIONS))
    def poll_nothing(self, id_: TopicPartition) -> None:
        """The broker has nothing more, and the consumer says where it stands."""
        if (own := self.owned.get(id_)) is not None and own.handed:
            own.partition.pass_to(own.handed)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 60.0]), start=st.booleans())
    def wait(self, seconds: float, start: bool) -> None:
        """Time passes."""
        self.now += seconds
        self.scheduler.tick(self.now)
        if start:
            self.start_one()

    # -- starting

    @rule(most=st.integers(1, 5), stretches=st.booleans())
    def start(self, most: int, stretches: bool) -> None:
        """What may start does."""
        self.scheduler.tick(self.now)
        for _ in range(most):
            if not self.start_one(stretches=stretches):
                return

    @precondition(lambda self: self.in_one_piece)
    @rule(count=st.sampled_from([1, 2, 3, 100]), waits=st.booleans())
    def run_stretch(self, count: int, waits: bool) -> None:
        """Events that nobody has admitted run one after another, or as a batch, and perhaps the last of them waits."""
        scheduler = self.scheduler
        if self.binding.signature.batch:
            if (parts := scheduler.begin_batch(self.now)) is None:
                return
            self.check_place()
            passing = [self.unadmitted(record, each) for each, most in parts for record in each.records[:most]]
            self.check_batch(passing, [self.owner(delivery) for delivery in passing])
            if waits:
                batch = scheduler.break_off_batch(parts)
                assert [self.place(each) for each in batch] == [self.place(each) for each in passing]
                self.run(batch)
                return
            self.pass_on(passing)
            scheduler.passed_batch(parts)
            return
        if (stretch := scheduler.begin(self.now)) is None:
            return
        self.check_place()
        count = min(count, len(stretch.records) - waits)
        passing = [self.unadmitted(record, stretch) for record in stretch.records[:count]]
        for delivery in passing:
            self.pass_on([delivery])
        if waits:
            self.run([scheduler.break_off(stretch, count)])
        else:
            scheduler.passed(stretch, count)

    @staticmethod
    def unadmitted(record: Record, stretch: Stretch) -> Delivery:
        """An event of a stretch in the form in which all others are looked at."""
        return Delivery(record, stretch.partition, None, 0)

    def check_place(self) -> None:
        assert not self.paused, "something started while paused"
        assert self.scheduler.in_flight <= self.scheduler.gate.limit <= self.binding.concurrency

    def pass_on(self, batch: list[Delivery]) -> None:
        """These start, and are done before anybody looks."""
        for place, delivery in enumerate(batch):
            own = self.owner(delivery)
            self.check_start(delivery, own, {each.record.offset for each in batch[:place]})
        for delivery in batch:
            self.complete(self.owner(delivery), delivery.record.offset, "done")

    def could_start(self, scheduler: Scheduler, now: float) -> bool:
        """Whether anything starts at that moment."""
        if self.binding.signature.batch:
            return scheduler.begin_batch(now) is not None or scheduler.take_batch(now) is not None
        return scheduler.begin(now) is not None or scheduler.take(now) is not None

    def start_one(self, *, stretches: bool = True) -> bool:
        if self.binding.signature.batch:
            if stretches and (parts := self.scheduler.begin_batch(self.now)) is not None:
                self.run(self.scheduler.break_off_batch(parts))
                return True
            batch = self.scheduler.take_batch(self.now)
        else:
            if stretches and (stretch := self.scheduler.begin(self.now)) is not None:
                self.run([self.scheduler.break_off(stretch, 0)])
                return True
            delivery = self.scheduler.take(self.now)
            batch = None if delivery is None else [delivery]
        if batch is None:
            return False
        self.run(batch)
        return True

    def run(self, batch: list[Delivery]) -> None:
        """These are in flight now."""
        assert not self.paused, "something started while paused"
        assert batch, "an empty batch started"
        owners = [self.owner(delivery) for delivery in batch]
        self.check_batch(batch, owners)
        for place, (delivery, own) in enumerate(zip(batch, owners, strict=True)):
            before = {each.record.offset for each in batch[:place] if each.partition is own.partition}
            self.check_start(delivery, own, before)
            own.running.add(delivery.record.offset)
            own.not_before.pop(delivery.record.offset, None)
        self.in_flight.append(Running(batch, owners))
        assert len(self.in_flight) + len(self.abandoned) <= self.scheduler.gate.limit <= self.binding.concurrency

    def owner(self, delivery: Delivery) -> Ownership:
        own = self.owned.get(TopicPartition(delivery.record.topic, delivery.record.partition))
        assert own is not None, "an event of a partition that is not owned started"
        assert own.partition is delivery.partition, "an event of an earlier ownership started"
        assert own.open, "an event of a revoked partition started"
        return own

    def check_batch(self, batch: list[Delivery], owners: list[Ownership]) -> None:
        policy = self.binding.batch
        assert len(batch) <= policy.max_events
        size = sum(len(delivery.record.value or b"") + len(delivery.record.key or b"") for delivery in batch)
        assert len(batch) == 1 or size <= policy.max_bytes
        for delivery, own in zip(batch, owners, strict=True):
            assert len(batch) <= own.batch_limit.get(delivery.record.offset, len(batch)), "a half was not halved"
        if self.order == "partition" or policy.group_by == "key":
            lanes = {(own.id, self.lane(delivery.record)) for delivery, own in zip(batch, owners, strict=True)}
            assert len(lanes) == 1, "a batch holds two lanes"
            assert len(batch) == 1 or self.lane(batch[0].record) is not None

    def check_start(self, delivery: Delivery, own: Ownership, before: set[int]) -> None:
        offset = delivery.record.offset
        assert offset in own.pending, "an event that is done started"
        assert offset not in own.running, "an event started twice"
        assert offset not in own.settling
        assert offset not in own.held, "an event started while an abandoned thread works on it"
        assert self.now >= own.not_before.get(offset, 0.0), "an event started before its time"
        attempts = own.attempts.get(offset, 0)
        assert delivery.attempts == attempts
        assert attempts < self.retry.max_attempts or self.retry.then == "pause", "one attempt too many"
        if (lane := self.lane(delivery.record)) is None:
            return
        for other, record in own.pending.items():
            if self.lane(record) != lane or other in own.refused:
                continue
            if other < offset:
                assert other in before, f"{offset} started before {other}, which is ahead of it in its lane"
            elif other > offset:
                assert other not in own.running | own.settling, f"{offset} started after {other}"

    def lane(self, record: Record) -> bytes | None:
        if self.order == "none":
            return None
        return b"" if self.order == "partition" else record.key

    # -- settling

    @precondition(lambda self: self.in_flight)
    @rule(
        index=st.integers(0, 3),
        outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=6, max_size=6),
        rest=st.sampled_from([None] * 6 + [*FAILURES]),
        results=st.booleans(),
        abandon=st.sampled_from(["no", "before", "after"]),
    )
    def end(self, index: int, outcomes: list[str], rest: str | None, results: bool, abandon: str) -> None:
        """An invocation ends in one of the many ways there are."""
        running = self.in_flight.pop(index % len(self.in_flight))
        named = {
            place: FAILURES[outcome]
            for place, outcome in enumerate(outcomes[: len(running.batch)])
            if outcome != "done"
        }
        self.settle(running, named, FAILURES.get(rest or ""), results, abandon)

    @precondition(lambda self: self.in_flight)
    @rule(index=st.integers(0, 3), outcome=st.sampled_from(OUTCOMES))
    def end_as_one(self, index: int, outcome: str) -> None:
        """All events of an invocation come to the same."""
        self.settle(self.in_flight.pop(index % len(self.in_flight)), {}, FAILURES.get(outcome))

    @precondition(lambda self: self.in_flight)
    @rule(index=st.integers(0, 3), abandon=st.sampled_from(["before", "after"]), seconds=st.sampled_from([0.0, 5.0]))
    def time_out(self, index: int, abandon: str, seconds: float) -> None:
        """A function takes too long, its thread goes on, and after a while more may start."""
        self.settle(self.in_flight.pop(index % len(self.in_flight)), {}, FAILURES["fail"], abandon=abandon)
        self.wait(seconds, True)

    def settle(
        self,
        running: Running,
        named: dict[int, Failure],
        rest: Failure | None = None,
        results: bool = False,
        abandon: str = "no",
    ) -> None:
        live = [
            (place, own, delivery.record.offset)
            for place, (own, delivery) in enumerate(zip(running.owners, running.batch, strict=True))
            if not own.gone
        ]
        self.counts["late"] += len(running.batch) - len(live)
        for _, own, offset in live:
            own.running.discard(offset)
        if not named and rest is None and not results and not self.binding.signature.batch:
            self.scheduler.done(running.batch[0])
            for _, own, offset in live:
                self.complete(own, offset, "done")
            return
        done, dead, dropped, again = self.judge(live, named, rest, len(running.batch) - len(named))
        if abandon == "before":
            self.abandon(running)
        settlement = self.scheduler.settle(
            running.batch,
            rest if rest is not None and not named else named,
            rest=rest,
            now=self.now,
            wall_ms=WALL + int(self.now * 1000),
            has_results=results,
        )
        if abandon == "after":
            self.abandon(running)
        moved = self.moved(settlement, again)
        if dead or moved or (results and done):
            assert settlement is not None, "nothing was given out to be produced"
            assert {self.place(delivery) for delivery in settlement.done} == {(own.id, at) for own, at in done}
            assert {self.place(each.delivery) for each in settlement.dead} == {(own.id, at) for own, at in dead}
            assert {self.place(delivery) for delivery in settlement.dropped} == {(own.id, at) for own, at in dropped}
            for own, offset in (*done, *dead, *dropped, *moved):
                own.settling.add(offset)
            self.unproduced.append(Unproduced(settlement, done, dead, dropped, moved))
            return
        assert settlement is None
        for own, offset in done:
            self.complete(own, offset, "done")
        for own, offset in dropped:
            self.complete(own, offset, "dropped")

    def moved(self, settlement: Settlement | None, again: list[tuple[Ownership, int]]) -> list[tuple[Ownership, int]]:
        """Which of those that are to be tried again wait in the retry topic."""
        places = {self.place(each.delivery) for each in settlement.moved} if settlement else set()
        moved = [(own, offset) for own, offset in again if (own.id, offset) in places]
        assert len(moved) == len(places), "something else than a retry was moved"
        assert not moved or self.order == "none", "an ordered function's event was moved"
        if self.retry.park_limit < 1_000:
            return moved
        after = self.retry.topic_after
        if after is None:
            assert not moved
        elif self.order == "none" and self.retry.jitter == "none":
            long = [(own, offset) for own, offset in again if own.not_before[offset] - self.now >= after]
            assert moved == long
        return moved

    @staticmethod
    def place(delivery: Delivery) -> tuple[TopicPartition, int]:
        return TopicPartition(delivery.record.topic, delivery.record.partition), delivery.record.offset

    def abandon(self, running: Running) -> None:
        """The function's thread goes on after its time."""
        self.abandoned.append(running)
        self.scheduler.hold(running.batch)
        for own, delivery in zip(running.owners, running.batch, strict=True):
            own.held.add(delivery.record.offset)

    def judge(
        self, live: list[tuple[int, Ownership, int]], named: dict[int, Failure], rest: Failure | None, unnamed: int
    ) -> tuple[list, list, list, list]:
        """What must become of each event of a batch."""
        done, dead, dropped, again = [], [], [], []
        stopped: set[tuple[TopicPartition, bytes]] = set()
        splits = rest is not None and rest.kind is not FailureKind.NOT_DELIVERED and unnamed > 1
        for place, own, offset in live:
            half = (unnamed + 1) // 2 if splits and place not in named else None
            if half is not None:
                own.batch_limit[offset] = min(half, own.batch_limit.get(offset, half))
            lane = self.lane(own.pending[offset])
            if lane is not None and (own.id, lane) in stopped:
                continue
            failed = named.get(place, rest)
            if failed is None:
                done.append((own, offset))
                continue
            if half is None:
                exhausted, pausable = self.count(own, offset, failed)
                if exhausted and self.retry.then == "drop":
                    dropped.append((own, offset))
                    continue
                if exhausted and not (pausable and self.retry.then == "pause"):
                    dead.append((own, offset))
                    continue
                if exhausted:
                    self.paused, self.forgives = True, False
                else:
                    again.append((own, offset))
            elif failed is FAILURES["after"]:
                own.not_before[offset] = self.now + 7.0
            elif failed is FAILURES["fail"] and self.retry.jitter == "none":
                own.not_before[offset] = self.now + self.retry.initial
            if lane is not None:
                stopped.add((own.id, lane))
        return done, dead, dropped, again

    def count(self, own: Ownership, offset: int, failed: Failure) -> tuple[bool, bool]:
        """Count the attempt; whether it was the last one, and whether an operator may be asked about it."""
        if failed.kind is FailureKind.NOT_DELIVERED:
            own.not_before[offset] = self.now + 1.0
            return False, False
        if failed.kind is FailureKind.OVERSIZE:
            return True, False
        own.attempts[offset] = own.attempts.get(offset, 0) + failed.counts
        if failed.kind is FailureKind.TERMINAL:
            return True, False
        if not failed.retryable or own.attempts[offset] >= self.retry.max_attempts:
            return True, True
        if failed.retry_after is not None:
            own.not_before[offset] = self.now + failed.retry_after
        elif self.retry.jitter == "none":
            own.not_before[offset] = self.now + self.retry.initial * 2 ** (own.attempts[offset] - 1)
        return False, False

    def complete(self, own: Ownership, offset: int, fate: str) -> None:
        own.settling.discard(offset)
        if own.gone:
            self.counts["late"] += 1
            return
        del own.pending[offset]
        own.attempts.pop(offset, None)
        own.done.add(offset)
        self.finish(own, offset, fate)

    def finish(self, own: Ownership, offset: int, fate: str) -> None:
        self.counts[fate] += 1
        self.fates[own.id, offset] = fate

    @precondition(lambda self: self.unproduced)
    @rule(index=st.integers(0, 3))
    def acknowledge(self, index: int) -> None:
        """The broker has the records of a settlement."""
        letter = self.unproduced.pop(index % len(self.unproduced))
        self.scheduler.produced(letter.settlement)
        fates = {
            "done": letter.done,
            "dead_lettered": letter.dead,
            "dropped": letter.dropped,
            "retry_topic": letter.moved,
        }
        for fate, events in fates.items():
            for own, offset in events:
                self.complete(own, offset, fate)

    @precondition(lambda self: self.abandoned)
    @rule(index=st.integers(0, 3))
    def thread_ends(self, index: int) -> None:
        """A thread that was given up ends after all."""
        running = self.abandoned.pop(index % len(self.abandoned))
        self.scheduler.release(running.batch, self.now)
        for own, delivery in zip(running.owners, running.batch, strict=True):
            own.held.discard(delivery.record.offset)

    @rule(pause=st.sampled_from([True, False, False]))
    def operate(self, pause: bool) -> None:
        """An operator pauses and resumes."""
        self.paused = pause
        self.forgives = not pause and self.retry.then == "pause"
        if pause:
            self.scheduler.pause()
        else:
            self.scheduler.resume()
        if self.forgives:
            for own in self.owned.values():
                self.forgive(own)

    # -- rebalances, crashes, commits

    @rule(
        id_=st.sampled_from(PARTITIONS),
        what=st.sampled_from(["revoke", "revoke", "drop", "assign", "crash", "restart", "restart"]),
        fetch=st.booleans(),
    )
    def disturb(self, id_: TopicPartition, what: str, fetch: bool) -> None:
        """A rebalance (drained or not), or the death of the process."""
        if what == "revoke":
            if id_ in self.owned:
                self.owned[id_].open = False
                self.forget_stretch(self.owned[id_])
            self.scheduler.revoke([id_])
        elif what == "drop":
            self.scheduler.drop([id_])
            if (own := self.owned.pop(id_, None)) is not None:
                own.gone, own.open = True, False
        elif what == "assign":
            self.own(id_)
        elif what in ("crash", "restart"):
            if what == "restart":
                self.commit("stored")
            self.boot()
        if fetch:
            for each in PARTITIONS:
                self.poll(each, 20)

    @staticmethod
    def forget_stretch(own: Ownership) -> None:
        """What nobody has admitted was never received."""
        if (stretch := own.partition.stretch) is not None:
            own.end = stretch.records[0].offset
            for record in stretch.records:
                del own.pending[record.offset]

    @rule(fate=st.sampled_from(["stored", "stored", "stored", "lost", "answer lost"]))
    def commit(self, fate: str) -> None:
        """A commit, of which the request or the answer may be lost."""
        due = self.scheduler.due_commits()
        for id_, commit in due.items():
            self.check_commit(self.owned[id_], commit)
        if fate == "lost":
            assert self.scheduler.due_commits() == due, "a commit that was lost is not given out again"
            return
        for id_, commit in due.items():
            own = self.owned[id_]
            self.stored[id_] = Stored(commit, frozenset(own.done), dict(own.attempts))
        if fate == "stored":
            self.scheduler.committed(due)
            for id_, own in self.owned.items():
                # What is not due any more is what the broker has.
                known = own.done if self.metadata_limit == 4096 else self.stored[id_].done
                assert self.stored[id_].done == known, "a commit that is due was not given out"

    def check_commit(self, own: Ownership, commit: Committed) -> None:
        log_end = self.log[own.id][-1].offset + 1 if self.log[own.id] else 0
        received = {record.offset for record in self.log[own.id] if record.offset < own.end}
        assert commit.offset <= log_end or commit.offset == own.position
        for record in self.log[own.id]:
            assert record.offset >= commit.offset or record.offset in own.done, f"{record.offset} is not done"
        assert commit.offset == min(own.pending, default=own.end), "what is done is not committed"
        assert len(commit.metadata) <= self.metadata_limit
        offsets = decode_metadata(commit.offset, commit.metadata)
        claimed = set()
        for start, stop in offsets.done:
            assert commit.offset <= start < stop <= log_end
            claimed.update(range(start, stop))
        claimed &= {record.offset for record in self.log[own.id]}
        assert claimed <= own.done, f"{claimed - own.done} are said to be done, and are not"
        used = {
            offset: count
            for offset, count in own.attempts.items()
            if count and (offset in own.pending or offset >= own.end)
        }
        if self.metadata_limit == 4096:
            assert claimed == {offset for offset in own.done if offset >= commit.offset}, "what is done is forgotten"
            assert offsets.attempts == used
        else:
            assert offsets.attempts.items() <= used.items()
        assert received == {offset for offset in own.done if offset < own.end} | set(own.pending)

    # -- never asleep while there is work

    @precondition(lambda self: not self.in_flight and not self.unproduced and not self.abandoned)
    @rule()
    def sleep_until_work(self) -> None:
        """When nothing runs and something is pending, it starts when wakes_at says, and not later than it could."""
        if self.paused or not any(own.pending for own in self.owned.values() if own.open):
            return
        for _ in range(20):
            at = self.scheduler.wakes_at(self.now)
            assert at is not None, "nothing would ever start again"
            if at > self.now:
                for moment in (self.now, (self.now + at) / 2):
                    ahead = copy.deepcopy(self.scheduler)
                    ahead.tick(moment)
                    assert not self.could_start(ahead, moment), f"something could start before {at}"
            assert at <= self.now + 3600
            self.now = max(self.now, at)
            self.scheduler.tick(self.now)
            if self.start_one():
                return
        raise AssertionError("it wakes and wakes, and nothing starts")

    # -- always

    @invariant()
    def agrees(self) -> None:
        """The scheduler and the model agree on what is pending and on every count."""
        scheduler = self.scheduler
        assert scheduler.in_flight == len(self.in_flight) + len(self.abandoned)
        assert scheduler.gate.paused == self.paused
        assert scheduler.gate.limit == 0 or not self.paused
        assert set(scheduler.partitions) == set(self.owned)
        for id_, own in self.owned.items():
            stretch = own.partition.stretch
            waiting = [record.offset for record in stretch.records] if stretch is not None else []
            assert [*own.partition.pending, *waiting] == sorted(own.pending)
            assert not waiting or not own.partition.pending, "events are left in one piece beside others"
            assert own.partition.held_bytes == sum(
                len(record.value or b"") + len(record.key or b"") for record in own.pending.values()
            )
            if not own.open:
                assert scheduler.is_drained([id_]) == (not own.running and not own.settling)
            if not own.pending:
                assert not own.partition.lanes
                assert own.partition.parked == 0 or not own.open
        for name, count in self.counts.items():
            assert getattr(scheduler.counters, name) == count, name

    def teardown(self) -> None:
        """In the end, with functions that succeed, everything is done, dead-lettered, dropped or filtered."""
        if not hasattr(self, "scheduler") or sys.exc_info()[0] is not None:
            return
        for id_ in PARTITIONS:
            if id_ not in self.owned or not self.owned[id_].open:
                self.own(id_)
        self.operate(pause=False)
        for _ in range(40 + 4 * sum(map(len, self.log.values()))):
            for id_ in PARTITIONS:
                self.poll(id_, 1000)
            while self.unproduced:
                self.acknowledge(0)
            while self.abandoned:
                self.thread_ends(0)
            while self.in_flight:
                self.settle(self.in_flight.pop(), {})
            self.agrees()
            if not any(own.pending for own in self.owned.values()):
                break
            self.sleep_until_work()
        for id_, log in self.log.items():
            for record in log:
                assert (id_, record.offset) in self.fates, f"{record} is lost"
                assert record.value != FILTER or self.fates[id_, record.offset] == "filtered"
        assert self.scheduler.in_flight == 0
        assert not self.scheduler.has_work
        self.commit("stored")
        for id_, log in self.log.items():
            stored = self.stored[id_].commit
            assert stored == Committed(log[-1].offset + 1 if log else 0), "the last commit is not the log's end"
