"""What the tests of the targets share: events through a real worker, and what became of them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from process_functions import OUT, STREAM

from bindings import Binding
from bindings.decorator import bindings_of
from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.config import Settings
from dispatcher.core.record import Outgoing, Record
from dispatcher.invokers.base import Invoker
from dispatcher.invokers.process import ProcessInvoker, ProcessLimits
from dispatcher.telemetry.metrics import Statistics
from dispatcher.worker import Worker

PATIENCE = 40.0
_FACTS = ("reason", "error-type", "error-message", "attempts")


class Came(NamedTuple):
    """What came of some events.

    Attributes:
        statistics: of the worker, when it had ended.
        dead: by the event's value: reason, error type, message and attempts.
        places: by the event's value: where its error was.
        results: the output stream's records.
        pids: the processes that there were when the worker ended, or at any look before.
    """

    statistics: Statistics
    dead: dict[bytes | None, tuple[str, ...]]
    places: dict[bytes | None, str]
    results: list[Record]
    pids: set[int]

    @property
    def values(self) -> list[Any]:
        """The results as JSON."""
        return [json.loads(record.value or b"null") for record in self.results]


def order(id_: int, do: str = "") -> bytes:
    """The value of an event."""
    return json.dumps({"id": id_, "do": do}).encode()


def binding_of(function: Callable[..., Any], **changes: Any) -> Binding:
    """The binding of a decorated function, with other policies."""
    return replace(bindings_of(function)[0], **changes)


async def until(condition: Callable[[], object], what: str, *, patience: float = PATIENCE) -> None:
    """Poll until the condition holds; fail with what was waited for when it never does."""
    give_up = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < give_up, f"waited {patience:g} s in vain for {what}"
        await asyncio.sleep(0.005)


def is_running(pid: int) -> bool:
    """Whether there is such a process, other than one that has ended and is not waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self").exists()
    return state not in "ZX"


class Stage:
    """A broker and the streams of the test's functions."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    async def send(self, events: Iterable[bytes | Outgoing], *, partitions: int = 1) -> None:
        """Send events to the functions' stream, made when it is not there. Bare values get keys of their own."""
        await self.broker.create_stream(StreamInfo(name=STREAM, partitions=partitions))
        producer = await self.broker.producer()
        try:
            for number, event in enumerate(events):
                made = (
                    event
                    if isinstance(event, Outgoing)
                    else Outgoing(topic=STREAM, key=str(number).encode(), value=event)
                )
                await producer.send(made)
        finally:
            await producer.close()

    def worker(self, binding: Binding, invoker: Invoker | None, *, app: str = "app", ends: bool = True) -> Worker:
        """A worker, with the given target."""
        settings = Settings(commit_interval=0.05, drain=2.0)
        return Worker(binding, self.broker, app=app, settings=settings, until_caught_up=ends, invoker=invoker)

    async def run(
        self, function: Callable[..., Any], limits: ProcessLimits | None = None, *, app: str = "app", **changes: Any
    ) -> Came:
        """Run a function in processes over all events; afterwards no process of it is left."""
        binding = binding_of(function, **changes)
        invoker = ProcessInvoker(binding, limits=limits)
        return await self.through(binding, invoker, app=app)

    async def through(self, binding: Binding, invoker: Invoker | None, *, app: str = "app") -> Came:
        """Run a binding over all events."""
        worker = self.worker(binding, invoker, app=app)
        task = asyncio.create_task(worker.run())
        pids: set[int] = set()
        async with asyncio.timeout(PATIENCE):
            while not task.done():
                if isinstance(invoker, ProcessInvoker):
                    pids |= set(invoker.pids)
                await asyncio.wait([task], timeout=0.01)
        await task
        dead, places = await self._dead(binding)
        return Came(worker.statistics(), dead, places, await self.read(OUT), pids - {0})

    async def _dead(self, binding: Binding) -> tuple[dict[bytes | None, tuple[str, ...]], dict[bytes | None, str]]:
        facts, places = {}, {}
        for letter in await self.read(binding.dead_letter_topic(STREAM)):
            said = {name.removeprefix("dispatch-dead-"): (value or b"").decode() for name, value in letter.headers}
            facts[letter.value] = tuple(said[fact] for fact in _FACTS)
            places[letter.value] = said.get("place", "")
        return facts, places

    async def read(self, stream: str) -> Sequence[Record]:
        """All records of a stream, partition by partition."""
        info = await self.broker.describe(stream)
        if info is None:
            return []
        partitions = info.ids
        ends = await self.broker.end_offsets(partitions)
        records: list[Record] = []
        consumer = self.broker.consumer(f"reader-{time.monotonic_ns()}", [stream], _Listener())
        await consumer.start()
        try:
            async with asyncio.timeout(PATIENCE):
                while len(records) < sum(ends.values()):
                    for found in (await consumer.fetch(partitions, max_records=5_000, timeout=0.1)).values():
                        records += found
        finally:
            await consumer.close()
        return sorted(records, key=lambda record: (record.partition, record.offset))


class _Listener:
    async def on_assigned(self, partitions: Any) -> None:
        pass

    async def on_revoked(self, partitions: Any) -> None:
        pass
