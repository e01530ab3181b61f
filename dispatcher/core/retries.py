"""What becomes of an event that failed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from bindings import Retry
from bindings.failure import Failure, FailureKind
from dispatcher.core.delivery import Delivery

__all__ = ["NOT_DELIVERED_WAIT", "RETRY_AFTER_CAP", "USED_UP", "PauseCause", "Reason", "Verdict", "judge"]

#: Seconds that a target or function can at most ask to be left alone.
RETRY_AFTER_CAP = 3600.0
#: Seconds before an event that its target did not take is offered again, when the target names no time.
NOT_DELIVERED_WAIT = 1.0
#: The error type of an event whose attempts were used up before this process had it.
USED_UP = "AttemptsUsed"


class Reason(StrEnum):
    """Why an event rests in the dead letters."""

    ATTEMPTS = "attempts"  # its retry budget is used up
    EXPIRED = "expired"  # it is older than Retry(max_age=...)
    NOT_RETRYABLE = "not_retryable"  # give_up_on, or not in retry_on
    REJECTED = "rejected"  # the function or its target said so, or it can't be decoded
    OVERSIZE = "oversize"  # larger than the target takes


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseCause:
    """The event over which ``Retry(then="pause")`` has paused its function, and what went wrong with it.

    Attributes:
        stream, partition, offset: the event, as it was first consumed.
        reason: why it is given up.
        attempts: deliveries that counted.
        error_type, message: the last failure.
    """

    stream: str
    partition: int
    offset: int
    reason: Reason
    attempts: int
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with one failed event: wait for ``delay`` seconds, or give up for ``reason``."""

    delay: float = 0.0
    reason: Reason | None = None


def judge(policy: Retry, delivery: Delivery, failure: Failure, *, age: float, rng: random.Random) -> Verdict:
    """Decide what becomes of ``delivery`` after ``failure``, and count the attempt when it was one.

    Args:
        policy: the function's.
        delivery: the event; its history is written to.
        failure: what went wrong.
        age: seconds since the event's timestamp.
        rng: where jitter comes from.
    """
    history = delivery.remember()
    history.failure = failure
    asked = None if failure.retry_after is None else min(failure.retry_after, RETRY_AFTER_CAP)
    if failure.kind is FailureKind.NOT_DELIVERED:
        return Verdict(delay=NOT_DELIVERED_WAIT if asked is None else asked)
    if failure.kind is FailureKind.OVERSIZE:
        return Verdict(reason=Reason.OVERSIZE)
    history.attempts += failure.counts
    if failure.kind is FailureKind.TERMINAL:
        return Verdict(reason=Reason.REJECTED)
    if not failure.retryable:
        return Verdict(reason=Reason.NOT_RETRYABLE)
    if history.attempts >= policy.max_attempts:
        return Verdict(reason=Reason.ATTEMPTS)
    delay = policy.delay(history.attempts, rng=rng) if asked is None else asked
    if policy.max_age is not None and age + delay > policy.max_age:
        return Verdict(reason=Reason.EXPIRED)
    return Verdict(delay=delay)
