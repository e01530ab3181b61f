"""Schedulers that break a promise each, and the state machine that must find every one of them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from dispatcher.core import partition as partition_module
from dispatcher.core.delivery import Delivery
from dispatcher.core.offsets import OffsetMap, fit_metadata
from dispatcher.core.partition import Partition
from dispatcher.core.record import TopicPartition
from dispatcher.core.scheduler import Scheduler
from dispatcher.core.settlement import Settlement
from dispatcher.core.stretch import Stretch

from .machine import DeliveryMachine

SETTINGS = settings(
    max_examples=4000,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


class CompletesLateResults(Scheduler):
    """Takes a result from before a rebalance for one of the ownership of now."""

    def done(self, delivery: Delivery) -> None:
        super().done(self._twin(delivery))

    def settle(self, batch: Sequence[Delivery], failures: Any, **options: Any) -> Settlement | None:
        return super().settle([self._twin(delivery) for delivery in batch], failures, **options)

    def _twin(self, delivery: Delivery) -> Delivery:
        current = self.partitions.get(delivery.partition.id)
        return delivery if current is None else current.pending.get(delivery.record.offset, delivery)


class CommitsPastHoles(Scheduler):
    """Commits up to the last event that came, done or not."""

    def due_commits(self) -> dict[TopicPartition, Any]:
        due = super().due_commits()
        return {id_: commit._replace(offset=self.partitions[id_].offsets.end) for id_, commit in due.items()}


class ForgetsAttempts(Scheduler):
    """Begins each ownership with all attempts unused."""

    def assign(self, partition: TopicPartition, position: int, offsets: OffsetMap | None = None) -> Partition:
        return super().assign(partition, position, OffsetMap((offsets or OffsetMap()).done, {}))


class ForgetsCompletions(Scheduler):
    """Begins each ownership as if nothing beyond the committed offset were done."""

    def assign(self, partition: TopicPartition, position: int, offsets: OffsetMap | None = None) -> Partition:
        return super().assign(partition, position, OffsetMap((), (offsets or OffsetMap()).attempts))


class IgnoresLanes(Scheduler):
    """Starts whatever comes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._by_key, self._fixed_lane = False, None


class BelievesWhatFollowsAFailure(Scheduler):
    """Completes an event that ran before the failed one ahead of it in its lane was done."""

    def settle(self, batch: Sequence[Delivery], failures: Any, **options: Any) -> Settlement | None:
        if isinstance(failures, Mapping):
            for index, delivery in enumerate(batch):
                heads = delivery.partition.lanes.values()
                if index not in failures and options.get("rest") is None and delivery not in heads:
                    delivery.lane = None
        return super().settle(batch, failures, **options)


class LeaksInFlight(Scheduler):
    """Counts an invocation as running for ever when its partition went meanwhile."""

    def done(self, delivery: Delivery) -> None:
        super().done(delivery)
        self.in_flight += not delivery.partition.active

    def settle(self, batch: Sequence[Delivery], failures: Any, **options: Any) -> Settlement | None:
        self.in_flight += not batch[0].partition.active
        return super().settle(batch, failures, **options)


class ForgetsAbandonedThreads(Scheduler):
    """Gives the place of an abandoned thread to another invocation."""

    def hold(self, batch: Any) -> None:
        super().hold(batch)
        self.in_flight -= 1

    def release(self, batch: Any, now: float) -> None:
        super().release(batch, now)
        self.in_flight += 1


class StartsWhatIsHeld(Scheduler):
    """Starts an event again while an abandoned thread works on it."""

    def hold(self, batch: Any) -> None:
        super().hold(batch)
        for delivery in batch:
            delivery.remember().held = False


class DropsTheExhausted(Scheduler):
    """Forgets an event that is given up, without a dead letter."""

    def settle(self, batch: Sequence[Delivery], failures: Any, **options: Any) -> Settlement | None:
        settlement = super().settle(batch, failures, **options)
        if settlement is None or not settlement.dead:
            return settlement
        self.produced(settlement)
        return None


class CompletesBeforeTheDeadLetterIsThere(Scheduler):
    """Completes an event when its dead letter is handed out, not when the broker has it."""

    def settle(self, batch: Sequence[Delivery], failures: Any, **options: Any) -> Settlement | None:
        settlement = super().settle(batch, failures, **options)
        if settlement is not None:
            self.produced(Settlement(done=settlement.done, dead=settlement.dead, dropped=settlement.dropped))
        return settlement


class NeverReleasesTheParked(Scheduler):
    """Leaves a parked event where it is."""

    def tick(self, now: float) -> None:
        self._now = now


class Oversleeps(Scheduler):
    """Wakes a minute late."""

    def wakes_at(self, now: float) -> float | None:
        at = super().wakes_at(now)
        return at if at is None or at <= now else at + 60.0


class NeverWakes(Scheduler):
    """Knows of parked events alone, not of batches that wait to be filled."""

    def wakes_at(self, now: float) -> float | None:
        return self._waiting[0][0] if self._waiting else None


