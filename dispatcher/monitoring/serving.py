"""``/metrics``, ``/livez`` and ``/readyz`` of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final, Self

from bindings import Binding
from dispatcher.brokers.base import Broker
from dispatcher.config.settings import Settings, address, broker_kind
from dispatcher.errors import ConfigurationError
from dispatcher.monitoring.depths import Depths
from dispatcher.telemetry.endpoint import Answer, Endpoint, Request
from dispatcher.telemetry.health import Health, Verdict
from dispatcher.telemetry.measures import Measured, Measures
from dispatcher.telemetry.snapshot import Snapshot
from dispatcher.telemetry.watchdog import LoopWatchdog

__all__ = ["Monitoring"]

#: Seconds that a scrape waits for the functions' event loop; a scraper waits 10 for us.
_PATIENCE: Final = 3.0


class Monitoring:
    """Serves what there is to know of the workers of this process, and pushes it. An async context manager, entered on their loop.

    Args:
        workers: of this process.
        bindings: their functions.
        broker: asked for the depth of the dead letters.
        settings: which say where: ``monitoring``, ``otlp``.
        watchdog: of the event loop.

    Raises:
        ConfigurationError: when it is entered: the address can't be listened at, or the extra ``otlp`` is not installed.
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
        self._monitoring, self._otlp = settings.monitoring, settings.otlp
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        async with self._stack:
            await self._stack.enter_async_context(self._health)
            await self._stack.enter_async_context(self._depths)
            if self._otlp is not None:
                await self._stack.enter_async_context(_pushing(self._otlp, self._snapshot))
            if self._monitoring is not None:
                routes = {"/metrics": self._metrics, "/livez": self._livez, "/readyz": self._readyz}
                await self._stack.enter_async_context(Endpoint(*address(self._monitoring), routes))
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    # -- on other threads

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            app=self._app,
            system=self._system,
            functions=self._measures(),
            depths=self._depths.events.copy(),
            stuck=self._health.stuck(),
            loop_lag=self._watchdog.worst_lag(),
        )

    def _measures(self) -> Sequence[Measures] | None:
        """Each function's, taken on the workers' loop; None when it does not turn."""
        if self._loop is None:
            return None
        taken = asyncio.run_coroutine_threadsafe(self._take(), self._loop)
        try:
            return taken.result(_PATIENCE)
        except TimeoutError:
            taken.cancel()
            return None

    async def _metrics(self, request: Request) -> Answer:
        from dispatcher.telemetry.prometheus import render

        body, content_type = await asyncio.to_thread(lambda: render(self._snapshot(), request.accept))
        return Answer(200, body, content_type)

    async def _take(self) -> Sequence[Measures]:
        return [worker.measures() for worker in self._workers]

    async def _livez(self, request: Request) -> Answer:
        return _answer("livez", self._health.live(), request)

    async def _readyz(self, request: Request) -> Answer:
        return _answer("readyz", self._health.ready(), request)


def _pushing(url: str, snapshot: Callable[[], Snapshot]) -> AbstractAsyncContextManager[object]:
    try:
        from dispatcher.telemetry.otlp import Pushing
    except ImportError as error:
        raise ConfigurationError(f"otlp needs {error.name}: pip install 'dispatch-runtime[otlp]'") from error
    return Pushing(url, snapshot)


def _answer(name: str, verdict: Verdict, request: Request) -> Answer:
    """The status code for a program; the checks for a person, in the form that Kubernetes gives its own."""
    lines = [f"[{'+' if check.ok else '-'}]{check.name}: {check.text}" for check in verdict.checks]
    if "verbose" not in request.query:
        lines = [line for line in lines if line.startswith("[-]")]
    lines.append(f"{name} {'ok' if verdict.ok else 'failed'}")
    return Answer(200 if verdict.ok else 503, "".join(f"{line}\n" for line in lines).encode())
