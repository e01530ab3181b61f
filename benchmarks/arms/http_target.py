"""Events posted to an endpoint: by the dispatcher, and by aiohttp alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import aiohttp

from benchmarks.arms.remote import (
    CONCURRENCY,
    STREAM,
    batches_of,
    binding_of,
    consume,
    post_all,
    post_from_log,
    read_log,
)
from benchmarks.clock import Clock
from benchmarks.endpoint import endpoint
from bindings import Ordering
from bindings.calling import RecordLike, event_id
from dispatcher.config.targets import HttpTarget
from dispatcher.invokers.http.invoker import HttpInvoker
from dispatcher.invokers.http.replies import ACCEPT
from dispatcher.invokers.http.requests import writer_of

Request = tuple[int, dict[str, str], bytes]


async def run_dispatch(
    bootstrap: str, stream: str, events: int, batch: int, order: Ordering = "none"
) -> dict[str, float]:
    """A worker with this target, to the end of the log."""
    with endpoint() as url:
        binding = binding_of(stream, batch, order)
        invoker = HttpInvoker(binding, HttpTarget(type="http", url=f"{url}/in"))
        return await consume(bootstrap, binding, invoker, Clock(events))


async def run_ready(events: int, batch: int) -> dict[str, float]:
    """Requests that are made already, byte for byte what the dispatcher posts."""
    async with _posting(events) as (clock, post):
        make = _maker(STREAM, batch)
        await post_all([make(records) for records in batches_of(events, batch)], post)
        return clock.figures()


async def run_making(events: int, batch: int) -> dict[str, float]:
    """The same requests, each made when it is posted."""
    async with _posting(events) as (clock, post):
        make = _maker(STREAM, batch)
        await post_all(map(make, batches_of(events, batch)), post)
        return clock.figures()


async def run_loop(bootstrap: str, stream: str, events: int, batch: int) -> dict[str, float]:
    """The same requests, made of what a loop reads from the log: the alternative that is written by hand."""
    async with _posting(events) as (clock, post):
        make = _maker(stream, batch)
        await post_from_log(bootstrap, stream, batch, events, lambda records: post(make(records)))
        return clock.figures()


async def run_reading(bootstrap: str, stream: str, events: int, batch: int) -> dict[str, float]:
    """The loop alone: what reading the log is of it."""
    clock = Clock(events)

    async def see(records: Sequence[RecordLike] | None) -> None:
        if records is not None:
            clock.count(len(records))

    await read_log(bootstrap, stream, batch, events, see)
    return clock.figures()


@contextlib.asynccontextmanager
async def _posting(events: int) -> AsyncIterator[tuple[Clock, Callable[[Request], Awaitable[None]]]]:
    """Posts requests, with aiohttp as it comes."""
    clock = Clock(events)
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    with endpoint() as url:
        async with aiohttp.ClientSession(connector=connector) as session:

            async def post(request: Request) -> None:
                count, headers, body = request
                clock.begin()
                async with session.post(f"{url}/in", data=body, headers=headers) as response:
                    await response.read()
                    response.raise_for_status()
                clock.end(count)

            yield clock, post


def _maker(stream: str, batch: int) -> Callable[[Sequence[RecordLike]], Request]:
    """Makes requests with all headers that the dispatcher's have."""
    write = writer_of(binding_of(stream, batch), HttpTarget(type="http", url="http://localhost/in"))
    common = {
        "accept": ACCEPT,
        "accept-encoding": "gzip",
        "user-agent": "dispatch-runtime",
        "dispatch-function": "elsewhere",
        "dispatch-timeout": "60.000",
        "dispatch-attempt": "1",
    }

    def make(records: Sequence[RecordLike]) -> Request:
        # As deliveries, of which a writer asks nothing else.
        headers, body = write([_Origin(record) for record in records])
        return len(records), {**common, "idempotency-key": event_id(records[0]), **headers}, body

    return make


class _Origin:
    attempts = 0

    def __init__(self, origin: Any) -> None:
        self.origin = origin
