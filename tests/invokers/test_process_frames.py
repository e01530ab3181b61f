"""What a process sends is read without trust."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bindings import Emit
from bindings.envelopes.record import WireRecord
from bindings.failure import Failure, FailureKind
from bindings.invocation import Received, Reply
from bindings.trace import TraceContext, current_trace
from dispatcher.invokers.process.frames import LOG, REPLY, Bytes, Frames, InvalidFrame, frame
from dispatcher.invokers.process.logs import read_log
from dispatcher.invokers.process.messages import pack_reply, pack_request, read_reply, read_request

LARGEST = 1 << 20
FAILURE = ["function", "ValueError", "no", None, True, True, "app.py:check"]
GOOD: dict[str, Any] = {"id": 1, "failures": [], "rest": None, "results": [], "last": False}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)
BYTES = st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=5), st.none() | BYTES), max_size=3).map(
    tuple
)


def whole(data: bytes, step: int = 7) -> list[tuple[bytes, Any, Bytes]]:
    """The frames in some bytes that come a few at a time."""
    frames = Frames(LARGEST)
    return [found for at in range(0, len(data), step) for found in frames.feed(data[at : at + step])]


@given(
    st.builds(
        Reply,
        st.dictionaries(
            st.integers(0, 4),
            st.builds(
                Failure,
                kind=st.sampled_from([FailureKind.FUNCTION, FailureKind.TERMINAL]),
                error_type=st.text(max_size=20),
                message=st.text(max_size=20),
                retry_after=st.none() | st.floats(0, 1e6),
                retryable=st.booleans(),
                place=st.text(max_size=20),
            ),
            max_size=3,
        ),
        st.none(),
        st.lists(st.builds(Emit, st.none() | BYTES, st.none() | BYTES, HEADERS), max_size=3),
    ),
    st.booleans(),
)
def test_a_reply_comes_as_it_was_sent(reply: Reply, last: bool) -> None:
    """Failures, results with keys, headers and no values, and the sign that a process ends, survive the way."""
    [(kind, header, data)] = whole(pack_reply(9, reply, last=last))
    assert kind == REPLY
    assert read_reply(header, data, 5) == (9, reply, last)


@given(
    st.lists(st.tuples(st.none() | BYTES, st.none() | BYTES, HEADERS, st.integers(0, 9)), max_size=4),
    st.sampled_from([None, TraceContext("00-1-2-01", "a=1")]),
)
def test_an_invocation_comes_as_it_was_sent(events: list[tuple[Any, ...]], trace: TraceContext | None) -> None:
    """Keys, values, headers, coordinates and attempts of each event survive the way, and the trace that they are handled in."""
    batch = [
        Received(WireRecord("s", 3, offset, 1_700_000_000_000, key, value, headers), attempts)
        for offset, (key, value, headers, attempts) in enumerate(events)
    ]
    token = current_trace.set(trace)
    try:
        [(_, header, data)] = whole(pack_request(5, batch))  # type: ignore[arg-type]
    finally:
        current_trace.reset(token)
    assert read_request(header, data) == (5, batch, trace)


@given(JSON, st.binary(max_size=10))
@settings(max_examples=300)
def test_any_header_is_a_reply_or_is_refused(header: Any, rest: bytes) -> None:
    """No JSON in place of a reply, or of a part of it, raises anything but InvalidFrame."""
    for made in (header, *({**GOOD, part: header} for part in GOOD), *({**GOOD, part: [header]} for part in GOOD)):
        try:
            [(_, read, data)] = whole(frame(REPLY, made, [rest]))
            read_reply(read, data, 2)
        except InvalidFrame:
            continue


@given(JSON, JSON)
def test_any_header_is_a_log_record_or_is_refused(header: Any, field: Any) -> None:
    """No JSON in place of a log record raises anything but InvalidFrame, and a record can be formatted."""
    for made in (header, ["name", 20, "message", header], ["name", 20, "message", {"field": header, "args": field}]):
        try:
            [(_, read, _)] = whole(frame(LOG, made))
            record = read_log(read)
        except InvalidFrame:
            continue
        assert logging.Formatter("%(name)s %(levelname)s %(message)s").format(record)


def test_a_log_record_can_not_pass_for_another() -> None:
    """Fields that logging itself makes can't be set from a process, whatever they would do to a handler."""
    fields = dict.fromkeys(("args", "exc_info", "exc_text", "levelno", "msg", "name", "created", "__class__"), "x")
    record = read_log(["functions.f", 20, "100 %s", {**fields, "mine": 1}])
    assert (record.name, record.levelno, record.getMessage(), record.exc_info) == ("functions.f", 20, "100 %s", None)
    assert vars(record)["mine"] == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_are_refused(data: bytes) -> None:
    """Bytes that are no frames raise InvalidFrame, or wait for more; nothing else."""
    with contextlib.suppress(InvalidFrame):
        whole(data)


