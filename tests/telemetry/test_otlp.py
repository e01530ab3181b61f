"""Metrics pushed by OTLP to a real HTTP server, which reads them with OpenTelemetry's own protocol definitions."""

from __future__ import annotations

from collector import Collector
from command_line import Dispatch
from scraping import lines_of

from dispatcher.telemetry.catalogue import METRICS
from dispatcher.telemetry.otlp import otel_name

APP = """
from bindings import Reject, on_stream

@on_stream("orders")
async def handle(order: dict) -> None:
    if order["id"] % 10 == 3:
        raise Reject("never")

@on_stream("orders")
def gather(orders: list[dict]) -> None: ...
"""


def test_what_is_pushed_is_what_has_happened(dispatch: Dispatch, collector: Collector) -> None:
    """The last push, at the end of the run, has the final figures, under the conventions' names, units and attributes, with whose
    they are; every metric that is sent is one of the catalogue."""
    dispatch.write("app.py", APP)
    dispatch("send", "orders", "-", "--key", "id", stdin=lines_of({"id": n} for n in range(100)))
    done = dispatch("run", "app.py", "--until-caught-up", DISPATCH_OTLP=collector.url)
    assert done.code == 1, done.stderr  # it left dead letters
    assert {path for path, _ in collector.pushes} == {"/v1/metrics"}
    [of_resource] = collector.pushes[-1][1].resource_metrics
    attributes = {each.key: each.value.string_value for each in of_resource.resource.attributes}
    assert attributes["service.name"] == "shop"
    assert attributes["service.instance.id"]
    metrics = {metric.name: metric for metric in of_resource.scope_metrics[0].metrics}
    assert metrics.keys() <= {otel_name(name) for name in METRICS}

    def value(name: str, **wanted: str) -> float:
        points = metrics[name].sum.data_points or metrics[name].gauge.data_points
        [found] = [
            point
            for point in points
            if wanted.items() <= {each.key: each.value.string_value for each in point.attributes}.items()
        ]
        return float(found.as_int or found.as_double)

    assert value("messaging.client.consumed.messages", function="handle") == 100
    assert metrics["messaging.client.consumed.messages"].sum.is_monotonic
    assert metrics["messaging.client.consumed.messages"].unit == "{event}"
    assert value("faas.errors", function="handle", **{"faas.trigger": "pubsub"}) == 10
    assert value("dispatch.processed_events", function="handle", outcome="done") == 90
    assert value("dispatch.dead_letters", function="handle", reason="rejected") == 10
    duration = metrics["messaging.process.duration"]
    assert duration.unit == "s"
    [point] = [
        each
        for each in duration.histogram.data_points
        if {
            "function": "handle",
            "messaging.system": "embedded",
            "messaging.consumer.group.name": "shop.handle",
        }.items()
        <= {a.key: a.value.string_value for a in each.attributes}.items()
    ]
    assert point.count == sum(point.bucket_counts) == 100
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert 0 < point.sum < 60
    assert point.time_unix_nano > point.start_time_unix_nano > 0


def test_a_collector_that_is_away_stops_nothing(dispatch: Dispatch) -> None:
    """Events are delivered all the same, one warning says what could not be pushed, and the end waits a few seconds at most."""
    dispatch.write("app.py", APP)
    dispatch("send", "orders", "-", stdin=lines_of({"id": n} for n in range(3)))
    done = dispatch("run", "app.py", "--until-caught-up", DISPATCH_OTLP="http://127.0.0.1:9")
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "could not be pushed" in line]) <= 1


def test_what_is_no_collector_is_refused(dispatch: Dispatch) -> None:
    """An address with no scheme would be taken for a path: it says how one is written."""
    dispatch.write("app.py", APP)
    done = dispatch("run", "app.py", DISPATCH_OTLP="collector:4318")
    assert done.code == 1
    assert "write http://host:4318" in done.stderr
