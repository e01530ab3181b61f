"""Records with no headers are made CloudEvents by a short way: it must come to the same as the long one."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from bindings.envelopes import cloudevents
from bindings.envelopes.record import WireRecord

_records = st.builds(
    WireRecord,
    topic=st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True),
    partition=st.integers(0, 100_000),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1) | st.integers(0, 2_000_000_000_000),
    key=st.none() | st.binary(max_size=20) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "ignore")),
    headers=st.just(()),
    value=st.none() | st.binary(max_size=30) | st.sampled_from([b"{}", b'{"a":1}', b"null", b"NaN", b'"x"', b" 1 "]),
)
_texts = st.none() | st.text(min_size=1, max_size=10)
_types = st.sampled_from(["application/json", "text/plain", "application/vnd.a+json; charset=utf-8", "avro/binary"])
#: A header that makes no CloudEvent of a record, and sends it the long way.
_MARK = ("x", b"y")


@given(record=_records, source=_texts, type_=_texts, content_type=_types)
@example(record=WireRecord("a", 0, 0, 0, b"", b"1"), source="%\u00fc \n", type_='"', content_type="application/json")
def test_the_short_way_says_the_same(
    record: WireRecord, source: str | None, type_: str | None, content_type: str
) -> None:
    """But for the attribute that holds headers, a record with one and a record with none are the same event."""
    marked = record._replace(headers=(_MARK,))
    headers, body = cloudevents.binary(record, source=source, type_=type_, content_type=content_type)
    long_headers, long_body = cloudevents.binary(marked, source=source, type_=type_, content_type=content_type)
    assert long_headers.pop("ce-kafkaheaders")
    assert (headers, body) == (long_headers, long_body)
    _, document = cloudevents.structured(record, source=source, type_=type_, content_type=content_type)
    _, long_document = cloudevents.structured(marked, source=source, type_=type_, content_type=content_type)
    expected = json.loads(long_document)
    del expected["kafkaheaders"]
    assert json.loads(document) == expected


def test_what_is_kept_of_a_partition_is_not_changed_by_who_gets_it() -> None:
    """The headers of one event are its own: a caller may add to them."""
    record = WireRecord("orders", 1, 2, 3, b"k", b"{}")
    first, _ = cloudevents.binary(record)
    first["ce-extra"] = "1"
    assert "ce-extra" not in cloudevents.binary(record)[0]
