"""CloudEvents 1.0 over HTTP: binary, structured and batched mode, both directions.

The forms are those of the CloudEvents specification 1.0.2, its JSON format, its HTTP protocol binding, and its Kafka
protocol binding for events that are CloudEvents already.

===================  =========================================================================================
``id``               ``stream/partition/offset``: the same at each delivery
``source``           ``/<stream>``, or as the target's setting says
``type``             the stream, or as the target's setting says
``time``             the record's timestamp
``partitionkey``     the record's key, where it is text (the extension of that name)
``kafkatopic``       with ``kafkapartition`` and ``kafkaoffset``: the coordinates
``kafkakey``         base64: a key that is no text
``kafkaheaders``     base64 of a JSON list of ``[name, base64 | null]``: the record's headers, when it has any
===================  =========================================================================================

A record whose headers make it a CloudEvent (``ce_specversion``) keeps its own id, source, type and all other attributes.
"""

from __future__ import annotations

import json
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from pydantic_core import from_json

from bindings.calling import RecordLike
from bindings.envelopes.record import EnvelopeError, WireRecord, event_id

__all__ = [
    "BATCH",
    "STRUCTURED",
    "batched",
    "binary",
    "data_of",
    "decode",
    "emitted",
    "is_cloudevent",
    "structured",
    "time_of",
    "timestamp_of",
]

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
#: json.dumps() with options makes an encoder at each call.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# "lower-case letters or digits"; length is a SHOULD of 20, so it is not refused.
_NAME = re.compile(r"[a-z0-9]+")
_JSON = re.compile(r"(?:[^;/]+/)?(?:[^;]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
#: What the record itself says; all else in a received event becomes a header, as in the Kafka protocol binding.
_OURS = frozenset({"partitionkey", "kafkatopic", "kafkapartition", "kafkaoffset", "kafkakey", "kafkaheaders"})


def binary(
    record: RecordLike, *, source: str | None = None, type_: str | None = None, content_type: str = "application/json"
) -> tuple[dict[str, str], bytes]:
    """Make the headers and the body of a request: the attributes in ``ce-`` headers, the value as it is."""
    if not record.headers:
        return _plain_headers(record, source, type_, content_type), record.value or b""
    attributes = _attributes(record, source, type_, content_type)
    content = attributes.pop("datacontenttype", None)
    # "some characters must be percent-encoded": space, the double quote, the percent sign and what is not printable ASCII.
    headers = {f"ce-{name}": _quoted(str(value)) for name, value in attributes.items()}
    if record.value is None:
        return headers, b""
    return {**headers, "content-type": content or content_type}, record.value


def structured(
    record: RecordLike, *, source: str | None = None, type_: str | None = None, content_type: str = "application/json"
) -> tuple[dict[str, str], bytes]:
    """Make the headers and the body of a request: all in one JSON document."""
    return {"content-type": STRUCTURED}, _document(record, source, type_, content_type)


def batched(
    records: Iterable[RecordLike],
    *,
    source: str | None = None,
    type_: str | None = None,
    content_type: str = "application/json",
) -> tuple[dict[str, str], bytes]:
    """Make the headers and the body of a request: a JSON list of documents."""
    return {"content-type": BATCH}, b"[" + b",".join(
        _document(each, source, type_, content_type) for each in records
    ) + b"]"


def data_of(value: bytes | None) -> dict[str, Any]:
    """The members of a document that hold a value: JSON where it is that, else base64; none for none."""
    if value is None:
        return {}
    try:
        return {"datacontenttype": "application/json", "data": from_json(value, allow_inf_nan=False)}
    except ValueError:
        return {"datacontenttype": "application/octet-stream", "data_base64": _base64(value)}


def is_cloudevent(headers: Mapping[str, str]) -> bool:
    """Whether a message, its headers' names in lower case, is one or more CloudEvents."""
    content = headers.get("content-type", "").partition(";")[0].strip().lower()
    return content in (STRUCTURED, BATCH) or "ce-specversion" in headers


def decode(headers: Mapping[str, str], body: bytes) -> list[WireRecord]:
    """Read the events of a message as records.

    What another program sent, with no coordinates of a stream, has its source as stream and its offset is 0; its
    attributes are headers named ``ce_...``, as the Kafka protocol binding has them.

    Args:
        headers: of the message, their names in lower case.
        body: of the message.

    Raises:
        EnvelopeError: it is no CloudEvent.
    """
    return [_record(attributes, data) for attributes, data in _read(headers, body)]


def emitted(
    headers: Mapping[str, str], body: bytes
) -> list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]]:
    """Read the events of a reply as what is to be produced: value, key (of ``partitionkey``), headers (``ce_...``).

    Raises:
        EnvelopeError: it is no CloudEvent.
    """
    found = []
    for attributes, data in _read(headers, body):
        key = attributes.get("partitionkey")
        named = [
            (f"ce_{name}", str(value).encode())
            for name, value in attributes.items()
            if name not in ("partitionkey", "datacontenttype")
        ]
        if (content := attributes.get("datacontenttype")) is not None:
            named.append(("content-type", str(content).encode()))
        found.append((data, None if key is None else str(key).encode(), tuple(named)))
    return found


