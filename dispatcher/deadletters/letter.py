"""A dead letter, read from its record, and the record that takes it back to its function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.core.record import Outgoing, Record, TopicPartition
from dispatcher.worker.records import DEAD_PREFIX, RETRY_PREFIX, Original

__all__ = ["REDRIVES", "Letter", "read_letter", "redriven"]

#: The header that counts redrives. It stays on a redriven event, so that its next dead letter goes on counting.
REDRIVES = f"{DEAD_PREFIX}redrives"
_MOST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter.

    Attributes:
        id: the partition of the dead-letter topic in which it rests.
        offset: where there.
        written: when it was written, milliseconds since 1970-01-01 UTC.
        origin: the event as it was first consumed.
        function: the function that gave it up.
        reason: see :class:`dispatcher.core.retries.Reason`.
        error_type, error_message: the last failure.
        attempts: deliveries that counted.
        first_failure, last_failure: milliseconds; 0 for not known.
        redrives: how often it has been sent back before.
        cut: the size in bytes that its value had, when the topic did not take all of it; None when it is whole.
    """

    id: TopicPartition
    offset: int
    written: int
    origin: Original
    function: str
    reason: str
    error_type: str
    error_message: str
    attempts: int
    first_failure: int
    last_failure: int
    redrives: int
    cut: int | None

    @property
    def place(self) -> str:
        """Where it rests: ``topic/partition@offset``."""
        return f"{self.id.topic}/{self.id.partition}@{self.offset}"

    @property
    def event(self) -> str:
        """The event's own coordinates, in the same form."""
        return f"{self.origin.topic}/{self.origin.partition}@{self.origin.offset}"

    def provenance(self) -> dict[str, str | int | None]:
        """What the dispatcher wrote on it."""
        return {
            "stream": self.origin.topic,
            "partition": self.origin.partition,
            "offset": self.origin.offset,
            "timestamp_ms": self.origin.timestamp,
            "function": self.function,
            "reason": self.reason,
            "error_type": self.error_type,
            "error_message": self.error_message,
            "attempts": self.attempts,
            "first_failure_ms": self.first_failure or None,
            "last_failure_ms": self.last_failure or None,
            "dead_since_ms": self.written,
            "redrives": self.redrives,
            "cut_from_bytes": self.cut,
        }


def read_letter(record: Record) -> Letter:
    """Read what :func:`dispatcher.worker.records.dead_letter` wrote.

    Raises:
        ValueError: a header is missing, or is no number that it can be: somebody else wrote to the dead-letter topic.
    """
    facts = {name[len(DEAD_PREFIX) :]: value for name, value in record.headers if name.startswith(DEAD_PREFIX)}
    for name in ("stream", "partition", "offset", "function", "reason"):
        if name not in facts:
            raise ValueError(f"the header {DEAD_PREFIX}{name} is missing")
    own = (DEAD_PREFIX, RETRY_PREFIX)
    return Letter(
        id=TopicPartition(record.topic, record.partition),
        offset=record.offset,
        written=record.timestamp,
        origin=Original(
            topic=_text(facts, "stream"),
            partition=_number(facts, "partition"),
            offset=_number(facts, "offset"),
            timestamp=_number(facts, "timestamp"),
            key=record.key,
            value=record.value,
            headers=tuple(header for header in record.headers if not header[0].startswith(own)),
        ),
        function=_text(facts, "function"),
        reason=_text(facts, "reason"),
        error_type=_text(facts, "error-type"),
        error_message=_text(facts, "error-message"),
        attempts=_number(facts, "attempts"),
        first_failure=_number(facts, "first-failure"),
        last_failure=_number(facts, "last-failure"),
        redrives=_number(facts, "redrives"),
        cut=_number(facts, "truncated") if "truncated" in facts else None,
    )


def redriven(letter: Letter, topic: str, now_ms: int) -> Outgoing:
    """The event on its way back: its own bytes and headers, its first coordinates, all attempts before it, no wait.

    Written as :func:`dispatcher.worker.records.retry_copy` writes, for ``topic``, the function's retry topic.
    """
    origin = letter.origin
    facts = {
        "stream": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "timestamp": origin.timestamp,
        "attempts": 0,
        "due": now_ms,
    }
    headers = [*origin.headers, (REDRIVES, str(letter.redrives + 1).encode())]
    headers += [(f"{RETRY_PREFIX}{name}", str(fact).encode()) for name, fact in facts.items()]
    return Outgoing(topic=topic, value=origin.value, key=origin.key, headers=tuple(headers))


def _text(facts: Mapping[str, bytes | None], name: str) -> str:
    return (facts.get(name) or b"").decode(errors="replace")


def _number(facts: Mapping[str, bytes | None], name: str) -> int:
    number = int(facts.get(name) or b"0")
    # A record may have no timestamp, which is -1.
    if not -1 <= number <= _MOST:
        raise ValueError(f"the header {DEAD_PREFIX}{name} is out of range")
    return number
