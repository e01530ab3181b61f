"""A consumer group in memory, with Kafka's eager protocol."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.core.record import Committed, TopicPartition
from dispatcher.errors import CommitRefused
from dispatcher.testing.signals import Signal

__all__ = ["Group"]


class _Reader(Protocol):
    """A member, as far as others ask it: what it has been handed of a partition, None for what is not its own."""

    def delivered(self, partition: TopicPartition) -> int | None: ...


@dataclass(slots=True)
class _Seat:
    """A member as its group sees it: ``ready`` says that it holds nothing."""

    streams: tuple[str, ...]
    ready: bool = True
    assigned: tuple[TopicPartition, ...] = ()


class Group:
    """The members, the assignment and the commits of one group.

    A group is stable in a generation, or preparing the next one: then each member gives up its partitions and says that it
    is ready, and when all are, the partitions are dealt out anew.

    Invariants:
        * a partition belongs to one member of a generation at most;
        * nothing is dealt out before all members have given up what they had, so that no two can commit for the same.

    Args:
        name: the group's.
        partitions_of: the partitions of a stream.

    Attributes:
        generation: the number of the current assignment.
        preparing: whether partitions are to be given up now.
        commits: what has been committed.
        changed: tells the members to look again.
        consumers: the members.
    """

    def __init__(self, name: str, partitions_of: Callable[[str], Sequence[TopicPartition]]) -> None:
        self.name = name
        self.generation = 0
        self.preparing = False
        self.commits: dict[TopicPartition, Committed] = {}
        self.changed = Signal()
        self.consumers: list[_Reader] = []
        self._partitions_of = partitions_of
        self._seats: dict[int, _Seat] = {}
        self._ids = itertools.count(1)

    def join(self, streams: Sequence[str]) -> int:
        """Take a seat; returns its number."""
        seat = next(self._ids)
        self._seats[seat] = _Seat(tuple(streams))
        self.prepare()
        return seat

    def leave(self, seat: int) -> None:
        """Give the seat up; the others share what it had."""
        if self._seats.pop(seat, None) is not None:
            self.prepare()

    def prepare(self) -> None:
        """Ask for a new assignment."""
        self.preparing = True
        self._assign_when_ready()
        self.changed.notify()

    def ready(self, seat: int) -> None:
        """That member holds nothing any more."""
        if seat in self._seats:
            self._seats[seat].ready = True
            self._assign_when_ready()

    def expel_late(self) -> None:
        """Go on without those who have not given up their partitions."""
        self._seats = {number: seat for number, seat in self._seats.items() if seat.ready}
        self._assign_when_ready()
        self.changed.notify()

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self._seats)

    def is_member(self, seat: int) -> bool:
        """Whether that seat is taken."""
        return seat in self._seats

    def assigned(self, seat: int) -> tuple[TopicPartition, ...]:
        """What that member has in the current generation."""
        return self._seats[seat].assigned

    def consumes(self, stream: str) -> bool:
        """Whether a member consumes the stream."""
        return any(stream in seat.streams for seat in self._seats.values())

    def commit(self, seat: int, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Keep the commits of a member for partitions that it has not given up.

        Raises:
            CommitRefused: it is out.
        """
        if seat not in self._seats:
            raise CommitRefused(f"this consumer is no longer a member of {self.name}")
        self.commits.update({id_: Committed(*commit) for id_, commit in offsets.items()})

    def set_offsets(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Commit for a group that nobody is in.

        Raises:
            CommitRefused: it has members.
        """
        if self._seats:
            raise CommitRefused(f"{self.name} has {len(self._seats)} live member{'s' * (len(self._seats) != 1)}")
        self.commits.update(offsets)

    def _assign_when_ready(self) -> None:
        """Deal the partitions out in turn, each to one of the members that consume its stream."""
        if not self.preparing or not all(seat.ready for seat in self._seats.values()):
            return
        dealt: dict[int, list[TopicPartition]] = {number: [] for number in self._seats}
        turn = list(self._seats)
        for stream in sorted({stream for seat in self._seats.values() for stream in seat.streams}):
            for id_ in self._partitions_of(stream):
                number = next(each for each in turn if stream in self._seats[each].streams)
                dealt[number].append(id_)
                turn.remove(number)
                turn.append(number)
        for number, seat in self._seats.items():
            seat.assigned, seat.ready = tuple(dealt[number]), False
        self.generation += 1
        self.preparing = False
        self.changed.notify()
