"""What one invocation leaves to be written before its events are done."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.core.delivery import Delivery, Failure
from dispatcher.core.retries import Reason

__all__ = ["DeadLettered", "Settlement"]


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """An event that is given up, with why."""

    delivery: Delivery
    reason: Reason
    failure: Failure


@dataclass(slots=True)
class Settlement:
    """The effects of one invocation, as one value.

    Its records (results, dead letters) are produced first; when the broker has acknowledged all of them,
    ``Scheduler.produced`` completes its events. A broker with transactions could make the two one.

    Attributes:
        done: events that were handled; their results wait to be produced.
        dead: events whose dead letters wait to be produced.
        dropped: events given up without one, by ``Retry(then="drop")``.
    """

    done: list[Delivery] = field(default_factory=list)
    dead: list[DeadLettered] = field(default_factory=list)
    dropped: list[Delivery] = field(default_factory=list)
