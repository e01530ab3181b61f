"""What went wrong with an event, in the words in which it is settled: here, in another process, behind an endpoint."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import PurePath

from pydantic import ValidationError

from bindings.outcome import Reject, RetryAfter
from bindings.policies import Retry

__all__ = ["Failure", "FailureKind", "failure_of", "timed_out", "undecodable"]

# Dead letters carry it in a header, and logs on a line.
_LONGEST_MESSAGE = 1_000
_LONGEST_PLACE = 200
_OWN = frozenset({"bindings", "dispatcher", *sys.stdlib_module_names}) - {"__main__"}
_INSTALLED = frozenset({"site-packages", "dist-packages"})


class FailureKind(StrEnum):
    """Why an event was not handled; each kind is settled in its own way."""

    #: The target did not take it (429, 503, refused, throttled): no attempt is used.
    NOT_DELIVERED = "not_delivered"
    #: The function ran and failed: one attempt.
    FUNCTION = "function"
    #: No further attempt could help: straight to the dead letters.
    TERMINAL = "terminal"
    #: Larger than the target takes: split, and a dead letter when it is alone.
    OVERSIZE = "oversize"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong with an event, or with a whole batch.

    Attributes:
        kind: how it is settled.
        error_type: the exception's qualified name, or the target's word for it.
        message: what a person reads.
        retry_after: seconds that the function or target asked to be left alone; None leaves it to the policy.
        counts: it was an attempt. What could not even be decoded never met its function.
        retryable: False when ``give_up_on`` or ``retry_on`` say that another attempt is in vain.
        place: where it was raised, ``shop/orders.py:check``: the innermost frame of the user's own code; empty where none
            is known. A text, so that no traceback, with all that its frames hold, lives as long as the event waits.
    """

    kind: FailureKind
    error_type: str
    message: str
    retry_after: float | None = None
    retryable: bool = True
    counts: bool = True
    place: str = ""


def failure_of(error: BaseException, policy: Retry) -> Failure:
    """Classify what a function raised."""
    if isinstance(error, RetryAfter):
        return _failure(FailureKind.FUNCTION, error, retry_after=error.seconds)
    if isinstance(error, Reject):
        return _failure(FailureKind.TERMINAL, error)
    return _failure(
        FailureKind.FUNCTION, error, retryable=policy.worth_another(error) or not isinstance(error, Exception)
    )


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
        place=_raised_at(error),
    )


def _raised_at(error: BaseException) -> str:
    """The innermost frame that is neither the standard library's, nor an installed package's, nor ours."""
    trace, file, function = error.__traceback__, "", ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if known := _users_file(str(trace.tb_frame.f_globals.get("__name__", "")), code.co_filename):
            file, function = known, code.co_qualname
        trace = trace.tb_next
    return f"{file}:{function}"[:_LONGEST_PLACE] if file else ""


@lru_cache(1_024)
def _users_file(module: str, filename: str) -> str:
    """A file of the user's, as much of its path as its module's name has parts: the same on every machine. Else empty."""
    if not module or module.partition(".")[0] in _OWN:
        return ""
    path = PurePath(filename)
    if not _INSTALLED.isdisjoint(path.parts):
        return ""
    return "/".join(path.parts[-(module.count(".") + 1 + (path.stem == "__init__")) :])


def _message(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        # Its own text quotes the input, and payloads do not belong into logs.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, p['loc'])) or 'value'}: {p['msg']}" for p in problems[:10])
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - a user's __str__ may do anything
        return type(error).__name__
