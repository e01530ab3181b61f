"""Records, bindings and short ways that the tests of the core share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bindings.binding import Binding
from bindings.failure import Failure, FailureKind
from bindings.signature import Signature
from dispatcher.core.delivery import Delivery
from dispatcher.core.record import TopicPartition
from dispatcher.core.scheduler import Scheduler

P0, P1 = TopicPartition("s", 0), TopicPartition("s", 1)
WALL = 1_700_000_000_000


class Rec(NamedTuple):
    """A record with the names of the client library's."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


def rec(
    offset: int, key: bytes | None = None, *, value: bytes | None = b"v", partition: int = 0, timestamp: int = WALL
) -> Rec:
    """One record of the stream ``s``."""
    return Rec("s", partition, offset, timestamp, key, value)


def make_binding(*, batch_function: bool = False, **options: Any) -> Binding:
    """A binding of a function that nobody calls."""
    signature = Signature(
        parameter="event",
        batch=batch_function,
        wants_event=False,
        context=None,
        context_first=False,
        is_async=False,
        returns=False,
        decode=lambda raw: raw,
        decode_bytes=lambda raw: raw,
        type_name="bytes",
    )
    return Binding(function=print, name="f", streams=("s",), signature=signature, **options)


def make_scheduler(*, now: float = 100.0, batch_function: bool = False, **options: Any) -> Scheduler:
    """A scheduler that owns partition 0 from offset 0 on."""
    scheduler = Scheduler(make_binding(batch_function=batch_function, **options), now=now)
    scheduler.assign(P0, 0)
    return scheduler


def failure(kind: FailureKind = FailureKind.FUNCTION, **options: Any) -> Failure:
    """A failure of a kind."""
    return Failure(kind=kind, error_type="ValueError", message="no", **options)


def take_all(scheduler: Scheduler, now: float) -> list[Delivery]:
    """All that may start now, of a function that takes one event at a time."""
    taken = []
    while (delivery := scheduler.take(now)) is not None:
        taken.append(delivery)
    return taken


def take_batches(scheduler: Scheduler, now: float) -> list[list[Delivery]]:
    """All that may start now, of a function that takes lists."""
    taken = []
    while (batch := scheduler.take_batch(now)) is not None:
        taken.append(batch)
    return taken


def offsets(deliveries: Sequence[Delivery]) -> list[int]:
    """The offsets of deliveries, in their order."""
    return [delivery.record.offset for delivery in deliveries]
