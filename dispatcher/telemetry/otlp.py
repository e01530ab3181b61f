"""Metrics pushed to an OpenTelemetry collector, by OTLP over HTTP: the same samples that Prometheus scrapes, under the names and
attributes of the conventions. Needs the extra ``otlp``.

The SDK's instruments are passed by: they would count each event a second time, at ten microseconds each. What is exported is
made of a snapshot, in the SDK's own shapes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, Self

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from dispatcher.core.counters import Histogram
from dispatcher.telemetry.catalogue import METRICS, Metric
from dispatcher.telemetry.resource import resource_of
from dispatcher.telemetry.snapshot import Snapshot
from dispatcher.telemetry.throttle import Throttle

__all__ = ["Pushing", "otel_name"]

logger = logging.getLogger("dispatcher.telemetry")

_INTERVAL: Final = 30.0
_CUMULATIVE: Final = sdk.AggregationTemporality.CUMULATIVE
#: How the conventions write what Prometheus writes with underscores.
_NAMES: Final = {
    "messaging_client_consumed_messages_total": "messaging.client.consumed.messages",
    "messaging_client_sent_messages_total": "messaging.client.sent.messages",
    "messaging_process_duration_seconds": "messaging.process.duration",
    "faas_invocations_total": "faas.invocations",
    "faas_errors_total": "faas.errors",
    "faas_timeouts_total": "faas.timeouts",
    "messaging_system": "messaging.system",
    "messaging_consumer_group_name": "messaging.consumer.group.name",
    "messaging_operation_name": "messaging.operation.name",
    "faas_trigger": "faas.trigger",
}
#: UCUM, as the conventions ask for.
_UNITS: Final = {"seconds": "s", "bytes": "By", "ratio": "1", "": "1"}


def otel_name(name: str) -> str:
    """A metric's or label's name in OpenTelemetry: ``dispatch.lag_events`` for ``dispatch_lag_events``."""
    if name in _NAMES or not name.startswith("dispatch_"):
        return _NAMES.get(name, name)
    return "dispatch." + name.removeprefix("dispatch_").removesuffix("_total")


class Pushing:
    """Pushes every 30 s and once more at the end, on a thread of its own. An async context manager.

    A collector that is away is a warning a minute, and no reason to stop.

    Args:
        url: of the collector, without ``/v1/metrics``.
        snapshot: takes one; called on that thread.
        interval: seconds between two pushes.
    """

    def __init__(self, url: str, snapshot: Callable[[], Snapshot], *, interval: float = _INTERVAL) -> None:
        self._exporter = OTLPMetricExporter(endpoint=url.rstrip("/") + "/v1/metrics", timeout=10)
        # It says at length, and each time, what is said here once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._url = url
        self._take = snapshot
        self._interval = interval
        self._began = time.time_ns()
        self._ended = threading.Event()
        self._throttle = Throttle(60.0)
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._ended.set()
        # Not for ever: a collector that is silent must not hold up the end of the process.
        await asyncio.to_thread(self._thread.join, 5.0)

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            self._push()
        self._push()
        self._exporter.shutdown()

    def _push(self) -> None:
        try:
            result = self._exporter.export(_data(self._take(), self._began))
            problem = "" if result is sdk.MetricExportResult.SUCCESS else "it did not take them"
        except Exception as error:  # noqa: BLE001 - whatever the exporter raises, the functions go on
            problem = f"{type(error).__name__}: {error}"
        if problem and (more := self._throttle.admits("push")) is not None:
            times = f" ({more} times more)" if more else ""
            logger.warning("metrics could not be pushed to %s%s: %s", self._url, times, problem)


def _data(snapshot: Snapshot, began: int) -> sdk.MetricsData:
    now = time.time_ns()
    found: dict[str, list[tuple[tuple[str, ...], float | Histogram]]] = {}
    for name, labels, value in snapshot.samples():
        found.setdefault(name, []).append((labels, value))
    metrics = [_metric(METRICS[name], points, began, now) for name, points in found.items()]
    scope = InstrumentationScope("dispatcher")
    return sdk.MetricsData([sdk.ResourceMetrics(resource_of(snapshot.app), [sdk.ScopeMetrics(scope, metrics, "")], "")])


def _metric(
    metric: Metric, points: Iterable[tuple[tuple[str, ...], float | Histogram]], began: int, now: int
) -> sdk.Metric:
    keys = [otel_name(label) for label in metric.labels]
    numbers, histograms = [], []
    for labels, value in points:
        attributes = dict(zip(keys, labels, strict=True))
        if isinstance(value, Histogram):
            count, bounds = sum(value.counts), tuple(map(float, value.bounds))
            histograms.append(
                # Least and greatest are not kept.
                sdk.HistogramDataPoint(
                    attributes, began, now, count, value.total, value.counts, bounds, float("inf"), float("-inf")
                )
            )
        else:
            number = int(value) if isinstance(value, bool) else value
            numbers.append(sdk.NumberDataPoint(attributes, began, now, number))
    data: sdk.Sum | sdk.Gauge | sdk.Histogram
    if metric.kind == "histogram":
        data = sdk.Histogram(histograms, _CUMULATIVE)
    elif metric.kind == "counter":
        data = sdk.Sum(numbers, _CUMULATIVE, is_monotonic=True)
    else:
        data = sdk.Gauge(numbers)
    unit = _UNITS.get(metric.unit, f"{{{metric.unit.removesuffix('s')}}}")
    return sdk.Metric(otel_name(metric.name), metric.text, unit, data)
