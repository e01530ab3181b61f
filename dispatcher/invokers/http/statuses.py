"""What the status of a reply means for the events of its request. No I/O: the time is passed in."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from bindings.failure import Failure
from dispatcher.invokers.http.failures import failed, not_delivered, refused_for_good, too_large

__all__ = ["failure_of_status", "retry_after"]

#: Early Data, Too Many Requests, Service Unavailable: the target says that it has not begun.
_NOT_BEGUN = frozenset({425, 429, 503})
#: Not known whether it ran, or it ran into something that passes: Request Timeout, Conflict.
_MAY_PASS = frozenset({408, 409})
_SECONDS = re.compile(r"\d{1,9}(?:\.\d+)?")
_JSON = re.compile(r"application/(?:[\w.-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
#: Where frameworks put what a person is to read (RFC 9457 has ``detail`` and ``title``).
_SAID_IN = ("detail", "message", "errorMessage", "error", "title")
_LONGEST_SAYING = 200


def failure_of_status(status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> Failure:
    """The failure that a status other than 2xx is.

    ======================================  ===========================================================================
    425, 429, 503                           not delivered: no attempt; Retry-After is heeded
    3xx                                     not delivered: somebody has to mend the URL
    408, 409, 500, 502, 504, other 5xx      a failed attempt; Retry-After is heeded
    413                                     too large: split, and a dead letter when it is alone
    any other 4xx                           terminal
    ======================================  ===========================================================================

    Args:
        status: of the reply.
        headers: of the reply, found by their names in lower case.
        body: of the reply; a little of it is in the message, when it is text or has a field that is meant to be read.
        now: seconds since 1970-01-01 UTC.
    """
    name = f"HTTP {status}"
    message = " ".join(filter(None, (name, _phrase(status))))
    if said := _said(headers, body):
        message = f"{message}: {said}"
    if status == 413:
        return too_large(message)
    if status in _NOT_BEGUN or 300 <= status < 400:
        return not_delivered(name, message, retry_after=retry_after(headers, now))
    if status in _MAY_PASS or not 400 <= status < 500:
        return failed(name, message, retry_after=retry_after(headers, now))
    return refused_for_good(name, message)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that Retry-After asks for: a number, or a date (RFC 9110, 10.2.3). None for nothing that can be read."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _said(headers: Mapping[str, str], body: bytes) -> str:
    """One line of what the target says of it; never the whole, which may be anything."""
    content = headers.get("content-type", "")
    text: object = ""
    if content.startswith("text/plain"):
        text = body[: 4 * _LONGEST_SAYING].decode("utf-8", "replace").strip().partition("\n")[0]
    elif _JSON.fullmatch(content):
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return ""
        if isinstance(document, dict):
            text = next((document[key] for key in _SAID_IN if isinstance(document.get(key), str)), "")
    if not isinstance(text, str):
        return ""
    return "".join(each if each.isprintable() else " " for each in text[:_LONGEST_SAYING]).strip()
