"""What becomes of one event that failed: another attempt, in place or by its retry topic, or the end of its attempts."""

from __future__ import annotations

import random
from collections.abc import Callable

from bindings import Binding
from bindings.failure import Failure, FailureKind
from dispatcher.core.counters import Counters
from dispatcher.core.delivery import Delivery
from dispatcher.core.record import Record
from dispatcher.core.retries import RETRY_AFTER_CAP, Reason, judge
from dispatcher.core.settlement import DeadLettered, Moved, Settlement

__all__ = ["Judge"]

#: Told over which event, why, after how many attempts and with which failure the policy pauses the function.
PauseFor = Callable[[Record, Reason, int, Failure], None]


class Judge:
    """Applies a binding's retry policy to deliveries, and says so in their history and in settlements.

    Args:
        binding: the policy, and whether there is an order to keep.
        counters: told of what is tried again.
        pause_for: called where the policy is to wait for an operator.
        rng: where the jitter comes from; one that nobody knows when it is not given.
    """

    __slots__ = ("_counters", "_pause_for", "_rng", "_unordered", "retry")

    def __init__(
        self, binding: Binding, counters: Counters, pause_for: PauseFor, rng: random.Random | None = None
    ) -> None:
        self.retry = binding.retry
        self._unordered = binding.order == "none"
        self._counters = counters
        self._pause_for = pause_for
        self._rng = rng or random.Random()  # noqa: S311 - jitter guards nothing

    @staticmethod
    def note(delivery: Delivery, failure: Failure, wall_ms: int) -> None:
        """Keep the failure with the event."""
        history = delivery.remember()
        history.failure, history.last_failed = failure, wall_ms
        history.first_failed = history.first_failed or wall_ms

    @staticmethod
    def halve(delivery: Delivery, half: int) -> None:
        """Bound the batches that the event may be part of.

        Splitting uses no attempt (neither does it at AWS Lambda's trigger): it ends by itself, and an event
        that stands alone is judged like any other.
        """
        history = delivery.remember()
        history.batch_limit = min(history.batch_limit or half, half)

    def wait_of_halves(self, failure: Failure) -> float:
        """Seconds until a failed batch, of which nobody said what failed, is tried again in halves."""
        if failure.kind is not FailureKind.FUNCTION or not failure.retryable:
            return 0.0
        # A failure of the whole batch is as likely an outage as a poison event: not at once.
        if failure.retry_after is None:
            return self.retry.delay(1, rng=self._rng)
        return min(failure.retry_after, RETRY_AFTER_CAP)

    def try_again(self, delivery: Delivery, failure: Failure, settlement: Settlement, now: float, wall_ms: int) -> bool:
        """Whether the event waits in place for another attempt; else the settlement says what becomes of it."""
        history = delivery.remember()
        age = max(0.0, (wall_ms - delivery.record.timestamp) / 1000)
        verdict = judge(self.retry, delivery, failure, age=age, rng=self._rng)
        if verdict.reason is not None:
            return self.give_up(delivery, verdict.reason, settlement, now)
        history.due = now + verdict.delay
        if failure.kind is FailureKind.NOT_DELIVERED:
            self._counters.not_delivered += 1
        else:
            self._counters.retried += 1
        if self._is_moved(delivery, verdict.delay):
            settlement.moved.append(Moved(delivery, wall_ms + int(verdict.delay * 1000)))
            return False
        return True

    def give_up(self, delivery: Delivery, reason: Reason, settlement: Settlement, now: float) -> bool:
        """Give the event up as the policy says; True when that is to wait in place for an operator."""
        history = delivery.remember()
        if self.retry.then == "drop":
            settlement.dropped.append(delivery)
            return False
        if history.failure is None:
            msg = "an event is given up for a failure"
            raise ValueError(msg)
        if self.retry.then == "pause" and reason in (Reason.ATTEMPTS, Reason.EXPIRED, Reason.NOT_RETRYABLE):
            self._pause_for(delivery.origin, reason, history.attempts, history.failure)
            # Due at once when it is resumed; parked till then, so that an abandoned thread can hold it.
            history.due = now
            return True
        settlement.dead.append(DeadLettered(delivery, reason, history.failure))
        return False

    def _is_moved(self, delivery: Delivery, delay: float) -> bool:
        """Whether the event waits in its retry topic: an unordered function's alone, and only long waits or too many."""
        if not self._unordered:
            return False
        after = self.retry.topic_after
        return delivery.partition.parked >= self.retry.park_limit or (after is not None and delay >= after)
