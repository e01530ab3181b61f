"""How a call over a network fails, in the four kinds in which an event is settled."""

from __future__ import annotations

from bindings.failure import Failure, FailureKind

__all__ = ["CallFailed", "failed", "not_delivered", "refused_for_good", "too_large"]

_LONGEST_MESSAGE = 1_000


class CallFailed(Exception):
    """Raised when a call came to no answer.

    Attributes:
        failure: what that is for its events.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def not_delivered(error_type: str, message: str, *, retry_after: float | None = None) -> Failure:
    """The target did not take it: no attempt is used."""
    return _failure(FailureKind.NOT_DELIVERED, error_type, message, retry_after)


def failed(error_type: str, message: str, *, retry_after: float | None = None) -> Failure:
    """The function ran, or may have run, and did not succeed: one attempt."""
    return _failure(FailureKind.FUNCTION, error_type, message, retry_after)


def refused_for_good(error_type: str, message: str) -> Failure:
    """No further attempt could help."""
    return _failure(FailureKind.TERMINAL, error_type, message)


def too_large(message: str) -> Failure:
    """More than the target takes."""
    return _failure(FailureKind.OVERSIZE, "TooLarge", message)


def _failure(kind: FailureKind, error_type: str, message: str, retry_after: float | None = None) -> Failure:
    # Parts of it may be the target's words.
    line = "".join(each if each.isprintable() else " " for each in message[:_LONGEST_MESSAGE])
    return Failure(kind=kind, error_type=error_type, message=line, retry_after=retry_after)
