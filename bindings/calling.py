"""From a decoded value and its record to the call of a function.

The bare value needs nothing of this: where :func:`is_direct` says so, a caller that counts nanoseconds
calls ``function(signature.decode(record.value))`` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bindings.event import Context, Event
from bindings.signature import Signature

__all__ = ["RecordLike", "caller_of", "event_id", "event_of", "is_direct", "item_of", "takes_values"]


class RecordLike(Protocol):
    """What is read of a record. The names are those of aiokafka's ``ConsumerRecord``."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def event_id(record: RecordLike) -> str:
    """``stream/partition/offset``: the same at each delivery, over every target; ``Event.id`` and ``Context.event_id`` show it."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def is_direct(signature: Signature) -> bool:
    """Whether the function takes the decoded value of one event as it is and nothing else."""
    return takes_values(signature) and not signature.batch


def takes_values(signature: Signature) -> bool:
    """Whether the function takes the decoded value as it is, or a list of them, and nothing else."""
    return not (signature.wants_event or signature.context)


def event_of(value: Any, record: RecordLike) -> Event[Any]:
    """Put a decoded value and its record together."""
    return Event(
        value,
        record.key,
        tuple(record.headers),
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.value,
    )


def item_of(signature: Signature, record: RecordLike) -> Any:
    """Make what the function takes of one record: the value, or the ``Event``; a batch is a list of them.

    Raises:
        ValueError: the bytes are not what the annotation says. Other errors come from the user's validators.
    """
    value = signature.decode(record.value)
    return event_of(value, record) if signature.wants_event else value


def caller_of(function: Callable[..., Any], signature: Signature) -> Callable[[Any, Context | None], Any]:
    """Make the call of ``function`` with an item, or a list of them, and the context that it may want.

    The result is what the function returns: a coroutine from an async one.
    """
    name = signature.context
    if name is None:
        return lambda argument, _context: function(argument)
    if signature.context_first:
        return lambda argument, context: function(context, argument)
    return lambda argument, context: function(argument, **{name: context})
