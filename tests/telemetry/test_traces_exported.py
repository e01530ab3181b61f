"""Traces exported by ``dispatch run`` over a real socket, and how that is set up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from collector import Collector, texts
from command_line import Dispatch
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.environment_variables import OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG
from scraping import lines_of

from dispatcher.config import Settings
from dispatcher.errors import ConfigurationError
from dispatcher.telemetry.tracing.sampling import ratio_of

APP = """
import logging
from opentelemetry import trace
from bindings import Reject, on_stream

tracer = trace.get_tracer("shop")

@on_stream("orders", emits="answers")
async def handle(order: dict):
    with tracer.start_as_current_span("price it"):
        logging.getLogger("shop").info("priced %s", order["id"])
    if order["id"] == 3:
        raise Reject("the card 4111 1111")
    return {"id": order["id"]}
"""
TAKE = """
@on_stream("answers")
def take(answer: dict) -> None: ...
"""


def sent(dispatch: Dispatch, number: int) -> None:
    """Orders."""
    done = dispatch("send", "orders", "-", stdin=lines_of({"id": n} for n in range(number)))
    assert done.code == 0, done.stderr


def test_what_is_exported_is_what_has_happened(dispatch: Dispatch, collector: Collector) -> None:
    """From one run to the next the trace goes on: an invocation with the function's own span, the send of its result, and what
    another function does with that, linked to it; all at the collector when the run ends, under the app's name, and the lines
    that were logged in it say its id."""
    dispatch.write("app.py", APP + TAKE)
    dispatch("streams", "create", "answers")
    sent(dispatch, 4)
    environment = {"DISPATCH_TRACES": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=k3y"}
    done = dispatch("run", "app.py", "--only", "handle", "--until-caught-up", "--log-format", "json", **environment)
    assert done.code == 1, done.stderr  # it left a dead letter
    assert dispatch("run", "app.py", "--only", "take", "--until-caught-up", **environment).code == 0
    assert {path for path, _ in collector.pushes} == {"/v1/traces"}
    assert all(headers["x-api-key"] == "k3y" for headers in collector.headers)
    assert collector.resource["service.name"] == "shop"
    assert collector.resource["service.instance.id"]

    handled = [span for span in collector.spans if span.name == "process orders"]
    own = [span for span in collector.spans if span.name == "price it"]
    sends = [span for span in collector.spans if span.name == "send answers"]
    taken = [span for span in collector.spans if span.name == "process answers"]
    assert len(handled) == len(own) == 4
    assert len(sends) == len(taken) == 3
    assert {span.kind for span in handled} == {Span.SPAN_KIND_CONSUMER}
    assert {span.parent_span_id for span in own} == {span.span_id for span in handled}
    assert {span.parent_span_id for span in sends} < {span.span_id for span in handled}
    assert {span.links[0].span_id for span in taken} == {span.span_id for span in sends}
    [failed] = [span for span in handled if span.status.code == Status.STATUS_CODE_ERROR]
    assert texts(failed.attributes)["error.type"] == "Reject"
    assert texts(failed.attributes)["messaging.consumer.group.name"] == "shop.handle"
    assert not any(b"4111" in request.SerializeToString() for _, request in collector.pushes)

    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    said = {line["trace_id"] for line in lines if line["message"].startswith("priced")}
    assert said == {span.trace_id.hex() for span in handled}
    [dead] = [line for line in lines if "is a dead letter" in line["message"]]
    assert (dead["trace_id"], dead["span_id"]) == (failed.trace_id.hex(), failed.span_id.hex())


PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

class Notes(SpanExporter):
    def export(self, spans):
        with open("spans", "a") as file:
            file.writelines(span.name + "\\n" for span in spans)
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Notes()))
trace.set_tracer_provider(provider)
"""


def test_the_applications_own_provider_is_used(dispatch: Dispatch, collector: Collector) -> None:
    """Where the functions' code has set up OpenTelemetry itself, its provider takes the spans, and nothing is sent elsewhere."""
    dispatch.write("app.py", PROVIDER + APP)
    sent(dispatch, 1)
    done = dispatch("run", "app.py", "--until-caught-up", DISPATCH_TRACES=collector.url)
    assert done.code == 0, done.stderr
    assert "own TracerProvider" in done.stderr
    names = (dispatch.folder / "spans").read_text().split("\n")
    assert {"process orders", "price it", "send answers"} <= set(names)
    assert collector.pushes == []


def test_every_process_and_replays_export(dispatch: Dispatch, collector: Collector) -> None:
    """Processes under a supervisor trace each their own, a replay in its own group, a function whose thread outlives the run is
    exported before the process ends, all where OpenTelemetry's own variables say and under the name that they give."""
    dispatch.write("app.py", SLOW)
    sent(dispatch, 5)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "mine", "DISPATCH_TRACES": "on"}
    run = ("run", "app.py", "--until-caught-up", "--only")
    assert dispatch(*run, "handle", "--workers", "2", **environment).code == 0
    assert len(collector.spans) == 5
    assert collector.resource["service.name"] == "mine"
    assert dispatch("replay", "handle", "app.py", "--from", "earliest", "--yes", **environment).code == 0
    groups = [texts(span.attributes)["messaging.consumer.group.name"] for span in collector.spans]
    assert len(groups) == 10
    assert len([group for group in groups if group.startswith("shop.handle.replay-")]) == 5
    assert dispatch(*run, "endless", **environment).code == 1
    assert [texts(span.attributes).get("error.type") for span in collector.spans[10:]].count("TimeoutError") == 1


