"""What one invocation leaves to be written before its events are done."""

from __future__ import annotations

from dataclasses import dataclass, field

from bindings.failure import Failure
from dispatcher.core.delivery import Delivery
from dispatcher.core.retries import Reason

__all__ = ["DeadLettered", "Moved", "Settlement"]


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """An event that is given up, with why."""

    delivery: Delivery
    reason: Reason
    failure: Failure


@dataclass(frozen=True, slots=True)
class Moved:
    """An event that waits for its next attempt in its retry topic, until ``due_ms`` (since 1970-01-01 UTC)."""

    delivery: Delivery
    due_ms: int


@dataclass(slots=True)
class Settlement:
    """The effects of one invocation, as one value.

    Its records (results, dead letters) are produced first; when the broker has acknowledged all of them,
    ``Scheduler.produced`` completes its events. A broker with transactions could make the two one.

    Attributes:
        done: events that were handled; their results wait to be produced.
        dead: events whose dead letters wait to be produced.
        moved: events whose copies for the retry topic wait to be produced.
        dropped: events given up without one, by ``Retry(then="drop")``.
    """

    done: list[Delivery] = field(default_factory=list)
    dead: list[DeadLettered] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    dropped: list[Delivery] = field(default_factory=list)

    @property
    def must_write(self) -> bool:
        """Whether there is anything but results to produce."""
        return bool(self.dead or self.moved)

    def deliveries(self) -> list[Delivery]:
        """All events of it."""
        written = [*(letter.delivery for letter in self.dead), *(moved.delivery for moved in self.moved)]
        return [*self.done, *self.dropped, *written]
