"""Dead letters that other programs wrote: Spring Kafka, and Kafka Connect (Confluent's too).

Spring's headers are those of ``org.springframework.kafka.support.KafkaHeaders.DLT_*``; Connect's those of
``org.apache.kafka.connect.runtime.errors.DeadLetterQueueReporter``, which
``errors.deadletterqueue.context.headers.enable`` turns on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bindings.envelopes.record import WireRecord
from dispatcher.core.record import Record
from dispatcher.worker.records import DEAD_PREFIX, RETRY_PREFIX
from dispatcher.worker.spring import SPRING_PREFIX

__all__ = ["Foreign", "read_foreign"]

CONNECT_PREFIX = "__connect.errors."
_MOST = 2**63 - 1
_FRAME = re.compile(r"\s*at (?P<method>[\w.$<>/@-]+)\((?P<file>[\w.$]+)(?::\d+)?\)|\s*at (?P<place>\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What another program said of an event that it gave up.

    Attributes:
        format: which program.
        origin: the event as it was, without that program's headers.
        error_type, error_message: the cause, where it names one, else the error.
        raised_at: ``file:method`` of the stack trace's first frame; empty without one.
        writer: the consumer group or the connector.
    """

    format: Literal["spring", "connect"]
    origin: WireRecord
    error_type: str
    error_message: str
    raised_at: str
    writer: str


def read_foreign(record: Record) -> Foreign | None:
    """Read a record as one of these; None when it is none.

    Raises:
        ValueError: a coordinate is missing, or is no number that it can be.
    """
    names = {name for name, _ in record.headers}
    if f"{SPRING_PREFIX}original-topic" in names:
        return _spring(record)
    return _connect(record) if f"{CONNECT_PREFIX}topic" in names else None


def _spring(record: Record) -> Foreign:
    facts = _facts(record, SPRING_PREFIX)
    # A letter that passed retry topics has one of each for every topic: the first says where the event came from. Of errors
    # the last counts.
    first = dict(reversed([(n, v) for n, v in record.headers if n.startswith(f"{SPRING_PREFIX}original-")]))
    where = {name[len(SPRING_PREFIX) :]: value for name, value in first.items()}
    return Foreign(
        format="spring",
        origin=_origin(
            record,
            _text(where, "original-topic"),
            _binary(where, "original-partition"),
            _binary(where, "original-offset"),
            _binary(where, "original-timestamp", missing=-1),
            (SPRING_PREFIX, "retry_topic-"),
        ),
        # The error itself is the listener container's, which wraps all that a listener raises.
        error_type=_text(facts, "exception-cause-fqcn") or _text(facts, "exception-fqcn"),
        error_message=_text(facts, "exception-message"),
        raised_at=_place(_text(facts, "exception-stacktrace")),
        writer=_text(where, "original-consumer-group"),
    )


def _connect(record: Record) -> Foreign:
    facts = _facts(record, CONNECT_PREFIX)
    return Foreign(
        format="connect",
        origin=_origin(
            record,
            _text(facts, "topic"),
            _decimal(facts, "partition"),
            _decimal(facts, "offset"),
            record.timestamp,
            (CONNECT_PREFIX,),
        ),
        error_type=_text(facts, "exception.class.name"),
        error_message=_text(facts, "exception.message"),
        raised_at=_place(_text(facts, "exception.stacktrace")),
        writer=_text(facts, "connector.name"),
    )


def _origin(
    record: Record, topic: str, partition: int, offset: int, timestamp: int, theirs: tuple[str, ...]
) -> WireRecord:
    if not topic:
        raise ValueError("the original topic is empty")
    left_out = (*theirs, DEAD_PREFIX, RETRY_PREFIX)
    headers = tuple(header for header in record.headers if not header[0].startswith(left_out))
    return WireRecord(topic, partition, offset, timestamp, record.key, record.value, headers)


def _place(trace: str) -> str:
    """The frame that raised the innermost cause."""
    match = _FRAME.search(trace.rpartition("Caused by:")[2])
    if match is None:
        return ""
    return match["place"] or f"{match['file']}:{match['method']}"


def _facts(record: Record, prefix: str) -> dict[str, bytes | None]:
    return {name[len(prefix) :]: value for name, value in record.headers if name.startswith(prefix)}


def _text(facts: Mapping[str, bytes | None], name: str) -> str:
    return (facts.get(name) or b"").decode(errors="replace")


def _binary(facts: Mapping[str, bytes | None], name: str, *, missing: int | None = None) -> int:
    value = facts.get(name)
    if value is None and missing is not None:
        return missing
    if value is None or len(value) not in (4, 8):
        raise ValueError(f"the header {SPRING_PREFIX}{name} is missing, or is no number of 4 or 8 bytes")
    number = int.from_bytes(value, "big", signed=True)
    if number < -1 or (number < 0 and missing is None):
        raise ValueError(f"the header {SPRING_PREFIX}{name} is out of range")
    return number


def _decimal(facts: Mapping[str, bytes | None], name: str) -> int:
    number = int(facts.get(name) or b"")
    if not 0 <= number <= _MOST:
        raise ValueError(f"the header {CONNECT_PREFIX}{name} is out of range")
    return number
