"""Where spans go: to a collector by OTLP over HTTP, or to the TracerProvider that the application has set."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final, Self
from urllib.parse import urlsplit

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from dispatcher.config.settings import Settings, broker_kind
from dispatcher.telemetry.resource import resource_of
from dispatcher.telemetry.throttle import Throttle
from dispatcher.telemetry.tracing.sampling import EventSampler, ratio_of

__all__ = ["Tracing"]

logger = logging.getLogger("dispatcher.telemetry")

#: Seconds that the end of a process waits for the last spans to be exported.
_LAST_EXPORT: Final = 5.0
# Found in a file, so not when a worker is made.
_VERSION: Final = version("dispatch-runtime")


class Tracing:
    """What the functions of one process are traced with.

    Args:
        provider: makes the spans.
        system: the messaging system, as the conventions call it.
        choose: whether the next invocation is sampled whose events bring no trace; None leaves that to the provider's own
            sampler, which is asked span by span.
        continues: an invocation of one event is a child in the event's trace.
    """

    def __init__(
        self,
        provider: api.TracerProvider,
        *,
        system: str,
        choose: Callable[[], bool] | None = None,
        continues: bool = False,
    ) -> None:
        self.tracer = provider.get_tracer("dispatcher", _VERSION)
        self.system = system
        self.choose = choose
        self.continues = continues
        self._owned: TracerProvider | None = None

    @classmethod
    def begin(cls, settings: Settings) -> Self | None:
        """Set up what the settings and OpenTelemetry's own variables say; None when these switch it off.

        The provider is made the process's own, so that the spans of functions go with those of their invocations.
        """
        system, continues = broker_kind(settings.broker), settings.trace_parent == "event"
        if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
            return None
        there = api.get_tracer_provider()
        if not isinstance(there, api.ProxyTracerProvider):
            logger.info("traces go where the application's own TracerProvider sends them, sampled as that says")
            return cls(there, system=system, continues=continues)
        ratio = ratio_of(settings.trace_ratio, os.environ)
        sampler = None if ratio is None else EventSampler(ratio)
        made = TracerProvider(sampler=sampler, resource=resource_of(settings.app), shutdown_on_exit=False)
        made.add_span_processor(BatchSpanProcessor(_Telling(_url(settings))))
        api.set_tracer_provider(made)
        choose = None if sampler is None else sampler.choose
        tracing = cls(made, system=system, choose=choose, continues=continues)
        tracing._owned = made
        return tracing

    async def end(self) -> None:
        """Export what is left: not for ever, a collector that is silent must not hold up the end of the process."""
        if self._owned is not None:
            thread = threading.Thread(target=self._owned.shutdown, name="traces", daemon=True)
            thread.start()
            await asyncio.to_thread(thread.join, _LAST_EXPORT)


def _url(settings: Settings) -> str | None:
    if settings.traces != "on":
        return settings.traces
    if os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    return settings.otlp


class _Telling(SpanExporter):
    """The exporter, that says in a line a minute what it says at length each time."""

    def __init__(self, url: str | None) -> None:
        # Without one it asks the environment itself.
        self._exporter = OTLPSpanExporter(None if url is None else url.rstrip("/") + "/v1/traces")
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._where = "" if url is None else f" to {urlsplit(url).hostname}"
        self._throttle = Throttle(60.0)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, and say when that fails."""
        try:
            result = self._exporter.export(spans)
            problem = "" if result is SpanExportResult.SUCCESS else "the collector did not take them"
        except Exception as error:  # noqa: BLE001 - whatever the exporter raises, the functions go on
            result, problem = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        if problem and (more := self._throttle.admits("export")) is not None:
            times = f" ({more} times more)" if more else ""
            logger.warning("%d spans could not be exported%s%s: %s", len(spans), self._where, times, problem)
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held here."""
        return self._exporter.force_flush(timeout_millis)
