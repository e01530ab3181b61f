"""The spans of one function's invocations, and of what they leave to be written. Imported where traces are on alone.

Names and attributes are those of OpenTelemetry's semantic conventions for messaging and FaaS, which are still in development:
https://opentelemetry.io/docs/specs/semconv/messaging/. Neither payloads nor keys nor messages of errors are in them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from bindings import Binding
from bindings.failure import Failure
from bindings.invocation import Reply
from bindings.trace import TraceContext, current_trace, read_trace, trace_of
from dispatcher.core.delivery import Delivery
from dispatcher.invokers.base import CallsOut, Invoker
from dispatcher.telemetry.tracing.provider import Tracing
from dispatcher.telemetry.tracing.sampling import ROOT, SAMPLED
from dispatcher.worker.records import RETRY_PREFIX

__all__ = ["FunctionTracing", "Settling"]

#: Links of a span; the SDK's own limit is the same, and would keep the last ones.
MOST_LINKS: Final = 128
_UNSAMPLED: Final = TraceFlags(0)

Invoke = Callable[[Sequence[Delivery]], Awaitable[Reply]]
Settle = Callable[[Sequence[Delivery], Reply, "Settling | None"], Awaitable[None]]


class FunctionTracing:
    """Traces one function's invocations: a span each, with links to what its events' producers did.

    Args:
        tracing: of the process.
        binding: the function.
        group: its consumer group.
        invoker: whose calls over a network have spans of their own.
    """

    def __init__(self, tracing: Tracing, binding: Binding, group: str, invoker: Invoker) -> None:
        self._tracer = tracing.tracer
        self._choose = tracing.choose
        self._continues = tracing.continues
        self._is_batch = binding.signature.batch
        self._call = invoker.call if isinstance(invoker, CallsOut) else None
        self._of_send = {
            "messaging.system": tracing.system,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
        }
        self._of_all = {
            "messaging.system": tracing.system,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": group,
            "faas.trigger": "pubsub",
            "dispatch.function": binding.name,
        }
        #: The invocations that wait to be settled, by their first event: their own span, and that of their call.
        self._open: dict[Delivery, tuple[Span, Span]] = {}

    def traced(self, invoke: Invoke) -> Invoke:
        """Have each invocation run within its span."""

        async def traced(batch: Sequence[Delivery]) -> Reply:
            span = call = self._begin(batch)
            context = set_span_in_context(span)
            if self._call is not None and span.is_recording():
                name, attributes = self._call
                call = self._tracer.start_span(name, context, SpanKind.CLIENT, attributes)
                context = set_span_in_context(call)
            outer, token = attach(context), current_trace.set(_as_text(call.get_span_context()))
            try:
                reply = await invoke(batch)
            except BaseException:
                # Whoever cancelled it knows why, and says so when it settles.
                self._open[batch[0]] = span, call
                raise
            finally:
                current_trace.reset(token)
                detach(outer)
            if call is not span:
                _end(call, reply)
            if reply.failures or reply.rest is not None or reply.results:
                self._open[batch[0]] = span, call
            else:
                span.end()
            return reply

        return traced

    def settling(self, settle: Settle) -> Callable[[Sequence[Delivery], Reply], Awaitable[None]]:
        """Have what an invocation came to be settled as a part of its trace."""

        async def settled(batch: Sequence[Delivery], reply: Reply) -> None:
            spans = self._open.pop(batch[0], None)
            if spans is None:
                await settle(batch, reply, None)
                return
            settling = Settling(self._tracer, *spans, self._of_send)
            if not any(delivery.partition.active for delivery in batch):
                # Whatever it came to, its events are another member's by now.
                spans[0].set_attribute("dispatch.late", True)
            token = current_trace.set(settling.trace)
            try:
                await settle(batch, reply, settling)
            finally:
                current_trace.reset(token)
                settling.close()

        return settled

    def close(self) -> None:
        """End the spans of what was cancelled for good."""
        for spans in self._open.values():
            # One that calls nothing else is both of them; one whose call has failed has ended already.
            for span in dict.fromkeys(spans):
                if span.is_recording():
                    _fail(span, "CancelledError")
                    span.end()
        self._open.clear()

    def _begin(self, batch: Sequence[Delivery]) -> Span:
        found = [
            (delivery, trace)
            for delivery in batch
            if (headers := delivery.origin.headers) and (trace := trace_of(headers)) is not None
        ]
        own = found[0][1] if found and len(batch) == 1 else None
        parent = ROOT
        if self._choose is not None:
            if not (any(trace.sampled for _, trace in found) if found else self._choose()):
                return NonRecordingSpan(_fresh() if own is None else _as_context(own))
            parent = SAMPLED
        if own is not None and self._continues:
            parent = set_span_in_context(NonRecordingSpan(_as_context(own)), parent)
        return self._start(batch, found, parent)

    def _start(self, batch: Sequence[Delivery], found: list[tuple[Delivery, TraceContext]], parent: Context) -> Span:
        first = batch[0].origin
        stream: str | None = first.topic
        attributes: dict[str, Any] = {
            **self._of_all,
            "dispatch.attempt": 1 + max([delivery.attempts for delivery in batch]),
        }
        if self._is_batch:
            attributes["messaging.batch.message_count"] = len(batch)
            streams = {delivery.origin.topic for delivery in batch}
            stream = stream if len(streams) == 1 else None
            partitions = {delivery.origin.partition for delivery in batch}
            if stream and len(partitions) == 1:
                attributes["messaging.destination.partition.id"] = str(first.partition)
        else:
            attributes |= _place(batch[0])
            if first.value is None:
                attributes["messaging.kafka.message.tombstone"] = True
        if stream:
            attributes["messaging.destination.name"] = stream
        links = [*_links(found[:MOST_LINKS], each=self._is_batch), *_earlier(batch)][:MOST_LINKS]
        if len(found) > MOST_LINKS:
            attributes["dispatch.links_omitted"] = len(found) - MOST_LINKS
        name = f"process {stream}" if stream else "process"
        return self._tracer.start_span(name, parent, SpanKind.CONSUMER, attributes, links)


class Settling:
    """The trace of one invocation while it is settled, and the spans of what is written for it: one for each topic.

    Attributes:
        trace: of the invocation.
    """

    def __init__(self, tracer: Any, span: Span, call: Span, attributes: dict[str, str]) -> None:
        self._tracer = tracer
        self._spans = (span, call)
        self._of_send = attributes
        self._sends: dict[str, Span] = {}
        self._lost = False
        self.trace = _as_text(span.get_span_context())

    def ended(self, reply: Reply) -> None:
        """The invocation came to that."""
        for span in dict.fromkeys(reversed(self._spans)):
            if span.is_recording():
                _end(span, reply)

    def trace_to(self, topic: str) -> TraceContext:
        """What a record says of the trace that it is made in."""
        span = self._spans[0]
        if not span.get_span_context().trace_flags.sampled:
            return self.trace
        send = self._sends.get(topic)
        if send is None:
            attributes = {**self._of_send, "messaging.destination.name": topic}
            send = self._tracer.start_span(f"send {topic}", set_span_in_context(span), SpanKind.PRODUCER, attributes)
            self._sends[topic] = send
        return _as_text(send.get_span_context())

    def sending(self, topics: Iterable[str]) -> None:
        """So many records go there."""
        for topic, number in Counter(topics).items():
            if number > 1 and topic in self._sends:
                self._sends[topic].set_attribute("messaging.batch.message_count", number)

    def lost(self) -> None:
        """The partitions have gone before all was written."""
        self._lost = True

    def close(self) -> None:
        """All is written, or will not be."""
        for span in self._sends.values():
            if self._lost:
                _fail(span, "PartitionLost")
            span.end()
        for span in self._spans:
            if span.is_recording():
                span.end()


def _end(span: Span, reply: Reply) -> None:
    failure: Failure | None = reply.rest or next(iter(reply.failures.values()), None)
    if failure is not None and span.is_recording():
        _fail(span, failure.error_type)
        span.set_attribute("dispatch.failure", failure.kind.value)
        if reply.failures:
            span.set_attribute("dispatch.failed_events", len(reply.failures))
    span.end()


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    # With no description: messages of errors hold what was wrong with the data, and so the data.
    span.set_status(Status(StatusCode.ERROR))


def _links(found: Iterable[tuple[Delivery, TraceContext]], *, each: bool) -> Iterator[Link]:
    for delivery, trace in found:
        yield Link(_as_context(trace), _place(delivery) if each else None)


def _earlier(batch: Sequence[Delivery]) -> Iterator[Link]:
    """Links to the attempts that sent events to the retry topic from which they come back."""
    for delivery in batch:
        if delivery.history is not None and delivery.history.origin is not None:
            said = dict(delivery.record.headers).get(f"{RETRY_PREFIX}traceparent") or b""
            if (trace := read_trace(said.decode("latin-1"))) is not None:
                yield Link(_as_context(trace), {"dispatch.link": "earlier attempt"})


def _place(delivery: Delivery) -> dict[str, Any]:
    record = delivery.origin
    return {
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
    }


def _fresh() -> SpanContext:
    """The beginning of a trace that is not recorded, so that what comes of it is not either."""
    # Ids of 0 are none; nobody has seen that happen.
    return SpanContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1, False, _UNSAMPLED)


def _as_context(trace: TraceContext) -> SpanContext:
    text = trace.traceparent
    state = TraceState.from_header([trace.tracestate]) if trace.tracestate else None
    return SpanContext(int(text[3:35], 16), int(text[36:52], 16), True, TraceFlags(int(text[53:55], 16)), state)


def _as_text(context: SpanContext) -> TraceContext:
    state = context.trace_state.to_header() if context.trace_state else ""
    return TraceContext(f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}", state)
