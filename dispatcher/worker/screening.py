"""What is told of an event before it takes its place: too old, filtered out, or neither."""

from __future__ import annotations

from bindings import Binding
from dispatcher.clock import Clock
from dispatcher.core.delivery import Failure, FailureKind, Returned
from dispatcher.core.record import Record
from dispatcher.core.scheduler import Screen
from dispatcher.errors import FilterEvaluationError
from dispatcher.filters import Filter
from dispatcher.worker.records import read_retry_copy

__all__ = ["make_screen"]


def make_screen(binding: Binding, clock: Clock) -> Screen | None:
    """The binding's ``where=``, ``Retry(max_age=...)`` and retry topics in one; None when it has none of them.

    Raises:
        FilterError: ``where=`` does not compile.
    """
    max_age = binding.retry.max_age
    retry_topics = {binding.retry_topic(stream) for stream in binding.streams} if binding.order == "none" else set()
    matches = Filter(binding.where).matches if binding.where is not None else None
    if max_age is None and matches is None and not retry_topics:
        return None

    def screen(record: Record) -> bool | Failure | Returned:
        if record.topic in retry_topics:
            try:
                return read_retry_copy(record, clock.wall_ms())
            except ValueError as error:
                return Failure(
                    kind=FailureKind.TERMINAL, error_type="ForeignRecord", message=f"not a retry copy: {error}"
                )
        if matches is not None:
            try:
                if not matches(record):
                    return False
            except FilterEvaluationError as error:
                return Failure(kind=FailureKind.TERMINAL, error_type="FilterEvaluationError", message=str(error))
        if max_age is not None and (age := clock.wall() - record.timestamp / 1000) > max_age:
            return Failure(
                kind=FailureKind.TERMINAL,
                error_type="Expired",
                message=f"it is {age:.0f} s old, and Retry(max_age=...) is {max_age:g} s",
            )
        return True

    return screen
