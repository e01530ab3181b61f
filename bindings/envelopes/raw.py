"""The value as it is, in the body; where it comes from in headers.

``dispatch-stream``, ``dispatch-partition``, ``dispatch-offset``, ``dispatch-timestamp`` (milliseconds since 1970-01-01
UTC), and ``dispatch-key``: base64, since a key is bytes. Headers of the event are not passed on: what an event says
must not become what a request says.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from urllib.parse import quote, unquote

from bindings.calling import RecordLike
from bindings.envelopes.record import EnvelopeError, WireRecord, checked

__all__ = ["decode", "encode", "is_raw"]

_STREAM = "dispatch-stream"


def encode(record: RecordLike, content_type: str = "application/json") -> tuple[dict[str, str], bytes]:
    """Make headers and body of a record; one without a value has an empty body."""
    headers = {
        "content-type": content_type,
        # A topic's name is ASCII by Kafka's rule; an embedded log may be laxer one day.
        _STREAM: quote(record.topic, safe=""),
        "dispatch-partition": str(record.partition),
        "dispatch-offset": str(record.offset),
        "dispatch-timestamp": str(record.timestamp),
    }
    if record.key is not None:
        headers["dispatch-key"] = b2a_base64(record.key, newline=False).decode("ascii")
    if record.value is None:
        headers["dispatch-tombstone"] = "true"
    return headers, record.value or b""


def is_raw(headers: Mapping[str, str]) -> bool:
    """Whether a request, its headers' names in lower case, is of this form."""
    return _STREAM in headers


def decode(headers: Mapping[str, str], body: bytes) -> WireRecord:
    """Read a record.

    Args:
        headers: of the request, their names in lower case.
        body: of the request.

    Raises:
        EnvelopeError: a coordinate is missing or is none.
    """
    try:
        key = headers.get("dispatch-key")
        found = WireRecord(
            unquote(headers[_STREAM]),
            int(headers["dispatch-partition"]),
            int(headers["dispatch-offset"]),
            int(headers.get("dispatch-timestamp", "-1")),
            None if key is None else a2b_base64(key, strict_mode=True),
            None if headers.get("dispatch-tombstone") == "true" else body,
        )
    except KeyError as error:
        raise EnvelopeError(f"the header {error.args[0]} is missing") from None
    except (Base64Error, ValueError):
        raise EnvelopeError("dispatch-partition, -offset and -timestamp are numbers, dispatch-key is base64") from None
    return checked(found)
