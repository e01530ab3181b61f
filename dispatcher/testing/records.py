"""What a test looks at: events as they lie in the log, dead letters, calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bindings import Event
from dispatcher.core.record import Record
from dispatcher.worker.records import DEAD_PREFIX

__all__ = ["Call", "Letter", "StoredEvent"]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in the log. Two are equal when they lie at the same place.

    Attributes:
        stream, partition, offset: where it lies.
        key: as it was produced.
        raw: the value's bytes; None for a tombstone.
        headers: in order; a name may come more than once.
        timestamp_ms: milliseconds since 1970-01-01 UTC.
    """

    stream: str
    partition: int
    offset: int
    key: bytes | None = field(default=None, compare=False)
    raw: bytes | None = field(default=None, compare=False)
    headers: tuple[tuple[str, bytes | None], ...] = field(default=(), compare=False)
    timestamp_ms: int = field(default=0, compare=False)

    @classmethod
    def of(cls, record: Record) -> Self:
        """Read a record."""
        return cls(
            record.topic,
            record.partition,
            record.offset,
            record.key,
            record.value,
            tuple(record.headers),
            record.timestamp,
        )

    @classmethod
    def handed(cls, event: Event[Any]) -> Self:
        """Read what a function is handed."""
        return cls(event.stream, event.partition, event.offset, event.key, event.raw, event.headers, event.timestamp_ms)

    @property
    def value(self) -> Any:
        """The value as JSON says; the bytes themselves when they are none."""
        return decoded(self.raw)

    def header(self, name: str) -> bytes | None:
        """The last header of that name, or None."""
        return next((value for each, value in reversed(self.headers) if each == name), None)

    def __str__(self) -> str:
        key = "" if self.key is None else f" (key {self.key.decode(errors='replace')})"
        return f"{self.stream}/{self.partition}@{self.offset}{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter.

    Attributes:
        event: the event as it lies in its own stream.
        function: who gave it up.
        reason: why, one of :class:`~dispatcher.core.retries.Reason`: ``"attempts"``, ``"expired"``,
            ``"not_retryable"``, ``"rejected"``, ``"oversize"``.
        error_type: the qualified name of the last exception.
        message: its text.
        attempts: deliveries that counted.
        stored: the letter itself, as it lies in the dead-letter stream, with all headers.
    """

    event: StoredEvent
    function: str
    reason: str
    error_type: str
    message: str
    attempts: int
    stored: StoredEvent

    @property
    def value(self) -> Any:
        """The event's value as JSON says; the bytes themselves when they are none."""
        return self.stored.value

    @classmethod
    def read(cls, record: Record) -> Self:
        """Read what :func:`dispatcher.worker.records.dead_letter` wrote.

        Raises:
            KeyError: a header is missing: somebody else wrote it.
        """
        facts = {
            name[len(DEAD_PREFIX) :]: (value or b"").decode()
            for name, value in record.headers
            if name.startswith(DEAD_PREFIX)
        }
        own = tuple(header for header in record.headers if not header[0].startswith(DEAD_PREFIX))
        event = StoredEvent(
            facts["stream"],
            int(facts["partition"]),
            int(facts["offset"]),
            record.key,
            record.value,
            own,
            int(facts["timestamp"]),
        )
        return cls(
            event=event,
            function=facts["function"],
            reason=facts["reason"],
            error_type=facts["error-type"],
            message=facts["error-message"],
            attempts=int(facts["attempts"]),
            stored=StoredEvent.of(record),
        )


@dataclass(eq=False, slots=True, kw_only=True)
class Call:
    """One call of a function.

    Attributes:
        function: its name.
        member: the number of the member of the group that made it, from 1.
        events: what it was handed.
        attempt: ``context.attempt``: 1 for the first delivery.
        started: virtual seconds since the test began.
        ended: the same; None while it runs.
        returned: what it returned.
        error: what it raised; ``TimeoutError`` when its time was up, ``CancelledError`` when its member was let go.
        failures: the events that the call left undone, and why.
    """

    function: str
    member: int
    events: tuple[StoredEvent, ...]
    attempt: int
    started: float
    ended: float | None = None
    returned: Any = None
    error: BaseException | None = None
    failures: Mapping[StoredEvent, BaseException] = field(default_factory=dict)
    # Order of the starts and ends among all calls: many share one moment of virtual time.
    _first: int = 0
    _last: int | None = None

    @property
    def event(self) -> StoredEvent:
        """The event that it was handed; the first one of a batch."""
        return self.events[0]

    def succeeded(self, event: StoredEvent | None = None) -> bool:
        """Whether it ended well, for one event or for all of them."""
        if self.ended is None:
            return False
        return not self.failures if event is None else event in self.events and event not in self.failures

    def overlaps(self, other: Call) -> bool:
        """Whether the two ran at the same time."""
        return (other._last is None or self._first < other._last) and (self._last is None or other._first < self._last)

    @property
    def order(self) -> int:
        """Its end's place among all starts and ends; its start's while it runs."""
        return self._first if self._last is None else self._last

    def begin(self, turn: int) -> None:
        """Take note of the start, the ``turn``-th of all starts and ends."""
        self._first = turn

    def finish(self, turn: int) -> None:
        """Take note of the end."""
        self._last = turn


def decoded(raw: bytes | None) -> Any:
    """The JSON value in these bytes; the bytes themselves when they are none, None for none."""
    if raw is None:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        return raw