@pytest.mark.parametrize(
    "part",
    [
        {"failures": [[2, *FAILURE]]},
        {"failures": [[-1, *FAILURE]]},
        {"failures": [[True, *FAILURE]]},
        {"rest": ["not_delivered", *FAILURE[1:]]},
        {"rest": ["oversize", *FAILURE[1:]]},
        {"rest": [*FAILURE[:5], False, ""]},
        {"rest": [*FAILURE[:3], -1, True, True, ""]},
        {"rest": [*FAILURE[:3], float("nan"), True, True, ""]},
        {"rest": [*FAILURE[:3], float("inf"), True, True, ""]},
        {"rest": [*FAILURE[:3], 10**400, True, True, ""]},
        {"results": [[None, 5, []]]},
        {"results": [[-1, None, []]]},
        {"results": [[None, None, [["\ud800", None]]]]},
        {"more": 1},
    ],
)
def test_what_a_function_can_not_say_is_refused(part: dict[str, Any]) -> None:
    """A failure of no event of the batch, one that uses no attempt (which would be tried for ever), a wait that is none,
    sizes that are wrong and names that no broker takes are not read."""
    [(_, header, data)] = whole(frame(REPLY, {**GOOD, **part}))
    with pytest.raises(InvalidFrame):
        read_reply(header, data, 2)


def test_a_good_reply_is_read() -> None:
    """The control for the refusals: what they change is good."""
    [(_, header, data)] = whole(frame(REPLY, {**GOOD, "rest": FAILURE}))
    assert read_reply(header, data, 2).reply.rest is not None


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        (LARGEST + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x05A\xff\xff\xff\xff",
        frame(REPLY, None).replace(b"null", b"nul!"),
        frame(REPLY, "x" * 99_998).replace(b'"' + b"x" * 99_998 + b'"', b"[" * 100_000),
        frame(REPLY, "x" * 5_000).replace(b'"' + b"x" * 5_000 + b'"', b"1" * 5_002),
    ],
)
def test_a_frame_that_is_none_is_refused_at_once(data: bytes) -> None:
    """A length beyond the limit is refused with its first four bytes, before any of it is kept; so are headers that are
    longer than their frame, are not JSON, or are made to exhaust its reader."""
    with pytest.raises(InvalidFrame):
        whole(data)


def test_long_texts_are_cut() -> None:
    """Messages and log records from a process have a length at most, whatever it sends."""
    [(_, header, data)] = whole(
        frame(REPLY, {**GOOD, "rest": ["function", "T" * 9_000, "m" * 9_000, None, True, True, "p" * 9_000]})
    )
    rest = read_reply(header, data, 1).reply.rest
    assert rest is not None
    assert (len(rest.error_type), len(rest.message)) == (300, 1_000)
    record = read_log(json.loads(json.dumps(["n" * 9_000, 10**30, "m" * 90_000, {"f" * 9_000: "v" * 9_000}])))
    assert (len(record.name), record.levelno, len(record.getMessage())) == (1_000, 50, 8_000)
