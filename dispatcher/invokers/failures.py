"""From what a function raised to a failure that can be settled."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pydantic import ValidationError

from bindings import Reject, Retry, RetryAfter
from dispatcher.core.delivery import Failure, FailureKind
from dispatcher.invokers.base import Reply

__all__ = ["failure_of", "reply_to", "timed_out", "undecodable"]

# Dead letters carry it in a header, and logs on a line.
_LONGEST_MESSAGE = 1_000


def failure_of(error: BaseException, policy: Retry) -> Failure:
    """Classify what a function raised."""
    if isinstance(error, RetryAfter):
        return _failure(FailureKind.FUNCTION, error, retry_after=error.seconds)
    if isinstance(error, Reject):
        return _failure(FailureKind.TERMINAL, error)
    return _failure(
        FailureKind.FUNCTION, error, retryable=policy.worth_another(error) or not isinstance(error, Exception)
    )


def reply_to(error: BaseException, policy: Retry) -> Reply:
    """Settle an invocation that raised: all of its events failed, unless there is but one."""
    if isinstance(error, asyncio.CancelledError):
        # Nobody cancelled the invocation: the function let the cancellation of something else through.
        error = RuntimeError("the function let a cancellation through that was not its own")
    return Reply(rest=failure_of(error, policy))


def undecodable(error: BaseException, type_name: str) -> Failure:
    """The event is not what the function's annotation says: no attempt could change that."""
    failure = _failure(FailureKind.TERMINAL, error)
    return replace(failure, message=f"not {type_name}: {failure.message}", counts=False)


def timed_out(seconds: float) -> Failure:
    """The attempt took longer than the function's timeout."""
    return Failure(kind=FailureKind.FUNCTION, error_type="TimeoutError", message=f"took longer than {seconds:g} s")


def _failure(
    kind: FailureKind, error: BaseException, *, retry_after: float | None = None, retryable: bool = True
) -> Failure:
    cls = type(error)
    # As a person imports it: not the private module that a package keeps it in.
    module = cls.__module__.partition("._")[0]
    name = cls.__qualname__ if module in ("builtins", "bindings") else f"{module}.{cls.__qualname__}"
    return Failure(
        kind=kind,
        error_type=name,
        message=_message(error)[:_LONGEST_MESSAGE],
        retry_after=retry_after,
        retryable=retryable,
    )


def _message(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        # Its own text quotes the input, and payloads do not belong into logs.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, p['loc'])) or 'value'}: {p['msg']}" for p in problems[:10])
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - a user's __str__ may do anything
        return type(error).__name__
