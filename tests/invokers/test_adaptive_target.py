"""``concurrency = "auto"`` against a real server that works on some requests at once and lets the others wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from process_functions import STREAM
from stage import Stage, binding_of, until

from bindings import Event, on_stream
from dispatcher.config.targets import HttpTarget
from dispatcher.invokers.making import make_invoker
from dispatcher.worker import Worker

# Long beside what a busy machine adds to it: a limit that goes by times is not to be led by those.
SECONDS = 0.2


@on_stream(STREAM, order="none", concurrency="auto", max_concurrency=500)
def busy(event: Event[bytes]) -> None:
    """Stands for a service that takes so many at once."""


class Service:
    """Works on 20 requests at once, each for :data:`SECONDS`; what comes beyond them waits in line."""

    def __init__(self) -> None:
        self.url = ""
        self.done = 0
        self._places = asyncio.Semaphore(20)

    async def answer(self, request: web.Request) -> web.Response:
        """Wait for a place, work, and say nothing."""
        await request.read()
        async with self._places:
            await asyncio.sleep(SECONDS)
        self.done += 1
        return web.Response(status=204)

    async def lose(self, places: int) -> None:
        """Scale down."""
        for _ in range(places):
            await self._places.acquire()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """The service, up."""
    made = Service()
    application = web.Application()
    application.router.add_post("/", made.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


@contextlib.asynccontextmanager
async def running(stage: Stage, service: Service, app: str, **changes: Any) -> AsyncIterator[Worker]:
    """A worker whose target is the service."""
    binding = binding_of(busy, **changes)
    target = HttpTarget(type="http", url=service.url)
    worker = stage.worker(binding, make_invoker(binding, target), app=app, ends=False)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def rate(service: Service, worker: Worker) -> tuple[float, list[int]]:
    """Requests a second that were done in the better quarter of half seconds, which others on this machine left alone; and
    the limits meanwhile."""
    rates, limits = [], []
    for _ in range(10):
        before, began = service.done, time.monotonic()
        while time.monotonic() < began + 0.5:
            await asyncio.sleep(0.02)
            limits.append(worker.measures().limit)
        rates.append((service.done - before) / (time.monotonic() - began))
    return sorted(rates)[7], limits


async def test_the_limit_finds_what_the_target_works_on_at_once(stage: Stage, service: Service) -> None:
    """Under a ceiling of 500 it settles near the 20 that the service works on, and no throughput is lost against a fixed
    limit of 30. When the service is scaled down to 5, it follows."""
    await stage.send([b"x"] * 12_000, partitions=4)
    async with running(stage, service, "fixed", concurrency=30) as worker:
        await until(lambda: service.done > 100, "the first events")
        fixed, _ = await rate(service, worker)
    began = service.done
    async with running(stage, service, "auto") as worker:
        await until(lambda: service.done - began >= 900, "the limit to settle")
        rates = []
        # A machine that was busier than under the fixed limit is so for a while; a limit that costs throughput always does.
        while not rates or (len(rates) < 3 and rates[-1] < 0.85 * fixed):
            adaptive, limits = await rate(service, worker)
            assert 12 <= sorted(limits)[len(limits) // 2] <= 60, limits
            assert max(limits) < 120, limits
            rates.append(adaptive)
        assert rates[-1] >= 0.85 * fixed, (rates, fixed)
        await service.lose(15)
        await until(lambda: worker.measures().limit <= 12, "the limit to come down")
