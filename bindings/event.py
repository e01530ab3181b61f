"""What a function is handed: the event, and the context of its delivery."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from bindings.trace import TraceContext

__all__ = ["Context", "Event"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Event(Generic[T]):
    """One Kafka record, its value decoded as the function's annotation says.

    Events compare and hash by identity, so that they can be the keys of ``BatchFailures({event: error})``.

    Attributes:
        value: the decoded value.
        key: the record's key, as it was produced.
        headers: the record's headers in order; a name may come more than once, a value may be None.
        stream: the topic.
        partition: the partition's number.
        offset: the record's offset in it.
        timestamp_ms: milliseconds since 1970-01-01 UTC, as the record carries them.
        raw: the value's bytes before decoding; None for a record without a value.
    """

    value: T
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    stream: str
    partition: int
    offset: int
    timestamp_ms: int
    raw: bytes | None

    @property
    def id(self) -> str:
        """``stream/partition/offset``: the same at each delivery, so a good idempotency key."""
        return f"{self.stream}/{self.partition}/{self.offset}"

    @property
    def timestamp(self) -> datetime:
        """The record's timestamp as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)

    def header(self, name: str) -> bytes | None:
        """The last header of that name (the one that counts, by Kafka's convention), or None."""
        for header, value in reversed(self.headers):
            if header == name:
                return value
        return None


class Context(Protocol):
    """The delivery that a function is part of. Annotate a parameter with it to be handed one."""

    @property
    def function(self) -> str:
        """The function's name in this app."""

    @property
    def attempt(self) -> int:
        """1 for the first delivery; in a batch the highest of its events' attempts."""

    @property
    def event_id(self) -> str:
        """``stream/partition/offset`` of the (first) event: the same at each of its deliveries."""

    @property
    def deadline(self) -> datetime:
        """When the attempt times out, as an aware datetime in UTC."""

    def remaining(self) -> float:
        """Seconds until the deadline; negative past it."""

    @property
    def logger(self) -> logging.Logger:
        """A logger whose lines carry function, event id and attempt."""

    @property
    def trace(self) -> TraceContext | None:
        """The W3C trace context to go on with: of this invocation, where it is traced, else of its one event; None without either.

        ``{"traceparent": context.trace.traceparent}`` in a request's headers, or ``emit(..., headers=...)``.
        """

    def emit(self, value: Any, *, key: bytes | str | None = None, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Produce ``value`` to the stream in ``emits=`` when, and only when, the function succeeds."""