def time_of(timestamp: int) -> str | None:
    """RFC 3339 from milliseconds since 1970-01-01 UTC; None for a record that has no time, or one past the year 9999."""
    if timestamp < 0:
        return None
    seconds, milliseconds = divmod(timestamp, 1000)
    second = _second(seconds)
    return None if second is None else f"{second}.{milliseconds:03d}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str | None:
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:-6]
    except OverflowError:
        return None


def timestamp_of(time: object) -> int:
    """Milliseconds since 1970-01-01 UTC of an RFC 3339 text; -1 for what is none."""
    if not isinstance(time, str):
        return -1
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return -1
    if moment.tzinfo is None:
        return -1
    return (moment - _EPOCH) // timedelta(milliseconds=1)


# -- making

_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


#: What needs no escape in a header.
_SAFE = re.compile(r"[!#$&-~]*")


def _quoted(text: str) -> str:
    return text if _SAFE.fullmatch(text) else quote(text, safe=_PRINTABLE)


# Most records have no headers, and then all but the offset, the time and the key is the same for a whole partition: what is
# kept of it takes the making of an event from 14 us to 3.


@lru_cache(maxsize=4096)
def _common_headers(
    topic: str, partition: int, source: str | None, type_: str | None, content_type: str | None
) -> tuple[dict[str, str], str]:
    """The headers that all records of a partition have, and how their ids begin."""
    headers = {
        "ce-specversion": "1.0",
        "ce-source": _quoted(source or f"/{quote(topic, safe='')}"),
        "ce-type": _quoted(type_ or topic),
        "ce-kafkatopic": _quoted(topic),
        "ce-kafkapartition": str(partition),
    }
    if content_type is not None:
        headers["content-type"] = content_type
    return headers, _quoted(f"{topic}/{partition}/")


def _plain_headers(record: RecordLike, source: str | None, type_: str | None, content_type: str) -> dict[str, str]:
    """The headers of a record that has none of its own."""
    content = None if record.value is None else content_type
    common, begin = _common_headers(record.topic, record.partition, source, type_, content)
    offset = str(record.offset)
    headers = {**common, "ce-id": begin + offset, "ce-kafkaoffset": offset}
    if (time := time_of(record.timestamp)) is not None:
        headers["ce-time"] = time
    if (key := record.key) is not None:
        if text := _text(key):
            headers["ce-partitionkey"] = _quoted(text)
        else:
            headers["ce-kafkakey"] = _base64(key)
    return headers


