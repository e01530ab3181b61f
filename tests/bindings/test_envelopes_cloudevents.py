"""CloudEvents as others know them: the examples of the specification, and the public SDK on the other side.

The examples are those of the CloudEvents specification 1.0.2, github.com/cloudevents/spec: ``cloudevents/formats/json-format.md``
sections 3.2 and 4.3, ``cloudevents/bindings/http-protocol-binding.md`` sections 3.1.3.2 and 3.1.4. Their "..." are filled in.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent, from_http
from cloudevents.kafka import KafkaMessage
from cloudevents.kafka import to_binary as to_kafka
from cloudevents.pydantic import from_http as strictly_from_http
from hypothesis import given
from hypothesis import strategies as st

from bindings.envelopes import cloudevents
from bindings.envelopes.record import EnvelopeError, WireRecord

COMMON = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "source": "/mycontext",
    "time": "2018-04-05T17:31:00Z",
    "comexampleextension1": "value",
    "comexampleothervalue": 5,
}
DATA = '{\n        "appinfoA" : "abc",\n        "appinfoB" : 123,\n        "appinfoC" : true\n    }'
BINARY = '"datacontenttype": "application/vnd.apache.thrift.binary", "data_base64": "gAEAAQ=="'
XML = '"unsetextension": null, "datacontenttype": "application/xml", "data": "<much wow=\\"xml\\"/>"'
JSON = f'"subject": null, "datacontenttype": "application/json", "data" : {DATA}'
STRING = '"subject": null, "data": "I\'m just a string"'
#: Section 3.2: the event's id, the rest of its document, and how the same event reads in binary mode.
EXAMPLES = [
    pytest.param("A234-1234-1234", BINARY, b"\x80\x01\x00\x01", "application/vnd.apache.thrift.binary", id="binary"),
    pytest.param("B234-1234-1234", XML, b'<much wow="xml"/>', "application/xml", id="xml"),
    pytest.param("C234-1234-1234", JSON, DATA.encode(), "application/json", id="json"),
    pytest.param("D234-1234-1234", STRING, b'"I\'m just a string"', "application/json", id="string"),
]
KEY = "partitionkey"


def example(id_: str, rest: str) -> bytes:
    """A document of the specification."""
    return f"{json.dumps({**COMMON, 'id': id_})[:-1]}, {rest}}}".encode()


@pytest.mark.parametrize(("id_", "rest", "data", "content"), EXAMPLES)
def test_the_examples_of_the_json_format(id_: str, rest: str, data: bytes, content: str) -> None:
    """Each is the same event as the specification's own version of it in binary mode; null is unset, data without a type
    is JSON and says so, and its text stays as it was written."""
    [structured] = cloudevents.decode(
        {"content-type": "application/cloudevents+json; charset=utf-8"}, example(id_, rest)
    )
    headers = {f"ce-{name}": str(value) for name, value in {**COMMON, "id": id_}.items()}
    [binary] = cloudevents.decode({**headers, "content-type": content}, data)
    assert sorted(structured.headers) == sorted(binary.headers)
    assert structured._replace(headers=()) == binary._replace(headers=())
    assert (structured.topic, structured.value, structured.timestamp) == ("/mycontext", data, 1_522_949_460_000)
    assert ("content-type", content.encode()) in structured.headers
    assert ("ce_comexampleothervalue", b"5") in structured.headers
    assert "ce_subject" not in dict(structured.headers)


def test_the_examples_of_the_batch_format() -> None:
    """A batch of two, and the empty one, which holds nothing to do."""
    batch = b"[\n  %b,\n  %b\n]\n" % (example("B234-1234-1234", BINARY), example("C234-1234-1234", JSON))
    found = cloudevents.decode({"content-type": cloudevents.BATCH}, batch)
    assert [each.value for each in found] == [b"\x80\x01\x00\x01", DATA.encode()]
    assert [dict(each.headers)["ce_id"] for each in found] == [b"B234-1234-1234", b"C234-1234-1234"]
    assert cloudevents.decode({"content-type": cloudevents.BATCH}, b"[]") == []


def test_the_example_of_the_http_binding() -> None:
    """Section 3.1.4: attributes in headers, the body as it is."""
    headers = {
        "host": "webhook.example.com",
        "ce-specversion": "1.0",
        "ce-type": "com.example.someevent",
        "ce-time": "2018-04-05T03:56:24Z",
        "ce-id": "1234-1234-1234",
        "ce-source": "/mycontext/subcontext",
        "content-type": "application/json; charset=utf-8",
    }
    assert cloudevents.is_cloudevent(headers)
    [found] = cloudevents.decode(headers, b'{"a": 1}')
    assert (found.topic, found.timestamp, found.value) == ("/mycontext/subcontext", 1_522_900_584_000, b'{"a": 1}')
    assert dict(found.headers)["ce_id"] == b"1234-1234-1234"


def test_text_in_headers_is_escaped_as_the_http_binding_has_it() -> None:
    """Section 3.1.3.2: "Euro € 😀" is Euro%20%E2%82%AC%20%F0%9F%98%80, both ways."""
    record = WireRecord("t", 0, 0, -1, "Euro € \U0001f600".encode(), b"")
    headers, body = cloudevents.binary(record)
    assert headers["ce-partitionkey"] == "Euro%20%E2%82%AC%20%F0%9F%98%80"
    assert cloudevents.decode(headers, body) == [record]


def test_a_data_member_is_no_attribute() -> None:
    """A record may not smuggle a value in as an attribute, nor say that its value is the event."""
    own = (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_data", b"other"),
        ("content-type", b"application/cloudevents+json"),
    )
    spoof = b'{"specversion":"1.0","id":"1","source":"s","type":"t","kafkatopic":"stolen"}'
    record = WireRecord("orders", 0, 7, -1, None, spoof, own)
    for made in (cloudevents.binary(record), cloudevents.structured(record), cloudevents.batched([record])):
        assert cloudevents.decode(*made) == [record]
    assert "ce-data" not in cloudevents.binary(record)[0]
    assert "data" not in json.loads(cloudevents.structured(record._replace(value=None))[1])


@pytest.mark.parametrize(
    "document",
    [
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":1,"data_base64":"MQ=="}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"M Q="}',
        b'{"specversion":"1.0","id":"","source":"s","type":"t"}',
        b'{"specversion":"1.0","source":"s","type":"t"}',
        b'{"specversion":"0.3","id":"1","source":"s","type":"t"}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","Other":"x"}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","other":{"a":1}}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","other":1.5}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","other":"\\ud800"}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","datacontenttype":"text/plain","data":"\\ud800"}',
    ],
)
def test_what_the_specification_forbids_is_refused(document: bytes) -> None:
    """Both members of data, a missing or empty attribute, another version, a name or a value that no attribute has."""
    with pytest.raises(EnvelopeError):
        cloudevents.decode({"content-type": cloudevents.STRUCTURED}, document)


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        ("2018-04-05T17:31:00Z", 1_522_949_460_000),
        ("2018-04-05T17:31:00.123456789Z", 1_522_949_460_123),
        ("2018-04-05T19:31:00+02:00", 1_522_949_460_000),
        ("1961-04-12T06:07:00Z", -1),
        ("2018-04-05T17:31:00", -1),
        ("yesterday", -1),
        (None, -1),
    ],
)
def test_times_are_those_of_rfc_3339(time: str | None, milliseconds: int) -> None:
    """Fractions and offsets are read; what names no moment, or one before Kafka's first, is none."""
    assert cloudevents.timestamp_of(time) == milliseconds


