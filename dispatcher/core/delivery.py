"""One event on its way through a function."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bindings.failure import Failure
from dispatcher.core.record import Record

if TYPE_CHECKING:
    from dispatcher.core.partition import Partition

__all__ = ["Delivery", "History", "Returned", "State", "record_size"]


class State:
    """Where a delivery stands. Plain integers: an enum member costs a descriptor call at each comparison."""

    QUEUED = 0  # behind another one in its lane
    READY = 1  # may start
    IN_FLIGHT = 2  # its function runs
    PARKED = 3  # waits for its next attempt, and holds its lane
    SETTLING = 4  # its dead letter or result is on its way to the broker
    DONE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """An event that comes back from a retry topic.

    Attributes:
        origin: the event as it was first consumed, with its own stream, partition and offset.
        attempts: deliveries that counted before it was sent there.
        wait: seconds until it may be tried again; one of 0 takes its place in its lane at once.
        failure: give it up unseen, for this.
    """

    origin: Record
    attempts: int
    wait: float
    failure: Failure | None = None


@dataclass(slots=True)
class History:
    """What a delivery remembers once something went wrong. Most never do, so it is made on demand.

    Attributes:
        attempts: deliveries that counted.
        due: when it may be tried again, on the scheduler's clock.
        batch_limit: the size of the largest batch that it may still be part of; 0 for no limit.
        held: an abandoned thread still works on it, so it must not start again yet.
        failure: the last failure.
        first_failed, last_failed: milliseconds since 1970-01-01 UTC; 0 for not in this process.
        origin: the event as it was first consumed, when it came back from a retry topic.
    """

    attempts: int = 0
    due: float = 0.0
    batch_limit: int = 0
    held: bool = False
    failure: Failure | None = None
    first_failed: int = 0
    last_failed: int = 0
    origin: Record | None = None


class Delivery:
    """One event in one ownership of its partition. Compared by identity: a redelivery is another one.

    Attributes:
        record: the event.
        partition: the ownership that it belongs to.
        lane: the key of its lane in ``partition.lanes``; None when nothing has to wait for it.
        size: its bytes.
        followers: those behind it in its lane, in offset order; kept by the lane's head alone.
        state: see :class:`State`.
        history: None until it failed.
        since: when it became ready; kept for batch functions alone.
    """

    __slots__ = ("followers", "history", "lane", "partition", "record", "since", "size", "state")

    since: float

    def __init__(self, record: Record, partition: Partition, lane: bytes | None, size: int) -> None:
        self.record = record
        self.partition = partition
        self.lane = lane
        self.size = size
        self.followers: deque[Delivery] | None = None
        self.state = 0
        self.history: History | None = None

    def __repr__(self) -> str:
        return f"<Delivery {self.record.topic}/{self.record.partition}@{self.record.offset} state={self.state} attempts={self.attempts}>"

    @property
    def attempts(self) -> int:
        """Deliveries so far that counted against the retry budget."""
        return self.history.attempts if self.history else 0

    @property
    def origin(self) -> Record:
        """The event as its function is to see it: as it was first consumed, whatever detour it made."""
        return self.record if self.history is None or self.history.origin is None else self.history.origin

    def remember(self) -> History:
        """Its history to be written to, made when there is none yet."""
        offsets = self.partition.offsets
        offsets.touched += 1
        if self.history is None:
            self.history = History()
            offsets.has_histories = True
        return self.history


def record_size(record: Record) -> int:
    """Bytes of a record's key, value and headers."""
    size = len(record.value or b"") + len(record.key or b"")
    for name, value in record.headers:
        size += len(name) + len(value or b"")
    return size
