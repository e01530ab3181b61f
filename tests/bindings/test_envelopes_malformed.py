"""What is no envelope: refused in one way, in bounded time, with words that hold none of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bindings import on_stream
from bindings.decorator import bindings_of
from bindings.envelopes import aws_kafka, cloudevents, pubsub, raw, reply
from bindings.envelopes.record import EnvelopeError, WireRecord
from bindings.hosts import http


@on_stream("orders")
async def handle(order: bytes) -> None:
    """Takes anything."""


BINDING = bindings_of(handle)[0]
RECORD = WireRecord("orders", 0, 7, 1_700_000_000_123, b"key", b'{"a": 1}', (("h", b"1"), ("n", None)))
AWS = json.loads(aws_kafka.encode([RECORD, RECORD._replace(offset=8)]))
PUSH = json.loads(pubsub.encode(RECORD, subscription="projects/p/subscriptions/s"))
EVENT = json.loads(cloudevents.structured(RECORD)[1])
REPLY = {
    "version": 1,
    "failures": [{"index": 0, "kind": "function", "type": "E", "message": "m", "retryAfter": 1.5}],
    "rest": {"kind": "terminal", "type": "E", "message": "m", "counts": False},
    "results": [{"value": "MQ==", "key": None, "headers": [["a", "MQ=="], ["b", None]]}],
}

# JSON that a parser takes: half surrogates, numbers past all bounds, infinities, names that are ours.
_scalars = st.sampled_from(
    [
        None, True, 0, -1, 1.5, float("inf"), float("nan"), 1 << 31, 1 << 63, -(1 << 70), 10**4_000, "", "1", "-1", "\ud800",
        "a=", "MQ==", "\u0661", "1e400", "9" * 5_000, "x" * 50, "=" * 9, "\u00fc",
    ]
)  # fmt: skip
_names = st.sampled_from(["topic", "a", "specversion", "data", "kafkatopic", "message", "itemIdentifier", "\ud800"])
_anything = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3), max_leaves=6
)


def _changed(document: Any, data: st.DataObject) -> Any:
    """A good document with anything in one place."""
    if isinstance(document, dict) and document and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(document)))
        return {**document, name: _changed(document[name], data)}
    if isinstance(document, list) and document and data.draw(st.booleans()):
        return [_changed(document[0], data), *document[1:]]
    return data.draw(_anything)


def _only_refused(call: Callable[[], Any]) -> Any:
    """What a reader gives, or None when it has refused; any other exception goes through."""
    try:
        return call()
    except EnvelopeError as error:
        said = str(error)
    assert 5 < len(said.encode()) < 200
    return None


def _is_kafkas(record: WireRecord) -> bool:
    json.dumps(record[:4]).encode()
    record.topic.encode()
    return (
        0 <= record.partition < 1 << 31
        and 0 <= record.offset < 1 << 63
        and -1 <= record.timestamp < 1 << 63
        and isinstance(record.key, bytes | None)
        and isinstance(record.value, bytes | None)
        and all(name.encode() is not None and isinstance(value, bytes | None) for name, value in record.headers)
    )


@settings(max_examples=300)
@given(data=st.data())
def test_a_document_with_anything_in_a_place_is_read_or_refused(data: st.DataObject) -> None:
    """A good document of each form, with any value in any place, is an EnvelopeError or gives records that Kafka could hold."""
    found = _only_refused(lambda: aws_kafka.decode(_changed(AWS, data))) or []
    found += filter(None, [_only_refused(lambda: pubsub.decode(_changed(PUSH, data)))])
    event = json.dumps(_changed(EVENT, data)).encode()
    found += _only_refused(lambda: cloudevents.decode({"content-type": cloudevents.STRUCTURED}, event)) or []
    found += _only_refused(lambda: cloudevents.decode({"content-type": cloudevents.BATCH}, b"[%b]" % event)) or []
    _only_refused(lambda: cloudevents.emitted({"content-type": cloudevents.STRUCTURED}, event))
    assert all(map(_is_kafkas, found))


@settings(max_examples=300)
@given(data=st.data())
def test_a_reply_with_anything_in_a_place_is_read_or_refused(data: st.DataObject) -> None:
    """The same for the document that comes back: read from bytes and from what Lambda's JSON was made."""
    document = _changed(REPLY, data)
    for given_ in (document, json.dumps(document).encode()):
        found = _only_refused(lambda given_=given_: reply.decode(given_, 2))
        if found is not None:
            assert all(0 <= index < 2 for index in found.failures)
            assert all(0 <= (each.retry_after or 0) < float("inf") for each in found.failures.values())


