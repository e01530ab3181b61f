"""The push form of Google's Pub/Sub: one message a request, as JSON.

From Google's "Push subscriptions": ``{"message": {"data": base64, "messageId", "publishTime", "attributes",
"orderingKey"}, "subscription"}``. Attributes are text, so the record's coordinates are there; its own headers are too,
where they are UTF-8, as ``header.<name>``.
"""

from __future__ import annotations

import json
from binascii import b2a_base64

from bindings.calling import RecordLike
from bindings.envelopes.cloudevents import time_of
from bindings.envelopes.record import event_id

__all__ = ["encode"]


def encode(record: RecordLike, *, subscription: str) -> bytes:
    """Make the push request's body of a record.

    Args:
        record: the event.
        subscription: ``projects/P/subscriptions/S``, as the function may read it.
    """
    attributes = {
        "stream": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp),
    }
    for name, value in record.headers:
        if value is not None and (text := _text(value)) is not None:
            attributes[f"header.{name}"] = text
    message: dict[str, object] = {
        "data": b2a_base64(record.value or b"", newline=False).decode("ascii"),
        "messageId": event_id(record),
        "publishTime": time_of(record.timestamp) or "1970-01-01T00:00:00.000Z",
        "attributes": attributes,
    }
    if record.key is not None and (key := _text(record.key)) is not None:
        message["orderingKey"] = key
    return json.dumps({"message": message, "subscription": subscription}, separators=(",", ":")).encode()


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
