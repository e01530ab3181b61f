"""Wrong numbers are refused when a policy is made."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from bindings import Batch, DeadLetter, Limits, Retry
from bindings.policies import parse_start


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Batch(max_events=0), "1 to 10,000 events"),
        (lambda: Batch(max_events=10_001), "1 to 10,000 events"),
        (lambda: Batch(max_events=True), "max_events"),
        (lambda: Batch(max_events="100"), "whole number"),
        (lambda: Batch(max_events=1.5), "whole number"),
        (lambda: Batch(max_bytes=0), "1 or more bytes"),
        (lambda: Batch(max_wait=math.nan), "0 to 300 seconds"),
        (lambda: Batch(max_wait=-1), "0 to 300 seconds"),
        (lambda: Batch(group_by="value"), '"key"'),
        (lambda: Retry(max_attempts=0), "1 to 10,000 attempts"),
        (lambda: Retry(initial=math.inf), "0 or more"),
        (lambda: Retry(multiplier=0.5), "1 to 100"),
        (lambda: Retry(max_age=0), "more than 0 seconds"),
        (lambda: Retry(max_delay="60"), "seconds"),
        (lambda: Retry(then="forget"), "dead_letter"),
        (lambda: Retry(jitter="some"), "full"),
        (lambda: Retry(retry_on=[ValueError]), "tuple of exception classes"),
        (lambda: Retry(give_up_on=(3,)), "tuple of exception classes"),
        (lambda: Retry(topic_after=-1), "0 or more"),
        (lambda: Limits(held_events=0), "1 or more events"),
        (lambda: Limits(held_bytes=0.5), "whole number"),
        (lambda: DeadLetter(stream="no spaces"), "not a stream name"),
        (lambda: Retry.after(-1), "0 or more"),
        (lambda: Retry.after(math.inf), "0 or more"),
        (lambda: parse_start("yesterday"), '"-2h"'),
        (lambda: parse_start("2026-01-01T00:00:00"), "no time zone"),
        (lambda: parse_start("-0s"), "more than 0"),
        (lambda: parse_start("-99999999999999999d"), "100 years"),
        (lambda: parse_start(timedelta(-1)), "more than 0"),
        (lambda: parse_start(5), "a string, a datetime or a timedelta"),
    ],
)
def test_wrong_value_is_refused(make, words):
    """Each policy refuses what it can't keep, and the message says what it takes."""
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)


def test_longest_delay_is_kept_to():
    """No number of attempts overflows the formula or passes `max_delay`, at the largest multiplier too."""
    retry = Retry(initial=1.0, multiplier=100, max_delay=60, jitter="none", max_attempts=10_000)
    assert [retry.delay(attempts) for attempts in (1, 2, 9_999)] == [1.0, 60, 60]


def test_one_exception_class_stands_for_a_tuple():
    """`retry_on=OSError` means `(OSError,)`, and give_up_on wins over it."""
    retry = Retry(retry_on=OSError, give_up_on=FileNotFoundError)
    assert retry.worth_another(OSError())
    assert not retry.worth_another(FileNotFoundError())
    assert not retry.worth_another(ValueError())


def test_start_is_read():
    """Every way to write a start gives a time, a span or a word."""
    assert parse_start("latest") == "latest"
    assert parse_start("-2h") == timedelta(hours=2)
    assert parse_start("-1.5d") == timedelta(hours=36)
    assert parse_start("2026-01-01T00:00:00Z") == datetime(2026, 1, 1, tzinfo=UTC)
