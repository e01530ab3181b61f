"""The headers by which Spring Kafka, and the consoles that know it, recognise a dead letter.

Written as ``DeadLetterPublishingRecoverer`` does: https://docs.spring.io/spring-kafka/reference/kafka/annotation-error-handling.html,
section "Publishing Dead-letter Records". Numbers are big-endian, four bytes for a partition and eight for all else.
"""

from __future__ import annotations

from bindings.failure import Failure
from dispatcher.core.record import Record

__all__ = ["SPRING_PREFIX", "spring_headers"]

SPRING_PREFIX = "kafka_dlt-"


def spring_headers(record: Record, failure: Failure) -> list[tuple[str, bytes]]:
    """Describe a dead letter in Spring's words."""
    trace = f"{failure.error_type}: {failure.message}"
    if failure.place:
        trace += f"\n\tat {failure.place}"
    facts = {
        "original-topic": record.topic.encode(),
        "original-partition": record.partition.to_bytes(4, "big"),
        "original-offset": record.offset.to_bytes(8, "big"),
        # A record may have no time, which is -1.
        "original-timestamp": record.timestamp.to_bytes(8, "big", signed=True),
        "original-timestamp-type": b"CreateTime",
        "exception-fqcn": failure.error_type.encode(errors="replace"),
        "exception-message": failure.message.encode(errors="replace"),
        "exception-stacktrace": trace.encode(errors="replace"),
    }
    return [(f"{SPRING_PREFIX}{name}", fact) for name, fact in facts.items()]