_attributes = st.dictionaries(
    st.sampled_from(
        [
            "ce-id", "ce-source", "ce-type", "ce-time", "ce-kafkatopic", "ce-kafkapartition", "ce-kafkaoffset", "ce-kafkakey",
            "ce-kafkaheaders", "ce-kafkatimestamp", "ce-", "ce-data", "ce-\u00fc", "dispatch-stream", "dispatch-partition", "dispatch-offset",
            "dispatch-timestamp", "dispatch-key", "dispatch-attempt", "dispatch-timeout", "accept",
        ]
    ),
    st.sampled_from(["", "1", "-1", "99999999999999999999", "9" * 5_000, "%FF", "%", "a=", "MQ==", "nan", "\xfc", "W10=", "MQ=="])
    | st.sampled_from(["W1siYSJdXQ==", "eyJhYiI6IDF9", "WyJhYiJd", "MQ", "bnVsbA=="]),
)  # fmt: skip
_starts = st.sampled_from(
    [
        {},
        {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "t"},
        {"dispatch-stream": "s", "dispatch-partition": "0", "dispatch-offset": "1"},
        {"content-type": cloudevents.STRUCTURED},
        {"content-type": cloudevents.BATCH + ";charset=utf-8"},
        {"content-type": "application/json"},
    ]
)
_bodies = st.binary(max_size=20) | st.sampled_from(
    [
        b"", b"null", b"[", b"{", b"[{}]", b'[{"specversion":1}]', b'{"eventSource":[],"records":1}', b"\xff\xfe", b"1" * 5_000,
        b'{"message":{"data":1},"subscription":{}}', b'{"eventSource":"aws:kafka","records":{"a":[{"topic":[]}]}}',
        b"[" * 100_000, b'{"a":' * 100_000, b'[{"specversion":' * 50_000,
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(start=_starts, headers=_attributes, body=_bodies)
def test_a_request_of_any_kind_is_read_or_refused(start: dict[str, str], headers: dict[str, str], body: bytes) -> None:
    """Whatever comes in over HTTP, a host reads records that Kafka could hold or answers 400; nothing else happens."""
    request = _only_refused(lambda: http.read(BINDING, {**start, **headers}, body))
    if request is not None:
        assert all(map(_is_kafkas, request.records))
        assert request.attempts >= 0
        assert request.timeout is None or 0 < request.timeout <= 86_400
    if raw.is_raw(headers):
        _only_refused(lambda: raw.decode(headers, body))


@pytest.mark.parametrize(
    ("begin", "repeated", "times"),
    [
        (b"", b"[", 5_000_000),
        (b'{"data":', b"[", 5_000_000),
        (b"[{", b'"a":1,', 700_000),
        (b"[", b" ", 5_000_000),
        (b'{"a":"', b"\\u0041", 900_000),
        (b"[", b"{},", 1_700_000),
        (b"", b"1", 5_000_000),
    ],
)
def test_a_large_body_that_is_nothing_is_refused_at_once(begin: bytes, repeated: bytes, times: int) -> None:
    """Five megabytes of the beginning of something take no time that grows faster than they do: 5 times that of a fifth."""
    for content in (cloudevents.STRUCTURED, cloudevents.BATCH, "application/json"):
        fifth, whole = (_taken(content, begin + repeated * count) for count in (times // 5, times))
        # With the square of its size it would be 25 times; the tenth of a second is for what takes next to none.
        assert whole < 15 * fifth + 0.1


def _taken(content: str, body: bytes) -> float:
    """Seconds of the processor."""
    began = time.process_time()
    _only_refused(lambda: http.read(BINDING, {"content-type": content}, body))
    return time.process_time() - began


@pytest.mark.parametrize("secret", ["c2VjcmV0!", "hunter2"])
def test_an_error_holds_nothing_of_the_payload(secret: str) -> None:
    """What is refused may be anything, a person's data too: errors go into answers and logs, and name places alone."""
    wrong: list[Callable[[], Any]] = [
        lambda: aws_kafka.decode({"eventSource": "aws:kafka", "records": {"a": [{**AWS["records"]["orders-0"][0], "value": secret}]}}),
        lambda: pubsub.decode({"message": {"data": secret + "!", "attributes": {}}, "subscription": "s"}),
        lambda: cloudevents.decode({"content-type": cloudevents.STRUCTURED}, json.dumps({**EVENT, "kafkakey": secret}).encode()),
        lambda: raw.decode({**raw.encode(RECORD)[0], "dispatch-key": secret}, b""),
        lambda: reply.decode({"version": 1, "results": [{"value": secret + "!"}]}, 1),
        lambda: reply.decode(json.dumps({"version": secret}).encode(), 1),
    ]  # fmt: skip
    for call in wrong:
        with pytest.raises(EnvelopeError) as caught:
            call()
        assert secret not in str(caught.value)
