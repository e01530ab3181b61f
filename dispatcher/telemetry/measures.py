"""All that is known of one function at one moment, for metrics and probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from dispatcher.core.counters import Histogram
from dispatcher.telemetry.metrics import State, Statistics

__all__ = ["Measured", "Measures", "PartitionMeasures", "Vitals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionMeasures:
    """One partition that a worker holds. None is what could not be read, which is not 0.

    Attributes:
        stream, number: which.
        lag: offsets from the group's commit to the end of the log, as other tools count it.
        backlog: events that are not done: what is done beyond the commit is left out.
        lag_seconds: the age of the oldest event that is not done, fetched or not; 0 when there is none.
        map_use: the part of the commit metadata's limit that the last commit took, 0 to 1.
    """

    stream: str
    number: int
    lag: int | None
    backlog: int | None
    lag_seconds: float | None
    map_use: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """One function in one process.

    Attributes:
        statistics: the counts.
        durations: seconds of the invocations that have ended.
        batch_sizes: events of each; None for a function that takes one at a time.
        errors: invocations that failed, or of which events failed.
        timeouts: those of them that ended by a time-out.
        refused: invocations that the target did not take.
        reasons: why -> dead letters.
        commits: commits that the broker took.
        held_bytes: of the events in memory.
        oldest_age: seconds since the timestamp of the oldest event in memory; None when there is none.
        limit: invocations that may be in flight now; an adaptive limit moves.
        maximum: what it can rise to.
        paused: nothing starts.
        breaker: whether the target is left alone.
        rebalances: how often partitions were taken away.
        rebalance_seconds: from when they were taken until the next were there, in all; of one that lasts, so far.
        partitions: that are held.
    """

    statistics: Statistics
    durations: Histogram
    batch_sizes: Histogram | None
    errors: int
    timeouts: int
    refused: int
    reasons: Mapping[str, int]
    commits: int
    held_bytes: int
    oldest_age: float | None
    limit: int
    maximum: int
    paused: bool
    breaker: Literal["closed", "open", "probing"]
    rebalances: int
    rebalance_seconds: float
    partitions: Sequence[PartitionMeasures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What tells whether a function goes on.

    Attributes:
        state: of its worker.
        ended: invocations that have ended, in whatever way.
        in_flight: invocations that run.
        is_stalled: something could start, and does not.
        polled: when its worker last asked the broker for events, on the monotonic clock; None while it is in no group.
        timeout: seconds that an invocation may take.
        drain: seconds that a rebalance may wait for invocations.
    """

    state: State
    ended: int
    in_flight: int
    is_stalled: bool
    polled: float | None
    timeout: float
    drain: float


class Measured(Protocol):
    """A worker, as metrics and probes see it. To be asked on its event loop."""

    @property
    def name(self) -> str:
        """The function's name."""

    def measures(self) -> Measures:
        """All of it at this moment."""

    def vitals(self) -> Vitals:
        """Whether it goes on."""
