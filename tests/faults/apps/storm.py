"""A handler for storms: quick, but slow with every ``FAULTS_SLOW_EVERY``-th event, and never done with every ``FAULTS_FAIL_EVERY``-th."""

from __future__ import annotations

import asyncio
import os

from ledger import handling

from bindings import Context, Event, Retry, on_stream

WORK = float(os.environ.get("FAULTS_WORK", "1")) / 1000
SLOW = float(os.environ.get("FAULTS_SLOW", "0"))
SLOW_EVERY = int(os.environ.get("FAULTS_SLOW_EVERY", "0"))
FAIL_EVERY = int(os.environ.get("FAULTS_FAIL_EVERY", "0"))


@on_stream(
    os.environ["FAULTS_STREAM"],
    order=os.environ.get("FAULTS_ORDER", "key"),
    concurrency=int(os.environ.get("FAULTS_CONCURRENCY", "16")),
    retry=Retry(
        max_attempts=int(os.environ.get("FAULTS_MAX_ATTEMPTS", "3")), initial=0.2, multiplier=1.0, jitter="none"
    ),
)
async def handle(event: Event[bytes], context: Context) -> None:
    with handling(event, context) as id_:
        await asyncio.sleep(SLOW if SLOW_EVERY and id_ % SLOW_EVERY == SLOW_EVERY - 1 else WORK)
        if FAIL_EVERY and id_ % FAIL_EVERY == FAIL_EVERY // 2:
            raise ValueError("this event always fails")
