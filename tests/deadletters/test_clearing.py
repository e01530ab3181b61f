"""Clearing dead letters: at most once a letter, whoever else does, and whole."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.brokers.streams import every_partition
from dispatcher.core.delivery import Returned
from dispatcher.core.record import Outgoing, Record, TopicPartition
from dispatcher.deadletters import Clearing, Ledger, MapFull, Selection, Shelf, make_retry_topics
from dispatcher.filters import Filter
from dispatcher.reading import read_range
from dispatcher.worker.records import truncated

SHELF = Shelf(app="shop", function="handle", topics=("orders.handle.dead",), streams=("orders",))


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    """A log with a stream and the dead letters' topic."""
    async with EmbeddedBroker(tmp_path / "log.db", session_timeout=2.0) as opened:
        await opened.create_stream(StreamInfo(name="orders", partitions=4))
        await opened.create_stream(StreamInfo(name="orders.handle.dead", partitions=4))
        yield opened


def letter(number: int, *, partition: int = 0, function: str = "handle") -> Outgoing:
    """A dead letter of the event at that offset, as a worker writes it."""
    facts = {"stream": "orders", "partition": 0, "offset": number, "function": function, "reason": "rejected"}
    headers = tuple((f"dispatch-dead-{name}", str(fact).encode()) for name, fact in facts.items())
    value = json.dumps({"n": number}).encode()
    return Outgoing(topic="orders.handle.dead", partition=partition, value=value, key=b"k", headers=headers)


async def write(broker: EmbeddedBroker, records: Iterable[Outgoing]) -> None:
    """Send them, in order."""
    producer = await broker.producer()
    await asyncio.gather(*(producer.send(record) for record in records))
    await producer.close()


async def records(broker: EmbeddedBroker, stream: str) -> list[Record]:
    """All that a stream holds."""
    partitions = await every_partition(broker, [stream])
    ends = await broker.end_offsets(partitions)
    return [record for id_ in partitions async for record in read_range(broker, id_, 0, ends[id_])]


async def clearing(broker: EmbeddedBroker, selection: Selection | None = None, **options: Any) -> Clearing:
    """One that is ready to run."""
    selection = selection or Selection()
    survey = await SHELF.survey(broker, selection, max_redrives=3)
    await make_retry_topics(broker, SHELF, survey)
    return Clearing(broker, SHELF, selection, survey, send=True, **options)


async def test_two_redrives_at_a_time_send_each_letter_once(broker: EmbeddedBroker) -> None:
    """They share the partitions, and one that must give some up finishes what it had begun."""
    await write(broker, (letter(number, partition=number % 4) for number in range(2_000)))
    first, second = await clearing(broker, rate=1_500.0), await clearing(broker, rate=1_500.0)

    async def later() -> None:
        async with asyncio.timeout(20):
            while first.cleared < 200:
                await asyncio.sleep(0.01)
        await second.run()

    await asyncio.gather(first.run(), later())
    assert first.cleared + second.cleared == 2_000
    assert second.cleared > 0
    copies = Counter(record.value for record in await records(broker, "orders.handle.retry"))
    assert (len(copies), set(copies.values())) == (2_000, {1})


async def test_other_functions_letters_and_strangers_are_in_nobodys_way(broker: EmbeddedBroker) -> None:
    """In a topic that functions share, each redrive sends its own; the other's stay unresolved for it."""
    mixed = [letter(n, function="handle" if n % 2 else "other") for n in range(20)]
    stranger = Outgoing(topic="orders.handle.dead", partition=0, value=b"hello")
    await write(broker, [*mixed, stranger])
    run = await clearing(broker)
    await run.run()
    assert run.cleared == 10
    sent = [json.loads(record.value or b"")["n"] for record in await records(broker, "orders.handle.retry")]
    assert sent == list(range(1, 20, 2))
    other = Shelf(app="shop", function="other", topics=SHELF.topics)
    assert len([found async for found in other.letters(broker, Selection())]) == 10
    partition = TopicPartition("orders.handle.dead", 0)
    commit = (await broker.committed(SHELF.group, [partition]))[partition]
    assert commit is not None
    assert Ledger.load(commit, 0).position >= 19


async def test_what_could_not_be_remembered_is_not_sent(broker: EmbeddedBroker) -> None:
    """When the commit metadata is full, a redrive stops before it would send what it then forgot."""
    await write(broker, (letter(number) for number in range(2_000)))
    partition = TopicPartition("orders.handle.dead", 0)
    ledger, rng = Ledger(0), random.Random(3)
    while ledger.commit()[1]:
        full = ledger.copy()
        for _ in range(50):
            ledger.resolve(rng.randrange(5_000, 90_000))
    await broker.set_offsets(SHELF.group, {partition: full.commit()[0]})
    meant = rng.sample(range(1, 2_000), 700)
    run = await clearing(broker, Selection(where=Filter(f"value.n in {meant}")))
    with pytest.raises(MapFull, match="clear the oldest first"):
        await run.run()
    sent = {json.loads(record.value or b"")["n"] for record in await records(broker, "orders.handle.retry")}
    left = {found.letter.origin.offset async for found in SHELF.letters(broker, Selection())}
    assert left == set(range(2_000)) - sent
    assert len(sent) == run.cleared < 700


async def test_a_cut_letter_is_sent_whole_or_not_at_all(broker: EmbeddedBroker) -> None:
    """The value comes from the event's own stream; when it is gone from there, the letter stays."""
    whole = [Outgoing(topic="orders", partition=0, key=b"k", value=b"x" * 500, headers=(("a", b"1"),))]
    await write(broker, whole)
    cut, lost = (truncated(replace(letter(number), value=b"x" * 500), 50) for number in (0, 7))
    await write(broker, [cut, lost])
    run = await clearing(broker)
    await run.run()
    assert (run.cleared, len(run.refused)) == (1, 1)
    [copy] = await records(broker, "orders.handle.retry")
    assert (copy.value, dict(copy.headers)["a"]) == (b"x" * 500, b"1")
    [left] = [found async for found in SHELF.letters(broker, Selection())]
    assert (left.letter.origin.offset, list(run.refused)) == (7, [left.letter.place])


async def test_events_of_one_key_come_back_in_their_lane() -> None:
    """An ordered function runs its redriven events of a key one after another, each with its own origin."""
    from test_letter import Rec, _binding

    from dispatcher.core.offsets import OffsetMap
    from dispatcher.core.scheduler import Scheduler

    scheduler = Scheduler(_binding(), now=0.0)
    partition = TopicPartition("orders.handle.retry", 0)
    scheduler.assign(partition, 0, OffsetMap())
    origins = [Rec(offset=number, key=b"same") for number in (40, 41)]
    copies = [Rec("orders.handle.retry", 0, number, key=b"same") for number in range(2)]
    back = {copy.offset: Returned(origin=o, attempts=0, wait=0.0) for copy, o in zip(copies, origins, strict=True)}
    assert scheduler.admit(partition, copies, now=0.0, screen=lambda record: back[record.offset]) == []
    first = scheduler.take(0.0)
    assert first is not None
    assert (first.origin.offset, scheduler.take(0.0)) == (40, None)
    scheduler.done(first)
    second = scheduler.take(0.0)
    assert second is not None
    assert second.origin.offset == 41
