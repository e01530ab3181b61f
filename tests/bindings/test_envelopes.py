"""Events there and back: what an envelope promises to carry comes out as it went in, for any event."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bindings.calling import event_id
from bindings.envelopes import aws_kafka, cloudevents, pubsub, raw, reply
from bindings.envelopes.record import WireRecord
from bindings.failure import Failure, FailureKind
from bindings.invocation import Reply
from bindings.outcome import Emit
from bindings.results import failures_of

#: The last millisecond that RFC 3339 can write.
_LAST = 253_402_300_799_999
_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())
_written = st.sampled_from(
    [b'{"a":1.10,"a":2}', b"1e400", b"-0.0", b"NaN", b"Infinity", b'"\\ud800"', b"1" * 4_301, b"[" * 300 + b"]" * 300, b'"\x01"', b"\xef\xbb\xbf1"]
)  # fmt: skip
_values = st.none() | st.binary(max_size=30) | _json_values | _written
_keys = st.none() | st.binary(max_size=12) | st.text(max_size=8).map(lambda text: text.encode("utf-8", "ignore"))
_headers = st.lists(st.tuples(_names, st.none() | st.binary(max_size=10)), max_size=3)
_own = st.lists(
    st.tuples(
        st.sampled_from(
            ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_data", "ce_kafkaoffset", "ce_time", "ce_Odd", "content-type"]
        ),
        st.sampled_from([b"1.0", b"x y", "\u00fc%\U0001f600".encode(), b"", b"\xff", b"text/xml", cloudevents.STRUCTURED.encode()]),
    ),
    max_size=6,
)  # fmt: skip
_records = st.builds(
    WireRecord,
    topic=st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True),
    partition=st.integers(0, (1 << 31) - 1),
    offset=st.integers(0, (1 << 63) - 1),
    timestamp=st.integers(-1, _LAST),
    key=_keys,
    value=_values,
    headers=st.one_of(_headers, _own, st.builds(lambda a, b: [("ce_specversion", b"1.0"), *a, *b], _own, _headers)).map(
        tuple
    ),
)
_content_types = st.sampled_from(["application/json", "text/plain", "application/vnd.a+json; charset=utf-8"])


def _same_value(came: bytes | None, sent: bytes | None) -> bool:
    """Byte for byte, but for white space around a JSON text, which is no part of it."""
    return came == sent or (came is not None and sent is not None and came == sent.strip(b" \t\r\n"))


@given(record=_records, content_type=_content_types)
@example(record=WireRecord("a", 0, 0, 0, b"", b""), content_type="application/json")
@example(record=WireRecord("a", 0, 0, _LAST, b"\xff", None, (("", None),)), content_type="application/json")
def test_cloudevents_carry_all_of_an_event(record: WireRecord, content_type: str) -> None:
    """In binary, structured and batched mode a record comes back with its coordinates, time, key, headers and value: the
    value's own bytes, numbers and doubled names as the producer wrote them, though it travelled inside a document."""
    binary = cloudevents.binary(record, content_type=content_type)
    structured = cloudevents.structured(record, content_type=content_type)
    batched = cloudevents.batched([record, record._replace(value=b'{"another": 1.50}')], content_type=content_type)
    assert cloudevents.decode(*binary) == [record]
    for made in (structured, batched):
        found = cloudevents.decode(*made)
        assert _same_value(found[0].value, record.value)
        assert found[0]._replace(value=None) == record._replace(value=None)
    assert found[1].value == b'{"another": 1.50}'


@given(record=_records)
def test_a_request_in_binary_mode_holds_nothing_that_a_header_may_not(record: WireRecord) -> None:
    """Whatever an event holds, its attributes are printable ASCII in a request, so no event can write a header of its own."""
    headers, _ = cloudevents.binary(record)
    for name, value in headers.items():
        if name != "content-type":
            assert all("\x21" <= each < "\x7f" for each in value), (name, value)
        assert not {"\r", "\n", "\0"} & set(value), (name, value)


