"""Binding: a function, the streams it consumes and the policies of its delivery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from bindings.policies import (
    Batch,
    DeadLetter,
    Limits,
    Ordering,
    Retry,
    StartAt,
    check_number,
    check_stream_name,
    parse_start,
)
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
        concurrency: invocations in flight in one process, 1 to 10,000; ``"auto"`` finds how many the target takes before
            it slows down, which suits targets behind a network.
        max_concurrency: the ceiling of ``"auto"``, 1 to 10,000.
        timeout: seconds an attempt may take, 86,400 at most.
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
    concurrency: int | Literal["auto"] = 16
    max_concurrency: int = 256
    timeout: float = 60.0
    rate: float | None = None
    where: str | None = None
    emits: str | None = None
    start: StartAt = "earliest"

    def __post_init__(self) -> None:
        if not self.streams:
            raise ValueError('a binding needs at least one stream: @on_stream("orders")')
        for stream in (*self.streams, *((self.emits,) if self.emits is not None else ())):
            check_stream_name(stream)
        if len(set(self.streams)) != len(self.streams):
            raise ValueError(f"a stream is named twice: {', '.join(self.streams)}")
        self._check_name()
        if self.order not in ("key", "partition", "none"):
            raise ValueError(f'order={self.order!r}: it is "key", "partition" or "none"')
        if isinstance(self.concurrency, str) and self.concurrency != "auto":
            raise ValueError(f'concurrency={self.concurrency!r}: it is a number of invocations, or "auto"')
        if self.concurrency != "auto":
            check_number("concurrency", self.concurrency, "invocations", 1, 10_000, whole=True)
        check_number("max_concurrency", self.max_concurrency, "invocations", 1, 10_000, whole=True)
        check_number("timeout", self.timeout, "seconds", 0, 86_400, above=True)
        if self.rate is not None:
            check_number("rate", self.rate, "invocations a second", 0, above=True)
        if not self.signature.batch and self.batch.max_events > 1:
            raise ValueError(
                f"Batch(max_events={self.batch.max_events}) hands over a list:"
                f" annotate {self.signature.parameter}: list[{self.signature.type_name}]"
            )
        if not self.signature.batch and self.batch.group_by:
            raise ValueError(
                f"Batch(group_by={self.batch.group_by!r}) needs a batch:"
                f" annotate {self.signature.parameter}: list[{self.signature.type_name}]"
            )
        if self.batch.group_by == "key" and self.order == "none":
            raise ValueError(
                'Batch(group_by="key") groups what order="key" keeps together, and with order="none" nothing is:'
                " leave out one of them"
            )
        for stream in self.streams:
            if (dead := self.dead_letter_topic(stream)) in self.streams:
                raise ValueError(
                    f"the dead letters of {stream!r} would go to {dead!r}, back into it, and round for ever"
                )
        parse_start(self.start)

    def _check_name(self) -> None:
        for stream in self.streams:
            for topic in (self.dead_letter_topic(stream), self.retry_topic(stream)):
                try:
                    check_stream_name(topic)
                except ValueError as error:
                    raise ValueError(
                        f'{error}; it is made of the function\'s name: give it another with name="..."'
                    ) from None

    @property
    def places(self) -> int:
        """Invocations that may be in flight in one process at the most."""
        return self.max_concurrency if self.concurrency == "auto" else self.concurrency

    def dead_letter_topic(self, stream: str) -> str:
        """Where this function's dead letters from ``stream`` rest."""
        return self.dead_letter.topic(stream, self.name)

    def retry_topic(self, stream: str) -> str:
        """Where this function's events from ``stream`` wait, when they can't wait in place."""
        return f"{stream}.{self.name}.retry"
