"""A decorated function as an AWS Lambda function for Kafka events.

::

    from bindings.hosts.aws_lambda import handler
    from orders import check_limit

    lambda_handler = handler(check_limit)

The event is that of AWS's event source mapping for MSK and self-managed Kafka; a dispatcher sends the same. Failures are
answered as ``batchItemFailures``. In an event source mapping that needs ``FunctionResponseTypes:
[ReportBatchItemFailures]``: without it AWS takes a partial failure for a success; set ``partial=False`` there, and any
failure fails the whole batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from bindings.binding import Binding
from bindings.envelopes.aws_kafka import batch_item_failures, decode
from bindings.envelopes.reply import MEDIA_TYPE, document_of
from bindings.failure import Failure
from bindings.hosts.serving import Served, attempts_before, binding_of
from bindings.invocation import Reply
from bindings.trace import TraceContext, read_trace

__all__ = ["InvocationFailed", "handler"]

logger = logging.getLogger("bindings.hosts")

# Seconds before Lambda ends the process: the answer must be on its way by then.
_MARGIN = 0.2


class InvocationFailed(RuntimeError):
    """Raised out of the handler when the events of an invocation failed, so that AWS delivers them again."""


def handler(function: Callable[..., Any] | Binding, *, partial: bool = True) -> Callable[[Any, Any], Any]:
    """Make the Lambda handler of a decorated function.

    Args:
        function: decorated with ``@on_stream``.
        partial: name the failed events in the answer. False raises when any has failed.

    Raises:
        TypeError: the function is not decorated.
    """
    served = Served(binding_of(function))
    # One loop for all invocations: what an async function has opened there is good for the next one.
    runner = asyncio.Runner()

    def handle(event: Any, context: Any) -> Any:
        records = decode(event)
        if not records:
            return batch_item_failures([])
        asked = _asked(context)
        attempts = attempts_before(str(asked.get("dispatch-attempt", "1")))
        work = served.serve(records, attempts=attempts, timeout=_seconds_left(context), trace=_trace(asked))
        reply = runner.run(work)
        failed = reply.failed(len(records))
        named = batch_item_failures([records[index] for index in failed])
        if asked.get("accept") == MEDIA_TYPE:
            return {**named, "dispatch": document_of(reply)}
        if reply.results:
            logger.warning(
                "%s: %d result(s) go nowhere: who invoked this function does not take them; a dispatcher does",
                served.binding.name, len(reply.results),
            )  # fmt: skip
        if len(failed) == len(records) or (failed and not partial):
            raise InvocationFailed(_summary(reply, len(failed), len(records)))
        return named

    handle.__name__ = served.binding.name.replace("-", "_")
    return handle


def _asked(context: Any) -> Mapping[str, Any]:
    """What a dispatcher says of the invocation, in the client context."""
    custom = getattr(getattr(context, "client_context", None), "custom", None)
    return custom if isinstance(custom, Mapping) else {}


def _trace(asked: Mapping[str, Any]) -> TraceContext | None:
    return read_trace(*(value if isinstance(value := asked.get(name), str) else None for name in TraceContext._fields))


def _seconds_left(context: Any) -> float | None:
    left = getattr(context, "get_remaining_time_in_millis", None)
    return None if left is None else max(0.001, left() / 1000 - _MARGIN)


def _summary(reply: Reply, failed: int, events: int) -> str:
    first: Failure | None = reply.rest or next(iter(reply.failures.values()), None)
    why = "" if first is None else f": {first.error_type}: {first.message}"
    return f"{failed} of {events} events failed{why}"
