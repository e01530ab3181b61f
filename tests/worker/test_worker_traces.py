"""What is traced of invocations, and what of that goes on with the events: by OpenTelemetry's own SDK, its spans kept in memory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from bench import PATIENCE, Bench, binding_of, header, on_both, until
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from bindings import Batch, Context, Emit, Reject, Retry, on_stream
from bindings.trace import TraceContext, current_trace, read_trace
from dispatcher.config import Settings
from dispatcher.core.record import Outgoing
from dispatcher.telemetry.tracing.provider import Tracing
from dispatcher.telemetry.tracing.sampling import EventSampler
from dispatcher.worker import Worker


class Traces:
    """The spans of a test, and the workers that make them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._exporter = InMemorySpanExporter()
        self.provider: TracerProvider | None = None

    def worker(self, function: Callable[..., Any], *, ratio: float = 1.0, ends: bool = True, **how: Any) -> Worker:
        """The worker of a function, traced."""
        sampler = EventSampler(ratio)
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        tracing = Tracing(self.provider, system="embedded", choose=sampler.choose, **how)
        return Worker(
            binding_of(function),
            self._bench.broker,
            app=self._bench.app,
            settings=Settings(commit_interval=0.05, drain=0.2),
            until_caught_up=ends,
            tracing=tracing,
        )

    async def run(self, function: Callable[..., Any], **how: Any) -> None:
        """Run a function over all that stands in its stream."""
        async with asyncio.timeout(PATIENCE):
            await self.worker(function, **how).run()

    @property
    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, begin: str) -> list[ReadableSpan]:
        """The spans whose names begin so, in the order in which they began."""
        return sorted((span for span in self.all if span.name.startswith(begin)), key=lambda span: span.start_time or 0)


@pytest.fixture
def traces(bench: Bench) -> Iterator[Traces]:
    """Spans are kept."""
    yield Traces(bench)
    # What a test leaves in its context would be the parent of the next one's spans.
    assert not get_current_span().get_span_context().is_valid
    assert current_trace.get() is None


def produced(number: int, *, sampled: bool = True) -> TraceContext:
    """The context of a producer's span."""
    return TraceContext(f"00-{number:032x}-{number:016x}-{'01' if sampled else '00'}")


def event(stream: str, value: bytes, trace: TraceContext | bytes | None = None, **rest: Any) -> Outgoing:
    """An event that its producer traced, or not."""
    raw = trace.traceparent.encode() if isinstance(trace, TraceContext) else trace
    headers = () if raw is None else (("traceparent", raw),)
    return Outgoing(topic=stream, value=value, headers=headers, **rest)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """What a span says."""
    return dict(span.attributes or {})


def id_of(span: ReadableSpan) -> str:
    """Trace and span, as a traceparent has them."""
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def linked(span: ReadableSpan) -> list[int]:
    """The trace ids of what a span is linked to."""
    return [link.context.trace_id for link in span.links]


def parent_of(span: ReadableSpan, among: Sequence[ReadableSpan]) -> ReadableSpan | None:
    """The span that began it."""
    parent = span.parent
    return next((each for each in among if parent and each.get_span_context().span_id == parent.span_id), None)


async def test_an_invocation_is_a_span_linked_to_its_producer(bench: Bench, traces: Traces) -> None:
    """One span a delivery: the root of a trace of its own, linked to the event's creation context, with the conventions'
    attributes; a span that the function makes is its child; neither key nor value are in either."""
    stream = await bench.stream()

    @on_stream(stream)
    async def handle(order: dict) -> None:
        assert traces.provider is not None
        with traces.provider.get_tracer("mine").start_as_current_span("look it up"):
            await asyncio.sleep(0)

    await bench.send(stream, [event(stream, b'{"name": "Ada"}', produced(7), key=b"Lovelace")])
    await traces.run(handle)
    [span] = traces.named("process")
    assert span.name == f"process {stream}"
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is None
    assert linked(span) == [7]
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "messaging.system": "embedded",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": f"{bench.app}.handle",
        "messaging.destination.name": stream,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "faas.trigger": "pubsub",
        "dispatch.function": "handle",
        "dispatch.attempt": 1,
    }
    [own] = traces.named("look it up")
    assert parent_of(own, traces.all) is span
    assert not any(secret in each.to_json() for each in traces.all for secret in ("Ada", "Lovelace"))


