"""What a function's return value and exceptions mean. Pure functions, for the dispatcher and for tests."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from typing import Any

from bindings.calling import RecordLike, event_id
from bindings.errors import InvalidOutcome
from bindings.outcome import BatchFailures, Emit, EventFailed

__all__ = ["encode", "failures_of", "in_bytes", "key_and_headers", "named_failures", "results_of"]

_AWS_KEY = "batchItemFailures"


def named_failures(error: BatchFailures, argument: Sequence[Any]) -> dict[int, BaseException]:
    """Read the events that a raised :class:`~bindings.outcome.BatchFailures` names.

    Args:
        error: what the function raised.
        argument: the batch that it was handed, the same objects: events are found by identity.

    Returns:
        From the index in the batch to what went wrong. The events that are not in it are done.

    Raises:
        InvalidOutcome: an index or an event is not of this batch, so the whole batch has failed.
    """
    index_of = {id(item): index for index, item in enumerate(argument)}
    failures: dict[int, BaseException] = {}
    for key, reason in error.failures.items():
        index = key if isinstance(key, int) and not isinstance(key, bool) else index_of.get(id(key))
        if index is None or not 0 <= index < len(argument):
            raise InvalidOutcome(
                f"BatchFailures names {key!r}, which is not in the batch of {len(argument)}: its keys are the events"
                " that were handed over, or their indexes from 0"
            ) from error
        failures[index] = EventFailed(reason) if isinstance(reason, str) else reason
    return failures


def failures_of(returned: Any, records: Sequence[RecordLike]) -> dict[int, BaseException]:
    """Read the events that a returned ``{"batchItemFailures": [...]}`` names.

    The shape is AWS Lambda's partial batch response for Kafka: each item is
    ``{"itemIdentifier": {"partition": "<topic>-<partition>", "offset": 100}}``. An identifier may also be the
    text ``stream/partition/offset``, which is ``Event.id``. None and an empty list mean that all are done.

    Args:
        returned: what the function returned, of any shape; what has no ``batchItemFailures`` names nothing.
        records: the records of the invocation, in the order of the batch.

    Raises:
        InvalidOutcome: an identifier can't be read or is of no record here, so the whole batch has failed:
            AWS treats it so too.
    """
    if not isinstance(returned, Mapping) or _AWS_KEY not in returned:
        return {}
    items = returned[_AWS_KEY]
    if items is None:
        return {}
    if not isinstance(items, list | tuple):
        raise InvalidOutcome(f'{_AWS_KEY} is a list of {{"itemIdentifier": ...}}, not {items!r:.200}')
    index_of: dict[object, int] = {}
    for index, record in enumerate(records):
        index_of[f"{record.topic}-{record.partition}", record.offset] = index
        index_of[event_id(record)] = index
    failures: dict[int, BaseException] = {}
    for item in items:
        identifier = item.get("itemIdentifier") if isinstance(item, Mapping) else None
        failed = index_of.get(_coordinates(identifier))
        if failed is None:
            raise InvalidOutcome(
                f"{_AWS_KEY} names {item!r:.200}, which is no record of this batch: an item is"
                ' {"itemIdentifier": {"partition": "<stream>-<partition number>", "offset": <number>}}'
            )
        failures[failed] = EventFailed("named in batchItemFailures")
    return failures


def _coordinates(identifier: object) -> object:
    if isinstance(identifier, str):
        return identifier
    if isinstance(identifier, Mapping):
        partition, offset = identifier.get("partition"), identifier.get("offset")
        if isinstance(partition, str) and isinstance(offset, int) and not isinstance(offset, bool):
            return partition, offset
    return None


def results_of(returned: Any) -> list[Emit]:
    """Read what a function's return value asks to be emitted, in order.

    None and ``{"batchItemFailures": ...}`` emit nothing; a list or a tuple emits each of its items (those that
    are None are left out, a NamedTuple is one item); an :class:`~bindings.outcome.Emit` is taken as it is;
    anything else is one result.

    Raises:
        InvalidOutcome: it is a generator, another iterator or an awaitable: nothing has run it.
    """
    if returned is None or (isinstance(returned, Mapping) and _AWS_KEY in returned):
        return []
    if isinstance(returned, list | tuple) and not hasattr(returned, "_fields"):
        return [_result(item) for item in returned if item is not None]
    return [_result(returned)]


def _result(value: Any) -> Emit:
    if isinstance(value, Emit):
        return value
    if isinstance(value, Iterator | AsyncIterator | Awaitable):
        raise InvalidOutcome(
            f"the function returned a {type(value).__name__}, which nothing has run: return list(...) of it, or await it"
        )
    return Emit(value)


def encode(value: Any) -> bytes | None:
    """Make the bytes of an emitted value.

    Bytes stay as they are, text becomes UTF-8, all else JSON: pydantic models with their aliases, since
    those are the names that decoding takes; dataclasses, dicts, lists; msgspec structs. NaN becomes null,
    as in pydantic. None stays None, a tombstone.

    Raises:
        InvalidOutcome: the value can't be made JSON.
    """
    if value is None or isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        if hasattr(value, "model_dump_json"):
            return bytes(value.model_dump_json(by_alias=True), "utf-8")
        msgspec = sys.modules.get("msgspec")
        if msgspec is not None and isinstance(value, msgspec.Struct):
            return bytes(msgspec.json.encode(value))

        from pydantic_core import to_json

        return to_json(value, inf_nan_mode="null", fallback=_builtins)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOutcome(
            f"a result of type {type(value).__name__} can't be made JSON: {error};"
            " return a pydantic model, a dataclass, a dict, a list, str or bytes"
        ) from error


def in_bytes(emit: Emit) -> Emit:
    """A result as it travels: value and key are bytes, and the headers pairs of text and bytes.

    Raises:
        InvalidOutcome: it can't be made that.
    """
    key, headers = key_and_headers(emit)
    # A record's header without a value is not what Emit declares, and every broker takes it.
    return Emit(encode(emit.value), key, headers)  # type: ignore[arg-type]


def key_and_headers(emit: Emit) -> tuple[bytes | None, tuple[tuple[str, bytes | None], ...]]:
    """The key and the headers of a result as a record has them.

    Raises:
        InvalidOutcome: they are of a type that no record can have, or text that has no UTF-8.
    """
    try:
        key = emit.key.encode() if isinstance(emit.key, str) else emit.key
        headers = tuple((name, value) for name, value in emit.headers)
        for name, value in headers:
            name.encode()
            if not isinstance(value, bytes | None):
                raise TypeError(f"the header {name!r} is {type(value).__name__}")
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidOutcome(f"Emit(...): its headers are pairs of str and bytes, in UTF-8: {error}") from error
    if not isinstance(key, bytes | None):
        raise InvalidOutcome(f"Emit(key=...): bytes or str, not {type(key).__name__}")
    return key, headers


def _builtins(value: Any) -> Any:
    """For a struct inside something else."""
    msgspec = sys.modules.get("msgspec")
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    raise TypeError(f"{type(value).__name__} is not a JSON type")
