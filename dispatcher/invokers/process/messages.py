"""An invocation and what it came to, as frames. What a process sends is checked value by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bindings import Emit
from bindings.envelopes.record import WireRecord
from bindings.failure import Failure, FailureKind
from bindings.invocation import Received, Reply
from bindings.trace import TraceContext, current_trace
from dispatcher.core.delivery import Delivery
from dispatcher.invokers.process.frames import REPLY, REQUEST, Bytes, InvalidFrame, add, frame, pack_headers

__all__ = ["Answer", "pack_reply", "pack_request", "read_reply", "read_request"]

# What a function's process may say of an event. That it was not delivered, or is too large, it can't know.
_KINDS = {"function": FailureKind.FUNCTION, "terminal": FailureKind.TERMINAL}
_LONGEST_TYPE, _LONGEST_MESSAGE, _LONGEST_PLACE = 300, 1_000, 200
# Seconds. The scheduler has a cap of its own; this one keeps out what is no float.
_LONGEST_WAIT = 1e300


class Answer(NamedTuple):
    """What came back.

    Attributes:
        id: of the invocation.
        reply: what it came to.
        last: the process ends now, and a new one should take its place.
    """

    id: int
    reply: Reply
    last: bool


def pack_request(id_: int, batch: Sequence[Delivery]) -> bytes:
    """An invocation with its events."""
    blobs: list[bytes] = []
    events = []
    for delivery in batch:
        record = delivery.origin
        events.append(
            [
                record.topic,
                record.partition,
                record.offset,
                record.timestamp,
                delivery.attempts,
                add(record.key, blobs),
                add(record.value, blobs),
                pack_headers(record.headers, blobs),
            ]
        )
    return frame(REQUEST, {"id": id_, "events": events, "trace": current_trace.get()}, blobs)


def read_request(header: Any, data: Bytes) -> tuple[int, list[Received], TraceContext | None]:
    """Read what :func:`pack_request` made."""
    batch = []
    for topic, partition, offset, timestamp, attempts, key, value, headers in header["events"]:
        record = WireRecord(
            topic, partition, offset, timestamp, data.take(key), data.take(value), data.take_headers(headers)
        )
        batch.append(Received(record, attempts))
    return header["id"], batch, None if header["trace"] is None else TraceContext(*header["trace"])


def pack_reply(id_: int, reply: Reply, *, last: bool) -> bytes:
    """What an invocation came to. The results' keys, values and headers are bytes already."""
    blobs: list[bytes] = []
    results = [
        [_add(emit.key, blobs), _add(emit.value, blobs), pack_headers(list(emit.headers), blobs)]
        for emit in reply.results
    ]
    header = {
        "id": id_,
        "failures": [[index, *_pack_failure(failure)] for index, failure in reply.failures.items()],
        "rest": None if reply.rest is None else _pack_failure(reply.rest),
        "results": results,
        "last": last,
    }
    return frame(REPLY, header, blobs)


def read_reply(header: Any, data: Bytes, events: int) -> Answer:
    """Read what a process says that an invocation of so many events came to.

    Raises:
        InvalidFrame: it says something that can't be.
    """
    if type(header) is not dict or header.keys() != {"id", "failures", "rest", "results", "last"}:
        raise InvalidFrame("a reply has other parts")
    id_, failures, rest = header["id"], header["failures"], header["rest"]
    results, last = header["results"], header["last"]
    if type(id_) is not int or type(last) is not bool or type(failures) is not list or type(results) is not list:
        raise InvalidFrame("a part of a reply has another type")
    named = {}
    for item in failures:
        if type(item) is not list or not item or type(item[0]) is not int or not 0 <= item[0] < events:
            raise InvalidFrame("a failure is of no event of the batch")
        named[item[0]] = _read_failure(item[1:])
    emits = []
    for item in results:
        if type(item) is not list or len(item) != 3:
            raise InvalidFrame("a result has other parts")
        emits.append(_emit(item, data))
    data.end()
    return Answer(id_, Reply(named, None if rest is None else _read_failure(rest), emits), last)


def _emit(item: list[Any], data: Bytes) -> Emit:
    key, value, headers = data.take(item[0]), data.take(item[1]), data.take_headers(item[2])
    try:
        "".join(name for name, _ in headers).encode()
    except UnicodeEncodeError:
        raise InvalidFrame("a header's name has no UTF-8") from None
    # A record's header without a value is not what Emit declares, and every broker takes it.
    return Emit(value, key, headers)  # type: ignore[arg-type]


def _add(value: object, blobs: list[bytes]) -> int | None:
    if value is not None and not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} is not bytes")
    return add(value, blobs)


def _pack_failure(failure: Failure) -> list[Any]:
    return [
        failure.kind.value,
        failure.error_type,
        failure.message,
        failure.retry_after,
        failure.retryable,
        failure.counts,
        failure.place,
    ]


def _read_failure(item: Any) -> Failure:
    if type(item) is not list or len(item) != 7:
        raise InvalidFrame("a failure has other parts")
    kind, error_type, message, retry_after, retryable, counts, place = item
    if type(kind) is not str or kind not in _KINDS:
        raise InvalidFrame("a failure of an unknown kind")
    if type(error_type) is not str or type(message) is not str or type(place) is not str:
        raise InvalidFrame("a part of a failure has another type")
    if type(retryable) is not bool or type(counts) is not bool or (kind == "function" and not counts):
        raise InvalidFrame("only a failure that is terminal may be no attempt")
    if retry_after is not None and (type(retry_after) not in (int, float) or not 0 <= retry_after < _LONGEST_WAIT):
        raise InvalidFrame("a wait is a number of seconds")
    return Failure(
        kind=_KINDS[kind],
        error_type=error_type[:_LONGEST_TYPE],
        message=message[:_LONGEST_MESSAGE],
        retry_after=None if retry_after is None else float(retry_after),
        retryable=retryable,
        counts=counts,
        place=place[:_LONGEST_PLACE],
    )
