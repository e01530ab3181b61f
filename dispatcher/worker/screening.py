"""What is told of an event before it takes its place: too old, filtered out, or neither."""

from __future__ import annotations

from dataclasses import replace

from bindings import Binding
from bindings.failure import Failure, FailureKind
from dispatcher.clock import Clock
from dispatcher.core.delivery import Returned
from dispatcher.core.record import Record
from dispatcher.core.scheduler import Screen
from dispatcher.errors import FilterEvaluationError
from dispatcher.filters import Filter
from dispatcher.worker.records import read_retry_copy

__all__ = ["make_retry_screen", "make_screen"]


def make_screen(binding: Binding, clock: Clock) -> Screen | None:
    """The binding's ``where=`` and ``Retry(max_age=...)`` in one; None when it has neither.

    Raises:
        FilterError: ``where=`` does not compile.
    """
    max_age = binding.retry.max_age
    matches = Filter(binding.where).matches if binding.where is not None else None
    if max_age is None and matches is None:
        return None

    def screen(record: Record) -> bool | Failure:
        if matches is not None:
            try:
                if not matches(record):
                    return False
            except FilterEvaluationError as error:
                return _no_answer(error)
        if max_age is not None and (age := clock.wall() - record.timestamp / 1000) > max_age:
            return Failure(
                kind=FailureKind.TERMINAL,
                error_type="Expired",
                message=f"it is {age:.0f} s old, and Retry(max_age=...) is {max_age:g} s",
            )
        return True

    return screen


def make_retry_screen(binding: Binding, clock: Clock) -> Screen:
    """What recognises the events that come back by a retry topic: to wait there, or redriven from the dead letters.

    A redriven event may be one that ``where=`` had no answer for, and is asked again. Its age is not: whoever
    redrives an event that has expired wants it delivered.

    Raises:
        FilterError: ``where=`` does not compile.
    """
    matches = Filter(binding.where).matches if binding.where is not None else None

    def screen(record: Record) -> bool | Failure | Returned:
        try:
            back = read_retry_copy(record, clock.wall_ms())
        except ValueError as error:
            return Failure(kind=FailureKind.TERMINAL, error_type="ForeignRecord", message=f"not a retry copy: {error}")
        if matches is not None:
            try:
                if not matches(back.origin):
                    return False
            except FilterEvaluationError as error:
                return replace(back, failure=_no_answer(error))
        return back

    return screen


def _no_answer(error: FilterEvaluationError) -> Failure:
    return Failure(kind=FailureKind.TERMINAL, error_type="FilterEvaluationError", message=str(error))
