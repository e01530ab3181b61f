"""The records that the dispatcher writes: dead letters and results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bindings import Binding, Emit
from bindings.calling import event_id
from bindings.envelopes.record import WireRecord
from bindings.results import encode, key_and_headers
from bindings.trace import TraceContext, is_traced
from dispatcher.core.delivery import Delivery, Returned
from dispatcher.core.record import Outgoing, Record
from dispatcher.core.settlement import DeadLettered, Moved
from dispatcher.worker.spring import SPRING_PREFIX, spring_headers

__all__ = [
    "DEAD_PREFIX",
    "RETRY_PREFIX",
    "Traced",
    "dead_letter",
    "read_retry_copy",
    "result",
    "retry_copy",
    "truncated",
]

#: All headers that a dead letter adds begin so; what the event itself carried is kept, byte for byte.
DEAD_PREFIX = "dispatch-dead-"
#: The same for the copies in a retry topic. They are taken off again when the event comes back.
RETRY_PREFIX = "dispatch-retry-"

#: The numbers in a retry copy, and the least that each can be: a record may have no timestamp, which is -1.
_LEAST = {"partition": 0, "offset": 0, "timestamp": -1, "attempts": 0, "due": 0}
_MOST = 2**63 - 1
_MOST_DIGITS = 9


class Traced(Protocol):
    """The trace of the invocation that records come of."""

    def trace_to(self, topic: str) -> TraceContext:
        """What a record for this topic says of it."""


def retry_copy(binding: Binding, moved: Moved, trace: Traced | None = None) -> Outgoing:
    """The event for its retry topic, with where it came from, its attempts and when it is due; and the trace of the last one."""
    record = moved.delivery.origin
    topic = binding.retry_topic(record.topic)
    facts = {
        "stream": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "attempts": moved.delivery.attempts,
        "due": moved.due_ms,
    }
    if trace is not None:
        facts["traceparent"] = trace.trace_to(topic).traceparent
    headers = [header for header in record.headers if not header[0].startswith(RETRY_PREFIX)]
    headers += [(f"{RETRY_PREFIX}{name}", str(fact).encode()) for name, fact in facts.items()]
    return Outgoing(
        topic=topic,
        value=record.value,
        key=record.key,
        headers=tuple(headers),
        source_timestamp=record.timestamp,
    )


def read_retry_copy(record: Record, wall_ms: int) -> Returned:
    """Read what :func:`retry_copy` wrote.

    Raises:
        ValueError: a header is missing, or is no number that it can be: somebody else wrote to the retry topic.
    """
    facts = {name[len(RETRY_PREFIX) :]: value for name, value in record.headers if name.startswith(RETRY_PREFIX)}
    try:
        stream = (facts["stream"] or b"").decode()
        numbers = {name: int(facts[name] or b"") for name in _LEAST}
    except KeyError as error:
        raise ValueError(f"the header {RETRY_PREFIX}{error.args[0]} is missing") from None
    for name, number in numbers.items():
        # Python's integers have no end, and what reckons with them does.
        if not _LEAST[name] <= number <= _MOST:
            raise ValueError(f"the header {RETRY_PREFIX}{name} is out of range")
    origin = WireRecord(
        stream,
        numbers["partition"],
        numbers["offset"],
        numbers["timestamp"],
        record.key,
        record.value,
        tuple(header for header in record.headers if not header[0].startswith(RETRY_PREFIX)),
    )
    return Returned(origin=origin, attempts=numbers["attempts"], wait=max(0, numbers["due"] - wall_ms) / 1000)


def dead_letter(binding: Binding, letter: DeadLettered, trace: Traced | None = None) -> Outgoing:
    """The event as it was, with headers that say where it came from and why it is here.

    Added are, each with the prefix ``dispatch-dead-``: stream, partition, offset, timestamp (milliseconds since
    1970-01-01 UTC), function, reason (see :class:`~dispatcher.core.retries.Reason`), error-type, error-message,
    attempts, first-failure and last-failure (milliseconds), redrives, and, where it is known, place: the file and function
    that raised the error; and traceparent, where the last attempt was traced: the event's own is that of its producer, and
    stays. ``DeadLetter(format="spring")`` adds those of Spring Kafka, see
    :mod:`dispatcher.worker.spring`, and says so in the header format.
    """
    record, history = letter.delivery.origin, letter.delivery.remember()
    # What somebody else wrote to a retry topic comes from no stream of the binding.
    topic = binding.dead_letter_topic(record.topic if record.topic in binding.streams else binding.streams[0])
    redrives = next((value for name, value in record.headers if name == f"{DEAD_PREFIX}redrives"), None) or b"0"
    if not redrives.isdigit() or len(redrives) > _MOST_DIGITS:
        redrives = b"0"  # whoever made the event wrote it, and the letter must be readable
    facts = {
        "stream": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "function": binding.name,
        "reason": letter.reason,
        "error-type": letter.failure.error_type,
        "error-message": letter.failure.message,
        "attempts": history.attempts,
        "first-failure": history.first_failed,
        "last-failure": history.last_failed,
    }
    if letter.failure.place:
        facts["place"] = letter.failure.place
    if trace is not None:
        facts["traceparent"] = trace.trace_to(topic).traceparent
    spring = binding.dead_letter.format == "spring"
    if spring:
        facts["format"] = "spring"
    headers = [header for header in record.headers if not header[0].startswith(DEAD_PREFIX)]
    # A lone surrogate in an error's text has no UTF-8, and must not keep its event from being written.
    headers += [(f"{DEAD_PREFIX}{name}", str(fact).encode(errors="replace")) for name, fact in facts.items()]
    headers.append((f"{DEAD_PREFIX}redrives", redrives))
    if spring:
        headers = [header for header in headers if not header[0].startswith(SPRING_PREFIX)]
        headers += spring_headers(record, letter.failure)
    return Outgoing(
        topic=topic,
        value=record.value,
        key=record.key,
        headers=tuple(headers),
        source_timestamp=record.timestamp,
    )


def truncated(letter: Outgoing, keep: int) -> Outgoing:
    """The dead letter of an event that its topic does not take whole: at most ``keep`` bytes of its value, key and error.

    The header ``dispatch-dead-truncated`` holds the size that its value had. The coordinates lead to the original.
    """
    value, size = letter.value, f"{DEAD_PREFIX}truncated"
    headers = [
        (name, (fact or b"")[:keep]) for name, fact in letter.headers if name.startswith((DEAD_PREFIX, SPRING_PREFIX))
    ]
    if not any(name == size for name, _ in headers):
        headers.append((size, str(len(value or b"")).encode()))
    return Outgoing(
        topic=letter.topic,
        value=None if value is None else value[:keep],
        key=letter.key if len(letter.key or b"") <= keep else None,
        headers=tuple(headers),
        source_timestamp=letter.source_timestamp,
    )


def result(
    binding: Binding, batch: Sequence[Delivery], index: int, emit: Emit, trace: Traced | None = None
) -> Outgoing:
    """A result on its way to the output stream.

    Its key is the one it names, or that of the event, when it comes of one alone. ``dispatch-event-id`` is the same
    at each delivery of the same event(s), so that a consumer can tell a repeated result. It carries the trace of the
    invocation, unless the function has given it one.

    Raises:
        InvalidOutcome: the value can't be made JSON, or the key or a header is of a type that no record can have.
    """
    if binding.emits is None:
        msg = "only a function with emits= has results"
        raise ValueError(msg)
    first = batch[0].origin
    key, headers = key_and_headers(emit)
    if key is None and len({delivery.origin.key for delivery in batch}) == 1:
        key = first.key
    if trace is not None and not is_traced(headers):
        headers += tuple((name, text.encode()) for name, text in trace.trace_to(binding.emits).headers().items())
    id_ = f"{event_id(first)}#{index}"
    return Outgoing(
        topic=binding.emits,
        value=encode(emit.value),
        key=key,
        headers=(*headers, ("dispatch-function", binding.name.encode()), ("dispatch-event-id", id_.encode())),
        source_timestamp=max(delivery.origin.timestamp for delivery in batch),
    )