SLOW = """
import time
from bindings import Retry, on_stream

@on_stream("orders")
async def handle(order: dict) -> None: ...

@on_stream("orders", timeout=0.1, retry=Retry(max_attempts=1))
def endless(order: dict) -> None:
    if order["id"] == 2:
        time.sleep(60)
"""
OFF = """
import json, sys
from bindings import Context, on_stream

@on_stream("orders")
async def handle(order: dict, context: Context) -> None:
    with open("seen", "a") as file:
        there = any(name.startswith("opentelemetry") for name in sys.modules)
        file.write(json.dumps({"opentelemetry": there, "trace": context.trace}))
"""


@pytest.mark.parametrize(
    "environment",
    [{}, {"DISPATCH_TRACES": "on", "OTEL_SDK_DISABLED": "true"}],
    ids=["off", "disabled"],
)
def test_what_is_off_is_not_there(dispatch: Dispatch, environment: Mapping[str, str]) -> None:
    """Without ``traces``, or where OpenTelemetry's own switch is off, no function is in a trace; without ``traces``
    nothing of OpenTelemetry is imported either."""
    dispatch.write("app.py", OFF)
    sent(dispatch, 1)
    assert dispatch("run", "app.py", "--until-caught-up", **environment).code == 0
    seen = json.loads((dispatch.folder / "seen").read_text())
    assert seen == {"opentelemetry": bool(environment), "trace": None}


def test_a_collector_that_is_away_stops_nothing(dispatch: Dispatch) -> None:
    """Events are delivered all the same; one warning says what could not be exported, without what the URL may have that is
    secret; the end waits a few seconds at most."""
    dispatch.write("app.py", APP)
    sent(dispatch, 2)
    done = dispatch("run", "app.py", "--until-caught-up", DISPATCH_TRACES="http://user:s3cret@127.0.0.1:9/t0ken")
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "could not be exported" in line]) <= 1
    assert "s3cret" not in done.stderr
    assert "t0ken" not in done.stderr


def test_where_the_extra_is_not_installed_it_says_what_to_install(dispatch: Dispatch) -> None:
    """Asked for traces without the extra, the command ends before the first event with the command that installs it."""
    dispatch.write(
        "app.py", "from bindings import on_stream\n\n@on_stream('orders')\nasync def handle(order: dict) -> None: ...\n"
    )
    # What shadows a package is as good as one that is not there.
    dispatch.write("opentelemetry.py", "raise ModuleNotFoundError('no', name='opentelemetry')\n")
    sent(dispatch, 1)
    paths = f"{dispatch.folder}:{dispatch.environ['PYTHONPATH']}"
    done = dispatch("run", "app.py", "--until-caught-up", DISPATCH_TRACES="on", PYTHONPATH=paths)
    assert done.code == 1
    assert "pip install 'dispatch-runtime[otlp]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("wrong", [{"traces": "collector:4318"}, {"trace_ratio": 1.5}, {"trace_ratio": -0.1}])
def test_what_can_not_be_set_is_refused(wrong: dict[str, object]) -> None:
    """An address without a scheme, and a ratio that is none, are found when the settings are read."""
    with pytest.raises(ConfigurationError):
        Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "name", "argument", "expected"),
    [
        (None, None, None, 1.0),
        (0.25, "always_off", None, 0.25),
        (None, "parentbased_always_on", None, 1.0),
        (None, "parentbased_always_off", None, 0.0),
        (None, "parentbased_traceidratio", "0.125", 0.125),
        (None, "parentbased_traceidratio", "much", 1.0),
        (None, "always_off", None, None),
        (None, "traceidratio", "0.5", None),
        (None, "jaeger_remote", None, None),
    ],
)
def test_the_standard_samplers_are_honoured(
    said: float | None, name: str | None, argument: str | None, expected: float | None
) -> None:
    """The setting comes first, then OpenTelemetry's own variables; a sampler that asks no parent is left to the SDK."""
    environ = {OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: argument}
    assert ratio_of(said, {key: value for key, value in environ.items() if value is not None}) == expected


def test_every_attribute_is_documented() -> None:
    """The page of traces names each attribute that a span can have, and none that there is not."""
    root = Path(__file__).parent.parent.parent
    sources = [root / "dispatcher" / "worker" / "tracing.py", *(root / "dispatcher" / "invokers").rglob("invoker.py")]
    pattern = re.compile(r'"((?:messaging|dispatch|faas|http|url|server|error)\.[a-z_.]+)"')
    written = {name for path in sources for name in pattern.findall(path.read_text())}
    rows = re.findall(r"^\| (`[a-z]+\..*?) \|", (root / "docs" / "operations" / "traces.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)} == written
