"""Replay: history delivered again, in a group of its own, from a fixed place to a fixed place."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bindings import Binding
from dispatcher.brokers.base import Broker
from dispatcher.brokers.streams import every_partition
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.errors import ConfigurationError, DispatchError
from dispatcher.times import Position, offsets_at
from dispatcher.worker.span import Span

__all__ = [
    "Move",
    "Plan",
    "make_plan",
    "new_id",
    "plan_reset",
    "replayed",
    "require_idle",
    "reset",
    "resume_plan",
    "save",
]

#: Where a replay has been saved beside its own group's commits: its ends, as the commits of this one.
_ENDS = ".to"
# The most that a policy takes: a replay's retries wait in place.
_PARK_LIMIT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One replay.

    Attributes:
        id: its name, unique for the function.
        group: ``<app>.<function>.replay-<id>``.
        starts: where each partition begins, or, of one that goes on, what is to be delivered next.
        ends: the offset after the last one.
        resumed: whether it goes on where it was left.
    """

    id: str
    group: str
    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    resumed: bool = False

    @property
    def events(self) -> int:
        """Offsets that it covers: events, and what compaction or transactions left no event at."""
        return sum(max(0, self.ends[id_] - start) for id_, start in self.starts.items())

    def span(self, *, emit: bool = True) -> Span:
        """The same for a worker."""
        return Span(group=self.group, starts=self.starts, ends=self.ends, emit=emit)


def new_id(now: datetime | None = None) -> str:
    """A name for a replay that has none: the time, in UTC."""
    return f"{(now or datetime.now(UTC)).astimezone(UTC):%Y%m%d-%H%M%S}"


def _group(app: str, binding: Binding, name: str) -> str:
    return f"{app}.{binding.name}.replay-{name}"


async def make_plan(
    broker: Broker,
    binding: Binding,
    *,
    app: str,
    name: str,
    start: Position,
    stop: Position,
    streams: Sequence[str] = (),
    only: Collection[int] = (),
) -> Plan:
    """Find what a replay covers: both places are looked up once, so that it ends however much is still coming in.

    Args:
        broker: connected.
        binding: the function.
        app: a part of the group's name.
        name: the replay's.
        start: from where.
        stop: to where.
        streams: of the function's streams, these alone; all by default.
        only: of their partitions, these alone; all by default.

    Raises:
        ConfigurationError: a stream or partition is not there.
    """
    partitions = await every_partition(broker, streams or binding.streams)
    if absent := {*(streams or binding.streams)} - {id_.topic for id_ in partitions}:
        raise ConfigurationError(f"there is no stream {', '.join(sorted(absent))} on {broker.url}")
    if absent_numbers := set(only) - {id_.partition for id_ in partitions}:
        raise ConfigurationError(f"there is no partition {min(absent_numbers)}")
    chosen = [id_ for id_ in partitions if not only or id_.partition in only]
    starts, ends = await offsets_at(broker, chosen, start), await offsets_at(broker, chosen, stop)
    # The rest of the streams comes with the membership, and has nothing in it.
    begins = await broker.beginning_offsets(partitions)
    starts = {id_: starts.get(id_, begins[id_]) for id_ in partitions}
    ends = {id_: max(ends.get(id_, 0), starts[id_]) for id_ in partitions}
    return Plan(id=name, group=_group(app, binding, name), starts=starts, ends=ends)


async def resume_plan(broker: Broker, binding: Binding, *, app: str, name: str) -> Plan | None:
    """What is left of the replay of that name; None when there was none, or it is forgotten."""
    group = _group(app, binding, name)
    partitions = await every_partition(broker, binding.streams)
    ends = await broker.committed(group + _ENDS, partitions)
    starts = await broker.committed(group, partitions)
    known = [id_ for id_ in partitions if ends.get(id_) is not None and starts.get(id_) is not None]
    if not known:
        return None
    return Plan(
        id=name,
        group=group,
        starts={id_: commit.offset for id_ in known if (commit := starts[id_]) is not None},
        ends={id_: commit.offset for id_ in known if (commit := ends[id_]) is not None},
        resumed=True,
    )


async def save(broker: Broker, plan: Plan) -> None:
    """Write down where it begins and ends, so that it can go on from any machine after its process has died.

    Raises:
        BrokerError: it could not be written.
    """
    await broker.set_offsets(plan.group + _ENDS, {id_: Committed(end) for id_, end in plan.ends.items()})
    await broker.set_offsets(plan.group, {id_: Committed(start) for id_, start in plan.starts.items()})


def replayed(binding: Binding, *, rate: float | None = None) -> Binding:
    """The binding as a replay runs it: at that rate at the most, and with its retries in place.

    What an unordered function sent to its retry topic would come back to the live function instead.
    """
    retry = replace(binding.retry, topic_after=None, park_limit=_PARK_LIMIT)
    rates = [each for each in (rate, binding.rate) if each is not None]
    return replace(binding, retry=retry, rate=min(rates, default=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Where the live group stands in one partition, and where it would.

    Attributes:
        before: its committed offset; None when there is none.
        after: the offset that it would be set to.
    """

    before: Committed | None
    after: int


async def plan_reset(
    broker: Broker,
    binding: Binding,
    *,
    app: str,
    start: Position,
    streams: Sequence[str] = (),
    only: Collection[int] = (),
) -> dict[TopicPartition, Move]:
    """Where a reset would move the live group; takes what :func:`make_plan` takes."""
    plan = await make_plan(
        broker, binding, app=app, name="reset", start=start, stop="latest", streams=streams, only=only
    )
    chosen = [id_ for id_ in plan.starts if not only or id_.partition in only]
    before = await broker.committed(f"{app}.{binding.name}", chosen)
    return {id_: Move(before=before.get(id_), after=plan.starts[id_]) for id_ in chosen}


async def require_idle(broker: Broker, binding: Binding, *, app: str) -> None:
    """See to it that the function runs nowhere.

    Raises:
        DispatchError: it does, and would overwrite what is set beside it, or never look at it.
    """
    group = f"{app}.{binding.name}"
    if members := await broker.group_members(group):
        raise DispatchError(
            f"{binding.name} runs: the group {group} has {members} member{'s' * (members != 1)}. Stop it first, or"
            " replay without --reset, which leaves it alone"
        )


async def reset(broker: Broker, binding: Binding, moves: Mapping[TopicPartition, Move], *, app: str) -> None:
    """Set the live group's offsets; what was done beyond them is forgotten, and delivered again.

    Raises:
        DispatchError: the function runs.
        BrokerError: they could not be set.
    """
    await require_idle(broker, binding, app=app)
    await broker.set_offsets(f"{app}.{binding.name}", {id_: Committed(move.after) for id_, move in moves.items()})
