"""The trace of an invocation, carried to wherever its function runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from http_target import target_of
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from process_functions import OUT, STREAM
from stage import PATIENCE, Stage, binding_of
from test_target_parity import PLACES, Elsewhere, elsewhere
from traced_functions import says_trace

from bindings import Binding, Retry
from bindings.envelopes import cloudevents
from bindings.envelopes.record import WireRecord
from bindings.trace import TraceContext, trace_of
from dispatcher.config import Settings
from dispatcher.core.record import Outgoing
from dispatcher.invokers.base import Invoker
from dispatcher.invokers.making import make_invoker
from dispatcher.telemetry.tracing.provider import Tracing
from dispatcher.telemetry.tracing.sampling import EventSampler
from dispatcher.worker import Worker

__all__ = ["PLACES", "elsewhere"]

PRODUCED = TraceContext(f"00-{7:032x}-{7:016x}-01", "vendor=a1")
UNSAMPLED = TraceContext(f"00-{8:032x}-{8:016x}-00")


def traced(value: bytes, trace: TraceContext) -> Outgoing:
    """An event as an instrumented producer sends it."""
    headers = tuple((name, text.encode()) for name, text in trace.headers().items())
    return Outgoing(topic=STREAM, key=value, value=value, headers=headers)


async def spans_of(stage: Stage, binding: Binding, invoker: Invoker | None) -> Sequence[ReadableSpan]:
    """Run a traced worker over all events; returns its spans."""
    kept, sampler = InMemorySpanExporter(), EventSampler(0.0)
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    worker = Worker(
        binding,
        stage.broker,
        app="app",
        settings=Settings(commit_interval=0.05, drain=2.0),
        until_caught_up=True,
        invoker=invoker,
        tracing=Tracing(provider, system="embedded", choose=sampler.choose),
    )
    async with asyncio.timeout(PATIENCE):
        await worker.run()
    return kept.get_finished_spans()


def place_of(span: ReadableSpan) -> str:
    """Trace and span, as a traceparent has them."""
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}-{context.span_id:016x}"


async def test_a_function_knows_its_trace_wherever_it_runs(
    stage: Stage, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    """In a process, behind each of our hosts and in Lambda the function's ``Context.trace`` is the call of the dispatcher's, a
    CLIENT span within that of the invocation where there is a network between; its event's own header is the producer's.
    What is not sampled is carried too, as not sampled. What a process of ours logs says its trace, where it is sampled."""
    await stage.send([traced(b"1", PRODUCED), traced(b"2", UNSAMPLED)])
    binding = binding_of(says_trace)

    spans = await spans_of(stage, binding, await elsewhere.invoker(binding))

    [process] = [span for span in spans if span.kind is SpanKind.CONSUMER]
    calls = [span for span in spans if span.kind is SpanKind.CLIENT]
    assert len(calls) == (elsewhere.place != "process")
    call = calls[0] if calls else process
    if calls:
        assert call.parent is not None
        assert process.get_span_context() == call.parent
    said = [json.loads(record.value or b"") for record in await stage.read(OUT)]
    by_event = {each["event"]: each for each in said}
    assert len(said) == 2
    assert by_event.keys() == {PRODUCED.traceparent, UNSAMPLED.traceparent}
    first, second = by_event[PRODUCED.traceparent], by_event[UNSAMPLED.traceparent]
    assert first["trace"]["traceparent"][3:52] == place_of(call)
    assert second["trace"] == UNSAMPLED.headers()
    # A process of ours joins what the function itself has of OpenTelemetry; other hosts have instrumentations for that.
    assert first["current"] == (place_of(call) if elsewhere.place == "process" else None)
    match elsewhere.place.partition(":")[0]:
        case "process":
            lines = {record.getMessage(): vars(record).get("span_id") for record in caplog.records}
            assert lines == {"at events/0/0": place_of(call)[33:], "at events/0/1": None}
        case "lambda":
            assert call.name == "invoke says_trace"
            assert dict(call.attributes or {})["faas.invoked_provider"] == "aws"
        case "asgi" | "http":
            assert call.name == "POST"
            assert dict(call.attributes or {})["server.address"] == "127.0.0.1"


class Endpoint:
    """Any service, which answers with one status."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.requests: list[tuple[dict[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """Take a request."""
        self.requests.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=self._status)


@pytest.fixture
async def serving() -> Any:
    """Serves endpoints on loopback."""
    runners: list[web.AppRunner] = []

    async def serve(endpoint: Endpoint) -> str:
        application = web.Application()
        application.router.add_post("/{path:.*}", endpoint.answer)
        runner = web.AppRunner(application)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield serve
    for runner in runners:
        await runner.cleanup()


async def test_what_a_request_says_of_traces(stage: Stage, serving: Any) -> None:
    """The header is that of the call; the CloudEvent's attribute is the context in which the event was made. A refused one is a
    failed call, with nothing of the URL's path and query in its span."""
    await stage.send([traced(b"1", PRODUCED)])
    endpoint = Endpoint(500)
    url = f"{await serving(endpoint)}/hooks/s3cret?code=t0ken"
    binding = binding_of(says_trace, retry=Retry(max_attempts=1), emits=None)

    spans = await spans_of(stage, binding, make_invoker(binding, target_of(url)))

    [(headers, _)] = endpoint.requests
    [call] = [span for span in spans if span.kind is SpanKind.CLIENT]
    assert headers["traceparent"][3:52] == place_of(call)
    assert headers["ce-traceparent"] == PRODUCED.traceparent
    assert headers["ce-tracestate"] == PRODUCED.tracestate
    assert call.status.status_code is StatusCode.ERROR
    assert dict(call.attributes or {})["error.type"] == "HTTP 500"
    assert not any(secret in span.to_json() for span in spans for secret in ("s3cret", "t0ken"))


