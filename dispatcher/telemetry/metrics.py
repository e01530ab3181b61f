"""Counts of one function's deliveries: plain integers, so that an event costs an addition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Counters", "State", "Statistics"]

State = Literal["joining", "running", "paused", "draining", "stopped"]


@dataclass(slots=True)
class Counters:
    """What has happened since the worker began. Each event ends in exactly one of ``done``, ``filtered``,
    ``dead_lettered``, ``dropped`` and ``retry_topic``; the rest count what happened on the way."""

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


class Statistics(NamedTuple):
    """One function at one moment."""

    #: The function's name in its app.
    function: str
    #: Its consumer group.
    group: str
    state: State
    #: Partitions assigned to this worker.
    partitions: int
    #: Events fetched, each delivery of the broker's counted.
    consumed: int
    #: Calls of the function.
    invocations: int
    #: Events that their function handled.
    done: int
    #: Events that ``where=`` left out.
    filtered: int
    #: Events written to the dead-letter topic.
    dead_lettered: int
    #: Events dropped on purpose, by ``Retry(then="drop")``.
    dropped: int
    #: Events handed to the retry topic.
    retry_topic: int
    #: Failed attempts after which another one was planned.
    retried: int
    #: Deliveries that the target did not take; no attempt was used.
    not_delivered: int
    #: Results produced to the output stream.
    emitted: int
    #: Results that came after their partition had gone, and were ignored.
    late: int
    #: Offsets lost to retention or skipped as corrupt.
    skipped: int
    #: Invocations running now.
    in_flight: int
    #: Events in memory that have not started.
    waiting: int
    #: Events that wait for their next attempt.
    parked: int
    #: Events in the log that are not done; None when the broker has not said.
    backlog: int | None