class TriesOnceMore(Scheduler):
    """Grants one attempt beyond the budget."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._retry = dataclasses.replace(self._retry, max_attempts=self._retry.max_attempts + 1)
        self._judge.retry = self._retry


class TriesOnceMoreAfterARestart(Scheduler):
    """Grants one attempt beyond the budget to an event that came back from a restart."""

    def _screen(self, owned: Partition, *args: Any) -> Any:
        used_up = {at: count for at, count in owned.offsets.attempts.items() if count >= self._retry.max_attempts}
        owned.offsets.attempts.update(dict.fromkeys(used_up, self._retry.max_attempts - 1))
        return super()._screen(owned, *args)


class StartsWhilePaused(Scheduler):
    """Takes a success for a reason to go on, though an operator paused the function."""

    def done(self, delivery: Delivery) -> None:
        super().done(delivery)
        self.gate.limit = self.gate.allowed

    def settle(self, batch: Sequence[Delivery], failures: Any, **options: Any) -> Settlement | None:
        if failures is None or not failures:
            self.gate.limit = self.gate.allowed
        return super().settle(batch, failures, **options)


class ForgivesNobody(Scheduler):
    """Lets a function go on, and its event has no attempt left."""

    def _forgive(self, owned: Partition) -> None:
        """Nothing."""


class ForgivesEverybody(Scheduler):
    """Gives the attempts back of events, too, that have some left."""

    def _forgive(self, owned: Partition) -> None:
        super()._forgive(owned)
        owned.offsets.attempts.clear()
        for delivery in owned.pending.values():
            if delivery.history is not None:
                delivery.history.attempts = 0


class StartsWhatWasRevoked(Scheduler):
    """Goes on starting events of a partition that is being revoked."""

    def revoke(self, partitions: Any) -> None:
        ready = list(self.ready)
        super().revoke(partitions)
        if self._queue is None:
            self.ready.clear()
            self.ready.extend(ready)


class DrainsTooSoon(Scheduler):
    """Says that a partition is drained while its dead letters are on their way."""

    def is_drained(self, partitions: Any) -> bool:
        return super().is_drained(partitions) or not self.in_flight


class OverstepsConcurrency(Scheduler):
    """Starts one invocation more than it may."""

    def take(self, now: float) -> Delivery | None:
        self.gate.limit += 1
        delivery = super().take(now)
        self.gate.limit -= 1
        return delivery


class PassesWhatWaits(Scheduler):
    """Takes an event that waits, and was never admitted, for done."""

    def break_off(self, stretch: Stretch, count: int) -> Delivery:
        delivery = super().break_off(stretch, count)
        delivery.partition.offsets.end = max(delivery.partition.offsets.end, stretch.end)
        self._complete(delivery)
        return delivery


class CommitsWhatNobodyAdmitted(Scheduler):
    """Takes what was received and left in one piece for done."""

    def admit(self, partition: TopicPartition, records: Any, **options: Any) -> Any:
        refused = super().admit(partition, records, **options)
        if (owned := self.partitions.get(partition)) is not None and owned.stretch is not None:
            owned.offsets.advance(owned.stretch.end)
        return refused


class KeepsStretchesOfTheRevoked(Scheduler):
    """Goes on with events that nobody had admitted when their partition was revoked."""

    def revoke(self, partitions: Any) -> None:
        kept = [self.partitions[id_].stretch for id_ in partitions if id_ in self.partitions]
        records = [(stretch.partition, stretch.records) for stretch in kept if stretch is not None]
        super().revoke(partitions)
        for partition, each in records:
            self.stretches.add(partition, each, self._now)


class LetsStretchesWaitForTooLong(Scheduler):
    """Knows of ready events alone, not of those that nobody has admitted."""

    @property
    def has_work(self) -> bool:
        return bool(self.ready)


MUTANTS = [
    each
    for each in list(globals().values())
    if isinstance(each, type) and issubclass(each, Scheduler) and each is not Scheduler
]


def find_out(scheduler_class: type[Scheduler]) -> None:
    """Run the state machine on a scheduler and demand that it fails on a promise, not by accident."""
    machine = type("Mutated", (DeliveryMachine,), {"scheduler_class": scheduler_class})
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=SETTINGS)


@pytest.mark.parametrize("scheduler_class", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_state_machine_finds_the_mutant_out(scheduler_class: type[Scheduler]) -> None:
    """Proves that the invariants can fail: each broken promise is found, with the same events each time."""
    find_out(scheduler_class)


def _claims_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(position: int, offsets: OffsetMap, *args: Any) -> tuple[str, bool]:
        done = list(offsets.done)
        if done:
            done[-1] = (done[-1][0], done[-1][1] + 1)
        return fit_metadata(position, OffsetMap(done, offsets.attempts), *args)

    monkeypatch.setattr(partition_module, "fit_metadata", fit)


def _claims_one_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(position: int, offsets: OffsetMap, *args: Any) -> tuple[str, bool]:
        return fit_metadata(position, OffsetMap(list(offsets.done)[:-1], offsets.attempts), *args)

    monkeypatch.setattr(partition_module, "fit_metadata", fit)


def _commits_what_the_broker_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    due_commit = Partition.due_commit

    def commit(self: Partition, *args: Any) -> Any:
        due = due_commit(self, *args)
        if due is not None:
            self._committed = due
        return due

    monkeypatch.setattr(Partition, "due_commit", commit)


def _refused_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    admit = Scheduler.admit

    def out_of_order(self: Scheduler, partition: TopicPartition, records: Any, **options: Any) -> Any:
        refused = admit(self, partition, records, **options)
        if refused:
            pending = self.partitions[partition].pending
            chosen = {delivery.record.offset for delivery, _ in refused}
            for offset in sorted(pending, key=lambda each: each not in chosen):
                pending[offset] = pending.pop(offset)
        return refused

    monkeypatch.setattr(Scheduler, "admit", out_of_order)


@pytest.mark.parametrize(
    "mutate",
    [
        _claims_one_more,
        _claims_one_less,
        _commits_what_the_broker_lost,
        _refused_come_first,
    ],
)
def test_the_state_machine_finds_mutated_parts_out(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves the same of the parts that a scheduler is made of."""
    mutate(monkeypatch)
    find_out(Scheduler)
