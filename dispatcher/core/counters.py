"""Counts of one function's deliveries: plain integers, so that an event costs an addition."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


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
