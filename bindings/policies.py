"""Policies: frozen, keyword-only value objects that say how a function's events are delivered.

They are validated when they are made, so that a wrong number is an error at import, not at three in the
morning. All times are seconds, all sizes bytes.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from bindings.outcome import RetryAfter

__all__ = [
    "Batch",
    "DeadLetter",
    "Limits",
    "Ordering",
    "Retry",
    "StartAt",
    "check_number",
    "check_stream_name",
    "parse_start",
]

Ordering = Literal["key", "partition", "none"]
StartAt = str | datetime | timedelta
Jitter = Literal["full", "none"]
Exhausted = Literal["dead_letter", "pause", "drop"]
LetterFormat = Literal["dispatch", "spring"]

_STREAM_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def check_stream_name(name: object) -> str:
    """Return ``name`` when it can be a Kafka topic, else raise ``ValueError`` with the rule it breaks."""
    if not isinstance(name, str) or not _STREAM_NAME.fullmatch(name) or name in {".", ".."}:
        raise ValueError(f"{name!r} is not a stream name: 1 to 249 letters, digits, dots, underscores and dashes")
    return name


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def check_number(
    name: str, value: object, unit: str, low: float, high: float = math.inf, *, above: bool = False, whole: bool = False
) -> None:
    """Refuse what is not a finite number from ``low`` (beyond it, with ``above``) to ``high``."""
    kinds = int if whole else int | float
    if (
        not isinstance(value, kinds)
        or isinstance(value, bool)
        or not (low < value if above else low <= value)
        or not value <= high
        or value == math.inf
    ):
        least = f"more than {low:,}" if above else f"{low:,}"
        if high < math.inf:
            span = f"{least}, {high:,} at most," if above else f"{least} to {high:,}"
        else:
            span = least if above else f"{least} or more"
        raise ValueError(f"{name}={value!r}: it is {'a whole number, ' if whole else ''}{span} {unit}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """How many events a function is handed at once.

    A batch closes at the first of three: ``max_events`` events, ``max_bytes`` of keys, values and
    headers, or ``max_wait`` seconds after its first event was there.

    Args:
        max_events: events in a batch, 1 to 10,000.
        max_bytes: bytes in a batch; one event that is larger still goes alone. 6,000,000 is what AWS
            Lambda takes in one synchronous request.
        max_wait: seconds that a batch that is not full waits for more (its *linger*), 0 to 300.
        group_by: ``"key"`` makes each batch hold the events of one key alone.
    """

    max_events: int = 1
    max_bytes: int = 6_000_000
    max_wait: float = 0.0
    group_by: Literal["key"] | None = None

    def __post_init__(self) -> None:
        check_number("Batch(max_events)", self.max_events, "events", 1, 10_000, whole=True)
        check_number("Batch(max_bytes)", self.max_bytes, "bytes", 1, whole=True)
        check_number("Batch(max_wait)", self.max_wait, "seconds", 0, 300)
        _check(self.group_by in (None, "key"), 'Batch(group_by=...) is "key" or None')


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How often and when a failed event is delivered again, and what happens when that is used up.

    The wait before attempt *n* + 1 is a random part ("full jitter") of
    ``min(max_delay, initial * multiplier ** (n - 1))``; with ``jitter="none"`` it is all of it.
    The formula is that of "Exponential Backoff And Jitter" in the AWS Architecture Blog.

    Args:
        max_attempts: deliveries in all that an event gets, the first one included, 1 to 10,000.
        initial: seconds, the longest wait before the second attempt.
        multiplier: by how much each wait may be longer than the one before, 1 to 100.
        max_delay: seconds, no wait is longer.
        jitter: ``"full"`` or ``"none"``.
        max_age: seconds since the event's timestamp after which it is not tried again; None for no limit.
        retry_on: exceptions that are worth another attempt.
        give_up_on: exceptions that are not, even where ``retry_on`` has a parent of theirs.
        then: what happens when attempts or age are used up: ``"dead_letter"``, ``"pause"`` (the function
            stops until an operator resumes it) or ``"drop"`` (counted and logged). Rejected events, which no
            attempt could mend, are dead letters under ``"pause"`` too, and dropped under ``"drop"``.
        park_limit: events of one partition that may wait in place for a later attempt.
        topic_after: seconds; an *unordered* function's waits of this length or more go to its retry topic
            at once; None keeps them in place until ``park_limit`` is reached.
    """

    max_attempts: int = 5
    initial: float = 1.0
    multiplier: float = 2.0
    max_delay: float = 60.0
    jitter: Jitter = "full"
    max_age: float | None = None
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()
    then: Exhausted = "dead_letter"
    park_limit: int = 1_000
    topic_after: float | None = None

    def __post_init__(self) -> None:
        check_number("Retry(max_attempts)", self.max_attempts, "attempts", 1, 10_000, whole=True)
        check_number("Retry(initial)", self.initial, "seconds", 0)
        # 100 ** 64 is still a float; a multiplier without a limit raises OverflowError in delay().
        check_number("Retry(multiplier)", self.multiplier, "times", 1, 100)
        check_number("Retry(max_delay)", self.max_delay, "seconds", 0)
        _check(self.jitter in get_args(Jitter), 'Retry(jitter=...) is "full" or "none"')
        if self.max_age is not None:
            check_number("Retry(max_age)", self.max_age, "seconds", 0, above=True)
        _check(self.then in get_args(Exhausted), 'Retry(then=...) is "dead_letter", "pause" or "drop"')
        check_number("Retry(park_limit)", self.park_limit, "events", 1, 100_000, whole=True)
        if self.topic_after is not None:
            check_number("Retry(topic_after)", self.topic_after, "seconds", 0)
        for name in ("retry_on", "give_up_on"):
            kinds = getattr(self, name)
            if isinstance(kinds, type) and issubclass(kinds, BaseException):
                kinds = (kinds,)
                object.__setattr__(self, name, kinds)
            _check(
                isinstance(kinds, tuple)
                and all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds),
                f"Retry({name}=...) is a tuple of exception classes",
            )

    def delay(self, attempts: int, *, rng: random.Random | None = None) -> float:
        """Seconds to wait after ``attempts`` attempts have failed."""
        # The exponent is bounded: 2.0 ** 1024 raises OverflowError, and no delay is that long.
        longest = min(self.max_delay, self.initial * self.multiplier ** min(attempts - 1, 64))
        if self.jitter == "none":
            return longest
        return (rng or random).uniform(0.0, longest)

    def worth_another(self, error: BaseException) -> bool:
        """Whether the policy lets ``error`` be tried again."""
        return isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)

    @staticmethod
    def after(seconds: float, reason: str = "") -> RetryAfter:
        """Make the exception that asks for the next attempt in ``seconds``: ``raise Retry.after(30)``."""
        return RetryAfter(seconds, reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """Where an event rests when its attempts are used up.

    Args:
        stream: the topic; None for ``<stream>.<function>.dead``.
        format: ``"spring"`` writes the headers of Spring Kafka's ``DeadLetterPublishingRecoverer`` beside our own, so that
            other consoles understand it too.
    """

    stream: str | None = None
    format: LetterFormat = "dispatch"

    def __post_init__(self) -> None:
        if self.stream is not None:
            check_stream_name(self.stream)
        _check(self.format in get_args(LetterFormat), 'DeadLetter(format=...) is "dispatch" or "spring"')

    def topic(self, stream: str, function: str) -> str:
        """The dead-letter topic of ``function``'s events from ``stream``."""
        return self.stream or f"{stream}.{function}.dead"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a function may hold in memory in one process, whatever the backlog.

    Each assigned partition has an equal share. One that holds its share is asked for no more until it has
    fallen to half of it (the low watermark), so that it is not asked for one event at a time; the others go on.

    Args:
        held_events: events that were fetched and are not done, 1 or more.
        held_bytes: their bytes: keys, values and headers.
    """

    held_events: int = 16_000
    held_bytes: int = 64_000_000

    def __post_init__(self) -> None:
        check_number("Limits(held_events)", self.held_events, "events", 1, whole=True)
        check_number("Limits(held_bytes)", self.held_bytes, "bytes", 1, whole=True)


_DURATION = re.compile(r"-(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_LONGEST = timedelta(days=36_525)


def parse_start(start: StartAt) -> Literal["earliest", "latest"] | datetime | timedelta:
    """Read a ``start=``: ``"earliest"``, ``"latest"``, ``"-2h"``, ISO 8601, a datetime or a timedelta back.

    Raises:
        ValueError: it is none of these, or a time without a zone.
    """
    if isinstance(start, str):
        if start in ("earliest", "latest"):
            return "earliest" if start == "earliest" else "latest"
        if match := _DURATION.fullmatch(start):
            start = _span(float(match[1]) * _UNIT[match[2]])
        else:
            try:
                start = datetime.fromisoformat(start)
            except ValueError:
                raise ValueError(
                    f'start={start!r} is not "earliest", "latest", a span back such as "-2h", or an ISO 8601 time'
                ) from None
    if isinstance(start, timedelta):
        _check(timedelta(0) < start <= _LONGEST, "start: a span back from now is more than 0 and 100 years at most")
        return start
    _check(isinstance(start, datetime), "start=... is a string, a datetime or a timedelta")
    _check(start.tzinfo is not None, f"start={start.isoformat()} has no time zone: add one, such as +00:00")
    return start


def _span(seconds: float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        return timedelta.max
