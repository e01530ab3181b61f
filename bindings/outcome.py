"""What a function may say of its events, beyond returning (done) and raising (failed).

DispatchSignal
├── RetryAfter        raised as ``raise Retry.after(30)``
├── Reject            straight to the dead letters
└── BatchFailures     these events of the batch failed, the others are done
EventFailed           stands for the failure of an event that was named without an exception
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bindings.event import Event

__all__ = ["BatchFailures", "DispatchSignal", "Emit", "EventFailed", "Reject", "RetryAfter"]


class DispatchSignal(Exception):
    """The parent of what a function raises to speak to the dispatcher."""


class RetryAfter(DispatchSignal):
    """Raised to ask for the next attempt after a time of the function's choosing.

    It is an attempt like any other: the budget of ``Retry(max_attempts=...)`` still ends it.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
            raise ValueError(f"Retry.after({seconds!r}): the wait is a number of seconds, 0 or more")
        super().__init__(reason or f"asked for another attempt in {seconds:g} s")
        self.seconds = float(seconds)


class Reject(DispatchSignal):
    """Raised to send the event to the dead letters now: no further attempt could help."""

    def __init__(self, reason: str = "rejected by the function") -> None:
        super().__init__(reason)
        self.reason = reason


class BatchFailures(DispatchSignal):
    """Raised by a batch function to name the events that failed; all others of the batch are done.

    Args:
        failures: from the failed event (the :class:`~bindings.event.Event`, or its index in the batch) to
            what went wrong: an exception, ``Reject`` and ``Retry.after`` included, or a text.

    Raises:
        TypeError: it is not such a mapping.
        ValueError: it is empty.
    """

    def __init__(self, failures: Mapping[Event[Any] | int, BaseException | str]) -> None:
        if not isinstance(failures, Mapping):
            raise TypeError(
                f"BatchFailures takes a mapping from event, or index, to error; not {type(failures).__name__}"
            )
        if not failures:
            raise ValueError("BatchFailures({}) names no event: return instead, when nothing failed")
        for event, error in failures.items():
            if not isinstance(error, BaseException | str):
                raise TypeError(f"BatchFailures({{{event!r}: {error!r}}}): the error is an exception or a text")
        super().__init__(f"{len(failures)} of the batch failed")
        self.failures = dict(failures)


class EventFailed(Exception):
    """Stands for the failure of an event that its function named with a text, or by its identifier alone."""


@dataclass(frozen=True, slots=True)
class Emit:
    """A result with a key or headers of its own, to be returned instead of the bare value.

    Args:
        value: what is produced: bytes, str, or anything that JSON can hold (models, dataclasses, ...);
            None is a tombstone.
        key: the event's key; None takes the key of the event that was handled (a batch has none).
        headers: pairs of name and bytes, added to the provenance headers.
    """

    value: Any
    key: bytes | str | None = None
    headers: Iterable[tuple[str, bytes]] = field(default=())
