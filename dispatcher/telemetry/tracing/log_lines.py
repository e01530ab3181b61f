"""The trace that a log line belongs to."""

from __future__ import annotations

import logging

from bindings.trace import current_trace

__all__ = ["tell_traces"]


def tell_traces() -> None:
    """Have each line that is logged in a traced invocation, the functions' own too, say in which: ``trace_id`` and ``span_id``.

    The names are those of OpenTelemetry's "Trace Context in non-OTLP Log Formats".
    """
    for handler in logging.getLogger().handlers:
        handler.addFilter(_add_trace)


def _add_trace(record: logging.LogRecord) -> bool:
    if (trace := current_trace.get()) is not None and trace.sampled:
        record.trace_id, record.span_id = trace.trace_id, trace.span_id
    return True
