"""aiokafka's errors, as the dispatcher's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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
    MetadataTooLarge,
    RecordTooLarge,
    StreamNotFound,
)

__all__ = ["missing_codec", "translate", "translated"]

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
    ((driver.OffsetMetadataTooLargeError,), MetadataTooLarge),
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
    message = f"can't {what}: {_right_for(error, what) or detail}"
    for types, kind in _KINDS:
        if isinstance(error, types):
            return kind(message)
    if isinstance(error, driver.BrokerResponseError) and not error.retriable:
        return BrokerRefused(message)
    return BrokerUnavailable(message)


def _right_for(error: Exception, what: str) -> str | None:
    """Which right the user lacks, in the words of ``kafka-acls --operation``; None when it is not about rights."""
    if isinstance(error, driver.GroupAuthorizationFailedError):
        _, _, group = what.rpartition("the group ")
        return f"this user needs READ on the group {group}"
    if isinstance(error, driver.TopicAuthorizationFailedError):
        operation = next((right for begin, right in _OPERATIONS if what.startswith(begin)), "DESCRIBE")
        named = [each for argument in error.args for each in _names(argument)]
        return f"this user needs {operation} on the topic {', '.join(named) or what.rpartition(' ')[2]}"
    if isinstance(error, driver.ClusterAuthorizationFailedError):
        if what == "start a producer":
            # Kafka 3.0 and newer take it from who may write to any topic (KIP-679).
            return "this user needs WRITE on the topics that it produces to, or IDEMPOTENT_WRITE on the cluster"
        return "this user needs a right on the cluster"
    return None


def _names(argument: object) -> list[str]:
    return (
        [argument]
        if isinstance(argument, str)
        else [str(each) for each in argument]
        if isinstance(argument, Iterable)
        else []
    )


_OPERATIONS = (
    ("produce", "WRITE"),
    ("consume", "READ"),
    ("fetch", "READ"),
    ("commit", "READ"),
    ("read the offsets", "DESCRIBE"),
    ("read", "READ"),
    ("create", "CREATE"),
    ("delete", "DELETE"),
    ("add partitions", "ALTER"),
)


def missing_codec(error: driver.UnsupportedCodecError) -> str | None:
    """What to install, when records can't be decompressed for want of it; None when they are damaged."""
    # aiokafka says either this or "Unknown compression codec 0x05".
    named = re.search(r"Libraries for (\w+)", str(error))
    if named is None:
        return None
    return f"some of it is compressed with {named[1]}, and what decompresses that is not installed: pip install cramjam"


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise aiokafka's errors, and those of sockets and timeouts, as the dispatcher's own."""
    try:
        yield
    except DispatchError:
        raise
    except (driver.KafkaError, OSError) as error:
        raise translate(error, what) from error
