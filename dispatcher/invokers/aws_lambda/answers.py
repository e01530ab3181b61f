"""What Lambda's Invoke API answers, as what became of the events.

The errors are those of AWS's API reference for ``Invoke``. Whatever it answers but 200 and 202, the function did not run: a
throttle, a function that is being updated, a key or a network that is not there, a permission that is missing. So that is no
attempt, and nothing becomes a dead letter for it; the breaker opens, and the log says what to mend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bindings.binding import Binding
from bindings.envelopes import reply as replies
from bindings.envelopes.record import EnvelopeError
from bindings.errors import InvalidOutcome
from bindings.failure import Failure, failure_of
from bindings.invocation import Delivered, Reply
from bindings.results import failures_of, results_of
from dispatcher.invokers.http.failures import failed, not_delivered, refused_for_good, too_large
from dispatcher.invokers.http.statuses import retry_after

__all__ = ["failure_of_error", "reply_of"]

#: The request itself is at fault, so another one of these events would be too.
_FOR_GOOD = frozenset({"InvalidRequestContentException", "SerializationException", "UnsupportedMediaTypeException"})
#: What ``bindings.Reject`` becomes when a handler that is not ours lets it through.
_REJECTED = frozenset({"Reject", "bindings.Reject"})


def failure_of_error(status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> Failure:
    """What an error of the API means.

    Args:
        status: of the answer, neither 200 nor 202.
        headers: of the answer, found by any case.
        body: of the answer.
        now: seconds since 1970-01-01 UTC, for a Retry-After that is a date.
    """
    kind = headers.get("x-amzn-errortype", "").partition(":")[0] or f"HTTP {status}"
    message = f"{kind}: {_message(body)}"
    if status == 413 or kind == "RequestTooLargeException":
        return too_large(message)
    if kind in _FOR_GOOD:
        return refused_for_good(kind, message)
    return not_delivered(kind, message, retry_after=retry_after(headers, now))


def reply_of(binding: Binding, batch: Sequence[Delivered], function_error: str, payload: bytes) -> Reply:
    """What a synchronous invocation came to.

    Args:
        binding: whose ``emits`` and policy of retries are meant.
        batch: the events of the invocation.
        function_error: the header ``X-Amz-Function-Error``: ``Unhandled``, ``Handled``, or empty.
        payload: what the function returned, or its error.
    """
    try:
        document: Any = json.loads(payload) if payload.strip() else None
    except (ValueError, RecursionError):
        document = None
        if not function_error:
            return Reply(rest=failed("InvalidReply", "the function returned what is not JSON"))
    if function_error:
        return Reply(rest=_error_of(document))
    try:
        if isinstance(document, Mapping) and "dispatch" in document:
            reply = replies.decode(document["dispatch"], len(batch))
            return reply if binding.emits else Reply(reply.failures, reply.rest)
        named = failures_of(document, [delivery.origin for delivery in batch])
        failures = {index: failure_of(error, binding.retry) for index, error in named.items()}
        return Reply(failures, None, results_of(document) if binding.emits else ())
    except (EnvelopeError, InvalidOutcome) as error:
        return Reply(rest=failed("InvalidReply", str(error)))


def _error_of(document: Any) -> Failure:
    """The runtime writes ``{"errorType", "errorMessage", "stackTrace"}``; another one may write anything."""
    said = document if isinstance(document, Mapping) else {}
    kind, message = str(said.get("errorType") or "FunctionError")[:300], str(said.get("errorMessage") or "")
    if kind in _REJECTED:
        return refused_for_good(kind, message)
    return failed(kind, message or "the function failed, and said nothing of it")


def _message(body: bytes) -> str:
    try:
        document = json.loads(body)
        return str(document.get("message") or document.get("Message") or "")
    except (ValueError, AttributeError, RecursionError):
        return body[:200].decode("utf-8", "replace")
