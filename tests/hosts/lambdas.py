"""Lambda handlers of the tests: decorated functions in their host, and one that a user wrote for AWS's own trigger."""

from __future__ import annotations

from typing import Any

import hosted
import process_functions as functions
import traced_functions
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from bindings.hosts.aws_lambda import handler

say = handler(hosted.say)
one_by_one = handler(hosted.one_by_one)
in_batches = handler(hosted.in_batches)
all_or_nothing = handler(hosted.one_by_one, partial=False)
sync_says = handler(functions.sync_says)
async_says = handler(functions.async_says)
names_failures = handler(functions.names_failures)
describes = handler(functions.describes)
is_silent = handler(functions.is_silent)
says_trace = handler(traced_functions.says_trace)

_processor = BatchProcessor(event_type=EventType.Kafka, raise_on_entire_batch_failure=False)


def _record(record: Any) -> None:
    if b"fail" in record.decoded_value:
        raise ValueError("wrong")


def powertools(event: dict[str, Any], context: Any) -> Any:
    """As Powertools for AWS Lambda documents it for Kafka."""
    return process_partial_response(event=event, record_handler=_record, processor=_processor, context=context)


def plain(event: dict[str, Any], context: Any) -> Any:
    """Does what its only record asks for."""
    import base64

    [records] = event["records"].values()
    said = base64.b64decode(records[0]["value"]).decode()
    if said == "fail":
        raise ValueError("wrong")
    if said == "sleep":
        import time

        time.sleep(60)
    if said == "exit":
        raise SystemExit(3)
    if said == "set":
        return {1, 2}
    if said == "huge":
        return "x" * 7_000_000
    return {"got": len(records), "context": getattr(context.client_context, "custom", None)}
