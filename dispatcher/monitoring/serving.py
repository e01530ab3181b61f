"""``/metrics``, ``/livez`` and ``/readyz`` of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

from bindings import Binding
from dispatcher.brokers.base import Broker
from dispatcher.config.settings import Settings, address, broker_kind
from dispatcher.monitoring.depths import Depths
from dispatcher.telemetry.endpoint import Answer, Endpoint, Request
from dispatcher.telemetry.health import Health, Verdict
from dispatcher.telemetry.measures import Measured, Measures
from dispatcher.telemetry.prometheus import Snapshot, render
from dispatcher.telemetry.watchdog import LoopWatchdog

__all__ = ["Monitoring"]

#: Seconds that a scrape waits for the functions' event loop; a scraper waits 10 for us.
_PATIENCE: Final = 3.0


class Monitoring:
    """Serves what there is to know of the workers of this process. An async context manager, entered on their loop.

    Args:
        workers: of this process.
        bindings: their functions.
        broker: asked for the depth of the dead letters.
        settings: which say where.
        watchdog: of the event loop.

    Raises:
        ConfigurationError: when it is entered: the address can't be listened at.
    """

    def __init__(
        self,
        workers: Sequence[Measured],
        bindings: Sequence[Binding],
        broker: Broker,
        *,
        settings: Settings,
        watchdog: LoopWatchdog,
    ) -> None:
        self._workers = workers
        self._app = settings.app
        self._system = broker_kind(settings.broker)
        self._watchdog = watchdog
        self._health = Health(workers, watchdog, grace=settings.liveness_grace)
        self._depths = Depths(bindings, broker, app=settings.app)
        host, port = address(settings.monitoring or 0)
        routes = {"/metrics": self._metrics, "/livez": self._livez, "/readyz": self._readyz}
        self._endpoint = Endpoint(host, port, routes)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stack = AsyncExitStack()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._endpoint.port

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        async with self._stack:
            for part in (self._health, self._depths, self._endpoint):
                await self._stack.enter_async_context(part)
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    # -- on the endpoint's own loop

    async def _metrics(self, request: Request) -> Answer:
        snapshot = Snapshot(
            app=self._app,
            system=self._system,
            functions=await self._measures(),
            depths=self._depths.events.copy(),
            stuck=self._health.stuck(),
            loop_lag=self._watchdog.worst_lag(),
        )
        body, content_type = await asyncio.to_thread(render, snapshot, request.accept)
        return Answer(200, body, content_type)

    async def _measures(self) -> Sequence[Measures] | None:
        """Each function's, taken on the workers' loop; None when it does not turn."""
        if self._loop is None:
            return None
        taken = asyncio.run_coroutine_threadsafe(self._take(), self._loop)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(taken), _PATIENCE)
        except TimeoutError:
            return None

    async def _take(self) -> Sequence[Measures]:
        return [worker.measures() for worker in self._workers]

    async def _livez(self, request: Request) -> Answer:
        return _answer("livez", self._health.live(), request)

    async def _readyz(self, request: Request) -> Answer:
        return _answer("readyz", self._health.ready(), request)


def _answer(name: str, verdict: Verdict, request: Request) -> Answer:
    """The status code for a program; the checks for a person, in the form that Kubernetes gives its own."""
    lines = [f"[{'+' if check.ok else '-'}]{check.name}: {check.text}" for check in verdict.checks]
    if "verbose" not in request.query:
        lines = [line for line in lines if line.startswith("[-]")]
    lines.append(f"{name} {'ok' if verdict.ok else 'failed'}")
    return Answer(200 if verdict.ok else 503, "".join(f"{line}\n" for line in lines).encode())
