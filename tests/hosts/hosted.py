"""What the servers of the tests serve."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import process_functions as functions
import traced_functions

from bindings import Batch, Context, Event, Reject, Retry, on_stream
from bindings.hosts import functions_framework
from bindings.hosts.asgi import app


@on_stream("orders", emits="answers")
async def say(event: Event[dict[str, Any]], context: Context) -> Any:
    """Does what its event asks for."""
    match event.value.get("do"):
        case "fail":
            raise ValueError("wrong")
        case "reject":
            raise Reject("never")
        case "later":
            raise Retry.after(7, "busy")
        case "sleep":
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                cancelled.append(event.id)
                raise
        case "cancelled":
            return len(cancelled)
        case "two":
            return [{"number": 1}, {"number": 2}]
        case "nothing":
            return None
    return {
        "id": event.id,
        "key": None if event.key is None else event.key.decode(),
        "headers": [[name, None if value is None else value.decode()] for name, value in event.headers],
        "attempt": context.attempt,
        "remaining": context.remaining(),
    }


@on_stream("orders", emits="answers", order="key", concurrency=4)
def one_by_one(event: Event[dict[str, Any]]) -> Any:
    """A sync function for single events, that takes its time."""
    began = time.monotonic()
    time.sleep(0.2)
    if event.value.get("do") == "fail":
        raise ValueError("wrong")
    return {"id": event.id, "began": began, "ended": time.monotonic()}


@on_stream("orders", emits="answers", batch=Batch(max_events=3, max_wait=0.1))
async def in_batches(orders: list[dict[str, Any]]) -> Any:
    """Says how many it was handed."""
    return {"events": len(orders)}


cancelled: list[str] = []

application = app(say, one_by_one, in_batches)
single = app(say, token="s3cret", max_body=1_000)
everything = app(
    functions.sync_says,
    functions.async_says,
    functions.names_failures,
    functions.describes,
    functions.is_silent,
    traced_functions.says_trace,
)
main = functions_framework.http(say)
event_main = functions_framework.cloud_event(say)
ff_sync_says = functions_framework.http(functions.sync_says)
ff_async_says = functions_framework.http(functions.async_says)
ff_names_failures = functions_framework.http(functions.names_failures)
ff_describes = functions_framework.http(functions.describes)
ff_is_silent = functions_framework.http(functions.is_silent)
ff_says_trace = functions_framework.http(traced_functions.says_trace)
