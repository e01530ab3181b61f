"""aiokafka's errors, as the dispatcher's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiokafka.errors as driver

from dispatcher.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    CommitRefused,
    DispatchError,
    RecordTooLarge,
    StreamNotFound,
)

__all__ = ["translate", "translated"]

_KINDS: tuple[tuple[tuple[type[Exception], ...], type[BrokerError]], ...] = (
    (
        (
            driver.TopicAuthorizationFailedError,
            driver.GroupAuthorizationFailedError,
            driver.ClusterAuthorizationFailedError,
        ),
        AuthorizationFailed,
    ),
    (
        (
            driver.SaslAuthenticationFailed,
            driver.UnsupportedSaslMechanismError,
            driver.IllegalSaslStateError,
            driver.AuthenticationFailedError,
        ),
        AuthenticationFailed,
    ),
    (
        (driver.MessageSizeTooLargeError, driver.RecordTooLargeError, driver.RecordListTooLargeError),
        RecordTooLarge,
    ),
    ((driver.UnknownTopicOrPartitionError,), StreamNotFound),
    (
        (
            driver.CommitFailedError,
            driver.UnknownMemberIdError,
            driver.IllegalGenerationError,
            driver.RebalanceInProgressError,
            driver.IllegalStateError,
        ),
        CommitRefused,
    ),
    ((TimeoutError, OSError), BrokerUnavailable),
)


def translate(error: Exception, what: str) -> BrokerError:
    """Return the dispatcher's error for one of aiokafka's.

    Args:
        error: what aiokafka raised.
        what: what was being done, to begin the message with: ``"produce to orders"``.
    """
    detail = " ".join(str(error).split()) or type(error).__name__
    message = f"can't {what}: {detail}"
    for types, kind in _KINDS:
        if isinstance(error, types):
            return kind(message)
    if isinstance(error, driver.BrokerResponseError) and not error.retriable:
        return BrokerRefused(message)
    return BrokerUnavailable(message)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise aiokafka's errors, and those of sockets and timeouts, as the dispatcher's own."""
    try:
        yield
    except DispatchError:
        raise
    except (driver.KafkaError, OSError) as error:
        raise translate(error, what) from error