async def test_a_function_in_a_thread_is_in_the_trace(bench: Bench, traces: Traces) -> None:
    """A sync function sees its invocation's span as the current one, and its id in ``Context.trace``."""
    stream = await bench.stream()
    seen: list[tuple[int, str]] = []

    @on_stream(stream)
    def handle(order: bytes, context: Context) -> None:
        assert context.trace is not None
        seen.append((get_current_span().get_span_context().span_id, context.trace.span_id))

    await bench.send(stream, [event(stream, b"1")])
    await traces.run(handle)
    [span] = traces.named("process")
    assert seen == [(span.get_span_context().span_id, f"{span.get_span_context().span_id:016x}")]
    assert linked(span) == []


async def test_a_batch_links_to_each_of_its_events(bench: Bench, traces: Traces) -> None:
    """A batch is one span with a link an event, which says where that is; events without a context have none; past 128 links
    the others are counted."""
    stream = await bench.stream()

    @on_stream(stream, batch=Batch(max_events=200, max_wait=5))
    async def handle(orders: list[bytes]) -> None: ...

    events = [event(stream, b"%d" % n, produced(n + 1) if n else None) for n in range(200)]
    await bench.send(stream, events)
    await traces.run(handle)
    [span] = traces.named("process")
    said = attributes(span)
    assert said["messaging.batch.message_count"] == 200
    assert said["messaging.destination.partition.id"] == "0"
    assert said["dispatch.links_omitted"] == 199 - 128
    assert "messaging.kafka.offset" not in said
    assert linked(span) == [n + 1 for n in range(1, 129)]
    assert dict(span.links[0].attributes or {}) == {
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 1,
    }


async def test_a_batch_of_several_partitions_names_none(bench: Bench, traces: Traces) -> None:
    """What does not hold for each event of a batch is not said of the batch."""
    stream = await bench.stream(partitions=2)

    @on_stream(stream, batch=Batch(max_events=2, max_wait=5))
    async def handle(orders: list[bytes]) -> None: ...

    await bench.send(stream, [event(stream, b"a", partition=0), event(stream, b"b", partition=1)])
    await traces.run(handle)
    [span] = traces.named("process")
    assert attributes(span)["messaging.batch.message_count"] == 2
    assert "messaging.destination.partition.id" not in attributes(span)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_the_producers_decision_is_kept(bench: Bench, traces: Traces, ratio: float) -> None:
    """Whatever the ratio, what a producer samples is traced, and what it does not is not, in what the function emits either;
    the ratio decides over events that bring no context."""
    stream, out = await bench.stream(), await bench.stream("out")

    @on_stream(stream, emits=out)
    async def handle(number: str) -> list[str]:
        return [number]

    events = [event(stream, b"1", produced(1)), event(stream, b"2", produced(2, sampled=False)), event(stream, b"3")]
    await bench.send(stream, events)
    await traces.run(handle, ratio=ratio)
    offsets = [attributes(span)["messaging.kafka.offset"] for span in traces.named("process")]
    assert offsets == ([0, 2] if ratio else [0])
    found = {
        record.value: read_trace((header(record, "traceparent") or b"").decode()) for record in await bench.read(out)
    }
    assert [found[value].sampled for value in (b"1", b"2", b"3")] == [True, False, bool(ratio)]  # type: ignore[union-attr]
    assert found[b"2"] == produced(2, sampled=False)


async def test_what_is_not_sampled_is_not_in_the_function_either(bench: Bench, traces: Traces) -> None:
    """A span that a function makes in an invocation that is not sampled is not sampled: it begins no trace of its own."""
    stream = await bench.stream()
    seen: list[TraceContext | None] = []

    @on_stream(stream)
    async def handle(order: bytes, context: Context) -> None:
        seen.append(context.trace)
        assert traces.provider is not None
        with traces.provider.get_tracer("mine").start_as_current_span("own"):
            pass

    await bench.send(stream, [event(stream, b"1", produced(5, sampled=False)), event(stream, b"2")])
    await traces.run(handle, ratio=0.0)
    assert traces.all == ()
    assert seen[0] == produced(5, sampled=False)
    assert seen[1] is not None
    assert not seen[1].sampled


