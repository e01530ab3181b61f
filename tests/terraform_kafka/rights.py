"""Apps at work under rights of least privilege: many at a time, each with a mark of its own in all its names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bindings import Binding
from bindings.discovery import discover
from bindings.manifest import Manifest
from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.config import Settings
from dispatcher.control.entry import Entry
from dispatcher.control.following import Control
from dispatcher.control.log import ControlLog
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.deadletters import Clearing, Selection, Shelf
from dispatcher.errors import BrokerError, DispatchError
from dispatcher.monitoring.depths import Depths
from dispatcher.worker import Worker

__all__ = ["App", "Rule", "source"]

#: Principal, operation, resource_type, pattern, resource_name.
Rule = Mapping[str, str]

_SOURCE = """
from bindings import Context, Reject, Retry, on_stream

SEEN = []


def seen(name, event, context):
    SEEN.append((name, event["do"]))
    if event["do"] == "reject":
        raise Reject("on purpose")
    if event["do"] == "flaky" and name != "halting" and context.attempt == 1:
        raise ValueError("the first time")


@on_stream("orders-MARK", emits="checked-MARK", retry=Retry(max_attempts=2, initial=0.01))
async def check(event: dict, context: Context) -> dict:
    seen("check", event, context)
    return event


@on_stream("orders-MARK", order="none", retry=Retry(max_attempts=2, initial=0.2, jitter="none", topic_after=0.1))
async def loose(event: dict, context: Context) -> None:
    seen("loose", event, context)


@on_stream("orders-MARK", retry=Retry(max_attempts=1, then="pause"))
async def halting(event: dict, context: Context) -> None:
    seen("halting", event, context)
    if event["do"] == "halt":
        raise ValueError("on purpose")
"""
_EVENTS = (b'{"do": "good"}', b'{"do": "flaky"}', b'{"do": "reject"}')
_HALT = b'{"do": "halt"}'


def source(mark: str) -> str:
    """The app's code."""
    return _SOURCE.replace("MARK", mark)


class App:
    """One app: what it does shows in :meth:`goals`, each reached or not.

    Args:
        folder: for its code.
        mark: in the names of its streams.
        owner: a broker with all rights.
    """

    def __init__(self, folder: Path, mark: str, owner: Broker) -> None:
        self.mark, self.app, self._owner = mark, f"rights-{mark}", owner
        module = folder / f"app_{mark}.py"
        module.write_text(source(mark))
        self.bindings: list[Binding] = discover(str(module))
        self.manifest = Manifest.of(self.bindings, app=self.app)
        self._seen: list[tuple[str, str]] = self.bindings[0].function.__globals__["SEEN"]
        self._control = ControlLog(owner, self.app)
        self._workers: dict[str, Worker] = {}
        self._depths: dict[str, int | None] = {}
        self.reached: set[str] = set()

    def own(self, rules: Sequence[Rule], of: App) -> list[Rule]:
        """The same rules for this app as another has."""
        return [{**rule, "resource_name": rule["resource_name"].replace(of.mark, self.mark)} for rule in rules]

    async def make_topics(self, topics: Mapping[str, int], of: App) -> None:
        """The same topics as another app has."""
        for name, partitions in topics.items():
            config = {"cleanup.policy": "compact"} if name.startswith("_") else {}
            made = StreamInfo(name=name.replace(of.mark, self.mark), partitions=partitions, config=config)
            await self._owner.create_stream(made)

    async def work(self, broker: Broker, stop: asyncio.Event) -> None:
        """Run until told to stop, as the user whose broker it is; looks for what was reached meanwhile."""
        control = Control(broker, self.app, create=False)
        settings = Settings(commit_interval=0.05, drain=1.0, create_topics=False)
        for binding in self.bindings:
            self._workers[binding.name] = Worker(
                binding, broker, app=self.app, settings=settings, on_pause=partial(control.paused_itself, binding.name)
            )
        await self._send(*_EVENTS)
        async with control.following(list(self._workers.values())):
            tasks = [asyncio.create_task(each.run()) for each in self._workers.values()]
            try:
                await self._look(broker, stop)
            finally:
                for each in self._workers.values():
                    each.stop()
                await asyncio.gather(*tasks, return_exceptions=True)

    def goals(self) -> dict[str, Callable[[], Awaitable[bool]]]:
        """What a dispatcher does, by name."""
        dead = {name: f"orders-{self.mark}.{name}.dead" for name in ("check", "loose", "halting")}
        return {
            "result": lambda: self._holds(f"checked-{self.mark}", 2),
            "retried in place": lambda: self._saw("check", "flaky", 2),
            "retried by topic": lambda: self._saw("loose", "flaky", 2),
            **{f"dead letter of {name}": partial(self._holds, topic, 1) for name, topic in dead.items()},
            **{f"redriven to {name}": partial(self._redriven, name) for name in dead},
            **{f"depth of {name}": partial(self._counted, name) for name in dead},
            "paused by command": self._paused_by_command,
            "paused itself": self._paused_itself,
        }

    async def _look(self, broker: Broker, stop: asyncio.Event) -> None:
        depths = Depths(self.bindings, broker, app=self.app)
        redriven: set[str] = set()
        is_told = False
        goals = self.goals()
        while not stop.is_set() and self.reached < set(goals):
            for name, is_reached in goals.items():
                if name not in self.reached and await is_reached():
                    self.reached.add(name)
            for name in self._workers:
                if f"dead letter of {name}" in self.reached and name not in redriven:
                    redriven.add(name)
                    await self._redrive(name)
            if {"redriven to check", "redriven to halting"} <= self.reached and not is_told:
                is_told = True
                await self._control.write(Entry(function="check", action="pause", by="owner", at=1))
                await self._send(_HALT)
            await depths.look()
            self._depths = dict(depths.events)
            await asyncio.sleep(0.2)
        await stop.wait()

    async def _send(self, *values: bytes) -> None:
        producer = await self._owner.producer()
        for value in values:
            await producer.send(Outgoing(topic=f"orders-{self.mark}", value=value))
        await producer.close()

    async def _redrive(self, name: str) -> None:
        stream = f"orders-{self.mark}"
        shelf = Shelf(app=self.app, function=name, topics=(f"{stream}.{name}.dead",), streams=(stream,))
        survey = await shelf.survey(self._owner, Selection(), max_redrives=3)
        await Clearing(self._owner, shelf, Selection(), survey, send=True).run()

    async def _holds(self, topic: str, records: int) -> bool:
        id_ = TopicPartition(topic, 0)
        return (await self._owner.end_offsets([id_]))[id_] >= records

    async def _saw(self, function: str, what: str, times: int) -> bool:
        return self._seen.count((function, what)) >= times

    async def _redriven(self, function: str) -> bool:
        return self._seen.count((function, "reject")) >= 2

    async def _counted(self, function: str) -> bool:
        return self._depths.get(function) is not None

    async def _paused_by_command(self) -> bool:
        return self._workers["check"].statistics().state == "paused"

    async def _paused_itself(self) -> bool:
        try:
            await self._control.look()
        except (BrokerError, DispatchError):
            return False
        entry = self._control.trail.paused("halting")
        return entry is not None and entry.event is not None
