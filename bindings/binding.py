"""Binding: a function, the streams it consumes and the policies of its delivery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bindings.policies import Batch, DeadLetter, Limits, Ordering, Retry, StartAt, check_stream_name, parse_start
from bindings.signature import Signature

__all__ = ["Binding"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """What :func:`bindings.on_stream` declares. Frozen, and valid by construction.

    Attributes:
        function: the plain Python function.
        name: its name in the app; with the app's it makes the consumer group ``<app>.<name>``.
        streams: the topics it consumes, at least one.
        signature: how events are decoded for it and passed to it.
        order, batch, retry, dead_letter, limits: the policies.
        concurrency: invocations in flight in one process, 1 to 10,000.
        timeout: seconds an attempt may take.
        rate: invocations started a second at the most; None for no limit.
        where: a CEL expression over ``value``, ``key``, ``headers``, ``stream``; other events are skipped.
        emits: the stream to which its results are produced.
        start: where a consumer group without commits begins.
    """

    function: Callable[..., Any]
    name: str
    streams: tuple[str, ...]
    signature: Signature
    order: Ordering = "key"
    batch: Batch = field(default_factory=Batch)
    retry: Retry = field(default_factory=Retry)
    dead_letter: DeadLetter = field(default_factory=DeadLetter)
    limits: Limits = field(default_factory=Limits)
    concurrency: int = 16
    timeout: float = 60.0
    rate: float | None = None
    where: str | None = None
    emits: str | None = None
    start: StartAt = "earliest"

    def __post_init__(self) -> None:
        if not self.streams:
            msg = "a binding needs at least one stream: @on_stream('orders')"
            raise ValueError(msg)
        for stream in (*self.streams, *((self.emits,) if self.emits else ())):
            check_stream_name(stream)
        if len(set(self.streams)) != len(self.streams):
            msg = f"a stream is named twice: {', '.join(self.streams)}"
            raise ValueError(msg)
        if self.order not in ("key", "partition", "none"):
            msg = f'order={self.order!r}: it is "key", "partition" or "none"'
            raise ValueError(msg)
        if not 1 <= self.concurrency <= 10_000:
            msg = f"concurrency={self.concurrency}: it is 1 to 10,000 invocations"
            raise ValueError(msg)
        if not self.timeout > 0:
            msg = f"timeout={self.timeout}: it is more than 0 seconds"
            raise ValueError(msg)
        if self.rate is not None and not self.rate > 0:
            msg = f"rate={self.rate}: it is more than 0 invocations a second"
            raise ValueError(msg)
        for stream in self.streams:
            if stream == self.dead_letter.topic(stream, self.name):
                msg = f"the dead letters of {stream!r} would go to {stream!r} itself, and round for ever"
                raise ValueError(msg)
        parse_start(self.start)

    def dead_letter_topic(self, stream: str) -> str:
        """Where this function's dead letters from ``stream`` rest."""
        return self.dead_letter.topic(stream, self.name)

    def retry_topic(self, stream: str) -> str:
        """Where this function's events from ``stream`` wait, when they can't wait in place."""
        return f"{stream}.{self.name}.retry"
