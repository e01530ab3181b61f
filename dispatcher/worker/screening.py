"""What is told of an event before it takes its place: too old, filtered out, or neither."""

from __future__ import annotations

import time

from bindings import Binding
from dispatcher.core.delivery import Failure, FailureKind
from dispatcher.core.record import Record
from dispatcher.core.scheduler import Screen
from dispatcher.errors import FilterEvaluationError
from dispatcher.filters import Filter

__all__ = ["make_screen"]


def make_screen(binding: Binding) -> Screen | None:
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
                return Failure(kind=FailureKind.TERMINAL, error_type="FilterEvaluationError", message=str(error))
        if max_age is not None and (age := time.time() - record.timestamp / 1000) > max_age:
            return Failure(
                kind=FailureKind.TERMINAL,
                error_type="Expired",
                message=f"it is {age:.0f} s old, and Retry(max_age=...) is {max_age:g} s",
            )
        return True

    return screen