async def test_results_carry_the_trace_on(bench: Bench, traces: Traces) -> None:
    """Results of an invocation carry the context of the span that sent them, a child of the invocation's; one that the function
    has given a context of its own keeps it."""
    stream, out = await bench.stream(), await bench.stream("out")
    own = produced(99).traceparent.encode()

    @on_stream(stream, emits=out)
    async def handle(order: bytes) -> list[Emit]:
        return [Emit(1), Emit(2), Emit(3, headers=(("traceparent", own),))]

    await bench.send(stream, [event(stream, b"1")])
    await traces.run(handle)
    [process], [send] = traces.named("process"), traces.named("send")
    assert (send.name, send.kind) == (f"send {out}", SpanKind.PRODUCER)
    assert parent_of(send, traces.all) is process
    assert attributes(send) == {
        "messaging.system": "embedded",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": out,
        "messaging.batch.message_count": 3,
    }
    carried = [header(record, "traceparent") or b"" for record in await bench.read(out)]
    assert [text.decode()[3:52] for text in carried[:2]] == [id_of(send)] * 2
    assert carried[2] == own


@on_both
async def test_each_attempt_is_a_span_of_its_own(bench: Bench, traces: Traces) -> None:
    """Attempts are numbered, linked to the same creation context, and failed ones say the type of the error and not its message.
    The dead letter keeps the event's headers byte for byte, and says in a header of ours which attempt was the last."""
    stream = await bench.stream()

    @on_stream(stream, retry=Retry(max_attempts=2, initial=0.01))
    async def handle(order: bytes) -> None:
        raise ValueError("the card 4111 1111")

    await bench.send(stream, [event(stream, b"1", produced(3))])
    await traces.run(handle)
    first, second = traces.named("process")
    assert [attributes(span)["dispatch.attempt"] for span in (first, second)] == [1, 2]
    assert linked(first) == linked(second) == [3]
    for span in (first, second):
        assert span.status.status_code is StatusCode.ERROR
        assert (span.status.description, span.events) == (None, ())
        assert attributes(span)["error.type"] == "ValueError"
        assert attributes(span)["dispatch.failure"] == "function"
    assert not any("4111" in span.to_json() for span in traces.all)
    [send] = traces.named("send")
    assert send.name == f"send {stream}.handle.dead"
    assert parent_of(send, traces.all) is second
    [letter] = await bench.read(f"{stream}.handle.dead")
    assert letter.headers[0] == ("traceparent", produced(3).traceparent.encode())
    assert [name for name, _ in letter.headers].count("traceparent") == 1
    assert (header(letter, "dispatch-dead-traceparent") or b"").decode()[3:52] == id_of(send)


async def test_what_comes_back_by_a_retry_topic_is_linked_to_its_attempt(bench: Bench, traces: Traces) -> None:
    """The copy in the retry topic says which attempt sent it there; the next one is linked to that and to the producer, and the
    function sees the event's own headers."""
    stream = await bench.stream()
    attempts: list[int] = []

    @on_stream(stream, order="none", retry=Retry(max_attempts=3, initial=0.2, jitter="none", topic_after=0.1))
    async def handle(order: bytes, context: Context) -> None:
        attempts.append(context.attempt)
        if context.attempt == 1:
            raise ValueError

    await bench.send(stream, [event(stream, b"1", produced(3))])
    await traces.run(handle)
    assert attempts == [1, 2]
    first, second = traces.named("process")
    [send] = traces.named("send")
    assert parent_of(send, traces.all) is first
    assert linked(second) == [3, send.get_span_context().trace_id]
    assert dict(second.links[1].attributes or {}) == {"dispatch.link": "earlier attempt"}
    assert attributes(second)["messaging.destination.name"] == stream


async def test_a_single_event_may_go_on_with_its_trace(bench: Bench, traces: Traces) -> None:
    """With ``trace_parent = "event"`` an invocation of one event is a child in its producer's trace, and linked all the same."""
    stream = await bench.stream()

    @on_stream(stream)
    async def handle(order: bytes) -> None: ...

    await bench.send(stream, [event(stream, b"1", produced(11))])
    await traces.run(handle, continues=True)
    [span] = traces.named("process")
    assert span.get_span_context().trace_id == 11
    assert span.parent is not None
    assert span.parent.span_id == 11
    assert linked(span) == [11]


async def test_partial_failures_are_counted(bench: Bench, traces: Traces) -> None:
    """A batch of which some failed is a failed span that says how many."""
    stream = await bench.stream()

    @on_stream(stream, batch=Batch(max_events=3, max_wait=5))
    async def handle(orders: list[bytes]) -> list[Exception | None]:
        from bindings import BatchFailures

        raise BatchFailures({1: Reject("never")})

    await bench.send(stream, [event(stream, b"%d" % n) for n in range(3)])
    await traces.run(handle)
    [span] = traces.named("process")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "Reject"
    assert attributes(span)["dispatch.failed_events"] == 1


