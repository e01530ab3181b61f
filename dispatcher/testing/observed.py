"""What a test sends, and what it can look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from bindings import Binding
from bindings.results import encode
from dispatcher.brokers.base import StreamInfo
from dispatcher.clock import Clock
from dispatcher.core.offsets import decode_metadata
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.errors import StreamNotFound
from dispatcher.testing.loop import VirtualLoop
from dispatcher.testing.memory import MemoryBroker
from dispatcher.testing.plan import Plan
from dispatcher.testing.recording import Recorder
from dispatcher.testing.records import Call, Letter, StoredEvent
from dispatcher.worker.topics import retry_topics

__all__ = ["Observed"]

Headers = Mapping[str, bytes | str | None] | Iterable[tuple[str, bytes | str | None]]

# How many pending events an error lists.
_LISTED = 20


class Observed:
    """The broker of a test, the calls of its functions, and what became of its events.

    Attributes:
        broker: the in-memory broker, for what is not offered here.
        calls: every call of a function so far, in the order of their starts.
    """

    def __init__(self, plan: Plan, loop: VirtualLoop) -> None:
        self._plan = plan
        self._loop = loop
        self._began = loop.time()
        start = plan.start.timestamp()
        self._clock = Clock(monotonic=loop.time, wall=lambda: start + loop.time() - self._began)
        self._recorder = Recorder(lambda: self.elapsed)
        self.calls = self._recorder.calls
        self.broker = MemoryBroker(clock=self._clock)
        for binding in plan.bindings:
            for stream in binding.streams:
                self.create_stream(stream, partitions=plan.partitions_of(stream))
        for stream in plan.streams:
            self.create_stream(stream, partitions=plan.partitions_of(stream))

    # -- time

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the test began."""
        return round(self._loop.time() - self._began, 6)

    @property
    def now(self) -> datetime:
        """The time of day in the test, an aware datetime."""
        return datetime.fromtimestamp(self._clock.wall(), self._plan.start.tzinfo)

    # -- what goes in

    def create_stream(self, stream: str, *, partitions: int = 1, **config: str) -> None:
        """Create a stream, unless it is there; those that the functions consume and write to need no such call.

        Args:
            stream: its name.
            partitions: how many.
            config: its settings, with underscores for dots: ``max_message_bytes="2000"``.
        """
        settings = {name.replace("_", "."): value for name, value in config.items()}
        self.broker.log.create(StreamInfo(name=stream, partitions=partitions, config=settings))

    def send(
        self,
        stream: str,
        value: Any,
        *,
        key: bytes | str | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp: datetime | None = None,
    ) -> StoredEvent:
        """Put an event at the end of a stream, at this moment of virtual time. Nothing runs before time does.

        Args:
            stream: one that a function consumes, or that has been created.
            value: a model, a dataclass, a dict and the like, made JSON; bytes and text as they are; None is a tombstone.
            key: text is made UTF-8.
            headers: a mapping, or pairs where a name comes more than once.
            partition: a fixed one; otherwise the key decides as in Kafka, and events without one go round.
            timestamp: of the event; now, when it is not given.

        Raises:
            StreamNotFound: there is no such stream; the message names those that are near.
            RecordTooLarge: the stream does not take an event of that size.
            InvalidOutcome: the value can't be made JSON.
        """
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        record = Outgoing(
            topic=stream,
            value=encode(value),
            key=_bytes(key),
            headers=tuple((name, _bytes(header)) for name, header in pairs),
            partition=partition,
            timestamp=None if timestamp is None else int(timestamp.timestamp() * 1000),
        )
        number, offset = self.broker.append(record)
        [written] = self.broker.log.read(TopicPartition(stream, number), offset)
        return StoredEvent.of(written)

    # -- what came of it

    def attempts(self, event: StoredEvent, function: Callable[..., Any] | str | None = None) -> list[Call]:
        """The calls that were handed this event, in order; of all functions, or of one."""
        names = self._names(function)
        return [call for call in self.calls if event in call.events and call.function in names]

    @property
    def done(self) -> list[StoredEvent]:
        """The events that their function handled, in the order of the calls that did. See :meth:`done_by`."""
        return self.done_by(None)

    def done_by(self, function: Callable[..., Any] | str | None) -> list[StoredEvent]:
        """The events that this function handled, or any when it is None: their last call went well.

        With results to be produced (``emits=``) they are done once those are written.
        """
        names = self._names(function)
        last = {(call.function, event): call for call in self.calls if call.function in names for event in call.events}
        dead = {(letter.function, letter.event) for letter in self.dead_letters}
        done = [
            (call.order, event)
            for (name, event), call in last.items()
            if call.succeeded(event) and (name, event) not in dead
        ]
        return [event for _, event in sorted(done, key=lambda each: each[0])]

    @property
    def dead_letters(self) -> list[Letter]:
        """The dead letters of all functions, in the order of their times."""
        topics = dict.fromkeys(
            binding.dead_letter_topic(stream) for binding in self._plan.bindings for stream in binding.streams
        )
        letters = [Letter.read(record) for topic in topics for record in self._records(topic)]
        return sorted(letters, key=lambda letter: letter.stored.timestamp_ms)

    def emitted(self, stream: str) -> list[Any]:
        """The values in a stream, as JSON says: what functions with ``emits=`` produced to it, and what was sent.

        Raises:
            StreamNotFound: no function writes to it, and it has not been created.
        """
        return [event.value for event in self.events(stream)]

    def events(self, stream: str) -> list[StoredEvent]:
        """All events in a stream: keys, headers and places with the values.

        Raises:
            StreamNotFound: no function reads or writes it, and it has not been created.
        """
        if stream in {binding.emits for binding in self._plan.bindings} and stream not in self.broker.log.streams:
            return []
        self.broker.log.find(stream)
        return self._stored(stream)

    def committed(self, stream: str, function: Callable[..., Any] | str | None = None) -> dict[int, int | None]:
        """What the function's group has committed for the partitions of a stream: the lowest offset not done, or None.

        Args:
            stream: one that the function consumes.
            function: which; may be left out when there is one alone.
        """
        [name, *others] = self._names(function)
        if others:
            raise TypeError("several functions are tested: say whose commits are meant")
        commits = self.broker.log.group(self._group(name)).commits
        return {
            id_.partition: commits[id_].offset if id_ in commits else None
            for id_ in self.broker.log.partitions_of(stream)
        }

    def pending(self) -> list[str]:
        """A line for each event that is not settled, with what is known of it."""
        lines = []
        left = self._unsettled()
        dead = {(letter.function, letter.event) for letter in self.dead_letters}
        for binding in self._plan.bindings:
            if binding.name not in left:
                continue
            done = set(self.done_by(binding.name))
            for stream in self._consumed(binding):
                for event in self._stored(stream):
                    is_known = event in done or (binding.name, event) in dead
                    if not is_known and not self._is_committed(binding, event):
                        lines.append(f"{binding.name}: {event} {self._trouble(binding, event)}")
        return lines

    # -- inside

    def _unsettled(self) -> dict[str, bool]:
        """The functions that have something left to do, each with whether it has paused, so that it won't."""
        raise NotImplementedError

    def _trouble(self, binding: Binding, event: StoredEvent) -> str:
        calls = self.attempts(event, binding.name)
        if not calls:
            return "has not started"
        call = calls[-1]
        if call.ended is None:
            return f"runs since {call.started:g} s"
        why = call.failures.get(event)
        if why is None:
            return "succeeded, and its result is not written"
        return f"failed in attempt {call.attempt}, at {call.ended:g} s: {type(why).__name__}: {why}"

    def _is_committed(self, binding: Binding, event: StoredEvent) -> bool:
        commits = self.broker.log.group(self._group(binding.name)).commits
        commit = commits.get(TopicPartition(event.stream, event.partition))
        if commit is None:
            return False
        beyond = decode_metadata(commit.offset, commit.metadata).done
        return event.offset < commit.offset or any(start <= event.offset < stop for start, stop in beyond)

    def _listed(self) -> str:
        lines = self.pending()
        more = [f"... and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
        return "".join(f"\n  {line}" for line in [*lines[:_LISTED], *more]) or " nothing is pending"

    def _consumed(self, binding: Binding) -> list[str]:
        """The streams that the function reads, its retry topics with them once they are there."""
        return [*binding.streams, *(topic for topic in retry_topics(binding) if topic in self.broker.log.streams)]

    def _group(self, name: str) -> str:
        return f"{self._plan.settings.app}.{name}"

    def _names(self, function: Callable[..., Any] | str | None) -> list[str]:
        bindings = self._plan.bindings
        if function is None:
            return [binding.name for binding in bindings]
        names = [binding.name for binding in bindings if function in (binding.name, binding.function)]
        if not names:
            known = ", ".join(binding.name for binding in bindings)
            name = function if isinstance(function, str) else getattr(function, "__qualname__", repr(function))
            raise LookupError(f"{name} is not tested here: dispatching() was given {known}")
        return names

    def _stored(self, stream: str) -> list[StoredEvent]:
        return [StoredEvent.of(record) for record in self._records(stream)]

    def _records(self, stream: str) -> list[Any]:
        try:
            return list(self.broker.records(stream))
        except StreamNotFound:
            return []


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
