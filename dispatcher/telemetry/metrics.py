"""One function at one moment, as numbers."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["State", "Statistics"]

State = Literal["joining", "running", "paused", "draining", "stopped"]


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