# -- the public SDK

_texts = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10)
_attributes = st.fixed_dictionaries(
    {"type": _texts, "source": st.sampled_from(["/shop", "urn:x:y", "https://example.com/a b"])},
    optional={KEY: _texts, "subject": _texts, "tenant": _texts, "time": st.just("2018-04-05T17:31:00+00:00")},
)
_data = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def _read_by_the_sdk(made: tuple[dict[str, str], bytes]) -> dict[str, Any]:
    """What two readers of the SDK make of a request: the plain one, and the strict one of pydantic models."""
    found = from_http(*made)
    strict = strictly_from_http(*made)
    assert strict.get_attributes()["id"] == found["id"]
    return {**found.get_attributes(), "data": found.data}


@given(
    key=st.none() | st.binary(max_size=5) | _texts.map(str.encode),
    value=_data.map(lambda value: json.dumps(value).encode()),
    headers=st.lists(st.tuples(_texts, st.none() | st.binary(max_size=5)), max_size=2).map(tuple),
    timestamp=st.integers(0, 4_000_000_000_000),
)
def test_the_sdk_reads_what_is_sent(
    key: bytes | None, value: bytes, headers: tuple[tuple[str, bytes | None], ...], timestamp: int
) -> None:
    """Every event in binary and structured mode is one to the SDK's readers, with the id, source, type, time and value that it
    has here. (The SDK does not unescape headers: those of this test's names need none.)"""
    record = WireRecord("orders.placed", 3, 15, timestamp, key, value, headers)
    for made in (cloudevents.binary(record), cloudevents.structured(record)):
        found = _read_by_the_sdk(made)
        assert (found["id"], found["source"], found["type"]) == (
            "orders.placed/3/15",
            "/orders.placed",
            "orders.placed",
        )
        assert cloudevents.timestamp_of(found["time"].replace(" ", "T")) == timestamp
        assert (found["kafkatopic"], str(found["kafkapartition"]), found["kafkaoffset"]) == ("orders.placed", "3", "15")
        assert (found["data"] or "") == (json.loads(value) or "")  # what is empty is None there
    structured = _read_by_the_sdk(cloudevents.structured(record))
    assert structured.get(KEY) == (key.decode() if key and KEY in structured else None)


