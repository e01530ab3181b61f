"""W3C trace context as functions see it."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bindings.context import InvocationContext
from bindings.trace import TraceContext, current_trace, is_traced, read_trace, tell_trace, trace_of

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"
OTHER = f"00-{'12' * 16}-{'34' * 8}-00"


def test_a_trace_has_its_parts() -> None:
    """Ids and flag are those of the recommendation's example form; an empty tracestate is no header."""
    found = read_trace(PARENT)
    assert found == TraceContext(PARENT)
    assert (found.trace_id, found.span_id, found.sampled) == ("ab" * 16, "cd" * 8, True)
    assert found.headers() == {"traceparent": PARENT}
    assert not TraceContext(OTHER).sampled
    assert TraceContext(PARENT, "a=1").headers() == {"traceparent": PARENT, "tracestate": "a=1"}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("vendor=1,t@sys=x y", "vendor=1,t@sys=x y"),
        (" a=1 ,, b=2\t", "a=1,b=2"),
        ("a=1\r\nx: y", ""),
        ("A=1", ""),
        ("a", ""),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        ("a=" + "b" * 600, ""),
    ],
)
def test_a_tracestate_that_is_none_is_left_out(given: str, read: str) -> None:
    """It goes into headers and to other libraries: what is no list of members is dropped, and the trace itself is kept."""
    assert read_trace(PARENT, given) == TraceContext(PARENT, read)


@given(
    st.binary(max_size=600) | st.binary(max_size=20).map(lambda tail: PARENT.encode() + tail), st.binary(max_size=600)
)
def test_no_header_is_an_error(parent: bytes, state: bytes) -> None:
    """Whatever bytes are in the two headers, they are a context that can be sent on, or none."""
    found = trace_of([("traceparent", parent), ("tracestate", state)])
    if found is not None:
        assert all(text.isascii() and text.isprintable() and len(text) <= 512 for text in found)
        assert read_trace(*found) == found


def test_the_last_header_counts_and_a_cloudevents_own_comes_second() -> None:
    """By Kafka's convention; the attribute of a CloudEvent is read where no transport says a context that can be read."""
    both = [("ce_traceparent", OTHER.encode()), ("traceparent", b"nonsense"), ("traceparent", PARENT.encode())]
    assert trace_of(both) == TraceContext(PARENT)
    assert trace_of([("traceparent", b"nonsense"), *both[:1]]) == TraceContext(OTHER)
    assert trace_of([("traceparent", None), ("other", b"x")]) is None
    assert trace_of(()) is None
    assert is_traced(both[:1])
    assert not is_traced([("tracestate", b"a=1")])


def test_a_function_goes_on_with_what_there_is() -> None:
    """``Context.trace`` is the trace of the invocation, else that of its one event, else nothing."""
    context = InvocationContext("check", "orders/0/7", headers=(("traceparent", OTHER.encode()),))
    assert context.trace == TraceContext(OTHER)
    assert InvocationContext("check", "orders/0/7").trace is None
    token = current_trace.set(TraceContext(PARENT))
    try:
        assert context.trace == TraceContext(PARENT)
    finally:
        current_trace.reset(token)


@pytest.mark.parametrize("trace", [None, PARENT, OTHER])
def test_a_log_line_says_a_trace_that_is_recorded(trace: str | None) -> None:
    """The filter adds the two fields where somebody can find the trace, and lets every line pass."""
    record = logging.makeLogRecord({})
    token = current_trace.set(None if trace is None else TraceContext(trace))
    try:
        assert tell_trace(record)
    finally:
        current_trace.reset(token)
    said = {name: value for name, value in vars(record).items() if name in {"trace_id", "span_id"}}
    assert said == ({"trace_id": "ab" * 16, "span_id": "cd" * 8} if trace == PARENT else {})
