"""A record that came over a wire, and what all envelopes share."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EnvelopeError", "WireRecord", "checked"]


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


def checked(record: WireRecord) -> WireRecord:
    """A record that can be one of Kafka's: its numbers fit into their 32 and 64 bits, its names are text that has an encoding.

    Raises:
        EnvelopeError: it can't.
    """
    if not (0 <= record.partition < 1 << 31 and 0 <= record.offset < 1 << 63 and -1 <= record.timestamp < 1 << 63):
        raise EnvelopeError("the partition, the offset or the timestamp is a number that none can be")
    try:
        record.topic.encode()
        for name, _ in record.headers:
            name.encode()
    except UnicodeEncodeError:
        raise EnvelopeError("a name holds half a surrogate pair, which is no text") from None
    return record
