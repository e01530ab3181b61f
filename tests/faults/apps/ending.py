"""A handler that ends its process at the event whose id is 50, as a crash in a C library would."""

from __future__ import annotations

import os

from ledger import INSTANCE, handling

from bindings import Context, Event, Retry, on_stream

# One file a process: the function may have one of its own.
os.environ[INSTANCE] = f"{os.environ[INSTANCE]}-{os.getpid()}"


@on_stream(os.environ["FAULTS_STREAM"], retry=Retry(max_attempts=3, initial=0.1))
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context) as number:
        if number == 50:
            os._exit(7)