@lru_cache(maxsize=4096)
def _common_members(
    topic: str, partition: int, source: str | None, type_: str | None, content_type: str | None
) -> tuple[str, bool]:
    """How the documents of all records of a partition begin, up to the offset in the id; and whether values are JSON."""
    members: dict[str, Any] = {
        "specversion": "1.0",
        "source": source or f"/{quote(topic, safe='')}",
        "type": type_ or topic,
        **({} if content_type is None else {"datacontenttype": content_type}),
        "kafkatopic": topic,
        "kafkapartition": partition,
        "id": f"{topic}/{partition}/",
    }
    return _encode(members)[:-2], content_type is not None and _JSON.fullmatch(content_type) is not None


def _plain_document(record: RecordLike, source: str | None, type_: str | None, content_type: str) -> bytes:
    """The document of a record that has no headers."""
    value = record.value
    begin, is_json = _common_members(
        record.topic, record.partition, source, type_, None if value is None else content_type
    )
    time = time_of(record.timestamp)
    parts = f'{begin}{record.offset}","kafkaoffset":"{record.offset}"' + ("" if time is None else f',"time":"{time}"')
    if (key := record.key) is not None:
        parts += f',"partitionkey":{_encode(text)}' if (text := _text(key)) else f',"kafkakey":"{_base64(key)}"'
    if value is None:
        return f"{parts}}}".encode()
    if is_json and _is_json(value):
        return b'%b,"data":%b}' % (parts.encode(), value)
    return b'%b,"data_base64":"%b"}' % (parts.encode(), b2a_base64(value, newline=False))


def _attributes(record: RecordLike, source: str | None, type_: str | None, content_type: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id(record),
        "source": source or f"/{quote(record.topic, safe='')}",
        "type": type_ or record.topic,
    }
    if (time := time_of(record.timestamp)) is not None:
        attributes["time"] = time
    if record.value is not None:
        attributes["datacontenttype"] = content_type
    if record.headers:
        attributes |= _own_attributes(record.headers)
    attributes["kafkatopic"] = record.topic
    attributes["kafkapartition"] = record.partition
    # A CloudEvents Integer has 32 bits, an offset 64.
    attributes["kafkaoffset"] = str(record.offset)
    if record.key is not None:
        text = _text(record.key)
        if text:
            attributes["partitionkey"] = text
        else:
            attributes["kafkakey"] = _base64(record.key)
    if record.headers:
        listed = [[name, None if value is None else _base64(value)] for name, value in record.headers]
        attributes["kafkaheaders"] = _base64(json.dumps(listed, separators=(",", ":")).encode())
    return attributes


