"""Requests with events and their answers, whatever serves HTTP.

===========================================  ===================================================================
``content-type: application/cloudevents+json``, ``...-batch+json``, or ``ce-specversion``   CloudEvents
``dispatch-stream``                          the value as it is (:mod:`bindings.envelopes.raw`)
JSON with ``eventSource`` and ``records``    the event of an AWS event source mapping for Kafka
JSON with ``message`` and ``subscription``   Google Pub/Sub's push
a JSON list of objects with ``specversion``  CloudEvents, as a batch goes to a function that takes plain JSON
anything else                                the value of one event with no coordinates, as from ``curl -d``
===========================================  ===================================================================

A dispatcher is answered with the document of :mod:`bindings.envelopes.reply`. Another caller gets 2xx with the results
as CloudEvents, 2xx with ``batchItemFailures`` when a part has failed, and when all has failed an error as RFC 9457 has it:

======  ==========================================================================================================
422     another delivery is in vain: rejected, undecodable, not to be retried. Knative sends it to its dead letters
503     the function asked for a later delivery; with ``Retry-After``
504     it took longer than its timeout
500     it failed
======  ==========================================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from bindings.binding import Binding
from bindings.calling import event_id
from bindings.envelopes import aws_kafka, cloudevents, pubsub, raw
from bindings.envelopes import reply as replies
from bindings.envelopes.record import EnvelopeError, WireRecord
from bindings.failure import Failure, FailureKind
from bindings.hosts.serving import Served, attempts_before
from bindings.invocation import Reply
from bindings.outcome import Emit
from bindings.trace import TraceContext, read_trace

__all__ = ["Answer", "Request", "answer", "problem", "read", "respond"]

_LONGEST_TIMEOUT = 86_400.0


class Request(NamedTuple):
    """What a request asks for."""

    records: list[WireRecord]
    attempts: int
    timeout: float | None
    wants_document: bool
    trace: TraceContext | None = None


class Answer(NamedTuple):
    """What goes back; the headers' names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


async def respond(served: Served, headers: Mapping[str, str], body: bytes) -> Answer:
    """Answer a request that was posted.

    Args:
        served: the function that it is for.
        headers: their names in lower case.
        body: as a whole.
    """
    try:
        request = read(served.binding, headers, body)
    except EnvelopeError as error:
        return problem(400, "Bad Request", str(error))
    if not request.records:
        return Answer(204, {}, b"")
    reply = await served.serve(request.records, attempts=request.attempts, timeout=request.timeout, trace=request.trace)
    return answer(served.binding, request, reply)


def read(binding: Binding, headers: Mapping[str, str], body: bytes) -> Request:
    """Read a request.

    Args:
        binding: whose function it is for.
        headers: their names in lower case.
        body: as a whole.

    Raises:
        EnvelopeError: it claims to be an envelope, and is not.
    """
    return Request(
        _records(binding, headers, body),
        attempts_before(headers.get("dispatch-attempt", "")),
        _timeout(headers.get("dispatch-timeout", "")),
        replies.MEDIA_TYPE in headers.get("accept", ""),
        read_trace(headers.get("traceparent"), headers.get("tracestate")),
    )


def answer(binding: Binding, request: Request, reply: Reply) -> Answer:
    """Say what an invocation came to, to who asked."""
    if request.wants_document:
        return Answer(200, {"content-type": replies.MEDIA_TYPE}, replies.encode(reply))
    records = request.records
    failed = reply.failed(len(records))
    if failed and len(failed) == len(records):
        return _failed(reply.rest or reply.failures[failed[0]])
    if failed:
        document = aws_kafka.batch_item_failures([records[index] for index in failed])
        return Answer(200, {"content-type": "application/json"}, json.dumps(document).encode())
    if not reply.results:
        return Answer(204, {}, b"")
    events = [_as_event(binding, records[0], emit, number) for number, emit in enumerate(reply.results)]
    if len(events) == 1:
        return Answer(200, {"content-type": cloudevents.STRUCTURED}, events[0])
    return Answer(200, {"content-type": cloudevents.BATCH}, b"[" + b",".join(events) + b"]")


def problem(status: int, title: str, detail: str, **headers: str) -> Answer:
    """An error as RFC 9457 writes it."""
    document = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/problem+json", **names}, json.dumps(document).encode())


def _failed(failure: Failure) -> Answer:
    if failure.kind is not FailureKind.FUNCTION or not failure.retryable:
        return problem(422, failure.error_type, failure.message)
    if failure.retry_after is not None:
        return problem(503, failure.error_type, failure.message, retry_after=str(math.ceil(failure.retry_after)))
    return problem(504 if failure.error_type == "TimeoutError" else 500, failure.error_type, failure.message)


def _records(binding: Binding, headers: Mapping[str, str], body: bytes) -> list[WireRecord]:
    if cloudevents.is_cloudevent(headers):
        return cloudevents.decode(headers, body)
    if raw.is_raw(headers):
        return [raw.decode(headers, body)]
    if headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        try:
            document: Any = json.loads(body)
        except (ValueError, RecursionError):
            document = None  # the function's own decoding says what is wrong with it
        if aws_kafka.is_aws_kafka(document):
            return aws_kafka.decode(document)
        if pubsub.is_push(document):
            return [pubsub.decode(document)]
        if (
            isinstance(document, list)
            and document
            and all(isinstance(each, dict) and "specversion" in each for each in document)
        ):
            return cloudevents.decode({"content-type": cloudevents.BATCH}, body)
    return [WireRecord(binding.streams[0], 0, 0, -1, None, body)]


def _timeout(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, _LONGEST_TIMEOUT) if seconds > 0 else None


def _as_event(binding: Binding, record: WireRecord, emit: Emit, number: int) -> bytes:
    """A result as a CloudEvent. Its id follows from the event's, so that a repeated one can be known."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{event_id(record)}#{number}",
        "source": f"/{binding.name}",
        "type": binding.emits or binding.name,
    }
    if isinstance(emit.key, bytes) and emit.key:
        event["partitionkey"] = emit.key.decode("utf-8", "replace")
    return cloudevents.document(event, emit.value)
