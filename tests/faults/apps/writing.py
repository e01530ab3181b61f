"""A handler with every kind of record to write: by its id modulo 3 an event is a dead letter, a retry copy, a result."""

from __future__ import annotations

import os

from ledger import handling

from bindings import Context, Event, Reject, Retry, on_stream


@on_stream(
    os.environ["FAULTS_STREAM"],
    order="none",
    retry=Retry(max_attempts=3, initial=0.2, jitter="none", topic_after=0.0),
    emits=os.environ["FAULTS_STREAM"] + ".results",
)
async def handle(event: Event[bytes], context: Context) -> dict[str, int] | None:
    with handling(event, context) as id_:
        if id_ % 3 == 0:
            raise Reject("it is poison")
        if id_ % 3 == 1:
            if context.attempt == 1:
                raise RuntimeError("once more")
            return None
        return {"id": id_}
