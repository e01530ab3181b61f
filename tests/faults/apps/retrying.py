"""A handler of three kinds of events, told apart by their ids: some fail, some take long, the others are done at once.

=============  ====================================================================================================
below 1,000    fail until attempt ``FAULTS_SUCCEEDS`` (never, when it is not set). They ask for the seconds of
               ``FAULTS_WAITS`` in turn before their next attempt ("0.1,30"); without it the policy's backoff decides.
below 10,000   take ``FAULTS_SLOW`` seconds
the others     take ``FAULTS_WORK`` milliseconds
=============  ====================================================================================================

The policy: five attempts, waits of 0.3, 30, 30 and 30 s with no jitter. ``FAULTS_REJECT`` makes dead letters of all.
"""

from __future__ import annotations

import asyncio
import os

from ledger import handling

from bindings import Context, Event, Reject, Retry, on_stream

SUCCEEDS = int(os.environ.get("FAULTS_SUCCEEDS", "1000000"))
WAITS = [float(each) for each in os.environ.get("FAULTS_WAITS", "").split(",") if each]
SLOW = float(os.environ.get("FAULTS_SLOW", "1"))
WORK = float(os.environ.get("FAULTS_WORK", "1")) / 1000


@on_stream(
    os.environ["FAULTS_STREAM"],
    concurrency=48,
    retry=Retry(max_attempts=5, initial=0.3, multiplier=100, max_delay=30, jitter="none"),
)
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context) as id_:
        if "FAULTS_REJECT" in os.environ:
            raise Reject("all of them")
        if id_ >= 1_000:
            await asyncio.sleep(SLOW if id_ < 10_000 else WORK)
        elif context.attempt < SUCCEEDS:
            if WAITS:
                raise Retry.after(WAITS[(context.attempt - 1) % len(WAITS)])
            msg = "it fails"
            raise RuntimeError(msg)
