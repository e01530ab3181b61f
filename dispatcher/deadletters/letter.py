"""A dead letter, read from its record, and the record that takes it back to its function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bindings.envelopes.record import WireRecord
from dispatcher.core.record import Outgoing, Record, TopicPartition
from dispatcher.deadletters.fingerprint import fingerprint
from dispatcher.deadletters.foreign import Foreign, read_foreign
from dispatcher.worker.records import DEAD_PREFIX, RETRY_PREFIX
from dispatcher.worker.spring import SPRING_PREFIX

__all__ = ["EDITED_FROM", "REDRIVES", "Letter", "read_letter", "redriven"]

#: The header that counts redrives. It stays on a redriven event, so that its next dead letter goes on counting.
REDRIVES = f"{DEAD_PREFIX}redrives"
#: The header of an event whose value was edited before it was sent back: the letter that holds it as it was.
EDITED_FROM = "dispatch-edited-from"
_MOST = 2**63 - 1
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter.

    Attributes:
        id: the partition of the dead-letter topic in which it rests.
        offset: where there.
        written: when it was written, milliseconds since 1970-01-01 UTC.
        origin: the event as it was first consumed.
        function: the function that gave it up; empty when another program wrote the letter.
        reason: see :class:`dispatcher.core.retries.Reason`; ``"spring"`` or ``"connect"`` when one of these wrote it.
        error_type, error_message: the last failure.
        attempts: deliveries that counted.
        first_failure, last_failure: milliseconds; 0 for not known.
        redrives: how often it has been sent back before.
        cut: the size in bytes that its value had, when the topic did not take all of it; None when it is whole.
        raised_at: ``file:function`` that raised the last error; empty when it is not known.
        writer: of a letter that another program wrote, its consumer group or connector.
        edited_from: the letter that holds its value as it was, when it is sent back with another.
    """

    id: TopicPartition
    offset: int
    written: int
    origin: WireRecord
    function: str
    reason: str
    error_type: str
    error_message: str
    attempts: int
    first_failure: int
    last_failure: int
    redrives: int
    cut: int | None
    raised_at: str = ""
    writer: str = ""
    edited_from: str | None = None

    @property
    def place(self) -> str:
        """Where it rests: ``topic/partition@offset``."""
        return f"{self.id.topic}/{self.id.partition}@{self.offset}"

    @property
    def event(self) -> str:
        """The event's own coordinates, in the same form."""
        return f"{self.origin.topic}/{self.origin.partition}@{self.origin.offset}"

    @property
    def fingerprint(self) -> str:
        """What it has in common with letters of the same cause; see :func:`dispatcher.deadletters.fingerprint.fingerprint`."""
        return fingerprint(self.function, self.error_type, self.raised_at, self.error_message)

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
            "place": self.raised_at or None,
            "fingerprint": self.fingerprint,
            "attempts": self.attempts,
            "first_failure_ms": self.first_failure or None,
            "last_failure_ms": self.last_failure or None,
            "dead_since_ms": self.written,
            "redrives": self.redrives,
            "cut_from_bytes": self.cut,
            **({"writer": self.writer} if self.writer else {}),
        }


def read_letter(record: Record) -> Letter:
    """Read what :func:`dispatcher.worker.records.dead_letter` wrote, or Spring Kafka, or Kafka Connect.

    Raises:
        ValueError: a header is missing, or is no number that it can be: somebody else wrote to the dead-letter topic.
    """
    facts = {name[len(DEAD_PREFIX) :]: value for name, value in record.headers if name.startswith(DEAD_PREFIX)}
    if "stream" not in facts and (foreign := read_foreign(record)) is not None:
        return _of_another(record, foreign)
    for name in ("stream", "partition", "offset", "function", "reason"):
        if name not in facts:
            raise ValueError(f"the header {DEAD_PREFIX}{name} is missing")
    own = (DEAD_PREFIX, RETRY_PREFIX, *([SPRING_PREFIX] if facts.get("format") == b"spring" else []))
    return Letter(
        id=TopicPartition(record.topic, record.partition),
        offset=record.offset,
        written=record.timestamp,
        origin=WireRecord(
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
        raised_at=_text(facts, "place"),
    )


def _of_another(record: Record, foreign: Foreign) -> Letter:
    redrives = next((value for name, value in record.headers if name == REDRIVES), None)
    return Letter(
        id=TopicPartition(record.topic, record.partition),
        offset=record.offset,
        written=record.timestamp,
        origin=foreign.origin,
        function="",
        reason=foreign.format,
        error_type=foreign.error_type,
        error_message=foreign.error_message,
        attempts=0,
        first_failure=0,
        last_failure=0,
        redrives=int(redrives) if redrives is not None and redrives.isdigit() and len(redrives) <= _MOST_DIGITS else 0,
        cut=None,
        raised_at=foreign.raised_at,
        writer=foreign.writer,
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
    if letter.edited_from is not None:
        headers = [header for header in headers if header[0] != EDITED_FROM]
        headers.append((EDITED_FROM, letter.edited_from.encode()))
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