def _own_attributes(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    """The attributes of a record that is a CloudEvent in the Kafka binding's binary mode."""
    if not any(name == "ce_specversion" and value == b"1.0" for name, value in headers):
        return {}
    found = {}
    for name, value in headers:
        attribute = "datacontenttype" if name == "content-type" else name.removeprefix("ce_")
        if (attribute == name and name != "content-type") or value is None or not _NAME.fullmatch(attribute):
            continue
        if (text := _text(value)) and attribute not in _OURS:
            found[attribute] = text
    return found


def _document(record: RecordLike, source: str | None, type_: str | None, content_type: str) -> bytes:
    if not record.headers:
        return _plain_document(record, source, type_, content_type)
    attributes = _attributes(record, source, type_, content_type)
    document = _encode(attributes).encode()
    value = record.value
    if value is None:
        return document
    # Not data_of: a value that is JSON goes as the producer wrote it, not as a parser makes of it.
    if _JSON.fullmatch(attributes["datacontenttype"]) and _is_json(value):
        return b"".join((document[:-1], b',"data":', value, b"}"))
    return b"".join((document[:-1], b',"data_base64":"', b2a_base64(value, newline=False), b'"}'))


def _is_json(value: bytes) -> bool:
    try:
        from_json(value, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode("ascii")


def _text(value: bytes) -> str | None:
    """Text that an attribute may hold: no control characters, which a header could not carry either."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    if text.isprintable():
        return text
    return None if any(ord(each) < 0x20 or 0x7F <= ord(each) <= 0x9F for each in text) else text


# -- reading


def _read(headers: Mapping[str, str], body: bytes) -> list[tuple[dict[str, Any], bytes | None]]:
    content = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content in (STRUCTURED, BATCH):
        try:
            # Not from_json: a document that repeats a name or holds NaN is read as others read it.
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise EnvelopeError("the body is not JSON") from None
        events = document if content == BATCH else [document]
        if not isinstance(events, list):
            raise EnvelopeError("a batch of CloudEvents is a list")
        return [_checked(*_parts(event)) for event in events]
    if "ce-specversion" not in headers:
        raise EnvelopeError("no CloudEvent: neither ce-specversion nor a content type of one")
    attributes: dict[str, Any] = {
        name[3:]: unquote(value)
        for name, value in headers.items()
        if name.startswith("ce-") and _NAME.fullmatch(name[3:])
    }
    if "content-type" in headers:
        attributes["datacontenttype"] = headers["content-type"]
    # A body of no bytes with no type of content is no data.
    return [_checked(attributes, body if body or "content-type" in headers else None)]


def _parts(event: object) -> tuple[dict[str, Any], bytes | None]:
    if not isinstance(event, dict):
        raise EnvelopeError("a CloudEvent is a JSON object")
    attributes = {
        name: value for name, value in event.items() if name not in ("data", "data_base64") and value is not None
    }
    if event.get("data_base64") is not None:
        try:
            return attributes, a2b_base64(event["data_base64"], strict_mode=True)
        except (Base64Error, TypeError, ValueError):
            raise EnvelopeError("data_base64 is no base64") from None
    if "data" not in event:
        return attributes, None
    data = event["data"]
    content = attributes.get("datacontenttype", "application/json")
    if isinstance(data, str) and not (isinstance(content, str) and _JSON.fullmatch(content)):
        return attributes, data.encode("utf-8", "surrogatepass")
    return attributes, json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _checked(attributes: dict[str, Any], data: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    if attributes.get("specversion") != "1.0":
        raise EnvelopeError("a CloudEvent of another version than 1.0")
    for name in ("id", "source", "type"):
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            raise EnvelopeError(f"a CloudEvent has an attribute {name}, a text that is not empty")
    for name, value in attributes.items():
        if not _NAME.fullmatch(name) or not isinstance(value, str | int | bool):
            raise EnvelopeError("an attribute's name is of lower-case letters and digits, its value no list or object")
    return attributes, data


def _record(attributes: dict[str, Any], data: bytes | None) -> WireRecord:
    try:
        key = attributes.get("partitionkey")
        return WireRecord(
            str(attributes.get("kafkatopic", attributes["source"])),
            int(attributes.get("kafkapartition", 0)),
            int(attributes.get("kafkaoffset", 0)),
            timestamp_of(attributes.get("time")),
            a2b_base64(attributes["kafkakey"], strict_mode=True)
            if "kafkakey" in attributes
            else None
            if key is None
            else str(key).encode("utf-8", "surrogatepass"),
            data,
            _headers(attributes),
        )
    except (Base64Error, TypeError, ValueError):
        raise EnvelopeError("the kafka... attributes are not those of a dispatcher") from None


def _headers(attributes: dict[str, Any]) -> tuple[tuple[str, bytes | None], ...]:
    if "kafkaheaders" in attributes:
        listed = json.loads(a2b_base64(attributes["kafkaheaders"], strict_mode=True))
        return tuple(
            (str(name), None if value is None else a2b_base64(value, strict_mode=True)) for name, value in listed
        )
    if "kafkatopic" in attributes:
        return ()
    return tuple(
        (f"ce_{name}", str(value).encode("utf-8", "surrogatepass"))
        for name, value in attributes.items()
        if name not in _OURS
    )
