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
``kafkatimestamp``   the record's timestamp in milliseconds, when ``time`` is the event's own
``traceparent``      with ``tracestate``: those of the record's headers, when it has them (the extension of that name)
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

from pydantic_core import SchemaValidator, core_schema, from_json

from bindings.calling import RecordLike, event_id
from bindings.envelopes.record import EnvelopeError, WireRecord, checked
from bindings.trace import trace_of

__all__ = [
    "BATCH",
    "STRUCTURED",
    "batched",
    "binary",
    "decode",
    "document",
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
_OURS = frozenset(
    {"partitionkey", "kafkatopic", "kafkapartition", "kafkaoffset", "kafkakey", "kafkatimestamp", "kafkaheaders"}
)
#: Where a document has the value: no attribute may be named so.
_RESERVED = "data"
_decoded = json.JSONDecoder().raw_decode
_SPACE = re.compile(r"[ \t\r\n]*")


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
    return {"content-type": STRUCTURED}, _documents((record,), source, type_, content_type)[0]


def batched(
    records: Iterable[RecordLike],
    *,
    source: str | None = None,
    type_: str | None = None,
    content_type: str = "application/json",
) -> tuple[dict[str, str], bytes]:
    """Make the headers and the body of a request: a JSON list of documents."""
    return {"content-type": BATCH}, b"[%b]" % b",".join(_documents(records, source, type_, content_type))


def document(attributes: Mapping[str, Any], value: bytes | None) -> bytes:
    """Make the JSON document of an event: a value that is JSON goes as it is written, not as a parser makes of it; all else as base64.

    Args:
        attributes: of the event; ``datacontenttype`` is found from the value when it is not there.
        value: None for an event without one.
    """
    if value is None:
        return _encode(attributes).encode()
    is_json = _is_json(value)
    if "datacontenttype" not in attributes:
        attributes = {**attributes, "datacontenttype": "application/json" if is_json else "application/octet-stream"}
    begin = _encode(attributes).encode()[:-1]
    if is_json and _JSON.fullmatch(attributes["datacontenttype"]):
        return b'%b,"data":%b}' % (begin, value)
    return b'%b,"data_base64":"%b"}' % (begin, b2a_base64(value, newline=False))


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
        found.append((data, None if key is None else str(key).encode(), _as_headers(attributes)))
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
    return max(-1, (moment - _EPOCH) // timedelta(milliseconds=1))


# -- making

_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


#: What needs no escape in JSON, and may stand in an attribute.
_PLAIN = bytes(code for code in range(0x20, 0x7F) if chr(code) not in '"\\')
#: Any JSON object; what is in it is left out.
_check_object = SchemaValidator(core_schema.typed_dict_schema({}, extra_behavior="ignore")).validate_json
_BRACE, _N, _I = b"{NI"
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
) -> tuple[bytes, bool]:
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
    return _encode(members)[:-2].encode(), content_type is not None and _JSON.fullmatch(content_type) is not None


def _documents(records: Iterable[RecordLike], source: str | None, type_: str | None, content_type: str) -> list[bytes]:
    """The document of each record.

    In bytes from end to end: an event of 100 bytes takes 0.8 us, where text that was encoded and a value that was parsed
    into objects took 2.3.
    """
    made = []
    topic, partition, begin, is_json = "", -1, b"", False
    timestamp, time = -1, b""
    for record in records:
        value = record.value
        if record.headers:
            made.append(document(_attributes(record, source, type_, content_type), value))
            continue
        if record.partition != partition or record.topic != topic:
            topic, partition = record.topic, record.partition
            begin, is_json = _common_members(topic, partition, source, type_, content_type)
        if record.timestamp != timestamp:
            timestamp = record.timestamp
            text = time_of(timestamp)
            time = b"" if text is None else b',"time":"%b"' % text.encode()
        key, offset = record.key, record.offset
        by_key = b"" if key is None else _key_member(key)
        if value is None:
            untyped, _ = _common_members(topic, partition, source, type_, None)
            made.append(b'%b%d","kafkaoffset":"%d"%b%b}' % (untyped, offset, offset, time, by_key))
        elif is_json and _is_json(value):
            made.append(b'%b%d","kafkaoffset":"%d"%b%b,"data":%b}' % (begin, offset, offset, time, by_key, value))
        else:
            data = b2a_base64(value, newline=False)
            made.append(
                b'%b%d","kafkaoffset":"%d"%b%b,"data_base64":"%b"}' % (begin, offset, offset, time, by_key, data)
            )
    return made


def _key_member(key: bytes) -> bytes:
    """The member that holds a key, with the comma before it."""
    if key and not key.translate(None, _PLAIN):
        return b',"partitionkey":"%b"' % key
    if text := _text(key):
        return b',"partitionkey":%b' % _encode(text).encode()
    return b',"kafkakey":"%b"' % b2a_base64(key, newline=False)


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
        own = _own_attributes(record.headers)
        if "traceparent" not in own and (trace := trace_of(record.headers)) is not None:
            attributes |= trace.headers()
        attributes |= own
        if attributes.get("time") != time:
            attributes["kafkatimestamp"] = str(record.timestamp)
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
        if not (text := _text(value)) or attribute in _OURS or attribute == _RESERVED:
            continue
        if attribute == "datacontenttype" and text.lower().startswith("application/cloudevents"):
            continue  # over HTTP it would say that the value itself is the event, coordinates and all
        found[attribute] = text
    # Said twice, the other may be anything.
    return {**found, "specversion": "1.0"}


def _is_json(value: bytes) -> bool:
    try:
        # Checked with no objects made of it: a third of the time. That way knows no word for "no NaN, no Infinity".
        if value and value[0] == _BRACE and _N not in value and _I not in value:
            _check_object(value)
        else:
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
            events = _events(body.decode("utf-8-sig"), is_batch=content == BATCH)
            return [_checked(*_parts(*event)) for event in events]
        except EnvelopeError:
            raise
        except (ValueError, RecursionError):
            raise EnvelopeError("the body is not JSON") from None
    if "ce-specversion" not in headers:
        raise EnvelopeError("no CloudEvent: neither ce-specversion nor a content type of one")
    attributes: dict[str, Any] = {
        name[3:]: unquote(value)
        for name, value in headers.items()
        if name.startswith("ce-") and _NAME.fullmatch(name[3:]) and name[3:] != _RESERVED
    }
    if "content-type" in headers:
        attributes["datacontenttype"] = headers["content-type"]
    # A body of no bytes with no type of content is no data.
    return [_checked(attributes, body if body or "content-type" in headers else None)]


def _events(text: str, *, is_batch: bool) -> list[tuple[dict[str, Any], str | None]]:
    """The members of each document, and the text of its ``data`` as it stands.

    A parser would make 1.1 of 1.10, and keep one of two members of a name: the value is to be what the producer wrote.
    """
    found = []
    at = _past_space(text, 0)
    if not is_batch:
        members, data, at = _object(text, at)
        found.append((members, data))
    elif text[at : at + 1] != "[":
        raise EnvelopeError("a batch of CloudEvents is a list")
    elif text[(begin := _past_space(text, at + 1)) : begin + 1] == "]":
        at = begin + 1
    else:
        at, mark = begin, ","
        while mark == ",":
            members, data, at = _object(text, at)
            found.append((members, data))
            mark, at = _mark(text, at, ",]")
    if _past_space(text, at) != len(text):
        raise ValueError("more than one document")
    return found


def _object(text: str, at: int) -> tuple[dict[str, Any], str | None, int]:
    """The members of an object, the text of its ``data``, and where it ends."""
    if text[at : at + 1] != "{":
        raise EnvelopeError("a CloudEvent is a JSON object")
    at = _past_space(text, at + 1)
    if text[at : at + 1] == "}":
        return {}, None, at + 1
    members: dict[str, Any] = {}
    data, mark = None, ","
    while mark == ",":
        name, at = _decoded(text, at)
        if not isinstance(name, str):
            raise EnvelopeError("a CloudEvent is a JSON object")
        _, begin = _mark(text, at, ":")
        members[name], at = _decoded(text, begin)
        if name == _RESERVED:
            data = text[begin:at]
        mark, at = _mark(text, at, ",}")
    return members, data, at


def _mark(text: str, at: int, allowed: str) -> tuple[str, int]:
    """The next mark, and where what is behind it begins; a text may end behind a last one."""
    at = _past_space(text, at)
    mark = text[at : at + 1]
    if not mark or mark not in allowed:
        raise ValueError(f"one of {allowed} is missing")
    return mark, at + 1 if mark in "]}" else _past_space(text, at + 1)


def _past_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too


def _parts(event: dict[str, Any], text: str | None) -> tuple[dict[str, Any], bytes | None]:
    attributes = {
        name: value for name, value in event.items() if name not in (_RESERVED, "data_base64") and value is not None
    }
    if event.get("data_base64") is not None:
        if text is not None:
            raise EnvelopeError("a CloudEvent has data or data_base64, not both")
        try:
            return attributes, a2b_base64(event["data_base64"], strict_mode=True)
        except (Base64Error, TypeError, ValueError):
            raise EnvelopeError("data_base64 is no base64") from None
    if text is None:
        return attributes, None
    data = event[_RESERVED]
    # Implied, and to be said where the event is written again: section 3.1.2 of the JSON format.
    content = attributes.setdefault("datacontenttype", "application/json")
    if isinstance(data, str) and not (isinstance(content, str) and _JSON.fullmatch(content)):
        return attributes, data.encode()
    return attributes, text.encode()


def _checked(attributes: dict[str, Any], data: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    if attributes.get("specversion") != "1.0":
        raise EnvelopeError("a CloudEvent of another version than 1.0")
    for name in ("id", "source", "type"):
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            raise EnvelopeError(f"a CloudEvent has an attribute {name}, a text that is not empty")
    for name, value in attributes.items():
        if not _NAME.fullmatch(name) or not isinstance(value, str | int | bool):
            raise EnvelopeError("an attribute's name is of lower-case letters and digits, its value no list or object")
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise EnvelopeError("an attribute holds half a surrogate pair, which is no text") from None
    return attributes, data


def _record(attributes: dict[str, Any], data: bytes | None) -> WireRecord:
    try:
        key = attributes.get("partitionkey")
        found = WireRecord(
            str(attributes.get("kafkatopic", attributes["source"])),
            int(attributes.get("kafkapartition", 0)),
            int(attributes.get("kafkaoffset", 0)),
            int(attributes["kafkatimestamp"])
            if "kafkatimestamp" in attributes
            else timestamp_of(attributes.get("time")),
            a2b_base64(attributes["kafkakey"], strict_mode=True)
            if "kafkakey" in attributes
            else None
            if key is None
            else str(key).encode(),
            data,
            _headers(attributes),
        )
    except (Base64Error, RecursionError, TypeError, ValueError):
        raise EnvelopeError("the kafka... attributes are not those of a dispatcher") from None
    return checked(found)


def _headers(attributes: dict[str, Any]) -> tuple[tuple[str, bytes | None], ...]:
    if "kafkaheaders" in attributes:
        listed = json.loads(a2b_base64(attributes["kafkaheaders"], strict_mode=True))
        return tuple(
            (str(name), None if value is None else a2b_base64(value, strict_mode=True)) for name, value in listed
        )
    if "kafkatopic" in attributes:
        return ()
    return _as_headers(attributes)


def _as_headers(attributes: dict[str, Any]) -> tuple[tuple[str, bytes], ...]:
    """Attributes as the Kafka protocol binding has them in a record."""
    return tuple(
        ("content-type" if name == "datacontenttype" else f"ce_{name}", _as_text(value))
        for name, value in attributes.items()
        if name not in _OURS
    )


def _as_text(value: str | int | bool) -> bytes:
    """The canonical text of an attribute's value; a truth is written in lower case."""
    return (str(value).lower() if isinstance(value, bool) else str(value)).encode()
