"""A record that came over a wire, and what all envelopes share."""

from __future__ import annotations

from typing import NamedTuple

from bindings.calling import RecordLike

__all__ = ["EnvelopeError", "WireRecord", "event_id"]


class EnvelopeError(ValueError):
    """Raised when bytes are not the envelope that they claim to be; the message says what is wrong, without payload."""


class WireRecord(NamedTuple):
    """An event as it was consumed: the names are those of :class:`~bindings.calling.RecordLike`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def event_id(record: RecordLike) -> str:
    """``stream/partition/offset``: the same at each delivery, over every target."""
    return f"{record.topic}/{record.partition}/{record.offset}"
