"""One member of the groups under test: what a process is in production."""

from __future__ import annotations

import random
from collections.abc import Sequence

from bindings import Binding
from dispatcher.clock import Clock
from dispatcher.config import Settings
from dispatcher.testing.log import Log
from dispatcher.testing.loop import VirtualLoop
from dispatcher.testing.memory import MemoryBroker
from dispatcher.testing.recording import Recorder
from dispatcher.testing.threads import Sleepers
from dispatcher.worker import Worker

__all__ = ["Member"]


class Member:
    """The workers of all functions, with a connection of their own.

    Attributes:
        number: 1 for the first.
        workers: one a function, by its name.
    """

    def __init__(
        self,
        number: int,
        bindings: Sequence[Binding],
        log: Log,
        recorder: Recorder,
        *,
        app: str,
        settings: Settings,
        clock: Clock,
        rng: random.Random,
        loop: VirtualLoop,
    ) -> None:
        self.number = number
        self._loop = loop
        self._broker = MemoryBroker(log, clock=clock)
        self._sleepers = Sleepers(loop)
        self.workers = {
            binding.name: Worker(
                recorder.recorded(binding, number, clock, self._sleepers),
                self._broker,
                app=app,
                settings=settings,
                clock=clock,
                rng=rng,
            )
            for binding in bindings
        }
        self._in_threads = [binding.name for binding in bindings if not binding.signature.is_async]
        self._tasks = {
            name: loop.create_task(worker.run(), name=f"member-{number}-{name}")
            for name, worker in self.workers.items()
        }

    def __repr__(self) -> str:
        return f"<Member {self.number} of {', '.join(self.workers)}>"

    @property
    def is_gone(self) -> bool:
        """Whether all its workers have ended."""
        return all(task.done() for task in self._tasks.values())

    def failure(self) -> BaseException | None:
        """What a worker could not go on for."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                return error
        return None

    def is_working(self) -> bool:
        """Whether a thread works: runs a function, and does not sleep on virtual time."""
        return sum(self.workers[name].statistics().in_flight for name in self._in_threads) > self._sleepers.count

    def stop(self) -> None:
        """Ask for the drain."""
        for worker in self.workers.values():
            worker.stop()

    async def kill(self) -> None:
        """End at once: nothing more of it reaches the broker, and its functions are cancelled where they wait."""
        self._broker.cut()
        # Once for the polling, once for the drain, and again for functions that catch it.
        while not self.is_gone:
            for task in self._tasks.values():
                task.cancel()
            await self._loop.idle()
        self._sleepers.end()
