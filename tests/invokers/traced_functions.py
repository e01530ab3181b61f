"""A function that tells in which trace it runs: what its context says, and what OpenTelemetry in its own process does."""

from __future__ import annotations

import logging

from opentelemetry.trace import get_current_span
from process_functions import OUT, STREAM

from bindings import Context, Event, on_stream


@on_stream(STREAM, emits=OUT)
async def says_trace(event: Event[bytes], context: Context) -> dict[str, object]:
    """Tells of its invocation, and of its event."""
    logging.getLogger(__name__).warning("at %s", event.id)
    current = get_current_span().get_span_context()
    return {
        "trace": context.trace and context.trace.headers(),
        "current": f"{current.trace_id:032x}-{current.span_id:016x}" if current.is_valid else None,
        "event": (event.header("traceparent") or b"").decode(),
    }
