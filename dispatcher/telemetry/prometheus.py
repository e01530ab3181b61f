"""Metrics for Prometheus, made from plain integers when they are asked for: nothing is paid for them meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final

from prometheus_client import exposition
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.process_collector import ProcessCollector

from dispatcher.core.counters import Histogram
from dispatcher.telemetry.catalogue import METRICS, Metric
from dispatcher.telemetry.snapshot import Snapshot

__all__ = ["render"]

_FAMILIES: Final = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
#: Where the process has its memory, its open files and its CPU time from: the operating system.
_PROCESS: Final = ProcessCollector(registry=None)


class _Collector:
    """Gives a snapshot's families, as prometheus-client asks a registry for them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Any]:
        families: dict[str, Any] = {}
        for name, labels, value in self._snapshot.samples():
            if name not in families:
                families[name] = _family(METRICS[name])
            if isinstance(value, Histogram):
                counts = map(float, accumulate(value.counts))
                ends = [*map(str, map(float, value.bounds)), "+Inf"]
                families[name].add_metric(labels, list(zip(ends, counts, strict=True)), value.total)
            else:
                families[name].add_metric(labels, value)
        yield from families.values()
        yield from _PROCESS.collect()


def _family(metric: Metric) -> Any:
    return _FAMILIES[metric.kind](metric.name, metric.text, labels=metric.labels)


def render(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """The snapshot in the form that a scraper's ``Accept`` header asks for, and that form's content type."""
    encode, content_type = exposition.choose_encoder(accept)
    return encode(_Collector(snapshot)), content_type