async def test_a_result_that_is_none_fails_its_span(bench: Bench, traces: Traces) -> None:
    """The outcome of the span is that of the settled invocation, also where it fails only after the function has returned."""
    stream, out = await bench.stream(), await bench.stream("out")

    @on_stream(stream, emits=out, retry=Retry(max_attempts=1))
    async def handle(order: bytes) -> Any:
        return Emit(object())

    await bench.send(stream, [event(stream, b"1")])
    await traces.run(handle)
    [span] = traces.named("process")
    assert span.status.status_code is StatusCode.ERROR


async def test_a_timeout_ends_its_span(bench: Bench, traces: Traces) -> None:
    """An invocation that is cancelled because its time was up is a span with the error TimeoutError."""
    stream = await bench.stream()

    @on_stream(stream, timeout=0.05, retry=Retry(max_attempts=1))
    async def handle(order: bytes) -> None:
        await asyncio.sleep(60)

    await bench.send(stream, [event(stream, b"1")])
    await traces.run(handle)
    [span] = traces.named("process")
    assert attributes(span)["error.type"] == "TimeoutError"


async def test_what_a_shutdown_cuts_off_is_seen(bench: Bench, traces: Traces) -> None:
    """An invocation that outlives the drain leaves an ended span that failed: no span is lost with its worker."""
    stream = await bench.stream()
    begun = asyncio.Event()

    @on_stream(stream)
    async def handle(order: bytes) -> None:
        begun.set()
        await asyncio.sleep(60)

    await bench.send(stream, [event(stream, b"1")])
    worker = traces.worker(handle, ends=False)
    task = asyncio.create_task(worker.run())
    await until(begun.is_set, "the function")
    worker.stop()
    async with asyncio.timeout(PATIENCE):
        await task
    [span] = traces.named("process")
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["dispatch.late"] is True


@pytest.mark.parametrize(
    "malformed",
    [
        b"",
        b"\xff\xfe",
        b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01",
        b"ff-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01",
        b"00-" + b"A" * 32 + b"-" + b"1" * 16 + b"-01",
        produced(1).traceparent.encode() + b"-more",
        produced(1).traceparent.encode() + b"\r\nx: y",
        b"01" + produced(1).traceparent.encode()[2:] + b"-" + b"x" * 100_000,
    ],
)
async def test_what_is_no_traceparent_is_left_out(bench: Bench, traces: Traces, malformed: bytes) -> None:
    """A malformed or endless header is as good as none: its event is delivered, in a trace with no link."""
    stream = await bench.stream()
    handled: list[bytes] = []

    @on_stream(stream)
    async def handle(order: bytes) -> None:
        handled.append(order)

    await bench.send(stream, [event(stream, b"1", malformed)])
    await traces.run(handle)
    assert handled == [b"1"]
    [span] = traces.named("process")
    assert linked(span) == []


async def test_without_tracing_nothing_of_it_is_called(bench: Bench) -> None:
    """Events with and without contexts, a dead letter and results are handled with not one call into what traces."""
    stream, out = await bench.stream(), await bench.stream("out")

    @on_stream(stream, emits=out)
    async def handle(number: bytes) -> list[str] | None:
        if number == b"3":
            raise Reject("never")
        return ["four"] if number == b"4" else None

    @on_stream(stream)
    def gather(numbers: list[bytes]) -> None: ...

    await bench.send(stream, [event(stream, b"%d" % n, produced(n + 1) if n % 2 else None) for n in range(50)])
    called: set[str] = set()

    def note(frame: Any, what: str, _: Any) -> None:
        if what == "call":
            called.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        assert (await bench.catch_up(handle)).dead_lettered == 1
        await bench.catch_up(gather)
    finally:
        sys.setprofile(None)
    assert [header(record, "traceparent") for record in await bench.read(out)] == [None]
    ours = {Path(name).as_posix() for name in called if "/dispatcher/" in name or "/bindings/" in name}
    assert any(name.endswith("worker/runners.py") for name in ours)
    assert not [name for name in ours if "trac" in name]
    assert not [name for name in called if "opentelemetry" in name]