@given(attributes=_attributes, data=_data)
def test_what_the_sdk_sends_is_read(attributes: dict[str, str], data: Any) -> None:
    """An event that the SDK makes is a record with the same attributes in its headers, the same key, the same data."""
    event = CloudEvent({**attributes, "id": "A1"}, data)
    for headers, body in (to_structured(event), to_binary(event)):
        if not all(value.isascii() and "%" not in value for value in headers.values()):
            continue  # the SDK escapes nothing in headers: what is there is no text in HTTP
        [found] = cloudevents.decode(headers, body if isinstance(body, bytes) else b"")
        said = {name: (value or b"").decode() for name, value in found.headers}
        assert said["ce_id"] == "A1"
        assert said["ce_type"] == attributes["type"]
        assert said.get("ce_subject") == attributes.get("subject")
        assert found.topic == attributes["source"]
        assert found.key == (attributes[KEY].encode() if KEY in attributes else None)
        assert found.value is not None
        assert (json.loads(found.value) if found.value else "") == data


def test_a_record_that_is_a_cloudevent_already_stays_that_event() -> None:
    """What the SDK wrote to Kafka in binary mode comes to an endpoint with its own id, source, type and extensions."""
    event = CloudEvent(
        {"type": "order.placed", "source": "/shop", "id": "A1", "tenant": "x y", "datacontenttype": "application/json"},
        {"total": 1},
    )
    message: KafkaMessage = to_kafka(event, key_mapper=lambda _: b"k")
    value = message.value if isinstance(message.value, bytes) else message.value.encode()
    record = WireRecord("orders", 0, 9, 1_700_000_000_000, b"k", value, tuple(message.headers.items()))
    for made in (cloudevents.binary(record), cloudevents.structured(record)):
        [again] = cloudevents.decode(*made)
        assert again == record
    found = _read_by_the_sdk(cloudevents.structured(record))
    assert (found["id"], found["source"], found["type"], found["tenant"]) == ("A1", "/shop", "order.placed", "x y")
    assert found["data"] == {"total": 1}
