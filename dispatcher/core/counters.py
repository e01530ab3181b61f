"""Counts of one function's deliveries: plain integers, so that an event costs an addition."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Counters", "Histogram"]

#: Seconds: the buckets that OpenTelemetry's conventions name for messaging and FaaS durations, and three more, since a
#: function may take a minute by default.
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0)
#: Events in a batch.
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)


class Histogram:
    """How often a value fell into which bucket.

    Attributes:
        bounds: the upper end of each bucket, which belongs to it, ascending.
        counts: of each bucket, and behind them of what is above the last one. Not cumulative.
        total: the sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value. The runner of short functions does it by hand for the first bucket."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        """As it is now."""
        copied = Histogram(self.bounds)
        copied.counts, copied.total = self.counts.copy(), self.total
        return copied


@dataclass(slots=True)
class Counters:
    """What has happened since the worker began. Each event ends in exactly one of ``done``, ``filtered``,
    ``dead_lettered``, ``dropped`` and ``retry_topic``; the rest count what happened on the way.

    An invocation that has ended was ``refused`` (its target did not take it), one of the ``errors`` (of the whole, or of some
    of its events), or went well; ``durations`` has counted it in any case.
    """

    consumed: int = 0
    invocations: int = 0
    done: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    retry_topic: int = 0
    retried: int = 0
    not_delivered: int = 0
    emitted: int = 0
    late: int = 0
    skipped: int = 0
    commits: int = 0
    errors: int = 0
    #: Those of the errors that were a time-out.
    timeouts: int = 0
    refused: int = 0
    #: Dead letters, by why they are.
    reasons: dict[str, int] = field(default_factory=dict)
    #: Seconds that an invocation took.
    durations: Histogram = field(default_factory=lambda: Histogram(_DURATIONS))
    #: Events in an invocation of a function that takes lists.
    batch_sizes: Histogram = field(default_factory=lambda: Histogram(_SIZES))
