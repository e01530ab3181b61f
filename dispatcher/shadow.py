"""A new version of a function run over history beside what the old one made of it: compared, and nothing touched.

Events are read with no consumer group. Nothing is committed, emitted or dead-lettered; what a function calls by itself it
calls.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from bindings import Binding
from bindings.calling import event_id
from bindings.errors import InvalidOutcome
from bindings.failure import Failure, failure_of, timed_out
from bindings.invocation import Reply
from dispatcher.brokers.base import Broker
from dispatcher.brokers.streams import every_partition
from dispatcher.clock import Clock
from dispatcher.core.delivery import Delivery
from dispatcher.core.partition import lone_delivery
from dispatcher.core.record import Outgoing, Record, TopicPartition
from dispatcher.core.retries import judge
from dispatcher.deadletters import Selection, Shelf
from dispatcher.errors import StreamNotFound
from dispatcher.invokers.local import LocalInvoker
from dispatcher.jsondiff import Change, changes
from dispatcher.reading import read_range
from dispatcher.replay import Plan
from dispatcher.worker.records import result
from dispatcher.worker.screening import make_screen

__all__ = ["Came", "Comparison", "Difference", "Emitted", "Running", "Shadow", "Side"]

Outcome = Literal["done", "filtered", "failed"]
#: ``changed``: both are done, with other results; ``broken``: only the new one fails; ``mended``: only the old one did;
#: ``other``: they fail differently, or filter differently.
Kind = Literal["changed", "broken", "mended", "other"]

# Invocations of a comparison that are in flight at a time, at the most.
_MOST_AT_A_TIME = 16
# Attempts of an event: a policy may allow 10,000, and here nothing changes between them.
_MOST_ATTEMPTS = 10
# Written by the dispatcher and by tracing: no part of what a function says.
_NOT_COMPARED = frozenset({"dispatch-function", "dispatch-event-id", "traceparent", "tracestate"})


@dataclass(frozen=True, slots=True)
class Came:
    """What came of some events.

    Attributes:
        outcomes: of each event, with the error's type of one that failed.
        results: what was or would be emitted, as JSON values.
        why: the last failure, for a person.
    """

    outcomes: tuple[tuple[Outcome, str], ...]
    results: tuple[Any, ...] = ()
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """In the form in which two are compared."""
        # A new version's own exceptions are of another module.
        said = [f"{outcome}: {error.rpartition('.')[2]}" if error else outcome for outcome, error in self.outcomes]
        return {"outcome": said[0] if len(said) == 1 else said, "results": list(self.results)}

    @property
    def failed(self) -> bool:
        """Whether any of them did."""
        return any(outcome == "failed" for outcome, _ in self.outcomes)


class Side(Protocol):
    """One of the two that are compared."""

    async def of(self, records: Sequence[Record]) -> Came:
        """What comes, or came, of these events."""


class Running:
    """A function that is run, in this process, with nothing done about what it says.

    Args:
        binding: whose function, filter, batches and time-out.
        emits: the stream that its results are said to be for, where it declares none itself; None reads no results.
    """

    def __init__(self, binding: Binding, *, emits: str | None = None) -> None:
        self._binding = replace(binding, emits=binding.emits or emits)
        # History is old: what is asked is what the function makes of it.
        self._policy = replace(binding.retry, jitter="none", max_age=None)
        self._screen = make_screen(replace(binding, retry=replace(binding.retry, max_age=None)), Clock())
        self._invoker = LocalInvoker(self._binding, abandoned=self._note_abandoned)
        self.abandoned = False

    async def of(self, records: Sequence[Record]) -> Came:
        """Invoke it with these, in batches or one by one, with all the attempts that its policy gives, and no waits."""
        size = self._binding.batch.max_events if self._binding.signature.batch else 1
        outcomes: dict[int, tuple[Outcome, str]] = {}
        wanted: list[int] = []
        why = ""
        for index, record in enumerate(records):
            verdict = True if self._screen is None else self._screen(record)
            if isinstance(verdict, Failure):
                outcomes[index], why = ("failed", verdict.error_type), verdict.message
            elif verdict:
                wanted.append(index)
            else:
                outcomes[index] = ("filtered", "")
        results: list[Any] = []
        for start in range(0, len(wanted), size):
            part = wanted[start : start + size]
            failures, made = await self._invoke([records[index] for index in part])
            results += made
            for index, failure in zip(part, failures, strict=True):
                outcomes[index] = ("done", "") if failure is None else ("failed", failure.error_type)
                why = why if failure is None else f"{failure.error_type}: {failure.message}"
        return Came(tuple(outcomes[index] for index in range(len(records))), tuple(results), why)

    async def close(self) -> None:
        """Let go of its threads."""
        await self._invoker.close()

    async def _invoke(self, records: Sequence[Record]) -> tuple[list[Failure | None], list[Any]]:
        batch = [lone_delivery(record) for record in records]
        failures, results = await self._attempt(batch)
        for index, delivery in enumerate(batch):
            tries = 1
            while (
                (failure := failures[index]) is not None
                and tries < _MOST_ATTEMPTS
                and self._is_tried_again(delivery, failure)
            ):
                # What failed in a batch is tried alone, as the dispatcher ends up doing.
                [failures[index]], more = await self._attempt([delivery])
                results += more
                tries += 1
        return failures, results

    def _is_tried_again(self, delivery: Delivery, failure: Failure) -> bool:
        verdict = judge(self._policy, delivery, failure, age=0.0, rng=random.Random(0))  # noqa: S311 - nothing is drawn
        return verdict.reason is None

    async def _attempt(self, batch: Sequence[Delivery]) -> tuple[list[Failure | None], list[Any]]:
        try:
            async with asyncio.timeout(self._binding.timeout):
                reply = await self._invoker.invoke(batch)
        except TimeoutError:
            reply = Reply(rest=timed_out(self._binding.timeout))
        try:
            made = [_result(result(self._binding, batch, *pair)) for pair in enumerate(reply.results)]
        except InvalidOutcome as error:
            reply, made = Reply(rest=failure_of(error, self._binding.retry)), []
        return [reply.failures.get(index, reply.rest) for index in range(len(batch))], made

    def _note_abandoned(self, _batch: Sequence[Any], _future: Any) -> None:
        self.abandoned = True


class Emitted:
    """What a function emitted when the events were live, by the coordinates in the results' headers; and its dead letters.

    Results that the output stream's retention has deleted count as none. An event failed while its dead letter is open: one
    that was sent back, and has no newer letter, was handled then.
    """

    def __init__(self, results: Mapping[str, Mapping[int, Any]], dead: Mapping[str, str]) -> None:
        self._results = results
        self._dead = dead
        self.found = sum(map(len, results.values()))

    @classmethod
    async def read(cls, broker: Broker, binding: Binding, plan: Plan, *, app: str) -> Emitted:
        """Read what there is of the events that a plan covers. The last result of an event counts.

        Raises:
            BrokerError: it can't be read.
        """
        results: dict[str, dict[int, Any]] = {}
        partitions = await every_partition(broker, [binding.emits] if binding.emits is not None else [])
        starts, ends = await broker.beginning_offsets(partitions), await broker.end_offsets(partitions)
        for id_ in partitions:
            async with aclosing(read_range(broker, id_, starts[id_], ends[id_])) as records:
                async for record in records:
                    headers = dict(record.headers)
                    event, _, index = (headers.get("dispatch-event-id") or b"").decode(errors="replace").rpartition("#")
                    if (
                        headers.get("dispatch-function") == binding.name.encode()
                        and index.isdecimal()
                        and _is_in(plan, event)
                    ):
                        results.setdefault(event, {})[int(index)] = _result(record)
        topics = tuple(dict.fromkeys(binding.dead_letter_topic(stream) for stream in binding.streams))
        shelf, dead = Shelf(app=app, function=binding.name, topics=topics, streams=binding.streams), {}
        with contextlib.suppress(StreamNotFound):
            async with aclosing(shelf.letters(broker, Selection())) as letters:
                async for letter, _ in letters:
                    origin = letter.origin
                    dead[event_id(origin)] = letter.error_type
        return cls(results, dead)

    async def of(self, records: Sequence[Record]) -> Came:
        """What was emitted for these."""
        outcomes: list[tuple[Outcome, str]] = []
        results: list[Any] = []
        for record in records:
            event = event_id(record)
            made = self._results.get(event, {})
            results += [made[index] for index in sorted(made)]
            outcomes.append(("failed", self._dead[event]) if event in self._dead else ("done", ""))
        return Came(tuple(outcomes), tuple(results))


@dataclass(frozen=True, slots=True)
class Difference:
    """Events of which the two sides make something else.

    Attributes:
        kind: in what way.
        records: the events: one, or those of a batch.
        changes: what differs, path by path.
        why: what went wrong, where one of them failed.
    """

    kind: Kind
    records: Sequence[Record]
    changes: Sequence[Change]
    why: str = ""

    @property
    def event(self) -> str:
        """The coordinates: ``stream/partition@offset``, with the last offset of a batch."""
        first, last = self.records[0], self.records[-1]
        upto = f"..{last.offset}" if last is not first else ""
        return f"{first.topic}/{first.partition}@{first.offset}{upto}"


@dataclass(slots=True)
class Comparison:
    """What a comparison has come to so far.

    Attributes:
        events: compared.
        same: of these, those of which both make the same.
        kinds: the others, by kind.
        differences: the first few of them.
        keep: how many of them are kept.
    """

    keep: int
    events: int = 0
    same: int = 0
    kinds: Counter[Kind] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def add(self, records: Sequence[Record], old: Came, new: Came, found: Sequence[Change]) -> None:
        """Count one more."""
        self.events += len(records)
        if not found:
            self.same += len(records)
            return
        kind: Kind = "changed"
        if old.failed is not new.failed:
            kind = "broken" if new.failed else "mended"
        elif old.outcomes != new.outcomes:
            kind = "other"
        self.kinds[kind] += len(records)
        if len(self.differences) < self.keep:
            self.differences.append(Difference(kind, records, found, new.why or old.why))


class Shadow:
    """Reads the events of a plan and compares what two sides make of them.

    As many invocations run at a time as the binding allows, never two of one key at once, unless it has no order.

    Args:
        broker: connected.
        plan: which events.
        binding: the new version's, for its order, batches and concurrency.
        old: what it is compared with; ``new`` the new version.
        size: events that are compared together: 1, or a batch.
        keep: differences that are kept whole.
        ignore: paths in results' values that don't count.
        rate: events a second at the most.
        filtered_is_done: an event that a filter leaves out is like one that was handled with no result.
    """

    def __init__(
        self,
        broker: Broker,
        plan: Plan,
        binding: Binding,
        *,
        old: Side,
        new: Side,
        size: int = 1,
        keep: int = 10,
        ignore: Collection[str] = (),
        rate: float | None = None,
        filtered_is_done: bool = False,
    ) -> None:
        self._broker = broker
        self._plan = plan
        self._old, self._new = old, new
        self._size = size
        self._order = binding.order
        self._most = 1 if binding.order == "partition" else min(binding.places, _MOST_AT_A_TIME)
        self._ignore = [f"results.value.{path}" for path in ignore]
        self._rate = rate
        self._filtered_is_done = filtered_is_done
        self.comparison = Comparison(keep)

    async def run(self) -> None:
        """Compare all; what was compared so far is in :attr:`comparison`, also when this is cancelled.

        Raises:
            BrokerError: the events can't be read.
        """
        began = time.monotonic()
        # What functions print is talk: a command's own output is data.
        with contextlib.redirect_stdout(sys.stderr):
            async with aclosing(self._rounds()) as rounds:
                async for units in rounds:
                    if self._rate is not None:
                        await asyncio.sleep(began + self.comparison.events / self._rate - time.monotonic())
                    for unit, old, new in await asyncio.gather(*map(self._both, units)):
                        self.comparison.add(unit, old, new, self._differ(old, new))

    async def _both(self, unit: Sequence[Record]) -> tuple[Sequence[Record], Came, Came]:
        return unit, await self._old.of(unit), await self._new.of(unit)

    def _differ(self, old: Came, new: Came) -> list[Change]:
        sides = [old.as_json(), new.as_json()]
        if self._filtered_is_done:
            for side in sides:
                said = side["outcome"]
                side["outcome"] = [_done(each) for each in said] if isinstance(said, list) else _done(said)
        return changes(*sides, ignore=self._ignore)

    async def _rounds(self) -> AsyncGenerator[list[list[Record]], None]:
        """Units that may run at the same time."""
        for id_, start in sorted(self._plan.starts.items()):
            units: list[list[Record]] = []
            keys: set[bytes | None] = set()
            unit: list[Record] = []
            async with aclosing(read_range(self._broker, id_, start, self._plan.ends[id_])) as records:
                async for record in records:
                    if self._order == "key" and not unit and record.key in keys and record.key is not None:
                        yield units
                        units, keys = [], set()
                    unit.append(record)
                    if len(unit) < self._size:
                        continue
                    units.append(unit)
                    keys.update(each.key for each in unit)
                    unit = []
                    # A batch may hold any key: two of them at a time could run one twice at once.
                    if len(units) >= (1 if self._size > 1 else self._most):
                        yield units
                        units, keys = [], set()
            if unit:
                units.append(unit)
            if units:
                yield units


def _done(outcome: str) -> str:
    return "done" if outcome == "filtered" else outcome


def _is_in(plan: Plan, event: str) -> bool:
    topic, _, rest = event.partition("/")
    partition, _, offset = rest.partition("/")
    if not (partition.isdecimal() and offset.isdecimal()):
        return False
    id_ = TopicPartition(topic, int(partition))
    return plan.starts.get(id_, 0) <= int(offset) < plan.ends.get(id_, 0)


def _result(record: Outgoing | Record) -> dict[str, Any]:
    """A result in the form in which two are compared."""
    made: dict[str, Any] = {"value": _value(record.value), "key": _text(record.key)}
    if headers := [[name, _text(value)] for name, value in record.headers if name not in _NOT_COMPARED]:
        made["headers"] = headers
    return made


def _value(data: bytes | None) -> Any:
    try:
        return json.loads(data or b"")
    except (ValueError, RecursionError):
        return _text(data)


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()
