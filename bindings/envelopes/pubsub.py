"""The push form of Google's Pub/Sub: one message a request, as JSON.

From Google's "Push subscriptions": ``{"message": {"data": base64, "messageId", "publishTime", "attributes",
"orderingKey"}, "subscription"}``. Attributes are text, so the record's coordinates are there; its own headers are too,
where they are UTF-8, as ``header.<name>``.
"""

from __future__ import annotations

import json
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import Any

from bindings.calling import RecordLike, event_id
from bindings.envelopes.cloudevents import time_of, timestamp_of
from bindings.envelopes.record import EnvelopeError, WireRecord, checked

__all__ = ["decode", "encode", "is_push"]


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
        # As Pub/Sub has it: a message of attributes alone has no data.
        **({} if record.value is None else {"data": b2a_base64(record.value, newline=False).decode("ascii")}),
        "messageId": event_id(record),
        "publishTime": time_of(record.timestamp) or "1970-01-01T00:00:00.000Z",
        "attributes": attributes,
    }
    if record.key is not None and (key := _text(record.key)) is not None:
        message["orderingKey"] = key
    return json.dumps({"message": message, "subscription": subscription}, separators=(",", ":")).encode()


def is_push(document: object) -> bool:
    """Whether a decoded JSON document is such a request."""
    return isinstance(document, Mapping) and isinstance(document.get("message"), Mapping) and "subscription" in document


def decode(document: object) -> WireRecord:
    """Read the message of a push as a record; one that no dispatcher sent has its subscription as stream, and no offset.

    Raises:
        EnvelopeError: it is none; its data is not base64; its coordinates are no numbers.
    """
    if not isinstance(document, Mapping) or not is_push(document):
        raise EnvelopeError("not a push of Pub/Sub: it has a message and a subscription")
    message: Mapping[str, Any] = document["message"]
    attributes = message.get("attributes") or {}
    try:
        data = message.get("data")
        key = message.get("orderingKey")
        found = WireRecord(
            str(attributes.get("stream", document["subscription"])),
            int(attributes.get("partition", 0)),
            int(attributes.get("offset", 0)),
            int(attributes.get("timestamp", timestamp_of(message.get("publishTime")))),
            None if key is None else str(key).encode(),
            None if data is None else a2b_base64(data, strict_mode=True),
            tuple(
                (str(name).removeprefix("header."), str(value).encode())
                for name, value in attributes.items()
                if str(name).startswith("header.")
            ),
        )
    # An infinity is a number to Python's JSON, and has no int.
    except (Base64Error, AttributeError, OverflowError, TypeError, ValueError):
        raise EnvelopeError("not a push of Pub/Sub: data is base64, attributes are text") from None
    return checked(found)


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