async def test_without_tracing_a_request_says_nothing_of_it(stage: Stage, serving: Any) -> None:
    """Where nothing is traced no request claims to be part of a trace; what the event says of its own goes with it."""
    await stage.send([traced(b"1", PRODUCED)])
    endpoint = Endpoint(204)
    binding = binding_of(says_trace, emits=None)
    await stage.through(binding, make_invoker(binding, target_of(await serving(endpoint))))
    [(headers, _)] = endpoint.requests
    assert "traceparent" not in headers
    assert headers["ce-traceparent"] == PRODUCED.traceparent


@pytest.mark.parametrize("form", ["binary", "structured", "batched"])
def test_cloudevents_keep_the_context_of_their_making(form: str) -> None:
    """The extension "Distributed Tracing" goes out with each form and comes back as the header that it was; an event that is
    a CloudEvent keeps its own attribute whatever its transport says."""
    own = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t"))
    plain = WireRecord("s", 0, 1, 2, None, b"{}", tuple((n, t.encode()) for n, t in PRODUCED.headers().items()))
    event = plain._replace(headers=(*plain.headers, *own, ("ce_traceparent", UNSAMPLED.traceparent.encode())))
    for record, expected in ((plain, PRODUCED), (event, UNSAMPLED)):
        match form:
            case "binary":
                headers, body = cloudevents.binary(record)
                said = {name.removeprefix("ce-"): value for name, value in headers.items()}
            case "structured":
                headers, body = cloudevents.structured(record)
                said = json.loads(body)
            case _:
                headers, body = cloudevents.batched([record])
                [said] = json.loads(body)
        assert {name: said[name] for name in ("traceparent", "tracestate") if name in said} == expected.headers()
        [back] = cloudevents.decode(headers, body)
        assert back.headers == record.headers
        assert trace_of(back.headers) == PRODUCED


def test_the_context_of_another_programs_cloudevent_is_found() -> None:
    """A CloudEvent that no dispatcher sent is a record with ``ce_`` headers, whose context is that of its attribute."""
    document = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "traceparent": PRODUCED.traceparent}
    [record] = cloudevents.decode({"content-type": cloudevents.STRUCTURED}, json.dumps(document).encode())
    assert trace_of(record.headers) == TraceContext(PRODUCED.traceparent)


def test_a_client_context_without_a_trace_is_as_good_as_before() -> None:
    """What a dispatcher of another version, or nobody, says in Lambda's client context is no trace and no error."""
    from bindings.hosts.aws_lambda import _trace

    assert _trace({}) is None
    assert _trace({"traceparent": 7, "tracestate": ["x"]}) is None
    assert _trace({"traceparent": "nonsense"}) is None
    assert _trace(dict(PRODUCED.headers())) == PRODUCED
