"""Clearing dead letters: sent back to their function, or dropped; each once, however often it is interrupted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from dispatcher.brokers.base import Broker, Producer
from dispatcher.core.record import Record, TopicPartition
from dispatcher.deadletters.ledger import Ledger
from dispatcher.deadletters.letter import Letter, redriven
from dispatcher.deadletters.selection import Selection
from dispatcher.deadletters.shelf import Shelf, Survey
from dispatcher.errors import (
    BrokerError,
    BrokerRefused,
    CommitRefused,
    CorruptRecords,
    DispatchError,
    OffsetOutOfRange,
    RecordTooLarge,
    StreamNotFound,
)
from dispatcher.reading import Reader

__all__ = ["Clearing", "MapFull"]

#: Letters that are sent between two commits: as many may be sent again after a kill -9.
WINDOW: Final = 100
# Seconds' worth of letters between two commits, when a rate is set.
_WINDOW_SECONDS: Final = 0.5
_HOPELESS = (RecordTooLarge, StreamNotFound, BrokerRefused)


class MapFull(DispatchError):
    """Raised when the commit metadata can't say of one more letter that it is resolved."""


class Clearing(Reader):
    """Sends the letters of a selection back to their function, or drops them.

    A member of the group ``<app>.<function>.redrive``, so that two at a time share the partitions. After each window of
    :data:`WINDOW` letters it commits which are resolved; whoever comes after goes on from there.

    Args:
        broker: connected.
        shelf: whose letters.
        selection: which of them.
        survey: of the same selection: its ends are where this one ends.
        send: send them back; False drops them.
        rate: letters a second at the most.
        limit: letters at the most.
        max_redrives: a letter that has been sent back so often is left alone; None for no limit.
        edit: makes of each letter what is sent in its place.

    Attributes:
        cleared: letters sent back or dropped.
        held: letters left alone, by why.
        refused: letters that the retry topic did not take, with why.
        places: of each partition, the half-open ranges of what was cleared.
    """

    def __init__(
        self,
        broker: Broker,
        shelf: Shelf,
        selection: Selection,
        survey: Survey,
        *,
        send: bool,
        rate: float | None = None,
        limit: int | None = None,
        max_redrives: int | None = 3,
        edit: Callable[[Letter], Letter] | None = None,
    ) -> None:
        super().__init__(broker, shelf.group, survey.starts, survey.ends)
        self._shelf = shelf
        self._selection = selection
        self._send = send
        self._rate = rate
        self._left = limit
        self._max_redrives = max_redrives
        self._edit = edit
        self._ledgers: dict[TopicPartition, Ledger] = {}
        self._seen: dict[TopicPartition, int] = {}
        self._producer: Producer | None = None
        self._window = asyncio.Lock()
        self._began = time.monotonic()
        self._started = 0
        self.cleared = 0
        self.held: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        self.places: defaultdict[TopicPartition, list[tuple[int, int]]] = defaultdict(list)

    async def run(self) -> None:
        """Clear what is meant, up to the survey's ends.

        Raises:
            MapFull: letters that are left alone are in the way of remembering more.
            BrokerError: the broker takes no more. What was sent is committed.
        """
        self._producer = await self._broker.producer() if self._send else None
        self._began = time.monotonic()
        try:
            async with self, aclosing(self.batches()) as batches:
                async for id_, records in batches:
                    await self._clear(id_, records)
                    if self._left == 0:
                        break
        finally:
            if self._producer is not None:
                await self._producer.close()

    async def begin(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Where the last one got to."""
        ledgers = await self._shelf.ledgers(self._broker, list(partitions))
        self._ledgers |= ledgers
        starts = {id_: ledger.position for id_, ledger in ledgers.items()}
        self._seen |= starts
        return starts

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Finish the window that is on its way, and let go."""
        async with self._window:
            await super().on_revoked(partitions)
            for id_ in partitions:
                self._ledgers.pop(id_, None)

    async def _clear(self, id_: TopicPartition, records: Sequence[Record]) -> None:
        ledger = self._ledgers.get(id_)
        if ledger is None:
            return  # it has gone to another member meanwhile
        size = WINDOW if self._rate is None else max(1, min(WINDOW, int(self._rate * _WINDOW_SECONDS)))
        window: list[Letter] = []
        for record in records:
            # What is between two records does not exist; what is no letter of this function is nobody's to resolve.
            ledger.resolve(self._seen[id_], record.offset)
            self._seen[id_] = record.offset + 1
            if ledger.is_resolved(record.offset):
                continue
            letter = self._shelf.read(record)
            if letter is None:
                ledger.resolve(record.offset)
            elif self._selection.matches(letter) and self._may_go(letter):
                window.append(letter)
                if self._left is not None:
                    self._left -= 1
            if len(window) >= size or (window and self._left == 0):
                await self._finish(id_, ledger, window)
                window = []
            if self._left == 0:
                return
        if window:
            await self._finish(id_, ledger, window)

    def _may_go(self, letter: Letter) -> bool:
        why = self._shelf.obstacle(letter, max_redrives=self._max_redrives) if self._send else None
        if why is not None:
            self.held[why] += 1
        return why is None

    async def _finish(self, id_: TopicPartition, ledger: Ledger, window: Sequence[Letter]) -> None:
        """Clear a window and commit it, even when this is cancelled in the midst of it."""
        if self._rate is not None:
            await asyncio.sleep(self._began + self._started / self._rate - time.monotonic())
        self._started += len(window)
        task = asyncio.create_task(self._clear_window(id_, ledger, window))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await task
            raise

    async def _clear_window(self, id_: TopicPartition, ledger: Ledger, window: Sequence[Letter]) -> None:
        async with self._window:
            if self._ledgers.get(id_) is not ledger or self.consumer is None:
                return
            tried = ledger.copy()
            for letter in window:
                tried.resolve(letter.offset)
            if not tried.commit()[1]:
                raise MapFull(
                    f"{id_.topic}/{id_.partition}: too many letters from @{ledger.position} on are left alone, so that"
                    f" the broker can't remember more that are not: clear the oldest first"
                )
            done, trouble = await self._send_all(window)
            for letter in done:
                ledger.resolve(letter.offset)
                _append(self.places[id_], letter.offset)
            if done:
                try:
                    await self.consumer.commit({id_: ledger.commit()[0]})
                except CommitRefused as error:
                    raise DispatchError(
                        f"{id_.topic}/{id_.partition} has gone to another redrive: {len(done)} letters from"
                        f" @{done[0].offset} on may be sent twice ({error})"
                    ) from error
                self.cleared += len(done)
            if trouble is not None:
                raise trouble

    async def _send_all(self, window: Sequence[Letter]) -> tuple[list[Letter], BrokerError | None]:
        """Those that the broker has, and what kept it from taking others."""
        if self._producer is None:
            return list(window), None
        now_ms = time.time_ns() // 1_000_000
        meant = window if self._edit is None else [self._edit(letter) for letter in window]
        whole = [letter for each in meant if (letter := await self._made_whole(each)) is not None]
        records = [redriven(letter, self._shelf.retry_topic(letter.origin.topic), now_ms) for letter in whole]
        done: list[Letter] = []
        trouble: BrokerError | None = None
        for letter, outcome in zip(whole, await self._producer.send_all(records), strict=True):
            if not isinstance(outcome, BrokerError):
                done.append(letter)
            elif isinstance(outcome, _HOPELESS):
                self.refused[letter.place] = str(outcome)
            else:
                trouble = trouble or outcome
        return done, trouble

    async def _made_whole(self, letter: Letter) -> Letter | None:
        """The letter with all of its value: one that was cut gets it from where the event was first; None if it can't."""
        if letter.cut is None:
            return letter
        source, reason = TopicPartition(letter.origin.topic, letter.origin.partition), "it is not there any more"
        try:
            for record in (await self._broker.read({source: letter.origin.offset})).get(source, ()):
                if record.offset == letter.origin.offset:
                    origin = letter.origin._replace(key=record.key, value=record.value, headers=tuple(record.headers))
                    return replace(letter, origin=origin, cut=None)
        except (OffsetOutOfRange, CorruptRecords, StreamNotFound) as error:
            reason = str(error)
        self.refused[letter.place] = f"its value was cut, and is not to be had from {letter.event}: {reason}"
        return None


def _append(ranges: list[tuple[int, int]], offset: int) -> None:
    if ranges and ranges[-1][1] == offset:
        ranges[-1] = (ranges[-1][0], offset + 1)
    else:
        ranges.append((offset, offset + 1))
