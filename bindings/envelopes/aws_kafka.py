"""The event that AWS Lambda gets from an event source mapping for Kafka, and its partial batch response.

The form is that of AWS's documentation, "Using Lambda with Amazon MSK" and "with self-managed Apache Kafka": ``records``
is a map from ``<topic>-<partition>`` to the records of it in offset order; key and value are base64; headers are a
list of maps with one entry each, so that names may repeat, whose values are lists of byte integers. AWS's runtimes for
Java write them signed, so -128 to 255 are read.
"""

from __future__ import annotations

import json
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from bindings.calling import RecordLike
from bindings.envelopes.record import EnvelopeError, WireRecord, checked

__all__ = ["SELF_MANAGED", "batch_item_failures", "decode", "encode", "is_aws_kafka"]

#: ``eventSource`` of Kafka clusters that AWS does not manage. Their documentation and their tools disagree: both are read.
SELF_MANAGED = "SelfManagedKafka"
_SOURCES = frozenset({"aws:kafka", SELF_MANAGED, "aws:SelfManagedKafka"})
#: json.dumps() with options makes an encoder at each call.
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def encode(records: Sequence[RecordLike], *, arn: str | None = None, bootstrap_servers: str = "") -> bytes:
    """Make the event of some records.

    Args:
        records: in offset order within each partition.
        arn: of the MSK cluster; without one the event is of a self-managed cluster.
        bootstrap_servers: ``host:port,...``.
    """
    partitions: dict[str, list[str]] = {}
    for record in records:
        name, begin = _partition(record.topic, record.partition)
        partitions.setdefault(name, []).append(_encoded(record, begin))
    made = ",".join([f"{name}:[{','.join(listed)}]" for name, listed in partitions.items()])
    return f'{_event(arn, bootstrap_servers)},"records":{{{made}}}}}'.encode("ascii")


def is_aws_kafka(event: object) -> bool:
    """Whether a decoded JSON document is such an event."""
    return isinstance(event, Mapping) and _is_source(event.get("eventSource")) and "records" in event


def decode(event: object) -> list[WireRecord]:
    """Read the records of an event, partition by partition, in the order of the document.

    Raises:
        EnvelopeError: it is no such event.
    """
    if not isinstance(event, Mapping) or not _is_source(event.get("eventSource")):
        raise EnvelopeError("not an event of an AWS event source mapping for Kafka: eventSource is another")
    partitions = event.get("records")
    if not isinstance(partitions, Mapping):
        raise EnvelopeError("an event for Kafka has a map of records")
    found = []
    for records in partitions.values():
        if not isinstance(records, Sequence) or isinstance(records, str):
            raise EnvelopeError("the records of a partition are a list")
        found += [_decoded(record) for record in records]
    return found


def batch_item_failures(failed: Sequence[RecordLike]) -> dict[str, Any]:
    """The partial batch response for Kafka, naming these records; an empty one says that all are done."""
    return {
        "batchItemFailures": [
            {"itemIdentifier": {"partition": f"{record.topic}-{record.partition}", "offset": record.offset}}
            for record in failed
        ]
    }


def _is_source(source: object) -> bool:
    return isinstance(source, str) and source in _SOURCES


# Written by hand: json.dumps() of a record in a dict takes 9 us, and this one 2, of the 130 that an invocation has.


@lru_cache(maxsize=64)
def _event(arn: str | None, bootstrap_servers: str) -> str:
    """How the event begins: what it says of the cluster."""
    of_cluster = {"eventSource": "aws:kafka", "eventSourceArn": arn} if arn else {"eventSource": SELF_MANAGED}
    return _dumps({**of_cluster, "bootstrapServers": bootstrap_servers})[:-1]


@lru_cache(maxsize=4096)
def _partition(topic: str, partition: int) -> tuple[str, str]:
    """The name of a partition, and how its records begin."""
    return _dumps(f"{topic}-{partition}"), _dumps({"topic": topic, "partition": partition})[:-1]


def _encoded(record: RecordLike, begin: str) -> str:
    key, value = record.key, record.value
    # A tombstone has no value, and says so.
    parts = (
        f'{begin},"offset":{record.offset},"timestamp":{record.timestamp},"timestampType":"CREATE_TIME"'
        f',"value":{"null" if value is None else _quoted(value)}'
    )
    if key is not None:
        parts += f',"key":{_quoted(key)}'
    headers = record.headers
    listed = _dumps([{name: None if each is None else list(each)} for name, each in headers]) if headers else "[]"
    return f'{parts},"headers":{listed}}}'


def _quoted(value: bytes) -> str:
    return f'"{b2a_base64(value, newline=False).decode("ascii")}"'


def _decoded(record: object) -> WireRecord:
    if not isinstance(record, Mapping):
        raise EnvelopeError("a record is a map")
    topic = record.get("topic")
    if not isinstance(topic, str):
        raise EnvelopeError("a record has a topic")
    headers = record.get("headers") or ()
    if not isinstance(headers, Sequence) or isinstance(headers, str):
        raise EnvelopeError("the headers of a record are a list of maps")
    return checked(
        WireRecord(
            topic,
            _number(record, "partition"),
            _number(record, "offset"),
            _number(record, "timestamp") if "timestamp" in record else -1,
            _bytes(record, "key"),
            _bytes(record, "value"),
            tuple(pair for header in headers for pair in _headers(header)),
        )
    )


def _number(record: Mapping[str, Any], part: str) -> int:
    number = record.get(part)
    if type(number) is not int:
        raise EnvelopeError(f"the {part} of a record is a whole number")
    return number


def _bytes(record: Mapping[str, Any], part: str) -> bytes | None:
    value = record.get(part)
    if value is None:
        return None
    try:
        return a2b_base64(value, strict_mode=True)
    except (Base64Error, TypeError, ValueError):
        raise EnvelopeError(f"the {part} of a record is base64") from None


def _headers(header: object) -> list[tuple[str, bytes | None]]:
    if not isinstance(header, Mapping):
        raise EnvelopeError("a header is a map from its name to its bytes")
    try:
        return [
            (name, None if value is None else bytes(byte & 0xFF if byte < 0 else byte for byte in value))
            for name, value in header.items()
        ]
    except (TypeError, ValueError):
        raise EnvelopeError("the value of a header is a list of bytes") from None
