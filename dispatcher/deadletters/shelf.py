"""Where the dead letters of a function rest, and looking at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from dispatcher.brokers.base import Broker
from dispatcher.brokers.streams import every_partition
from dispatcher.core.record import Record, TopicPartition
from dispatcher.deadletters.ledger import Ledger
from dispatcher.deadletters.letter import Letter, read_letter
from dispatcher.deadletters.selection import Selection
from dispatcher.errors import StreamNotFound
from dispatcher.reading import read_range

__all__ = ["Found", "Obstacle", "Shelf", "Survey"]

#: Why a letter is not sent back: redriven as often as allowed; or it came from no stream of the function, but from
#: somebody who wrote to its retry topic.
Obstacle = Literal["looping", "foreign"]

_SAMPLES = 5


class Found(NamedTuple):
    """A letter, and whether it was sent back or dropped already."""

    letter: Letter
    resolved: bool


@dataclass(slots=True)
class Survey:
    """What a selection holds, before anything is done to it.

    Attributes:
        starts, ends: where in each partition it was looked for; what comes later is not part of it.
        letters: how many are meant and are not resolved.
        by_reason: the same by (reason, error type).
        samples: the first few.
        held: of these, those that can't be sent back, by why; see :meth:`Shelf.obstacle`.
        sources: of those that can, the streams that they came from.
        resolved: meant, and sent back or dropped before.
        oldest: when the oldest letter in the log was written, resolved or not; None where there is none.
        remembered: whether the broker knows of anything that was resolved.
    """

    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    letters: int = 0
    by_reason: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: list[Letter] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    resolved: int = 0
    oldest: int | None = None
    remembered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """The dead letters of one function.

    Attributes:
        app, function: whose.
        topics: where they rest; a topic may hold those of other functions too.
        streams: what the function consumes; None when its code is not at hand.
        adopts: letters that other programs wrote are taken for this function's too.
    """

    app: str
    function: str
    topics: tuple[str, ...]
    streams: tuple[str, ...] | None = None
    adopts: bool = False

    @property
    def group(self) -> str:
        """The group whose commits say what is resolved."""
        return f"{self.app}.{self.function}.redrive"

    @property
    def live_group(self) -> str:
        """The group of the function itself."""
        return f"{self.app}.{self.function}"

    def retry_topic(self, stream: str) -> str:
        """Where an event goes to come back to the function alone; as :meth:`bindings.Binding.retry_topic` names it."""
        return f"{stream}.{self.function}.retry"

    def read(self, record: Record) -> Letter | None:
        """The record as a letter of this function; None for another function's, and for what is no dead letter."""
        try:
            letter = read_letter(record)
        except ValueError:
            return None
        if not letter.function and self.adopts:
            return replace(letter, function=self.function)
        return letter if letter.function == self.function else None

    def obstacle(self, letter: Letter, *, max_redrives: int | None) -> Obstacle | None:
        """Why a letter can't be sent back; None when it can."""
        source = letter.origin.topic
        if source.endswith(f".{self.function}.retry") or (self.streams is not None and source not in self.streams):
            return "foreign"
        if max_redrives is not None and letter.redrives >= max_redrives:
            return "looping"
        return None

    async def partitions(self, broker: Broker) -> list[TopicPartition]:
        """Where they rest.

        Raises:
            StreamNotFound: none of the topics is there.
        """
        found = await every_partition(broker, self.topics)
        if not found:
            raise StreamNotFound(
                f"{self.function} has no dead letters: there is no stream {' or '.join(self.topics)} on {broker.url}"
            )
        return found

    async def ledgers(self, broker: Broker, partitions: list[TopicPartition]) -> dict[TopicPartition, Ledger]:
        """What is resolved in each partition.

        Raises:
            InvalidOffsetMetadata: another program uses the group.
        """
        commits = await broker.committed(self.group, partitions)
        begins = await broker.beginning_offsets(partitions)
        return {id_: Ledger.load(commits.get(id_), begins[id_]) for id_ in partitions}

    async def letters(
        self,
        broker: Broker,
        selection: Selection,
        *,
        resolved: bool = False,
        ends: Mapping[TopicPartition, int] | None = None,
    ) -> AsyncGenerator[Found, None]:
        """The letters that are meant, partition by partition, in the order of the log.

        Args:
            broker: connected.
            selection: which.
            resolved: those that were sent back or dropped too.
            ends: where to end; where the log ends now, when left out.
        """
        partitions = await self.partitions(broker)
        ledgers = await self.ledgers(broker, partitions)
        starts = await broker.beginning_offsets(partitions)
        stops = await broker.end_offsets(partitions) if ends is None else ends
        if not resolved:
            starts = {id_: max(starts[id_], ledgers[id_].position) for id_ in partitions}
        if selection.since_ms is not None:
            later = await broker.offsets_for_time(partitions, selection.since_ms)
            # No record is that young: there is none to read.
            starts = {id_: max(starts[id_], stops[id_] if (at := later[id_]) is None else at) for id_ in partitions}
        for id_ in partitions:
            async with aclosing(read_range(broker, id_, starts[id_], stops[id_])) as records:
                async for record in records:
                    is_resolved = ledgers[id_].is_resolved(record.offset)
                    if is_resolved and not resolved:
                        continue
                    letter = self.read(record)
                    if letter is not None and selection.matches(letter):
                        yield Found(letter, is_resolved)

    async def at(self, broker: Broker, id_: TopicPartition, offset: int) -> Found | None:
        """The letter at one place; None when there is none of this function's."""
        if id_ not in await self.partitions(broker):
            return None
        ledger = (await self.ledgers(broker, [id_]))[id_]
        async with aclosing(read_range(broker, id_, offset, offset + 1)) as records:
            async for record in records:
                letter = self.read(record)
                return None if letter is None else Found(letter, ledger.is_resolved(offset))
        return None

    async def survey(
        self,
        broker: Broker,
        selection: Selection,
        *,
        max_redrives: int | None,
        ends: Mapping[TopicPartition, int] | None = None,
    ) -> Survey:
        """Count what a selection holds: up to ``ends``, or all that there is now."""
        partitions = await self.partitions(broker)
        commits = await broker.committed(self.group, partitions)
        stops = await broker.end_offsets(partitions)
        if ends is not None:
            # One that was added later is no part of it; one that was made anew may be shorter.
            stops = {id_: min(ends.get(id_, 0), stop) for id_, stop in stops.items()}
        survey = Survey(
            await broker.beginning_offsets(partitions),
            stops,
            remembered=any(commit is not None for commit in commits.values()),
        )
        async for letter, resolved in self.letters(broker, selection, resolved=True, ends=survey.ends):
            survey.oldest = letter.written if survey.oldest is None else min(survey.oldest, letter.written)
            if resolved:
                survey.resolved += 1
                continue
            survey.letters += 1
            survey.by_reason[letter.reason, letter.error_type] += 1
            if (why := self.obstacle(letter, max_redrives=max_redrives)) is not None:
                survey.held[why] += 1
            else:
                survey.sources[letter.origin.topic] += 1
            if len(survey.samples) < _SAMPLES:
                survey.samples.append(letter)
        return survey