@given(records=st.lists(_records, max_size=5))
def test_the_event_of_aws_carries_all_of_its_records(records: list[WireRecord]) -> None:
    """Every record comes back whole, each partition's in their order; the document names each partition once."""
    document = json.loads(aws_kafka.encode(records, bootstrap_servers="a:9092"))
    found = aws_kafka.decode(document)
    assert sorted(found, key=repr) == sorted(records, key=repr)
    for record in records:
        place = (record.topic, record.partition)
        theirs = [each for each in records if (each.topic, each.partition) == place]
        assert [each for each in found if (each.topic, each.partition) == place] == theirs
        assert len(document["records"][f"{record.topic}-{record.partition}"]) == len(theirs)


def test_signed_bytes_of_headers_are_read() -> None:
    """AWS's runtime for Java writes a header's bytes as -128 to 127: they are the same bytes."""
    header = {"a": [0, 127, -128, -1]}
    record = {"topic": "t", "partition": 0, "offset": 0, "headers": [header]}
    [found] = aws_kafka.decode({"eventSource": "aws:kafka", "records": {"t-0": [record]}})
    assert found.headers == (("a", b"\x00\x7f\x80\xff"),)
    assert found.timestamp == -1


@given(records=st.lists(_records, min_size=1, max_size=5, unique_by=lambda each: each[:3]), data=st.data())
def test_a_partial_batch_response_names_what_failed(records: list[WireRecord], data: st.DataObject) -> None:
    """What a host writes as batchItemFailures is what a dispatcher reads from it: the same records, and no other."""
    failed = sorted(data.draw(st.sets(st.integers(0, len(records) - 1))))
    answer = json.loads(json.dumps(aws_kafka.batch_item_failures([records[index] for index in failed])))
    assert sorted(failures_of(answer, records)) == failed


@given(record=_records)
def test_the_raw_form_carries_all_but_headers(record: WireRecord) -> None:
    """Coordinates, time, key and the value byte for byte, none told from empty; headers stay behind on purpose."""
    headers, body = raw.encode(record)
    assert raw.is_raw(headers)
    assert raw.decode(headers, body) == record._replace(headers=())


@given(record=_records)
def test_the_push_of_pubsub_carries_what_it_can(record: WireRecord) -> None:
    """Coordinates, time and value, none told from empty; a key and headers that are text, the last of each name."""
    document = json.loads(pubsub.encode(record, subscription="projects/p/subscriptions/s"))
    assert pubsub.is_push(document)
    found = pubsub.decode(document)
    assert found[:4] == record[:4]
    assert found.value == record.value
    assert found.key in (record.key, None)
    kept = {name: value for name, value in record.headers if value is not None and _is_utf_8(value)}
    assert dict(found.headers) == kept
    assert document["message"]["messageId"] == event_id(record)


def _is_utf_8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_function = st.builds(
    Failure,
    kind=st.just(FailureKind.FUNCTION),
    error_type=_texts,
    message=_texts,
    retry_after=st.none() | st.floats(0, 1e9),
    retryable=st.booleans(),
    place=_texts,
)
_terminal = st.builds(
    Failure, kind=st.just(FailureKind.TERMINAL), error_type=_texts, message=_texts, counts=st.booleans()
)
_emits = st.builds(
    Emit, st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=9), _headers.map(tuple)
)  # fmt: skip


@given(
    failures=st.dictionaries(st.integers(0, 9), _function | _terminal, max_size=4),
    rest=st.none() | _function | _terminal,
    results=st.lists(_emits, max_size=3),
)
def test_a_reply_says_all_that_a_function_said(
    failures: dict[int, Failure], rest: Failure | None, results: list[Emit]
) -> None:
    """Failures by event with kind, words, wait and whether another attempt helps, and results as bytes: a host's document
    comes to the same reply, from its bytes and from inside a Lambda function's answer."""
    sent = Reply(failures, rest, results)
    assert reply.decode(reply.encode(sent), 10) == sent
    assert reply.decode(json.loads(reply.encode(sent)), 10) == sent


@pytest.mark.parametrize("text", ["a\ud800b", "x" * 5_000])
def test_what_a_function_says_is_cut_to_what_can_travel(text: str) -> None:
    """Words that are no text or that are endless do not keep a failure from being told."""
    failure = Failure(kind=FailureKind.FUNCTION, error_type=text, message=text)
    rest = reply.decode(reply.encode(Reply(rest=failure)), 1).rest
    assert rest is not None
    assert 0 < len(rest.error_type) <= 300
    assert 0 < len(rest.message) <= 1_000
